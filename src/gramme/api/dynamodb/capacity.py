"""Capacity units of reads and writes, and `ConsumedCapacity` as JSON.

Rule: units follow from item sizes alone (AWS developer guide, "Read/write capacity mode"): a strong read takes one unit
for each 4 KB begun, an eventual one half of it; a write takes one for each 1 KB begun of the larger of the old and the
new item; at least one (half) unit each. Units are kept in halves, so that sums are exact.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

_READ_UNIT_BYTES: Final = 4096
_WRITE_UNIT_BYTES: Final = 1024

_encode: Final = msgspec.json.Encoder().encode


def read_halves(size_bytes: int, consistent: bool) -> int:
    """Half units of one read operation that touched `size_bytes`."""
    units = max(1, -(-size_bytes // _READ_UNIT_BYTES))
    return 2 * units if consistent else units


def write_halves(old_size: int, new_size: int) -> int:
    """Half units of one write."""
    return 2 * max(1, -(-max(old_size, new_size) // _WRITE_UNIT_BYTES))


def consumed(level: str | None, table: str, halves: int) -> bytes:
    """`,"ConsumedCapacity":{…}` for one table, or nothing if `ReturnConsumedCapacity` did not ask."""
    if level is None or level == "NONE":
        return b""
    return b',"ConsumedCapacity":' + _encode(_capacity(level, table, halves))


def consumed_by_tables(level: str | None, halves_by_table: dict[str, int]) -> bytes:
    """`,"ConsumedCapacity":[…]` of a batch."""
    if level is None or level == "NONE":
        return b""
    return b',"ConsumedCapacity":' + _encode([_capacity(level, *entry) for entry in halves_by_table.items()])


def _capacity(level: str, table: str, halves: int) -> dict[str, Any]:
    capacity: dict[str, Any] = {"TableName": table, "CapacityUnits": halves / 2}
    if level == "INDEXES":
        capacity["Table"] = {"CapacityUnits": halves / 2}
    return capacity
