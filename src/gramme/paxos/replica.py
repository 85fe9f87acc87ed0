"""One replica of a replication group: acceptor and learner always, candidate or leader at times.

`GroupReplica` routes messages, changes roles and keeps the timers; the parts hold the protocol: `acceptor`, `campaign`,
`leader` with its `peer`s, and the node's `lease` table. Nothing here does I/O: every method that has effects returns
them. At the end of a turn in which something was proposed the host calls `flush`.
"""

from __future__ import annotations

from typing import Any

from gramme.kernel.effects import Effects
from gramme.kernel.errors import GrammeError, InvalidInput, Invariant
from gramme.kernel.ids import NO_NODE, Ballot, GroupId, NodeId, Slot, ballot_node, ballot_round, make_ballot
from gramme.kernel.ports import Randomness
from gramme.kernel.record import Record
from gramme.kernel.time import Instant, Stamp, Timestamp
from gramme.paxos.acceptor import Acceptor, LogDurable
from gramme.paxos.campaign import Campaign, Phase, PromiseDurable
from gramme.paxos.configuration import Configuration, decode_configuration, encode_configuration
from gramme.paxos.entry import Command, Entry, Mark
from gramme.paxos.freshness import Freshness
from gramme.paxos.leader import Leader
from gramme.paxos.lease import LeaseView
from gramme.paxos.messages import (
    Accept,
    Accepted,
    Amnesiac,
    Behind,
    Commit,
    Fetch,
    HandOver,
    Install,
    Learn,
    Nack,
    NewerConfiguration,
    Poll,
    PollAnswer,
    Prepare,
    Promise,
    Rebase,
    Release,
    Suffix,
)
from gramme.paxos.outputs import BecameLeader, LeaderHint, LostLeadership, Reconfigured
from gramme.paxos.peer import Peer
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import GroupState, checkpoint_record
from gramme.paxos.status import GroupStatus, PeerStatus, Role
from gramme.paxos.succession import CampaignTimer

_LOG_REPLICA_KEEPS = 16  # times `retained_bytes`

__all__ = ["GroupReplica", "GroupStatus", "NotLeader"]


class NotLeader(GrammeError):
    """This replica may not propose: it does not lead, its barrier is not chosen, or it is handing over."""


class GroupReplica:
    """See the module. `state` comes from `founding_state` (append `create_record` first) or from recovery."""

    def __init__(
        self,
        group: GroupId,
        me: NodeId,
        state: GroupState,
        leases: LeaseView,
        settings: PaxosSettings,
        rng: Randomness,
    ) -> None:
        self.group = group
        self.me = me
        self.amnesiac = state.amnesiac
        self.acceptor = Acceptor(state, me, leases)
        self.leader: Leader | None = None
        self.campaign: Campaign | None = None
        self._descriptor = state.descriptor
        self._founding = state.founding
        self._leases = leases
        self._settings = settings
        self._known_leader = NO_NODE
        self._hinted = NO_NODE
        self._timer = CampaignTimer(self.acceptor, settings, rng)
        self._attempt = 0
        self._highest_round = ballot_round(state.promised)
        self._promised_at: Instant | None = None
        self._stamped_boot: bytes | None = None
        self._applied = state.applied
        self._acted_in = self.acceptor.configuration
        self._freshness = Freshness()

    # --- facts --------------------------------------------------------------------------------------------------------

    @property
    def role(self) -> Role:
        """What this replica is doing. A leader counts as one from winning phase 1, before it may propose."""
        if self.leader is not None:
            return Role.LEADER
        return Role.FOLLOWER if self.campaign is None else Role.CANDIDATE

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The voters of the present configuration."""
        return self.acceptor.configuration.voters

    @property
    def configuration(self) -> Configuration:
        """The newest configuration that is known to be chosen."""
        return self.acceptor.configuration

    @property
    def pending(self) -> Configuration | None:
        """The configuration that stands in the log and is not known to be chosen, if there is one."""
        held = self.acceptor.configurations
        return held[-1][1] if held else None

    @property
    def leader_hint(self) -> NodeId | None:
        """The leader this replica believes in; None if it knows none."""
        return None if self._known_leader == NO_NODE else self._known_leader

    @property
    def ballot(self) -> Ballot:
        """The highest ballot promised."""
        return self.acceptor.promised

    @property
    def chosen_slot(self) -> Slot:
        """Slots up to here are known to be chosen."""
        return self.acceptor.chosen

    @property
    def last_slot(self) -> Slot:
        """The last slot of the log."""
        return self.acceptor.log.last_slot

    @property
    def last_stamp(self) -> Stamp:
        """The stamp of the last slot."""
        return self.acceptor.log.last.stamp

    @property
    def retained(self) -> list[Entry]:
        """The entries in memory, oldest first. Not to be changed."""
        return self.acceptor.log.entries

    def accepted_after(self, slot: Slot) -> list[Entry] | None:
        """Entries held after `slot`, chosen or not; None where a snapshot is about to replace what they were."""
        log = self.acceptor.log
        return log.between(slot, log.last_slot) if slot >= log.base.slot else None

    @property
    def serving(self) -> bool:
        """Whether this replica leads with its barrier chosen and is not handing over: it may propose."""
        leader = self.leader
        return leader is not None and leader.serving and leader.handing is None

    @property
    def leader_heard_at(self) -> Instant | None:
        """When this follower last knew that it has everything its leader had chosen; None if never."""
        leader = self._known_leader
        idle = leader != NO_NODE and self._leases.grant_boot(leader) == self._stamped_boot
        return self._freshness.since(self.acceptor.emitted, self._leases.heard_at(leader) if idle else None)

    def holds_lease(self, now: Instant) -> bool:
        """Whether strong reads may be answered from applied state at `now`."""
        leader = self.leader
        return leader is not None and leader.serving and leader.holds_lease(now)

    def next_stamp(self, wall: int) -> Stamp:
        """The stamp of a command that is proposed next at `wall`."""
        return Stamp(max(wall, self.last_stamp + 1))

    def status(self) -> GroupStatus:
        """A picture for operators."""
        acceptor = self.acceptor
        peers = () if self.leader is None else self.leader.peers
        return GroupStatus(
            self.group,
            self.role,
            self._known_leader,
            acceptor.promised,
            acceptor.log_ballot,
            acceptor.number,
            acceptor.configuration.voters,
            acceptor.log.base.slot,
            acceptor.log.last_slot,
            acceptor.chosen,
            self._applied,
            acceptor.log.size_bytes,
            self.amnesiac,
            tuple(self._follower(peer) for peer in peers),
            acceptor.configuration.logs,
            acceptor.configuration.learners,
        )

    def followers(self) -> tuple[PeerStatus, ...]:
        """What the leader knows of the others; empty elsewhere."""
        return () if self.leader is None else tuple(self._follower(peer) for peer in self.leader.peers)

    def _follower(self, peer: Peer) -> PeerStatus:
        log = self.acceptor.log
        behind = log.bytes_after(max(peer.match, log.base.slot))
        return PeerStatus(peer.node, peer.match, peer.mode.value, behind, peer.joined, peer.amnesiac)

    def checkpoint(self) -> Record:
        """Everything durable but the entries, to be repeated when a log segment is begun (REPLICATION.md §5)."""
        acceptor = self.acceptor
        mark = acceptor.log.mark_at(acceptor.chosen)
        assert mark is not None
        state = GroupState(
            self.group,
            acceptor.configuration,
            self._descriptor,
            acceptor.promised,
            acceptor.log_ballot,
        )
        return checkpoint_record(state, mark)

    # --- events -------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Effects:
        """Begin. The founding leader waits until its CREATE is durable; a group of one campaigns at once; everybody
        else tells the holder of its ballot where it is, and campaigns if it hears nothing."""
        out = Effects()
        acceptor = self.acceptor
        if self.amnesiac:
            return out
        if self._founding:
            out.durable_events.append(LogDurable(0, acceptor.log_ballot, acceptor.log.last_slot))
        if self._founding and self.me == ballot_node(acceptor.promised):
            return out
        if self._alone:
            self._prepare(Ballot(0), now, out)
            return self._settle(now, out)
        holder = ballot_node(acceptor.promised)
        for node in acceptor.configuration.voters:
            if node != self.me:
                acceptor.answer_behind(node, now, out)
        if holder != self.me:
            wait_ns = self._settings.lease_grant_ns if self._founding else self._settings.reconfirm_ns
            self._timer.within(max(wait_ns, self._leases.quiet_until - now), now)
        else:
            self._timer.within(0, now)
        return self._settle(now, out)

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """A message of this group's protocol from `source`. Raises Invariant if it contradicts what is known: then the
        replica must stop."""
        out = Effects()
        if self.amnesiac:
            if not isinstance(message, Amnesiac | NewerConfiguration):
                out.sends.append((source, Amnesiac(self.group, self.acceptor.number)))
            return out
        if self._refuse_older_configuration(source, message, out):
            return out
        _STEPS[type(message)](self, source, message, now, out)
        return self._settle(now, out)

    def on_durable(self, event: Any, now: Instant) -> Effects:
        """A durable event of this replica: all records up to its Effects are durable."""
        out = Effects()
        if isinstance(event, LogDurable):
            self.acceptor.on_durable(event)
            if self._founding:
                self._found(now, out)
            if self.leader is not None:
                self.leader.count(now)
        elif isinstance(event, PromiseDurable):
            campaign = self.campaign
            if campaign is not None and campaign.ballot == event.ballot:
                promise = self.acceptor.make_promise(event.ballot)
                campaign.on_promise(self.me, promise, now, out)
                self._after_campaign_step(now, out)
        return self._settle(now, out)

    def propose(self, command: Command, wall: Timestamp, now: Instant) -> tuple[Slot, Effects]:
        """Append `command` in the next slot; it is sent by the `flush` that must follow in this turn.

        Raises NotLeader if this replica may not propose, Stalled if too many bytes wait to be chosen, InvalidInput if
        the command is too large for a log.
        """
        leader = self.leader
        if leader is None or not leader.serving or leader.handing is not None:
            raise NotLeader(f"group {self.group}: this replica may not propose")
        out = Effects()
        return leader.propose(command, wall, out), out

    def reconfigure(self, after: Configuration, wall: Timestamp, now: Instant) -> Effects:
        """Propose `after` as the group's next configuration; `Reconfigured` tells when it is chosen.

        Raises NotLeader as `propose` does, and InvalidInput with the reason where the change is not allowed now:
        another one is not chosen yet, more than one voter differs, a new voter has not caught up, this node would lose
        its vote.
        """
        leader = self.leader
        if leader is None or not self.serving:
            raise NotLeader(f"group {self.group}: this replica may not propose")
        reason = leader.refusal(after)
        if reason:
            raise InvalidInput(f"group {self.group}: {reason}")
        out = Effects()
        leader.reconfigure(after, wall, out)
        leader.flush(now, out)
        return self._settle(now, out)

    def flush(self, now: Instant) -> Effects:
        """The end of a turn: one Accept per follower with what was proposed, and word when it is durable here."""
        out = Effects()
        if self.leader is not None:
            self.leader.flush(now, out)
            self.acceptor.mark_durable_after(out)
        return out

    def next_deadline(self) -> Instant | None:
        """When `tick` must be called; None if the group is idle."""
        if self.amnesiac:
            return None
        if self.leader is not None:
            return self.leader.next_deadline()
        if self.campaign is None:
            return self._timer.at
        return None if self._alone else self.campaign.deadline

    @property
    def _alone(self) -> bool:
        """A group of one waits for its own disk, however slow: nobody else could lead, and nobody can be asked."""
        return self.members == (self.me,)

    def tick(self, now: Instant) -> Effects:
        """Do what is due at `now`; harmless when nothing is."""
        out = Effects()
        if self.amnesiac:
            return out
        if self.leader is not None:
            self.leader.tick(now, out)
            if self.leader.must_step_down(now):
                self._resign(now, out)
        elif self.campaign is not None:
            if self.campaign.deadline <= now and not self._alone:
                self._fail_campaign(now)
        elif self._timer.at is not None and self._timer.at <= now:
            self._consider_campaign(now, out)
        return self._settle(now, out)

    def on_applied(self, slot: Slot) -> None:
        """The state machine has applied every slot up to `slot`."""
        self._applied = slot

    def on_lease_change(self, now: Instant) -> Effects:
        """The lease table reported something of a node of this group."""
        out = Effects()
        if self.amnesiac:
            return out
        if self.leader is not None:
            self.leader.on_lease_change(now, out)
        elif self.campaign is None and len(self.members) > 1:
            self._watch_leader(now)
        return self._settle(now, out)

    def hand_over(self, target: NodeId | None, now: Instant) -> Effects:
        """Give leadership to `target`, or to the follower that is furthest. Nothing may be proposed from now on, until
        LostLeadership comes, or `serving` is true again because the target did not catch up in time."""
        out = Effects()
        if self.leader is not None and self.leader.serving and self.leader.handing is None:
            self.leader.flush(now, out)
            self.leader.hand_over(target, now)
        return self._settle(now, out)

    def campaign_now(self, now: Instant) -> Effects:
        """Try to lead at once, without a poll (test controls). The leases of others are respected as ever."""
        out = Effects()
        if not self.amnesiac and self.leader is None and self.acceptor.eligible:
            self.campaign = None
            self._prepare(Ballot(0), now, out)
        return self._settle(now, out)

    def snapshot_sent(self, peer: NodeId, now: Instant) -> Effects:
        """The snapshot that NeedSnapshot asked for was delivered, or could not be."""
        out = Effects()
        if self.leader is not None:
            self.leader.snapshot_sent(peer, now, out)
        return self._settle(now, out)

    def snapshot_installed(
        self, slot: Slot, crc: int, stamp: Stamp, configuration: Configuration | None, now: Instant
    ) -> Effects:
        """The engine durably holds the state at `slot`, whose entry has `crc` and `stamp`, and with it `configuration`,
        the newest chosen up to there (None: the founding one); entries up to `slot` will not be reported chosen. A
        snapshot that is not newer than what was reported changes nothing.

        This replica may have won a campaign since the snapshot was sent; its log then holds the slot, which is chosen,
        and only the report of what is chosen skips ahead.
        """
        out = Effects()
        base = Mark(slot, crc, stamp)
        if self.leader is not None and slot > self.acceptor.emitted and not self.acceptor.log.holds(base):
            raise Invariant(f"group {self.group}: the leader's log lacks slot {slot}, of which it has a snapshot")
        if self.acceptor.install_base(base, configuration or self.configuration, out):
            self._applied = max(self._applied, slot)
            holder = ballot_node(self.acceptor.promised)
            if holder != self.me:
                self.acceptor.answer_behind(holder, now, out)
        return self._settle(now, out)

    def trim(self, slot: Slot) -> None:
        """Forget entries up to `slot` (engine-durable here) that no follower lacks; past `retained_bytes`, also others:
        a follower that lacks those gets a snapshot. A log replica keeps more: a storage replica that should lead after
        the only one that has the rest cannot get it from anywhere else, and must wait for that one."""
        acceptor = self.acceptor
        log = acceptor.log
        limit = min(slot, acceptor.emitted, acceptor.chosen)
        everywhere = acceptor.everywhere if self.leader is None else self.leader.everywhere()
        keep_after = min(limit, everywhere)
        retained_bytes = self._settings.retained_bytes * (_LOG_REPLICA_KEEPS if acceptor.is_log else 1)
        excess = log.size_bytes - retained_bytes
        if excess > 0:
            for entry in log.entries:
                if excess <= 0 or entry.slot > limit:
                    break
                excess -= len(entry.encoded)
                keep_after = max(keep_after, entry.slot)
        log.trim(Slot(keep_after))

    # --- acceptor -----------------------------------------------------------------------------------------------------

    def _refuse_older_configuration(self, source: NodeId, message: Any, out: Effects) -> bool:
        number = self.acceptor.number
        if message.configuration >= number or isinstance(message, Amnesiac):
            return False
        if self.leader is not None and self.leader.counts(source, message):
            return False
        if not isinstance(message, NewerConfiguration):
            body = encode_configuration(self.acceptor.configuration)
            out.sends.append((source, NewerConfiguration(self.group, number, body)))
        return True

    def _on_prepare(self, source: NodeId, message: Prepare, now: Instant, out: Effects) -> None:
        self._see_round(message.ballot)
        leader = self.leader
        if leader is not None and message.ballot > leader.ballot and leader.holds_lease(now):
            left_ns = leader.lease_until() - now
            nack = Nack(self.group, self.acceptor.number, message.ballot, self.acceptor.promised, left_ns)
            out.sends.append((source, nack))
            return
        before = self.acceptor.promised
        if self.acceptor.on_prepare(source, message, now, out) and self.acceptor.promised != before:
            self._promised_at = now
            self._known_leader = NO_NODE
            self._timer.again(self._settings.campaign_timeout_ns, now)

    def _on_fetch(self, source: NodeId, message: Fetch, now: Instant, out: Effects) -> None:
        """The log stands still while the candidate's ballot is the highest promised here."""
        acceptor = self.acceptor
        if message.ballot != acceptor.promised:
            nack = Nack(self.group, acceptor.number, message.ballot, acceptor.promised, 0)
            out.sends.append((source, nack))
            return
        entries: tuple[bytes, ...] = ()
        if message.after >= acceptor.log.base.slot:
            entries, _ = acceptor.log.chunk(message.after, acceptor.log.last_slot, self._settings.chunk_bytes)
        suffix = Suffix(self.group, acceptor.number, message.ballot, message.after, entries)
        out.sends_durable.append((source, suffix))

    def _on_accept(self, source: NodeId, message: Accept, now: Instant, out: Effects) -> None:
        if self.acceptor.admit(source, message, out):
            self._hear_leader(source, message.chosen, now)
            self.acceptor.on_accept(source, message, now, out)

    def _on_commit(self, source: NodeId, message: Commit, now: Instant, out: Effects) -> None:
        if self.acceptor.admit(source, message, out):
            self._hear_leader(source, message.chosen.slot, now)
            self.acceptor.on_commit(source, message, now, out)

    def _on_install(self, source: NodeId, message: Install, now: Instant, out: Effects) -> None:
        if self.acceptor.admit(source, message, out):
            self._hear_leader(source, message.chosen, now)
            self.acceptor.on_install(source, message, now, out)

    def _on_learn(self, source: NodeId, message: Learn, now: Instant, out: Effects) -> None:
        if self.acceptor.admit(source, message, out):
            self._hear_leader(source, message.previous.slot, now)
            self.acceptor.on_learn(source, message, now, out)

    def _hear_leader(self, source: NodeId, chosen: Slot, now: Instant) -> None:
        """A message of the promised ballot's holder came, saying that it has `chosen`."""
        self._freshness.told(chosen, self.acceptor.emitted, now)
        self._known_leader = source
        self._timer.succeed()

    # --- leader -------------------------------------------------------------------------------------------------------

    def _found(self, now: Instant, out: Effects) -> None:
        """CREATE is durable. Only now may the ballot be used: lost with a crash, it would be used a second time."""
        self._founding = False
        acceptor = self.acceptor
        ballot = acceptor.log_ballot
        untouched = acceptor.promised == ballot and not acceptor.log.last_slot
        if self.me == ballot_node(ballot) and untouched and self.campaign is None:
            self.leader = Leader(ballot, acceptor, self._leases, self._settings, now)
            self.leader.begin_founding(now, out)

    def _on_accepted(self, source: NodeId, message: Accepted, now: Instant, out: Effects) -> None:
        if self.leader is not None and message.ballot == self.leader.ballot:
            self.leader.on_accepted(source, message, now, out)

    def _on_behind(self, source: NodeId, message: Behind, now: Instant, out: Effects) -> None:
        if self.leader is None:
            return
        if message.ballot == self.leader.ballot:
            self.leader.on_behind(source, message, now, out)
        elif message.ballot > self.leader.ballot:
            self._see_round(message.ballot)
            self._resign(now, out)
        else:
            self.leader.greet(source, now, out)

    def _on_nack(self, source: NodeId, message: Nack, now: Instant, out: Effects) -> None:
        self._see_round(message.promised)
        campaign, leader = self.campaign, self.leader
        if leader is not None and message.ballot == leader.ballot and message.promised > leader.ballot:
            self._resign(now, out)
        elif campaign is not None and message.ballot == campaign.ballot:
            hopeless = campaign.on_refusal(source, message.left_ns, now)
            if hopeless or message.promised > campaign.ballot:
                self._fail_campaign(now)

    def _on_release(self, source: NodeId, message: Release, now: Instant, out: Effects) -> None:
        if ballot_node(message.ballot) != source:
            return
        acceptor = self.acceptor
        fresh = message.ballot == acceptor.promised and acceptor.released != message.ballot
        acceptor.release(message.ballot)
        if fresh and self.leader is None and self.campaign is None:
            self._known_leader = NO_NODE
            self._timer.within(self._settings.rank_delay_ns, now)

    def _on_hand_over(self, source: NodeId, message: HandOver, now: Instant, out: Effects) -> None:
        """The holder wants this replica to lead: campaign at once, without a poll."""
        self._see_round(message.ballot)
        if ballot_node(message.ballot) != source or message.ballot < self.acceptor.promised or self.leader is not None:
            return
        if not self.acceptor.eligible:
            return
        self.acceptor.release(message.ballot)
        if self.acceptor.bound_ns(self.me, now) == 0:
            self.campaign = None
            self._prepare(message.ballot, now, out)

    def _on_newer_configuration(self, source: NodeId, message: NewerConfiguration, now: Instant, out: Effects) -> None:
        """This replica has missed a change: it acts in the newer configuration from now on, and leads no older one."""
        if message.configuration <= self.acceptor.number:
            return
        if self.leader is not None:
            self._resign(now, out)
        elif self.campaign is not None:
            self._fail_campaign(now)
        if message.body:
            self.acceptor.adopt(decode_configuration(message.body))

    def _on_amnesiac(self, source: NodeId, message: Amnesiac, now: Instant, out: Effects) -> None:
        """Not of an incarnation that was made since: that one knows a newer configuration."""
        if self.leader is not None:
            self.leader.on_amnesiac(source, message)

    def _on_rebase(self, source: NodeId, message: Rebase, now: Instant, out: Effects) -> None:
        if self.acceptor.admit(source, message, out):
            self._hear_leader(source, message.base.slot, now)
            self.acceptor.on_rebase(source, message, now, out)

    def _resign(self, now: Instant, out: Effects, successor: NodeId = NO_NODE) -> None:
        """Stop leading, and tell the acceptors that the lease binds them no more."""
        leader = self.leader
        assert leader is not None
        self._drop_leader(out)
        self._release(leader.ballot, out)
        self._known_leader = successor
        self._timer.within(self._settings.campaign_timeout_ns, now)

    def _release(self, ballot: Ballot, out: Effects) -> None:
        acceptor = self.acceptor
        acceptor.release(ballot)
        for node in acceptor.configuration.nodes:
            if node != self.me:
                out.sends.append((node, Release(self.group, acceptor.number, ballot)))

    def _drop_leader(self, out: Effects) -> None:
        leader, self.leader = self.leader, None
        if leader is not None and leader.serving:
            out.outputs.append(LostLeadership(self.group, leader.ballot))

    # --- candidate ----------------------------------------------------------------------------------------------------

    def _on_poll(self, source: NodeId, message: Poll, now: Instant, out: Effects) -> None:
        """Answer honestly; and if this replica is the ex-leader that the others are waiting for, free them."""
        left_ns = self._hears_leader_ns(source, now)
        answer = PollAnswer(self.group, self.acceptor.number, message.attempt, left_ns > 0, left_ns)
        out.sends.append((source, answer))
        promised = self.acceptor.promised
        if self.leader is not None:
            self.leader.greet(source, now, out)
        elif self.campaign is None and ballot_node(promised) == self.me:
            out.sends.append((source, Release(self.group, self.acceptor.number, promised)))

    def _hears_leader_ns(self, source: NodeId, now: Instant) -> int:
        """How long `source` should wait before it asks again; 0: no leader is heard here."""
        leader = self.leader
        if leader is not None:
            if leader.holds_lease(now):
                return leader.lease_until() - now
            patience_ns = leader.since + self._settings.lease_grant_ns - now
            return max(0, patience_ns)
        bound_ns = self.acceptor.bound_ns(source, now)
        if bound_ns > 0 or self._promised_at is None or ballot_node(self.acceptor.promised) == source:
            return bound_ns
        return max(0, self._promised_at + self._settings.campaign_timeout_ns - now)

    def _on_poll_answer(self, source: NodeId, message: PollAnswer, now: Instant, out: Effects) -> None:
        campaign = self.campaign
        if campaign is not None and campaign.on_poll_answer(source, message, now):
            self._prepare(Ballot(0), now, out)

    def _on_promise(self, source: NodeId, message: Promise, now: Instant, out: Effects) -> None:
        if self.campaign is not None:
            self.campaign.on_promise(source, message, now, out)
            self._after_campaign_step(now, out)

    def _on_suffix(self, source: NodeId, message: Suffix, now: Instant, out: Effects) -> None:
        if self.campaign is not None:
            self.campaign.on_suffix(source, message, now, out)
            self._after_campaign_step(now, out)

    def _consider_campaign(self, now: Instant, out: Effects) -> None:
        """The timer has run out: campaign unless this node is bound after all or cannot reach a quorum anyway."""
        self._timer.stop()
        if not self.acceptor.eligible:
            return  # `_settle` winds the timer up again when it becomes eligible
        bound_ns = self.acceptor.bound_ns(self.me, now)
        up = sum(1 for node in self.members if node == self.me or self._leases.is_up(node, now))
        if bound_ns > 0:
            self._timer.within(bound_ns, now)
        elif up < self.acceptor.configuration.quorum:
            self._timer.retry(0, now)
        else:
            self._known_leader = NO_NODE
            self._attempt += 1
            self.campaign = Campaign(self.acceptor, self._settings, self._attempt)
            self.campaign.poll(now, out)
            if ballot_node(self.acceptor.promised) == self.me:
                self._release(self.acceptor.promised, out)

    def _prepare(self, released: Ballot, now: Instant, out: Effects) -> None:
        """Phase 1 with a ballot above all that were seen."""
        if self.campaign is None:
            self._attempt += 1
            self.campaign = Campaign(self.acceptor, self._settings, self._attempt)
        if self.acceptor.bound_ns(self.me, now) > 0:
            self._fail_campaign(now)
            return
        self._highest_round += 1
        self._promised_at = now
        self._known_leader = NO_NODE
        self.campaign.prepare(make_ballot(self._highest_round, self.me), released, now, out)

    def _after_campaign_step(self, now: Instant, out: Effects) -> None:
        campaign = self.campaign
        assert campaign is not None
        if campaign.phase is Phase.WON:
            self._win(campaign, now, out)
        elif campaign.phase is Phase.TRAILING:
            # Nobody else where `best` is a log replica: then one that has what it trimmed must come back and lead.
            message = HandOver(self.group, self.acceptor.number, campaign.ballot)
            out.sends.append((campaign.best, message))
            self._fail_campaign(now)

    def _win(self, campaign: Campaign, now: Instant, out: Effects) -> None:
        """Phase 1 is over: adopt the whole suffix as one step, and have the barrier chosen."""
        after, suffix = campaign.adopted()
        self.acceptor.install(campaign.ballot, after, suffix, out)
        self.campaign = None
        self._timer.stop()
        self._timer.succeed()
        self.leader = Leader(campaign.ballot, self.acceptor, self._leases, self._settings, now)
        self.leader.begin(campaign.promises, now, out)

    def _fail_campaign(self, now: Instant) -> None:
        campaign, self.campaign = self.campaign, None
        assert campaign is not None
        self._timer.retry(campaign.refused_until - now, now)

    def _watch_leader(self, now: Instant) -> None:
        """A grant changed: campaign when the leader's node is lost or restarted, be patient when it is merely back."""
        holder = ballot_node(self.acceptor.promised)
        if self.acceptor.stamped_era and self.acceptor.bound_ns(self.me, now) > 0:
            self._timer.stop()
            return
        back = self._leases.grant_left(holder, now) > 0
        if back and self._leases.grant_boot(holder) == self._stamped_boot:
            self._timer.again(self._settings.reconfirm_ns, now)
        else:
            self._known_leader = NO_NODE
            self._timer.within(0, now)

    def _see_round(self, ballot: Ballot) -> None:
        self._highest_round = max(self._highest_round, ballot_round(ballot))

    # --- the end of every step ----------------------------------------------------------------------------------------

    def _settle(self, now: Instant, out: Effects) -> Effects:
        """Bring roles in line with the promise, then report what is chosen, in this order: a leader that has lost must
        not take a successor's entries for its own."""
        acceptor = self.acceptor
        self._see_round(acceptor.promised)
        if self.leader is not None and acceptor.promised != self.leader.ballot:
            self._drop_leader(out)
            self._timer.within(self._settings.campaign_timeout_ns, now)
        campaign = self.campaign
        if campaign is not None and acceptor.promised != campaign.ballot and campaign.phase is not Phase.POLL:
            self.campaign = None
            self._timer.within(self._settings.campaign_timeout_ns, now)
        if acceptor.configuration is not self._acted_in:
            self._reconfigured(now, out)
        acceptor.mark_durable_after(out)
        acceptor.emit(out)
        if self.leader is not None:
            self._settle_leader(self.leader, now, out)
        elif self._known_leader != NO_NODE:
            self._follow(now)
        if self._known_leader != self._hinted:
            self._hinted = self._known_leader
            out.outputs.append(LeaderHint(self.group, self._known_leader))
        return out

    def _reconfigured(self, now: Instant, out: Effects) -> None:
        """The acceptor acts in another configuration."""
        configuration = self._acted_in = self.acceptor.configuration
        out.outputs.append(Reconfigured(self.group, configuration))
        if self.leader is not None:
            self.leader.on_chosen_configuration(now, out)
            if not self.acceptor.eligible:
                self._resign(now, out)
        elif self.campaign is not None and not self.acceptor.eligible:
            self._fail_campaign(now)
        elif self._timer.at is None and self.campaign is None:
            self._timer.within(self._settings.lease_grant_ns, now)

    def _settle_leader(self, leader: Leader, now: Instant, out: Effects) -> None:
        self._timer.stop()
        if not leader.serving and self.acceptor.emitted >= leader.barrier_slot:
            leader.serving = True
            self._known_leader = self.me
            out.outputs.append(BecameLeader(self.group, leader.ballot))
        target = leader.handed_over()
        if target is not None:
            message = HandOver(self.group, self.acceptor.number, leader.ballot)
            self._resign(now, out, target)
            out.sends.append((target, message))

    def _follow(self, now: Instant) -> None:
        """With a leader whose node holds our grant there is nothing to watch: the lease table will tell."""
        holder = ballot_node(self.acceptor.promised)
        if self.acceptor.stamped_era and self.acceptor.stamped_era == self._leases.grant_era(holder, now):
            self._stamped_boot = self._leases.grant_boot(holder)
            self._timer.stop()
        elif self.campaign is None and self._timer.at is None:
            self._timer.within(self._settings.lease_grant_ns, now)


_STEPS: dict[type, Any] = {
    Poll: GroupReplica._on_poll,
    PollAnswer: GroupReplica._on_poll_answer,
    Prepare: GroupReplica._on_prepare,
    Promise: GroupReplica._on_promise,
    Nack: GroupReplica._on_nack,
    Fetch: GroupReplica._on_fetch,
    Suffix: GroupReplica._on_suffix,
    Learn: GroupReplica._on_learn,
    Install: GroupReplica._on_install,
    Accept: GroupReplica._on_accept,
    Commit: GroupReplica._on_commit,
    Accepted: GroupReplica._on_accepted,
    Behind: GroupReplica._on_behind,
    Release: GroupReplica._on_release,
    HandOver: GroupReplica._on_hand_over,
    NewerConfiguration: GroupReplica._on_newer_configuration,
    Amnesiac: GroupReplica._on_amnesiac,
    Rebase: GroupReplica._on_rebase,
}
