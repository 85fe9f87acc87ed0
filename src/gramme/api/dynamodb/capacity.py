"""Capacity units of reads and writes, `ConsumedCapacity` and `ItemCollectionMetrics` as JSON.

Rule: units follow from item sizes alone (AWS developer guide, "Read/write capacity mode"): a strong read takes one unit
for each 4 KB begun, an eventual one half of it; a write takes one for each 1 KB begun of the larger of the old and the
new item; at least one (half) unit each. A secondary index takes units of its own for each of its rows that a write
changes. Units are kept in halves, so that sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gramme.tables.descriptor import Index, TableDescriptor
from gramme.tables.requests import READ_UNIT_BYTES, Item, Written

_WRITE_UNIT_BYTES: Final = 1024
_GB: Final = 1 << 30

_encode: Final = msgspec.json.Encoder().encode


def read_halves(size_bytes: int, consistent: bool) -> int:
    """Half units of one read operation that touched `size_bytes`."""
    units = -(-size_bytes // READ_UNIT_BYTES) or 1
    return 2 * units if consistent else units


def write_halves(old_size: int, new_size: int) -> int:
    """Half units of one write."""
    return 2 * max(1, -(-max(old_size, new_size) // _WRITE_UNIT_BYTES))


class Usage:
    """What a request took of one table and of its indexes, in half units. `name` is the table's as the client wrote
    it, a name or an ARN. `kind` (ReadCapacityUnits, WriteCapacityUnits) is told beside each figure by transactions."""

    __slots__ = ("_indexes", "_kind", "name", "table", "table_halves")

    def __init__(self, name: str, table: TableDescriptor, kind: str = "") -> None:
        self._kind = kind
        self.name = name
        self.table = table
        self.table_halves = 0
        self._indexes: dict[str, int] = {}

    def add(self, halves: int) -> None:
        """Half units of the table itself."""
        self.table_halves += halves

    def add_index(self, index: str, halves: int) -> None:
        """Half units of one of its indexes."""
        self._indexes[index] = self._indexes.get(index, 0) + halves

    def add_write(self, reply: Written, times: int = 1) -> None:
        """Of a write that succeeded, its indexes included; of the table it took `times` the units."""
        self.table_halves += times * write_halves(reply.old_size, reply.new_size)
        for index, units in reply.indexes:
            self.add_index(index, 2 * units)

    def member(self, level: str | None) -> bytes:
        """`,"ConsumedCapacity":{…}`, or nothing if `ReturnConsumedCapacity` did not ask."""
        if level is None or level == "NONE":
            return b""
        return b',"ConsumedCapacity":' + _encode(self._described(level))

    def _described(self, level: str) -> dict[str, Any]:
        total = self.table_halves + sum(self._indexes.values())
        described: dict[str, Any] = {"TableName": self.name, **self._units(total)}
        if level != "INDEXES":
            return described
        described["Table"] = self._units(self.table_halves)
        for index in self.table.indexes:
            if index.name in self._indexes:
                described.setdefault(_group(index), {})[index.name] = self._units(self._indexes[index.name])
        return described

    def _units(self, halves: int) -> dict[str, float]:
        units = {"CapacityUnits": halves / 2}
        if self._kind:
            units[self._kind] = halves / 2
        return units

    @staticmethod
    def members(level: str | None, usages: Iterable[Usage]) -> bytes:
        """`,"ConsumedCapacity":[…]` of a batch."""
        if level is None or level == "NONE":
            return b""
        return b',"ConsumedCapacity":' + _encode([usage._described(level) for usage in usages])


def collection(table: TableDescriptor, key: Item, size_bytes: int) -> dict[str, Any]:
    """`ItemCollectionMetrics` of the collection that holds an item with the attributes `key`: its estimate is a range
    of 1 GB."""
    low = float(size_bytes // _GB)
    name = table.key.hash_name
    return {"ItemCollectionKey": {name: key[name]}, "SizeEstimateRangeGB": [low, low + 1.0]}


def _group(index: Index) -> str:
    return "LocalSecondaryIndexes" if index.kind == "LOCAL" else "GlobalSecondaryIndexes"
