"""The clock and the timers of a node process: `kernel.ports` Clock and Scheduler over the system's time and a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gramme.kernel.ports import Timer
from gramme.kernel.time import Instant, Timestamp


class SystemClock:
    """Real time; wall time can be moved forward by a test control, leases never."""

    def __init__(self) -> None:
        self.advance_ns = 0
        self.instant: Callable[[], Instant] = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)  # type: ignore[assignment]
        """CLOCK_BOOTTIME, which counts suspend. Asked for several times a request, so it is not a function of ours."""

    def timestamp(self) -> Timestamp:
        """Wall time."""
        return Timestamp(time.time_ns() + self.advance_ns)


class LoopScheduler:
    """Timers of an asyncio loop by `Instant`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: SystemClock) -> None:
        self._loop = loop
        self._clock = clock
        self.call_soon: Callable[[Callable[[], None]], Any] = loop.call_soon

    def call_at(self, when: Instant, callback: Callable[[], None]) -> Timer:
        """See `kernel.ports.Scheduler`."""
        return self._loop.call_later(max(0, when - self._clock.instant()) / 1e9, callback)
