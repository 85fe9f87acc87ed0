"""What the catalog keeps of a table: schema, settings, and the partitions with their replicas.

A descriptor is immutable; every change makes a new one with a higher `version`. It is stored in the catalog and sent
between nodes as MessagePack (map-like: fields can be added, none may change meaning).
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import Any, Final, Literal

import msgspec

from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import Timestamp

ScalarType = Literal["S", "N", "B"]
MAX_INDEX_KEYS: Final = 8
"""Key attributes of a global index: 1 to 4 HASH, 0 to 4 RANGE."""

TableStatus = Literal["CREATING", "ACTIVE", "UPDATING", "DELETING"]
ViewType = Literal["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"]


class KeySchema(msgspec.Struct, frozen=True):
    """Names and types of the primary key's attributes."""

    hash_name: str
    hash_type: ScalarType
    range_name: str | None = None
    range_type: ScalarType | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The key attributes, hash first."""
        return (self.hash_name,) if self.range_name is None else (self.hash_name, self.range_name)


class Partition(msgspec.Struct, frozen=True):
    """A contiguous range [start, end) of encoded keys; an empty `end` means 'to the top'."""

    group: GroupId
    start: bytes
    end: bytes
    replicas: tuple[NodeId, ...]  # configuration 0 of the group; the first is the founding leader


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """A secondary index. A local one has the table's hash key and one sort key and lives in the table's partitions; a
    global one has partitions of its own."""

    name: str
    kind: Literal["LOCAL", "GLOBAL"]
    hash: tuple[tuple[str, ScalarType], ...]  # (attribute, type): 1 … 4 of a global index
    range: tuple[tuple[str, ScalarType], ...]  # 0 … 4 of a global index
    projection: Literal["KEYS_ONLY", "INCLUDE", "ALL"]
    included: tuple[str, ...] = ()  # NonKeyAttributes in the order given
    number: int = 0  # 1 …, never given twice within a table; stands in rows of local indexes as one byte
    status: TableStatus = "ACTIVE"
    backfill: bool = False  # added to a live table: rows that were there before must be fed once
    read_units: int = 0  # 0 when on demand
    write_units: int = 0
    partitions: tuple[Partition, ...] = ()  # of a global index, as those of a table
    settings: dict[str, Any] = {}

    @property
    def key_names(self) -> tuple[str, ...]:
        """The index's key attributes, hash first."""
        return tuple(name for name, _ in self.hash + self.range)


class TableStream(msgspec.Struct, frozen=True):
    """The stream that is on: its view type and the label that tells it from earlier ones (`gramme.tables.streams`)."""

    label: str
    view: ViewType


class TableHistory(msgspec.Struct, frozen=True):
    """When a table changed last, in the ways that DescribeTable tells. Epoch nanoseconds, 0: never since creation."""

    updated: Timestamp = Timestamp(0)
    on_demand: Timestamp = Timestamp(0)  # became PAY_PER_REQUEST
    increased: Timestamp = Timestamp(0)
    decreased: Timestamp = Timestamp(0)
    decreases: int = 0  # on the day (UTC) of `decreased`
    class_changed: Timestamp = Timestamp(0)


class TableDescriptor(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One table. `settings` holds members of CreateTable that are stored and described as given."""

    name: str
    table_id: str  # random UUID, new for each incarnation
    version: int
    status: TableStatus
    created: Timestamp
    key: KeySchema
    attribute_definitions: tuple[tuple[str, str], ...]  # (name, S|N|B) in the order given
    billing_mode: Literal["PROVISIONED", "PAY_PER_REQUEST"]
    read_units: int  # 0 when on demand
    write_units: int
    partitions: tuple[Partition, ...]  # ascending, tiling the whole key space (row C1)
    settings: dict[str, Any] = {}
    indexes: tuple[Index, ...] = ()  # local ones first, each kind in the order of its creation
    next_index: int = 1  # number of the next index
    history: TableHistory = TableHistory()
    stream: TableStream | None = None
    latest_stream: str = ""  # label of the stream that is on, or was the last one on; "": there was none
    schema_version: int = 0  # `version` of the last change that partitions must know of
    configured: int = 0  # the schema version that all partitions have confirmed

    def index(self, name: str) -> Index | None:
        """The secondary index of that name, or None."""
        return next((index for index in self.indexes if index.name == name), None)

    @property
    def expiry(self) -> str | None:
        """The attribute that holds an item's time of expiry, while expiry is on."""
        return self.settings.get("TimeToLive")

    @property
    def all_partitions(self) -> tuple[Partition, ...]:
        """The table's own partitions and those of its global indexes."""
        return self.partitions + tuple(p for index in self.indexes for p in index.partitions)

    def partition_of(self, key: bytes) -> Partition:
        """The partition whose range holds the encoded `key`. O(log partitions)."""
        return self.partitions[bisect_right(self._starts, key) - 1]

    @cached_property
    def _starts(self) -> list[bytes]:
        return [partition.start for partition in self.partitions]
