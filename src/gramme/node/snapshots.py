"""Snapshots: how a replica that is too far behind the retained log catches up.

The leader streams the rows of one applied slot, from one consistent view, in acknowledged chunks. The receiver writes
them by plain batches into a fresh extent; one batch, flushed before the log is cut, makes that extent the replica's;
then the old one is deleted. Never written over live state. Source: REPLICATION.md §6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gramme.kernel.errors import Stalled
from gramme.kernel.ids import NO_COMMAND_ID, CommandId, ExtentId, GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant, Stamp
from gramme.node.alarm import Alarm
from gramme.node.applied_rows import applied_row, pack_applied, read_configuration
from gramme.node.extents import FreshExtents, clear_extent, map_extent
from gramme.node.host import Host
from gramme.node.messages import SnapshotAck, SnapshotChunk
from gramme.node.partition import PartitionReplica
from gramme.node.totals import TOTALS_ROW, decode_totals, rows_and_bytes
from gramme.paxos.entry import Mark
from gramme.storage.engine.contract import Batch
from gramme.storage.engine.rows import Space, extent_range, row_key

_CHUNK_BYTES: Final = 256 << 10
_CHUNK_ROWS: Final = 1_000
_WINDOW: Final = 4
_PATIENCE_NS: Final = 5 * SECOND
_STALL_RETRY_NS: Final = 10 * MILLISECOND
_PREFIX_BYTES: Final = 8


class _Sending:
    """One snapshot on its way from this leader to one peer."""

    __slots__ = (
        "ballot", "id", "last_ack", "mark", "next_seq", "outcomes", "partition", "peer", "rows", "sent_all",
        "sent_bytes", "sent_rows", "unacked", "waits",
    )  # fmt: skip

    def __init__(self, id_: int, partition: PartitionReplica, peer: NodeId, rows: Iterator[tuple[bytes, bytes]],
                 now: Instant) -> None:  # fmt: skip
        self.id = id_
        self.partition = partition
        self.peer = peer
        self.rows = rows
        self.mark = partition.rows.applied
        self.ballot = partition.replica.ballot
        self.outcomes = partition.outcomes.export()
        self.next_seq = 0
        self.unacked = 0
        self.last_ack = now
        self.sent_all = False
        self.sent_rows = 0
        self.sent_bytes = 0
        self.waits = False  # for its turn


class SnapshotSender:
    """Streams snapshots of groups that this node leads; one per (group, peer) at a time, all of them together no faster
    than `bytes_per_s`: copies are made in the background of what clients do."""

    def __init__(self, host: Host, bytes_per_s: int) -> None:
        self._host = host
        self._ns_per_byte = SECOND / bytes_per_s
        self._free_at = Instant(0)  # what was sent so far is paid for
        self._sending: dict[tuple[GroupId, NodeId], _Sending] = {}
        self._alarm = Alarm(host, self._check)
        self.sent = 0

    def start(self, partition: PartitionReplica, peer: NodeId) -> None:
        """Begin a snapshot of what is applied now. Ends with `replica.snapshot_sent`, done or not."""
        key = (partition.spec.group, peer)
        if key in self._sending:
            return
        start, end = extent_range(partition.rows.extent)
        rows = self._host.ports.engine.scan(start + bytes((Space.META + 1,)), end)
        sending = _Sending(self._host.ports.rng.randrange(1 << 48), partition, peer, rows, self._host.now())
        self._sending[key] = sending
        self._fill(sending)
        self._alarm.arm(SECOND)

    def on_ack(self, source: NodeId, message: SnapshotAck) -> None:
        """The peer has a chunk: send another, or finish."""
        sending = self._sending.get((message.group, source))
        if sending is None or sending.id != message.snapshot:
            return
        sending.last_ack = self._host.now()
        sending.unacked -= 1
        if message.refused or (sending.sent_all and message.seq == sending.next_seq - 1):
            self._end(sending)
        else:
            self._fill(sending)

    def _fill(self, sending: _Sending) -> None:
        while sending.unacked < _WINDOW and not sending.sent_all:
            now = self._host.now()
            if self._free_at > now:
                self._fill_later(sending)
                return
            before = sending.sent_bytes
            self._host.send(sending.peer, self._next_chunk(sending))
            sending.unacked += 1
            self._free_at = Instant(now + int((sending.sent_bytes - before) * self._ns_per_byte))

    def _fill_later(self, sending: _Sending) -> None:
        if not sending.waits:
            sending.waits = True
            self._host.ports.scheduler.call_at(self._free_at, lambda: self._go_on(sending))

    def _go_on(self, sending: _Sending) -> None:
        sending.waits = False
        if not self._host.stopped and self._sending.get((sending.partition.spec.group, sending.peer)) is sending:
            self._fill(sending)

    def progress(self, group: GroupId) -> list[dict[str, int]]:
        """Of each copy of `group` on its way: rows and bytes sent, and how much there is by the group's totals."""
        found = []
        for (_, peer), sending in self._sending.items():
            partition = sending.partition
            if partition.spec.group == group:
                rows, size = rows_and_bytes(decode_totals(partition.rows.get(TOTALS_ROW)))
                found.append({
                    "node": peer, "sent_rows": sending.sent_rows, "sent_bytes": sending.sent_bytes,
                    "rows": rows, "bytes": size,
                })  # fmt: skip
        return found

    def _next_chunk(self, sending: _Sending) -> SnapshotChunk:
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        for key, value in sending.rows:
            if key[_PREFIX_BYTES] == Space.OUTCOMES:
                continue  # those that once came to this node; `outcomes` has what still counts
            rows.append((key[_PREFIX_BYTES:], value))
            size += len(key) + len(value)
            if size >= _CHUNK_BYTES or len(rows) >= _CHUNK_ROWS:
                break
        else:
            sending.sent_all = True
        sending.sent_rows += len(rows)
        sending.sent_bytes += size
        outcomes, sending.outcomes = sending.outcomes, []
        mark = sending.mark
        seq, sending.next_seq = sending.next_seq, sending.next_seq + 1
        return SnapshotChunk(
            sending.partition.spec.group, sending.id, seq, mark.slot, mark.crc, mark.stamp,
            sending.partition.replica.configuration.number, rows, outcomes, sending.sent_all,
            not sending.partition.outcomes.doubted(self._host.now()), sending.ballot,
        )  # fmt: skip

    def _end(self, sending: _Sending) -> None:
        self._sending.pop((sending.partition.spec.group, sending.peer), None)
        self.sent += 1
        partition = sending.partition
        partition.execute(partition.replica.snapshot_sent(sending.peer, self._host.now()))

    def _check(self) -> None:
        """Give up on peers that have stopped acknowledging: the leader will find out again what they need."""
        now = self._host.now()
        for sending in list(self._sending.values()):
            if now - sending.last_ack > _PATIENCE_NS or not sending.partition.leading:
                self._end(sending)
        if self._sending:
            self._alarm.arm(SECOND)


class _Receiving:
    """One snapshot on its way into a fresh extent of this node."""

    __slots__ = ("extent", "id", "next_seq", "outcomes", "source")

    def __init__(self, id_: int, source: NodeId, extent: ExtentId) -> None:
        self.id = id_
        self.source = source
        self.extent = extent
        self.next_seq = 0
        self.outcomes: list[tuple[CommandId, bytes]] = []


class SnapshotReceiver:
    """Takes snapshots in; one per group at a time, a newer one replaces an unfinished one."""

    def __init__(
        self, host: Host, partition: Callable[[GroupId], PartitionReplica | None], extents: FreshExtents
    ) -> None:
        self._host = host
        self._partition = partition
        self._receiving: dict[GroupId, _Receiving] = {}
        self._extents = extents
        self._finishing: dict[GroupId, None] = {}  # being made durable: nothing else may be begun until they are
        self.installed = 0

    def on_chunk(self, source: NodeId, chunk: SnapshotChunk) -> None:
        """Write a chunk's rows; chunks that come twice or out of order change nothing."""
        if chunk.group in self._finishing:
            return
        partition = self._partition(chunk.group)
        if partition is None or partition.leading or partition.rows.applied.slot >= chunk.slot:
            self._refuse(source, chunk)
            return
        receiving = self._receiving.get(chunk.group)
        if receiving is None or receiving.id != chunk.snapshot:
            if chunk.seq != 0:
                self._refuse(source, chunk)
                return
            receiving = self._begin(source, chunk)
        if chunk.seq != receiving.next_seq:
            return
        self._take(receiving, chunk, partition)

    def forget(self, group: GroupId) -> None:
        """The group's replica was dropped: a snapshot that was on its way to it is not for the one that may follow."""
        self._receiving.pop(group, None)

    def _begin(self, source: NodeId, chunk: SnapshotChunk) -> _Receiving:
        extent = self._extents.take(self._host.ports.engine, chunk.group)
        receiving = self._receiving[chunk.group] = _Receiving(chunk.snapshot, source, extent)
        return receiving

    def _take(self, receiving: _Receiving, chunk: SnapshotChunk, partition: PartitionReplica) -> None:
        if self._receiving.get(chunk.group) is not receiving or chunk.seq != receiving.next_seq:
            return
        batch = Batch()
        if chunk.seq == 0:
            clear_extent(batch, receiving.extent)  # an attempt before a crash may have left rows here
        prefix = receiving.extent.to_bytes(8, "big")
        for key, value in chunk.rows:
            batch.put(prefix + key, value)
        for command_id, reply in chunk.outcomes:
            # The log that a restart would rebuild them from is not here.
            batch.put(row_key(receiving.extent, Space.OUTCOMES, command_id), reply)
        if not chunk.outcomes_known:
            receiving.outcomes.append((NO_COMMAND_ID, b""))
            batch.put(row_key(receiving.extent, Space.OUTCOMES, NO_COMMAND_ID), b"")
        try:
            self._host.ports.engine.write(batch)
        except Stalled:
            retry = Instant(self._host.now() + _STALL_RETRY_NS)
            self._host.ports.scheduler.call_at(retry, lambda: self._retry(receiving, chunk))
            return
        receiving.next_seq += 1
        receiving.outcomes += chunk.outcomes
        if chunk.done:
            self._finish(receiving, chunk, partition)
        else:
            self._host.send(receiving.source, SnapshotAck(chunk.group, chunk.snapshot, chunk.seq))

    def _retry(self, receiving: _Receiving, chunk: SnapshotChunk) -> None:
        partition = self._partition(chunk.group)
        if not self._host.stopped and partition is not None:
            self._take(receiving, chunk, partition)

    def _finish(self, receiving: _Receiving, chunk: SnapshotChunk, partition: PartitionReplica) -> None:
        """All rows are here: make the extent the replica's in one batch, flush, then cut the log. Unless the replica is
        as far by now: while a stalled engine kept the last chunk waiting, it may have applied what it had."""
        del self._receiving[chunk.group]
        mark = Mark(chunk.slot, chunk.crc, Stamp(chunk.stamp))
        batch = Batch()
        if partition.rows.applied.slot >= chunk.slot:
            clear_extent(batch, receiving.extent)
            self._clear(batch)
            self._refuse(receiving.source, chunk)
            return
        map_extent(batch, chunk.group, receiving.extent)
        batch.put(applied_row(receiving.extent), pack_applied(mark))
        try:
            self._host.ports.engine.write(batch)
        except Stalled:
            self._refuse(receiving.source, chunk)
            return
        self._finishing[chunk.group] = None
        partition.pause_applying()
        self._host.ports.engine.flush(lambda: self._flushed(receiving, chunk, partition, mark))

    def _flushed(self, receiving: _Receiving, chunk: SnapshotChunk, partition: PartitionReplica, mark: Mark) -> None:
        if self._host.stopped:
            return
        del self._finishing[chunk.group]
        batch = Batch()
        if self._partition(chunk.group) is not partition:  # dropped meanwhile
            clear_extent(batch, receiving.extent)
            self._clear(batch)
            return
        old = partition.rows.extent
        partition.switch_extent(receiving.extent, mark, receiving.outcomes)
        now = self._host.now()
        configuration = read_configuration(self._host.ports.engine, receiving.extent)
        installed = partition.replica.snapshot_installed(
            mark.slot, mark.crc, mark.stamp, configuration, now, chunk.ballot
        )
        partition.execute(installed)
        partition.resume_applying()
        clear_extent(batch, old)
        self._clear(batch)
        self.installed += 1
        self._host.send(receiving.source, SnapshotAck(chunk.group, chunk.snapshot, chunk.seq))

    def _clear(self, batch: Batch) -> None:
        """Delete the old extent's rows; a stalled engine is asked again (they are unreachable either way)."""
        try:
            self._host.ports.engine.write(batch)
        except Stalled:
            retry = Instant(self._host.now() + _STALL_RETRY_NS)
            self._host.ports.scheduler.call_at(retry, lambda: None if self._host.stopped else self._clear(batch))

    def _refuse(self, source: NodeId, chunk: SnapshotChunk) -> None:
        self._host.send(source, SnapshotAck(chunk.group, chunk.snapshot, chunk.seq, refused=True))
