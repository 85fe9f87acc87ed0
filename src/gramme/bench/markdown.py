"""Tables and figures as Markdown, the same way for every measurement."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def row(*cells: object) -> str:
    """One line of a table."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, words: int = 1) -> str:
    """A table whose first `words` columns are words; figures stand to the right."""
    rule = "|" + "---|" * words + "---:|" * (len(head) - words)
    return "\n".join([row(*head), rule, *(row(*cells) for cells in rows)])


def ms(value: float) -> str:
    """Milliseconds, as exactly as they were measured."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median, and in brackets the lowest and the highest."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
