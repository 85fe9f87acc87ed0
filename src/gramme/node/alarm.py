"""One wake-up at a time, for whoever looks again after a while at all that waits: asked for twice, it comes once."""

from __future__ import annotations

from collections.abc import Callable

from gramme.kernel.time import Instant
from gramme.node.host import Host


class Alarm:
    """Calls `wake` once for each time that it was armed; never on a node that has stopped."""

    __slots__ = ("_armed", "_host", "_wake", "due")

    def __init__(self, host: Host, wake: Callable[[], None]) -> None:
        self.due = Instant(0)
        """When the last wake-up was to come."""
        self._host = host
        self._wake = wake
        self._armed = False

    def arm(self, delay_ns: int) -> None:
        """Wake so much from now, unless a wake-up is on its way already."""
        if not self._armed:
            self._armed = True
            self.due = Instant(self._host.now() + delay_ns)
            self._host.ports.scheduler.call_at(self.due, self._ring)

    def _ring(self) -> None:
        self._armed = False
        if not self._host.stopped:
            self._wake()
