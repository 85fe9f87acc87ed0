"""How many partitions a new table has, and where its key space is cut.

Counts: Elhemali et al., "Amazon DynamoDB" (USENIX ATC 2022) §4 with the limits of a partition that the developer
guide states: 3,000 read and 1,000 write units a second (row D3). Cuts: even cuts of the space of MD5 hashes, which
stand in front of every encoded key (`gramme.tables.keys`). Rule: the ranges tile the whole key space (row C1).
"""

from __future__ import annotations

from typing import Final

READ_UNITS_PER_PARTITION: Final = 3000
WRITE_UNITS_PER_PARTITION: Final = 1000
ON_DEMAND_PARTITIONS: Final = 4
MAX_PARTITIONS: Final = 1 << 16
"""Bound on the partitions of one table at its creation."""

_HASH_BITS: Final = 128


def partition_count(read_units: int, write_units: int, on_demand: bool) -> int:
    """Partitions of a new table: max(1, ceil(RCU/3000 + WCU/1000)), or 4 on demand.

    Exact (integers only). Raises `ValueError` for negative units or more than 65,536 partitions.
    """
    if on_demand:
        return ON_DEMAND_PARTITIONS
    if read_units < 0 or write_units < 0:
        raise ValueError("capacity units must not be negative")
    share = read_units * WRITE_UNITS_PER_PARTITION + write_units * READ_UNITS_PER_PARTITION
    whole = READ_UNITS_PER_PARTITION * WRITE_UNITS_PER_PARTITION
    count = max(1, -(-share // whole))
    if count > MAX_PARTITIONS:
        raise ValueError(f"a table can begin with at most {MAX_PARTITIONS} partitions, not {count}")
    return count


def cut(count: int) -> list[tuple[bytes, bytes]]:
    """`count` ranges [start, end) of nearly equal width, ascending, that tile the key space.

    Cuts are 16-byte prefixes; the first start is empty, and the last end is empty, meaning 'to the top'. Raises
    `ValueError` unless 1 <= count <= 65,536.
    """
    if not 1 <= count <= MAX_PARTITIONS:
        raise ValueError(f"a table has 1 to {MAX_PARTITIONS} partitions, not {count}")
    cuts = [((index << _HASH_BITS) // count).to_bytes(16, "big") for index in range(1, count)]
    return list(zip([b"", *cuts], [*cuts, b""], strict=True))


def grown_count(current: int, needed: int) -> int:
    """Partitions of a table that has `current` and by its units needs `needed`: each is split in two until they do.

    Partitions never grow fewer: lowering a table's throughput leaves its partitions and dilutes their shares (the
    worked example of ATC 2022 §3: 3,200 → 4, 6,000 → 8, back to 5,000 → still 8).
    """
    while current < needed:
        current *= 2
    return current
