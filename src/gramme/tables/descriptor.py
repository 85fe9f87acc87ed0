"""What the catalog keeps of a table: schema, settings, and the partitions with their replicas.

A descriptor is immutable; every change makes a new one with a higher `version`. It is stored in the catalog and sent
between nodes as MessagePack (map-like: fields can be added, none may change meaning).
"""

from __future__ import annotations

import bisect
from typing import Any, Literal

import msgspec

from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import Timestamp

ScalarType = Literal["S", "N", "B"]
TableStatus = Literal["CREATING", "ACTIVE", "UPDATING", "DELETING"]


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


class TableDescriptor(msgspec.Struct, frozen=True, kw_only=True):
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

    def partition_of(self, key: bytes) -> Partition:
        """The partition whose range holds the encoded `key`. O(log partitions)."""
        partitions = self.partitions
        if len(partitions) == 1:
            return partitions[0]
        return partitions[bisect.bisect_right(partitions, key, key=_start) - 1]


def _start(partition: Partition) -> bytes:
    return partition.start
