"""Streams: how the changes of a table are named and numbered, and how they are asked for.

Owns the values. A *stream* is one incarnation: enabling, disabling and enabling again gives two, told apart by their
label. A *shard* is the part of a stream that one partition wrote: the slots from `first` to `last` of its log. A change
is identified by (partition, slot, index in the slot), which also gives its sequence number, so that no second log is
written (row H1). Source: API reference, DynamoDB Streams.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from gramme.kernel.time import MILLISECOND, Stamp, Timestamp
from gramme.tables.descriptor import KeySchema, Partition, ViewType

StreamStatus = Literal["ENABLING", "ENABLED", "DISABLING", "DISABLED"]

_EPOCH: Final = datetime(1970, 1, 1)

RETENTION_S: Final = 24 * 3600
"""How long a change stays readable."""

MAX_STREAMS: Final = 100
"""Incarnations of the stream of one table name that the catalog keeps: those of 24 h and the present one."""


class StreamDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    """One incarnation of a table's stream, as the catalog keeps it: that of the table now, or one of the past 24 h."""

    table: str
    table_id: str
    label: str  # ISO time of its beginning, e.g. 2026-11-20T14:03:07.123
    view: ViewType
    key: KeySchema
    created: Timestamp
    closed: Timestamp | None = None  # disabled, or its table deleted; readable for RETENTION_S from then on
    partitions: tuple[Partition, ...]
    status: StreamStatus = "ENABLING"


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in a shard: the record with `index` in `slot`, or where it would be."""

    slot: int
    index: int


class ReadChanges(msgspec.Struct, frozen=True, array_like=True, tag="ReadChanges"):
    """Records of one shard from position `start` on, as applied at whichever replica answers; `limit` 0 asks for the
    shard's bounds only."""

    label: str
    start: Position
    limit: int
    max_bytes: int = 1 << 20
    consistent: bool = False


class Change(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record: old and new image as canonical JSON, None where there is none."""

    at: Position
    stamp: Stamp  # of the slot: when it was written, wall nanoseconds
    old: bytes | None
    new: bytes | None
    service: bool = False  # made by the service itself (expiry)


class Changes(msgspec.Struct, frozen=True, array_like=True, tag="Changes"):
    """Answer to ReadChanges. `next`: where reading goes on; `end`, if there is nothing more. `oldest`: the first
    position that is not trimmed. `end`: behind everything that is applied here. `first`, `last`: the shard's slots;
    `last` None while it is open."""

    records: list[Change]
    next: Position
    oldest: Position
    end: Position
    first: int
    last: int | None = None


class ListStreams(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the catalog: streams of `table` (None: of all) behind (`after_table`, `after_label`), at most `limit`."""

    table: str | None
    after: tuple[str, str] | None
    limit: int


class DescribeStream(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the catalog: one stream, of the present or the past 24 h."""

    table: str
    label: str


class StreamList(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answer to both (DescribeStream: one or none); `more` tells whether streams follow."""

    streams: tuple[StreamDescriptor, ...]
    more: bool = False


StreamRequest = ListStreams | DescribeStream


# --- labels


def new_label(now: Timestamp, latest: str) -> str:
    """The label of a stream that begins `now` (UTC, milliseconds); later than `latest`, whatever the clock says."""
    ms = now // MILLISECOND
    if latest:
        ms = max(ms, (datetime.fromisoformat(latest) - _EPOCH) // timedelta(milliseconds=1) + 1)
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
