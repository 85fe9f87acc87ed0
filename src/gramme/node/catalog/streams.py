"""The catalog's rows of streams: every incarnation of a table's stream, of the present and of the past 24 hours.

Pure: reads rows, says what they become. One row of space CATALOG per table name, `s/NAME` → its StreamDescriptors in
the order of their labels. A name may have had several tables: a stream belongs to one of them by `table_id`. The groups
of a deleted table's own partitions stay as long as one of its streams does (`gramme.node.catalog.stream_service`).
Source: API reference, DynamoDB Streams (a stream stays readable for 24 hours after it was disabled).
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

import msgspec
from msgspec.structs import replace

from gramme.kernel.ids import GroupId
from gramme.kernel.time import SECOND, Timestamp
from gramme.node.evaluator import Read, Scan
from gramme.storage.engine.rows import Space
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.streams import MAX_STREAMS, RETENTION_S, DescribeStream, ListStreams, StreamDescriptor, StreamList

FORGET_AFTER_NS: Final = (RETENTION_S + 300) * SECOND
"""A closed stream is forgotten this long after: when its last record is older than 24 hours by any clock."""

Row = tuple[bytes, bytes]
Streams = tuple[StreamDescriptor, ...]
Places = tuple[Partition, ...]

_STREAMS: Final = bytes((Space.CATALOG,)) + b"s/"
_STREAMS_END: Final = bytes((Space.CATALOG,)) + b"s0"

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Streams).decode


def stream_key(name: str) -> bytes:
    """The row of the streams of the tables called `name`."""
    return _STREAMS + name.encode()


def streams_row(read: Read, name: str) -> Streams:
    """The streams of the tables called `name`, oldest first."""
    stored = read(stream_key(name))
    return () if stored is None else _unpack(stored)


def all_streams(scan: Scan) -> list[StreamDescriptor]:
    """Every stream, by table name and label."""
    return [stream for _, value in scan(_STREAMS, _STREAMS_END, False) for stream in _unpack(value)]


def latest_label(streams: Streams) -> str:
    """The label that the next stream of this name must be later than."""
    return streams[-1].label if streams else ""


def kept_for(streams: Streams, table_id: str) -> bool:
    """Whether a stream of this table can still be read, so that its partitions must stay when it is deleted."""
    return any(stream.table_id == table_id for stream in streams)


def let_go(before: Streams, after: Streams, live: str | None) -> list[GroupId]:
    """The groups of deleted tables of which `after` has no stream any more; `live` is the id of the present table."""
    kept = {stream.table_id for stream in after}
    gone = {stream.table_id: stream.partitions for stream in before}
    return [
        place.group
        for table_id, partitions in gone.items()
        if table_id not in kept and table_id != live
        for place in partitions
    ]


def moved(scan: Scan, read: Read, table_ids: Container[str], now: Callable[[Places], Places]) -> list[Row]:
    """The rows of streams of tables with these ids, whose partitions stand elsewhere `now`."""
    names = dict.fromkeys(stream.table for stream in all_streams(scan) if stream.table_id in table_ids)
    rows: list[Row] = []
    for name in names:
        streams = tuple(
            replace(stream, partitions=now(stream.partitions)) if stream.table_id in table_ids else stream
            for stream in streams_row(read, name)
        )
        rows += written(name, streams)[0]
    return rows


# --- what becomes of a name's row


def written(name: str, streams: Streams) -> tuple[list[Row], list[bytes]]:
    """Rows to put and delete for a name with these streams."""
    return ([(stream_key(name), _pack(streams))], []) if streams else ([], [stream_key(name)])


def changed(streams: Streams, before: TableDescriptor | None, after: TableDescriptor, now: Timestamp) -> Streams:
    """A table's stream was turned on or off, or its table is being deleted or was just made with one. Of one name so
    many streams are kept; past that, the oldest that are closed go before their time."""
    old = None if before is None else before.stream
    if old is not None and old != after.stream:
        streams = closed(streams, after.table_id, now)
    if after.stream is None or after.stream == old:
        return streams
    opened = StreamDescriptor(
        table=after.name,
        table_id=after.table_id,
        label=after.stream.label,
        view=after.stream.view,
        key=after.key,
        created=now,
        partitions=after.partitions,
    )
    spare = sum(stream.closed is not None for stream in streams)
    return (*streams[min(spare, max(0, len(streams) + 1 - MAX_STREAMS)) :], opened)


def closed(streams: Streams, table_id: str, now: Timestamp) -> Streams:
    """The open stream of this table ends `now`."""
    return tuple(
        replace(stream, closed=now, status="DISABLING") if _is_open(stream, table_id) else stream for stream in streams
    )


def _is_open(stream: StreamDescriptor, table_id: str) -> bool:
    return stream.table_id == table_id and stream.closed is None


def settled(streams: Streams, table_id: str) -> Streams:
    """Every partition of this table knows what its stream is."""
    return tuple(
        stream
        if stream.table_id != table_id
        else replace(stream, status="ENABLED" if stream.closed is None else "DISABLED")
        for stream in streams
    )


def is_over(stream: StreamDescriptor, now: Timestamp | None) -> bool:
    """Whether the stream was closed so long ago that nothing of it is left; or closed at all (`now` None)."""
    return stream.closed is not None and (now is None or stream.closed + FORGET_AFTER_NS <= now)


# --- reads


def list_streams(request: ListStreams, read: Read, scan: Scan) -> StreamList:
    """Streams behind `request.after` in the order of (table, label)."""
    if request.table is not None:
        found = list(streams_row(read, request.table))
    else:
        start = _STREAMS if request.after is None else stream_key(request.after[0])
        found = []
        for _, value in scan(start, _STREAMS_END, False):
            found += _behind(_unpack(value), request)
            if len(found) > request.limit:
                break
    found = _behind(found, request)
    return StreamList(tuple(found[: request.limit]), more=len(found) > request.limit)


def _behind(streams: list[StreamDescriptor] | Streams, request: ListStreams) -> list[StreamDescriptor]:
    after = request.after
    return [stream for stream in streams if after is None or (stream.table, stream.label) > after]


def describe_stream(request: DescribeStream, read: Read) -> StreamList:
    """The one stream, or none."""
    return StreamList(tuple(s for s in streams_row(read, request.table) if s.label == request.label))
