"""The catalog leader's control loop for indexes that come to, or leave, a live table.

Adding: the table is UPDATING, the index CREATING → the index's groups are founded → every base partition is given the
schema with the index, records changes from then on, and its feeder backfills → all say that they have → the index is
ACTIVE. Deleting: every base partition is given the schema without the index → the index's groups are dropped →
tombstones replace them. Each step is idempotent and repeated until it is confirmed; a new catalog leader begins again
with the first. Source: issue 3 (global indexes), REPLICATION.md §8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.ids import CommandId, GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.catalog import index_specs
from gramme.node.catalog_commands import SettleIndexes
from gramme.node.host import Host
from gramme.node.messages import CreateGroups, DropGroups, GroupsDropped, GroupSpec, GroupsReady
from gramme.node.partition import Elsewhere, PartitionReplica
from gramme.node.ports import NodeSettings
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.indexes import encode_schema, schema_of
from gramme.tables.requests import Configured, ConfigurePartition, Failed

_TICK_NS: Final = 50 * MILLISECOND
_PUSH_NS: Final = 200 * MILLISECOND
_PATIENCE_NS: Final = 2 * SECOND

Send = Callable[[Partition, Any, Instant, Callable[[Any], None]], None]


class _Work:
    """One table whose indexes change."""

    __slots__ = (
        "asked", "drop_began", "finishing", "gone", "made", "pushed", "schema", "specs", "started", "table",
        "unconfigured", "undropped", "unready",
    )  # fmt: skip

    def __init__(self, table: TableDescriptor, now: Instant) -> None:
        creating = [index for index in table.indexes if index.status == "CREATING"]
        deleting = [index for index in table.indexes if index.status == "DELETING"]
        self.table = table
        self.started = now
        self.schema = encode_schema(schema_of(table))
        self.made = tuple(index.number for index in creating)
        self.gone = tuple(index.number for index in deleting)
        self.specs = tuple(spec for index in creating for spec in index_specs(table, index))
        self.unready: dict[GroupId, None] = {spec.group: None for spec in self.specs}
        self.unconfigured: dict[GroupId, Partition] = {place.group: place for place in table.partitions}
        self.undropped: dict[tuple[GroupId, NodeId], None] = {
            (place.group, node): None for index in deleting for place in index.partitions for node in place.replicas
        }
        self.asked: dict[GroupId, None] = {}
        self.pushed = Instant(0)
        self.drop_began: Instant | None = None
        self.finishing = False


class IndexService:
    """Works only while this node leads the catalog; `lead` and `follow` say so."""

    def __init__(
        self, host: Host, settings: NodeSettings, partition: Callable[[], PartitionReplica | None], send: Send
    ) -> None:
        self._host = host
        self._settings = settings
        self._partition = partition
        self._send = send
        self._work: dict[str, _Work] = {}
        self._timer_armed = False

    def begin(self, table: TableDescriptor) -> None:
        """Bring about what the descriptor of an UPDATING table says; nothing if that is being done."""
        if table.status == "UPDATING" and table.table_id not in self._work:
            work = self._work[table.table_id] = _Work(table, self._host.now())
            self._advance(work)
            self._arm()

    def follow(self) -> None:
        """Another node leads the catalog and does this."""
        self._work = {}

    def on_groups_ready(self, message: GroupsReady) -> None:
        """Leaders of an index's partitions have chosen their barrier."""
        for work in list(self._work.values()):
            for group in message.groups:
                work.unready.pop(group, None)
            self._advance(work)

    def on_groups_dropped(self, source: NodeId, message: GroupsDropped) -> None:
        """Members report a durable drop."""
        for work in list(self._work.values()):
            for group in message.groups:
                work.undropped.pop((group, source), None)
            self._advance(work)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _advance(self, work: _Work) -> None:
        if work.finishing or self._work.get(work.table.table_id) is not work:
            return
        if work.unready:
            self._push(work, self._found)
        elif work.unconfigured:
            self._configure(work)
        elif work.undropped and not self._dropped_enough(work):
            self._push(work, self._drop)
        elif self._host.now() - work.started >= self._settings.control_plane_delay_ns:
            self._settle(work)

    def _push(self, work: _Work, push: Callable[[_Work], None]) -> None:
        """Send messages that may be lost: now and again, not at every tick."""
        now = self._host.now()
        if now - work.pushed >= _PUSH_NS:
            work.pushed = now
            push(work)

    def _found(self, work: _Work) -> None:
        specs = tuple(spec for spec in work.specs if spec.group in work.unready)
        for node in _nodes(specs):
            self._host.send(node, CreateGroups(tuple(spec for spec in specs if node in spec.members)))

    def _configure(self, work: _Work) -> None:
        request = ConfigurePartition(work.table.version, work.schema)
        deadline = Instant(self._host.now() + _PATIENCE_NS)
        for group, place in list(work.unconfigured.items()):
            if group not in work.asked:
                work.asked[group] = None
                self._send(place, request, deadline, self._on_configured(work, group))

    def _on_configured(self, work: _Work, group: GroupId) -> Callable[[Any], None]:
        def answered(reply: Any) -> None:
            work.asked.pop(group, None)
            current = isinstance(reply, Configured) and reply.version >= work.table.version
            if current and all(number in reply.filled for number in work.made):
                work.unconfigured.pop(group, None)
                work.pushed = Instant(0)
            if not work.unconfigured and not self._host.stopped:
                self._advance(work)

        return answered

    def _drop(self, work: _Work) -> None:
        if work.drop_began is None:
            work.drop_began = self._host.now()
        for node in tuple(sorted({node for _, node in work.undropped})):
            groups = tuple(group for group, member in work.undropped if member == node)
            self._host.send(node, DropGroups(groups))

    def _dropped_enough(self, work: _Work) -> bool:
        """As for tables: a silent member is waited for until its lease cannot stand and a majority has dropped."""
        if work.drop_began is None or self._host.now() - work.drop_began < 2 * self._settings.grant_ns:
            return False
        places = [p for index in work.table.indexes if index.number in work.gone for p in index.partitions]
        return all(
            sum((place.group, node) in work.undropped for node in place.replicas) <= (len(place.replicas) - 1) // 2
            for place in places
        )

    def _settle(self, work: _Work) -> None:
        partition = self._partition()
        if partition is None:
            return
        work.finishing = True
        command = SettleIndexes(work.table.name, work.table.table_id, work.made, work.gone)

        def done(reply: Any) -> None:
            if isinstance(reply, Elsewhere | Failed):
                work.finishing = False  # tried again by the timer, or by the next catalog leader
            elif self._work.get(work.table.table_id) is work:
                del self._work[work.table.table_id]

        partition.submit(command, CommandId(self._host.ports.rng.randbytes(16)), done)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if not self._timer_armed:
            self._timer_armed = True
            self._host.ports.scheduler.call_at(Instant(self._host.now() + _TICK_NS), self._tick)

    def _tick(self) -> None:
        self._timer_armed = False
        if self._host.stopped:
            return
        for work in list(self._work.values()):
            self._advance(work)
        if self._work:
            self._arm()


def _nodes(specs: tuple[GroupSpec, ...]) -> tuple[NodeId, ...]:
    return tuple(sorted({node for spec in specs for node in spec.members}))
