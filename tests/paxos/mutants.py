"""Planted faults: each breaks one rule of the protocol in the production classes, by one small patch.

`MUTANTS` maps a name to a context manager. Every search for violations must find each of them, and nothing without
them: a check that cannot fail is no check (issue 2). Used by this room's tests and by the simulator's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from tests.patched import patched

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, NodeId, Slot
from gramme.kernel.time import Instant
from gramme.paxos.acceptor import Acceptor
from gramme.paxos.campaign import Campaign
from gramme.paxos.chain import make_entry
from gramme.paxos.configuration import Configuration
from gramme.paxos.entry import Command, Entry
from gramme.paxos.leader import Leader
from gramme.paxos.lease import LeaseTable
from gramme.paxos.messages import Accepted
from gramme.paxos.peer import Peer
from gramme.paxos.replica import GroupReplica

Mutant = Callable[[], AbstractContextManager[None]]
_NEWEST = 1 << 30


def adopt_per_slot() -> AbstractContextManager[None]:
    """A new leader re-proposes what it alone holds behind the best suffix: classic Paxos, wrong for dependent slots."""
    adopted = Campaign.adopted

    def merged(self: Campaign) -> tuple[Slot, list[Entry]]:
        after, suffix = adopted(self)
        log = self._acceptor.log
        last = suffix[-1] if suffix else log.entry(after)
        own = [] if last is None else log.entries[max(0, last.slot - log.base.slot) :]
        suffix = list(suffix)
        for held in own:
            assert last is not None
            last = make_entry(
                last.crc,
                held.slot,
                max(held.stamp, type(held.stamp)(last.stamp + 1)),
                held.configuration,
                Command(held.kind, held.command_id, held.body, held.key_id),
            )
            suffix.append(last)
        return after, suffix

    return patched(Campaign, "adopted", merged)


def adopt_the_longest() -> AbstractContextManager[None]:
    """The longest log wins phase 1, whatever its ballot."""

    def best(self: Campaign) -> NodeId:
        return max(self.promises, key=lambda node: self.promises[node].last.slot)

    return patched(Campaign, "_best_of_all", best)


def install_half_a_suffix() -> AbstractContextManager[None]:
    """A follower enters the new ballot with the first half of the suffix; the rest would be streamed."""
    original = Peer.install_suffix

    def half(self: Peer, after: Slot) -> tuple[bytes, ...]:
        whole = original(self, after)
        return whole[: len(whole) // 2]

    return patched(Peer, "install_suffix", half)


def acknowledge_before_durable() -> AbstractContextManager[None]:
    """Accepted leaves with the step instead of after the fsync."""
    original = Acceptor.answer_accepted

    def hasty(self: Acceptor, source: NodeId, now: Instant, out: Effects) -> None:
        original(self, source, now, out)
        out.sends.append(out.sends_durable.pop())

    return patched(Acceptor, "answer_accepted", hasty)


def count_own_before_durable() -> AbstractContextManager[None]:
    """The leader counts its own log before it is durable, and reports it."""

    def all_of_it(self: Leader) -> Slot:
        self._acceptor.durable_slot = self._acceptor.log.last_slot
        return self._acceptor.log.last_slot

    return patched(Leader, "own_match", all_of_it)


def forget_a_promise() -> AbstractContextManager[None]:
    """A promise is kept in memory only."""

    def forgetful(self: Acceptor, ballot: Ballot, out: Effects) -> None:
        self._raise_promise(ballot)

    return patched(Acceptor, "promise", forgetful)


def accept_below_the_promise() -> AbstractContextManager[None]:
    """Phase 2 looks at the log's ballot only, not at the promise."""

    def lax(self: Acceptor, source: NodeId, message: Any, out: Effects) -> bool:
        if message.ballot > self.promised:
            self.promise(message.ballot, out)
        return True

    return patched(Acceptor, "admit", lax)


def serve_before_the_barrier() -> AbstractContextManager[None]:
    """A new leader serves as soon as it has won phase 1."""
    original = Leader.begin

    def eager(self: Leader, promises: Any, now: Instant, out: Effects) -> None:
        original(self, promises, now, out)
        self.barrier_slot = Slot(0)

    return patched(Leader, "begin", eager)


def skip_the_old_lease() -> AbstractContextManager[None]:
    """Acceptors promise whoever asks, whatever they have granted."""
    return patched(Acceptor, "bound_ns", lambda self, candidate, now: 0)


def read_after_the_lease() -> AbstractContextManager[None]:
    """A leader trusts its lease for ever once it has had it."""

    def always(self: Leader, now: Instant) -> bool:
        return self._lease_until > 0 or self._look_at_grants(now)

    return patched(Leader, "holds_lease", always)


def forget_grants_at_restart() -> AbstractContextManager[None]:
    """A restarted node promises at once, though it may have granted a lease just before."""
    original = LeaseTable.__init__

    def hasty(self: LeaseTable, *args: Any) -> None:
        original(self, *args)
        self.quiet_until = Instant(0)

    return patched(LeaseTable, "__init__", hasty)


def count_grants_of_any_era() -> AbstractContextManager[None]:
    """A leader counts a follower whose node grants again, though it may have promised others in between."""

    def blind(self: Leader, now: Instant) -> bool:
        if self.peers and self._acceptor.durable_ballot == self.ballot:
            for peer in self.peers:
                if peer.era:
                    peer.era = self._leases.held_era(peer.node)
        return original(self, now)

    original = Leader._look_at_grants
    return patched(Leader, "_look_at_grants", blind)


def prepare_before_durable() -> AbstractContextManager[None]:
    """Peers hear of a ballot before the own promise of it is durable: after a crash it is used a second time."""
    original = Campaign.prepare

    def hasty(self: Campaign, ballot: Ballot, released: Ballot, now: Instant, out: Effects) -> None:
        original(self, ballot, released, now, out)
        out.sends += out.sends_durable
        out.sends_durable.clear()

    return patched(Campaign, "prepare", hasty)


def vote_after_amnesia() -> AbstractContextManager[None]:
    """A replica whose log may have lost accepted entries takes part all the same."""
    original = GroupReplica.__init__

    def careless(self: GroupReplica, *args: Any) -> None:
        original(self, *args)
        self.amnesiac = False

    return patched(GroupReplica, "__init__", careless)


def believe_any_prefix() -> AbstractContextManager[None]:
    """A chosen mark is believed of whatever this log has up to its slot."""
    original = Acceptor.on_commit

    def gullible(self: Acceptor, source: NodeId, message: Any, now: Instant, out: Effects) -> None:
        self.note_chosen(min(message.chosen.slot, self.log.last_slot))
        original(self, source, message, now, out)

    return patched(Acceptor, "on_commit", gullible)


def elect_by_one_configuration() -> AbstractContextManager[None]:
    """A candidate asks the configuration that it acts in, and not the ones in the log that it adopts."""

    def in_force(self: Campaign) -> list[Configuration]:
        return [self._acceptor.configuration]

    return patched(Campaign, "_in_force", in_force)


def choose_by_the_old_configuration() -> AbstractContextManager[None]:
    """A configuration counts as chosen without a quorum of its own: nobody in a quorum of it may know of it."""

    def count(self: Leader, now: Instant) -> None:
        acceptor = self._acceptor
        acceptor.note_chosen(self._held_by_quorum(acceptor.configuration, self._voting))
        self.after_chosen(now)

    return patched(Leader, "count", count)


def choose_by_the_new_configuration() -> AbstractContextManager[None]:
    """A configuration is acted in as soon as it is proposed: quorums of the old one know nothing of it."""

    def follow(self: Leader) -> None:
        acceptor = self._acceptor
        for _, configuration in acceptor.configurations:
            acceptor.adopt(configuration)
        original(self)

    original = Leader._follow_configurations
    return patched(Leader, "_follow_configurations", follow)


def count_the_removed() -> AbstractContextManager[None]:
    """What a replica acknowledges that does not vote any more counts towards a quorum."""

    def held(self: Leader, configuration: Configuration, voting: list[Peer]) -> Slot:
        matches = sorted([self.own_match(), *(peer.match for peer in self.peers)], reverse=True)
        return matches[configuration.quorum - 1]

    return patched(Leader, "_held_by_quorum", held)


def change_two_voters_at_once() -> AbstractContextManager[None]:
    """A configuration may follow one that is not chosen yet."""

    def refusal(self: Leader, after: Configuration) -> str:
        kept, self._acceptor.configurations = self._acceptor.configurations, []
        try:
            return original(self, after)
        finally:
            self._acceptor.configurations = kept

    original = Leader.refusal
    return patched(Leader, "refusal", refusal)


def let_log_replicas_lead() -> AbstractContextManager[None]:
    """A log replica campaigns as others do."""
    return patched(Acceptor, "eligible", property(lambda self: self.me in self.configuration.voters))


def believe_old_promises() -> AbstractContextManager[None]:
    """A candidate counts what an earlier incarnation of a replica promised."""

    def has_promised(self: Campaign, electorate: Configuration) -> bool:
        return sum(1 for node in electorate.voters if node in self.promises) >= electorate.quorum

    return patched(Campaign, "_has_promised", has_promised)


def believe_old_acknowledgements() -> AbstractContextManager[None]:
    """A leader takes what an earlier incarnation of a replica acknowledged for the word of the present one."""

    def on_accepted(self: Leader, source: NodeId, message: Accepted, now: Instant, out: Effects) -> None:
        original(self, source, msgspec.structs.replace(message, configuration=_NEWEST), now, out)

    original = Leader.on_accepted
    return patched(Leader, "on_accepted", on_accepted)


def ignore_late_promises() -> AbstractContextManager[None]:
    """A promise that comes while the best log is fetched completes a quorum of the configuration found there, but the
    log that it tells of is not looked at."""

    def have_best(self: Campaign, now: Instant, out: Effects) -> None:
        best_of_all = self._best_of_all
        self._best_of_all = lambda: self.best  # type: ignore[method-assign]
        try:
            original(self, now, out)
        finally:
            self._best_of_all = best_of_all  # type: ignore[method-assign]

    original = Campaign._have_best
    return patched(Campaign, "_have_best", have_best)


def drop_the_promise_with_a_snapshot() -> AbstractContextManager[None]:
    """A snapshot takes the place of the whole replica, of what it has promised too."""

    def forgetful(self: Acceptor, base: Any, configuration: Configuration, out: Effects, ballot: Ballot) -> bool:
        further = self.log.holds(base)
        installed = original(self, base, configuration, out, ballot)
        if installed and not further:
            self.promised = self.log_ballot
        return installed

    original = Acceptor.install_base
    return patched(Acceptor, "install_base", forgetful)


def keep_the_lease_across_a_configuration() -> AbstractContextManager[None]:
    """What the lease was counted from still counts when other voters can elect."""

    def keep(self: Leader, now: Instant, out: Effects) -> None:
        until = self._lease_until
        original(self, now, out)
        self._lease_until = until

    original = Leader.on_chosen_configuration
    return patched(Leader, "on_chosen_configuration", keep)


def _named(*mutants: Mutant) -> dict[str, Mutant]:
    return {mutant.__name__: mutant for mutant in mutants}


LOG_MUTANTS = _named(
    adopt_per_slot,
    adopt_the_longest,
    install_half_a_suffix,
    acknowledge_before_durable,
    count_own_before_durable,
    forget_a_promise,
    accept_below_the_promise,
    believe_any_prefix,
    prepare_before_durable,
    vote_after_amnesia,
)
"""Break agreement: two entries in a slot, a lost acknowledged one, or one that stands behind another predecessor."""

CONFIGURATION_MUTANTS = _named(
    elect_by_one_configuration,
    choose_by_the_old_configuration,
    choose_by_the_new_configuration,
    count_the_removed,
    change_two_voters_at_once,
    let_log_replicas_lead,
    believe_old_promises,
    believe_old_acknowledgements,
    ignore_late_promises,
)
"""Break agreement where configurations change."""

LEASE_MUTANTS = _named(
    serve_before_the_barrier,
    skip_the_old_lease,
    read_after_the_lease,
    forget_grants_at_restart,
    count_grants_of_any_era,
)
"""Break strong reads: two replicas serve them, or one that has not applied what was acknowledged."""

MUTANTS: dict[str, Mutant] = {**LOG_MUTANTS, **LEASE_MUTANTS}
