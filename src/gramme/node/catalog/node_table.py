"""The nodes of the cluster as the catalog has them, and the commands that change them.

The catalog is the authority for nodes (REPLICATION.md §8). As long as nobody joined or left there is no such row: the
nodes are those of the founding list. An id is never given twice: whoever was removed stays in the table, refused.

A node that joins draws its **birth** when its directory is empty, and says it once: the catalog keeps the first that it
hears. A node with another one has lost its disk, whatever it says; one with that very birth has not, so that it may
host replicas although it cannot ask every peer whether they remember an earlier life of it (decision 0095).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gramme.kernel.ids import BootId, GroupId, NodeId

NodeState = Literal["active", "leaving", "removed"]


class NodeEntry(msgspec.Struct, frozen=True, array_like=True):
    """One node. `address` is where clients reach it (no port), `peer_address` is "host:port" for peers ("": as the
    founding list has it). `founder`: named by that list. `birth`: see the module; b"" until it is known."""

    node: NodeId
    name: str
    host: str
    zone: str
    address: str
    peer_address: str
    state: NodeState = "active"
    founder: bool = False
    birth: BootId = BootId(b"")


class NodeTable(msgspec.Struct, frozen=True, array_like=True):
    """All nodes there ever were, by id. `version` counts changes of it, `changed_at` is the catalog's version then."""

    version: int
    changed_at: int
    nodes: tuple[NodeEntry, ...]

    def entry(self, node: NodeId) -> NodeEntry | None:
        """What is known of a node."""
        return next((entry for entry in self.nodes if entry.node == node), None)

    def in_state(self, *states: NodeState) -> tuple[NodeId, ...]:
        """The nodes in one of these states, ascending."""
        return tuple(entry.node for entry in self.nodes if entry.state in states)


class AddNode(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A new node. Asked again for the same name and addresses, it is answered with the node that it made before."""

    name: str
    host: str
    zone: str
    address: str
    peer_address: str


class NodeBorn(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A node says its birth; the first one that is heard of it stays."""

    node: NodeId
    birth: BootId


class SetNodeState(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Move a node on to `leaving`, from there back to `active`, or to `removed`, which is for ever."""

    node: NodeId
    state: NodeState


class PlanRemoval(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """What would move if this node left. `catalog`: the nodes of the catalog's own group, which no row names; its
    leader fills them in."""

    node: NodeId
    catalog: tuple[NodeId, ...] = ()


class NodesAre(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The table after the command. `refusal`: why it was not carried out. `node`: the node that the command was about,
    also where its number was given by it (-1: none)."""

    table: NodeTable
    refusal: str = ""
    node: int = -1


class Move(msgspec.Struct, frozen=True, array_like=True):
    """A replica of a group, and where it would go if all nodes are up then (NO_NODE: no node is free for it now).
    `table` is "" for the catalog. `replicas`: where the group is, if it can be asked how many `rows` of how many
    `bytes` it holds; these are -1 until it was."""

    group: GroupId
    table: str
    to: NodeId
    replicas: tuple[NodeId, ...] = ()
    rows: int = -1
    bytes: int = -1


class RemovalPlan(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answer to PlanRemoval. `refusal`: why the node cannot be removed."""

    node: NodeId
    moves: tuple[Move, ...]
    refusal: str = ""


NodeWrite = AddNode | NodeBorn | SetNodeState
NodeAnswer = NodesAre | RemovalPlan
