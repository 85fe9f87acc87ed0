"""Reading a range of rows over the partitions of a table: what Query and Scan share.

Owns the walk over partitions in key order or against it, and the bounds of one page: `limit` rows, or 1 MB of rows
counted before the filter; whole items that are fetched beside a local index count too, each rounded up to 4 KB. Rule:
the page ends exactly behind the last row that was evaluated, so that pages joined are the whole range, without a gap or
a repetition. Source: AWS developer guide, "Paginating table query results"; "Local secondary indexes".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gramme.api.dynamodb.call import Call, TableGone
from gramme.api.dynamodb.capacity import Usage, read_halves
from gramme.api.dynamodb.indexes import Source
from gramme.api.tasks import Waiter
from gramme.kernel.errors import Invariant
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.expression.condition import Condition
from gramme.tables.expression.nodes import Values
from gramme.tables.expression.projection import Columns, Projection
from gramme.tables.item import key_attributes, key_json
from gramme.tables.keys import key_after
from gramme.tables.requests import READ_UNIT_BYTES, Failed, FailureKind, Item, Page, Reply, ScanRange
from gramme.tables.rows import select_rows

PAGE_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 64 << 10  # asked for at a time, so that no partition and no filter holds the event loop for long
TOP: Final = b""
"""As the end of a range: no bound."""


class RowReader:
    """One page's bounds, and what it does with each row."""

    __slots__ = (
        "_charged", "_cut", "_room", "consistent", "count", "counts_only", "fetched", "filter", "halves", "last_row",
        "limit", "projection", "reverse", "rows", "scanned", "size", "source", "values",
    )  # fmt: skip

    def __init__(
        self, source: Source, limit: int | None, reverse: bool, consistent: bool, filter: Condition | None,
        projection: Projection | Columns | None, values: Values, counts_only: bool,
    ) -> None:  # fmt: skip
        self.source = source
        self.limit = limit
        self.reverse = reverse
        self.consistent = consistent
        self.filter = filter
        self.projection = projection
        self.values = values
        self.counts_only = counts_only
        self.rows: list[bytes] = []
        self.count = 0
        self.scanned = 0
        self.size = 0
        self.fetched = 0  # read units of whole items that were fetched beside a local index
        self.halves = 0  # half units of capacity, without these
        self.last_row: bytes | None = None  # where the next page begins, None at the end of the range
        self._room = PAGE_BYTES  # until the page's bound
        self._charged = 0  # of `size`: what `halves` accounts for
        self._cut = False  # the last chunk did not reach the end of its partition

    def begin(self, call: Call, table: TableDescriptor, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """Read [start, end) as far as it takes neither waiting nor a second chunk: nearly always all of it, without a
        coroutine. Returns what is left for `read`, None if nothing is. For a reader that has read nothing."""
        if start >= end:
            return None
        partition = table.partition_of(start)
        if partition.end != TOP and (end == TOP or end > partition.end):
            return start, end
        page = call.env.backend.read_here(table, start, self._request(start, end))
        if not isinstance(page, Page):
            return start, end
        if not self._take(page) and page.last_key is not None:
            return self._rest(start, end, page.last_key)
        self._charge()
        return None

    async def read(self, call: Call, table: TableDescriptor, start: bytes, end: bytes) -> None:
        """Read [start, end) until a bound or the end, charged as a Query of its own. Raises ApiError, TableGone."""
        for partition in _pieces(table, start, end, self.reverse):
            low = max(start, partition.start)
            high = _lower_end(end, partition.end)
            if await self._read_piece(call, table, partition, low, high):
                break
        self._charge()

    def _charge(self) -> None:
        self.halves += read_halves(self.size - self._charged, self.consistent)
        self._charged = self.size

    async def _read_piece(
        self, call: Call, table: TableDescriptor, partition: Partition, low: bytes, high: bytes
    ) -> bool:
        """Read one partition's part of the range; True if a bound of the page was reached."""
        while True:
            if self._cut:
                self._cut = False
                await call.env.breathe()
            request = self._request(low, high)
            # Located by the partition's own start: `low` and `high` both lie within it, or on its edge.
            page = call.env.backend.read_here(table, partition.start, request)
            if page is None:
                waiter: Waiter[Reply] = Waiter()
                call.env.backend.submit(table, partition.start, request, None, call.deadline, waiter)
                page = await waiter
            if not isinstance(page, Page):
                raise _failure(call, page)
            if self._take(page):
                return True
            if page.last_key is None:
                return False
            low, high = self._rest(low, high, page.last_key)

    def _request(self, low: bytes, high: bytes) -> ScanRange:
        source = self.source
        room = self._room
        return ScanRange(
            low,
            high,
            None if self.limit is None else self.limit - self.scanned,
            room if room < _CHUNK_BYTES else _CHUNK_BYTES,
            self.reverse,
            self.consistent,
            source.number,
            source.fetch,
        )

    def _rest(self, low: bytes, high: bytes, last_key: bytes) -> tuple[bytes, bytes]:
        self._cut = True
        return (low, last_key) if self.reverse else (key_after(last_key), high)

    def _take(self, page: Page) -> bool:
        """True if a bound of the page is reached."""
        self.scanned += len(page.items)
        self.size += page.size
        self.fetched += page.fetched
        self._room -= page.size + page.fetched * READ_UNIT_BYTES
        kept = select_rows(page.items, self.filter, None if self.counts_only else self.projection, self.values)
        self.count += len(kept)
        if not self.counts_only:
            self.rows += kept
        if self.scanned == self.limit or (self._room <= 0 and page.items):
            self.last_row = page.items[-1] if page.items else None
            return True
        return False

    def usage(self, name: str) -> Usage:
        """The capacity that the page took; `name` is the table's as the client wrote it."""
        usage = Usage(name, self.source.table)
        halves = self.halves or read_halves(0, self.consistent)
        if self.source.index is None:
            usage.add(halves)
        else:
            usage.add_index(self.source.index.name, halves)
            usage.add(self.fetched * (2 if self.consistent else 1))
        return usage

    def last_key(self) -> Item | None:
        """LastEvaluatedKey: behind which the next page begins, None if there is none."""
        return None if self.last_row is None else key_attributes(self.last_row, self.source.key_names)

    def answer(self, call: Call) -> None:
        """Answer the page."""
        counts = b'{"Count":%d,"ScannedCount":%d' % (self.count, self.scanned)
        rest = b"}"
        level = call.body.get("ReturnConsumedCapacity")
        if level is not None:
            rest = self.usage(call.body["TableName"]).member(level) + rest
        if self.last_row is not None:
            rest = b',"LastEvaluatedKey":' + key_json(self.last_row, self.source.key_names) + rest
        if self.counts_only:
            call.answer(counts + rest)
        else:
            call.answer([counts + b',"Items":[', b",".join(self.rows), b"]" + rest])


def _pieces(table: TableDescriptor, start: bytes, end: bytes, reverse: bool) -> Iterator[Partition]:
    """The partitions that overlap [start, end), in the order of reading."""
    partitions = table.partitions
    for partition in reversed(partitions) if reverse else partitions:
        if (end == TOP or partition.start < end) and (partition.end == TOP or start < partition.end):
            yield partition


def _lower_end(left: bytes, right: bytes) -> bytes:
    if left == TOP or right == TOP:
        return left or right
    return min(left, right)


def _failure(call: Call, reply: Any) -> Exception:
    if not isinstance(reply, Failed):
        return Invariant(f"unexpected reply {type(reply).__name__} to a range read")
    if reply.kind is FailureKind.NO_TABLE:
        return TableGone()
    return call.failure(reply)
