"""A stretch of rows that is known whole: from one key to another, every row that there is.

Owns the cutting of pages out of it. Rule: a page that is cut here is the page that a walk over the stored rows gives,
to the last key; what the stretch does not know enough for is not answered. Stretches are values: nothing changes one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

from gramme.tables.keys import key_after
from gramme.tables.requests import Page, ScanRange

_ROW_BYTES: Final = 250
"""What a row takes of memory beside its JSON, about: its key, objects' heads and places in tuples."""

_STRETCH_BYTES: Final = 400


class Stretch:
    """All rows with `start` <= key < `end`, in the order of their keys: `keys`, `items` (JSON), and `ends`, the sum of
    the sizes (as DynamoDB counts) of the first 0, 1, 2 … of them, from any number on. Tuples, because the cycle
    collector leaves those of bytes and numbers out."""

    __slots__ = ("end", "ends", "items", "keys", "start")

    def __init__(
        self, start: bytes, end: bytes, keys: tuple[bytes, ...], items: tuple[bytes, ...], ends: tuple[int, ...]
    ) -> None:
        self.start = start
        self.end = end
        self.keys = keys
        self.items = items
        self.ends = ends

    @property
    def size_bytes(self) -> int:
        """What it takes of memory, about."""
        return _STRETCH_BYTES + _ROW_BYTES * len(self.items) + sum(map(len, self.items))

    def page(self, request: ScanRange) -> Page | None:
        """The answer to `request`, of a range that has an end; None if that takes rows which are not known here."""
        first, last = bisect_left(self.keys, request.start), bisect_left(self.keys, request.end)
        return self._backward(request, first, last) if request.reverse else self._forward(request, first, last)

    def _forward(self, request: ScanRange, first: int, last: int) -> Page | None:
        if request.start < self.start:
            return None
        ends, limit = self.ends, request.limit
        stop = bisect_left(ends, ends[first] + request.max_bytes, first + 1) if first < last else last + 1
        if limit is not None and first + limit < stop:
            stop = first + limit
        if stop <= last:
            return Page(list(self.items[first:stop]), self.keys[stop - 1], ends[stop] - ends[first])
        if request.end > self.end:
            return None
        return Page(list(self.items[first:last]), None, ends[last] - ends[first])

    def _backward(self, request: ScanRange, first: int, last: int) -> Page | None:
        if request.end > self.end:
            return None
        ends, limit = self.ends, request.limit
        stop = bisect_right(ends, ends[last] - request.max_bytes, 0, last) - 1
        if limit is not None and last - limit > stop:
            stop = last - limit
        if stop >= first:
            return Page(list(self.items[stop:last][::-1]), self.keys[stop], ends[last] - ends[stop])
        if request.start < self.start:
            return None
        return Page(list(self.items[first:last][::-1]), None, ends[last] - ends[first])

    def joined(self, other: Stretch) -> Stretch:
        """Both as one where nothing lies between them, else `other`. They are of the same state of the rows."""
        if other.end < self.start or self.end < other.start:
            return other
        below, above = bisect_left(self.keys, other.start), bisect_left(self.keys, other.end)
        ends = self.ends[: below + 1]
        for more in (other.ends, self.ends[above:]):
            by = ends[-1] - more[0]
            ends += tuple([end + by for end in more[1:]])
        return Stretch(
            min(self.start, other.start),
            max(self.end, other.end),
            self.keys[:below] + other.keys + self.keys[above:],
            self.items[:below] + other.items + self.items[above:],
            ends,
        )


def stretch_read(request: ScanRange, page: Page, keys: list[bytes], sizes: list[int]) -> Stretch:
    """The stretch that a walk has shown, of which `page` is the answer to `request`. In the walk's order: `keys`, and
    `sizes`, the sum up to and with each."""
    start, end, bound = request.start, request.end, page.last_key
    ends = [0, *sizes]
    if not request.reverse:
        end = end if bound is None else key_after(bound)
        return Stretch(start, end, tuple(keys), tuple(page.items), tuple(ends))
    start = start if bound is None else bound
    ends = [-size for size in reversed(ends)]
    return Stretch(start, end, tuple(keys[::-1]), tuple(page.items[::-1]), tuple(ends))
