"""Heals the groups that this node leads: looks at each twice a second and takes the next step (`node.healing.steps`).

It also invites the nodes that a configuration names to have their replica (`gramme.node.healing.hosting`), and reports
to the catalog where its groups are by now, so that routers find a group after all its first replicas have moved
(REPLICATION.md §8: a group's log is the authority, the higher number wins). A group that is whole costs a look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import CATALOG_GROUP, BootId, GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.catalog.commands import ReplicasSet, SetReplicas
from gramme.node.catalog.service import placed
from gramme.node.groups import Groups
from gramme.node.healing.steps import Health, Seen, Situation, decide, health
from gramme.node.host import Host
from gramme.node.members import Members
from gramme.node.messages import HostReplica, MakeAnew
from gramme.node.partition import PartitionReplica
from gramme.node.ports import NodeSettings
from gramme.paxos.configuration import Configuration, encode_configuration
from gramme.paxos.lease import LeaseView
from gramme.paxos.replica import NotLeader
from gramme.paxos.status import PeerStatus
from gramme.placement.zones import FOLLOWER_LOAD, count_load

_TICK_NS: Final = 500 * MILLISECOND
_INVITE_NS: Final = SECOND
_REPORT_PATIENCE_NS: Final = 3 * SECOND
_MOST_REPORTED: Final = 200
_HAS_LOG_BYTES: Final = 1 << 20
"""A replica that lacks no more than this of its leader's log is as good as caught up: so much may be on its way."""

Ask = Callable[[Any, Instant, Callable[[Any], None]], None]


class Healer:
    """See the module. `ask_catalog` sends a command to the catalog's leader."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        members: Members,
        groups: Groups,
        leases: LeaseView,
        ask_catalog: Ask,
    ) -> None:
        self._host = host
        self._settings = settings
        self._members = members
        self._groups = groups
        self._leases = leases
        self._ask_catalog = ask_catalog
        self._started = host.now()
        self._up_since: dict[NodeId, Instant] = {}
        self._asked_anew: dict[tuple[GroupId, NodeId], tuple[BootId, int]] = {}
        self._invite_at: dict[tuple[GroupId, NodeId], Instant] = {}
        self._load: dict[NodeId, int] = {}  # replicas by node, as of the last look and the steps since
        self._reported: dict[GroupId, int] = {}
        self._reporting = False
        self.steps = 0

    @property
    def leaving(self) -> frozenset[NodeId]:
        """Nodes that an administrator removes: they get no replica, and those they have are rebuilt elsewhere."""
        return self._members.going

    def start(self) -> None:
        """Look at the groups, again and again."""
        if self._members.peers:
            self._started = self._host.now()
            self._arm()

    def _arm(self) -> None:
        self._host.ports.scheduler.call_at(Instant(self._host.now() + _TICK_NS), self._tick)

    def _tick(self) -> None:
        if self._host.stopped:
            return
        self._look_at_nodes()
        self._forget_groups()
        led = list(self._led())
        copies = sum(map(self._copies, led))
        troubled = [p for p in led if p.replica.has_followers and not self._whole(p)]
        if troubled:
            self._count_load()
        for partition in troubled:
            self._invite(partition)
            copies += self._heal(partition, copies < self._settings.healing_copies)
        self._report()
        self._arm()

    def _led(self) -> Iterator[PartitionReplica]:
        return (p for p in self._groups.partitions.values() if p.leading and p.replica.serving)

    def _look_at_nodes(self) -> None:
        now = self._host.now()
        for node in [node for node in self._up_since if node not in self._members.peers]:
            del self._up_since[node]
        for node in self._members.peers:
            if self._leases.is_up(node, now):
                self._up_since.setdefault(node, now)
            else:
                self._up_since.pop(node, None)

    def _forget_groups(self) -> None:
        """Nothing is kept of groups that are not hosted here any more."""
        hosted = self._groups.partitions
        if any(group not in hosted for group, _ in self._invite_at):
            self._invite_at = {key: at for key, at in self._invite_at.items() if key[0] in hosted}
        if any(group not in hosted for group, _ in self._asked_anew):
            self._asked_anew = {key: asked for key, asked in self._asked_anew.items() if key[0] in hosted}
        if any(group not in hosted for group in self._reported):
            self._reported = {group: number for group, number in self._reported.items() if group in hosted}

    def _whole(self, partition: PartitionReplica) -> bool:
        """Whether nothing can be the matter, told without much ado: most groups are so most of the time, and a node
        that leads thousands of idle ones asks twice a second."""
        configuration = partition.replica.configuration
        if not partition.replica.followed_by_all(self._up_since):
            return False
        if self._asked_anew and any(self._is_damaged(partition, node) for node in configuration.nodes):
            return False
        if self.leaving and any(node in self.leaving for node in configuration.nodes):
            return False
        return configuration.nodes == configuration.eligible and len(configuration.nodes) % 2 == 1

    # --- what is seen -------------------------------------------------------------------------------------------------

    def _situation(self, partition: PartitionReplica, may_copy: bool) -> Situation:
        configuration = partition.replica.configuration
        followers = {peer.node: peer for peer in partition.replica.followers()}
        seen = {
            node: self._seen(partition, node, followers.get(node))
            for node in configuration.nodes
            if node != self._settings.me
        }
        places = [member.place for member in self._members.all]
        free = [
            place
            for place in places
            if place.node not in configuration.nodes and place.node not in self.leaving and place.node in self._up_since
        ]
        held = [p for p in places if p.node in configuration.nodes]
        turn = partition.spec.group
        return Situation(
            self._settings.me, configuration, seen, free, held, self._load, self.leaving,
            self._awaited(configuration), may_copy, turn,
        )  # fmt: skip

    def _silent_ns(self, node: NodeId) -> int:
        """How long a node was not heard; 0 while it is up."""
        if node in self._up_since:
            return 0
        heard = self._leases.heard_at(node)
        return max(1, self._host.now() - max(self._started, self._started if heard is None else heard))

    def _awaited(self, configuration: Configuration) -> bool:
        """Whether a node that has no replica is down, and may be back."""
        given_up_ns = self._settings.healing.replace_after_ns
        return any(
            0 < self._silent_ns(node) < given_up_ns
            for node in self._members.peers
            if node not in configuration.nodes and node not in self.leaving
        )

    def _seen(self, partition: PartitionReplica, node: NodeId, follower: PeerStatus | None) -> Seen:
        now = self._host.now()
        up_since = self._up_since.get(node)
        steady_ns = 0 if up_since is None else now - up_since
        has_log = (
            follower is not None
            and follower.joined
            and follower.mode == "stream"
            and follower.behind_bytes <= _HAS_LOG_BYTES
        )
        damaged = self._is_damaged(partition, node) or (follower is not None and follower.amnesiac)
        return Seen(self._silent_ns(node), steady_ns, has_log, damaged)

    def _is_damaged(self, partition: PartitionReplica, node: NodeId) -> bool:
        """Whether the node has asked to be made anew since its replica was last made."""
        asked = self._asked_anew.get((partition.spec.group, node))
        mine = partition.replica.configuration.replica(node)
        return asked is not None and mine is not None and asked[1] >= mine.since

    def _count_load(self) -> None:
        """As far as this node knows: from the groups that it has a replica of."""
        self._load = count_load(hosted.replica.configuration.nodes for hosted in self._groups.hosted())

    def _copies(self, partition: PartitionReplica) -> int:
        """How many replicas of a group are being filled with rows."""
        learners = partition.replica.configuration.learners
        if not learners:
            return 0
        behind = {peer.node for peer in partition.replica.followers() if not peer.joined or peer.mode == "snapshot"}
        return sum(node in behind and node in self._up_since for node in learners)

    # --- what is done -------------------------------------------------------------------------------------------------

    def _heal(self, partition: PartitionReplica, may_copy: bool) -> int:
        """Take the next step of a group. Returns how many copies of its rows that begins."""
        replica = partition.replica
        enabled = self._settings.healing.enabled
        if not enabled or replica.pending is not None or not replica.holds_lease(self._host.now()):
            return 0
        step = decide(self._situation(partition, may_copy), self._settings.healing)
        if step is None:
            return 0
        try:
            effects = replica.reconfigure(step.configuration, self._host.ports.clock.timestamp(), self._host.now())
        except (InvalidInput, NotLeader) as error:
            self._note("replicas not changed", partition, step.configuration, str(error))
            return 0
        self.steps += 1
        self._note("replicas change", partition, step.configuration, step.reason)
        begun = [node for node in step.configuration.nodes if node not in replica.configuration.nodes]
        for node in begun:
            self._load[node] = self._load.get(node, 0) + FOLLOWER_LOAD
        partition.execute(effects)
        return sum(node in step.configuration.storage for node in begun)

    def _note(self, event: str, partition: PartitionReplica, configuration: Configuration, reason: str) -> None:
        roles = {
            r.node: ("log" if r.log else "storage") + ("" if r.votes else ", no vote") for r in configuration.replicas
        }
        fields = {"group": partition.spec.group, "number": configuration.number, "replicas": roles, "reason": reason}
        self._host.ports.log_event(event, fields)

    def _invite(self, partition: PartitionReplica) -> None:
        """Tell nodes that are up and named, but do not take part, to have a replica."""
        replica, group = partition.replica, partition.spec.group
        now = self._host.now()
        for peer in replica.followers():
            node, mine = peer.node, replica.configuration.replica(peer.node)
            if mine is None or node not in self._up_since or (peer.joined and not peer.amnesiac):
                continue
            if self._is_damaged(partition, node) or now < self._invite_at.get((group, node), now):
                continue
            self._invite_at[group, node] = Instant(now + _INVITE_NS)
            boot, _ = self._asked_anew.get((group, node), (BootId(b""), 0))
            self._tell_configuration(partition, node, boot)

    def on_make_anew(self, source: NodeId, message: MakeAnew) -> None:
        """A node can have no replica under what is proposed by now. Of the same process it is news only if what was
        proposed since will not do either: it answers so whatever it is asked, until it is invited."""
        partition = self._groups.partitions.get(message.group)
        if partition is None:
            return
        replica = partition.replica
        newest = replica.pending or replica.configuration
        known = self._asked_anew.get((message.group, source))
        mine = newest.replica(source)
        if mine is None:
            self._release(partition, source, message.boot)
        elif known is None or known[0] != message.boot or known[1] < mine.since <= message.known:
            self._asked_anew[message.group, source] = (message.boot, newest.number)

    def _release(self, partition: PartitionReplica, node: NodeId, boot: BootId) -> None:
        """The group does without `node`. While this leader holds its lease nobody can have chosen anything newer: no
        replica that was there before its process `boot` can have known more."""
        replica = partition.replica
        if replica.pending is None and replica.holds_lease(self._host.now()):
            self._tell_configuration(partition, node, boot)

    def _tell_configuration(self, partition: PartitionReplica, node: NodeId, boot: BootId) -> None:
        """To `node`, whose process `boot` may have said that it has forgotten."""
        replica = partition.replica
        body = encode_configuration(replica.configuration)
        self._host.send(node, HostReplica(partition.spec, body, replica.ballot, boot))

    # --- reporting ----------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        """Tell the catalog of the groups led here that are not where it knows them to be."""
        news = []
        for partition in self._led():
            number = partition.replica.configuration.number
            if number and partition.spec.group != CATALOG_GROUP and self._reported.get(partition.spec.group) != number:
                news.append(placed(partition.spec, partition.replica.configuration))
        if news and not self._reporting:
            self._reporting = True
            request = SetReplicas(tuple(news[:_MOST_REPORTED]))
            deadline = Instant(self._host.now() + _REPORT_PATIENCE_NS)
            self._ask_catalog(request, deadline, partial(self._noted, request))

    def _noted(self, request: SetReplicas, reply: Any) -> None:
        self._reporting = False
        if isinstance(reply, ReplicasSet):
            self._reported |= {place.group: place.number for place in request.groups}

    # --- status -------------------------------------------------------------------------------------------------------

    def health(self, partition: PartitionReplica) -> tuple[Health, str]:
        """How a group that is led here is, and why it is not healthy."""
        return health(self._situation(partition, may_copy=True), self._settings.healing)
