"""Rows on their way out: filters, projections and page keys over stored JSON.

Owns what happens to the rows of a Query or Scan after they were read and counted (the 1 MB page is cut before the
filter, DESIGN.md checklist B6). Rule: a row that needs neither filter nor projection is never decoded.
"""

from __future__ import annotations

from gramme.tables.expression.condition import Condition
from gramme.tables.expression.nodes import Values
from gramme.tables.expression.projection import Columns, Projection
from gramme.tables.item import decode_item, encode_attributes


def select_rows(
    rows: list[bytes], filter: Condition | None, projection: Projection | Columns | None, values: Values
) -> list[bytes]:
    """JSON of the rows that pass `filter`, cut down by `projection`, in the order given."""
    if filter is None:
        return rows if projection is None else [project_row(row, projection) for row in rows]
    selected: list[bytes] = []
    for row in rows:
        item = decode_item(row)
        if filter.holds(item, values):
            selected.append(row if projection is None else encode_attributes(projection.apply(item)))
    return selected


def project_row(row: bytes, projection: Projection | Columns) -> bytes:
    """JSON of the projected attributes of a stored row."""
    return encode_attributes(projection.apply(decode_item(row)))
