"""The catalog leader's control loop for whatever the partitions of a live table must come to know.

That is its indexes, its stream and its attribute of expiry (`gramme.tables.indexes.PartitionSchema`), pushed in one
way: every partition is given the schema of the descriptor's `schema_version` until all have confirmed it, and the
catalog then says so. A table is UPDATING meanwhile, except where only its expiry changes.

Adding an index: the table is UPDATING, the index CREATING → the index's groups are founded → every base partition is
given the schema with the index, records changes from then on, and its feeder backfills → all say that they have → the
index is ACTIVE. Deleting: every base partition is given the schema without the index → the index's groups are dropped →
tombstones replace them. Each step is idempotent and repeated until it is confirmed; a new catalog leader begins again
with the first. Source: issue 3 (global indexes), issue 4 (streams, expiry), REPLICATION.md §8.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from gramme.kernel.ids import CommandId, GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.alarm import Alarm
from gramme.node.catalog.commands import SettleSchema
from gramme.node.catalog.model import index_specs
from gramme.node.host import Host
from gramme.node.messages import CreateGroups, DropGroups, GroupsDropped, GroupSpec, GroupsReady
from gramme.node.partition import Elsewhere, PartitionReplica
from gramme.node.ports import NodeSettings
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.indexes import PartitionSchema, encode_schema, schema_of
from gramme.tables.requests import Configured, ConfigurePartition, Failed

_TICK_NS: Final = 50 * MILLISECOND
_PUSH_NS: Final = 200 * MILLISECOND
_PATIENCE_NS: Final = 2 * SECOND

Send = Callable[[Partition, Any, Instant, Callable[[Any], None]], None]


class Push:
    """One schema on its way to partitions. `advance` asks those again that are not asked and have not confirmed."""

    def __init__(
        self,
        host: Host,
        send: Send,
        schema: PartitionSchema,
        places: tuple[Partition, ...],
        complete: Callable[[Configured], bool],
        on_done: Callable[[], None],
    ) -> None:
        """`complete` tells whether a partition that has the schema is also done with what it asks for."""
        self._host = host
        self._send = send
        self._version = schema.version
        self._request = ConfigurePartition(schema.version, encode_schema(schema))
        self._unconfirmed = {place.group: place for place in places}
        self._asked: dict[GroupId, None] = {}
        self._complete = complete
        self._on_done = on_done

    @property
    def done(self) -> bool:
        """Whether all partitions have confirmed."""
        return not self._unconfirmed

    def advance(self) -> None:
        """Ask every partition that has not confirmed and is not being asked."""
        deadline = Instant(self._host.now() + _PATIENCE_NS)
        for group, place in list(self._unconfirmed.items()):
            if group not in self._asked:
                self._asked[group] = None
                self._send(place, self._request, deadline, partial(self._answered, group))

    def _answered(self, group: GroupId, reply: Any) -> None:
        self._asked.pop(group, None)
        if isinstance(reply, Configured) and reply.version >= self._version and self._complete(reply):
            self._unconfirmed.pop(group, None)
        if self.done and not self._host.stopped:
            self._on_done()


class _Work:
    """One table whose partitions must come to know something."""

    __slots__ = (
        "drop_began", "finishing", "gone", "made", "push", "pushed", "specs", "started", "table", "undropped",
        "unready",
    )  # fmt: skip

    def __init__(self, table: TableDescriptor, now: Instant) -> None:
        creating = [index for index in table.indexes if index.status == "CREATING"]
        deleting = [index for index in table.indexes if index.status == "DELETING"]
        self.table = table
        self.started = now
        self.made = tuple(index.number for index in creating)
        self.gone = tuple(index.number for index in deleting)
        self.specs = tuple(spec for index in creating for spec in index_specs(table, index))
        self.unready: dict[GroupId, None] = {spec.group: None for spec in self.specs}
        self.undropped: dict[tuple[GroupId, NodeId], None] = {
            (place.group, node): None for index in deleting for place in index.partitions for node in place.replicas
        }
        self.pushed = Instant(0)
        self.drop_began: Instant | None = None
        self.finishing = False
        self.push: Push | None = None  # from when the groups of new indexes serve


class SchemaService:
    """Works only while this node leads the catalog; `lead` and `follow` say so."""

    def __init__(
        self, host: Host, settings: NodeSettings, partition: Callable[[], PartitionReplica | None], send: Send
    ) -> None:
        self._host = host
        self._settings = settings
        self._partition = partition
        self._send = send
        self._work: dict[str, _Work] = {}
        self._alarm = Alarm(host, self._tick)

    def begin(self, table: TableDescriptor) -> None:
        """Bring about what the descriptor says, if partitions do not know it; nothing if that is being done."""
        known = self._work.get(table.table_id)
        if known is not None and known.table.schema_version >= table.schema_version:
            return
        if table.status in ("UPDATING", "ACTIVE") and table.schema_version > table.configured:
            work = self._work[table.table_id] = _Work(table, self._host.now())
            self._advance(work)
            self._alarm.arm(_TICK_NS)

    def end(self, table_id: str) -> None:
        """The table is being deleted: nobody needs to know any more."""
        self._work.pop(table_id, None)

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
        elif work.push is None or not work.push.done:
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
        if work.push is None:

            def filled(reply: Configured) -> bool:
                return all(number in reply.filled for number in work.made)

            def done() -> None:
                work.pushed = Instant(0)
                self._advance(work)

            schema = schema_of(work.table)
            work.push = Push(self._host, self._send, schema, work.table.partitions, filled, done)
        work.push.advance()

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
        table = work.table
        command = SettleSchema(table.name, table.table_id, table.schema_version, work.made, work.gone)

        def done(reply: Any) -> None:
            if isinstance(reply, Elsewhere | Failed):
                work.finishing = False  # tried again by the timer, or by the next catalog leader
            elif self._work.get(table.table_id) is work:
                del self._work[table.table_id]

        partition.submit(command, CommandId(self._host.ports.rng.randbytes(16)), done)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        for work in list(self._work.values()):
            self._advance(work)
        if self._work:
            self._alarm.arm(_TICK_NS)


def _nodes(specs: tuple[GroupSpec, ...]) -> tuple[NodeId, ...]:
    return tuple(sorted({node for spec in specs for node in spec.members}))
