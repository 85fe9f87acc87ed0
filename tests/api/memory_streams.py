"""Streams of the in-memory backend: what the catalog makes of a table's streams, and shards as lists.

Places are as in a partition's log: a slot for the command that opens a shard, one for each change, one for its end."""

from __future__ import annotations

from gramme.kernel.ids import GroupId
from gramme.kernel.time import Stamp, Timestamp
from gramme.node.catalog import streams as catalog_streams
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.streams import (
    Change,
    Changes,
    DescribeStream,
    Position,
    ReadChanges,
    StreamDescriptor,
    StreamList,
    StreamRequest,
)


class _Shard:
    def __init__(self, first: int) -> None:
        self.first = first
        self.last: int | None = None
        self.trimmed = 0
        self.changes: list[Change] = []


class MemoryStreams:
    """All streams of one backend."""

    def __init__(self) -> None:
        self.slot = 0
        self.asked = 0  # requests to the catalog
        self._streams: dict[str, tuple[StreamDescriptor, ...]] = {}  # by table name
        self._shards: dict[tuple[str, GroupId], _Shard] = {}  # by label and group

    def latest_label(self, name: str) -> str:
        return catalog_streams.latest_label(self._streams.get(name, ()))

    def table_changed(self, before: TableDescriptor | None, after: TableDescriptor, now: Timestamp) -> None:
        """A table was made, changed or (with `after` without a stream) deleted."""
        streams = catalog_streams.changed(self._streams.get(after.name, ()), before, after, now)
        self._streams[after.name] = catalog_streams.settled(streams, after.table_id)
        old = None if before is None else before.stream
        for place in after.partitions:
            self.slot += 1
            if old is not None and old != after.stream:
                self._shards[old.label, place.group].last = self.slot
            if after.stream is not None and old != after.stream:
                self._shards[after.stream.label, place.group] = _Shard(self.slot)

    def forget(self, name: str) -> None:
        """As 24 hours after the end."""
        for stream in self._streams.pop(name):
            for place in stream.partitions:
                del self._shards[stream.label, place.group]

    def write(
        self, table: TableDescriptor, place: Partition, old: bytes | None, new: bytes | None, now: int, service: bool
    ) -> None:
        """A change of an item."""
        self.slot += 1
        if table.stream is not None and old != new:
            shard = self._shards[table.stream.label, place.group]
            shard.changes.append(Change(Position(self.slot, 0), Stamp(now), old, new, service))

    def trim(self, label: str) -> None:
        """What has been written is older than 24 hours."""
        for (of, _), shard in self._shards.items():
            if of == label:
                shard.trimmed = self.slot
                shard.changes.clear()

    def read(self, place: Partition, request: ReadChanges) -> Changes:
        shard = self._shards.get((request.label, place.group))
        if shard is None:
            return Changes([], request.start, Position(0, 0), request.start, 0)
        oldest = Position(max(shard.first, shard.trimmed) + 1, 0)
        behind = self.slot + 1 if shard.last is None else shard.last
        end = max(Position(behind, 0), oldest, key=_order)
        start = max(_order(request.start), _order(oldest))
        if not request.limit or start >= _order(end):
            return Changes([], Position(*start), oldest, end, shard.first, shard.last)
        found: list[Change] = []
        size = 0
        for change in shard.changes:
            if _order(change.at) < start:
                continue
            size += len(change.old or b"") + len(change.new or b"")
            if found and (size > request.max_bytes or len(found) == request.limit):
                end = Position(found[-1].at.slot, found[-1].at.index + 1)
                return Changes(found, end, oldest, Position(behind, 0), shard.first, shard.last)
            found.append(change)
        return Changes(found, end, oldest, end, shard.first, shard.last)

    def catalog(self, request: StreamRequest) -> StreamList:
        self.asked += 1
        if isinstance(request, DescribeStream):
            streams = self._streams.get(request.table, ())
            return StreamList(tuple(stream for stream in streams if stream.label == request.label))
        names = sorted(self._streams) if request.table is None else [request.table]
        found = [stream for name in names for stream in self._streams.get(name, ())]
        if request.after is not None:
            found = [stream for stream in found if (stream.table, stream.label) > request.after]
        return StreamList(tuple(found[: request.limit]), more=len(found) > request.limit)


def _order(at: Position) -> tuple[int, int]:
    return at.slot, at.index
