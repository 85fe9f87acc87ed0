"""The nodes that this node knows to be in the cluster: the founding list, until the catalog says otherwise.

One live view for everybody on the node; `take` replaces it when the catalog's leader tells of a newer table, and the
node then tells those that keep links, leases or lists of their own (`gramme.node.node`).
"""

from __future__ import annotations

from gramme.kernel.ids import NodeId
from gramme.node.catalog.node_table import NodeEntry, NodeTable
from gramme.node.ports import Member, NodeSettings


class Members:
    """See the module. `all` is whoever was not removed, `peers` all but this node, ascending."""

    def __init__(self, settings: NodeSettings, table: NodeTable | None) -> None:
        self._me = settings.me
        self.table = table
        self.all: tuple[Member, ...] = (*settings.members, *settings.joined)
        self.peers: tuple[NodeId, ...] = ()
        self.leaving: frozenset[NodeId] = frozenset()
        self.removed: frozenset[NodeId] = frozenset()
        self.going: frozenset[NodeId] = frozenset()  # both
        if table is not None:
            self.take(table)
        else:
            self._count()

    def take(self, table: NodeTable) -> None:
        """What the catalog says."""
        self.table = table
        self.all = tuple(member_of(entry) for entry in table.nodes if entry.state != "removed")
        self.leaving = frozenset(table.in_state("leaving"))
        self.removed = frozenset(table.in_state("removed"))
        self.going = self.leaving | self.removed
        self._count()

    def _count(self) -> None:
        self.peers = tuple(sorted(member.node for member in self.all if member.node != self._me))

    def entry(self, node: NodeId) -> NodeEntry | None:
        """What the catalog says of a node, as far as this node has heard."""
        return None if self.table is None else self.table.entry(node)

    def state(self, node: NodeId) -> str:
        """active, leaving or removed."""
        entry = self.entry(node)
        return "active" if entry is None else entry.state


def member_of(entry: NodeEntry) -> Member:
    """The node of that row."""
    return Member(entry.node, entry.name, entry.host, entry.zone, entry.address, entry.peer_address)
