"""The proposer of one ballot that has won phase 1: it pipelines slots, counts quorums, keeps followers up, holds the
lease.

It first has a barrier (a no-op of its ballot) chosen; only then may it propose (REPLICATION.md §1). A slot is chosen
when a quorum durably holds the log of this ballot up to it; its own durability counts when the log says so. An idle
group sends nothing: the chosen mark is pushed until every follower that is up has acknowledged it, then all timers end.
"""

from __future__ import annotations

from dataclasses import dataclass

from gramme.kernel.effects import Effects
from gramme.kernel.errors import InvalidInput, Stalled
from gramme.kernel.ids import Ballot, NodeId, Slot
from gramme.kernel.time import Instant, Stamp, Timestamp
from gramme.paxos.acceptor import Acceptor
from gramme.paxos.entry import MAX_COMMAND_BYTES, Command, Entry, barrier, make_entry
from gramme.paxos.lease import LeaseView
from gramme.paxos.messages import Accepted, Behind, Promise
from gramme.paxos.peer import Mode, Peer
from gramme.paxos.settings import PaxosSettings


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
        self.peers = [Peer(node, ballot, acceptor, settings) for node in acceptor.members if node != acceptor.me]
        self.unchosen_bytes = 0
        self.handing: _HandOver | None = None
        self.lapsed_at: Instant | None = None
        self._by_node = {peer.node: peer for peer in self.peers}
        self._acceptor = acceptor
        self._leases = leases
        self._settings = settings
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

    def next_stamp(self, wall: int) -> Stamp:
        """The stamp that a command proposed at `wall` gets: strictly above every earlier one of the group."""
        log = self._acceptor.log
        last = log.entries[-1].stamp if log.entries else log.base.stamp
        return Stamp(max(wall, last + 1))

    def _append(self, command: Command, wall: int, out: Effects) -> Entry:
        acceptor = self._acceptor
        log = acceptor.log
        if log.entries:
            last = log.entries[-1]
            crc, slot, stamp = last.crc, last.slot + 1, max(wall, last.stamp + 1)
        else:
            crc, slot, stamp = log.base.crc, log.base.slot + 1, max(wall, log.base.stamp + 1)
        entry = make_entry(crc, Slot(slot), Stamp(stamp), acceptor.configuration, command)
        acceptor.append_own(entry, out)
        self.unchosen_bytes += len(entry.encoded)
        return entry

    def flush(self, now: Instant, out: Effects) -> None:
        """One Accept per follower with everything that it was not sent yet."""
        everywhere = self.everywhere()
        for peer in self.peers:
            peer.pump(now, everywhere, out)

    # --- counting -----------------------------------------------------------------------------------------------------

    def own_match(self) -> Slot:
        """How far this node durably holds the log of this ballot."""
        acceptor = self._acceptor
        return acceptor.durable_slot if acceptor.durable_ballot == self.ballot else Slot(0)

    def count(self, now: Instant) -> None:
        """Advance the chosen mark to what a quorum durably holds in this ballot."""
        acceptor = self._acceptor
        matches = sorted([self.own_match(), *(peer.match for peer in self.peers)], reverse=True)
        acceptor.note_chosen(matches[acceptor.quorum - 1])
        self.after_chosen(now)

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
        """Every member durably holds the log up to this slot."""
        slot = self.own_match()
        for peer in self.peers:
            slot = min(slot, peer.match)
        return slot

    # --- followers ----------------------------------------------------------------------------------------------------

    def on_accepted(self, source: NodeId, message: Accepted, now: Instant, out: Effects) -> None:
        """Phase 2b arrives: count it, and send what is next."""
        peer = self._by_node.get(source)
        if peer is None:
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
        if peer is None:
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
        if not self.peers:
            self._lease_until = _FOREVER
            return True
        untils = sorted(
            (
                leases.held_until(peer.node)
                for peer in self.peers
                if peer.era and peer.era == leases.held_era(peer.node)
            ),
            reverse=True,
        )
        needed = acceptor.quorum - 1
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
        elif self.lapsed_at is None:
            self.lapsed_at = now

    def must_step_down(self, now: Instant) -> bool:
        """Whether the lease has been gone for so long that somebody else should lead."""
        if self.lapsed_at is None:
            return False
        self._watch_lease(now)
        return self.lapsed_at is not None and now - self.lapsed_at >= self._settings.step_down_ns

    # --- hand-over ----------------------------------------------------------------------------------------------------

    def hand_over(self, target: NodeId | None, now: Instant) -> None:
        """Propose nothing more, and wait for `target` (None: the follower that is furthest) to have it all."""
        candidates = [peer for peer in self.peers if target is None or peer.node == target]
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
        peer = self._by_node[self.handing.target]
        return peer.node if acceptor.chosen == last and peer.match == last else None

    # --- time ---------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """When `tick` has something to do; None if the group is idle."""
        times = [peer.resend_at for peer in self.peers if peer.resend_at is not None]
        if self._commit_at is not None:
            times.append(self._commit_at)
        if self.handing is not None:
            times.append(self.handing.deadline)
        if self.lapsed_at is not None:
            times.append(Instant(self.lapsed_at + self._settings.step_down_ns))
        return min(times, default=None)

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
        return peer.mode is not Mode.SNAPSHOT and (
            peer.match < acceptor.log.last_slot or peer.chosen < acceptor.chosen or peer.mode is not Mode.STREAM
        )


_FOREVER = Instant(1 << 63)
