"""A table's data model behind the evaluator seam: one item per row of space ITEMS."""

from __future__ import annotations

from typing import Any, Final

from gramme.kernel.errors import Invariant
from gramme.node.evaluator import Answer, Change, Context, Read, Scan
from gramme.storage.engine.rows import Space
from gramme.tables.evaluate import Fail, Nothing, Put, evaluate
from gramme.tables.item import HEADER_BYTES, encode_stored, item_json, stored_size
from gramme.tables.requests import Found, GetItem, Page, ScanRange, Written

_ITEMS: Final = bytes((Space.ITEMS,))
_ITEMS_END: Final = bytes((Space.ITEMS + 1,))
_ABSENT: Final = Found(None, 0)


class TableEvaluator:
    """Evaluates item requests (see `gramme.node.evaluator.Evaluator`). Stateless: one serves all partitions."""

    def write(self, request: Any, read: Read, context: Context) -> Change | Answer:
        """One item write. The stored row carries the command's own stamp."""
        row = _ITEMS + request.key
        decision = evaluate(request, read(row))
        if type(decision) is Put:
            value = encode_stored(decision.item, decision.size, context.stamp)
            return Change([(row, value)], [], decision.reply)
        if isinstance(decision, Nothing | Fail):
            return Answer(decision.reply, (row,))
        return Change([], [row], decision.reply)

    def read(self, request: Any, get: Read, scan: Scan) -> Found | Page | Written:
        """One item, or one page of a range; stored JSON goes out untouched."""
        if type(request) is GetItem:
            stored = get(_ITEMS + request.key)
            return _ABSENT if stored is None else Found(item_json(stored), stored_size(stored))
        if type(request) is ScanRange:
            return _page(request, scan)
        raise Invariant(f"not a table read: {type(request).__name__}")


def _page(request: ScanRange, scan: Scan) -> Page:
    """Rows until `limit` or `max_bytes` is reached; the row that crosses the byte bound is still part of the page."""
    items: list[bytes] = []
    size = 0
    last: bytes | None = None
    end = _ITEMS + request.end if request.end else _ITEMS_END
    for key, stored in scan(_ITEMS + request.start, end, request.reverse):
        items.append(stored[HEADER_BYTES:])
        size += stored_size(stored)
        last = key
        if len(items) == request.limit or size >= request.max_bytes:
            return Page(items, last[1:], size)
    return Page(items, None, size)
