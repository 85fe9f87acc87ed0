"""Runs of `gramme sim`, recorded and judged by the specification (`specs/Trace.tla`).

Every group of a simulated cluster is watched, the catalog's and the table's. Two methods are replaced meanwhile: the
host's, through which all effects of a node's replicas go, and the one that ends a simulated process, after which its
disk shows what was kept. Nothing of the run changes: its trace hash is that of the same run unwatched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.patched import patched
from tests.specs.judging import Recorded
from tests.specs.recorder import Recorder, Trace

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, GroupId, NodeId
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.group_owner import GroupOwner
from gramme.node.host import Host, Owner
from gramme.paxos.configuration import Configuration, unpack_replicas
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.run import simulate
from gramme.storage.log.recovery import recover


class Watch:
    """A recorder for each group of one simulated cluster."""

    def __init__(self) -> None:
        self.recorders: dict[GroupId, Recorder] = {}
        self._founded: dict[GroupId, tuple[Configuration, Ballot]] = {}
        self._message: tuple[GroupOwner, Any] | None = None

    def traces(self) -> list[Trace]:
        """What the replicas of each group have done so far."""
        return [Trace(recorder, *self._founded[group]) for group, recorder in sorted(self.recorders.items())]

    def received(self, owner: GroupOwner, message: Any) -> None:
        """The next effects of `owner` are what its replica does with `message`."""
        self._message = owner, message

    def executed(self, host: Host, effects: Effects, owner: Owner) -> None:
        """`host` is about to carry out `effects`."""
        received, self._message = self._message, None
        lsn = host.log._next - 1  # not `last_lsn`: numbers that a torn tail had are not given out again
        for position, record in enumerate(effects.records):
            if record.kind is RecordKind.CREATE and record.group not in self.recorders:
                self._found(record)
            if record.kind is RecordKind.DROP and record.group in self.recorders:
                self.recorders[record.group].dropped(host.me, record, lsn + position + 1)
        if isinstance(owner, GroupOwner) and owner.replica.group in self.recorders:
            message = received[1] if received is not None and received[0] is owner else None
            self.recorders[owner.replica.group].stepped(owner.replica, message, effects, lsn)

    def crashed(self, node: NodeId, kept: int) -> None:
        """A process of `node` has ended; of its log, records up to the LSN `kept` are left."""
        for recorder in self.recorders.values():
            recorder.crashed(node, kept)

    def _found(self, record: Record) -> None:
        configuration, _ = unpack_replicas(record.configuration, record.body)
        self._founded[record.group] = configuration, record.ballot
        self.recorders[record.group] = Recorder(configuration.nodes)


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch the cluster that is simulated within the block."""
    watch = Watch()
    execute, step, crash = Host.execute, GroupOwner.step, SimCluster.crash

    def watched_execute(self: Host, effects: Effects, owner: Owner) -> None:
        watch.executed(self, effects, owner)
        execute(self, effects, owner)

    def watched_step(self: GroupOwner, source: NodeId, message: Any) -> None:
        watch.received(self, message)
        step(self, source, message)

    def watched_crash(self: SimCluster, node: NodeId, power: bool) -> None:
        machine = self.machines[node]
        running = machine.process is not None
        crash(self, node, power)
        if running:
            watch.crashed(node, recover(sorted(machine.log_disk.contents().items())).last_lsn)

    with (
        patched(Host, "execute", watched_execute),
        patched(GroupOwner, "step", watched_step),
        patched(SimCluster, "crash", watched_crash),
    ):
        yield watch


@dataclass(frozen=True)
class Sims(Recorded):
    """Runs of a configuration of the simulator, for so long: few clients, for the faults are what counts."""

    config: str = "default"
    safety_ns: int = 6 * SECOND

    def traces(self, seed: int) -> list[Trace]:
        """See Recorded; one trace for each group of the cluster."""
        whole = CONFIGS[self.config]
        config = replace(whole, clients=2, think_ns=60 * MILLISECOND, safety_ns=min(whole.safety_ns, self.safety_ns))
        with watching() as watch:
            result = simulate(seed, config)
        if result.violation and not self.mutant:
            raise AssertionError(f"{result.replay} finds something without the specification: {result.violation}")
        return watch.traces()


SHORT: Final = Sims("sims-short", (1, 2), config="four", safety_ns=4 * SECOND)
"""For the test suite: seconds. Log replicas, configurations, a machine that burns down."""

_CONFIGS: Final = ("default", "crashes", "blackouts", "losses", "four", "zones", "joins", "rot-five")

SIMS: Final = (
    *(Sims(f"sims-{config}", tuple(range(1, 11)), config=config) for config in _CONFIGS),
    # A lost replica was made anew under the configuration that it had spoken under.
    Sims("sims-rot-109", (109,), config="rot"),
)
"""All must be accepted."""

_MUTANTS: Final = {
    "acknowledge_before_fsync": "blackouts",
    "forget_promises_at_restart": "stale",
    "cut_a_synced_tail": "rot",
    "install_half_a_suffix": "coups",
    "acknowledge_before_durable": "blackouts",
    "count_own_before_durable": "blackouts",
    "forget_a_promise": "stale",
    "accept_below_the_promise": "stale",
    "prepare_before_durable": "blackouts",
    "vote_after_amnesia": "rot",
    "believe_any_prefix": "default",
    "serve_before_the_barrier": "readers",
    "let_log_replicas_lead": "losses",
    "choose_by_the_new_configuration": "losses",
    "count_the_removed": "joins",
}
MUTANT_SIMS: Final = tuple(
    Sims(f"sims-{mutant}", tuple(range(1, 11)), mutant, config) for mutant, config in _MUTANTS.items()
)
"""Each must be refused."""
