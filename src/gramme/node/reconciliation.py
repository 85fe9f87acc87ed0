"""What this node should host, by the word of the catalog's leader, who is asked for it every two seconds.

Owns which version of the catalog this node follows, and where the catalog's group is. Rules (REPLICATION.md §8): only
that leader says what to host; a replica goes where the catalog has it deleted or knows a configuration without it, and
an empty node hosts nothing until it can prove that it has not lost its disk.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from gramme.kernel.effects import Effects
from gramme.kernel.ids import CATALOG_GROUP, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.membership.gossip import Gossip
from gramme.node.catalog.commands import Placed
from gramme.node.catalog.node_table import NodeTable
from gramme.node.groups import Groups
from gramme.node.healing.hosting import Hosting
from gramme.node.host import Host, RecordOwner
from gramme.node.members import Members
from gramme.node.memory import NodeMemory
from gramme.node.messages import GroupSpec, MakeAnew, Reconcile, Reconciled
from gramme.node.objects.node_objects import Objects
from gramme.node.ports import NodeSettings
from gramme.node.router import Router
from gramme.node.standing import Standing

_PERIOD_NS: Final = 2 * SECOND
_FIRST_PERIOD_NS: Final = 100 * MILLISECOND
_CATALOG_LOST_NS: Final = 5 * SECOND


class ReconciliationOwner(Protocol):
    """The node, as far as it is concerned."""

    ready: bool

    def catalog_answered(self) -> None:
        """The catalog's leader has said what this node should host."""

    def nodes_are(self, table: NodeTable) -> None:
        """Who is in the cluster."""


class Reconciliation(RecordOwner):
    """See the module. `catalog_members`: where the catalog's group was when this node last heard of it."""

    def __init__(
        self,
        *,
        host: Host,
        settings: NodeSettings,
        memory: NodeMemory,
        members: Members,
        groups: Groups,
        hosting: Hosting,
        standing: Standing,
        router: Router,
        objects: Objects,
        gossip: Gossip,
        catalog_members: tuple[NodeId, ...],
        owner: ReconciliationOwner,
    ) -> None:
        self.catalog_version = -1
        """What this node hosts is what the catalog said when it had this version; -1: it is to say so anew."""
        self.catalog_members = catalog_members
        self._host = host
        self._me = settings.me
        self._boot = settings.boot
        self._memory = memory
        self._members = members
        self._groups = groups
        self._hosting = hosting
        self._standing = standing
        self._router = router
        self._objects = objects
        self._gossip = gossip
        self._owner = owner
        self._soon = False
        self._heard_at = host.now()

    # --- asking ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask now, and again and again."""
        if self._host.stopped:
            return
        self._ask()
        period = _PERIOD_NS if self._owner.ready else _FIRST_PERIOD_NS
        self._host.ports.scheduler.call_at(Instant(self._host.now() + period), self.start)

    def soon(self) -> None:
        """Ask out of turn: what this node hosts may not be what it should."""
        if not self._soon:
            self._soon = True
            when = Instant(self._host.now() + (_FIRST_PERIOD_NS if self._owner.ready else 0))
            self._host.ports.scheduler.call_at(when, self._ask)

    def _ask(self) -> None:
        self._soon = False
        if self._host.stopped:
            return
        table = self._members.table
        version = 0 if table is None else table.version
        hosted = (*self._groups.partitions, *self._groups.logs)
        message = Reconcile(self.catalog_version, hosted, version, self._router.descriptors.version)
        unheard = self._host.now() - self._heard_at > _CATALOG_LOST_NS
        for node in self._all_nodes() if unheard else self.catalog_members:
            self._host.send(node, message)

    def _all_nodes(self) -> tuple[NodeId, ...]:
        """The catalog's group may have moved to any of them while this node was away."""
        return (self._me, *self._members.peers)

    # --- doing as it says -----------------------------------------------------------------------------------------

    def on_reconciled(self, source: NodeId, message: Reconciled) -> None:
        """The catalog's leader says what this node should host."""
        self._router.hint(CATALOG_GROUP, source)
        self._heard_at = self._host.now()
        self._owner.catalog_answered()
        if message.catalog is not None:
            self._catalog_moved(message.catalog)
        if message.nodes is not None:
            self._owner.nodes_are(message.nodes)
        self._standing.say_birth()
        if message.version == self.catalog_version:
            self._router.descriptors.confirm()
            return
        self.catalog_version = message.version
        if message.objects:
            self._objects.configure(message.objects)
        self._router.descriptors.changed(message.version, message.changed)
        self._gossip.update(catalog_version=message.version)
        if message.drop:
            self._groups.drop(message.drop, source)
        for place in message.moved:
            self._router.moved(place.group, place.members)
            if not self._leave_unless_named(place):
                self.catalog_version = -1
        if message.create:
            self.create(message.create, source)

    def create(self, specs: tuple[GroupSpec, ...], source: NodeId) -> None:
        """Host new groups. An empty node hosts nothing until it is sure of its memory: replicas are born with a
        promise, and a node that has lost its disk had gone beyond that."""
        if self._groups.partitions or self._standing.has_its_disk():
            self._groups.create([spec for spec in specs if not self._hosting.is_making(spec.group)], source)
        else:
            self.catalog_version = -1

    def _catalog_moved(self, place: Placed) -> None:
        """The catalog's group is not where it was founded. A restart alone must find it again."""
        if place.number > self._memory.catalog_number:
            self.catalog_members = place.members
            self._router.moved(CATALOG_GROUP, place.members)
            record = self._memory.catalog_moved(place.number, place.members)
            self._host.execute(Effects(records=[record]), self)
        self._leave_unless_named(place)

    def durable(self, event: Any) -> None:
        """Nothing waits for where the catalog is: its leader says it again."""

    def _leave_unless_named(self, place: Placed) -> bool:
        """A replica here that nobody has told: its group has gone on without it. One that is damaged may have known a
        newer configuration than the catalog does: only the group's leader can say that it is not needed. False: it was
        asked, so the catalog is to say all this anew until it has answered."""
        group = place.group
        named = self._me in place.members or self._me in place.others
        if named:
            return True
        if self._groups.may_have_forgotten(group):
            for node in place.members:
                self._host.send(node, MakeAnew(group, self._boot, self._groups.last_known(group)))
            return False
        if self._groups.hosts(group) and place.number > self._groups.last_known(group):
            self._groups.removed(group, place.number)
        return True
