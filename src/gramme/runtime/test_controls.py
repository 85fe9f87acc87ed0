"""Test controls of a node: what `--test-controls` adds to the admin port (`gramme.api.backend.TestControls`).

They act through the node's own doors: wall time by its clock port, leadership by its hand-over, tables by its router.
Nothing here exists in a node that was started without them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from gramme.api import tasks
from gramme.api.backend import ControlRefused
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.catalog.commands import ForgetStreams
from gramme.runtime.staleness import Staleness
from gramme.tables.catalog import (
    CreateTable,
    DeleteTable,
    DescribeTable,
    ListTables,
    NoSuchTable,
    TableNames,
    TableReply,
)
from gramme.tables.descriptor import Index, TableDescriptor
from gramme.tables.item import decode_item
from gramme.tables.keys import key_after, key_of
from gramme.tables.requests import Failed, Page, PutItem, ScanRange, Written
from gramme.tables.streams import ListStreams, StreamList
from gramme.tables.transaction_commands import LEDGER
from gramme.tables.values import item_size

if TYPE_CHECKING:
    from gramme.node.node import Node
    from gramme.runtime.clock import SystemClock
    from gramme.runtime.throttles import Throttles

_DEADLINE_NS: Final = 10 * SECOND
_PAGE_BYTES: Final = 1 << 20
_MAX_LAG_MS: Final = 600_000

Done = Callable[[str | None], None]


class _Saved:
    """One table of a snapshot: how to make it again, and its rows (encoded key, canonical JSON, size)."""

    def __init__(self, table: TableDescriptor, rows: list[tuple[bytes, bytes, int]]) -> None:
        self.table = table
        self.rows = rows


class ControlFailed(Exception):
    """A control that began and could not be finished; the text says why."""


class NodeTestControls:
    """See `gramme.api.backend.TestControls`. Snapshots are kept in memory, by name."""

    def __init__(self, node: Node, clock: SystemClock, throttles: Throttles) -> None:
        self._throttles = throttles
        self._staleness = Staleness(node)
        self._node = node
        self._clock = clock
        self._saved: dict[str, list[_Saved]] = {}

    def clock(self, advance_ms: int, done: Done) -> None:
        """Move wall time forward."""
        if advance_ms < 0:
            raise ControlRefused(f"advance_ms is {advance_ms}: wall time only moves forward")
        self._clock.advance_ns += advance_ms * MILLISECOND
        done(None)

    def fail_over(self, table: str, groups: list[int] | None, done: Done) -> None:
        """Hand over the partitions of `table` that this node leads; with `groups`, only those."""
        if not self._node.members.peers:
            raise ControlRefused("a cluster of one has nobody to fail over to")

        async def run() -> None:
            descriptor = await self._describe(table)
            found = [partition.group for partition in descriptor.all_partitions]
            self._node.fail_over([group for group in found if groups is None or group in groups])

        self._run(run(), done)

    def throttle(self, table: str, rate: float, reason: str, index: str, done: Done) -> None:
        """Refuse a share of a table's reads or writes."""
        self._throttles.throttle(table, rate, reason, index)
        done(None)

    def unprocessed(self, table: str, rate: float, done: Done) -> None:
        """Leave a share of the parts of batches undone."""
        self._throttles.unprocessed(table, rate)
        done(None)

    def stale(self, table: str, index: str, lag_ms: int, done: Done) -> None:
        """Have eventual reads lag, of a table or of one of its indexes."""
        if not 0 <= lag_ms <= _MAX_LAG_MS:
            raise ControlRefused(f"lag_ms is {lag_ms}: it must be between 0 and {_MAX_LAG_MS}")
        lag_ns = lag_ms * MILLISECOND

        async def run() -> None:
            descriptor = await self._describe(table)
            groups = [partition.group for partition in descriptor.partitions]
            found = descriptor.index(index)
            if not index:
                self._staleness.lag(groups, lag_ns)
            elif found is None:
                raise ControlFailed(f"table {table!r} has no index {index!r}")
            elif found.kind == "LOCAL":
                self._staleness.lag(groups, lag_ns, found.number)
            else:
                self._node.feeders.delay(descriptor.table_id, found.number, lag_ns)

        self._run(run(), done)

    def reset(self, done: Done) -> None:
        """Drop all tables, all at once, and end all throttling and lagging."""
        self._throttles.clear()
        self._staleness.clear()
        self._node.feeders.end_delays()
        self._run(self._drop_all(), done)

    def snapshot(self, name: str, done: Done) -> None:
        """Keep every table and row under `name`."""

        async def run() -> None:
            saved = []
            for table_name in await self._names():
                descriptor = await self._describe(table_name)
                saved.append(_Saved(descriptor, await self._rows(descriptor)))
            self._saved[name] = saved

        self._run(run(), done)

    def restore(self, name: str, done: Done) -> None:
        """Drop all tables and make those of the snapshot again, rows included."""
        saved = self._saved.get(name)
        if saved is None:
            raise ControlRefused(
                f"there is no snapshot {name!r}; there are: {', '.join(sorted(self._saved)) or 'none'}"
            )

        async def run() -> None:
            await self._drop_all()
            for table in saved:
                await self._make_again(table)

        self._run(run(), done)

    # --- steps ----------------------------------------------------------------------------------------------------

    def _run(self, coroutine: Coroutine[Any, Any, None], done: Done) -> None:
        async def run() -> None:
            await coroutine
            done(None)

        def failed(error: Exception) -> None:
            if not isinstance(error, ControlFailed | ControlRefused):
                raise error
            done(str(error))

        tasks.run(run(), failed)

    def _deadline(self) -> Instant:
        return Instant(self._clock.instant() + _DEADLINE_NS)

    async def _catalog(self, request: Any) -> Any:
        waiter: tasks.Waiter[Any] = tasks.Waiter()
        self._node.router.catalog(request, self._deadline(), waiter)
        reply = await waiter
        if isinstance(reply, Failed):
            raise ControlFailed(f"{type(request).__name__}: {reply.kind.name} {reply.detail}")
        return reply

    async def _names(self) -> tuple[str, ...]:
        reply = await self._catalog(ListTables(None, 1_000_000))
        assert isinstance(reply, TableNames)
        return reply.names

    async def _describe(self, name: str) -> TableDescriptor:
        reply = await self._catalog(DescribeTable(name))
        if not isinstance(reply, TableReply):
            raise ControlFailed(f"there is no table {name!r}")
        return reply.table

    async def _drop_all(self) -> None:
        """All tables, and the tokens of transactions with them."""
        names = (*await self._names(), LEDGER)
        gather: tasks.Gather[Any] = tasks.Gather(len(names))
        for index, name in enumerate(names):
            self._node.router.catalog(DeleteTable(name), self._deadline(), gather.slot(index))
        replies = await gather
        for reply in replies:
            if not isinstance(reply, TableReply | NoSuchTable):
                raise ControlFailed(f"a table could not be dropped: {reply}")
        self._node.router.descriptors.forget_all()
        reply = await self._catalog(ListStreams(None, None, 1_000_000))
        assert isinstance(reply, StreamList)
        for name in dict.fromkeys(stream.table for stream in reply.streams):
            await self._catalog(ForgetStreams(name, at_once=True))

    async def _rows(self, table: TableDescriptor) -> list[tuple[bytes, bytes, int]]:
        rows: list[tuple[bytes, bytes, int]] = []
        for partition in table.partitions:
            start = partition.start
            while True:
                request = ScanRange(start, partition.end, None, _PAGE_BYTES, consistent=True)
                page = await self._submit(table, start, request)
                assert isinstance(page, Page)
                for json in page.items:
                    item = decode_item(json)
                    rows.append((key_of(table.key, item), json, item_size(item)))
                if page.last_key is None:
                    break
                start = key_after(page.last_key)
        return rows

    async def _make_again(self, saved: _Saved) -> None:
        old = saved.table
        await self._catalog(
            CreateTable(
                old.name, old.key, old.attribute_definitions, old.billing_mode, old.read_units, old.write_units,
                old.settings, tuple(_defined(index) for index in old.indexes if index.status != "DELETING"),
                None if old.stream is None else old.stream.view,
            )
        )  # fmt: skip
        table = await self._describe(old.name)
        for key, item, size in saved.rows:
            reply = await self._submit(table, key, PutItem(key, item, size))
            if not isinstance(reply, Written):
                raise ControlFailed(f"table {old.name}: an item could not be restored: {reply}")

    async def _submit(self, table: TableDescriptor, key: bytes, request: Any) -> Any:
        waiter: tasks.Waiter[Any] = tasks.Waiter()
        self._node.router.submit(table, key, request, None, self._deadline(), waiter)
        reply = await waiter
        if isinstance(reply, Failed):
            raise ControlFailed(f"table {table.name}: {reply.kind.name} {reply.detail}")
        return reply


def _defined(index: Index) -> Index:
    """An index as CreateTable gives it."""
    return replace(index, number=0, status="ACTIVE", backfill=False, partitions=())
