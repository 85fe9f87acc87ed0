"""What measurements of outages share: clients that go on meanwhile, the longest time in which nobody was answered, and
waiting until the cluster is as it should be again."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Self

from gramme.bench.errors import CannotMeasure

_JOIN_S: Final = 30.0


class Clients:
    """Threads that work as long as the `with` block lasts: each looks at `over` after every request."""

    def __init__(self, work: Iterable[Callable[[], None]]) -> None:
        self.over = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in work]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(timeout=_JOIN_S)


def longest_gap_s(answered: Iterable[float], start: float, end: float) -> float:
    """The longest time without an answer from `start` to `end`, by when answers came."""
    times = sorted(at for at in answered if start <= at <= end)
    return max(after - before for before, after in itertools.pairwise([start, *times, end]))


def wait_until(
    condition: Callable[[], bool],
    what: str,
    limit_s: float,
    poll_s: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> float:
    """Return the time at which `condition` was seen to hold; `meanwhile` is called whenever it does not. Raises
    CannotMeasure, which says `what` did not happen, after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise CannotMeasure(f"not within {limit_s:.0f} s: {what}")
        meanwhile()
        time.sleep(poll_s)
    return time.monotonic()
