"""The proposer of one ballot that has won phase 1: it pipelines slots, counts quorums, keeps followers up, holds the
lease.

It first has a barrier (a no-op of its ballot) chosen; only then may it propose (REPLICATION.md §1). A slot is chosen
when a quorum durably holds the log of this ballot up to it; its own durability counts when the log says so. The slot
of a configuration needs a quorum of the old one and of the new one, later slots one of the new one (REPLICATION.md §4).
An idle group sends nothing: the chosen mark is pushed until every follower that is up has acknowledged it, then all
timers end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gramme.kernel.effects import Effects
from gramme.kernel.errors import InvalidInput, Stalled
from gramme.kernel.ids import NO_COMMAND_ID, Ballot, NodeId, Slot
from gramme.kernel.time import Instant, Stamp, Timestamp
from gramme.paxos.acceptor import Acceptor
from gramme.paxos.chain import barrier, make_entry
from gramme.paxos.configuration import Configuration, Replica, encode_configuration
from gramme.paxos.entry import MAX_COMMAND_BYTES, Command, CommandKind, Entry, Mark
from gramme.paxos.lease import LeaseView
from gramme.paxos.messages import Accepted, Amnesiac, Behind, Promise
from gramme.paxos.peer import Mode, Peer
from gramme.paxos.settings import PaxosSettings

_FOREVER: Final = Instant(1 << 63)


@dataclass(slots=True)
class _HandOver:
    target: NodeId
    deadline: Instant


class Leader:
    """See the module. Lives from winning a ballot to losing it."""

    def __init__(
        self, ballot: Ballot, acceptor: Acceptor, leases: LeaseView, settings: PaxosSettings, now: Instant
    ) -> None:
        self.ballot = ballot
        self.since = now
        self.serving = False  # the barrier is chosen and reported
        self.barrier_slot = Slot(0)
        self.peers: list[Peer] = []
        self.unchosen_bytes = 0
        self.handing: _HandOver | None = None
        self.lapsed_at: Instant | None = None
        self._look_at = Instant(0)  # at the lease again, while it is lapsed
        self._by_node: dict[NodeId, Peer] = {}
        self._voting: list[Peer] = []  # the other voters of the present configuration
        self._acceptor = acceptor
        self._leases = leases
        self._settings = settings
        self._follow_configurations()
        self._commit_at: Instant | None = None
        self._lease_until = Instant(0)
        self._counted = acceptor.chosen  # chosen as far as `unchosen_bytes` knows

    # --- beginning ----------------------------------------------------------------------------------------------------

    def begin(self, promises: dict[NodeId, Promise], now: Instant, out: Effects) -> None:
        """Propose the barrier and bring up every follower from what its promise said; ask those that made none. What a
        promiser knows as chosen is chosen, so this log has it."""
        acceptor = self._acceptor
        for promise in promises.values():
            acceptor.note_chosen(Slot(min(promise.chosen.slot, acceptor.log.last_slot)))
        self._counted = acceptor.chosen
        self.unchosen_bytes = acceptor.log.bytes_after(acceptor.chosen)
        entry = self._append(barrier(self.ballot), Stamp(0), out)
        self.barrier_slot = entry.slot
        for peer in self.peers:
            known = promises.get(peer.node)
            if known is None:
                peer.probe(now, self.everywhere(), out)
            else:
                peer.join(known.last, known.chosen.slot, now, out)

    def begin_founding(self, now: Instant, out: Effects) -> None:
        """Lead the ballot that every replica was created with: each is in it, with an empty log."""
        self.barrier_slot = self._append(barrier(self.ballot), Stamp(0), out).slot
        for peer in self.peers:
            peer.stream_from(Slot(1))
            peer.pump(now, Slot(0), out)

    # --- proposing ----------------------------------------------------------------------------------------------------

    def propose(self, command: Command, wall: Timestamp, out: Effects) -> Slot:
        """Append `command` in the next slot. It leaves with `flush`. Raises Stalled past the unchosen window, and
        InvalidInput for a command that no log takes: once in a slot, it would stop every replica."""
        if len(command.body) > MAX_COMMAND_BYTES:
            raise InvalidInput(f"a command has {len(command.body)} bytes, the limit is {MAX_COMMAND_BYTES}")
        if self.unchosen_bytes and self.unchosen_bytes + len(command.body) > self._settings.unchosen_window_bytes:
            raise Stalled(
                f"group {self._acceptor.group}: {self.unchosen_bytes} bytes wait to be chosen, "
                f"the limit is {self._settings.unchosen_window_bytes}"
            )
        return self._append(command, wall, out).slot

    def _append(self, command: Command, wall: int, out: Effects) -> Entry:
        acceptor = self._acceptor
        log = acceptor.log
        if log.entries:
            last = log.entries[-1]
            crc, slot, stamp = last.crc, last.slot + 1, max(wall, last.stamp + 1)
        else:
            crc, slot, stamp = log.base.crc, log.base.slot + 1, max(wall, log.base.stamp + 1)
        entry = make_entry(crc, Slot(slot), Stamp(stamp), acceptor.number, command)
        acceptor.append_own(entry, out)
        self.unchosen_bytes += len(entry.encoded)
        return entry

    def flush(self, now: Instant, out: Effects) -> None:
        """One Accept per follower with everything that it was not sent yet."""
        everywhere = self.everywhere()
        for peer in self.peers:
            peer.pump(now, everywhere, out)

    # --- configurations -----------------------------------------------------------------------------------------------

    def refusal(self, after: Configuration) -> str:
        """Why `after` may not be proposed now, "" if it may."""
        acceptor = self._acceptor
        if acceptor.configurations:
            return f"configuration {acceptor.configurations[-1][1].number} is not chosen yet"
        if acceptor.me not in after.eligible:
            return f"node {acceptor.me} leads and would lose its vote"
        if self.handing is not None:
            return "leadership is being handed over"
        before = acceptor.configuration
        for node in after.voters:
            peer = self._by_node.get(node)
            if node not in before.voters and peer is not None and not self._caught_up(peer):
                return f"node {node} would vote before it has caught up"
        return before.refusal(after)

    def _caught_up(self, peer: Peer) -> bool:
        """Whether what `peer` lacks is no more than what may be on its way."""
        log = self._acceptor.log
        return peer.joined and peer.match >= log.base.slot and log.bytes_after(peer.match) <= self._settings.chunk_bytes

    def reconfigure(self, after: Configuration, wall: Timestamp, out: Effects) -> None:
        """Propose `after`, for which `refusal` had nothing to say."""
        self._append(Command(CommandKind.CONFIG, NO_COMMAND_ID, encode_configuration(after)), wall, out)
        self._follow_configurations()

    def on_chosen_configuration(self, now: Instant, out: Effects) -> None:
        """The acceptor acts in another configuration. What the lease was counted from is void: another quorum can elect
        now. Who is not named any more hears the mark of what was chosen, and so why. Who is new is asked where it is
        until it answers: its own first word may be lost."""
        before = self._by_node
        self._lease_until = Instant(0)
        self._follow_configurations()
        for node, peer in before.items():
            if node not in self._by_node:
                peer.send_commit(now, self.everywhere(), out)
        for peer in self.peers:
            if peer.mode is Mode.PROBE and peer.resend_at is None:
                peer.resend_at = Instant(now + self._settings.resend_ns)
        self._watch_lease(now)

    def _follow_configurations(self) -> None:
        """A peer for every node that is named by the present configuration or one that may follow; those whose replica
        must be made anew are met as if for the first time: what the former one said, and may still be on its way, is
        not taken for theirs (`since`)."""
        acceptor = self._acceptor
        wanted: dict[NodeId, Replica] = {}
        for configuration in (acceptor.configuration, *(held for _, held in acceptor.configurations)):
            wanted |= {replica.node: replica for replica in configuration.replicas if replica.node != acceptor.me}
        peers = []
        for node, replica in wanted.items():
            peer = self._by_node.get(node)
            if peer is None or peer.since != replica.since:
                base = self._base_for_logs if replica.log else None
                peer = Peer(node, self.ballot, acceptor, self._settings, replica.since, base)
            peers.append(peer)
        self.peers = peers
        self._by_node = {peer.node: peer for peer in peers}
        self._voting = [peer for peer in peers if peer.node in acceptor.configuration.voters]

    def _base_for_logs(self) -> Mark | None:
        """Where a log replica that cannot be served from the retained log may begin: what is before, each storage voter
        has itself, but for those that need a snapshot anyway (the one that is down, above all). None if that is not
        retained either."""
        acceptor = self._acceptor
        slot = min(acceptor.chosen, self.own_match())
        for peer in self._voting:
            if peer.joined and not peer.is_log and peer.match >= acceptor.log.base.slot:
                slot = min(slot, peer.match)
        return acceptor.log.mark_at(slot)

    # --- counting -----------------------------------------------------------------------------------------------------

    def own_match(self) -> Slot:
        """How far this node durably holds the log of this ballot."""
        acceptor = self._acceptor
        return acceptor.durable_slot if acceptor.durable_ballot == self.ballot else Slot(0)

    def count(self, now: Instant) -> None:
        """Advance the chosen mark to what a quorum durably holds in this ballot."""
        acceptor = self._acceptor
        held = self._held_by_quorum(acceptor.configuration, self._voting)
        while acceptor.configurations and acceptor.configurations[0][0] <= held:
            slot, after = acceptor.configurations[0]
            by_both = self._held_by_quorum(after, [peer for peer in self.peers if peer.node in after.voters])
            if by_both < slot:
                held = Slot(slot - 1)
                break
            acceptor.note_chosen(slot)
            held = by_both
        acceptor.note_chosen(held)
        self.after_chosen(now)

    def _held_by_quorum(self, configuration: Configuration, voting: list[Peer]) -> Slot:
        """Up to where a quorum of `configuration`, whose other voters are `voting`, holds this ballot's log."""
        matches = [peer.match for peer in voting]
        if self._acceptor.me in configuration.voters:
            matches.append(self.own_match())
        matches.sort(reverse=True)
        return matches[configuration.quorum - 1]

    def after_chosen(self, now: Instant) -> None:
        """Account for slots that became chosen, and see that followers learn of them."""
        acceptor = self._acceptor
        if acceptor.chosen > self._counted:
            for entry in acceptor.log.between(self._counted, acceptor.chosen):
                self.unchosen_bytes -= len(entry.encoded)
            self._counted = acceptor.chosen
            if self._commit_at is None and self.peers:
                self._commit_at = Instant(now + self._settings.commit_delay_ns)

    def everywhere(self) -> Slot:
        """Every voter durably holds the log up to this slot, and everybody else who can still be served from it, once
        what is on its way to it has arrived: a copy of much data would be out of date when it is there, and be followed
        by the next one for as long as clients write."""
        slot = self.own_match()
        base = self._acceptor.log.base.slot
        for peer in self.peers:
            held = peer.match
            if held < slot:
                votes = peer in self._voting
                if peer.resumes_after is not None and not votes:
                    held = max(held, peer.resumes_after)
                if held < slot and (held >= base or votes):
                    slot = held
        return slot

    @property
    def copying(self) -> bool:
        """Whether a snapshot is on its way to somebody, who will need the log from there on."""
        return any(peer.resumes_after is not None for peer in self.peers)

    def counts(self, source: NodeId, message: Any) -> bool:
        """Whether `message` of an older configuration is the word of a replica that this one names. It says what its
        sender durably holds, whichever configuration it acts in; refused, everything that is on its way when a
        configuration is chosen would have to be sent again (decision 0091)."""
        peer = self._by_node.get(source)
        return isinstance(message, Accepted | Behind) and peer is not None and message.configuration >= peer.since

    # --- followers ----------------------------------------------------------------------------------------------------

    def on_accepted(self, source: NodeId, message: Accepted, now: Instant, out: Effects) -> None:
        """Phase 2b arrives: count it, and send what is next."""
        peer = self._by_node.get(source)
        if peer is None or message.configuration < peer.since:
            return
        self._note_era(peer, message.era)
        grew = peer.on_accepted(message.slot, message.chosen, now)
        acceptor = self._acceptor
        if grew and peer.match > acceptor.chosen:
            self.count(now)
        peer.pump(now, self.everywhere(), out)
        if peer.told_chosen < acceptor.chosen:
            # The mark moved while this follower was joining, when it is not told marks.
            if self._commit_at is None:
                self._commit_at = Instant(now + self._settings.commit_delay_ns)
        elif peer.chosen < peer.told_chosen and peer.resend_at is None:
            peer.resend_at = Instant(now + self._settings.resend_ns)

    def on_behind(self, source: NodeId, message: Behind, now: Instant, out: Effects) -> None:
        """A follower is elsewhere. What it knows as chosen is chosen, and so stands in this log too."""
        peer = self._by_node.get(source)
        if peer is None or message.configuration < peer.since:
            return
        self._note_era(peer, message.era)
        acceptor = self._acceptor
        if message.log_ballot == self.ballot:
            peer.chosen = max(peer.chosen, message.chosen)
            peer.on_gap(message.last.slot, now)
            self.count(now)
            peer.pump(now, self.everywhere(), out)
        elif not peer.joined:
            acceptor.note_chosen(Slot(min(message.chosen, acceptor.log.last_slot)))
            self.after_chosen(now)
            peer.join(message.last, message.chosen, now, out)

    def greet(self, node: NodeId, now: Instant, out: Effects) -> None:
        """A follower that does not know this leader was heard: tell it."""
        peer = self._by_node.get(node)
        if peer is not None:
            peer.probe(now, self.everywhere(), out)

    def on_amnesiac(self, node: NodeId, message: Amnesiac) -> None:
        """A follower takes no part. What it once held of this ballot it may have forgotten."""
        peer = self._by_node.get(node)
        if peer is not None and message.configuration >= peer.since:
            peer.amnesiac, peer.joined, peer.match, peer.era = True, False, Slot(0), 0
            peer.mode, peer.resend_at = Mode.PROBE, None

    def snapshot_sent(self, node: NodeId, now: Instant, out: Effects) -> None:
        """The transfer to `node` has ended, one way or the other: see where it is now."""
        peer = self._by_node.get(node)
        if peer is not None and peer.snapshotting:
            peer.snapshotting = False
            peer.mode = Mode.PROBE
            peer.probe(now, self.everywhere(), out)

    # --- lease --------------------------------------------------------------------------------------------------------

    def holds_lease(self, now: Instant) -> bool:
        """Whether no higher ballot can have been promised by a quorum yet (REPLICATION.md §3)."""
        return now < self._lease_until or self._look_at_grants(now)

    def lease_until(self) -> Instant:
        """Until when the lease is known to hold."""
        return self._lease_until

    def _look_at_grants(self, now: Instant) -> bool:
        """Count the followers that answered under the grant that their node still gives us."""
        acceptor, leases = self._acceptor, self._leases
        if acceptor.durable_ballot != self.ballot:
            return False
        if not self._voting:
            self._lease_until = _FOREVER
            return True
        untils = sorted(
            (
                leases.held_until(peer.node)
                for peer in self._voting
                if peer.era and peer.era == leases.held_era(peer.node)
            ),
            reverse=True,
        )
        needed = acceptor.configuration.quorum - 1
        if len(untils) < needed:
            return False
        self._lease_until = max(self._lease_until, untils[needed - 1])
        return now < self._lease_until

    def _note_era(self, peer: Peer, era: int) -> None:
        if era and peer.era != self._leases.held_era(peer.node):
            peer.era = era

    def on_lease_change(self, now: Instant, out: Effects) -> None:
        """A grant has run out, or begun anew: have followers answer in the present era, and watch a lapsed lease."""
        for peer in self.peers:
            era = self._leases.held_era(peer.node)
            renewed = era and era != peer.era and self._leases.held_until(peer.node) > now
            if renewed:
                # It may have restarted, and what is chosen is not durable: it is owed the mark until it answers.
                peer.chosen = Slot(0)
            waiting = peer.mode is Mode.STREAM and self._owes(peer) and peer.resend_at is None
            if renewed or (waiting and self._leases.is_up(peer.node, now)):
                peer.send_commit(now, self.everywhere(), out)
        self._watch_lease(now)

    def _watch_lease(self, now: Instant) -> None:
        if self.holds_lease(now):
            self.lapsed_at = None
        else:
            self.lapsed_at = now if self.lapsed_at is None else self.lapsed_at
            self._look_at = Instant(now + self._settings.reconfirm_ns)

    def must_step_down(self, now: Instant) -> bool:
        """Whether the lease has been gone for so long that somebody else should lead."""
        if self.lapsed_at is not None:
            self._watch_lease(now)
        lapsed_at = self.lapsed_at
        return lapsed_at is not None and now - lapsed_at >= self._patience_ns(now)

    def _patience_ns(self, now: Instant) -> int:
        """Short where too few are heard at all: followers that hear this node all the same wait for it to release them
        (decision 0094). Long where they are heard: the next grant may be on its way."""
        up = 1 + sum(self._leases.is_up(peer.node, now) for peer in self._voting)
        deaf = up < self._acceptor.configuration.quorum
        return self._settings.reconfirm_ns if deaf else self._settings.step_down_ns

    # --- hand-over ----------------------------------------------------------------------------------------------------

    def hand_over(self, target: NodeId | None, now: Instant) -> None:
        """Propose nothing more, and wait for `target` (None: the follower that is furthest) to have it all."""
        eligible = self._acceptor.configuration.eligible
        candidates = [peer for peer in self.peers if peer.node in eligible and target in (None, peer.node)]
        up = [peer for peer in candidates if peer.joined and self._leases.is_up(peer.node, now)]
        if up:
            best = max(up, key=lambda peer: peer.match)
            self.handing = _HandOver(best.node, Instant(now + self._settings.hand_over_ns))

    def handed_over(self) -> NodeId | None:
        """The target, once everything is chosen and it durably has everything."""
        if self.handing is None:
            return None
        acceptor = self._acceptor
        last = acceptor.log.last_slot
        peer = self._by_node.get(self.handing.target)
        if peer is None:
            return None
        return peer.node if acceptor.chosen == last and peer.match == last else None

    # --- time ---------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When `tick` has something to do; None if the group is idle."""
        first = self._commit_at
        for peer in self.peers:
            at = peer.resend_at
            if at is not None and (first is None or at < first):
                first = at
        if self.handing is not None:
            first = min(self.handing.deadline, _FOREVER if first is None else first)
        if self.lapsed_at is not None:
            first = min(self._look_at, _FOREVER if first is None else first)
        return first

    def tick(self, now: Instant, out: Effects) -> None:
        """Push the chosen mark, probe silent followers, give up a hand-over that takes too long."""
        everywhere = self.everywhere()
        if self._commit_at is not None and self._commit_at <= now:
            self._commit_at = None
            for peer in self.peers:
                if peer.mode is Mode.STREAM and peer.told_chosen < self._acceptor.chosen:
                    peer.send_commit(now, everywhere, out)
        for peer in self.peers:
            if peer.resend_at is not None and peer.resend_at <= now:
                self._resend(peer, now, everywhere, out)
        if self.handing is not None and self.handing.deadline <= now:
            self.handing = None

    def _resend(self, peer: Peer, now: Instant, everywhere: Slot, out: Effects) -> None:
        """A follower that is down is left alone until `on_lease_change` or its own word wakes it."""
        if not self._owes(peer):
            peer.resend_at = None
        elif self._leases.is_up(peer.node, now) or now - self.since < self._settings.lease_grant_ns:
            peer.probe(now, everywhere, out)
        else:
            peer.resend_at = Instant(now + self._settings.retry_max_ns)

    def _owes(self, peer: Peer) -> bool:
        """Whether the follower lacks something that it should be told."""
        acceptor = self._acceptor
        return (peer.mode is not Mode.SNAPSHOT and not peer.amnesiac) and (
            peer.match < acceptor.log.last_slot or peer.chosen < acceptor.chosen or peer.mode is not Mode.STREAM
        )
