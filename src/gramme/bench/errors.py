"""What keeps a measurement from being made."""

from __future__ import annotations

from gramme.kernel.errors import GrammeError


class CannotMeasure(GrammeError):
    """A program is missing or failed, or an endpoint refused what it was sent; the text says which."""
