"""One replica of a replication group: acceptor and learner always, candidate or leader at times.

`GroupReplica` changes roles and keeps the timers; `steps` says what each message does. The parts hold the protocol:
`acceptor`, `campaign`, `leader` with its `peer`s, and the node's `lease` table. Nothing here does I/O: every method
that has effects returns them. At the end of a turn in which something was proposed the host calls `flush`.
"""

from __future__ import annotations

from typing import Any

from gramme.kernel.effects import Effects
from gramme.kernel.errors import GrammeError, InvalidInput, Invariant
from gramme.kernel.ids import NO_NODE, Ballot, GroupId, NodeId, Slot, ballot_node, ballot_round, make_ballot
from gramme.kernel.ports import Randomness
from gramme.kernel.time import Instant, Stamp, Timestamp
from gramme.paxos.acceptor import LogDurable
from gramme.paxos.campaign import Campaign, Phase, PromiseDurable
from gramme.paxos.configuration import Configuration
from gramme.paxos.entry import Command, Mark
from gramme.paxos.leader import Leader
from gramme.paxos.lease import LeaseView
from gramme.paxos.messages import Amnesiac, HandOver, NewerConfiguration, Release
from gramme.paxos.outputs import BecameLeader, LeaderHint, LostLeadership, Reconfigured
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import GroupState
from gramme.paxos.status import GroupStatus
from gramme.paxos.steps import STEPS, refuse_older_configuration
from gramme.paxos.succession import CampaignTimer
from gramme.paxos.view import ReplicaView

_KEEPS_MORE = 16  # times `retained_bytes`
_ANY_BALLOT = Ballot(0)
_TRIM_STEP = 64  # entries; what was not touched for long takes 2 to 5 µs each to free

__all__ = ["GroupReplica", "GroupStatus", "NotLeader"]


class NotLeader(GrammeError):
    """This replica may not propose: it does not lead, its barrier is not chosen, or it is handing over."""


class GroupReplica(ReplicaView):
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
        super().__init__(group, me, state, leases)
        self.founding = state.founding
        self.settings = settings
        self.timer = CampaignTimer(self.acceptor, settings, rng)
        self.highest_round = ballot_round(state.promised)
        self.promised_at: Instant | None = None
        self._hinted = NO_NODE
        self._attempt = 0
        self._acted_in = self.acceptor.configuration

    # --- events -------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Effects:
        """Begin. The founding leader waits until its CREATE is durable; a group of one campaigns at once; everybody
        else tells the holder of its ballot where it is, and campaigns if it hears nothing."""
        out = Effects()
        acceptor = self.acceptor
        if self.amnesiac:
            return out
        if self.founding:
            out.durable_events.append(LogDurable(0, acceptor.log_ballot, acceptor.log.last_slot))
        if self.founding and self.me == ballot_node(acceptor.promised):
            return out
        if self._alone:
            self.prepare(Ballot(0), now, out)
            return self._settle(now, out)
        holder = ballot_node(acceptor.promised)
        for node in acceptor.configuration.voters:
            if node != self.me:
                acceptor.answer_behind(node, now, out)
        if holder != self.me:
            wait_ns = self.settings.lease_grant_ns if self.founding else self.settings.reconfirm_ns
            self.timer.within(max(wait_ns, self.leases.quiet_until - now), now)
        else:
            self.timer.within(0, now)
        return self._settle(now, out)

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """A message of this group's protocol from `source`. Raises Invariant if it contradicts what is known: then the
        replica must stop."""
        out = Effects()
        if self.amnesiac:
            if not isinstance(message, Amnesiac | NewerConfiguration):
                out.sends.append((source, Amnesiac(self.group, self.acceptor.number)))
            return out
        if refuse_older_configuration(self, source, message, out):
            return out
        STEPS[type(message)](self, source, message, now, out)
        return self._settle(now, out)

    def on_durable(self, event: Any, now: Instant) -> Effects:
        """A durable event of this replica: all records up to its Effects are durable."""
        out = Effects()
        if isinstance(event, LogDurable):
            self.acceptor.on_durable(event)
            if self.founding:
                self._found(now, out)
            if self.leader is not None:
                self.leader.count(now)
        elif isinstance(event, PromiseDurable):
            campaign = self.campaign
            if campaign is not None and campaign.ballot == event.ballot:
                promise = self.acceptor.make_promise(event.ballot)
                campaign.on_promise(self.me, promise, now, out)
                self.after_campaign_step(now, out)
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
            return self.timer.at
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
                self.resign(now, out)
        elif self.campaign is not None:
            if self.campaign.deadline <= now and not self._alone:
                self.fail_campaign(now)
        elif self.timer.at is not None and self.timer.at <= now:
            self._consider_campaign(now, out)
        return self._settle(now, out)

    def on_applied(self, slot: Slot) -> None:
        """The state machine has applied every slot up to `slot`."""
        self.applied = slot

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
            self.prepare(Ballot(0), now, out)
        return self._settle(now, out)

    def snapshot_sent(self, peer: NodeId, now: Instant) -> Effects:
        """The snapshot that NeedSnapshot asked for was delivered, or could not be."""
        out = Effects()
        if self.leader is not None:
            self.leader.snapshot_sent(peer, now, out)
        return self._settle(now, out)

    def snapshot_installed(
        self,
        slot: Slot,
        crc: int,
        stamp: Stamp,
        configuration: Configuration | None,
        now: Instant,
        ballot: Ballot = _ANY_BALLOT,
    ) -> Effects:
        """The engine durably holds the state at `slot`, whose entry has `crc` and `stamp`, and with it `configuration`,
        the newest chosen up to there (None: the founding one); entries up to `slot` will not be reported chosen. A
        snapshot that is not newer than what was reported changes nothing. `ballot`: of the leader that sent it. As with
        all that a leader tells, this replica takes part in no lower one from now on: the leader of such a ballot would
        take what is chosen here for slots of its own log, which may be others.

        This replica may have won a campaign since the snapshot was sent; its log then holds the slot, which is chosen,
        and only the report of what is chosen skips ahead.
        """
        out = Effects()
        base = Mark(slot, crc, stamp)
        if self.leader is not None and slot > self.acceptor.emitted and not self.acceptor.log.holds(base):
            raise Invariant(f"group {self.group}: the leader's log lacks slot {slot}, of which it has a snapshot")
        if self.acceptor.install_base(base, configuration or self.configuration, out, ballot):
            self.applied = max(self.applied, slot)
            holder = ballot_node(self.acceptor.promised)
            if holder != self.me:
                self.acceptor.answer_behind(holder, now, out)
        return self._settle(now, out)

    def trim(self, slot: Slot) -> bool:
        """Forget entries up to `slot` (engine-durable here) that no follower lacks; past `retained_bytes`, also others:
        a follower that lacks those gets a snapshot. While one is on its way more is kept, or the copy would be for
        nothing. A log replica keeps more: a storage replica that should lead after the only one that has the rest
        cannot get it from anywhere else, and must wait for that one.

        At most `_TRIM_STEP` entries go, and no more are looked at; returns whether there may be more, for another step
        soon."""
        acceptor = self.acceptor
        log = acceptor.log
        begin = log.base.slot
        limit = min(slot, acceptor.emitted, acceptor.chosen, begin + _TRIM_STEP)
        everywhere = acceptor.everywhere if self.leader is None else self.leader.everywhere()
        keep_after = min(limit, everywhere)
        more = acceptor.is_log or (self.leader is not None and self.leader.copying)
        excess = log.size_bytes - self.settings.retained_bytes * (_KEEPS_MORE if more else 1)
        if excess > 0 and keep_after < limit:
            for entry in log.entries[: max(0, limit - begin)]:
                keep_after = max(keep_after, entry.slot)
                excess -= len(entry.encoded)
                if excess <= 0:
                    break
        log.trim(Slot(keep_after))
        return log.base.slot - begin == _TRIM_STEP

    # --- leader -------------------------------------------------------------------------------------------------------

    def _found(self, now: Instant, out: Effects) -> None:
        """CREATE is durable. Only now may the ballot be used: lost with a crash, it would be used a second time."""
        self.founding = False
        acceptor = self.acceptor
        ballot = acceptor.log_ballot
        untouched = acceptor.promised == ballot and not acceptor.log.last_slot
        if self.me == ballot_node(ballot) and untouched and self.campaign is None:
            self.leader = Leader(ballot, acceptor, self.leases, self.settings, now)
            self.leader.begin_founding(now, out)

    def resign(self, now: Instant, out: Effects, successor: NodeId = NO_NODE) -> None:
        """Stop leading, and tell the acceptors that the lease binds them no more."""
        leader = self.leader
        assert leader is not None
        self._drop_leader(out)
        self._release(leader.ballot, out)
        self.known_leader = successor
        self.timer.within(self.settings.campaign_timeout_ns, now)

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

    def _consider_campaign(self, now: Instant, out: Effects) -> None:
        """The timer has run out: campaign unless this node is bound after all or cannot reach a quorum anyway."""
        self.timer.stop()
        if not self.acceptor.eligible:
            self._repeat_release(now, out)
            return  # `_settle` winds the timer up again when it becomes eligible
        bound_ns = self.acceptor.bound_ns(self.me, now)
        up = sum(1 for node in self.members if node == self.me or self.leases.is_up(node, now))
        if bound_ns > 0:
            self.timer.within(bound_ns, now)
        elif up < self.acceptor.configuration.quorum:
            self.timer.retry(0, now)
        else:
            self.known_leader = NO_NODE
            self._attempt += 1
            self.campaign = Campaign(self.acceptor, self.settings, self._attempt)
            self.campaign.poll(now, out)
            if ballot_node(self.acceptor.promised) == self.me:
                self._release(self.acceptor.promised, out)

    def _repeat_release(self, now: Instant, out: Effects) -> None:
        """An ex-leader that lost its vote will not campaign; until it hears of another leader it says again that the
        others are free: bound to its node, which is well, they ask nobody, and a Release may be lost."""
        if ballot_node(self.acceptor.promised) == self.me:
            self._release(self.acceptor.promised, out)
            self.timer.retry(0, now)

    def prepare(self, released: Ballot, now: Instant, out: Effects) -> None:
        """Phase 1 with a ballot above all that were seen."""
        if self.campaign is None:
            self._attempt += 1
            self.campaign = Campaign(self.acceptor, self.settings, self._attempt)
        if self.acceptor.bound_ns(self.me, now) > 0:
            self.fail_campaign(now)
            return
        self.highest_round += 1
        self.promised_at = now
        self.known_leader = NO_NODE
        self.campaign.prepare(make_ballot(self.highest_round, self.me), released, now, out)

    def after_campaign_step(self, now: Instant, out: Effects) -> None:
        campaign = self.campaign
        assert campaign is not None
        if campaign.phase is Phase.WON:
            self._win(campaign, now, out)
        elif campaign.phase is Phase.TRAILING:
            # Nobody else where `best` is a log replica: then one that has what it trimmed must come back and lead.
            message = HandOver(self.group, self.acceptor.number, campaign.ballot)
            out.sends.append((campaign.best, message))
            self.fail_campaign(now)

    def _win(self, campaign: Campaign, now: Instant, out: Effects) -> None:
        """Phase 1 is over: adopt the whole suffix as one step, and have the barrier chosen."""
        after, suffix = campaign.adopted()
        self.acceptor.install(campaign.ballot, after, suffix, out)
        self.campaign = None
        self.timer.stop()
        self.timer.succeed()
        self.leader = Leader(campaign.ballot, self.acceptor, self.leases, self.settings, now)
        self.leader.begin(campaign.promises, now, out)

    def fail_campaign(self, now: Instant) -> None:
        campaign, self.campaign = self.campaign, None
        assert campaign is not None
        self.timer.retry(campaign.refused_until - now, now)

    def _watch_leader(self, now: Instant) -> None:
        """A grant changed: campaign when the leader's node is lost or restarted, be patient when it is merely back."""
        holder = ballot_node(self.acceptor.promised)
        if self.acceptor.stamped_era and self.acceptor.bound_ns(self.me, now) > 0:
            self.timer.stop()
            return
        back = self.leases.grant_left(holder, now) > 0
        if back and self.leases.grant_boot(holder) == self.stamped_boot:
            self.timer.again(self.settings.reconfirm_ns, now)
        else:
            self.known_leader = NO_NODE
            self.timer.within(0, now)

    def see_round(self, ballot: Ballot) -> None:
        self.highest_round = max(self.highest_round, ballot_round(ballot))

    # --- the end of every step ----------------------------------------------------------------------------------------

    def _settle(self, now: Instant, out: Effects) -> Effects:
        """Bring roles in line with the promise, then report what is chosen, in this order: a leader that has lost must
        not take a successor's entries for its own."""
        acceptor = self.acceptor
        self.see_round(acceptor.promised)
        if self.leader is not None and acceptor.promised != self.leader.ballot:
            self._drop_leader(out)
            self.timer.within(self.settings.campaign_timeout_ns, now)
        campaign = self.campaign
        if campaign is not None and acceptor.promised != campaign.ballot and campaign.phase is not Phase.POLL:
            self.campaign = None
            self.timer.within(self.settings.campaign_timeout_ns, now)
        if acceptor.configuration is not self._acted_in:
            self._reconfigured(now, out)
        acceptor.mark_durable_after(out)
        acceptor.emit(out)
        if self.leader is not None:
            self._settle_leader(self.leader, now, out)
        elif self.known_leader != NO_NODE:
            self._follow(now)
        if self.known_leader != self._hinted:
            self._hinted = self.known_leader
            out.outputs.append(LeaderHint(self.group, self.known_leader))
        return out

    def _reconfigured(self, now: Instant, out: Effects) -> None:
        """The acceptor acts in another configuration."""
        configuration = self._acted_in = self.acceptor.configuration
        out.outputs.append(Reconfigured(self.group, configuration))
        if self.leader is not None:
            self.leader.on_chosen_configuration(now, out)
            if not self.acceptor.eligible:
                self.resign(now, out)
        elif self.campaign is not None and not self.acceptor.eligible:
            self.fail_campaign(now)
        elif self.timer.at is None and self.campaign is None:
            self.timer.within(self.settings.lease_grant_ns, now)

    def _settle_leader(self, leader: Leader, now: Instant, out: Effects) -> None:
        self.timer.stop()
        if not leader.serving and self.acceptor.emitted >= leader.barrier_slot:
            leader.serving = True
            self.known_leader = self.me
            out.outputs.append(BecameLeader(self.group, leader.ballot))
        target = leader.handed_over()
        if target is not None:
            message = HandOver(self.group, self.acceptor.number, leader.ballot)
            self.resign(now, out, target)
            out.sends.append((target, message))

    def _follow(self, now: Instant) -> None:
        """With a leader whose node holds our grant there is nothing to watch: the lease table will tell."""
        holder = ballot_node(self.acceptor.promised)
        if self.acceptor.stamped_era and self.acceptor.stamped_era == self.leases.grant_era(holder, now):
            self.stamped_boot = self.leases.grant_boot(holder)
            self.timer.stop()
        elif self.campaign is None and self.timer.at is None:
            self.timer.within(self.settings.lease_grant_ns, now)
