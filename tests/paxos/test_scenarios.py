"""Told stories: failover, hand-over, cuts of every kind, restarts, silence (rows C4 to C7, C12, C15, F5, F14, X10)."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.paxos.mutants import MUTANTS
from tests.paxos.world import CALM, Node, Violation, World

from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.paxos.messages import LEASE_MESSAGES
from gramme.paxos.status import Role
from gramme.paxos.succession import successors


def calm(seed: int = 1, members: int = 3) -> World:
    """A world without faults whose founding leader serves with its lease."""
    world = World(seed, members, CALM)
    world.pass_time(100 * MILLISECOND)
    assert world.leader() is world.nodes[0]
    return world


def serve(world: World, count: int = 3) -> None:
    """The leader gets a few commands chosen."""
    leader = world.leader()
    assert leader is not None
    before = len(world.acknowledged)
    leader.propose(count)
    world.pass_time(50 * MILLISECOND)
    assert len(world.acknowledged) == before + count


def wait_for_leader(world: World, limit_ns: int, but: Node | None = None) -> int:
    """How long it took until a node (other than `but`) served with a lease."""
    begun = world.now
    while world.leader() in (None, but):
        assert world.now - begun <= limit_ns, f"no leader within {limit_ns} ns"
        world.pass_time(5 * MILLISECOND)
    return world.now - begun


@contextmanager
def only_leases_reach(world: World, node: NodeId) -> Iterator[None]:
    """Only lease messages reach `node`: it hears nothing of its group."""

    def lost(source: NodeId, target: NodeId, message: Any) -> bool:
        return target == node and not isinstance(message, LEASE_MESSAGES)

    world.lost = lost
    yield
    world.lost = lambda source, target, message: False


def test_a_new_group_serves_at_once() -> None:
    """Phase 1 counts as done: no campaign, one round trip and one sync."""
    world = World(3, 3, CALM)
    assert wait_for_leader(world, 100 * MILLISECOND) < 50 * MILLISECOND


def test_a_group_of_one_serves_at_once_after_a_restart() -> None:
    world = calm(members=1)
    serve(world)
    world.nodes[0].crash()
    world.nodes[0].boot()
    assert wait_for_leader(world, 100 * MILLISECOND) < 20 * MILLISECOND
    serve(world)
    assert len(world.nodes[0].disk.rows) == 2 + 6  # two barriers, six commands


def test_failover_after_a_kill_has_a_median_of_two_seconds_and_never_takes_three() -> None:
    gaps = []
    for seed in range(20):
        world = calm(seed)
        world.pass_time(world.rng.randrange(600) * MILLISECOND)
        serve(world)
        world.nodes[0].crash()
        gaps.append(wait_for_leader(world, 3 * SECOND))
        serve(world)
    assert statistics.median(gaps) <= 2 * SECOND


def test_a_hand_over_takes_less_than_200_ms_and_loses_nothing() -> None:
    for seed in range(10):
        world = calm(seed)
        serve(world)
        old = world.nodes[0]
        old.execute(old.replica.hand_over(NodeId(2), old.clock()))
        assert wait_for_leader(world, 200 * MILLISECOND, but=old) < 200 * MILLISECOND
        assert world.leader() is world.nodes[2]
        serve(world)


def test_a_hand_over_to_nobody_leaves_the_leader_in_office() -> None:
    world = calm()
    serve(world)
    world.cut(0, 1)
    leader = world.nodes[0]
    leader.propose(1)
    leader.execute(leader.replica.hand_over(NodeId(1), leader.clock()))
    assert not leader.replica.serving
    world.pass_time(300 * MILLISECOND)
    assert leader.replica.serving
    serve(world)


def test_a_restarted_leader_is_succeeded_without_waiting_for_its_lease() -> None:
    """Its new process proves that the old one, and what it led, is gone."""
    world = calm()
    serve(world)
    world.nodes[0].crash()
    world.pass_time(50 * MILLISECOND)
    world.nodes[0].boot()
    assert wait_for_leader(world, SECOND) < 800 * MILLISECOND


def test_all_nodes_killed_at_once_serve_again() -> None:
    world = calm()
    serve(world, 20)
    for node in world.nodes:
        node.crash()
    for node in world.nodes:
        node.boot()
    wait_for_leader(world, 3 * SECOND)
    serve(world)
    world.pass_time(SECOND)
    world.check_progress()


def test_an_idle_group_says_nothing() -> None:
    """Thousands of them must cost nothing: only nodes renew leases (row C15)."""
    world = calm()
    serve(world)
    world.pass_time(SECOND)
    sent = world.sent
    assert [node.replica.next_deadline() for node in world.nodes] == [None, None, None]
    world.pass_time(10 * SECOND)
    assert world.sent == sent
    assert world.elections == 1
    for node in world.nodes[1:]:
        heard = node.replica.leader_heard_at
        assert heard is not None
        assert node.clock() - heard < SECOND


def test_a_follower_that_lost_its_leader_asks_before_it_campaigns() -> None:
    """Gray failure of one link: the third replica still hears the leader, so nobody is deposed (rows F5, X10)."""
    world = calm()
    serve(world)
    world.cut(0, 1)
    for _ in range(10):
        world.pass_time(SECOND)
        serve(world)
    assert world.elections == 1
    assert world.leader() is world.nodes[0]


def test_silence_is_no_consent() -> None:
    """A replica that reaches nobody never raises its ballot, so it disturbs nobody when it is back."""
    world = calm()
    world.cut(1, 0)
    world.cut(1, 2)
    world.pass_time(10 * SECOND)
    ballot = world.nodes[0].replica.ballot
    world.mend(1, 0)
    world.mend(1, 2)
    world.pass_time(3 * SECOND)
    assert world.nodes[0].replica.ballot == ballot
    assert world.elections == 1


def test_a_leader_that_nobody_answers_steps_down_and_sets_its_followers_free() -> None:
    """One-way loss at a node (row X10): its renewals arrive, so it binds everybody, but no grant reaches it."""
    world = calm()
    serve(world)
    world.cuts[NodeId(1), NodeId(0)] = world.cuts[NodeId(2), NodeId(0)] = True
    old = world.nodes[0]
    begun = world.now
    while world.leader() in (None, old):
        assert world.now - begun < 10 * SECOND, "the group stays without a leader"
        world.pass_time(5 * MILLISECOND)
    assert old.replica.role is not Role.LEADER
    serve(world)


def test_a_leader_without_a_quorum_stops_reading_before_another_one_begins() -> None:
    """`pass_time` looks every 5 ms whether two serve strong reads at once."""
    world = calm()
    serve(world)
    world.cut(0, 1)
    world.cut(0, 2)
    wait_for_leader(world, 3 * SECOND, but=world.nodes[0])
    serve(world)
    world.mend(0, 1)
    world.mend(0, 2)
    world.pass_time(2 * SECOND)
    world.check_progress()


def _deposed_but_renewed() -> None:
    """Node 2's grant to node 0 runs out, it votes for node 1, and then grants to node 0 again."""
    world = calm()
    serve(world)
    world.cut(0, 1)
    world.cut(0, 2)
    wait_for_leader(world, 3 * SECOND, but=world.nodes[0])
    with only_leases_reach(world, NodeId(0)):
        world.mend(0, 2)
        world.mend(0, 1)
        for _ in range(10):
            world.pass_time(100 * MILLISECOND)
            serve(world)


def test_a_grant_of_a_new_era_does_not_revive_a_deposed_leader() -> None:
    _deposed_but_renewed()


@pytest.mark.plain
def test_counting_grants_of_any_era_is_caught() -> None:
    with MUTANTS["count_grants_of_any_era"](), pytest.raises(Violation):
        _deposed_but_renewed()


def _greedy_candidate() -> None:
    """One link is cut, and the follower behind it campaigns without asking whether the other one hears the leader."""
    world = calm()
    serve(world)
    world.cut(0, 1)
    world.pass_time(2 * SECOND)
    candidate = world.nodes[1]
    candidate.execute(candidate.replica.campaign_now(candidate.clock()))
    world.pass_time(SECOND)
    assert world.leader() is world.nodes[0]


def test_an_acceptor_bound_by_a_lease_refuses_a_candidate() -> None:
    _greedy_candidate()


@pytest.mark.plain
def test_skipping_the_old_lease_is_caught() -> None:
    with MUTANTS["skip_the_old_lease"](), pytest.raises(Violation, match="lease at once"):
        _greedy_candidate()


def _cut_off_for_good() -> None:
    world = calm()
    serve(world)
    world.cut(0, 1)
    world.cut(0, 2)
    world.pass_time(1_300 * MILLISECOND)
    wait_for_leader(world, 3 * SECOND, but=world.nodes[0])
    serve(world)


@pytest.mark.plain
def test_reading_after_the_lease_is_caught() -> None:
    _cut_off_for_good()
    with MUTANTS["read_after_the_lease"](), pytest.raises((Violation, AssertionError)):
        _cut_off_for_good()


def _restart_of_the_granter() -> None:
    """Node 0 leads by node 2's grant alone; node 2 restarts and is asked for its vote at once."""
    world = calm()
    world.cut(0, 1)
    world.pass_time(2 * SECOND)
    serve(world)
    world.nodes[2].crash()
    world.cut(0, 2)
    world.nodes[2].boot()
    wait_for_leader(world, 5 * SECOND, but=world.nodes[0])


def test_forgetting_grants_at_a_restart_is_caught() -> None:
    _restart_of_the_granter()
    with MUTANTS["forget_grants_at_restart"](), pytest.raises((Violation, AssertionError)):
        _restart_of_the_granter()


def _amnesia() -> None:
    """Node 1 loses a synced tail that had made a slot chosen; node 2 never had it; node 0 is down."""
    world = calm()
    world.cut(0, 2)
    serve(world)
    victim = world.nodes[1]
    victim.crash()
    victim.disk.log = victim.disk.log[:-3]
    victim.disk.rows, victim.disk.flushed_rows = [], 0
    victim.disk.applied = victim.disk.flushed = type(victim.disk.applied)(0, 0, 0)  # type: ignore[arg-type]
    victim.disk.damaged = True
    world.nodes[0].crash()
    world.mend(0, 2)
    victim.boot()
    world.run(world.now + 5 * SECOND)
    for node in world.nodes[1:]:
        node.client()
    world.run(world.now + SECOND)
    assert world.elections == 1, "elected without a quorum that remembers"


def test_an_amnesiac_replica_takes_no_part() -> None:
    _amnesia()


def test_voting_after_amnesia_is_caught() -> None:
    with MUTANTS["vote_after_amnesia"](), pytest.raises((Violation, AssertionError)):
        _amnesia()


def test_a_follower_that_was_down_catches_up_from_the_log() -> None:
    world = calm()
    world.nodes[2].crash()
    for _ in range(20):
        serve(world, 5)
    world.nodes[2].boot()
    world.pass_time(3 * SECOND)
    assert len(world.nodes[2].disk.rows) == len(world.nodes[0].disk.rows)
    assert world.snapshots == 0
    assert world.elections == 1


def test_a_follower_far_behind_gets_a_snapshot() -> None:
    world = World(1, 3, CALM)
    world.pass_time(100 * MILLISECOND)
    world.nodes[2].crash()
    for _ in range(3):
        serve(world, 100)
    leader = world.nodes[0]
    object.__setattr__(leader.replica.settings, "retained_bytes", 1_000)
    leader.flush_engine()
    assert leader.replica.acceptor.log.base.slot > 100
    world.nodes[2].boot()
    world.pass_time(3 * SECOND)
    assert world.snapshots == 1
    serve(world)
    world.pass_time(SECOND)
    assert world.nodes[2].disk.rows == leader.disk.rows


def test_a_paused_leader_finds_out_that_it_was_deposed() -> None:
    world = calm()
    serve(world)
    world.nodes[0].paused_until = world.now + 4 * SECOND
    wait_for_leader(world, 3 * SECOND, but=world.nodes[0])
    serve(world)
    world.pass_time(4 * SECOND)
    serve(world)
    world.pass_time(SECOND)
    world.check_progress()


def test_leadership_of_many_groups_spreads_when_a_node_dies() -> None:
    """Which member is first in the line of successors depends on the group."""
    members = (NodeId(0), NodeId(1), NodeId(2))
    lines = [successors(GroupId(group), members, NodeId(0)) for group in range(1000)]
    assert all(sorted(line) == [1, 2] for line in lines)
    assert 400 < sum(line[0] == 1 for line in lines) < 600
