"""The catalog leader's control loop: makes what the catalog says come true on the nodes, and then says so.

CreateTable: the row says CREATING → every member is told to host its groups → each group's leader reports its barrier →
the row says ACTIVE → the caller hears CREATING, as SDKs expect, and the first DescribeTable anywhere says ACTIVE.
DeleteTable: the row says DELETING (irreversible) → every member drops → tombstones replace the rows → the caller hears
DELETING. Where streams of the table can still be read, its own partitions are sealed instead: they lose their items and
stay until the streams are forgotten (`gramme.node.catalog.stream_service`). A new catalog leader takes up what it finds
half done; a caller's retry carries the same command id and joins. Source: issue 2 (tables), issue 4 (streams),
REPLICATION.md §8 "Authority".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from gramme.kernel.ids import NO_NODE, CommandId, GroupId, NodeId
from gramme.kernel.time import MILLISECOND, Instant
from gramme.node.alarm import Alarm
from gramme.node.catalog.changes import changed_since
from gramme.node.catalog.commands import Placed, RemoveTable, SetStatus
from gramme.node.catalog.model import (
    all_groups,
    all_tables,
    counters_row,
    group_specs,
    is_tombstoned,
    leaving,
    objects_row,
)
from gramme.node.catalog.node_table import PlanRemoval, SetNodeState
from gramme.node.catalog.nodes import nodes_row
from gramme.node.catalog.schema_service import Push, SchemaService
from gramme.node.catalog.stream_service import StreamService
from gramme.node.catalog.streams import streams_row
from gramme.node.host import Host
from gramme.node.messages import (
    CreateGroups,
    DropGroups,
    GroupsDropped,
    GroupSpec,
    GroupsReady,
    Reconcile,
    Reconciled,
)
from gramme.node.partition import Elsewhere, PartitionReplica
from gramme.node.ports import NodeSettings
from gramme.paxos.configuration import Configuration
from gramme.tables.catalog import CreateTable, DeleteTable, SetTimeToLive, TableReply, UpdateTable
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.indexes import schema_of
from gramme.tables.requests import Failed

_RETRY_NS: Final = 200 * MILLISECOND

OnReply = Callable[[Any], None]


class _Task:
    """A table on its way to ACTIVE or to nothing."""

    __slots__ = ("finishing", "seal", "specs", "started", "table", "waiters", "waiting")

    def __init__(self, table: TableDescriptor, started: Instant, waiting: dict[tuple[GroupId, NodeId], None]) -> None:
        self.table = table
        self.started = started
        self.seal: Push | None = None  # of a deletion: the partitions that stay
        groups = {group for group, _ in waiting}
        self.specs = [spec for spec in group_specs(table) if spec.group in groups]
        self.waiting = waiting  # (group, node) whose report is missing; for a creation the node is 0
        self.waiters: list[tuple[OnReply, Any]] = []
        self.finishing = False


class _Survey(NamedTuple):
    """What every node is told from: all groups of the catalog at `version`, and those that are on their way to nothing.
    Every node asks after every change, and no row of the catalog changes without its version."""

    version: int
    groups: dict[GroupId, GroupSpec]
    deleting: frozenset[GroupId]


def _surveyed(partition: PartitionReplica, version: int) -> _Survey:
    get, scan = partition.rows.get, partition.rows.scan
    deleting = frozenset(
        place.group
        for table in all_tables(scan)
        for place in leaving(table, streams_row(get, table.name) if table.status == "DELETING" else ())
    )
    return _Survey(version, {spec.group: spec for spec in all_groups(scan)}, deleting)


class CatalogService:
    """Serves catalog requests on this node; acts only while this node leads the catalog's group."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        partition: Callable[[], PartitionReplica | None],
        send: Callable[[Partition, Any, Instant, Callable[[Any], None]], None],
    ) -> None:
        self._host = host
        self._settings = settings
        self._partition = partition
        self._send = send
        self._schemas = SchemaService(host, settings, partition, send)
        self._streams = StreamService(host, partition)
        self._creating: dict[str, _Task] = {}
        self._deleting: dict[str, _Task] = {}
        self._alarm = Alarm(host, self._tick)
        self._survey = _Survey(-1, {}, frozenset())

    # --- requests -------------------------------------------------------------------------------------------------

    def submit(self, request: Any, command_id: CommandId, on_reply: OnReply, repeated: bool = False) -> None:
        """Serve one catalog command here, or answer `Elsewhere`."""
        partition = self._partition()
        if partition is None:
            on_reply(Elsewhere(NO_NODE))
        elif isinstance(request, CreateTable):
            partition.submit(request, command_id, lambda reply: self._created(reply, on_reply), repeated)
        elif isinstance(request, DeleteTable):
            partition.submit(request, command_id, lambda reply: self._deleted(reply, on_reply), repeated)
        elif isinstance(request, PlanRemoval):
            nodes = partition.replica.configuration.nodes
            partition.submit(replace(request, catalog=nodes), command_id, on_reply, repeated)
        elif isinstance(request, UpdateTable | SetTimeToLive):
            partition.submit(request, command_id, lambda reply: self._updated(reply, on_reply), repeated)
        else:
            partition.submit(request, command_id, on_reply, repeated)

    def _updated(self, reply: Any, on_reply: OnReply) -> None:
        """The caller does not wait until the partitions know: it hears UPDATING and polls."""
        if isinstance(reply, TableReply):
            self._schemas.begin(reply.table)
            self._streams.look_again()
        on_reply(reply)

    def _created(self, reply: Any, on_reply: OnReply) -> None:
        """The CREATING row is applied (perhaps by an earlier attempt with this command id)."""
        if not isinstance(reply, TableReply):
            on_reply(reply)
            return
        table = reply.table
        task = self._creating.get(table.table_id)
        if task is None:
            task = self._begin_creation(table)
        task.waiters.append((on_reply, reply))
        self._check_creation(task)

    def _deleted(self, reply: Any, on_reply: OnReply) -> None:
        if not isinstance(reply, TableReply):
            on_reply(reply)
            return
        task = self._deleting.get(reply.table.table_id)
        if task is None:
            task = self._begin_deletion(reply.table)
        if self._settings.control_plane_delay_ns:
            on_reply(reply)
        else:
            task.waiters.append((on_reply, reply))
        self._check_deletion(task)

    # --- creation -------------------------------------------------------------------------------------------------

    def _begin_creation(self, table: TableDescriptor) -> _Task:
        waiting = {(partition.group, NodeId(0)): None for partition in table.all_partitions}
        task = _Task(table, self._host.now(), waiting)
        self._creating[table.table_id] = task
        self._push_creation(task)
        self._arm()
        return task

    def _push_creation(self, task: _Task) -> None:
        missing = {group for group, _ in task.waiting}
        specs = tuple(spec for spec in task.specs if spec.group in missing)
        for node in _members(specs):
            self._host.send(node, CreateGroups(tuple(spec for spec in specs if node in spec.members)))

    def on_groups_ready(self, message: GroupsReady) -> None:
        """Leaders report their barrier: the group serves."""
        self._schemas.on_groups_ready(message)
        for task in list(self._creating.values()):
            for group in message.groups:
                task.waiting.pop((group, NodeId(0)), None)
            self._check_creation(task)

    def _check_creation(self, task: _Task) -> None:
        if task.waiting or task.finishing:
            return
        delay = self._settings.control_plane_delay_ns
        if delay:
            self._answer(task)
            if self._host.now() - task.started < delay:
                return
        task.finishing = True
        self._propose(SetStatus(task.table.name, task.table.table_id, "ACTIVE"), task, self._creating)

    # --- deletion -------------------------------------------------------------------------------------------------

    def _begin_deletion(self, table: TableDescriptor) -> _Task:
        partition = self._partition()
        assert partition is not None  # the DELETING row is applied here
        gone = leaving(table, streams_row(partition.rows.get, table.name))
        task = _Task(table, self._host.now(), {(p.group, node): None for p in gone for node in p.replicas})
        kept = tuple(place for place in table.partitions if place not in gone)
        task.seal = Push(
            self._host, self._send, schema_of(table), kept, lambda _: True, lambda: self._check_deletion(task)
        )
        self._deleting[table.table_id] = task
        self._schemas.end(table.table_id)
        self._streams.look_again()
        self._push_deletion(task)
        self._arm()
        return task

    def _push_deletion(self, task: _Task) -> None:
        for node in _members(tuple(task.specs)):
            groups = tuple(group for group, member in task.waiting if member == node)
            if groups:
                self._host.send(node, DropGroups(groups))
        if task.seal is not None:
            task.seal.advance()

    def on_groups_dropped(self, source: NodeId, message: GroupsDropped) -> None:
        """Members report a durable drop."""
        self._schemas.on_groups_dropped(source, message)
        for task in list(self._deleting.values()):
            for group in message.groups:
                task.waiting.pop((group, source), None)
            self._check_deletion(task)

    def _check_deletion(self, task: _Task) -> None:
        """Done when every member has dropped. A member that stays silent is waited for until its lease, which alone
        could let it still answer strong reads, has run out and a majority of each group is gone."""
        if task.finishing or (task.seal is not None and not task.seal.done):
            return
        age = self._host.now() - task.started
        if task.waiting and (age < 2 * self._settings.grant_ns or not self._majority_dropped(task)):
            return
        if age < self._settings.control_plane_delay_ns:
            return
        task.finishing = True
        self._propose(RemoveTable(task.table.name, task.table.table_id), task, self._deleting)

    def _majority_dropped(self, task: _Task) -> bool:
        for spec in task.specs:
            left = sum(1 for node in spec.members if (spec.group, node) in task.waiting)
            if left > (len(spec.members) - 1) // 2:
                return False
        return True

    # --- both -----------------------------------------------------------------------------------------------------

    def _propose(self, command: SetStatus | RemoveTable, task: _Task, tasks: dict[str, _Task]) -> None:
        partition = self._partition()

        def done(reply: Any) -> None:
            if tasks.get(task.table.table_id) is not task:
                return
            if isinstance(reply, Elsewhere | Failed):
                task.finishing = False  # tried again by the timer, or by the next catalog leader
                return
            del tasks[task.table.table_id]
            self._answer(task)

        if partition is not None:
            partition.submit(command, CommandId(self._host.ports.rng.randbytes(16)), done)

    def _answer(self, task: _Task) -> None:
        waiters, task.waiters = task.waiters, []
        for on_reply, reply in waiters:
            on_reply(reply)

    def lead(self) -> None:
        """This node leads the catalog now: take up what is half done."""
        partition = self._partition()
        assert partition is not None
        for table in all_tables(partition.rows.scan):
            if table.status == "CREATING" and table.table_id not in self._creating:
                self._begin_creation(table)
            elif table.status == "DELETING" and table.table_id not in self._deleting:
                self._begin_deletion(table)
            else:
                self._schemas.begin(table)
        self._streams.look_again()

    def follow(self) -> None:
        """Another node leads: callers that wait here ask it."""
        tasks = [*self._creating.values(), *self._deleting.values()]
        self._creating, self._deleting = {}, {}
        self._schemas.follow()
        self._streams.follow()
        partition = self._partition()
        hint = partition.replica.leader_hint if partition is not None else None
        for task in tasks:
            for on_reply, _ in task.waiters:
                on_reply(Elsewhere(self._settings.me if hint is None else hint, maybe_applied=True))

    def _arm(self) -> None:
        delay = self._settings.control_plane_delay_ns
        self._alarm.arm(min(_RETRY_NS, max(delay // 4, MILLISECOND)) if delay else _RETRY_NS)

    def _tick(self) -> None:
        for task in list(self._creating.values()):
            self._push_creation(task)
            self._check_creation(task)
        for task in list(self._deleting.values()):
            self._push_deletion(task)
            self._check_deletion(task)
        if self._creating or self._deleting:
            self._arm()

    # --- reconciliation -------------------------------------------------------------------------------------------

    def on_reconcile(self, source: NodeId, message: Reconcile) -> None:
        """Tell a node what it should host, from applied state under the lease; others stay silent."""
        partition = self._partition()
        if partition is None or not partition.serves_reads(self._host.now()):
            return
        if source == self._settings.me:
            self._settle_nodes(partition)
        version = counters_row(partition.rows.get).version
        if version == message.version:
            self._host.send(source, Reconciled(version, (), (), catalog=self._own_place()))
            return
        hosted = frozenset(message.groups)
        get = partition.rows.get
        if self._survey.version != version:
            self._survey = _surveyed(partition, version)
        groups, deleting = self._survey.groups, self._survey.deleting
        create = tuple(
            spec  # one that has moved is hosted on its leader's invitation only
            for spec in groups.values()
            if source in spec.members and not spec.number and spec.group not in hosted and spec.group not in deleting
        )
        drop = tuple(
            group
            for group in message.groups
            if group in deleting or (group not in groups and is_tombstoned(get, group))
        )
        moved = tuple(
            Placed(spec.group, spec.table_id, spec.number, spec.members, spec.others)
            for spec in groups.values()
            if spec.moved_at > message.version
        )
        nodes = nodes_row(get)
        news = None if nodes is None or nodes.changed_at <= message.version else nodes
        changed = changed_since(get, version, message.tables)
        place = self._own_place()
        self._host.send(source, Reconciled(version, create, drop, objects_row(get), moved, place, news, changed))

    def _settle_nodes(self, partition: PartitionReplica) -> None:
        """Nodes that are to leave are removed as soon as nothing names them: the catalog judges the rows, its own group
        has none."""
        nodes = nodes_row(partition.rows.get)
        if nodes is None or partition.replica.pending is not None:
            return
        for node in nodes.in_state("leaving"):
            if node not in partition.replica.configuration.nodes:
                command_id = CommandId(self._host.ports.rng.randbytes(16))
                partition.submit(SetNodeState(node, "removed"), command_id, lambda _reply: None)

    def _own_place(self) -> Placed | None:
        """Where the catalog's own group is, once that is not where it was founded."""
        partition = self._partition()
        if partition is None or not partition.replica.configuration.number:
            return None
        return placed(partition.spec, partition.replica.configuration)


def placed(spec: GroupSpec, configuration: Configuration) -> Placed:
    """Where a configuration says that a group is."""
    others = tuple(node for node in configuration.nodes if node not in configuration.eligible)
    return Placed(spec.group, spec.table_id, configuration.number, configuration.eligible, others)


def _members(specs: tuple[GroupSpec, ...]) -> tuple[NodeId, ...]:
    """The nodes that host any of `specs`, ascending."""
    return tuple(sorted({node for spec in specs for node in spec.members}))
