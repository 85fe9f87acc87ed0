"""A backend for unit tests of the API: one process, one dict of rows per partition, the real data model.

It evaluates with `gramme.tables.evaluate` and cuts pages as the node does. Answers come at once, or, with
`deferred=True`, when the test calls `release`. Real nodes are put under the API by the integration tests.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

from msgspec.structs import replace
from tests.api.memory_streams import MemoryStreams

from gramme.kernel.ids import CommandId, GroupId, NodeId
from gramme.kernel.time import SECOND, Instant, Timestamp
from gramme.tables.catalog import (
    CatalogReply,
    CatalogRequest,
    CreateTable,
    DeleteTable,
    DescribeTable,
    ListTables,
    NoSuchTable,
    TableChange,
    TableInUse,
    TableNames,
    TableReply,
)
from gramme.tables.decisions import Decision, Fail, Nothing, Put, Remove
from gramme.tables.descriptor import Partition, TableDescriptor, TableStream
from gramme.tables.evaluate import evaluate
from gramme.tables.index_changes import schema_settled
from gramme.tables.item import encode_stored, item_json, stored_size
from gramme.tables.requests import (
    Counted,
    CountRows,
    DeleteItem,
    Failed,
    FailureKind,
    Found,
    GetItem,
    Page,
    ReadRequest,
    Refused,
    Reply,
    Request,
    ReturnValues,
    ScanRange,
    WriteRequest,
)
from gramme.tables.streams import Changes, DescribeStream, ListStreams, ReadChanges, new_label
from gramme.tables.table_changes import changed
from gramme.tables.transactions import (
    Action,
    ConditionCheck,
    ItemsRead,
    ReadOutcome,
    ReadTransaction,
    TokenMismatch,
    TransactionCanceled,
    TransactionDone,
    WriteOutcome,
    WriteTransaction,
)

Rows = dict[bytes, bytes]


class FixedClock:
    """Time stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000 * SECOND

    def instant(self) -> Instant:
        return Instant(self.now)

    def timestamp(self) -> Timestamp:
        return Timestamp(1_790_000_000 * SECOND + self.now)


class MemoryBackend:
    """See the module's docstring. Fault injection: `failures` are answered first, in order."""

    def __init__(self, partitions: int = 4, deferred: bool = False) -> None:
        self.partitions = partitions
        self.deferred = deferred
        self.clock = FixedClock()
        self.cache: dict[str, TableDescriptor] = {}
        self.tables: dict[str, TableDescriptor] = {}
        self.rows: dict[str, Rows] = {}  # by table id
        self.failures: list[Failed] = []
        self.replies: list[Reply] = []  # said instead of evaluating
        self.transactions: list[WriteTransaction | ReadTransaction] = []
        self.outcomes: list[WriteOutcome] = []  # said instead of transacting
        self.read_outcomes: list[ReadOutcome] = []
        self.tokens: dict[bytes, tuple[bytes, TransactionDone]] = {}
        self.command_ids: list[CommandId | None] = []
        self.requests: list[Request] = []
        self.lookups = 0
        self.streams = MemoryStreams()
        self._pending: list[Callable[[], None]] = []

    # --- Backend

    def table(self, name: str) -> TableDescriptor | None:
        return self.cache.get(name)

    def lookup(self, name: str, deadline: Instant, on_reply: Callable[[TableDescriptor | Failed], None]) -> None:
        self.lookups += 1
        found = self.tables.get(name)
        if found is not None:
            self.cache[name] = found
        answer = found or Failed(FailureKind.NO_TABLE)
        self._answer(lambda: on_reply(answer))

    def read_here(self, table: TableDescriptor, key: bytes, request: ReadRequest) -> Reply | None:
        if self.deferred:
            return None
        self.requests.append(request)
        self.command_ids.append(None)
        return self._serve(table, key, request)

    def submit(
        self,
        table: TableDescriptor,
        key: bytes,
        request: Request,
        command_id: CommandId | None,
        deadline: Instant,
        on_reply: Callable[[Reply], None],
        repeated: bool = False,
    ) -> None:
        self.requests.append(request)
        self.command_ids.append(command_id)
        reply = self._serve(table, key, request)
        self._answer(lambda: on_reply(reply))

    def catalog(self, request: CatalogRequest, deadline: Instant, on_reply: Callable[[CatalogReply], None]) -> None:
        reply: CatalogReply = self.failures.pop(0) if self.failures else self._catalog(request)
        self._answer(lambda: on_reply(reply))

    def read_changes(
        self, place: Partition, request: ReadChanges, deadline: Instant, on_reply: Callable[[Changes | Failed], None]
    ) -> None:
        reply: Changes | Failed = self.failures.pop(0) if self.failures else self.streams.read(place, request)
        self._answer(lambda: on_reply(reply))

    def transact_write(
        self, request: WriteTransaction, deadline: Instant, on_reply: Callable[[WriteOutcome], None]
    ) -> None:
        self.transactions.append(request)
        outcome = self.outcomes.pop(0) if self.outcomes else self._transact(request)
        self._answer(lambda: on_reply(outcome))

    def transact_get(
        self, request: ReadTransaction, deadline: Instant, on_reply: Callable[[ReadOutcome], None]
    ) -> None:
        self.transactions.append(request)
        outcome = self.read_outcomes.pop(0) if self.read_outcomes else self._read(request)
        self._answer(lambda: on_reply(outcome))

    def addresses(self, zone: str | None) -> list[str]:
        return {None: ["127.0.0.1", "127.0.0.2"], "z1": ["127.0.0.1"]}.get(zone, [])

    # --- the test's side

    def release(self) -> int:
        """Deliver what is pending; returns how much that was."""
        pending, self._pending = self._pending, []
        for deliver in pending:
            deliver()
        return len(pending)

    def _answer(self, deliver: Callable[[], None]) -> None:
        if self.deferred:
            self._pending.append(deliver)
        else:
            deliver()

    def _serve(self, table: TableDescriptor, key: bytes, request: Request) -> Reply:
        if self.failures:
            return self.failures.pop(0)
        if self.replies:
            return self.replies.pop(0)
        rows = self.rows.get(table.table_id)
        if rows is None:
            return Failed(FailureKind.NO_TABLE)
        place = table.partition_of(key)
        if isinstance(request, CountRows):
            held = [stored for row, stored in rows.items() if table.partition_of(row) is place]
            return Counted(((0, len(held), sum(map(stored_size, held))),))
        if isinstance(request, ScanRange):
            return _page(rows, place, request)
        assert not isinstance(request, ReadChanges)
        assert place is table.partition_of(request.key)
        if isinstance(request, GetItem):
            return _found(rows.get(request.key))
        before = rows.get(request.key)
        reply = _write(rows, request)
        self._record(table, request.key, before)
        return reply

    def expire(self, table: TableDescriptor, key: bytes) -> None:
        """The service itself deletes an item."""
        before = self.rows[table.table_id].pop(key)
        self._record(table, key, before, service=True)

    def _record(self, table: TableDescriptor, key: bytes, before: bytes | None, service: bool = False) -> None:
        after = self.rows[table.table_id].get(key)
        old, new = (None if stored is None else item_json(stored) for stored in (before, after))
        now = self.clock.timestamp()
        self.streams.write(self.tables[table.name], table.partition_of(key), old, new, now, service)

    def _transact(self, request: WriteTransaction) -> WriteOutcome:
        token = request.token
        if token is not None and token.id in self.tokens:
            digest, done = self.tokens[token.id]
            return TransactionDone(done.parts, replayed=True) if digest == token.digest else TokenMismatch()
        if any(table.table_id not in self.rows for table, _ in request.actions):
            return Failed(FailureKind.NO_TABLE)
        decisions = [
            (self.rows[table.table_id], action.key, _decide(action, self.rows[table.table_id].get(action.key)))
            for table, action in request.actions
        ]
        reasons = tuple(decision.reply if isinstance(decision, Fail) else None for _, _, decision in decisions)
        if any(reason is not None for reason in reasons):
            return TransactionCanceled(reasons)
        for rows, key, decision in decisions:
            _apply(rows, key, decision)
        outcome = TransactionDone(
            tuple(decision.reply for _, _, decision in decisions if not isinstance(decision, Fail))
        )
        if token is not None:
            self.tokens[token.id] = token.digest, outcome
        return outcome

    def _read(self, request: ReadTransaction) -> ReadOutcome:
        if any(table.table_id not in self.rows for table, _ in request.keys):
            return Failed(FailureKind.NO_TABLE)
        return ItemsRead(tuple(_found(self.rows[table.table_id].get(key)) for table, key in request.keys))

    def _catalog(self, request: CatalogRequest) -> CatalogReply:
        match request:
            case CreateTable():
                return self._create(request)
            case ListTables(start, limit):
                names = sorted(name for name in self.tables if start is None or name > start)
                return TableNames(tuple(names[:limit]), len(names) > limit)
            case DescribeTable(name):
                found = self.tables.get(name)
                return NoSuchTable(name) if found is None else self._reply(found)
            case DeleteTable(name):
                gone = self.tables.pop(name, None)
                if gone is None:
                    return NoSuchTable(name)
                del self.rows[gone.table_id]
                self.streams.table_changed(gone, replace(gone, stream=None), self.clock.timestamp())
                return TableReply(gone)
            case ListStreams() | DescribeStream():
                return self.streams.catalog(request)
        return self._change(request)

    def _change(self, request: TableChange) -> CatalogReply:
        table = self.tables.get(request.name)
        if table is None:
            return NoSuchTable(request.name)
        if table.status != "ACTIVE":
            return TableInUse(table.name, table.status)
        now = self.clock.timestamp()
        after = changed(table, request, now, self.streams.latest_label(table.name))
        if isinstance(after, Refused):
            return after
        if after.stream != table.stream:
            self.streams.table_changed(table, after, now)
            after = schema_settled(after, after.schema_version, (), ())
        self.tables[table.name] = after
        return self._reply(after)

    def _create(self, request: CreateTable) -> CatalogReply:
        if request.name in self.tables:
            return TableInUse(request.name, self.tables[request.name].status)
        now = self.clock.timestamp()
        label = "" if request.stream is None else new_label(now, self.streams.latest_label(request.name))
        table = TableDescriptor(
            name=request.name,
            table_id=str(uuid.uuid4()),
            version=1,
            status="ACTIVE",
            created=now,
            key=request.key,
            attribute_definitions=request.attribute_definitions,
            billing_mode=request.billing_mode,
            read_units=request.read_units,
            write_units=request.write_units,
            partitions=_tile(self.partitions),
            settings=request.settings,
            stream=None if request.stream is None else TableStream(label, request.stream),
            latest_stream=label,
        )
        if request.stream is not None:
            self.streams.table_changed(None, table, now)
        self.tables[request.name] = table
        self.rows[table.table_id] = {}
        return self._reply(table)

    def _reply(self, table: TableDescriptor) -> TableReply:
        return TableReply(table)


def _tile(count: int) -> tuple[Partition, ...]:
    cuts = [((index << 128) // count).to_bytes(16, "big") for index in range(1, count)]
    bounds = [b"", *cuts, b""]
    return tuple(Partition(GroupId(10 + i), bounds[i], bounds[i + 1], (NodeId(0),)) for i in range(count))


def _found(stored: bytes | None) -> Found:
    return Found(None, 0) if stored is None else Found(item_json(stored), stored_size(stored))


def _write(rows: Rows, request: WriteRequest) -> Reply:
    decision = evaluate(request, rows.get(request.key))
    _apply(rows, request.key, decision)
    return decision.reply


def _apply(rows: Rows, key: bytes, decision: Decision) -> None:
    if isinstance(decision, Put):
        rows[key] = encode_stored(decision.item, decision.size, 1)
    elif isinstance(decision, Remove):
        del rows[key]


def _decide(action: Action, stored: bytes | None) -> Decision:
    if not isinstance(action, ConditionCheck):
        return evaluate(action, stored)
    # A deletion that is not carried out judges the same condition.
    judged = evaluate(DeleteItem(action.key, action.condition, ReturnValues.NONE, action.return_on_failure), stored)
    return Nothing(judged.reply) if isinstance(judged, Remove) else judged


def _page(rows: Rows, place: Partition, request: ScanRange) -> Page:
    assert place.start <= request.start
    assert place.end == b"" or (request.end != b"" and request.end <= place.end)
    items: list[bytes] = []
    size = 0
    keys = sorted(key for key in rows if key >= request.start and (request.end == b"" or key < request.end))
    for key in reversed(keys) if request.reverse else keys:
        items.append(item_json(rows[key]))
        size += stored_size(rows[key])
        if len(items) == request.limit or size >= request.max_bytes:
            return Page(items, key, size)
    return Page(items, None, size)
