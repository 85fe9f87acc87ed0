"""Failure detection: crashes, one-way cuts, refutation, and what must not be taken for a failure."""

from __future__ import annotations

import random

import pytest
from tests.membership.world import World, places

from gramme.kernel.ids import BootId, NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.membership.failure import MAX_RELAYS, FailureDetector, GossipSettings
from gramme.membership.gossip import Gossip
from gramme.membership.messages import Ack, Exchange, Liveness, MemberInfo, MemberRecord, MemberSummary, Ping, PingFor

A, B, C = NodeId(0), NodeId(1), NodeId(2)
ALIVE, SUSPECT, DEAD = Liveness.ALIVE, Liveness.SUSPECT, Liveness.DEAD


def detection_bound_s(world: World) -> float:
    """Every peer is probed once in two rounds of the list, a probe takes two timeouts, then comes the suspicion."""
    s = world.settings
    rounds = 2 * (len(world.places) - 1)
    return (rounds * s.interval_ns + 2 * s.ping_timeout_ns + s.suspicion_ns) / SECOND + 2


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_a_crash_is_noticed_by_all_within_the_bound(count: int, seed: int) -> None:
    world = World(count, seed)
    world.run(5)
    victim = NodeId(seed % count)
    world.kill(victim)
    world.run(detection_bound_s(world))
    assert {*world.believed(victim).values()} == {DEAD}
    others = [node for node in world.machines if node != victim]
    for node in others:
        assert {*world.believed(node).values()} <= {ALIVE}


@pytest.mark.parametrize("seed", range(10))
def test_without_faults_nobody_is_ever_suspected(seed: int) -> None:
    world = World(5, seed)
    world.run(120)
    states = [output.liveness for _, output in world.outputs if hasattr(output, "liveness")]
    assert not states


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_between_two_is_bridged_by_helpers_but_known_to_who_is_cut_off(seed: int) -> None:
    """A's messages do not reach B; C's do. B is alive, but A must know that it cannot reach it."""
    world = World(3, seed)
    world.run(5)
    world.cut_one_way(A, B)
    world.run(60)
    assert {*world.believed(B).values()} == {ALIVE}
    assert not world.machines[A].reachable(B)
    assert world.machines[C].reachable(B)
    assert world.machines[A].reachable(C)
    world.cut.clear()
    world.run(10)
    assert world.machines[A].reachable(B)


@pytest.mark.parametrize("deaf", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_node_that_only_hears_or_only_speaks_is_found_dead(deaf: bool, seed: int) -> None:
    """The deaf one goes on reporting its load, which must not refute what it never heard."""
    world = World(4, seed)
    world.run(5)
    for other in (A, B, C):
        world.cut_one_way(*((other, NodeId(3)) if deaf else (NodeId(3), other)))
    for second in range(40):
        world.machines[NodeId(3)].update(load=second)
        world.run(1)
    assert {*world.believed(NodeId(3)).values()} == {DEAD}
    world.cut.clear()
    world.run(40)
    assert {*world.believed(NodeId(3)).values()} == {ALIVE}


def test_two_halves_of_a_healed_cut_find_each_other_again() -> None:
    world = World(6)
    world.run(5)
    left, right = [NodeId(i) for i in range(3)], [NodeId(i) for i in range(3, 6)]
    for one in left:
        for other in right:
            world.cut_one_way(one, other)
            world.cut_one_way(other, one)
    world.run(60)
    assert world.machines[A].liveness(NodeId(5)) is DEAD
    assert world.machines[NodeId(5)].liveness(A) is DEAD
    assert world.machines[A].liveness(B) is ALIVE
    world.cut.clear()
    world.run(60)
    for node in world.machines:
        assert {*world.believed(node).values()} == {ALIVE}


def test_a_short_pause_is_refuted_before_the_suspicion_ends() -> None:
    """A suspect that answers in time is never called dead, and its incarnation shows that it refuted."""
    world = World(3)
    world.run(5)
    before = world.machines[C].record(C)
    for other in (A, B):
        world.cut_one_way(C, other)
    while SUSPECT not in world.believed(C).values():
        world.run(0.1)
    world.cut.clear()
    world.run(30)
    assert {*world.believed(C).values()} == {ALIVE}
    after = world.machines[C].record(C)
    assert before is not None
    assert after is not None
    assert after.incarnation > before.incarnation
    assert DEAD not in [output.liveness for _, output in world.outputs if hasattr(output, "liveness")]


def test_a_node_refutes_in_its_very_answer_to_a_ping() -> None:
    machine = Gossip(B, BootId(b"b" * 16), places(3), random.Random(0))
    effects = machine.step(A, Ping(7, MemberSummary(B, 4, SUSPECT, 0)), Instant(0))
    ((target, ack),) = effects.sends
    assert (target, ack.sequence) == (A, 7)
    assert (ack.record.incarnation, ack.record.liveness) == (5, ALIVE)


def test_a_suspicion_of_an_earlier_incarnation_is_ignored() -> None:
    machine = Gossip(A, BootId(b"a" * 16), places(3), random.Random(0))
    info = MemberInfo("127.0.0.1", "h", "z", BootId(b"b" * 16))
    machine.step(C, Exchange((MemberRecord(B, 5, ALIVE, 0, info),)), Instant(0))
    machine.step(C, Exchange((MemberRecord(B, 4, DEAD, 9, info),)), Instant(0))
    assert machine.liveness(B) is ALIVE
    machine.step(C, Exchange((MemberRecord(B, 5, SUSPECT, 0, info),)), Instant(0))
    assert machine.liveness(B) is SUSPECT


def test_an_answer_to_another_probe_does_not_end_this_one() -> None:
    believed = MemberSummary(B, 1, ALIVE, 0)
    detector = FailureDetector(A, GossipSettings(), random.Random(0), lambda _node: believed)
    ((target, ping),) = detector.begin([B], Instant(0))
    assert target == B
    record = MemberRecord(B, 1, ALIVE, 0, MemberInfo("127.0.0.1", "h", "z", BootId(b"")))
    other = MemberRecord(C, 1, ALIVE, 0, record.info)
    detector.acknowledged(B, Ack(ping.sequence + 1, record))
    detector.acknowledged(C, Ack(ping.sequence, other))
    assert detector.deadline() is not None
    detector.acknowledged(B, Ack(ping.sequence, record))
    assert detector.deadline() is None


def test_helpers_are_asked_before_a_verdict_and_never_the_target() -> None:
    settings = GossipSettings(indirect_probes=2)
    summary = MemberSummary(B, 1, ALIVE, 0)
    detector = FailureDetector(A, settings, random.Random(0), lambda _node: summary)
    detector.begin([B], Instant(0))
    peers = [B, C, NodeId(3), NodeId(4)]
    early = detector.expire(peers, Instant(settings.ping_timeout_ns - 1))
    assert early == ([], None)
    sends, verdict = detector.expire(peers, Instant(settings.ping_timeout_ns))
    assert verdict is None
    assert len(sends) == 2
    assert all(isinstance(message, PingFor) and message.target == B for _, message in sends)
    assert B not in [node for node, _ in sends]
    assert detector.expire(peers, Instant(2 * settings.ping_timeout_ns)) == ([], B)


def test_probes_for_others_are_bounded_and_end() -> None:
    summary = MemberSummary(B, 1, ALIVE, 0)
    detector = FailureDetector(A, GossipSettings(), random.Random(0), lambda _node: summary)
    for sequence in range(MAX_RELAYS):
        assert detector.pinged_for(C, PingFor(sequence, B), Instant(0))
    assert not detector.pinged_for(C, PingFor(999, B), Instant(0))
    assert detector.pinged_for(C, PingFor(999, B), Instant(2 * GossipSettings().ping_timeout_ns))


@pytest.mark.parametrize("field", ["interval_ns", "ping_timeout_ns", "suspicion_ns"])
def test_times_must_be_positive(field: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        GossipSettings(**{field: 0})
