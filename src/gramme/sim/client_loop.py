"""The loop that every simulated client goes round: one operation, a pause of random length, the next operation.

Rule: a client has one operation open at a time, and `idle` says when it has none, so that a run can wait for the last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random

from gramme.sim.world import World


class ClientLoop(ABC):
    """See the module. Pauses are drawn from `rng`, uniform below twice `think_ns` of virtual time."""

    def __init__(self, world: World, rng: Random, think_ns: int) -> None:
        self._world = world
        self._rng = rng
        self._think_ns = think_ns
        self.running = False
        self.idle = True

    def start(self) -> None:
        """Begin operations, one after the other."""
        self.running = True
        self._rest()

    def stop(self) -> None:
        """Begin no more; `idle` tells when the open one has ended."""
        self.running = False

    @abstractmethod
    def _operate(self) -> None:
        """Begin one operation, whose end calls `_rest` once."""

    def _rest(self) -> None:
        self.idle = True
        if self.running:
            self._world.after(self._rng.randrange(2 * self._think_ns), self._next)

    def _next(self) -> None:
        if self.running:
            self.idle = False
            self._operate()
