"""Which groups this node leads, and when it gives some of them up: before a stop, when its log disk hangs or is full,
when it must not judge their writes for a while, and when another node leads fewer.

Rules: a hand-over waits until its target has everything (`paxos.leader`), so it costs a group milliseconds; where this
node has a choice it *asks* first, for only the other one knows whether its own disk answers and how much it leads by
now. A group moves for balance only if the taker then leads no more than the giver: each such move lowers the sum of the
squares of what nodes lead, so without outside changes they come to an end (decision 0005). Decision 0093 has the log
disk that hangs. Source: DynamoDB (ATC 2022) §6.2 for gray failures, §6.4 for leaders that relinquish.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import MILLISECOND, Instant
from gramme.node.host import Host
from gramme.node.members import Members
from gramme.node.messages import LeadershipOffer, LeadershipTaken
from gramme.node.partition import PartitionReplica
from gramme.node.ports import NodeSettings

_TICK_NS: Final = 250 * MILLISECOND
_HANGING_NS: Final = 1_000 * MILLISECOND
"""A log job that takes longer than this does not come back soon: no disk is so slow that works."""
_CALM_PERIODS: Final = 3
"""For so many periods of balancing after its start a node, after a change of leader a group, is left alone."""
_MOST_OFFERED: Final = 8
_MOST_URGENT: Final = 1_000
_MOST_LAG_BYTES: Final = 256 << 10
_EXPECTED_NS: Final = 2_000 * MILLISECOND
_DRAIN_POLL_NS: Final = 5 * MILLISECOND
_DRAIN_LIMIT_NS: Final = 2_000 * MILLISECOND
_DRAIN_LINGER_NS: Final = 100 * MILLISECOND


class Neighbourhood(Protocol):
    """What the machine must know of nodes: liveness by leases, and what gossip says of how much each leads."""

    def alive(self, node: NodeId) -> bool:
        """Whether `node` was heard within one grant period."""

    def leads(self, node: NodeId) -> int:
        """How many groups `node` says it leads; -1: it has not said."""

    def tell_leads(self, leads: int) -> None:
        """Have the others know how many groups this node leads."""

    def fit(self) -> bool:
        """Whether this node may lead more than it does: it is ready, neither stopping nor short of space."""


class Leadership:
    """See the module. `led` holds the partitions that this node leads, in the order in which it came to lead them."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        members: Members,
        partitions: dict[GroupId, PartitionReplica],
        neighbourhood: Neighbourhood,
    ) -> None:
        self.led: dict[GroupId, PartitionReplica] = {}
        self.given = 0  # hand-overs that this node began without being told to
        self._host = host
        self._me = settings.me
        self._members = members
        self._period_ns = settings.balance_ns
        self._calm_until = Instant(0)
        self._partitions = partitions
        self._neighbourhood = neighbourhood
        self._told = -1
        self._job: object = None
        self._job_seen = Instant(0)
        self._balance_at = Instant(0)
        self._rounds = 0
        self._expected: dict[GroupId, Instant] = {}
        self._doubted: dict[GroupId, PartitionReplica] = {}

    def start(self) -> None:
        """Watch, if there is anybody to hand a group to."""
        if self._members.peers:
            now = self._host.now()
            self._calm_until = Instant(now + _CALM_PERIODS * self._period_ns)
            # Nodes that were started together do not offer in step.
            self._balance_at = Instant(now + self._period_ns * (1 + self._me % 4) // 4)
            self._tick()

    def role_changed(self, partition: PartitionReplica) -> None:
        """`partition` has begun or ceased to lead."""
        group = partition.spec.group
        if partition.leading:
            self.led[group] = partition
            self._expected.pop(group, None)
            if partition.outcomes.doubted(self._host.now()):
                self._doubted[group] = partition
        else:
            self.led.pop(group, None)
            self._doubted.pop(group, None)

    @property
    def disk_hangs(self) -> bool:
        """Whether the log disk has not answered for so long that this node should lead nothing."""
        return self._job is not None and self._host.now() - self._job_seen >= _HANGING_NS

    # --- told to ------------------------------------------------------------------------------------------------------

    def hand_over(self, groups: list[GroupId] | None = None) -> None:
        """Hand over those of `groups` (None: all) that this node leads, each to the follower that is furthest. Asking
        again during a hand-over changes nothing."""
        now = self._host.now()
        for group, partition in list(self.led.items()):
            if groups is None or group in groups:
                partition.execute(partition.replica.hand_over(None, now))

    def drain(self, idle: Callable[[], bool], on_done: Callable[[], None]) -> None:
        """Give up every leadership, so that a stop costs the cluster no lease wait (row F14); then, once `idle` says
        that nobody waits for an answer, or after two seconds, call `on_done`."""
        now = self._host.now()
        self._await_drain(idle, on_done, Instant(now + _DRAIN_LIMIT_NS), now)

    def _await_drain(
        self, idle: Callable[[], bool], on_done: Callable[[], None], limit: Instant, earliest: Instant
    ) -> None:
        """Look again and again: a hand-over is given up when its target is slow for a moment (its disk, say), and
        somebody may hand a group over to this node meanwhile.

        Not before `earliest`: after its last hand-over this node stays for a moment, to vote for its successor's
        barrier where a third replica is not up to it, and to tell late requests where the leader is now."""
        now = self._host.now()
        leads = bool(self._members.peers) and bool(self.led)
        if leads:
            earliest = min(limit, Instant(now + _DRAIN_LINGER_NS))
        if (not leads and idle() and now >= earliest) or now >= limit:
            on_done()
            return
        if leads:
            self.hand_over()
        when = Instant(now + _DRAIN_POLL_NS)
        self._host.ports.scheduler.call_at(when, lambda: self._await_drain(idle, on_done, limit, earliest))

    # --- by itself ----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._host.stopped:
            return
        now = self._host.now()
        leads = len(self.led)
        if leads != self._told:
            self._told = leads
            self._neighbourhood.tell_leads(leads)
        self._watch_disk(now)
        if self._doubted:
            self._doubted = {group: led for group, led in self._doubted.items() if led.outcomes.doubted(now)}
            self._offer_urgently(self._doubted)
        if now >= self._balance_at:
            self._balance_at = Instant(now + self._period_ns)
            self._balance(now)
        self._host.ports.scheduler.call_at(Instant(now + _TICK_NS), self._tick)

    def _watch_disk(self, now: Instant) -> None:
        """Looked at from outside, so that a disk which works costs the durable path nothing."""
        job = self._host.log_job
        if job is not self._job:
            hung = self.disk_hangs
            self._job, self._job_seen = job, now
            if hung:
                self._host.ports.log_event("log disk answers again", {})
        elif self.disk_hangs and self.led:
            self._host.ports.log_event("log disk hangs", {"leads": len(self.led)})
            self.give_away()

    def give_away(self) -> None:
        """This node should lead nothing: offer everything to everybody who has a replica. Only who can write says yes,
        so where all disks hang, or are full, nothing moves in circles."""
        self._offer_urgently(self.led)

    def _offer_urgently(self, partitions: dict[GroupId, PartitionReplica]) -> None:
        offers: dict[NodeId, list[GroupId]] = {}
        for group, partition in partitions.items():
            for node in partition.replica.configuration.eligible:
                if node != self._me and self._neighbourhood.alive(node):
                    offers.setdefault(node, []).append(group)
        for node, groups in offers.items():
            self._host.send(node, LeadershipOffer(tuple(groups[:_MOST_URGENT]), len(self.led), urgent=True))

    def _balance(self, now: Instant) -> None:
        """Offer some groups to a node that leads at least two fewer."""
        leads = self._neighbourhood.leads
        mine = len(self.led)
        poorer = [
            node for node in self._members.peers if 0 <= leads(node) <= mine - 2 and self._neighbourhood.alive(node)
        ]
        if not poorer or now < self._calm_until or self.disk_hangs or not self._neighbourhood.fit():
            return
        self._rounds += 1  # in turn: one that never answers must not stand in the way of the others
        target = poorer[self._rounds % len(poorer)]
        most = min(_MOST_OFFERED, (mine - leads(target)) // 2)
        groups = [group for group, partition in self.led.items() if self._may_move(partition, target, now)][:most]
        if groups:
            self._host.send(target, LeadershipOffer(tuple(groups), mine))

    def _may_move(self, partition: PartitionReplica, target: NodeId, now: Instant) -> bool:
        """Whether `target` is up to it, and the group has had its leader for long enough."""
        replica = partition.replica
        leader = replica.leader
        calm_ns = _CALM_PERIODS * self._period_ns
        if leader is None or not replica.serving or now - leader.since < calm_ns:
            return False
        if target not in replica.configuration.eligible:
            return False
        behind = [peer.behind_bytes for peer in replica.followers() if peer.node == target and peer.joined]
        return bool(behind) and behind[0] <= _MOST_LAG_BYTES

    # --- messages -----------------------------------------------------------------------------------------------------

    def on_offer(self, source: NodeId, offer: LeadershipOffer) -> None:
        """Take what this node can lead as well as `source`: for balance, half of the difference at most."""
        now = self._host.now()
        if now < self._calm_until and not offer.urgent:
            return
        if self.disk_hangs or not self._neighbourhood.fit():
            return
        self._expected = {group: until for group, until in self._expected.items() if until > now}
        mine = len(self.led) + len(self._expected)
        room = len(offer.groups) if offer.urgent else max(0, (offer.leads - mine) // 2)
        groups = tuple(group for group in offer.groups if self._could_lead(group, source, now))[:room]
        if groups:
            until = Instant(now + _EXPECTED_NS)
            self._expected |= dict.fromkeys(groups, until)
            self._host.send(source, LeadershipTaken(groups, mine))

    def _could_lead(self, group: GroupId, leader: NodeId, now: Instant) -> bool:
        partition = self._partitions.get(group)
        return (
            partition is not None
            and not partition.replica.amnesiac
            and self._me in partition.replica.configuration.eligible
            and partition.replica.leader_hint == leader
            and not partition.catching_up
            and not partition.outcomes.doubted(now)
        )

    def on_taken(self, source: NodeId, taken: LeadershipTaken) -> None:
        """`source` would lead these: hand them over, unless things have changed meanwhile."""
        now = self._host.now()
        urgent = self.disk_hangs or not self._neighbourhood.fit()
        for number, group in enumerate(taken.groups):
            partition = self.led.get(group)
            level = len(self.led) - number < taken.leads + number + 2
            if partition is not None and (urgent or group in self._doubted or not level):
                self.given += 1
                partition.execute(partition.replica.hand_over(source, now))
