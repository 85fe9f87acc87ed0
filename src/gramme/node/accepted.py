"""Which rows an eventual read must not take from a follower yet: those that entries accepted here, and not applied here
yet, are going to change.

Any of these entries may be chosen, and its writer answered, before the leader's word of it arrives. A follower knows
them all but what is still on its way, so it sends a read of such a row on to the leader and answers every other itself
(docs/decisions/0032-eventual-reads-soon-after-a-write.md). Rule: the cost is the reader's. Nothing is noted when an
entry is accepted or applied; entries are decoded when a read asks, each once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gramme.kernel.ids import Slot
from gramme.node.changes.item_changes import ITEMS
from gramme.node.item_pages import page_range
from gramme.node.mutation import WITHOUT_OUTCOME, WRITES, decode_mutation
from gramme.paxos.entry import ORIGIN, Entry, Mark
from gramme.tables.requests import GetItem, ScanRange

_MOST_ENTRIES: Final = 256
_FEW_KEYS: Final = 256


class AcceptedKeys:
    """The keys of one follower's unapplied entries, as far as reads have asked."""

    __slots__ = ("_all_until", "_crowded", "_slots", "_through")

    def __init__(self) -> None:
        self._slots: dict[bytes, Slot] = {}  # space-prefixed key -> the last entry looked at that changes it
        self._through: Mark = ORIGIN  # entries up to here were looked at; it proves that they are still the log's
        self._all_until = Slot(0)  # an entry whose rows nobody can tell here
        self._crowded = _FEW_KEYS

    def touched(self, request: Any, entries: Sequence[Entry]) -> bool:
        """Whether one of `entries`, which are all that is accepted and not applied, changes what `request` reads; true
        as well where that takes too long to tell."""
        if not entries:
            return False
        fresh = self._not_looked_at(entries)
        if len(fresh) > _MOST_ENTRIES:
            return True
        for entry in fresh:
            self._look_at(entry)
        self._through = entries[-1].mark
        applied = Slot(entries[0].slot - 1)
        if len(self._slots) > self._crowded:
            self._slots = {key: slot for key, slot in self._slots.items() if slot > applied}
            self._crowded = 2 * len(self._slots) + _FEW_KEYS
        return self._all_until > applied or self._changed(request, applied)

    def _not_looked_at(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The part of `entries` behind what was looked at. A log that was cut in between is looked at anew."""
        index = self._through.slot - entries[0].slot
        if 0 <= index < len(entries) and entries[index].mark == self._through:
            return entries[index + 1 :]
        self._slots.clear()
        self._all_until = Slot(0)
        return entries

    def _look_at(self, entry: Entry) -> None:
        kind = entry.kind
        if kind in WRITES:
            mutation = decode_mutation(entry.body)
            for key, _ in mutation.puts:
                self._slots[key] = entry.slot
            for key in mutation.deletes:
                self._slots[key] = entry.slot
        elif kind not in WITHOUT_OUTCOME:
            self._all_until = entry.slot

    def _changed(self, request: Any, applied: Slot) -> bool:
        slots = self._slots
        if type(request) is GetItem:
            return slots.get(ITEMS + request.key, applied) > applied
        if type(request) is not ScanRange:
            return False  # totals: nobody expects them to be of this millisecond
        start, end = page_range(request)
        whole_items = request.fetch is not None
        return any(
            slot > applied and (start <= key < end or (whole_items and key.startswith(ITEMS)))
            for key, slot in slots.items()
        )
