"""A sorted map of bytes with snapshots in constant time, for the memory engine.

Keys lie in chunks of some hundred, found by bisecting the chunks' lower bounds. A snapshot takes the list of chunks
as it is; from then on a writer copies a chunk (and, once, the list) before it touches it. That is the copy-on-write
of Driscoll et al., "Making Data Structures Persistent" (1989), kept two levels deep: a write costs a few hundred
pointer copies at worst, a read nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

CHUNK: Final = 512
"""Keys of a chunk at most; a full one is split in two."""


class _Chunk:
    """Keys in ascending order with their values. Only the map whose epoch it bears may change it."""

    __slots__ = ("epoch", "keys", "values")

    def __init__(self, epoch: int, keys: list[bytes], values: list[bytes]) -> None:
        self.epoch = epoch
        self.keys = keys
        self.values = values


class Snapshot:
    """The rows of a `SortedMap` at one moment."""

    __slots__ = ("_bounds", "_chunks", "size_bytes")

    def __init__(self, chunks: list[_Chunk], bounds: list[bytes], size_bytes: int) -> None:
        self._chunks = chunks
        self._bounds = bounds
        self.size_bytes = size_bytes

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if it is absent."""
        return next((value for _, value in self.scan(key, key + b"\0")), None)

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end, ascending, or descending if `reverse`."""
        if start >= end:
            return
        first = bisect_right(self._bounds, start) - 1
        last = bisect_left(self._bounds, end) - 1
        for index in range(last, first - 1, -1) if reverse else range(first, last + 1):
            chunk = self._chunks[index]
            low = bisect_left(chunk.keys, start) if index == first else 0
            high = bisect_left(chunk.keys, end) if index == last else len(chunk.keys)
            rows = zip(chunk.keys[low:high], chunk.values[low:high], strict=True)
            yield from reversed(list(rows)) if reverse else rows

    def thaw(self) -> SortedMap:
        """A map that begins with these rows; the snapshot stays as it is."""
        thawed = SortedMap()
        thawed._adopt(self._chunks, self._bounds, self.size_bytes)
        return thawed


class SortedMap:
    """Sorted map of bytes to bytes. Chunk i holds the keys in [bounds[i], bounds[i + 1]); bounds[0] is empty."""

    __slots__ = ("_bounds", "_chunks", "_epoch", "_shared", "size_bytes")

    def __init__(self) -> None:
        self._epoch = 0  # chunks of an older epoch belong to a snapshot too
        self._chunks = [_Chunk(0, [], [])]
        self._bounds = [b""]
        self._shared = False  # a snapshot holds the two lists
        self.size_bytes = 0  # of keys and values

    def _adopt(self, chunks: list[_Chunk], bounds: list[bytes], size_bytes: int) -> None:
        self._chunks, self._bounds, self.size_bytes = chunks, bounds, size_bytes
        self._epoch = 1 + max(chunk.epoch for chunk in chunks)
        self._shared = True

    def snapshot(self) -> Snapshot:
        """The rows as they are now. Constant time."""
        self._epoch += 1
        self._shared = True
        return Snapshot(self._chunks, self._bounds, self.size_bytes)

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if it is absent."""
        chunk = self._chunks[bisect_right(self._bounds, key) - 1]
        position = bisect_left(chunk.keys, key)
        if position < len(chunk.keys) and chunk.keys[position] == key:
            return chunk.values[position]
        return None

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        index = bisect_right(self._bounds, key) - 1
        chunk = self._own(index)
        position = bisect_left(chunk.keys, key)
        if position < len(chunk.keys) and chunk.keys[position] == key:
            self.size_bytes += len(value) - len(chunk.values[position])
            chunk.values[position] = value
            return
        chunk.keys.insert(position, key)
        chunk.values.insert(position, value)
        self.size_bytes += len(key) + len(value)
        if len(chunk.keys) > CHUNK:
            self._split(index)

    def delete(self, key: bytes) -> None:
        """Remove `key` if it is there."""
        index = bisect_right(self._bounds, key) - 1
        keys = self._chunks[index].keys
        position = bisect_left(keys, key)
        if position < len(keys) and keys[position] == key:
            self._cut(index, position, position + 1)
            self._drop_if_empty(index)

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Remove every key in [start, end)."""
        if start >= end:
            return
        first = bisect_right(self._bounds, start) - 1
        last = bisect_left(self._bounds, end) - 1
        for index in range(last, first - 1, -1):
            keys = self._chunks[index].keys
            low = bisect_left(keys, start) if index == first else 0
            high = bisect_left(keys, end) if index == last else len(keys)
            if low < high:
                self._cut(index, low, high)
                self._drop_if_empty(index)

    def _cut(self, index: int, low: int, high: int) -> None:
        chunk = self._own(index)
        self.size_bytes -= sum(map(len, chunk.keys[low:high])) + sum(map(len, chunk.values[low:high]))
        del chunk.keys[low:high]
        del chunk.values[low:high]

    def _own(self, index: int) -> _Chunk:
        """Chunk `index`, after this the map's alone."""
        chunk = self._chunks[index]
        if chunk.epoch == self._epoch:
            return chunk
        self._own_lists()
        chunk = self._chunks[index] = _Chunk(self._epoch, chunk.keys.copy(), chunk.values.copy())
        return chunk

    def _own_lists(self) -> None:
        if self._shared:
            self._chunks = self._chunks.copy()
            self._bounds = self._bounds.copy()
            self._shared = False

    def _split(self, index: int) -> None:
        chunk = self._chunks[index]
        half = len(chunk.keys) // 2
        upper = _Chunk(self._epoch, chunk.keys[half:], chunk.values[half:])
        del chunk.keys[half:]
        del chunk.values[half:]
        self._chunks.insert(index + 1, upper)
        self._bounds.insert(index + 1, upper.keys[0])

    def _drop_if_empty(self, index: int) -> None:
        if self._chunks[index].keys or len(self._chunks) == 1:
            return
        self._own_lists()
        del self._chunks[index]
        del self._bounds[index or 1]  # the first bound stays empty: the next chunk takes it over
