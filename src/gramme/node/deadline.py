"""Keeps a machine's `tick` called by its `next_deadline`, with as few timers as possible.

A machine on the hot path moves its deadline at every step; cancelling and arming a timer each time would cost more than
the step. So a timer that is early enough is left alone: it fires, finds nothing due, and re-arms itself.
"""

from __future__ import annotations

from collections.abc import Callable

from gramme.kernel.time import Instant
from gramme.node.host import Host


class DeadlineTimer:
    """Calls `tick(now)` at or after each deadline that `next_deadline()` names (None: nothing to wait for)."""

    __slots__ = ("_armed_for", "_host", "_next_deadline", "_tick")

    def __init__(
        self, host: Host, next_deadline: Callable[[], Instant | None], tick: Callable[[Instant], None]
    ) -> None:
        self._host = host
        self._next_deadline = next_deadline
        self._tick = tick
        self._armed_for: Instant | None = None

    def arm(self) -> None:
        """Call after every step of the machine."""
        deadline = self._next_deadline()
        if deadline is None or (self._armed_for is not None and self._armed_for <= deadline):
            return
        self._armed_for = deadline
        self._host.ports.scheduler.call_at(deadline, lambda: self._fire(deadline))

    def _fire(self, armed_for: Instant) -> None:
        if self._host.stopped or self._armed_for != armed_for:
            return
        self._armed_for = None
        now = self._host.now()
        deadline = self._next_deadline()
        if deadline is not None and deadline <= now:
            self._tick(now)
        self.arm()
