"""Layout of row keys in a node's one engine: extent (8 bytes, big endian), space (1 byte), key.

An extent holds one group's rows on this node (REPLICATION.md §6): a snapshot is written into a fresh extent while
the old one serves, and dropping a group is one range delete. Extent ids are local to the node and never reused.
Extent 0 holds the rows of the node itself. Space numbers are on disk: append, never renumber.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from gramme.kernel.ids import ExtentId

NODE_EXTENT: Final = ExtentId(0)
"""Rows of the node itself, of no group."""

OBJECT_EXTENT: Final = ExtentId(1)
"""Objects, hints and trees of the node: they belong to no group. Groups' extents begin far above."""

PREFIX_BYTES: Final = 9
"""Bytes of extent and space in front of every key."""

MAX_EXTENT: Final = (1 << 64) - 2
"""The highest extent id: one below the top, so that every range has an end to write down."""


class Space(IntEnum):
    """What a row is. The order is that of the rows within an extent."""

    META = 0  # applied slot, group, range, configuration: what recovery asks first
    ITEMS = 1  # encoded item key -> stored item
    LOCAL_INDEX = 2  # entries of local secondary indexes
    PENDING = 3  # items held by a transaction in progress
    CHANGES = 4  # change records for streams, global indexes, replication
    OUTCOMES = 5  # command id -> reply, so that a re-sent write is applied once
    CATALOG = 6  # rows of the catalog's state machine
    STATE = 7  # replicated state of the partition itself: its schema, progress of feeders and backfills
    TRANSACTIONS = 8  # what transactions keep of a partition beside PENDING; a ledger's rows
    OBJECTS = 9  # objects (Dynamo): ring partition, Merkle bucket, name -> versions
    HINTS = 10  # objects kept for another node: node, name -> versions
    TREES = 11  # ring partition, Merkle bucket -> hash


_SPACE_BYTES: Final = tuple(bytes((space,)) for space in Space)


def row_prefix(extent: ExtentId, space: Space) -> bytes:
    """The 9 bytes in front of every key of `space`. Keep it and add keys to it where many rows are touched."""
    if not 0 <= extent <= MAX_EXTENT:
        raise ValueError(f"extent {extent} is out of 0..{MAX_EXTENT}")
    return extent.to_bytes(8, "big") + _SPACE_BYTES[space]


def row_key(extent: ExtentId, space: Space, key: bytes) -> bytes:
    """The engine's key of row `key`."""
    return row_prefix(extent, space) + key


def split_row_key(row: bytes) -> tuple[ExtentId, Space, bytes]:
    """Extent, space and key of a row key. Raises `ValueError` for a shorter one or an unknown space."""
    if len(row) < PREFIX_BYTES:
        raise ValueError(f"a row key has at least {PREFIX_BYTES} bytes, not {len(row)}")
    return ExtentId(int.from_bytes(row[:8], "big")), Space(row[8]), row[PREFIX_BYTES:]


def extent_range(extent: ExtentId) -> tuple[bytes, bytes]:
    """[start, end) of all rows of an extent, those of spaces that a later release adds included."""
    if not 0 <= extent <= MAX_EXTENT:
        raise ValueError(f"extent {extent} is out of 0..{MAX_EXTENT}")
    return extent.to_bytes(8, "big"), (extent + 1).to_bytes(8, "big")


def space_range(extent: ExtentId, space: Space) -> tuple[bytes, bytes]:
    """[start, end) of all rows of one space of an extent."""
    start = row_prefix(extent, space)
    return start, start[:8] + bytes((space + 1,))


def key_range(extent: ExtentId, space: Space, start: bytes, end: bytes) -> tuple[bytes, bytes]:
    """Row bounds of the keys in [start, end) of one space; an empty `end` means 'to the top of the space'."""
    prefix = row_prefix(extent, space)
    return prefix + start, (prefix + end) if end else space_range(extent, space)[1]


def whole_range() -> tuple[bytes, bytes]:
    """[start, end) of every row of the engine."""
    return b"", b"\xff" * 8
