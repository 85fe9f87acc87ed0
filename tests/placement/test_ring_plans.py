"""Plans over random rings: nothing moves that need not, and what comes out is as good as a new ring."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.objects.config import FOUNDED_VERSION, ObjectConfig
from gramme.objects.ring_phases import advanced, must_know, next_version, owed, spare, step_of, with_change
from gramme.objects.ring_plan import make_plan, of_token
from gramme.objects.store import Section
from gramme.objects.transfer_messages import SectionSize
from gramme.placement.ring import Ring, balance, founded, planned
from gramme.placement.zones import NodePlace

_N = 3
_PARTITIONS = 64


def _place(node: int, weight: int = 1) -> NodePlace:
    return NodePlace(NodeId(node), f"host{node}", f"zone{node % 3}", weight)


@st.composite
def _changes(draw: st.DrawFn) -> tuple[Ring, list[NodePlace]]:
    """A ring that has lived through some changes, and its members after the next one."""
    nodes = range(12)
    weights = draw(st.lists(st.integers(1, 3), min_size=12, max_size=12))
    memberships = draw(st.lists(st.sets(st.sampled_from(nodes), min_size=4, max_size=12), min_size=2, max_size=4))
    first, *later, last = [[_place(node, weights[node]) for node in sorted(members)] for members in memberships]
    ring = founded(first, _PARTITIONS)
    for members in later:
        ring = planned(ring, members).ring
    return ring, last


@settings(max_examples=60, deadline=None)
@given(_changes())
def test_only_what_must_moves(change: tuple[Ring, list[NodePlace]]) -> None:
    """From those that leave or own more than their due, to those that own less; each partition once."""
    ring, members = change
    plan = planned(ring, members)
    total = sum(place.weight for place in members)
    due = {place.node: _PARTITIONS * place.weight / total for place in members}
    have = Counter(ring.owners)
    assert len({move.partition for move in plan.moves}) == len(plan.moves)
    for move in plan.moves:
        assert ring.owners[move.partition] == move.source != move.target == plan.ring.owners[move.partition]
        assert move.source not in due or have[move.source] > int(due[move.source])
        assert have[move.target] < due[move.target] + 1
    untouched = [p for p in range(_PARTITIONS) if p not in {move.partition for move in plan.moves}]
    assert all(ring.owners[p] == plan.ring.owners[p] for p in untouched)


@settings(max_examples=60, deadline=None)
@given(_changes())
def test_shares_follow_weights_and_primaries_stand_apart_after_any_change(
    change: tuple[Ring, list[NodePlace]],
) -> None:
    ring = planned(*change).ring
    total = sum(place.weight for place in ring.members)
    for place in ring.members:
        due = _PARTITIONS * place.weight / total
        assert abs(balance(ring)[place.node] - 1) <= 1.01 / due
    places = {place.node: place for place in ring.members}
    zones = len({place.zone for place in ring.members})
    for partition in range(_PARTITIONS):
        nodes = ring.preference_list(partition, _N)
        assert sorted(nodes) == sorted(places)
        assert len({places[node].host for node in nodes[:_N]}) == _N
        assert len({places[node].zone for node in nodes[:_N]}) == min(_N, zones)


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 12), st.booleans(), st.data())
def test_whichever_node_leaves_the_other_primaries_of_a_key_stay(count: int, zoned: bool, data: st.DataObject) -> None:
    """All but one, so that a quorum is where it was. Where zones hold several nodes, of most keys only: what the leaver
    had goes to other zones too, and then a key's other replicas change places to stand in three."""
    members = [NodePlace(NodeId(n), f"host{n}", f"zone{n % 3 if zoned else n}") for n in range(count)]
    ring = founded(members, _PARTITIONS)
    gone = data.draw(st.sampled_from(members))
    after = planned(ring, [place for place in members if place != gone]).ring
    stayed = [
        len(set(ring.preference_list(p, _N)[:_N]) & set(after.preference_list(p, _N)[:_N])) for p in range(_PARTITIONS)
    ]
    if zoned:
        assert sum(each >= _N - 1 for each in stayed) >= _PARTITIONS * 3 // 4
    else:
        assert min(stayed) >= _N - 1


# --- plans of the configuration

_CONFIG = ObjectConfig(FOUNDED_VERSION, founded([_place(node) for node in range(5)], _PARTITIONS))
_PLACES = {NodeId(node): _place(node) for node in range(7)}
_SIZES: dict[NodeId, dict[Section, SectionSize]] = {NodeId(node): {} for node in range(7)}


def test_a_plan_says_what_each_node_has_to_be_given_and_its_name_is_that_of_just_this_plan() -> None:
    section = Section(0, _N)
    first = _CONFIG.ring.preference_list(0, _N)[0]
    sizes = {**_SIZES, first: {section: SectionSize(section, 10, 1_000, True)}}
    plan = make_plan(_CONFIG, _PLACES, [], [first], sizes)
    assert {move.source for move in plan.transfers} >= {first}
    assert sum(move.size for move in plan.transfers) == 1_000
    assert plan.exact
    assert of_token(plan.token) == ((), (first,))
    assert make_plan(_CONFIG, _PLACES, [], [first], _SIZES).token == plan.token  # sizes are told, not planned by
    heavier = {**_PLACES, NodeId(4): _place(4, 3)}
    assert make_plan(_CONFIG, heavier, [], [first], sizes).token != plan.token
    changed = with_change(_CONFIG, plan.ring)
    assert make_plan(changed, _PLACES, [first], [], sizes).token != plan.token


def test_partitions_nobody_answers_for_are_named() -> None:
    silent = _CONFIG.ring.preference_list(7, _N)[:_N]
    sizes = {node: known for node, known in _SIZES.items() if node not in silent}
    plan = make_plan(_CONFIG, _PLACES, [], list(silent), sizes)
    assert 7 in plan.lost
    assert not plan.exact


def test_steps_follow_one_another_and_a_plan_can_be_replaced_while_it_is_filled() -> None:
    first = make_plan(_CONFIG, _PLACES, [], [NodeId(4)], _SIZES).ring
    filling = with_change(_CONFIG, first)
    assert (step_of(filling).filling, next_version(filling)) == (True, 3)
    second = make_plan(filling, _PLACES, [NodeId(4)], [NodeId(3)], _SIZES).ring
    replaced = with_change(filling, second)
    assert [place.node for place in second.members] == [0, 1, 2, 4]
    switched = advanced(replaced, step_of(replaced))
    assert (step_of(switched).switched, switched.ring.version) == (True, 3)
    with pytest.raises(InvalidInput, match="about to finish"):
        with_change(switched, first)
    with pytest.raises(InvalidInput, match="about to finish"):
        make_plan(switched, _PLACES, [], [NodeId(0)], _SIZES)
    with pytest.raises(InvalidInput, match="changed meanwhile"):
        advanced(switched, step_of(replaced))
    settled = advanced(switched, step_of(switched))
    assert (settled.other, settled.version) == (None, FOUNDED_VERSION + 4)


@pytest.mark.parametrize(("step", "alone"), [(1, False), (2, False), (3, True)])
def test_what_a_leaver_owes_in_each_step(step: int, alone: bool) -> None:
    """It fills the new primaries, then waits, then offers all it has to everybody."""
    plan = make_plan(_CONFIG, _PLACES, [], [NodeId(4)], _SIZES)
    config = with_change(_CONFIG, plan.ring)
    for _ in range(step - 1):
        config = advanced(config, step_of(config))
    partition = next(p for p in range(_PARTITIONS) if 4 in _CONFIG.ring.preference_list(p, _N)[:_N])
    section = Section(partition, _N)
    before = _CONFIG.ring.preference_list(partition, _N)[:_N]
    after = plan.ring.preference_list(partition, _N)[:_N]
    expected = {1: tuple(n for n in after if n not in before), 2: (), 3: after}[step]
    assert owed(config, NodeId(4), section) == expected
    assert spare(config, NodeId(4), section) == alone
    assert must_know(config, up=()) == (0, 1, 2, 3)
    assert must_know(config, up=(NodeId(4),)) == ((0, 1, 2, 3) if alone else (0, 1, 2, 3, 4))
    assert must_know(config, up=(), given_up=(NodeId(1),)) == (0, 2, 3), "dead, and removed from the cluster"
    assert 1 in must_know(config, up=(NodeId(1),), given_up=(NodeId(1),)), "as long as it answers it must know"
