"""A node's own view of the cluster: kept across a restart, and who is listened to follows from it."""

from __future__ import annotations

import pytest
from tests.node.three import N0, N1, N2, Three

from gramme.kernel.effects import Effects
from gramme.kernel.ids import BootId, NodeId
from gramme.node.catalog.node_table import AddNode, NodeTable, SetNodeState
from gramme.node.catalog.nodes import changed, founders
from gramme.node.messages import Hello, HelloAck
from gramme.sim.cluster import NodeFailed

N3 = NodeId(3)


def _table(three: Three, *removed: NodeId) -> NodeTable:
    """The cluster with a node 3 that has joined, and without those that were removed."""
    table = founders(three.node(N0).settings.members)
    table = changed(table, AddNode("node-3", "host-3", "z", "a", "a:1"), 1, 3, frozenset()).table
    for node in removed:
        for state in ("leaving", "removed"):
            table = changed(table, SetNodeState(node, state), 2, 3, frozenset()).table
    return table


def test_a_restart_alone_knows_the_nodes() -> None:
    three = Three()
    table = _table(three)
    three.node(N0).nodes_are(table)
    assert three.node(N0).members.peers == (N1, N2, N3)
    three.until(lambda: three.node(N0).log.durable_lsn == three.node(N0).log.last_lsn, "the table is durable")
    for peer in (N1, N2):
        three.cluster.cut(peer, N0)
    three.crash(N0)
    three.cluster.start(N0)
    assert three.node(N0).members.table == table
    assert three.node(N0).members.peers == (N1, N2, N3)


def test_an_older_table_changes_nothing() -> None:
    three = Three()
    newer = _table(three, N2)
    three.node(N0).nodes_are(newer)
    three.node(N0).nodes_are(_table(three))
    assert three.node(N0).members.table == newer


def test_whoever_knows_of_a_newcomer_passes_it_on() -> None:
    """Simulation `joins`, seed 2 at c9edb94: the catalog's leader was gone for good, the next one needed the votes of a
    newcomer and of a node that had not heard of it, and only the catalog's leader told of newcomers."""
    three = Three()
    table = _table(three)
    three.node(N2).nodes_are(table)
    assert three.node(N1).members.table is None
    three.until(lambda: three.node(N1).members.table == table, "it is told by one that is not the catalog's leader")
    assert three.node(N1).members.peers == (N0, N2, N3)


def test_a_stranger_is_not_listened_to_until_the_catalog_names_it() -> None:
    three = Three()
    node = three.node(N0)
    boot = BootId(b"3" * 16)
    node.on_messages(N3, boot, [Hello((boot,), 0)])
    three.until(lambda: node.log.durable_lsn == node.log.last_lsn, "all is durable")
    assert not node.introductions.accepted(N3, boot)
    assert N3 not in node.memory.peers
    node.nodes_are(_table(three))
    node.on_messages(N3, boot, [Hello((boot,), 0)])
    three.until(lambda: node.introductions.accepted(N3, boot), "it is listened to")


def test_a_removed_node_is_not_listened_to_any_more() -> None:
    three = Three()
    node = three.node(N0)
    boot = three.node(N2).boot
    assert node.introductions.accepted(N2, boot)
    node.nodes_are(_table(three, N2))
    assert not node.introductions.accepted(N2, boot)
    assert N2 not in node.introductions.known_to
    assert all(record.node != N2 for record in node.gossip.view())
    node.introductions.on_hello_ack(N2, HelloAck(node.boot))
    assert N2 not in node.introductions.known_to


def test_a_node_that_hears_of_its_removal_stops_and_does_not_start_again() -> None:
    three = Three()
    table = _table(three, N2)
    node = three.node(N2)
    record = node.memory.nodes_changed(table)
    node.host.execute(Effects(records=[record]), node)
    three.until(lambda: node.log.durable_lsn == node.log.last_lsn, "the table is durable")
    three.crash(N2)
    with pytest.raises(NodeFailed, match="node 2 was removed from the cluster for good"):
        three.cluster.start(N2)
