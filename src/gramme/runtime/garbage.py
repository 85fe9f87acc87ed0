"""When Python's cycle collector may run: not in the middle of a large request.

A collection walks over all young objects, or over all there are; with the half million values of one large batch alive
that takes up to 100 ms in one step, again and again, and finds nothing, because what a request holds has no cycles.
Rule: every step of a large request puts collections off for a moment, but never for more than `LONGEST_S` on end.
Nothing here runs while there are only small requests.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Final

PAUSE_S: Final = 0.25
LONGEST_S: Final = 20.0


class GarbagePause:
    """See the module. `later` and `time` are the loop's `call_later` and `time`."""

    def __init__(self, later: Callable[[float, Callable[[], None]], Any], time: Callable[[], float]) -> None:
        self._later = later
        self._time = time
        self._began: float | None = None  # None: collections are on
        self._last = 0.0

    def extend(self) -> None:
        """No collection for the next moment."""
        self._last = self._time()
        if self._began is None:
            self._began = self._last
            gc.disable()
            self._later(PAUSE_S, self._look)

    def _look(self) -> None:
        now = self._time()
        assert self._began is not None
        if now - self._last < PAUSE_S and now - self._began < LONGEST_S:
            self._later(PAUSE_S, self._look)
        else:
            self._began = None
            gc.enable()
