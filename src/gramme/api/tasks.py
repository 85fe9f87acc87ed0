"""Coroutines without an event loop: a tiny trampoline for operations that talk to several partitions.

Owns `run` (drives one `async def`) and the two things such a coroutine may await: `Waiter` (one callback) and `Gather`
(many). Rule: a coroutine is resumed by the callback it waits for and by nothing else, so the same operation runs in
production and, under virtual time, in simulation (DESIGN.md §3). A callback that comes at once costs no suspension.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Waiter(Generic[T]):
    """A value that arrives by callback: pass the waiter itself as `on_reply`, then await it. The first call counts."""

    __slots__ = ("_arrived", "_resume", "_value")

    def __init__(self) -> None:
        self._arrived = False
        self._value: T | None = None
        self._resume: Callable[[], None] | None = None

    def __call__(self, value: T) -> None:
        if self._arrived:
            return
        self._arrived = True
        self._value = value
        if self._resume is not None:
            self._resume()

    def __await__(self) -> Generator[Waiter[T], None, T]:
        if not self._arrived:
            yield self
        return self._value  # type: ignore[return-value]

    def park(self, resume: Callable[[], None]) -> bool:
        """Call `resume` when the value arrives; False if it is there already."""
        if self._arrived:
            return False
        self._resume = resume
        return True


class Gather(Generic[T]):
    """A fixed number of values by callback, in the order of their slots, whatever order they arrive in."""

    __slots__ = ("_done", "_left", "_values")

    def __init__(self, count: int) -> None:
        self._values: list[Any] = [None] * count
        self._left = count
        self._done: Waiter[None] = Waiter()
        if count == 0:
            self._done(None)

    def slot(self, index: int) -> Callable[[T], None]:
        """The callback that takes value `index`; to be called once."""

        def arrived(value: T) -> None:
            self._values[index] = value
            self._left -= 1
            if self._left == 0:
                self._done(None)

        return arrived

    def __await__(self) -> Generator[Waiter[None], None, list[T]]:
        yield from self._done.__await__()
        return self._values


def run(coroutine: Coroutine[Waiter[Any], None, None], on_error: Callable[[Exception], None]) -> None:
    """Drive `coroutine` until it first waits; its later steps run inside the callbacks it waits for.

    What it raises goes to `on_error`, at whatever step.
    """

    def step() -> None:
        try:
            while True:
                waiter = coroutine.send(None)
                if waiter.park(step):
                    return
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - the top of the coroutine's stack: all errors go to its owner
            on_error(error)

    step()
