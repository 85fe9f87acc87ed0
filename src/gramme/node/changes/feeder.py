"""Feeders: keep global indexes after their table. One per base partition, at its leader.

A base partition writes a change record (old and new image) in the same mutation as the item. Its feeder reads the
records in the order of slots, works out which entries of which index they replace, and sends these in batches to the
leaders of the index's partitions, one batch at a time to each (a *lane*). What all lanes have confirmed it tells the
partition's retention (`gramme.node.changes.retention`), which writes it down and deletes what nobody else needs either.

Rules. (1) A lane's batches are numbered within the epoch (the ballot under which this feeder leads), and an index
partition takes a batch only if it is the next one: whatever is late, sent twice, or sent by a deposed leader changes
nothing. A new leader's first batch is empty and fences off the earlier ones; its answer says how far they got. (2) An
item lives in one base partition, so the order within a lane is the order of the item's changes. (3) The backfill of a
new index reads a chunk of rows only in a step in which every change applied so far stands in the lanes already: what
the chunk says is then as new as the lane, and later changes follow behind it. A new leader scans again from the start;
rows that the first scan left behind are corrected by the changes since, which are kept until their lane has them.
(4) What is not confirmed is bounded: past the bound the base partition refuses writes (row B10). (5) A new leader reads
from what was last written down as confirmed, however many older records a stream keeps.

Source: DESIGN.md §4; AWS developer guide, "Global secondary indexes" (eventual, asynchronous, back-pressure).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gramme.kernel.ids import Ballot, CommandId, GroupId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.changes.change_log import read_log
from gramme.node.changes.item_changes import ITEMS, ITEMS_END
from gramme.node.host import Host
from gramme.node.mutation import CHANGES_END, ChangeRecord, change_key, decode_change, slot_of_change
from gramme.node.partition import PartitionReplica
from gramme.node.table_evaluator import is_filled
from gramme.tables.descriptor import Index, Partition
from gramme.tables.indexes import Entry, PartitionSchema, entry_of
from gramme.tables.item import decode_item, item_json
from gramme.tables.requests import ApplyIndex, BackfillDone, Configured, IndexApplied

MAX_BACKLOG_ROWS: Final = 10_000
MAX_BACKLOG_BYTES: Final = 16 << 20
_STEP_ROWS: Final = 100  # change records or backfilled items worked out in one step of the loop
_STEP_BYTES: Final = 256 << 10
_QUEUED_ROWS: Final = 2_000  # read and not confirmed by every lane: bounds the feeder's memory
_QUEUED_BYTES: Final = 4 << 20
_BATCH_ROWS: Final = 500
_BATCH_BYTES: Final = 512 << 10
_RETRY_NS: Final = 50 * MILLISECOND
_PATIENCE_NS: Final = 5 * SECOND

Send = Callable[[Partition, Any, Instant, Callable[[Any], None]], None]
Row = tuple[bytes, bytes | None, int]
Delays = dict[tuple[str, int], int]
"""By table id and number of an index: how long its batches are kept back (nanoseconds). Empty but in tests."""


class _Piece(NamedTuple):
    """Rows for a lane, and the slot up to which all changes are in this or an earlier piece."""

    slot: int
    rows: list[Row]
    size: int


class _Lane:
    """What goes from this base partition to one partition of one index."""

    __slots__ = ("batch", "busy", "greeted", "index", "pieces", "place", "queue", "ripe", "ripening", "seq")

    def __init__(self, index: Index, place: Partition) -> None:
        self.index = index
        self.place = place
        self.queue: deque[_Piece] = deque()
        self.seq = 0
        self.greeted = False
        self.busy = False
        self.batch: ApplyIndex | None = None  # sent, not confirmed: sent again unchanged
        self.pieces = 0  # of the queue that `batch` holds
        self.ripe = 0  # of a delayed index: slots up to here may be sent
        self.ripening = 0  # slots up to here have a timer that says when they may be

    def add(self, piece: _Piece) -> None:
        self.queue.append(piece)

    def confirmed(self, read: int) -> int:
        """The slot up to which this lane needs nothing any more, when changes up to `read` have been read."""
        return min(read, self.queue[0].slot - 1) if self.queue else read


class _Read(NamedTuple):
    """A change record that was read."""

    slot: int
    key: bytes
    size: int


class _Backfill:
    """The scan that feeds an index that was added to a live table."""

    __slots__ = ("begun", "finished", "next")

    def __init__(self) -> None:
        self.begun = False
        self.next: bytes | None = ITEMS  # None: every row is in the lanes
        self.finished = False


class Feeder:
    """Feeds the global indexes of one base partition that this node leads. `stop` is final."""

    def __init__(
        self,
        host: Host,
        send: Send,
        partition: PartitionReplica,
        schema: PartitionSchema,
        on_confirmed: Callable[[], None],
        delays: Delays,
    ) -> None:
        """`delays` may change while this feeder runs; `wake` it then."""
        self._host = host
        self._send = send
        self._partition = partition
        self._on_confirmed = on_confirmed
        self._delays = delays
        leader = partition.replica.leader
        assert leader is not None
        self._epoch: Ballot = leader.ballot
        self._stopped = False
        self._awake = False
        self._lanes: dict[GroupId, _Lane] = {}
        self._indexes: dict[int, Index] = {}
        self._backfills: dict[int, _Backfill] = {}
        self._key = schema.key
        self.confirmed = read_log(partition.rows.get, schema).confirmed
        self._read_slot = self.confirmed
        self._unread = change_key(self.confirmed + 1, 0)  # where reading goes on
        self._reads: deque[_Read] = deque()  # not confirmed by every lane
        self._spent: deque[_Read] = deque()  # confirmed, and that is not written down yet
        self._read_bytes = 0
        self._rows = 0  # change records that some lane has not confirmed, read or not
        self._bytes = 0
        self._counted = partition.rows.applied.slot
        for _, value in partition.rows.scan(self._unread, CHANGES_END, False):
            self._rows += 1
            self._bytes += len(value)
        self.configure(schema)

    # --- what happens around it ---------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Change records that some index has not confirmed."""
        return self._rows

    def configure(self, schema: PartitionSchema) -> None:
        """Indexes came or went."""
        self._indexes = {index.number: index for index in schema.indexes if index.kind == "GLOBAL"}
        lanes: dict[GroupId, _Lane] = {}
        for index in self._indexes.values():
            for place in index.partitions:
                lanes[place.group] = self._lanes.get(place.group) or _Lane(index, place)
        self._lanes = lanes
        get = self._partition.rows.get
        self._backfills = {
            number: self._backfills.get(number) or _Backfill()
            for number, index in self._indexes.items()
            if index.backfill and not is_filled(get, number)
        }
        self._bound()
        self.wake()

    def recorded(self, slot: int, changes: list[ChangeRecord]) -> None:
        """More change records are applied."""
        if slot <= self._counted:
            return
        self._rows += len(changes)
        self._bytes += sum(len(c.old or b"") + len(c.new or b"") for c in changes)
        self._bound()
        self.wake()

    def stop(self) -> None:
        """This node leads no more, or the partition is gone."""
        self._stopped = True
        self._partition.backlogged = ""

    def _bound(self) -> None:
        full = self._rows >= MAX_BACKLOG_ROWS or self._bytes >= MAX_BACKLOG_BYTES
        slowest = min(self._lanes.values(), key=lambda lane: lane.confirmed(self._read_slot), default=None)
        self._partition.backlogged = slowest.index.name if full and slowest is not None else ""

    def wake(self) -> None:
        """Go on at the end of this turn."""
        if not self._awake and not self._stopped:
            self._awake = True
            self._host.ports.scheduler.call_soon(self._step)

    def _later(self, delay_ns: int, action: Callable[[], None]) -> None:
        def fire() -> None:
            if not self._stopped and not self._host.stopped:
                action()

        self._host.ports.scheduler.call_at(Instant(self._host.now() + delay_ns), fire)

    def _step(self) -> None:
        self._awake = False
        if self._stopped or self._host.stopped:
            return
        if self._read_changes():
            self._read_backfills()
        else:
            self._awake_if_room()
        for lane in self._lanes.values():
            self._feed(lane)
        self._confirm()

    def _confirm(self) -> None:
        """Let go of what every lane has confirmed."""
        confirmed = min((lane.confirmed(self._read_slot) for lane in self._lanes.values()), default=self._read_slot)
        while self._reads and self._reads[0].slot <= confirmed:
            read = self._reads.popleft()
            self._spent.append(read)
            self._read_bytes -= read.size
            self._rows -= 1
            self._bytes -= read.size
        self._bytes = max(0, self._bytes) if self._rows else 0
        if confirmed > self.confirmed:
            self.confirmed = confirmed
            self._bound()
            self.wake()
            self._on_confirmed()

    def spent(self) -> list[bytes]:
        """Keys, in space CHANGES, of the records that all lanes have confirmed since that was last written down."""
        return [read.key for read in self._spent]

    def written_down(self, confirmed: int) -> None:
        """The partition knows what all lanes have confirmed, up to this slot."""
        while self._spent and self._spent[0].slot <= confirmed:
            self._spent.popleft()
        self.wake()

    def _awake_if_room(self) -> None:
        if self._has_room():
            self.wake()

    def _has_room(self) -> bool:
        return len(self._reads) + len(self._spent) < _QUEUED_ROWS and self._read_bytes < _QUEUED_BYTES

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read_changes(self) -> bool:
        """Put the next change records into the lanes; True if every record that is applied has been read."""
        size = 0
        for count, (key, value) in enumerate(self._partition.rows.scan(self._unread, CHANGES_END, False)):
            slot = slot_of_change(key)
            if (count >= _STEP_ROWS or size >= _STEP_BYTES or not self._has_room()) and slot > self._read_slot:
                return False
            self._take_change(slot, decode_change(value))
            self._reads.append(_Read(slot, key[1:], len(value)))
            self._read_bytes += len(value)
            self._unread = key + b"\0"
            self._read_slot = slot
            size += len(value)
        return True

    def _take_change(self, slot: int, change: ChangeRecord) -> None:
        old = None if change.old is None else decode_item(change.old)
        new = None if change.new is None else decode_item(change.new)
        for index in self._indexes.values():
            before = None if old is None else entry_of(index, self._key, change.key, old, change.old or b"")
            after = None if new is None else entry_of(index, self._key, change.key, new, change.new or b"")
            if before == after:
                continue
            if before is not None and (after is None or after.key != before.key):
                self._queue(index, slot, [(before.key, None, 0)], len(before.key))
            if after is not None:
                self._queue_put(index, slot, after)

    def _queue_put(self, index: Index, slot: int, entry: Entry) -> None:
        self._queue(index, slot, [entry], len(entry.key) + len(entry.json))

    def _queue(self, index: Index, slot: int, rows: list[Row], size: int) -> None:
        self._lane_of(index, rows[0][0]).add(_Piece(slot, rows, size))

    def _lane_of(self, index: Index, key: bytes) -> _Lane:
        places = index.partitions
        return self._lanes[places[bisect_right(places, key, key=_start) - 1].group]

    # --- backfill -----------------------------------------------------------------------------------------------------

    def _read_backfills(self) -> None:
        """Called only when every applied change is in the lanes: what is read now is as new as they are."""
        for number, backfill in self._backfills.items():
            index = self._indexes[number]
            lanes = [self._lanes[place.group] for place in index.partitions]
            if not all(lane.greeted for lane in lanes) or any(len(lane.queue) > _BATCH_ROWS for lane in lanes):
                continue
            if backfill.next is not None:
                self._read_chunk(index, backfill, lanes)
            elif not backfill.finished and not any(lane.queue for lane in lanes):
                backfill.finished = True
                self._finish(number, backfill)

    def _read_chunk(self, index: Index, backfill: _Backfill, lanes: list[_Lane]) -> None:
        assert backfill.next is not None
        slot = self._partition.rows.applied.slot
        size = 0
        start, backfill.next = backfill.next, None
        for count, (row, stored) in enumerate(self._partition.rows.scan(start, ITEMS_END, False)):
            if count >= _STEP_ROWS or size >= _STEP_BYTES:
                backfill.next = row
                break
            size += len(stored)
            json = item_json(stored)
            entry = entry_of(index, self._key, row[1:], decode_item(json), json)
            if entry is not None:
                self._queue_put(index, slot, entry)
        if backfill.next is None:
            for lane in lanes:  # even an empty lane must hear of the slot at which it begins
                lane.add(_Piece(slot, [], 0))
        self.wake()

    def _finish(self, number: int, backfill: _Backfill) -> None:
        def done(reply: Any) -> None:
            if isinstance(reply, Configured):
                self._backfills.pop(number, None)
            else:
                self._later(_RETRY_NS, lambda: self._finish(number, backfill))

        if self._backfills.get(number) is backfill:
            self._partition.submit(BackfillDone(number), self._draw(), done)

    # --- sending ------------------------------------------------------------------------------------------------------

    def _feed(self, lane: _Lane) -> None:
        """Send the next batch, or the same one again, unless one is on its way."""
        if lane.busy or self._stopped or self._lanes.get(lane.place.group) is not lane:
            return
        if lane.batch is None:
            if lane.greeted and (not lane.queue or (self._delays and self._held_back(lane))):
                return
            lane.batch = self._batch(lane)
        lane.busy = True
        deadline = Instant(self._host.now() + _PATIENCE_NS)
        self._send(lane.place, lane.batch, deadline, lambda reply: self._answered(lane, reply))

    def _held_back(self, lane: _Lane) -> bool:
        """Whether the delay of this lane's index (test control `stale`) keeps back all that it holds."""
        newest = lane.queue[-1].slot
        delay_ns = self._delays.get((self._partition.spec.table_id, lane.index.number))
        if delay_ns is None:
            lane.ripe = newest
        elif newest > max(lane.ripe, lane.ripening):
            lane.ripening = newest
            self._later(delay_ns, lambda: self._ripen(lane, newest))
        return lane.queue[0].slot > lane.ripe

    def _ripen(self, lane: _Lane, slot: int) -> None:
        lane.ripe = max(lane.ripe, slot)
        self._feed(lane)

    def _batch(self, lane: _Lane) -> ApplyIndex:
        rows: list[Row] = []
        size = through = lane.pieces = 0
        for piece in lane.queue if lane.greeted else ():
            if rows and (len(rows) + len(piece.rows) > _BATCH_ROWS or size + piece.size > _BATCH_BYTES):
                break
            if self._delays and piece.slot > lane.ripe:
                break
            rows += piece.rows
            size += piece.size
            through = piece.slot
            lane.pieces += 1
        if lane.pieces < len(lane.queue) and lane.queue[lane.pieces].slot == through:
            through -= 1  # the rest of this slot is in the next batch
        return ApplyIndex(self._partition.spec.group, self._epoch, lane.seq, through, rows)

    def _answered(self, lane: _Lane, reply: Any) -> None:
        lane.busy = False
        if self._stopped or self._host.stopped:
            return
        if not isinstance(reply, IndexApplied) or (reply.epoch, reply.seq) != (self._epoch, lane.seq):
            # Nobody served it, or a feeder of a later epoch is there and this one is about to hear of it.
            self._later(_RETRY_NS, lambda: self._feed(lane))
            return
        lane.batch = None
        lane.seq += 1
        if lane.greeted:
            for _ in range(lane.pieces):
                lane.queue.popleft()
        else:
            self._greeted(lane, reply.through)
        self._bound()
        self.wake()

    def _greeted(self, lane: _Lane, through: int) -> None:
        """The index's partition has changes up to `through`. One that has nothing yet, of an index to be backfilled,
        begins here and now: changes before the index existed were not all recorded, so none of them may count."""
        lane.greeted = True
        if through == 0 and lane.index.number in self._backfills:
            through = self._partition.rows.applied.slot
        while lane.queue and lane.queue[0].slot <= through:
            lane.queue.popleft()

    def _draw(self) -> CommandId:
        return CommandId(self._host.ports.rng.randbytes(16))


def _start(place: Partition) -> bytes:
    return place.start
