"""One simulated run: found, safety phase with faults, heal, liveness phase, then the checkers.

A run is a function of (seed, configuration). Its result is a trace hash, or a violation: a checker's finding, an
exception of production code, or a promise of liveness that was not kept.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from itertools import chain
from typing import Final

from gramme.kernel.ids import CATALOG_GROUP, GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.catalog.model import all_tables
from gramme.node.partition import PartitionReplica
from gramme.sim.accounts import TABLES
from gramme.sim.bank import Bank, left_over
from gramme.sim.checkers.convergence import ReplicaState, divergence
from gramme.sim.checkers.descriptors import outdated
from gramme.sim.checkers.healing import unhealed
from gramme.sim.checkers.history import Kind, Operation, Outcome
from gramme.sim.checkers.linearizability import check
from gramme.sim.checkers.staleness import stale_read
from gramme.sim.client import Client
from gramme.sim.configs import SimConfig
from gramme.sim.guard import forbid_ambient
from gramme.sim.index_rows import wrong_rows
from gramme.sim.object_run import ObjectRun
from gramme.sim.phases import FOUNDING_NS, RECOVERY_NS, Phases
from gramme.sim.range_reader import RangeReader
from gramme.sim.result import NotKept, Result, Violated
from gramme.sim.stream_reader import StreamReader
from gramme.sim.tables import Administrator
from gramme.sim.workload import Recorder, Worker, names_of
from gramme.storage.engine.rows import Space, extent_range

CONVERGENCE_NS: Final = 15 * SECOND
"""Within this time of the last operation, all replicas are equal."""

MOVING_NS: Final = 60 * SECOND
"""Within this time of the end of all faults, machines that were to be added or removed are."""

_TABLE: Final = "items"
_CHURNED: Final = "churned"


def simulate(seed: int, config: SimConfig) -> Result:
    """Run `config` under `seed` to its end or to the first violation."""
    with forbid_ambient():
        run = ObjectRun(seed, config) if config.objects else _Run(seed, config)
        result = run.result
        try:
            run.carry_out()
        except Exception as error:  # noqa: BLE001 - whatever production code raises is a finding
            where = traceback.format_exception(error)
            is_finding = isinstance(error, NotKept | Violated)
            result.violation = str(error) if is_finding else "".join(where).rstrip()
        run.sum_up()
    return result


class _Run(Phases):
    """The phases of one run."""

    def __init__(self, seed: int, config: SimConfig) -> None:
        super().__init__(seed, config)
        self.recorder = Recorder(self.world)
        self.clients = [Client(self.world, self.cluster, number) for number in range(config.clients)]
        self.workers = [self._worker(client, _TABLE) for client in self.clients]
        if config.table_churn:
            more = self._more_clients(2, retries_unknown=False)
            self.workers += [self._worker(client, _CHURNED) for client in more]
        self.range_readers = [worker for worker in self.workers if isinstance(worker, RangeReader)]
        self.bank = Bank(self.world, config, self._more_clients(config.tellers))
        (self.admin_client,) = self._more_clients(1)
        self.readers: list[StreamReader] = []
        if config.streams:
            names = [_TABLE, _CHURNED] if config.table_churn else [_TABLE]
            names += TABLES if config.tellers else ()
            self.readers = [StreamReader(self.world, self.cluster, name) for name in names]
        self.administrator = Administrator(self.world, self.admin_client, config, self.recorder)

    def _worker(self, client: Client, table: str) -> Worker:
        kind = RangeReader if self.config.ranges else Worker
        return kind(self.world, client, self.config, self.recorder, table, f"{table}/")

    def _more_clients(self, count: int, *, retries_unknown: bool = True) -> list[Client]:
        first = len(self.clients)
        self.clients += [
            Client(self.world, self.cluster, first + n, retries_unknown=retries_unknown) for n in range(count)
        ]
        return self.clients[first:]

    def carry_out(self) -> None:
        """All phases in order."""
        self._found()
        self._under_faults(self._start_clients)
        self._come_to_rest()
        if not (self.cluster.awaits_the_dead() or self.cluster.awaits_the_unborn()):
            self._check_progress()
            self._check_transactions()
            self._check_convergence()
            self._check_descriptors()
            self._check_indexes()
            self._check_ranges()
            self._check_streams()
        self._check_history()

    def _found(self) -> None:
        self._start_nodes()
        tables = [_TABLE, _CHURNED] if self.config.table_churn else [_TABLE]
        waiting = list(tables)
        for table in tables:
            self.administrator.create(table, partial(waiting.remove, table))
        self.bank.create(self.administrator, waiting)
        self._await(lambda: not waiting, FOUNDING_NS, lambda: f"tables {waiting} were not created")
        for reader in self.readers:
            reader.start()

    def _start_clients(self) -> None:
        config = self.config
        for worker in self.workers:
            worker.start()
        self.bank.start()
        if config.indexes:
            self.administrator.churn_index(_TABLE)
        if config.stream_churn:
            self.readers[0].churn()
        if config.table_churn:
            self.administrator.churn(_CHURNED, [f"{_CHURNED}/{key}" for key in names_of(config)])

    def _come_to_rest(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.bank.stop()
        self.administrator.stop()
        for reader in self.readers:
            reader.stop()
        working: list[Worker | Bank | Administrator | StreamReader]
        working = [*self.workers, self.bank, self.administrator, *self.readers]
        self._await(
            lambda: all(each.idle for each in working),
            RECOVERY_NS + 2 * self.config.request_deadline_ns,
            lambda: "clients or the administrator did not come to rest after the faults had healed",
        )
        if self.config.administered:
            self._await(
                lambda: not self.cluster.keeper.left_to_do(),
                MOVING_NS,
                lambda: f"what the administrator asked for is not done: {self.cluster.keeper.left_to_do()}",
            )
            self.cluster.keeper.stop()
        self._await(self.cluster.all_ready, RECOVERY_NS, lambda: f"nodes are not ready: {self.cluster.readiness()}")

    def _check_progress(self) -> None:
        """Every key is read strongly at every node while it is written by way of another."""
        waiting: list[str] = []
        for node in self._sound_nodes():
            worker = self.workers[node % self.config.clients]
            for key in worker.keys:
                read, write = f"read of {key} at node {node}", f"write of {key} at node {node}"
                waiting += (read, write)
                worker.read(key, Kind.GET, node, partial(self._progressed, waiting, read))
                worker.put(key, node, partial(self._progressed, waiting, write))
        self.bank.prove(self._sound_nodes(), waiting)
        self._await(lambda: not waiting, RECOVERY_NS, lambda: f"without an answer: {waiting}")

    def _progressed(self, waiting: list[str], what: str, ok: bool) -> None:
        if not ok:
            raise NotKept(f"the {what} failed although all faults had healed")
        waiting.remove(what)

    def _check_transactions(self) -> None:
        """No transaction is left half done: nothing is held for one."""

        def left() -> str | None:
            nodes = (machine.node for machine in self.cluster.sound_machines if machine.node is not None)
            return left_over(replica for node in nodes for replica in node.groups.partitions.values())

        self._await(lambda: left() is None, RECOVERY_NS, lambda: str(left()))

    def _check_convergence(self) -> None:
        def difference() -> str | None:
            return unhealed(self.cluster) or divergence(self._replica_states(), self._sound_nodes())

        self._converge(difference, CONVERGENCE_NS, "replicas did not converge")

    def _replica_states(self) -> Iterator[ReplicaState]:
        for machine in self.cluster.sound_machines:
            assert machine.node is not None
            for group, partition in sorted(machine.node.groups.partitions.items()):
                digest = blake2b(digest_size=16)
                for key, value in machine.engine.scan(*extent_range(partition.rows.extent)):
                    if key[8] == Space.OUTCOMES:
                        continue  # what a snapshot brought along, until it is out of its window
                    digest.update(b"%d %d " % (len(key), len(value)) + key[8:] + value)
                applied = partition.rows.applied
                members = partition.replica.configuration.storage
                yield ReplicaState(group, machine.id, members, applied.slot, applied.crc, digest.digest())

    def _check_descriptors(self) -> None:
        """No node serves by what a table was before it changed: nobody tells it once more what it has not taken in."""

        def difference() -> str | None:
            nodes = [(machine.id, machine.node) for machine in self.cluster.sound_machines if machine.node is not None]
            known = [(number, node.router.descriptors.known) for number, node in nodes]
            return outdated(all_tables(self._replicas()[CATALOG_GROUP].rows.scan), known)

        self._converge(difference, CONVERGENCE_NS, "what nodes know of tables is outdated")

    def _check_indexes(self) -> None:
        """Indexes follow their table: within the time that replicas have, they are what the table says."""
        self._converge(lambda: wrong_rows(self._replicas()), CONVERGENCE_NS, "indexes do not follow their table")

    def _check_ranges(self) -> None:
        """Page by page, every node shows what the replicas hold, eventually too."""
        waiting: list[str] = []
        for reader in self.range_readers[:1]:
            for node in self._sound_nodes():
                reader.prove(node, self._replicas(), waiting)
        self._await(lambda: not waiting, RECOVERY_NS, lambda: f"without an answer: {waiting}")

    def _check_streams(self) -> None:
        """The readers get to the end of every shard, and what they got is the tables' story."""
        for reader in self.readers:
            self._await(
                partial(lambda reader: reader.caught_up(self._replicas()), reader),
                CONVERGENCE_NS,
                lambda: "the reader of a stream is behind",
            )
            expires = self.config.stream_retention_ns < self.world.now_ns
            from_birth = not (self.config.stream_churn or expires)
            wrong = reader.violation(self._replicas(), from_birth, expires)
            if wrong is not None:
                raise Violated(wrong)

    def _replicas(self) -> dict[GroupId, PartitionReplica]:
        """One replica of each group; they are all equal now."""
        return {
            group: partition
            for machine in self.cluster.sound_machines
            if machine.node is not None
            for group, partition in machine.node.groups.partitions.items()
        }

    def _sound_nodes(self) -> list[NodeId]:
        return [machine.id for machine in self.cluster.sound_machines]

    def _history(self) -> list[Operation]:
        return [*self.recorder.history(), *chain(*(reader.reads() for reader in self.range_readers))]

    def _check_history(self) -> None:
        history = self._history()
        violation = check(history)
        if violation is not None:
            raise Violated(str(violation))
        wrong = self.bank.wrong_history()
        if wrong is not None:
            raise Violated(wrong)
        quiet = not self.config.faults
        stale = stale_read(history, 1_100 * MILLISECOND if quiet else None)
        if stale is not None:
            raise Violated(stale)

    def sum_up(self) -> None:
        """Fill the result from whatever has happened."""
        for mark in sorted(chain(*(reader.marks for reader in self.range_readers))):
            self.cluster.coverage.note(mark)
        history = self._history()
        self.result.history = history
        self._account(len(history), sum(operation.outcome is Outcome.UNKNOWN for operation in history))
        self.result.stats |= {**self.bank.stats(), "table_incarnations": self.administrator.incarnations}
        for reader in self.range_readers:
            self.result.stats["pages"] = self.result.stats.get("pages", 0) + len(reader.pages)
        keeper = self.cluster.keeper
        self.result.stats |= {"nodes_added": keeper.added, "nodes_removed": keeper.removed}
