"""Faults planted where pages of Query are made: each breaks a rule of what is kept of rows, or of how pages join.

As `tests.sim.planted`, whose list these join. Sources: decision 0112; API reference, Query (LastEvaluatedKey).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from tests.patched import patched

import gramme.api.dynamodb.query
import gramme.node.item_pages
import gramme.node.table_evaluator
from gramme.node.applied_rows import AppliedRows
from gramme.node.evaluator import Read, ReadLately, Scan
from gramme.node.item_pages import read_page
from gramme.node.router import Router
from gramme.storage.engine.contract import Batch
from gramme.storage.engine.kept import SHARED_BYTES, Kept
from gramme.tables.descriptor import Partition
from gramme.tables.keys import key_after
from gramme.tables.requests import Page, ScanRange
from gramme.tables.stretch import Stretch, stretch_read

# --- what is kept of rows


def keep_what_is_written() -> AbstractContextManager[None]:
    """A stretch stays when one of its rows is written."""
    return patched(Kept, "wrote", lambda self, batch: None)


def forget_the_first_neighbourhood_only() -> AbstractContextManager[None]:
    """Of a batch, only what its first row belongs to is forgotten."""
    original = Kept.wrote

    def wrote(self: Kept, batch: Batch) -> None:
        first = Batch()
        first.ops = [op for op in batch.ops if op[0][:SHARED_BYTES] == batch.ops[0][0][:SHARED_BYTES]]
        first.clears = batch.clears
        original(self, first)

    return patched(Kept, "wrote", wrote)


def forget_puts_only() -> AbstractContextManager[None]:
    """A row that is deleted leaves what is kept as it is."""
    original = Kept.wrote

    def wrote(self: Kept, batch: Batch) -> None:
        puts = Batch()
        puts.ops = [op for op in batch.ops if op[1] is not None]
        puts.clears = batch.clears
        original(self, puts)

    return patched(Kept, "wrote", wrote)


class _KeptBefore:
    """What was kept of the rows that begin with `before`, whatever a replica's rows begin with by now."""

    def __init__(self, kept: Any, before: bytes) -> None:
        self._kept = kept
        self._before = before

    def find(self, shared: bytes) -> Any:
        return self._kept.find(self._before + shared[len(self._before) :])

    def keep(self, shared: bytes, thing: Any, size_bytes: int) -> None:
        self._kept.keep(self._before + shared[len(self._before) :], thing, size_bytes)


def keep_across_a_snapshot() -> AbstractContextManager[None]:
    """A replica whose rows came by a snapshot goes on with what was kept of those from before."""
    original = AppliedRows.switch

    def switch(self: Any, *args: Any) -> None:
        before = self._prefix
        original(self, *args)
        self._kept = _KeptBefore(self._kept, before)

    return patched(AppliedRows, "switch", switch)


def join_what_does_not_touch() -> AbstractContextManager[None]:
    """Two stretches become one, whatever lies between them."""
    original = Stretch.joined

    def joined(self: Stretch, other: Stretch) -> Stretch:
        if other.end < self.start:
            other = Stretch(other.start, self.start, other.keys, other.items, other.ends)
        elif self.end < other.start:
            other = Stretch(self.end, other.end, other.keys, other.items, other.ends)
        return original(self, other)

    return patched(Stretch, "joined", joined)


def keep_more_than_was_read() -> AbstractContextManager[None]:
    """A page that its limit has ended counts as all of the range that was asked for."""

    def whole(request: ScanRange, page: Page, keys: list[bytes], sizes: list[int]) -> Stretch:
        return stretch_read(request, Page(page.items, None, page.size), keys, sizes)

    return patched(gramme.node.item_pages, "stretch_read", whole)


# --- pages


def _pages(change: Callable[[ScanRange, Page], Page]) -> AbstractContextManager[None]:
    """Every page of items is what `change` makes of it."""

    def changed(request: ScanRange, get: Read, scan: Scan, lately: ReadLately | None) -> Page:
        return change(request, read_page(request, get, scan, lately))

    return patched(gramme.node.table_evaluator, "read_page", changed)


def lose_the_last_row_of_a_page() -> AbstractContextManager[None]:
    """A page that its limit ends comes without its last row, and goes on behind it."""

    def change(request: ScanRange, page: Page) -> Page:
        lost = page.last_key is not None and len(page.items) > 1
        return msgspec.structs.replace(page, items=page.items[:-1]) if lost else page

    return _pages(change)


def go_on_one_row_too_far() -> AbstractContextManager[None]:
    """A page that goes on behind a key passes over the first row there."""

    def change(request: ScanRange, page: Page) -> Page:
        goes_on = request.start.endswith(b"\x00") and not request.reverse
        return msgspec.structs.replace(page, items=page.items[1:]) if goes_on and len(page.items) > 1 else page

    return _pages(change)


def repeat_the_row_a_page_begins_behind() -> AbstractContextManager[None]:
    """Backward, a page begins with the row of its ExclusiveStartKey."""
    original = gramme.api.dynamodb.query._resume

    def resume(call: Any, *args: Any) -> tuple[bytes, bytes]:
        start, end = original(call, *args)
        return (start, key_after(end)) if call.body.get("ScanIndexForward") is False else (start, end)

    return patched(gramme.api.dynamodb.query, "_resume", resume)


def read_pages_anywhere() -> AbstractContextManager[None]:
    """Whoever has the rows answers a strong Query, be it the leader or not."""
    original = Router._read_here

    def read(self: Router, place: Partition, request: Any) -> Any:
        partition = self._partitions.get(place.group)
        if partition is not None and isinstance(request, ScanRange):
            return partition.read_now(request)
        return original(self, place, request)

    return patched(Router, "_read_here", read)
