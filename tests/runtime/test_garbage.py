"""Collections are put off by large requests, and come back."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from gramme.runtime.garbage import LONGEST_S, PAUSE_S, GarbagePause


class _Loop:
    """A clock under the test's hand, with the timers that were set on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def later(self, delay: float, callback: Callable[[], None]) -> None:
        self.timers.append((self.now + delay, callback))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = end


@pytest.fixture
def loop() -> Iterator[_Loop]:
    gc.enable()  # a node of another test may have ended in the middle of a pause
    yield _Loop()
    gc.enable()


def test_a_pause_ends_soon_after_the_last_step(loop: _Loop) -> None:
    pause = GarbagePause(loop.later, lambda: loop.now)
    assert gc.isenabled()
    for _ in range(10):
        pause.extend()
        assert not gc.isenabled()
        loop.advance(PAUSE_S / 2)
    loop.advance(2 * PAUSE_S)
    assert gc.isenabled()
    assert loop.timers == []
    pause.extend()
    assert not gc.isenabled()


def test_requests_without_end_do_not_put_collections_off_for_ever(loop: _Loop) -> None:
    pause = GarbagePause(loop.later, lambda: loop.now)
    collected = False
    for _ in range(int(2 * LONGEST_S / 0.05)):
        pause.extend()
        loop.advance(0.05)
        collected = collected or gc.isenabled()
    assert collected
