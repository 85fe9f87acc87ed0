"""Strategies 1 and 2 and what is claimed of them: every key has N replicas, load follows tokens, few keys move."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.kernel.ids import NodeId
from gramme.placement.ring import founded, planned, position_of
from gramme.placement.ring_strategies import (
    RING,
    Range,
    Tokens,
    drawn_tokens,
    efficiency,
    loads,
    modulo,
    shuffled_owners,
    strategy_1,
    strategy_2,
    strategy_3,
    trees_to_rebuild,
)
from gramme.placement.zones import NodePlace

_N = 3
_NODES = [NodeId(node) for node in range(20)]
_POSITIONS = [position_of(b"bucket", b"%d" % key) for key in range(4_000)]


def _tokens(seed: int, each: int = 64) -> Tokens:
    return drawn_tokens(dict.fromkeys(_NODES, each), Random(seed))


def _holding(ranges: list[Range], position: int) -> Range:
    (found,) = [range_ for range_ in ranges if range_.holds(position)]
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 8), st.integers(1, 5), st.integers(1, 40))
def test_every_position_has_one_range_and_its_replicas_are_different(
    seed: int, nodes: int, each: int, partitions: int
) -> None:
    rng = Random(seed)
    members = _NODES[:nodes]
    tokens = drawn_tokens(dict.fromkeys(members, each), rng)
    for ranges in (
        strategy_1(tokens, _N),
        strategy_2(tokens, partitions, _N),
        strategy_3(shuffled_owners(members, max(nodes, partitions), rng), _N),
    ):
        assert sum(range_.width for range_ in ranges) == RING
        assert all(len(set(range_.nodes)) == len(range_.nodes) == min(_N, nodes) for range_ in ranges)
        assert abs(sum(loads(ranges).values()) - min(_N, nodes)) < 1e-9
        for edge in (0, RING - 1, ranges[0].start, ranges[-1].start):
            _holding(ranges, edge)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, RING - 1))
def test_by_tokens_a_node_owns_what_lies_before_its_token_and_the_token(seed: int, position: int) -> None:
    tokens = _tokens(seed, each=3)
    ranges = strategy_1(tokens, _N)
    for at in (position, *tokens.positions[:3]):
        assert _holding(ranges, at).nodes == tokens.following(at, _N)
    token, node = tokens.positions[5], tokens.nodes[5]
    assert tokens.following(token, 1) == (node,)
    assert tokens.following(token + 1, 1) == (tokens.nodes[6],)


def test_a_newcomer_takes_its_share_and_no_other_key_moves() -> None:
    """Row A5: about K/S keys change their owner, and by hash modulo S nearly all."""
    newcomer = NodeId(20)
    before = _tokens(1)
    after = before.joined(newcomer, 64, Random(2))
    moved = [at for at in _POSITIONS if before.following(at, 1) != after.following(at, 1)]
    assert all(after.following(at, 1) == (newcomer,) for at in moved)
    assert 0.6 / 21 < len(moved) / len(_POSITIONS) < 1.5 / 21

    ring = founded([_place(node) for node in _NODES], 320)
    joined = planned(ring, [_place(node) for node in (*_NODES, newcomer)]).ring
    changed = sum(ring.owners[ring.partition_of(at)] != joined.owners[joined.partition_of(at)] for at in _POSITIONS)
    assert 0.6 / 21 < changed / len(_POSITIONS) < 1.5 / 21

    by_modulo = sum(modulo(at, _NODES) != modulo(at, (*_NODES, newcomer)) for at in _POSITIONS)
    assert by_modulo / len(_POSITIONS) > 0.9


def test_the_load_of_a_dead_node_spreads_over_the_survivors() -> None:
    """Row A6: with virtual nodes each survivor takes some of it, with one token each a few neighbours take all."""
    gained = {each: _gained(_tokens(3, each), NodeId(7)) for each in (1, 64)}
    assert len(gained[64]) == len(_NODES) - 1
    assert max(gained[64].values()) < 4 / (len(_NODES) - 1)
    assert len(gained[1]) <= _N


def _gained(tokens: Tokens, dead: NodeId) -> dict[NodeId, float]:
    """What each survivor has more of, in parts of what the dead node had."""
    before, after = loads(strategy_1(tokens, _N)), loads(strategy_1(tokens.without(dead), _N))
    assert dead not in after
    more = {node: (after[node] - before[node]) / before[dead] for node in after}
    assert abs(sum(more.values()) - 1) < 1e-9
    return {node: share for node, share in more.items() if share > 1e-12}


def test_load_follows_the_number_of_tokens() -> None:
    """Row A7."""
    counts = {node: 200 * (1 + node % 3) for node in _NODES}
    shares = loads(strategy_1(drawn_tokens(counts, Random(4)), _N))
    per_token = [shares[node] / counts[node] for node in _NODES]
    assert max(per_token) < 1.4 * min(per_token)


def test_efficiency_is_mean_by_highest_load() -> None:
    assert efficiency({NodeId(0): 0.5, NodeId(1): 1.0}) == 0.75


def test_equal_partitions_of_a_founded_ring_are_its_own() -> None:
    """Strategy 3 as measured places keys as the ring that serves them does, where hosts and zones do not matter."""
    ring = founded([_place(node) for node in _NODES[:8]], 64)
    ranges = strategy_3(ring.owners, _N)
    for position in _POSITIONS[:500]:
        assert _holding(ranges, position).nodes == ring.preference_list(ring.partition_of(position), _N)[:_N]


def test_trees_are_rebuilt_where_bounds_change_and_by_those_that_had_the_keys() -> None:
    def node(number: int) -> NodeId:
        return NodeId(number)

    before = strategy_1(Tokens((99, 199, 299), (node(0), node(1), node(2))), 2)
    after = strategy_1(Tokens((99, 149, 199, 299), (node(0), node(3), node(1), node(2))), 2)
    rebuilt = [(owner, range_.start, range_.end) for owner, range_ in trees_to_rebuild(before, after)]
    # 100 … 199 was of nodes 1 and 2. Its first half is of 3 (which is sent it) and 1, the second of 1 and 2.
    assert rebuilt == [(1, 100, 150), (1, 150, 200), (2, 150, 200)]
    # Node 3 leaves: 1 and 2 have the whole range again, of which 1 had both halves and 2 one.
    back = [(owner, range_.start, range_.end) for owner, range_ in trees_to_rebuild(after, before)]
    assert back == [(1, 100, 200), (2, 100, 200)]


def _place(node: NodeId) -> NodePlace:
    return NodePlace(node, f"host{node}", "zone")
