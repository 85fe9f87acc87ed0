"""What all pictures share: written by hand as SVG, so there is nothing to install and the numbers stand in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["COLOURS", "FONT", "INK", "document", "escape"]

FONT: Final = "font-family='system-ui, sans-serif' font-size='13'"
INK: Final = "#222222"
COLOURS: Final = ("#1f4e9c", "#c2399b", "#6a1b6a", "#2e7d32", "#b0452c", "#666666")


def document(width: int, height: int, parts: Sequence[str]) -> str:
    """The whole file, on white."""
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' "
            f"width='{width}' height='{height}'>",
            "<rect width='100%' height='100%' fill='white'/>",
            *parts,
            "</svg>\n",
        ]
    )
