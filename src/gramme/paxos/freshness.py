"""How fresh a follower is: since when it may be missing something that its leader had chosen (row C9)."""

from __future__ import annotations

from gramme.kernel.ids import Slot
from gramme.kernel.time import Instant


class Freshness:
    """What the leader told last, and the last time at which everything told was there."""

    __slots__ = ("_current_at", "_told", "_told_at")

    def __init__(self) -> None:
        self._told = Slot(0)
        self._told_at: Instant | None = None
        self._current_at: Instant | None = None

    def told(self, chosen: Slot, emitted: Slot, now: Instant) -> None:
        """A leader says that slots up to `chosen` are chosen; those up to `emitted` are handed out for applying."""
        if emitted >= self._told:
            self._current_at = self._told_at
        if chosen >= self._told:
            self._told, self._told_at = chosen, now

    def since(self, emitted: Slot, node_heard_at: Instant | None) -> Instant | None:
        """When everything chosen was last known to be here; None: never.

        What the leader told counts from its arrival. In an idle group, whose leader says nothing, word of the leader's
        node (`node_heard_at`) counts instead.
        """
        if self._told_at is None or emitted < self._told:
            return self._current_at
        return Instant(max(self._told_at, node_heard_at or 0))
