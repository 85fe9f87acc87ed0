"""Runs a machine that belongs to the node as a whole (leases, gossip, objects): steps it, ticks it, carries its effects
out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gramme.kernel.effects import Effects
from gramme.kernel.ids import NodeId
from gramme.kernel.time import Instant
from gramme.node.deadline import DeadlineTimer
from gramme.node.host import Host


class Machine(Protocol):
    """A state machine without I/O (DESIGN.md §3)."""

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects: ...

    def tick(self, now: Instant) -> Effects: ...

    def next_deadline(self) -> Instant | None: ...


def nothing(_event: Any) -> None:
    """For machines that have no outputs, or keep nothing durable."""


class Driver:
    """The owner of one machine's effects; its outputs go to `on_output`, its durable events to `on_durable`."""

    def __init__(
        self,
        host: Host,
        machine: Machine,
        on_output: Callable[[Any], None] = nothing,
        on_durable: Callable[[Any], None] = nothing,
    ) -> None:
        self._host = host
        self._machine = machine
        self._on_output = on_output
        self._on_durable = on_durable
        self._timer = DeadlineTimer(host, machine.next_deadline, self._tick)

    def start(self) -> None:
        """Let the machine go."""
        self._tick(self._host.now())
        self._timer.arm()

    def carry_out(self, effects: Effects) -> None:
        """Carry out what a call of the machine gave."""
        self._host.execute(effects, self)
        self._timer.arm()

    def step(self, source: NodeId, message: Any) -> None:
        """A message for the machine."""
        self.carry_out(self._machine.step(source, message, self._host.now()))

    def _tick(self, now: Instant) -> None:
        self._host.execute(self._machine.tick(now), self)

    def durable(self, event: Any) -> None:
        """See `host.Owner`."""
        self._on_durable(event)

    def output(self, output: Any) -> None:
        """See `host.Owner`."""
        self._on_output(output)

    def end_turn(self, now: Instant) -> Effects | None:
        """Nothing is batched."""
        return None
