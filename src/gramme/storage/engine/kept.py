"""What readers keep of rows that they have read, until one of these rows is written.

Owns when it is forgotten, and how much memory it takes. Rows whose keys share their first `SHARED_BYTES` bytes are
neighbours: of a table these are extent, space and the hash of a partition key, hence the items of one. Whatever a
reader has made of a neighbourhood it may leave here under that prefix, and finds it as long as no row of the
neighbourhood was written. An engine tells of each batch in the step in which it becomes visible, so what is found is
what reading anew would give, and costs no read. Two generations bound it: what is not asked for again before the
younger one is full goes with the older.
"""

from __future__ import annotations

from typing import Any, Final

from gramme.storage.engine.contract import Batch
from gramme.storage.engine.rows import PREFIX_BYTES

SHARED_BYTES: Final = PREFIX_BYTES + 16
"""Bytes that the keys of neighbours share."""

_OVERHEAD_BYTES: Final = 200


class Kept:
    """See the module. At most `limit_bytes` are kept, as those who keep something say how large it is."""

    __slots__ = ("_bytes", "_limit", "_older", "_younger")

    def __init__(self, limit_bytes: int) -> None:
        self._younger: dict[bytes, tuple[Any, int]] = {}
        self._older: dict[bytes, tuple[Any, int]] = {}
        self._bytes = 0  # of the younger
        self._limit = limit_bytes // 2

    @property
    def size_bytes(self) -> int:
        """What is kept, at most."""
        return self._bytes + (self._limit if self._older else 0)

    def find(self, shared: bytes) -> Any:
        """What is kept under these `SHARED_BYTES` bytes, None if nothing is."""
        found = self._younger.get(shared)
        if found is None:
            if shared not in self._older:
                return None
            found = self._older.pop(shared)
            self._add(shared, found)
        return found[0]

    def keep(self, shared: bytes, thing: Any, size_bytes: int) -> None:
        """Keep `thing`, made of what is visible now, instead of what was kept there before."""
        if shared in self._younger or shared in self._older:
            self._forget(shared)
        size_bytes += _OVERHEAD_BYTES
        if size_bytes <= self._limit:
            self._add(shared, (thing, size_bytes))

    def _add(self, shared: bytes, kept: tuple[Any, int]) -> None:
        if self._bytes + kept[1] > self._limit:
            self._older, self._younger, self._bytes = self._younger, {}, 0
        self._younger[shared] = kept
        self._bytes += kept[1]

    def _forget(self, shared: bytes) -> None:
        gone = self._younger.pop(shared, None)
        if gone is not None:
            self._bytes -= gone[1]
        else:
            self._older.pop(shared, None)

    def wrote(self, batch: Batch) -> None:
        """`batch` is visible now."""
        if not (self._younger or self._older):
            return
        if batch.clears:
            self.clear()
            return
        younger, older = self._younger, self._older
        for key, _, _ in batch.ops:
            shared = key[:SHARED_BYTES]
            if shared in younger or shared in older:
                self._forget(shared)

    def clear(self) -> None:
        """Forget everything."""
        self._younger.clear()
        self._older.clear()
        self._bytes = 0
