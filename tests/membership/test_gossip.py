"""Gossip: news reaches everyone in about log N rounds (row A25), and rests when there is none."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.membership.world import World, places

from gramme.kernel.ids import BootId, NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.membership import gossip
from gramme.membership.failure import GossipSettings
from gramme.membership.gossip import Gossip, InfoChanged, LivenessChanged
from gramme.membership.messages import Digest, Exchange, Liveness, MemberInfo, MemberRecord, adds_to, join

INFO = MemberInfo("127.0.0.1", "h", "z", BootId(b"b" * 16))

records = st.builds(
    lambda incarnation, liveness, version: MemberRecord(
        NodeId(1),
        incarnation,
        Liveness(liveness),
        version,
        # Only the node itself writes info, so (incarnation, version) names it.
        MemberInfo("127.0.0.1", "h", "z", BootId(b""), load=incarnation * 100 + version),
    ),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 3),
)


@given(records, records, records)
def test_join_does_not_depend_on_the_order_of_meetings(a: MemberRecord, b: MemberRecord, c: MemberRecord) -> None:
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) is a
    assert join(join(a, b), b) == join(a, b)


@given(records, records)
def test_join_knows_what_both_knew(a: MemberRecord, b: MemberRecord) -> None:
    joined = join(a, b)
    assert not adds_to(joined, a)
    assert not adds_to(joined, b)
    assert adds_to(a, b) == (joined != a)


@pytest.mark.parametrize("count", [3, 16, 64])
def test_news_reaches_everyone_in_about_log_n_rounds(count: int) -> None:
    """Push and pull double what is known each round and then finish within a few more (Demers et al. 1987)."""
    rounds_needed = []
    for seed in range(5):
        world = World(count, seed)
        world.run(3 * math.log2(count) + 6)
        world.machines[NodeId(seed % count)].update(load=77)
        rounds = 0
        while any(m.record(NodeId(seed % count)).info.load != 77 for m in world.machines.values()):  # type: ignore[union-attr]
            world.run(1)
            rounds += 1
            assert rounds <= 3 * math.log2(count) + 6
        rounds_needed.append(rounds)
    assert sorted(rounds_needed)[2] <= 1.5 * math.log2(count) + 3


def test_all_views_become_equal_from_a_chain_of_acquaintances() -> None:
    world = World(0)
    world.places = places(20)
    for i in range(20):
        world.start(NodeId(i), known=[NodeId(max(0, i - 1))])
    world.run(40)
    views = [machine.view() for machine in world.machines.values()]
    assert len(views[0]) == 20
    assert all(view == views[0] for view in views)


def test_nodes_that_agree_exchange_no_records() -> None:
    world = World(3)
    world.run(20)
    a, b = world.machines[NodeId(0)], world.machines[NodeId(1)]
    digest = Digest(tuple(record.summary() for record in a.view()))
    assert b.view() == a.view()
    assert not b.step(NodeId(0), digest, world.now).sends


def test_the_three_messages_of_an_exchange_bring_both_sides_level() -> None:
    """What the sender lacks and what it knows better cross in one answer; the third message closes it."""
    left = Gossip(NodeId(0), BootId(b"l" * 16), places(2), random.Random(1))
    right = Gossip(NodeId(1), BootId(b"r" * 16), places(2), random.Random(2))
    left.update(load=1)
    right.update(load=2)
    now = Instant(SECOND)
    answer = right.step(NodeId(0), Digest(tuple(record.summary() for record in left.view())), now).sends
    assert [target for target, _ in answer] == [0]
    closing = left.step(NodeId(1), answer[0][1], now).sends
    assert isinstance(closing[0][1], Exchange)
    assert not right.step(NodeId(0), closing[0][1], now).sends
    assert left.view() == right.view()


@pytest.mark.parametrize("seed", range(6))
def test_a_restarted_node_replaces_its_earlier_life(seed: int) -> None:
    world = World(3, seed)
    world.run(10)
    first = world.machines[NodeId(1)].record(NodeId(1))
    assert first is not None
    world.outputs.clear()
    again = world.start(NodeId(1))
    world.run(10)
    mine = again.record(NodeId(1))
    assert mine is not None
    assert (mine.incarnation, mine.version) > (first.incarnation, first.version)
    assert mine.info.boot != first.info.boot
    for machine in world.machines.values():
        assert machine.record(NodeId(1)) == mine
    heard = [output for _, output in world.outputs if isinstance(output, InfoChanged) and output.node == 1]
    assert len(heard) >= 2
    assert {output.info.boot for output in heard} == {mine.info.boot}


def test_first_round_is_spread_over_the_interval() -> None:
    firsts = []
    for seed in range(50):
        machine = Gossip(NodeId(0), BootId(b"b" * 16), places(2), random.Random(seed))
        machine.tick(Instant(SECOND))
        firsts.append(machine.next_deadline() - SECOND)
    assert all(0 <= first < GossipSettings().interval_ns for first in firsts)
    assert len(set(firsts)) > 40


def test_a_node_that_its_list_does_not_name_cannot_gossip() -> None:
    with pytest.raises(ValueError, match="not among"):
        Gossip(NodeId(9), BootId(b"b" * 16), places(2), random.Random(0))


def test_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "MAX_MEMBERS", 10)
    machine = Gossip(NodeId(0), BootId(b"b" * 16), places(3), random.Random(0))
    flood = tuple(MemberRecord(NodeId(i), 5, Liveness.ALIVE, 0, INFO) for i in range(2, 100))
    machine.step(NodeId(1), Exchange(flood), Instant(0))
    assert len(machine.view()) == 10
    updated = machine.record(NodeId(2))
    assert updated is not None
    assert updated.incarnation == 5


def test_gossip_only_hints_it_neither_stores_nor_removes() -> None:
    """REPLICATION.md §8: a dead node stays known; outputs are hints of liveness and info only (the world asserts
    that no records are written)."""
    world = World(4)
    world.run(5)
    world.kill(NodeId(3))
    world.run(60)
    for machine in world.machines.values():
        assert machine.liveness(NodeId(3)) is Liveness.DEAD
        assert machine.record(NodeId(3)) is not None
    assert all(isinstance(output, LivenessChanged | InfoChanged) for _, output in world.outputs)
