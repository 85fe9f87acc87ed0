"""The retained part of a group's log in memory: entries after a base mark, without gaps."""

from __future__ import annotations

from collections.abc import Iterable

from gramme.kernel.ids import Slot
from gramme.kernel.time import Stamp
from gramme.paxos.chain import check_chain
from gramme.paxos.entry import ORIGIN, Entry, Mark


class ReplicaLog:
    """Entries `base.slot + 1 … last_slot`. What is at or below the base is known only by the base's mark."""

    __slots__ = ("base", "entries", "size_bytes")

    def __init__(self, base: Mark = ORIGIN, entries: Iterable[Entry] = ()) -> None:
        """Raises Invariant if `entries` do not continue `base`."""
        self.base = base
        self.entries: list[Entry] = []
        self.size_bytes = 0
        for entry in entries:
            self.append(entry)

    @property
    def last_slot(self) -> Slot:
        """The last slot held (the base's if there are no entries)."""
        return Slot(self.base.slot + len(self.entries))

    @property
    def last(self) -> Mark:
        """The mark of the last slot."""
        return self.entries[-1].mark if self.entries else self.base

    @property
    def last_stamp(self) -> Stamp:
        """The stamp of the last slot: what `last` says, for those who ask before each write."""
        return self.entries[-1].stamp if self.entries else self.base.stamp

    def entry(self, slot: Slot) -> Entry | None:
        """The entry at `slot`, if it is retained."""
        index = slot - self.base.slot - 1
        return self.entries[index] if 0 <= index < len(self.entries) else None

    def mark_at(self, slot: Slot) -> Mark | None:
        """The mark of `slot`, if it is the base or retained."""
        if slot == self.base.slot:
            return self.base
        entry = self.entry(slot)
        return None if entry is None else entry.mark

    def holds(self, mark: Mark) -> bool:
        """Whether the entry of `mark` stands here; then everything before it is the same log too (`paxos.entry`)."""
        return self.mark_at(mark.slot) == mark

    def between(self, after: Slot, through: Slot) -> list[Entry]:
        """Entries `after + 1 … through`; `after` must not lie below the base."""
        start = after - self.base.slot
        assert start >= 0, f"slots up to {self.base.slot} are trimmed, {after + 1} is wanted"
        return self.entries[start : max(start, through - self.base.slot)]

    def chunk(self, after: Slot, through: Slot, limit_bytes: int) -> tuple[tuple[bytes, ...], int]:
        """Encoded entries from `after + 1` up to `through` that fit `limit_bytes` (at least one), and their bytes."""
        taken: list[bytes] = []
        size = 0
        index = after - self.base.slot
        stop = min(len(self.entries), through - self.base.slot)
        assert index >= 0, f"slots up to {self.base.slot} are trimmed, {after + 1} is wanted"
        while index < stop:
            encoded = self.entries[index].encoded
            if taken and size + len(encoded) > limit_bytes:
                break
            taken.append(encoded)
            size += len(encoded)
            index += 1
        return tuple(taken), size

    def bytes_after(self, slot: Slot) -> int:
        """Encoded bytes of the entries after `slot`."""
        start = max(0, slot - self.base.slot)
        return sum(len(entry.encoded) for entry in self.entries[start:])

    def append(self, entry: Entry) -> None:
        """Add the next entry. Raises Invariant if it does not continue the log."""
        check_chain(self.last, entry)
        self.append_own(entry)

    def append_own(self, entry: Entry) -> None:
        """Add an entry that was made from this log's own last mark."""
        self.entries.append(entry)
        self.size_bytes += len(entry.encoded)

    def truncate_after(self, slot: Slot) -> None:
        """Drop the entries after `slot`, which must not lie below the base."""
        index = slot - self.base.slot
        assert index >= 0, f"cannot cut after slot {slot}: slots up to {self.base.slot} are trimmed"
        self.size_bytes -= sum(len(entry.encoded) for entry in self.entries[index:])
        del self.entries[index:]

    def trim(self, slot: Slot) -> None:
        """Forget entries up to `slot`, whose mark becomes the base. Does nothing below the base or past the end."""
        mark = self.mark_at(slot)
        if mark is None or slot == self.base.slot:
            return
        count = slot - self.base.slot
        self.size_bytes -= sum(len(entry.encoded) for entry in self.entries[:count])
        del self.entries[:count]
        self.base = mark

    def reset(self, base: Mark) -> None:
        """Forget everything: the log now begins after `base`."""
        self.base = base
        self.entries = []
        self.size_bytes = 0
