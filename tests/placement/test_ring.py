"""The ring: same list everywhere, distinct hosts, zones spread, shares by weight, few moves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.kernel.ids import NodeId
from gramme.placement.ring import Ring, balance, founded, planned, position_of
from gramme.placement.zones import NodePlace

_N = 3


def _places(count: int, zones: int = 3, weights: list[int] | None = None, per_host: int = 1) -> list[NodePlace]:
    return [
        NodePlace(NodeId(n), f"host{n // per_host}", f"zone{n % zones}", 1 if weights is None else weights[n])
        for n in range(count)
    ]


_members = st.integers(1, 12).flatmap(
    lambda count: st.builds(
        _places,
        st.just(count),
        st.integers(1, 4),
        st.lists(st.integers(1, 4), min_size=count, max_size=count),
        st.integers(1, 3),
    )
)


@settings(max_examples=60, deadline=None)
@given(_members, st.randoms(use_true_random=False))
def test_a_ring_is_a_function_of_its_members(members: list[NodePlace], rng: object) -> None:
    shuffled = list(members)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert founded(members) == founded(shuffled)


@settings(max_examples=60, deadline=None)
@given(_members)
def test_primaries_stand_on_distinct_hosts_in_as_many_zones_as_there_are(members: list[NodePlace]) -> None:
    ring = founded(members)
    places = {place.node: place for place in members}
    hosts, zones = len({p.host for p in members}), len({p.zone for p in members})
    for partition in range(ring.partitions):
        nodes = ring.preference_list(partition, _N)
        assert sorted(nodes) == sorted(places)
        primaries = nodes[: min(_N, len(nodes))]
        assert len({places[node].host for node in primaries}) == min(_N, hosts, len(nodes))
        best = _most_zones(members, min(_N, hosts))
        assert len({places[node].zone for node in primaries}) >= min(best, zones, 2)


def _most_zones(members: list[NodePlace], n: int) -> int:
    """Zones that `n` nodes on distinct hosts can have at most (greedy is enough for a lower bound of two)."""
    return min(n, len({place.zone for place in members}), len({place.host for place in members}))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.data())
def test_shares_follow_weights(count: int, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    ring = founded(_places(count, weights=weights), 256)
    have = Counter(ring.owners)
    for place in ring.members:
        due = 256 * place.weight / sum(weights)
        assert abs(have[place.node] - due) <= 1.01
        assert abs(balance(ring)[place.node] - 1) <= 1.01 / due


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12))
def test_joining_steals_only_for_the_newcomer_and_leaving_scatters_only_the_leavers(count: int) -> None:
    before = founded(_places(count), 128)
    joined = planned(before, _places(count + 1))
    newcomer = NodeId(count)
    assert {move.target for move in joined.moves} == {newcomer}
    assert len(joined.moves) == Counter(joined.ring.owners)[newcomer] <= 128 // (count + 1) + 1
    left = planned(joined.ring, _places(count))
    assert {move.source for move in left.moves} == {newcomer}
    assert max(Counter(left.ring.owners).values()) - min(Counter(left.ring.owners).values()) <= 1


def _survivors(before: Ring, after: Ring, gone: NodeId) -> int:
    """Over all partitions, the fewest primaries that stay when `gone` has left."""
    return min(
        len(set(before.preference_list(p, _N)[:_N]) - {gone} & set(after.preference_list(p, _N)[:_N]))
        if gone in before.preference_list(p, _N)[:_N]
        else len(set(before.preference_list(p, _N)[:_N]) & set(after.preference_list(p, _N)[:_N]))
        for p in range(before.partitions)
    )


@pytest.mark.parametrize("count", [4, 5, 6, 9])
def test_all_but_one_primary_stay_when_any_node_leaves(count: int) -> None:
    """So a quorum of every object is where it was while the rest is moved."""
    ring = founded(_places(count, zones=count))
    for place in ring.members:
        after = planned(ring, [other for other in ring.members if other.node != place.node]).ring
        assert _survivors(ring, after, place.node) >= _N - 1


def test_a_node_that_is_skipped_leaves_the_order_of_the_others() -> None:
    """A fallback is the next of the list: nobody else moves when a node is down."""
    ring = founded(_places(6))
    for partition in range(ring.partitions):
        nodes = ring.preference_list(partition, _N)
        assert len(dict.fromkeys(nodes)) == 6


def test_positions_are_md5_and_tell_bucket_from_key() -> None:
    assert position_of(b"", b"") == int("f1d3ff8443297732862df21dc4e57262", 16)  # MD5 of four zero bytes
    assert position_of(b"ab", b"c") != position_of(b"a", b"bc")
    ring = founded(_places(3))
    assert ring.partition_of(0) == 0
    assert ring.partition_of((1 << 128) - 1) == ring.partitions - 1


def test_what_cannot_be_a_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one node"):
        founded([])
    with pytest.raises(ValueError, match="named twice"):
        founded(_places(1) * 2)
    with pytest.raises(ValueError, match="cannot share 2 partitions"):
        founded(_places(3), 2)
    with pytest.raises(ValueError, match="1 to 4096"):
        founded(_places(1), 0)
