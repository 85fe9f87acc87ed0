"""A node: the machines composed, on the ports it was given. The same class runs in production and in simulation.

Owns which machines there are, to which of them a message goes, what the others must hear of what one of them puts out,
and whether the node as a whole may be relied on.
Start: recover the log (`opening`), then the rows, then let the machines go. After that everything happens in callbacks
of the ports: a message, a durable job, a timer, a request. Source: DESIGN.md §3 and §4, REPLICATION.md §8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.effects import Effects
from gramme.kernel.ids import CATALOG_GROUP, NO_NODE, BootId, GroupId, NodeId, Slot
from gramme.kernel.record import Record
from gramme.kernel.time import SECOND, Instant
from gramme.membership.gossip import Gossip
from gramme.membership.messages import MESSAGES as MEMBERSHIP_MESSAGES
from gramme.node.administration import Administration
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
from gramme.node.memory import MAX_BOOTS
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
from gramme.node.opening import open_log
from gramme.node.partition import Holding, PartitionReplica, Recorded
from gramme.node.ports import Member, NodeSettings, Ports
from gramme.node.reconciliation import Reconciliation
from gramme.node.router import Router
from gramme.node.snapshots import SnapshotReceiver, SnapshotSender
from gramme.node.standing import Standing
from gramme.node.status import status_of
from gramme.node.table_evaluator import TableEvaluator
from gramme.node.transactions.ledger import LedgerEvaluator
from gramme.paxos.lease import LeaseTable
from gramme.paxos.messages import GROUP_MESSAGES, LEASE_MESSAGES
from gramme.paxos.outputs import LeaderHint, LeaseLapsed, LeaseRegained, NeedSnapshot, PeerBack, PeerLost
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import unpack_install
from gramme.storage.log.recovery import Recovery
from gramme.storage.log.shared import LogSettings, SharedLog
from gramme.tables.descriptor import Partition

_SPACE_CHECK_NS: Final = SECOND


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
        opened = open_log(self.settings, self.ports)
        self.cluster, self.memory, self.members = opened.cluster, opened.memory, opened.members
        self._compose(opened.recovery)
        self.groups.recover(opened.records, opened.damaged)
        self.objects.recover(opened.records, opened.damaged)
        self._handlers |= self.objects.handlers()
        self._begin()

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
        catalog_members = self.memory.catalog_nodes or choose_members(settings.members, 0)
        catalog: Evaluator = CatalogEvaluator(settings.members, ports.rng)
        self.groups = Groups(
            self.host, settings, paxos, self.leases,
            lambda spec: catalog if spec.group == CATALOG_GROUP else _evaluator(spec),
            self._role_changed, self._group_output, self._reconcile_soon,
            self._group_dropped,
        )  # fmt: skip
        self.hosting = Hosting(self.host, self.me, self.boot, self.groups, self.may_be_emptied)
        self.catalog = CatalogService(
            self.host, settings, lambda: self.groups.partitions.get(CATALOG_GROUP), self._send
        )
        self.gossip = Gossip(self.me, self.boot, self._gossiping(), ports.rng)
        self.router = Router(
            self.host, settings, self.members, self.groups.partitions, catalog_members, self.catalog.submit,
            self.alive, self.groups.elsewhere,
        )  # fmt: skip
        self.feeders = Feeders(self.host, self._send, settings.stream_retention_ns)
        self.expiry = Expiry(self.host, settings)
        self.introductions = Introductions(
            self.host, self.memory, self.boot, self.members.peers, self._known, self._renew_with, self._refused
        )
        self.standing = Standing(
            self.host, settings, self.memory, self.members, self.introductions, self._ask_catalog, self.nodes_are
        )
        self.snapshots_out = SnapshotSender(self.host, settings.snapshot_bytes_per_s)
        self.snapshots_in = SnapshotReceiver(self.host, self.groups.partitions.get, self.groups.fresh_extents)
        self.healer = Healer(self.host, settings, self.members, self.groups, self.leases, self._ask_catalog)
        self.objects = Objects(
            self.host, settings, self.members, self.cluster, self.alive, self._ask_catalog,
            lambda: {record.node: record.info.objects_address for record in self.gossip.view()},
        )  # fmt: skip
        self.reconciliation = Reconciliation(
            host=self.host,
            settings=settings,
            memory=self.memory,
            members=self.members,
            groups=self.groups,
            hosting=self.hosting,
            standing=self.standing,
            router=self.router,
            objects=self.objects,
            gossip=self.gossip,
            catalog_members=catalog_members,
            owner=self,
        )
        self.flusher = Flusher(self.host, settings, self.groups, lambda: self.objects.replaying)
        self.administration = Administration(
            host=self.host,
            settings=settings,
            members=self.members,
            ask_catalog=self._ask_catalog,
            send=self._send,
            learned=self.nodes_are,
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
        self.reconciliation.start()
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
        if self.me not in self.reconciliation.catalog_members or self.refusal or self.groups.has_hosted(CATALOG_GROUP):
            return
        if self.standing.has_its_disk():
            self.groups.found_catalog(self.reconciliation.catalog_members)

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
        handlers[CreateGroups] = lambda source, message: self.reconciliation.create(message.groups, source)
        handlers[HostReplica] = self.hosting.on_invitation
        handlers[MakeAnew] = self.healer.on_make_anew
        handlers[GroupsReady] = lambda _source, message: self.catalog.on_groups_ready(message)
        handlers[DropGroups] = lambda source, message: self.groups.drop(message.groups, source)
        handlers[GroupsDropped] = self.catalog.on_groups_dropped
        handlers[Reconcile] = self._on_reconcile
        handlers[Reconciled] = self.reconciliation.on_reconciled
        handlers[NodesKnown] = lambda _source, message: self.nodes_are(message.table)
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
        if group == CATALOG_GROUP:
            if partition.leading:
                self.catalog.lead()
                self._reconcile_soon()
            else:
                self.catalog.follow()
        self.feeders.role_changed(partition)
        self.expiry.role_changed(partition)
        self.router.transactions.role_changed(partition)
        self.router.leader_changed(group, self.me if partition.leading else NO_NODE)

    def _reconcile_soon(self) -> None:
        self.reconciliation.soon()

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
        self._send(Partition(CATALOG_GROUP, b"", b"", self.reconciliation.catalog_members), request, deadline, on_reply)

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

    # --- what the catalog says ------------------------------------------------------------------------------------

    def _on_reconcile(self, source: NodeId, message: Reconcile) -> None:
        """What to host only the catalog's leader says. Who is in the cluster anybody may tell, for what the catalog
        said stays true: that leader may need the votes of a newcomer and of a node which has not heard of it."""
        table = self.members.table
        if table is not None and table.version > message.nodes:
            self.host.send(source, NodesKnown(table))
        self.catalog.on_reconcile(source, message)

    def catalog_answered(self) -> None:
        """See `reconciliation.ReconciliationOwner`."""
        self.ready = not self.draining

    def nodes_are(self, table: NodeTable) -> None:
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

    def may_be_emptied(self) -> bool:
        """Whether nothing is left of any replica, and this node cannot prove that it has not lost its disk."""
        return self.groups.empty and not self.standing.has_its_disk()

    # --- space ----------------------------------------------------------------------------------------------------

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


def _evaluator(spec: GroupSpec) -> Evaluator:
    return LedgerEvaluator() if spec.ledger else TableEvaluator(spec.schema)


def _install_end(record: Record) -> Slot:
    """The last slot of an INSTALL record's suffix: what the engine must hold before its segment may go."""
    return Slot(record.slot + sum(1 for _ in unpack_install(record.body)))
