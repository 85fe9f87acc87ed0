"""A partition's change log: which of its records are needed, and what its streams may read of them.

Records (`gramme.node.mutation.ChangeRecord`) stand in space CHANGES under (slot, index in the slot). One row of space
STATE says what they are worth: `confirmed`, the slot up to which every global index has them; `trimmed`, the slot up to
which records have expired and are gone; and the shards, one for each stream that this partition was part of: from the
slot in which its leader learnt of the stream to the slot in which it learnt of its end. The rows change by commands
only, so all replicas agree, and any of them can be read.

Rule: a record is deleted if every index has it, and if no shard covers it or it has expired. Pure: rows in, rows out.
Source: API reference, DynamoDB Streams (a shard, its sequence numbers, 24 hours).
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from gramme.kernel.ids import Slot
from gramme.kernel.time import Stamp
from gramme.node.evaluator import Read, Scan
from gramme.node.mutation import CHANGES, change_key, decode_change, place_of_change, slot_of_change
from gramme.node.state_rows import CHANGE_LOG_ROW, applied_slot
from gramme.tables.indexes import PartitionSchema
from gramme.tables.streams import MAX_STREAMS, Change, Changes, Position, ReadChanges


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """What this partition wrote of one stream: the slots behind `first`, up to `last` (None: open), closed at the stamp
    `closed`. The slots `first` and `last` themselves hold the commands that opened and closed it."""

    label: str
    first: Slot
    last: Slot | None = None
    closed: Stamp | None = None


class ChangeLog(msgspec.Struct, frozen=True, array_like=True):
    """See the module. `shards` are in the order of their slots, and do not overlap."""

    confirmed: int = 0
    trimmed: int = 0
    shards: tuple[Shard, ...] = ()

    @property
    def open(self) -> Shard | None:
        """The shard that is being written, if any: the last one."""
        return self.shards[-1] if self.shards and self.shards[-1].last is None else None

    def shard(self, label: str) -> Shard | None:
        """The shard of one stream."""
        return next((shard for shard in self.shards if shard.label == label), None)


EMPTY: Final = ChangeLog()

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(ChangeLog).decode


def read_log(read: Read, schema: PartitionSchema) -> ChangeLog:
    """The change log. The shard of a stream that began with the group has no row until something happens to it."""
    stored = read(CHANGE_LOG_ROW)
    log = EMPTY if stored is None else _unpack(stored)
    if schema.stream is None or log.shard(schema.stream) is not None:
        return log
    return replace(log, shards=(*log.shards, Shard(schema.stream, Slot(0))))


def log_row(log: ChangeLog) -> tuple[bytes, bytes]:
    """The row to put."""
    return CHANGE_LOG_ROW, _pack(log)


# --- commands


def configured(log: ChangeLog, before: PartitionSchema, after: PartitionSchema, slot: Slot, stamp: Stamp) -> ChangeLog:
    """The log when the schema `after` replaces `before` in `slot`."""
    shards = log.shards
    if log.open is not None and after.stream != log.open.label:
        shards = (*shards[:-1], replace(log.open, last=slot, closed=stamp))
    if after.stream is not None and after.stream != before.stream:
        shards = (*shards[1 - MAX_STREAMS :], Shard(after.stream, slot))  # the catalog keeps no more streams either
    # While nothing was fed there was nothing to confirm. A first index begins here and need not read what is older.
    confirmed = log.confirmed if before.feeds else slot
    return ChangeLog(confirmed, log.trimmed, shards)


def trimmed(
    log: ChangeLog, feeds: bool, applied: Slot, confirmed: int, expired: int, forgotten: tuple[str, ...]
) -> tuple[ChangeLog, list[tuple[int, int]]]:
    """The log when indexes have confirmed slots up to `confirmed` and records of those up to `expired` are too old; and
    the ranges of slots (after, through) whose records go. Without indexes everything `applied` is confirmed."""
    confirmed = max(log.confirmed, confirmed if feeds else applied)
    shards = tuple(shard for shard in log.shards if shard.last is None or shard.label not in forgotten)
    head = max(log.trimmed, min(expired, confirmed) if shards else confirmed)
    ranges = [(log.trimmed, head)]
    if shards and shards[-1].last is not None:  # what follows the last shard is nobody's once it is confirmed
        ranges.append((max(head, log.confirmed, shards[-1].last), confirmed))
    after = ChangeLog(confirmed, head, shards)
    return after, [(behind, through) for behind, through in ranges if through > behind]


def erased(ranges: list[tuple[int, int]]) -> list[tuple[bytes, bytes]]:
    """Ranges of rows (space-prefixed, start inclusive, end exclusive) for ranges of slots."""
    return [(change_key(behind + 1, 0), change_key(through + 1, 0)) for behind, through in ranges]


def by_key(
    log: ChangeLog, ranges: list[tuple[int, int]], keys: list[bytes]
) -> tuple[list[tuple[int, int]], list[bytes]]:
    """`ranges` up to what was confirmed before, and, behind that, the rows to delete one by one: `keys` are all there
    are. An engine bears many small deletions better than many small ranges, which every later read has to look at."""
    old = [(behind, min(through, log.confirmed)) for behind, through in ranges if behind < log.confirmed]
    new = [
        CHANGES + key
        for key in keys
        if (slot := slot_of_change(CHANGES + key)) > log.confirmed and any(b < slot <= t for b, t in ranges)
    ]
    return old, new


# --- reads


def read_changes(request: ReadChanges, schema: PartitionSchema, get: Read, scan: Scan) -> Changes:
    """Records of one shard, as far as they are applied here. A stream of which this replica has not heard yet has no
    records yet; the catalog tells whether there is such a stream.

    A reader at the end is told to go on behind all that is applied, not behind the last record: else it would seem to
    have missed something once that record has expired.
    """
    log = read_log(get, schema)
    shard = log.shard(request.label)
    if shard is None:
        return Changes([], request.start, Position(0, 0), request.start, 0)
    oldest = Position(max(shard.first, log.trimmed) + 1, 0)
    behind = applied_slot(get) + 1
    end = max(Position(behind if shard.last is None else min(shard.last, behind), 0), oldest, key=_order)
    start = max(request.start, oldest, key=_order)
    if not request.limit or _order(start) >= _order(end):
        return Changes([], start, oldest, end, shard.first, shard.last)
    records, more = _records(request, start, end, scan)
    after = _behind(records[-1].at) if more else end
    return Changes(records, after, oldest, end, shard.first, shard.last)


def _records(request: ReadChanges, start: Position, end: Position, scan: Scan) -> tuple[list[Change], bool]:
    """A page, and whether something may follow it."""
    records: list[Change] = []
    size = 0
    for key, value in scan(change_key(*_order(start)), change_key(*_order(end)), False):
        size += len(value)
        if records and (size > request.max_bytes or len(records) == request.limit):
            return records, True
        change = decode_change(value)
        at = Position(*place_of_change(key))
        records.append(Change(at, change.stamp, change.old, change.new, change.service))
    return records, False


def _order(position: Position) -> tuple[int, int]:
    return position.slot, position.index


def _behind(position: Position) -> Position:
    return Position(position.slot, position.index + 1)
