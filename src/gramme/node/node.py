"""A node: the machines composed, on the ports it was given. The same class runs in production and in simulation.

Start: recover the log, then the rows, then let the machines go. After that everything happens in callbacks of the
ports: a message, a durable job, a timer, a request. Source: DESIGN.md §3 and §4, REPLICATION.md §8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Corruption, Incompatible
from gramme.kernel.ids import CATALOG_GROUP, NO_NODE, BootId, ClusterId, GroupId, NodeId, Slot
from gramme.kernel.ports import LogDisk
from gramme.kernel.record import Record
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.membership.gossip import Gossip
from gramme.membership.messages import MESSAGES as MEMBERSHIP_MESSAGES
from gramme.node.administration import Administration
from gramme.node.catalog.commands import Placed
from gramme.node.catalog.model import CatalogEvaluator, choose_members
from gramme.node.catalog.node_table import NodeTable
from gramme.node.catalog.service import CatalogService
from gramme.node.changes.feeders import Feeders
from gramme.node.driver import Driver
from gramme.node.evaluator import Evaluator
from gramme.node.expiry import Expiry
from gramme.node.flushing import Flusher
from gramme.node.groups import Groups
from gramme.node.healing.healer import Healer
from gramme.node.healing.hosting import Hosting
from gramme.node.host import Host, RecordOwner
from gramme.node.introductions import Introductions
from gramme.node.leadership import Leadership
from gramme.node.log_replica import LogReplica
from gramme.node.members import Members
from gramme.node.memory import MAX_BOOTS, NodeMemory
from gramme.node.messages import (
    CreateGroups,
    DropGroups,
    Forward,
    Forwarded,
    GroupsDropped,
    GroupSpec,
    GroupsReady,
    Hello,
    HelloAck,
    HostReplica,
    LeadershipOffer,
    LeadershipTaken,
    MakeAnew,
    Misdirected,
    NodesKnown,
    Reconcile,
    Reconciled,
    SnapshotAck,
    SnapshotChunk,
    WhoAreYou,
)
from gramme.node.objects.node_objects import Objects
from gramme.node.partition import Holding, PartitionReplica, Recorded
from gramme.node.ports import Member, NodeSettings, Ports
from gramme.node.router import Router
from gramme.node.snapshots import SnapshotReceiver, SnapshotSender
from gramme.node.standing import Standing, removed_for_good
from gramme.node.status import status_of
from gramme.node.table_evaluator import TableEvaluator
from gramme.node.transactions.ledger import LedgerEvaluator
from gramme.paxos.lease import LeaseTable
from gramme.paxos.messages import GROUP_MESSAGES, LEASE_MESSAGES
from gramme.paxos.outputs import LeaderHint, LeaseLapsed, LeaseRegained, NeedSnapshot, PeerBack, PeerLost
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import unpack_install
from gramme.storage.log.recovery import Recovery, recover
from gramme.storage.log.shared import LogSettings, SharedLog
from gramme.tables.descriptor import Partition

_RECONCILE_NS: Final = 2 * SECOND
_FIRST_RECONCILE_NS: Final = 100 * MILLISECOND
_CATALOG_LOST_NS: Final = 5 * SECOND
_SPACE_CHECK_NS: Final = SECOND
_DOUBT_NS: Final = 300 * MILLISECOND


class Node(RecordOwner):
    """One node of a cluster. `ready` is true once it knows what it should host, `refusal` says why it never will."""

    def __init__(self, settings: NodeSettings, ports: Ports) -> None:
        self.settings = settings
        self.ports = ports
        self.me = settings.me
        self.boot: BootId = settings.boot
        self.ready = False
        self.refusal = ""
        self.draining = False
        self.catalog_version = -1
        """What this node hosts is what the catalog said when it had this version; -1: it is to say so anew."""
        self._reconcile_soon = False
        self._catalog_heard = Instant(0)
        self.low_space = False
        """The log's disk is below its reserve."""
        self._settled = False
        self._refusals: dict[str, None] = {}  # one for each peer: a reason names it
        self.on_members: Callable[[], None] = _nothing
        """Called when nodes have joined or left: the transport follows `members`."""
        self._handlers: dict[type, Callable[[NodeId, Any], None]] = {}

    # --- start ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Recover and go. Raises `Incompatible` for another node's or cluster's data, or if this one was removed,
        `Corruption` for a log of a cluster of one that is damaged (it names file and offset; nobody else could supply
        what is lost)."""
        disk = self.ports.log_disk
        segments = disk.segments()
        recovery = recover(_contents(disk, segments), self.settings.cluster) if segments else None
        self.cluster = self._cluster_id(recovery)
        self.memory = NodeMemory(self.cluster, self.me)
        records = recovery.records if recovery is not None else []
        self.memory.recover(records)
        self.members = Members(self.settings, self.memory.nodes)
        if self.me in self.members.removed:
            raise Incompatible(removed_for_good(self.me))
        self._refuse_damage(recovery)
        if not self.memory.founded and recovery is not None and (records or recovery.damaged):
            raise Corruption("the log holds records but not the one that says whose they are: it is damaged")
        self._compose(recovery)
        self.groups.recover(records, recovery.damaged if recovery is not None else [])
        self.objects.recover(records, recovery.damaged if recovery is not None else [])
        self._handlers |= self.objects.handlers()
        self._begin()

    def _cluster_id(self, recovery: Recovery | None) -> ClusterId:
        if self.settings.cluster is not None:
            return self.settings.cluster
        if recovery is not None and recovery.cluster is not None:
            return recovery.cluster
        return ClusterId(self.ports.rng.randbytes(16))

    def _refuse_damage(self, recovery: Recovery | None) -> None:
        if recovery is None:
            return
        for damage in recovery.healed:
            self.ports.log_event("log record read from its second copy", {"where": str(damage)})
        for damage in recovery.damaged:
            self.ports.log_event("log damaged", {"where": str(damage)})
        if recovery.damaged and not self.members.peers:
            raise Corruption(f"the log is damaged and no other node has a copy: {recovery.damaged[0]}")

    def _compose(self, recovery: Recovery | None) -> None:
        settings, ports = self.settings, self.ports
        log_settings = LogSettings(
            segment_bytes=settings.segment_bytes, keep_closed_ns=settings.outcome_window_ns * 3 // 2
        )
        self.log = SharedLog(self.cluster, log_settings, self._checkpoint, recovery, install_end=_install_end)
        self.host = Host(ports, self.log, self.me, self._deliver)
        paxos = PaxosSettings(
            lease_grant_ns=settings.grant_ns,
            lease_renew_ns=settings.renewal_ns,
            retained_bytes=settings.retain_log_bytes,
        )
        self.leases = LeaseTable(self.me, self.boot, self.memory.boots, paxos, self.host.now(), ports.rng)
        self.catalog_members = self.memory.catalog_nodes or choose_members(settings.members, 0)
        self._catalog_heard = self.host.now()
        catalog: Evaluator = CatalogEvaluator(settings.members, ports.rng)
        self.groups = Groups(
            self.host, settings, paxos, self.leases,
            lambda spec: catalog if spec.group == CATALOG_GROUP else _evaluator(spec),
            self._role_changed, self._group_output, self._reconcile_now,
            self._group_dropped,
        )  # fmt: skip
        self.hosting = Hosting(self.host, self.me, self.boot, self.groups, self.may_be_emptied)
        self.catalog = CatalogService(
            self.host, settings, lambda: self.groups.partitions.get(CATALOG_GROUP), self._send
        )
        self.gossip = Gossip(self.me, self.boot, self._gossiping(), ports.rng)
        self.router = Router(
            self.host, settings, self.members, self.groups.partitions, self.catalog_members, self.catalog.submit,
            self.alive, self.groups.elsewhere,
        )  # fmt: skip
        self.feeders = Feeders(self.host, self._send, settings.stream_retention_ns)
        self.expiry = Expiry(self.host, settings)
        self.introductions = Introductions(
            self.host, self.memory, self.boot, self.members.peers, self._known, self._renew_with, self._refused
        )
        self.standing = Standing(
            self.host, settings, self.memory, self.members, self.introductions, self._ask_catalog, self._nodes_are
        )
        self.snapshots_out = SnapshotSender(self.host, settings.snapshot_bytes_per_s)
        self.snapshots_in = SnapshotReceiver(self.host, self.groups.partitions.get, self.groups.fresh_extents)
        self.healer = Healer(self.host, settings, self.members, self.groups, self.leases, self._ask_catalog)
        self.objects = Objects(
            self.host, settings, self.members, self.cluster, self.alive, self._ask_catalog,
            lambda: {record.node: record.info.objects_address for record in self.gossip.view()},
        )  # fmt: skip
        self.flusher = Flusher(self.host, settings, self.groups, lambda: self.objects.replaying)
        self.administration = Administration(
            host=self.host,
            settings=settings,
            members=self.members,
            ask_catalog=self._ask_catalog,
            send=self._send,
            learned=self._nodes_are,
        )
        self.leadership = Leadership(self.host, settings, self.members, self.groups.partitions, _Neighbourhood(self))
        self._lease_driver = Driver(self.host, self.leases, self._lease_output)
        self._gossip_driver = Driver(self.host, self.gossip)
        self._register()

    def _begin(self) -> None:
        """Found or re-open, note this boot durably, then introduce this node and let every machine go."""
        birth = BootId(b"") if self.settings.is_founder else self.boot
        records = [] if self.memory.founded else [self.memory.found(birth)]
        records.append(self.memory.boot(self.boot))
        self.host.execute(Effects(records=records, durable_events=["boot"]), self)
        self.groups.start()
        self.flusher.start()
        self.healer.start()
        self._reconcile_tick()
        self._space_tick()

    def durable(self, event: Any) -> None:
        """This boot is durable: peers may remember it, and what this node grants or asks for from now on."""
        self.introductions.start()
        self._lease_driver.carry_out(self.leases.set_peers(self.members.peers, self.host.now()))
        self._gossip_driver.start()
        self.objects.start()
        self.leadership.start()
        self._maybe_found()

    def _known(self, peer: NodeId) -> None:
        """`peer` listens to this boot."""
        self._renew_with(peer)
        self._maybe_found()

    def _renew_with(self, peer: NodeId) -> None:
        """What one of us two told the other before now, it has dropped: without this both would wait for the next
        renewal, each taking the other for dead."""
        self._lease_driver.carry_out(self.leases.renew(peer, self.host.now()))

    def _maybe_found(self) -> None:
        """Found the catalog's group here once *every* other founder listens to this node: one that has seen an earlier
        boot of it does not, so a founder that lost its disk never comes back as new (REPLICATION.md §8)."""
        if self.me not in self.catalog_members or self.refusal or self.groups.has_hosted(CATALOG_GROUP):
            return
        if self.standing.has_its_disk():
            self.groups.found_catalog(self.catalog_members)

    def _checkpoint(self) -> list[Record]:
        return [self.memory.checkpoint(), *self.groups.checkpoint(), *self.objects.checkpoint()]

    # --- messages -------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        handlers = self._handlers
        handlers |= dict.fromkeys(GROUP_MESSAGES, self.groups.step)
        handlers |= dict.fromkeys(LEASE_MESSAGES, self._lease_driver.step)
        handlers |= dict.fromkeys(MEMBERSHIP_MESSAGES, self._gossip_driver.step)
        handlers[Forward] = self.router.on_forward
        handlers[Forwarded] = lambda _source, message: self.router.on_forwarded(message)
        handlers[Misdirected] = self.router.on_misdirected
        handlers[CreateGroups] = lambda source, message: self._host_groups(message.groups, source)
        handlers[HostReplica] = self.hosting.on_invitation
        handlers[MakeAnew] = self.healer.on_make_anew
        handlers[GroupsReady] = lambda _source, message: self.catalog.on_groups_ready(message)
        handlers[DropGroups] = lambda source, message: self.groups.drop(message.groups, source)
        handlers[GroupsDropped] = self.catalog.on_groups_dropped
        handlers[Reconcile] = self._on_reconcile
        handlers[Reconciled] = self._on_reconciled
        handlers[NodesKnown] = lambda _source, message: self._nodes_are(message.table)
        handlers[SnapshotChunk] = self.snapshots_in.on_chunk
        handlers[SnapshotAck] = self.snapshots_out.on_ack
        handlers[Hello] = lambda source, message: self.introductions.on_hello(source, message.boots[-1], message)
        handlers[HelloAck] = self.introductions.on_hello_ack
        handlers[LeadershipOffer] = self.leadership.on_offer
        handlers[LeadershipTaken] = self.leadership.on_taken
        handlers[WhoAreYou] = lambda source, _message: self.introductions.on_who_are_you(source)

    def on_messages(self, source: NodeId, boot: BootId, messages: list[Any]) -> None:
        """A frame of `source`, sent by its boot `boot`. Nothing of a boot that is not accepted reaches a machine."""
        if self.host.stopped:
            return
        if not self.introductions.accepted(source, boot):
            self.introductions.on_unaccepted(source, boot, messages)
            return
        handlers = self._handlers
        for message in messages:
            handlers[type(message)](source, message)

    def _deliver(self, message: Any) -> None:
        """A message of this node to itself."""
        self._handlers[type(message)](self.me, message)

    def on_disconnect(self, source: NodeId) -> None:
        """The transport lost its link to `source`: what that node was asked is asked again."""
        if not self.host.stopped:
            self.router.peer_lost(source)
            self.objects.disconnected(source)

    def on_connect(self, target: NodeId) -> None:
        """The transport's link to `target` stands."""
        self.objects.connected(target)

    # --- outputs of the machines ----------------------------------------------------------------------------------

    def _role_changed(self, partition: PartitionReplica) -> None:
        group = partition.spec.group
        self.leadership.role_changed(partition)
        if partition.leading:
            self.router.hint(group, self.me)
            partition.refusing = self.low_space
            if partition.outcomes.doubted(self.host.now()):
                # Not at once: where all doubt, leadership would go round and round.
                when = Instant(self.host.now() + _DOUBT_NS)
                self.ports.scheduler.call_at(when, lambda: None if self.host.stopped else self.fail_over([group]))
        if group == CATALOG_GROUP:
            if partition.leading:
                self.catalog.lead()
                self._reconcile_now()
            else:
                self.catalog.follow()
        self.feeders.role_changed(partition)
        self.expiry.role_changed(partition)
        self.router.transactions.role_changed(partition)
        self.router.leader_changed(group, self.me if partition.leading else NO_NODE)

    def _group_dropped(self, group: GroupId) -> None:
        self.snapshots_in.forget(group)

    def _group_output(self, partition: PartitionReplica | LogReplica, output: Any) -> None:
        if isinstance(output, LeaderHint):
            self.router.hint(output.group, output.node)
            self.router.leader_changed(output.group, output.node)
        elif isinstance(partition, LogReplica):
            return  # it has no rows: nobody works on them
        elif isinstance(output, Recorded):
            if partition.spec.group != CATALOG_GROUP:
                self.feeders.recorded(partition, output)
                self.expiry.recorded(partition, output)
        elif isinstance(output, Holding):
            self.router.transactions.recovery.watch(partition)
        elif isinstance(output, NeedSnapshot):
            self.snapshots_out.start(partition, output.peer)

    def _lease_output(self, output: Any) -> None:
        """A grant came or went: the groups that depend on that node look at their leases and leaders."""
        if isinstance(output, PeerLost | PeerBack | LeaseRegained | LeaseLapsed):
            for hosted in list(self.groups.hosted()):
                if output.node in hosted.replica.configuration.nodes:
                    hosted.execute(hosted.replica.on_lease_change(self.host.now()))
            if isinstance(output, PeerLost) or (isinstance(output, PeerBack) and output.restarted):
                self.router.peer_lost(output.node)
                self.objects.lost(output.node)

    def _send(self, place: Partition, request: Any, deadline: Instant, on_reply: Callable[[Any], None]) -> None:
        """A command of one of this node's machines to a partition's leader."""
        self.router.send(place, request, deadline, on_reply)

    def _ask_catalog(self, request: Any, deadline: Instant, on_reply: Callable[[Any], None]) -> None:
        """A command of one of this node's machines to the catalog's leader."""
        self._send(Partition(CATALOG_GROUP, b"", b"", self.catalog_members), request, deadline, on_reply)

    def alive(self, node: NodeId) -> bool:
        """Whether `node` is heard; this one always is."""
        return node == self.me or self.leases.is_up(node, self.host.now())

    def _refused(self, reason: str) -> None:
        """A peer will not listen to this node: it has lost what it once said, so its promises are worth nothing, and it
        must stop. Only where its list of boots is full may the peer merely have been away for more of them than the
        list holds; then it takes most peers."""
        if reason not in self._refusals:
            self._refusals[reason] = None
            self.ports.log_event("this node is refused", {"reason": reason})
        self.refusal = self.refusal or reason
        if len(self.memory.boots) < MAX_BOOTS or 2 * len(self._refusals) > len(self.members.peers):
            self.ready = False
            self.ports.fatal(self.refusal)

    # --- loops ----------------------------------------------------------------------------------------------------

    def _reconcile_now(self) -> None:
        if not self._reconcile_soon:
            self._reconcile_soon = True
            when = Instant(self.host.now() + (_FIRST_RECONCILE_NS if self.ready else 0))
            self.ports.scheduler.call_at(when, self._send_reconcile)

    def _send_reconcile(self) -> None:
        self._reconcile_soon = False
        if self.host.stopped:
            return
        table = self.members.table
        version = 0 if table is None else table.version
        hosted = (*self.groups.partitions, *self.groups.logs)
        message = Reconcile(self.catalog_version, hosted, version, self.router.descriptors.version)
        unheard = self.host.now() - self._catalog_heard > _CATALOG_LOST_NS
        for node in self._peers_and_me() if unheard else self.catalog_members:
            self.host.send(node, message)

    def _peers_and_me(self) -> tuple[NodeId, ...]:
        """All nodes: the catalog's group may have moved to any of them while this node was away."""
        return (self.me, *self.members.peers)

    def _reconcile_tick(self) -> None:
        if self.host.stopped:
            return
        self._send_reconcile()
        period = _RECONCILE_NS if self.ready else _FIRST_RECONCILE_NS
        self.ports.scheduler.call_at(Instant(self.host.now() + period), self._reconcile_tick)

    def _on_reconcile(self, source: NodeId, message: Reconcile) -> None:
        """What to host only the catalog's leader says. Who is in the cluster anybody may tell, for what the catalog
        said stays true: that leader may need the votes of a newcomer and of a node which has not heard of it."""
        table = self.members.table
        if table is not None and table.version > message.nodes:
            self.host.send(source, NodesKnown(table))
        self.catalog.on_reconcile(source, message)

    def _on_reconciled(self, source: NodeId, message: Reconciled) -> None:
        """The catalog's leader says what this node should host."""
        self.router.hint(CATALOG_GROUP, source)
        self._catalog_heard = self.host.now()
        self.ready = not self.draining
        if message.catalog is not None:
            self._catalog_moved(message.catalog)
        if message.nodes is not None:
            self._nodes_are(message.nodes)
        self.standing.say_birth()
        if message.version == self.catalog_version:
            self.router.descriptors.confirm()
            return
        self.catalog_version = message.version
        if message.objects:
            self.objects.configure(message.objects)
        self.router.descriptors.changed(message.version, message.changed)
        self.gossip.update(catalog_version=message.version)
        if message.drop:
            self.groups.drop(message.drop, source)
        for place in message.moved:
            self.router.moved(place.group, place.members)
            if not self._leave_unless_named(place):
                self.catalog_version = -1
        if message.create:
            self._host_groups(message.create, source)

    def _nodes_are(self, table: NodeTable) -> None:
        """Nodes have joined or left. A restart alone must know its peers, and that it was removed."""
        if self.members.table is not None and table.version <= self.members.table.version:
            return
        self.members.take(table)
        self.host.execute(Effects(records=[self.memory.nodes_changed(table)]), self)
        for node in self.members.removed:
            if node != self.me:  # of itself it speaks until its process has ended
                self.gossip.remove(node)
        self.introductions.set_peers(self.members.peers)
        if self.introductions.started:
            self._lease_driver.carry_out(self.leases.set_peers(self.members.peers, self.host.now()))
        self.on_members()
        self._check_standing()

    def _check_standing(self) -> None:
        """Stop if this node is none of the cluster's, or is not the one that joined."""
        reason = self.standing.refusal()
        if reason:
            self.refusal = reason
            self.ready = False
            self.ports.fatal(reason)

    def _gossiping(self) -> tuple[Member, ...]:
        """Those to gossip with at first, this node among them: the table that it has may be of before it joined."""
        own = [member for member in (*self.settings.members, *self.settings.joined) if member.node == self.me]
        known = {member.node for member in self.members.all}
        return (*self.members.all, *(member for member in own if member.node not in known))

    def _catalog_moved(self, place: Placed) -> None:
        """The catalog's group is not where it was founded. A restart alone must find it again."""
        if place.number > self.memory.catalog_number:
            self.catalog_members = place.members
            self.router.moved(CATALOG_GROUP, place.members)
            record = self.memory.catalog_moved(place.number, place.members)
            self.host.execute(Effects(records=[record]), self)
        self._leave_unless_named(place)

    def _leave_unless_named(self, place: Placed) -> bool:
        """A replica here that nobody has told: its group has gone on without it. One that is damaged may have known a
        newer configuration than the catalog does: only the group's leader can say that it is not needed. False: it was
        asked, so the catalog is to say all this anew until it has answered."""
        group = place.group
        named = self.me in place.members or self.me in place.others
        if named:
            return True
        if self.groups.may_have_forgotten(group):
            for node in place.members:
                self.host.send(node, MakeAnew(group, self.boot, self.groups.last_known(group)))
            return False
        if self.groups.hosts(group) and place.number > self.groups.last_known(group):
            self.groups.removed(group, place.number)
        return True

    def may_be_emptied(self) -> bool:
        """Whether nothing is left of any replica, and this node cannot prove that it has not lost its disk."""
        return self.groups.empty and not self.standing.has_its_disk()

    def _host_groups(self, specs: tuple[GroupSpec, ...], source: NodeId) -> None:
        """An empty node hosts nothing until it is sure of its memory: replicas are born with a promise, and a node that
        has lost its disk had gone beyond that."""
        if self.groups.partitions or self.standing.has_its_disk():
            self.groups.create([spec for spec in specs if not self.hosting.is_making(spec.group)], source)
        else:
            self.catalog_version = -1

    def _space_tick(self) -> None:
        """Below the reserve this node leads nothing and refuses writes; trimming goes on (REPLICATION.md §5)."""
        if self.host.stopped:
            return
        low = self.ports.log_disk.free_bytes() < self.settings.free_space_reserve_bytes
        if low != self.low_space:
            self.low_space = self.objects.low_space = low
            self.ports.log_event("free space", {"below_reserve": low})
            for partition in self.groups.partitions.values():
                partition.refusing = low
        if low or self.me in self.members.leaving:
            self.leadership.give_away()
        self.ports.scheduler.call_at(Instant(self.host.now() + _SPACE_CHECK_NS), self._space_tick)

    # --- hand-over and end ----------------------------------------------------------------------------------------

    def fail_over(self, groups: list[GroupId]) -> None:
        """Hand over those of `groups` that this node leads."""
        self.leadership.hand_over(groups)

    def drain(self, on_done: Callable[[], None]) -> None:
        """Hand every leadership over and answer who waits; then `on_done`. This node takes nothing on any more."""
        self.draining = True
        self.ready = False
        self.leadership.drain(
            lambda: not (self.router.waiting or self.objects.waiting), lambda: self.objects.stop(on_done)
        )

    def stop(self) -> None:
        """Nothing is done or answered after this. What was not durable may be lost, as in a crash."""
        self.host.stopped = True

    def fail(self, error: BaseException) -> None:
        """An invariant is broken or the disk failed: this node must not go on."""
        self.stop()
        self.ports.fatal(f"{type(error).__name__}: {error}")

    # --- status ---------------------------------------------------------------------------------------------------

    def unready(self) -> str:
        """Why others should not rely on this node, "" when they may: above all, why the next node of a rolling restart
        has to wait. A node that serves may still be unable to make up for the loss of another one: a restarted one
        grants no lease for a while (REPLICATION.md §3), and replicas that lag cannot make a quorum."""
        if self.refusal or self.draining or not self.ready:
            return self.refusal or ("draining" if self.draining else "starting: the catalog has not answered yet")
        if not self._settled:
            if self.members.peers and self.host.now() < self.leases.quiet_until:
                return "starting: a restarted node grants no leases yet"
            lagging = sum(partition.catching_up for partition in self.groups.partitions.values())
            if lagging:
                return f"starting: {lagging} replicas have not caught up yet"
            self._settled = True
        return ""

    def status(self) -> dict[str, Any]:
        """What `/cluster` shows; see `gramme.node.status`."""
        return status_of(self)


class _Neighbourhood:
    """`leadership.Neighbourhood` of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def alive(self, node: NodeId) -> bool:
        return self._node.alive(node)

    def leads(self, node: NodeId) -> int:
        record = self._node.gossip.record(node)
        return -1 if record is None else record.info.leads

    def tell_leads(self, leads: int) -> None:
        self._node.gossip.update(leads=leads)

    def fit(self) -> bool:
        node = self._node
        return not (node.low_space or node.me in node.members.leaving or node.unready())


def _nothing() -> None:
    """No transport follows."""


def _contents(disk: LogDisk, segments: list[int]) -> Iterator[tuple[int, bytes]]:
    """Segments with what is in them: one is in memory at a time."""
    for number in segments:
        yield number, disk.read(number)


def _evaluator(spec: GroupSpec) -> Evaluator:
    return LedgerEvaluator() if spec.ledger else TableEvaluator(spec.schema)


def _install_end(record: Record) -> Slot:
    """The last slot of an INSTALL record's suffix: what the engine must hold before its segment may go."""
    return Slot(record.slot + sum(1 for _ in unpack_install(record.body)))
