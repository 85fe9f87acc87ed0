"""How many rows a partition holds and how large they are: counted on with every mutation, never by a scan.

Rule: the leader works out what a write adds, the mutation carries it, every replica adds it when it applies; so totals
are a function of the partition's log, like the rows they count. They stand in one row of space STATE, written in the
batch of the rows, and travel with snapshots.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gramme.storage.engine.rows import Space

Growth = tuple[int, int, int]
"""(number of a local index, or 0 for the items or a global index's entries; rows more; bytes more)."""

TOTALS_ROW: Final = bytes((Space.STATE,)) + b"totals"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Growth, ...]).decode


def decode_totals(stored: bytes | None) -> tuple[Growth, ...]:
    """What the row says; nothing in a new partition."""
    return () if stored is None else _decode(stored)


def rows_and_bytes(totals: Iterable[Growth]) -> tuple[int, int]:
    """All of a partition together, local indexes included."""
    rows = size = 0
    for _, more, larger in totals:
        rows, size = rows + more, size + larger
    return rows, size


class Totals:
    """The running totals of one replica."""

    __slots__ = ("_by_number",)

    def __init__(self, stored: bytes | None) -> None:
        self._by_number = {number: (rows, size) for number, rows, size in decode_totals(stored)}

    def add(self, grown: tuple[Growth, ...]) -> None:
        """Count a mutation on."""
        for number, rows, size in grown:
            before = self._by_number.get(number, (0, 0))
            self._by_number[number] = (before[0] + rows, before[1] + size)

    def row(self) -> bytes:
        """The value of `TOTALS_ROW`."""
        return _encode([(number, *self._by_number[number]) for number in sorted(self._by_number)])
