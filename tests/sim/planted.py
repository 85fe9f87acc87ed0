"""Faults planted in production classes: each breaks one rule of the durable path, and the simulator must find it.

`PLANTED` maps a name to what is broken, how, and the configuration that makes its circumstances likely; those of
`tests.paxos.mutants` break the protocol itself, those here the node around it. REPLICATION.md §10, issue 2: a check
that cannot fail is no check.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.patched import patched
from tests.paxos import mutants
from tests.sim import planted_ranges as ranges
from tests.sim import planted_transactions as transactions

import gramme.node.opening
from gramme.kernel.effects import Effects
from gramme.kernel.ids import CommandId, GroupId, Lsn, NodeId
from gramme.kernel.record import Record
from gramme.kernel.time import Instant
from gramme.node.descriptors import Descriptors
from gramme.node.evaluator import Answer
from gramme.node.groups import Groups
from gramme.node.host import Host
from gramme.node.messages import GroupsDropped
from gramme.node.outcomes import Outcomes
from gramme.node.partition import PartitionReplica
from gramme.node.router import Router
from gramme.paxos import recovery
from gramme.storage.engine.contract import Batch
from gramme.storage.engine.memory import MemoryEngine
from gramme.storage.log import recovery as log_recovery
from gramme.storage.log.retention import Retention

Plant = Callable[[], AbstractContextManager[None]]


def acknowledge_before_fsync() -> AbstractContextManager[None]:
    """The host lets everything go that should wait for the log."""

    def hasty(self: Host, effects: Effects, owner: Any) -> None:
        if effects.records:
            self.log.append(effects.records)
            self._arm()
        for node, message in (*effects.sends, *effects.sends_durable):
            self.send(node, message)
        for event in effects.durable_events:
            self.ports.scheduler.call_soon(lambda event=event: owner.durable(event))  # type: ignore[misc]
        for output in effects.outputs:
            owner.output(output)

    return patched(Host, "execute", hasty)


def tell_of_durability_before_the_outputs() -> AbstractContextManager[None]:
    """What is durable already is told inside the step that asks, before what that step has put out."""
    original = Host.execute

    def hasty(self: Host, effects: Effects, owner: Any) -> None:
        if effects.durable_events and not effects.records and self.log.last_lsn <= self.log.durable_lsn:
            events, effects.durable_events = effects.durable_events, []
            for event in events:
                owner.durable(event)
        original(self, effects, owner)

    return patched(Host, "execute", hasty)


def keep_what_changed() -> AbstractContextManager[None]:
    """A node hears that the catalog has changed, and not which tables."""
    original = Descriptors.changed

    def deaf(self: Descriptors, version: int, names: Iterable[str] | None) -> None:
        original(self, version, () if names else names)

    return patched(Descriptors, "changed", deaf)


@contextmanager
def forget_promises_at_restart() -> Iterator[None]:
    """Recovery passes over PROMISE records."""
    kind = next(kind for kind in recovery._HANDLERS if kind.name == "PROMISE")
    original = recovery._HANDLERS[kind]
    recovery._HANDLERS[kind] = lambda state, record: None
    try:
        yield
    finally:
        recovery._HANDLERS[kind] = original


def lose_an_engine_flush() -> AbstractContextManager[None]:
    """A flush is said to be complete, and nothing is durable."""

    def lie(self: MemoryEngine, on_done: Callable[[], None]) -> None:
        life = self._life
        self._schedule(lambda: on_done() if life == self._life else None)

    return patched(MemoryEngine, "flush", lie)


def mark_applied_before_the_rows() -> AbstractContextManager[None]:
    """The applied slot is written in a batch of its own, ahead of the rows that it speaks of."""
    original = MemoryEngine.write

    def split(self: MemoryEngine, batch: Batch) -> None:
        if len(batch.ops) > 1 and batch.ops[-1][0].endswith(b"applied"):
            mark, rest = Batch(), Batch()
            mark.ops, rest.ops = batch.ops[-1:], batch.ops[:-1]
            original(self, mark)
            original(self, rest)
        else:
            original(self, batch)

    return patched(MemoryEngine, "write", split)


def apply_a_resent_write_twice() -> AbstractContextManager[None]:
    """Nobody remembers which commands were applied."""
    return patched(Outcomes, "applied", lambda self, command_id: None)


def apply_twice_after_a_crash() -> AbstractContextManager[None]:
    """A restarted replica does not rebuild which commands were applied."""
    return patched(PartitionReplica, "rebuild_outcomes", lambda self, entries: None)


def answer_from_an_unchosen_write() -> AbstractContextManager[None]:
    """A failed condition is answered at once, though the write that failed it may yet vanish."""

    def hasty(self: PartitionReplica, plan: Answer, command_id: CommandId, on_reply: Callable[[Any], None]) -> None:
        on_reply(plan.reply)

    return patched(PartitionReplica, "_hold_answer", hasty)


@contextmanager
def read_between_chosen_and_applied() -> Iterator[None]:
    """A leader serves strong reads while entries are chosen that it has not applied."""

    original = PartitionReplica._begin_leading

    def lead(self: PartitionReplica) -> None:
        unapplied, self._unapplied = self._unapplied, deque()
        original(self)
        self._unapplied = unapplied

    def serves(self: PartitionReplica, now: Instant) -> bool:
        return self.leading and self.replica.holds_lease(now)

    with patched(PartitionReplica, "_begin_leading", lead), patched(PartitionReplica, "serves_reads", serves):
        yield


def cut_a_synced_tail() -> AbstractContextManager[None]:
    """Recovery takes damage for a torn tail, cuts it, and goes on as if nothing had been promised there."""
    original = log_recovery.recover

    def blind(*args: Any) -> Any:
        found = original(*args)
        return dataclasses.replace(found, damaged=[])

    return patched(gramme.node.opening, "recover", blind)


def delete_an_idle_groups_promise() -> AbstractContextManager[None]:
    """A new segment repeats the state of busy groups only, so that an idle one's goes with its old segment."""
    original = Groups.checkpoint

    def busy_only(self: Groups) -> list[Record]:
        return [record for record in original(self) if record.group != GroupId(1)]

    return patched(Groups, "checkpoint", busy_only)


def delete_segments_at_once() -> AbstractContextManager[None]:
    """Segments go as soon as they are closed, engine-durable or not."""

    def all_of_them(self: Retention, engine_durable: Any, object_lsn: Lsn, durable_lsn: Lsn, now: Instant) -> list[int]:
        return [stats.number for stats in list(self.segments)[:-1]]

    return patched(Retention, "deletable", all_of_them)


def say_dropped_without_dropping() -> AbstractContextManager[None]:
    """A member reports that it has dropped a table's groups, and goes on serving them."""

    def lie(self: Groups, groups: Any, requester: NodeId) -> None:
        self._host.send(requester, GroupsDropped(tuple(groups)))

    return patched(Groups, "drop", lie)


def resend_under_a_new_name() -> AbstractContextManager[None]:
    """The router draws another command id for every attempt."""
    original = Router._attempt

    def renaming(self: Router, call: Any, *args: Any) -> None:
        if call.attempt:
            call.command_id = CommandId(self._host.ports.rng.randbytes(16))
        original(self, call, *args)

    return patched(Router, "_attempt", renaming)


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault, the configuration to look for it in, the seeds within which it must be found, and which to ask first."""

    plant: Plant
    config: str
    seeds: range
    first: int


def _own(plant: Plant, config: str, first: int = 1) -> tuple[str, Planted]:
    return plant.__name__, Planted(plant, config, range(1, 121), first)


PLANTED: dict[str, Planted] = dict(
    (
        _own(acknowledge_before_fsync, "blackouts"),
        _own(tell_of_durability_before_the_outputs, "swift"),
        _own(forget_promises_at_restart, "stale", first=7),
        _own(lose_an_engine_flush, "laggards", first=2),
        _own(mark_applied_before_the_rows, "crashes"),
        _own(apply_a_resent_write_twice, "default", first=2),
        _own(apply_twice_after_a_crash, "crashes", first=6),
        _own(answer_from_an_unchosen_write, "blackouts"),
        _own(read_between_chosen_and_applied, "lags"),
        _own(cut_a_synced_tail, "rot", first=3),
        _own(delete_an_idle_groups_promise, "laggards", first=5),
        _own(delete_segments_at_once, "crashes", first=3),
        _own(say_dropped_without_dropping, "tables"),
        _own(resend_under_a_new_name, "default"),
        _own(mutants.adopt_per_slot, "coups", first=26),
        _own(keep_what_changed, "indexes"),
        _own(mutants.adopt_the_longest, "coups", first=7),
        _own(mutants.install_half_a_suffix, "coups", first=6),
        _own(mutants.acknowledge_before_durable, "blackouts", first=16),
        _own(mutants.count_own_before_durable, "blackouts"),
        _own(mutants.forget_a_promise, "stale", first=5),
        _own(mutants.accept_below_the_promise, "stale", first=3),
        _own(mutants.prepare_before_durable, "blackouts", first=6),
        _own(mutants.vote_after_amnesia, "rot", first=2),
        _own(mutants.serve_before_the_barrier, "readers"),
        _own(mutants.skip_the_old_lease, "readers", first=3),
        _own(mutants.read_after_the_lease, "readers"),
        _own(mutants.forget_grants_at_restart, "readers"),
        _own(mutants.believe_any_prefix, "default", first=21),
        _own(mutants.let_log_replicas_lead, "losses"),
        _own(transactions.answer_before_the_commit_is_applied, "bank-steps", first=2),
        _own(transactions.commit_before_the_decision_is_durable, "bank-steps", first=17),
        _own(transactions.finish_all_but_one, "bank-steps"),
        _own(transactions.claim_no_token_for_one_phase, "bank-steps", first=6),
        _own(transactions.read_in_one_round, "bank-steps"),
        _own(transactions.read_what_is_held, "bank-steps", first=5),
        _own(transactions.commit_under_the_old_stamp, "bank-quiet"),
        _own(transactions.forget_holds_at_a_new_leader, "bank-steps"),
        _own(transactions.write_what_is_held, "bank-steps"),
        _own(transactions.prepare_what_is_held, "bank-steps"),
        _own(transactions.recovery_cancels_what_is_decided, "bank-steps", first=2),
        _own(transactions.recovery_leaves_the_row, "bank-steps"),
        _own(transactions.begin_again_under_a_known_token, "bank-steps", first=3),
        _own(ranges.keep_what_is_written, "ranges"),
        _own(ranges.forget_the_first_neighbourhood_only, "ranges"),
        _own(ranges.forget_puts_only, "ranges"),
        _own(ranges.keep_across_a_snapshot, "range-laggards", first=5),
        _own(ranges.join_what_does_not_touch, "ranges"),
        _own(ranges.keep_more_than_was_read, "ranges"),
        _own(ranges.lose_the_last_row_of_a_page, "ranges"),
        _own(ranges.go_on_one_row_too_far, "ranges"),
        _own(ranges.repeat_the_row_a_page_begins_behind, "ranges"),
        _own(ranges.read_pages_anywhere, "ranges"),
    )
)
