"""What the catalog does about nodes: rows and rules, pure. Row `m` of its space is the `NodeTable`.

Rules: ids are given in order and never twice; a node leaves only if as many stay as a group has voters; it is removed
only when no group and not the objects' ring names it. `refusal`s say what the administrator can do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from gramme.kernel.ids import CATALOG_GROUP, NO_NODE, NodeId
from gramme.node.catalog.node_table import (
    AddNode,
    Move,
    NodeBorn,
    NodeEntry,
    NodesAre,
    NodeTable,
    NodeWrite,
    RemovalPlan,
    SetNodeState,
)
from gramme.node.evaluator import Read
from gramme.node.messages import GroupSpec
from gramme.node.ports import Member
from gramme.placement.zones import FOLLOWER_LOAD, NodePlace, choose_addition, count_load
from gramme.storage.engine.rows import Space

NODES: Final = bytes((Space.CATALOG,)) + b"m"
MAX_NODE_ID: Final = 65_534

encode_nodes = msgspec.msgpack.Encoder().encode
decode_nodes = msgspec.msgpack.Decoder(NodeTable).decode


def nodes_row(read: Read) -> NodeTable | None:
    """The nodes, or None as long as they are those that founded the cluster."""
    stored = read(NODES)
    return None if stored is None else decode_nodes(stored)


def founders(members: Iterable[Member]) -> NodeTable:
    """The table of a cluster that nobody has joined or left."""
    ordered = sorted(members, key=lambda member: member.node)
    return NodeTable(0, 0, tuple(_entry(member) for member in ordered))


def _entry(member: Member) -> NodeEntry:
    return NodeEntry(
        member.node, member.name, member.host, member.zone, member.address, member.peer_address, founder=True
    )


def places(table: NodeTable) -> list[NodePlace]:
    """Where new replicas may go."""
    return [NodePlace(entry.node, entry.host, entry.zone) for entry in table.nodes if entry.state == "active"]


def changed(table: NodeTable, request: NodeWrite, version: int, replicas: int, named: frozenset[NodeId]) -> NodesAre:
    """`table` after `request`, as of `version` of the catalog; the same table if there is nothing to do or the request
    is refused. `replicas`: how many nodes a group needs. `named`: who still has a part in a group or a ring."""
    if isinstance(request, AddNode):
        return _added(table, request, version, replicas)
    entry = table.entry(request.node)
    if entry is None:
        return NodesAre(table, f"there is no node {request.node}", request.node)
    if isinstance(request, NodeBorn):
        after = msgspec.structs.replace(entry, birth=entry.birth or request.birth)
        return NodesAre(_with(table, after, version), "", request.node)
    refusal = _why_not(table, entry, request, replicas, named)
    if refusal:
        return NodesAre(table, refusal, request.node)
    return NodesAre(_with(table, msgspec.structs.replace(entry, state=request.state), version), "", request.node)


def _added(table: NodeTable, request: AddNode, version: int, replicas: int) -> NodesAre:
    if sum(entry.founder for entry in table.nodes) < replicas:
        return NodesAre(table, f"a cluster that was founded with fewer than {replicas} nodes cannot take in others")
    for entry in table.nodes:
        known = (entry.name, entry.host, entry.zone, entry.address, entry.peer_address)
        if entry.state == "removed":
            continue
        if known == (request.name, request.host, request.zone, request.address, request.peer_address):
            return NodesAre(table, "", entry.node)
        for field, mine in (("name", request.name), ("peer_address", request.peer_address)):
            if getattr(entry, field) == mine:
                return NodesAre(table, f"node {entry.node} has the {field} {mine!r}", entry.node)
    node = NodeId(max(entry.node for entry in table.nodes) + 1)
    if node > MAX_NODE_ID:
        return NodesAre(table, "all node ids have been given")
    entry = NodeEntry(node, request.name, request.host, request.zone, request.address, request.peer_address)
    return NodesAre(NodeTable(table.version + 1, version, (*table.nodes, entry)), "", node)


def _why_not(table: NodeTable, entry: NodeEntry, request: SetNodeState, replicas: int, named: frozenset[NodeId]) -> str:
    if entry.state == request.state:
        return ""
    if entry.state == "removed":
        return f"node {entry.node} was removed for good"
    if request.state == "leaving":
        return why_it_must_stay(table, entry, replicas)
    if request.state == "removed" and entry.state != "leaving":
        return f"node {entry.node} is not leaving"
    if request.state == "removed" and entry.node in named:
        return f"node {entry.node} still has replicas, or is in the ring of the objects"
    return ""


def why_it_must_stay(table: NodeTable, entry: NodeEntry, replicas: int) -> str:
    """Why a node cannot leave, "" if it can."""
    stay = sum(1 for other in table.nodes if other.state == "active" and other.node != entry.node)
    if stay < replicas:
        return (
            f"without node {entry.node} {stay} nodes stay, but each group needs {replicas}: "
            "add a node first (gramme cluster add)"
        )
    return ""


def _with(table: NodeTable, entry: NodeEntry, version: int) -> NodeTable:
    if table.entry(entry.node) == entry:
        return table
    nodes = tuple(entry if each.node == entry.node else each for each in table.nodes)
    return NodeTable(table.version + 1, version, nodes)


def plan_removal(
    table: NodeTable, node: NodeId, groups: Iterable[GroupSpec], names: Mapping[str, str], replicas: int
) -> RemovalPlan:
    """What would move if `node` left. `names`: of tables, by their ids. Where no node is free, one with a replica that
    has no rows or no vote takes it: healing makes room (`gramme.node.healing.steps`)."""
    entry = table.entry(node)
    if entry is None or entry.state == "removed":
        return RemovalPlan(node, (), f"there is no node {node}")
    specs = list(groups)
    load = count_load(spec.nodes for spec in specs)
    places_left = {place.node: place for place in places(table) if place.node != node}
    moves: list[Move] = []
    for spec in specs:
        holders = spec.nodes
        if node not in holders:
            continue
        free = [place for place in places_left.values() if place.node not in holders]
        held = [places_left[other] for other in holders if other in places_left]
        room = [places_left[other] for other in spec.others if other in places_left]
        to = choose_addition(free or room, held, load, spec.group)
        if to is not None:
            load[to] = load.get(to, 0) + FOLLOWER_LOAD
        asked = () if spec.ledger or spec.group == CATALOG_GROUP else spec.members
        table_name = names.get(spec.table_id, spec.table_id)
        moves.append(Move(spec.group, table_name, NO_NODE if to is None else to, asked))
    refusal = "" if entry.state == "leaving" else why_it_must_stay(table, entry, replicas)
    return RemovalPlan(node, tuple(moves), refusal)
