"""The catalog's rules about who is in the cluster: numbers, addresses, who may leave, who a node was at first."""

from __future__ import annotations

import msgspec
import pytest

from gramme.kernel.ids import CATALOG_GROUP, NO_NODE, BootId, GroupId, NodeId
from gramme.node.catalog.node_table import AddNode, NodeBorn, NodesAre, NodeTable, SetNodeState
from gramme.node.catalog.nodes import changed, decode_nodes, encode_nodes, founders, places, plan_removal
from gramme.node.messages import GroupSpec
from gramme.node.ports import Member
from gramme.placement.zones import count_load

N0, N1, N2, N3, N4 = (NodeId(n) for n in range(5))
NOBODY: frozenset[NodeId] = frozenset()


def member(node: int) -> Member:
    return Member(
        NodeId(node), f"node-{node}", f"host-{node}", f"zone-{node % 3}", "127.0.0.1", f"127.0.0.1:{node + 1}"
    )


def new(node: int) -> AddNode:
    m = member(node)
    return AddNode(m.name, m.host, m.zone, m.address, m.peer_address)


THREE = founders([member(2), member(0), member(1)])


def after(
    table: NodeTable, *requests: AddNode | NodeBorn | SetNodeState, named: frozenset[NodeId] = NOBODY
) -> NodesAre:
    answer = NodesAre(table)
    for request in requests:
        answer = changed(answer.table, request, answer.table.changed_at + 1, 3, named)
    return answer


FOUR = after(THREE, new(3)).table


def test_a_new_node_gets_the_next_number_and_the_founders_are_written_down() -> None:
    answer = after(THREE, new(3))
    assert (answer.node, answer.refusal) == (3, "")
    assert [(entry.node, entry.founder) for entry in answer.table.nodes] == [
        (0, True),
        (1, True),
        (2, True),
        (3, False),
    ]
    assert (answer.table.version, answer.table.changed_at) == (1, 1)
    assert decode_nodes(encode_nodes(answer.table)) == answer.table


def test_an_administrator_who_asks_again_gets_the_same_node() -> None:
    answer = after(FOUR, new(3))
    assert answer.node == N3
    assert answer.table is FOUR


def test_a_name_or_an_address_in_use_is_refused() -> None:
    other = AddNode("node-3", "host-9", "zone-0", "127.0.0.1", "127.0.0.1:999")
    assert "node 3 has the name" in after(FOUR, other).refusal
    other = AddNode("node-9", "host-9", "zone-0", "127.0.0.1", "127.0.0.1:4")
    assert "node 3 has the peer_address" in after(FOUR, other).refusal
    assert after(FOUR, other).table is FOUR


def test_a_cluster_of_one_takes_nobody_in() -> None:
    assert "founded with fewer than 3" in after(founders([member(0)]), new(1)).refusal


def test_a_number_is_never_given_twice() -> None:
    gone = after(FOUR, SetNodeState(N3, "leaving"), SetNodeState(N3, "removed")).table
    answer = after(gone, new(3))
    assert answer.node == N4
    assert answer.table.in_state("removed") == (N3,)


@pytest.mark.parametrize("state", ["leaving", "active"])
def test_a_removed_node_stays_removed(state: str) -> None:
    gone = after(FOUR, SetNodeState(N3, "leaving"), SetNodeState(N3, "removed")).table
    answer = after(gone, SetNodeState(N3, state))  # type: ignore[arg-type]
    assert answer.refusal == "node 3 was removed for good"
    assert answer.table is gone


def test_three_must_stay() -> None:
    assert "add a node first" in after(THREE, SetNodeState(N2, "leaving")).refusal
    leaving = after(FOUR, SetNodeState(N2, "leaving"))
    assert leaving.refusal == ""
    assert "add a node first" in after(leaving.table, SetNodeState(N1, "leaving")).refusal


def test_a_node_is_removed_only_when_it_leaves_and_nothing_names_it() -> None:
    assert after(FOUR, SetNodeState(N3, "removed")).refusal == "node 3 is not leaving"
    leaving = after(FOUR, SetNodeState(N3, "leaving")).table
    assert "still has replicas" in after(leaving, SetNodeState(N3, "removed"), named=frozenset({N3})).refusal
    assert after(leaving, SetNodeState(N3, "removed")).table.in_state("removed") == (N3,)


def test_a_node_may_stay_after_all() -> None:
    table = after(FOUR, SetNodeState(N3, "leaving"), SetNodeState(N3, "active")).table
    assert table.in_state("active") == (N0, N1, N2, N3)


def test_the_first_birth_that_is_heard_stays() -> None:
    first, second = BootId(b"1" * 16), BootId(b"2" * 16)
    table = after(FOUR, NodeBorn(N3, first)).table
    assert after(table, NodeBorn(N3, second)).table is table
    assert table.nodes[3].birth == first
    assert "no node 7" in after(FOUR, NodeBorn(NodeId(7), first)).refusal


def spec(group: int, *nodes: NodeId) -> GroupSpec:
    return GroupSpec(GroupId(group), "id", b"", b"", nodes)


def test_a_leaving_node_gets_nothing_new_and_load_counts_every_replica() -> None:
    leaving = after(FOUR, SetNodeState(N1, "leaving")).table
    assert [place.node for place in places(leaving)] == [N0, N2, N3]
    held = [spec(16, N0, N1, N2), spec(17, N0, N1, N3)]
    assert count_load(each.nodes for each in held) == {N0: 200, N1: 200, N2: 100, N3: 100}


def test_the_plan_names_where_each_replica_goes_and_spreads_them() -> None:
    five = after(FOUR, new(4)).table
    specs = [spec(16 + n, N0, N1, N2) for n in range(4)]
    plan = plan_removal(five, N2, [*specs, spec(30, N0, N1, N3)], {"id": "Music"}, 3)
    assert plan.refusal == ""
    assert [move.group for move in plan.moves] == [16, 17, 18, 19]
    assert {move.table for move in plan.moves} == {"Music"}
    assert sum(move.to == N4 for move in plan.moves) >= 2, "node 3 has a replica already"
    assert {move.to for move in plan.moves} == {N3, N4}


def test_the_plan_moves_replicas_to_log_replicas_where_no_node_is_free_and_names_those_that_wait() -> None:
    damaged = msgspec.structs.replace(spec(16, N0, N1), others=(N2, N3))  # node 3 votes for node 2
    catalog = msgspec.structs.replace(spec(int(CATALOG_GROUP), N0, N1, N2), table_id="")
    plan = plan_removal(FOUR, N2, [catalog, damaged], {"id": "Music"}, 3)
    assert [(move.group, move.table, move.to, move.replicas) for move in plan.moves] == [
        (CATALOG_GROUP, "", N3, ()), (16, "Music", N3, (N0, N1)),
    ]  # fmt: skip
    (stuck,) = plan_removal(THREE, N2, [spec(16, N0, N1, N2)], {}, 3).moves
    assert stuck.to == NO_NODE


def test_the_plan_says_why_not() -> None:
    assert "add a node first" in plan_removal(THREE, N2, [spec(16, N0, N1, N2)], {}, 3).refusal
    assert plan_removal(THREE, NodeId(9), [], {}, 3).refusal == "there is no node 9"
