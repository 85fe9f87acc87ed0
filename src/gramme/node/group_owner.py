"""What a partition's replica and a log replica have in common in their node: the group's effects are carried out, and
its timer is kept armed."""

from __future__ import annotations

from typing import Any

from gramme.kernel.effects import Effects
from gramme.kernel.ids import NodeId
from gramme.kernel.time import Instant
from gramme.node.deadline import DeadlineTimer
from gramme.node.host import Host
from gramme.node.messages import GroupSpec
from gramme.paxos.replica import GroupReplica


class GroupOwner:
    """The `host.Owner` of one group's effects. A subclass says what becomes of outputs.

    No `ABC`: compiled, its subclasses would share one cache of `isinstance`.
    """

    def __init__(self, spec: GroupSpec, replica: GroupReplica, host: Host) -> None:
        self.spec = spec
        self.replica = replica
        self._host = host
        self._timer = DeadlineTimer(host, replica.next_deadline, self._tick)

    def execute(self, effects: Effects) -> None:
        """Carry out the group's effects and keep its timer armed."""
        self._host.execute(effects, self)
        self._timer.arm()

    def step(self, source: NodeId, message: Any) -> None:
        """A message of the group's protocol."""
        self.execute(self.replica.step(source, message, self._host.now()))

    def durable(self, event: Any) -> None:
        """See `host.Owner`. Of a replica that was dropped meanwhile nothing more may get into the log."""
        if not self.replica.amnesiac:
            self.execute(self.replica.on_durable(event, self._host.now()))

    def output(self, output: Any) -> None:
        """See `host.Owner`."""
        raise NotImplementedError

    def end_turn(self, now: Instant) -> Effects | None:
        """See `host.Owner`. Only who proposes has anything to send then."""
        return None

    def _tick(self, now: Instant) -> None:
        self.execute(self.replica.tick(now))
