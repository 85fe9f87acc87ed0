"""A table's data model behind the evaluator seam: one item per row of space ITEMS, entries of local indexes beside it.

The partition's schema (which indexes there are) is replicated state of the partition: it comes with the group's
founding, and a row of space STATE replaces it. So what a write does is a function of the partition's log. The leader
remembers it between writes; `reset` and every change of it make the leader read it again.

The partition of a deleted table whose streams can still be read is *sealed*: it has lost its items and serves nothing
but its change log. The seal is a command of its own kind, upon which each replica takes another evaluator, so that no
request to a live table has to ask.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.kernel.errors import Invariant
from gramme.kernel.ids import Slot
from gramme.kernel.time import SECOND
from gramme.node.changes import change_log
from gramme.node.changes.item_changes import ITEMS, item_change, refused_keys
from gramme.node.evaluator import Answer, Change, Context, Read, ReadLately, Scan
from gramme.node.item_pages import read_page
from gramme.node.state_rows import CHANGE_LOG_ROW, SCHEMA_ROW, cursor_row, filled_row
from gramme.node.totals import TOTALS_ROW, decode_totals
from gramme.node.transactions.holding import (
    CONFLICT,
    PARTITION_TRANSACTIONS,
    PENDING,
    PENDING_END,
    Holds,
    read_versions,
    transact,
)
from gramme.paxos.entry import CommandKind
from gramme.storage.engine.rows import Space
from gramme.tables.decisions import Put, Remove
from gramme.tables.evaluate import evaluate
from gramme.tables.expiry import expiry_of, is_expired
from gramme.tables.indexes import (
    PartitionSchema,
    decode_schema,
)
from gramme.tables.item import (
    decode_item,
    encode_stored,
    item_json,
    json_and_size,
    stored_size,
)
from gramme.tables.requests import (
    ApplyIndex,
    BackfillDone,
    Configured,
    ConfigurePartition,
    Counted,
    CountRows,
    ExpireItem,
    Failed,
    FailureKind,
    Found,
    GetItem,
    IndexApplied,
    Page,
    PutItem,
    ReadVersions,
    ScanRange,
    TrimChanges,
    VersionsRead,
    Written,
)
from gramme.tables.streams import Changes, ReadChanges

_ABSENT: Final = Found(None, 0)
_TRIMMED: Final = Configured(0)
_NOTHING_EXPIRED: Final = Written(None, 0, 0)
_GONE: Final = Failed(FailureKind.NO_TABLE)
_CONTENTS: Final = tuple(
    (bytes((space,)), bytes((space + 1,))) for space in (Space.ITEMS, Space.LOCAL_INDEX, Space.PENDING)
)
"""What a sealed partition loses."""

_encode_cursor = msgspec.msgpack.Encoder().encode
_decode_cursor = msgspec.msgpack.Decoder(IndexApplied).decode


class TableEvaluator:
    """Evaluates requests to one partition (see `gramme.node.evaluator.Evaluator`); `founding` is its first schema."""

    def __init__(self, founding: bytes = b"") -> None:
        self._founding = founding
        self._schema: PartitionSchema | None = None
        self.holds = Holds()
        self._held = self.holds.by_key

    def reset(self, scan: Scan) -> None:
        """See `Evaluator`."""
        self._schema = None
        self.holds.load(scan(PENDING, PENDING_END, False))

    def proposed(self, change: Change) -> None:
        """See `Evaluator`."""
        self.holds.proposed(change)

    def schema(self, read: Read) -> PartitionSchema:
        """The partition's schema as `read` shows it."""
        return decode_schema(read(SCHEMA_ROW) or self._founding)

    def settled(self, get: Read) -> TableEvaluator:
        """See `Evaluator`."""
        return SealedEvaluator(self._founding) if self.schema(get).sealed else self

    def write(self, request: Any, read: Read, context: Context) -> Change | Answer:
        """One item write, or a command to the partition. The stored row carries the command's own stamp."""
        schema = self._schema
        if schema is None:
            schema = self.schema(read)
            if schema.sealed:  # and it is not remembered, so that every write comes here until the seal is applied
                return self._sealed(request, read, context, schema)
            self._schema = schema
        if type(request) in _COMMANDS:
            return self._command(request, read, context, schema)
        if self._held and request.key in self._held:
            return Answer(CONFLICT, (PENDING + request.key,))
        row = ITEMS + request.key
        if schema.indexes and type(request) is PutItem:
            refused = refused_keys(schema, decode_item(request.item), row)  # before the condition, as the service does
            if refused is not None:
                return refused
        stored = read(row)
        decision = evaluate(request, stored)
        if type(decision) is Put or type(decision) is Remove:
            return item_change(schema, request.key, stored, decision, context.stamp, read)
        return Answer(decision.reply, (row,))

    # --- commands to the partition ----------------------------------------------------------------------------------

    def _command(self, request: Any, read: Read, context: Context, schema: PartitionSchema) -> Change | Answer:
        match request:
            case ApplyIndex():
                return _apply_index(request, read, context)
            case TrimChanges():
                return _trim(request, read, context, schema)
            case BackfillDone(index):
                return Change([(filled_row(index), b"")], [], _TRIMMED)
            case ExpireItem(key):
                return self._expire(key, read, context, schema)
            case ConfigurePartition(version, encoded) if version > schema.version:
                self._schema = None
                return self._configure(schema, decode_schema(encoded), encoded, read, context)
            case ConfigurePartition():
                rows = (SCHEMA_ROW, *(filled_row(index.number) for index in schema.indexes))
                return Answer(self._configured(schema, read), rows)
            case _ if type(request) in PARTITION_TRANSACTIONS:
                return transact(request, schema, self.holds, read, context)
        raise Invariant(f"not a partition command: {type(request).__name__}")

    def _expire(self, key: bytes, read: Read, context: Context, schema: PartitionSchema) -> Change | Answer:
        """Judged here and not by whoever found the item: it may have been written since, or expiry switched off."""
        if key in self._held:
            return Answer(CONFLICT, (PENDING + key,))
        row = ITEMS + key
        stored = read(row)
        if stored is None or schema.expiry is None:
            return Answer(_NOTHING_EXPIRED, (row,))
        expiry_s = expiry_of(item_json(stored), schema.expiry)
        if expiry_s is None or not is_expired(expiry_s, context.wall // SECOND):
            return Answer(_NOTHING_EXPIRED, (row,))
        decision = Remove(Written(None, stored_size(stored), 0))
        return item_change(schema, key, stored, decision, context.stamp, read, service=True)

    def _configure(
        self, before: PartitionSchema, after: PartitionSchema, encoded: bytes, read: Read, context: Context
    ) -> Change:
        """The schema's row comes first, by which feeder and retention hear of it."""
        puts = [(SCHEMA_ROW, encoded)]
        log = change_log.read_log(read, before)
        if log.shards or after.stream is not None or before.feeds != after.feeds:
            slot = Slot(context.last_slot() + 1)
            puts.append(change_log.log_row(change_log.configured(log, before, after, slot, context.stamp)))
        reply = self._configured(after, read)
        if after.sealed:
            return Change(puts, [], reply, erased=_CONTENTS, kind=CommandKind.SEAL)
        return Change(puts, [], reply)

    def _configured(self, schema: PartitionSchema, read: Read) -> Configured:
        filled = tuple(i.number for i in schema.indexes if not i.backfill or is_filled(read, i.number))
        return Configured(schema.version, filled)

    def _sealed(self, request: Any, read: Read, context: Context, schema: PartitionSchema) -> Change | Answer:
        """A write to a partition that keeps only its change log."""
        match request:
            case TrimChanges():
                return _trim(request, read, context, schema)
            case ConfigurePartition():
                return Answer(Configured(schema.version), (SCHEMA_ROW,))
        return Answer(_GONE, (SCHEMA_ROW,))

    # --- reads ------------------------------------------------------------------------------------------------------

    def read(
        self, request: Any, get: Read, scan: Scan, lately: ReadLately | None = None
    ) -> Found | Page | Counted | Changes | VersionsRead | Failed:
        """One item, or one page of a range; stored JSON goes out untouched."""
        if type(request) is GetItem:
            stored = get(ITEMS + request.key)
            return _ABSENT if stored is None else Found(*json_and_size(stored))
        if type(request) is ScanRange:
            return read_page(request, get, scan, lately)
        if type(request) is CountRows:
            return Counted(decode_totals(get(TOTALS_ROW)))
        if type(request) is ReadChanges:
            return change_log.read_changes(request, self.schema(get), get, scan)
        if type(request) is ReadVersions:
            return read_versions(request, get)
        raise Invariant(f"not a table read: {type(request).__name__}")


class SealedEvaluator(TableEvaluator):
    """Of a sealed partition: whatever is asked of the table, it is gone."""

    def settled(self, get: Read) -> TableEvaluator:
        """For good."""
        return self

    def read(
        self, request: Any, get: Read, scan: Scan, lately: ReadLately | None = None
    ) -> Found | Page | Counted | Changes | VersionsRead | Failed:
        """Its change log is all there is to read."""
        return super().read(request, get, scan) if type(request) is ReadChanges else _GONE


_COMMANDS: Final = (
    frozenset((ApplyIndex, ConfigurePartition, TrimChanges, BackfillDone, ExpireItem)) | PARTITION_TRANSACTIONS
)


def is_filled(read: Read, index: int) -> bool:
    """Whether the backfill of this index (by number) is done, in a base partition."""
    return read(filled_row(index)) is not None


def _trim(request: TrimChanges, read: Read, context: Context, schema: PartitionSchema) -> Change | Answer:
    before = change_log.read_log(read, schema)
    after, ranges = change_log.trimmed(
        before, schema.feeds, context.last_slot(), request.confirmed, request.expired, request.forgotten
    )
    if after == before:
        return Answer(_TRIMMED, (CHANGE_LOG_ROW,))
    deletes: list[bytes] = []
    if schema.feeds:
        ranges, deletes = change_log.by_key(before, ranges, request.keys)
    return Change([change_log.log_row(after)], deletes, _TRIMMED, erased=tuple(change_log.erased(ranges)))


# --- partitions of global indexes


def _apply_index(request: ApplyIndex, read: Read, context: Context) -> Change | Answer:
    """The next batch of a feeder; a batch that is not the next changes nothing and hears where the feeder stands."""
    row = cursor_row(request.feeder)
    stored = read(row)
    cursor = IndexApplied(0, -1, 0) if stored is None else _decode_cursor(stored)
    first = request.epoch > cursor.epoch and request.seq == 0
    if not first and (request.epoch, request.seq) != (cursor.epoch, cursor.seq + 1):
        return Answer(cursor, (row,))
    cursor = IndexApplied(request.epoch, request.seq, max(cursor.through, request.through))
    newest: dict[bytes, tuple[bytes | None, int]] = {}
    for key, json, size in request.rows:
        newest[key] = (json, size)
    puts: list[tuple[bytes, bytes]] = []
    deletes: list[bytes] = []
    rows = total = 0
    for key, (json, size) in newest.items():
        before = read(ITEMS + key)
        rows += (json is not None) - (before is not None)
        total += (0 if json is None else size) - (0 if before is None else stored_size(before))
        if json is None:
            deletes.append(ITEMS + key)
        else:
            puts.append((ITEMS + key, encode_stored(json, size, context.stamp)))
    puts.append((row, _encode_cursor(cursor)))
    return Change(puts, deletes, cursor, (), ((0, rows, total),) if rows or total else ())
