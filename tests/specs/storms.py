"""Storms of `tests.paxos.world`, recorded and judged by the specification (`specs/Trace.tla`)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from tests.paxos.world import HASTY, STORM, Node, Violation, World
from tests.specs.judging import Recorded
from tests.specs.recorder import Recorder, Trace

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Invariant
from gramme.kernel.ids import NodeId, make_ballot
from gramme.kernel.time import SECOND
from gramme.paxos.replica import GroupReplica


@dataclass(frozen=True)
class Storms(Recorded):
    """Worlds of three replicas and `logs` log replicas."""

    logs: int = 0
    length_ns: int = SECOND

    def traces(self, seed: int) -> list[Trace]:
        """See Recorded."""
        return [record(seed, self.logs, self.length_ns)]


SHORT: Final = Storms("storms-short", (1, 2, 3, 4))
"""For the test suite: seconds."""

STORMS: Final = (
    Storms("storms", tuple(range(100, 120)), length_ns=2 * SECOND),
    Storms("storms-of-votes", tuple(range(100, 120)), logs=1, length_ns=2 * SECOND),
)
"""All must be accepted."""

_LOG_MUTANTS: Final = (
    "forget_a_promise",
    "accept_below_the_promise",
    "acknowledge_before_durable",
    "count_own_before_durable",
    "prepare_before_durable",
    "adopt_per_slot",
    "adopt_the_longest",
    "install_half_a_suffix",
    "believe_any_prefix",
    "serve_before_the_barrier",
)
_CONFIGURATION_MUTANTS: Final = (
    "elect_by_one_configuration",
    "choose_by_the_old_configuration",
    "choose_by_the_new_configuration",
    "count_the_removed",
    "let_log_replicas_lead",
)
MUTANT_STORMS: Final = (
    *(Storms(name, tuple(range(1, 26)), mutant=name) for name in _LOG_MUTANTS),
    *(Storms(name, tuple(range(1, 26)), logs=1, mutant=name) for name in _CONFIGURATION_MUTANTS),
)
"""Each must be refused."""


class RecordedNode(Node):
    """A node whose replica's steps are recorded."""

    world: RecordedWorld
    gone: GroupReplica | None = None  # of the process that has crashed

    def receive(self, source: NodeId, message: Any) -> None:
        """What the replica does with a message is its next step."""
        self.world.message = message
        super().receive(source, message)
        self.world.message = None

    def execute(self, effects: Effects) -> None:
        """Effects of a step, of the replica or of the leases."""
        message, self.world.message = self.world.message, None
        if getattr(self, "replica", self.gone) is not self.gone:
            self.world.recorder.stepped(self.replica, message, effects, self.disk.lsn)
        super().execute(effects)

    def crash(self) -> None:
        """Lose what was not synced."""
        if self.alive:
            super().crash()
            self.gone = self.replica
            self.world.recorder.crashed(self.me, self.disk.lsn)


class RecordedWorld(World):
    """A world with a recorder."""

    def __init__(self, seed: int, logs: int) -> None:
        self.message: Any = None
        self.recorder = Recorder(NodeId(n) for n in range(3 + logs))
        super().__init__(seed, 3, STORM, HASTY, logs)

    def make_node(self, me: NodeId) -> Node:
        """See World."""
        return RecordedNode(self, me)


def record(seed: int, logs: int = 0, length_ns: int = SECOND) -> Trace:
    """What a world did in a storm, up to where it saw itself that something is wrong."""
    world = RecordedWorld(seed, logs)
    world.plan(length_ns)
    with suppress(Violation, Invariant):
        world.run(length_ns)
    return Trace(world.recorder, world.founded, make_ballot(1, NodeId(0)))
