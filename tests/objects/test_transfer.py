"""Rings change while they are used: nothing is lost, nothing is read late, and old copies go when new ones are sure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest
from tests.objects.cluster import Cluster
from tests.patched import patched

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.objects.messages import Coordinate, Get, Got, Put, Stored
from gramme.objects.quorums import ReadQuorum, WriteQuorum
from gramme.objects.ring_change import AllKnow, RingChange
from gramme.objects.ring_phases import advanced, step_of
from gramme.objects.state import Name, decode_state
from gramme.objects.store import Section
from gramme.objects.transfer import Transfers
from gramme.objects.transfer_messages import Deliver, Progress, RingReport
from gramme.objects.versions import Value, Versions

pytestmark = pytest.mark.seconds(10)

_W1, _W2 = WriteQuorum(3, 1, dw=1), WriteQuorum(3, 2, dw=2)
_R2 = ReadQuorum(3, 2)
_FILLED = 80


def _name(n: int) -> Name:
    return Name(b"default", b"carts", b"cart%d" % n)


def _put(n: int, text: str = "v", quorum: WriteQuorum = _W2) -> Put:
    return Put(_name(n), quorum, Value(text.encode()))


def _texts(outcome: object) -> list[str]:
    assert isinstance(outcome, Got), outcome
    if outcome.state is None:
        return []
    state = decode_state(outcome.state)
    assert isinstance(state, Versions)
    return sorted(sibling.value.body.decode() for sibling in state.siblings)


def _settled(cluster: Cluster) -> bool:
    return all(
        not step_of(machine.config).other and machine.config.version == cluster.config.version
        for machine in cluster.machines
        if machine.up
    )


def _strangers(cluster: Cluster) -> list[tuple[NodeId, Section]]:
    """Sections kept where they do not belong."""
    return [
        (machine.node, section)
        for machine in cluster.machines
        if machine.up
        for section in machine.replica.store.sections()
        if machine.node not in cluster.ring.preference_list(section.partition, section.n)[: section.n]
    ]


def _until(cluster: Cluster, what: str, done: Callable[[], bool], seconds: int = 60) -> None:
    limit = cluster.now + seconds * SECOND
    while not done():
        assert cluster.now < limit, what
        cluster.run(100 * MILLISECOND)


def _finish(cluster: Cluster) -> None:
    _until(cluster, "the change does not end", lambda: _settled(cluster))
    _until(cluster, "old copies stay", lambda: not _strangers(cluster))


def _missing(cluster: Cluster, names: range, text: str = "v") -> list[int]:
    """Names that a primary of the present ring lacks."""
    return [
        n
        for n in names
        for node in cluster.primaries(_name(n))
        if cluster.machines[node].replica.store.get(_name(n)) is None
    ]


@pytest.fixture
def filled() -> Cluster:
    cluster = Cluster(5, background=True)
    for n in range(_FILLED):
        assert isinstance(cluster.ask(n % 5, _put(n)), Stored)
    return cluster


def test_who_leaves_gives_everything_away_and_who_joins_is_given_its_share(filled: Cluster) -> None:
    filled.change_ring(0, 1, 2)
    _finish(filled)
    assert [m.replica.store.sections() for m in filled.machines[3:]] == [[], []]
    assert not _missing(filled, range(_FILLED))
    filled.change_ring(0, 1, 2, 3, 4)
    _finish(filled)
    assert not _missing(filled, range(_FILLED))
    assert all(machine.replica.store.sections() for machine in filled.machines)


def test_a_node_that_is_dead_for_ever_can_leave(filled: Cluster) -> None:
    """From what the others have: all that was written by two."""
    filled.crash(4)
    filled.change_ring(0, 1, 2, 3)
    _finish(filled)
    assert not _missing(filled, range(_FILLED))


def test_a_node_that_was_dead_while_it_left_gives_what_only_it_has_when_it_is_back(filled: Cluster) -> None:
    victim = next(n for n in range(_FILLED, 400) if filled.primaries(_name(n))[0] == 4)
    filled.cut |= {(NodeId(4), NodeId(n)) for n in range(4)}
    filled.believed_up -= {NodeId(n) for n in range(4)}
    assert isinstance(filled.ask(4, _put(victim, quorum=_W1)), Stored)
    filled.machines[4].execute(filled.machines[4].coordinators.tick(Instant(filled.now + 10 * SECOND)))
    filled.crash(4)
    filled.believed_up |= {NodeId(n) for n in range(4)}
    filled.change_ring(0, 1, 2, 3)
    _finish(filled)
    filled.cut.clear()
    filled.start(4)
    _finish(filled)
    _until(filled, "what the dead node had is missing", lambda: not _missing(filled, range(victim, victim + 1)))


def test_a_node_that_is_down_and_stays_holds_the_change_up(filled: Cluster) -> None:
    filled.crash(2)
    filled.change_ring(0, 1, 2, 3)
    filled.run(20 * SECOND)
    assert step_of(filled.config).filling
    assert filled.machines[0].change.missing() == [NodeId(2)]
    filled.start(2)
    _finish(filled)
    assert not _missing(filled, range(_FILLED))


def test_a_second_plan_takes_the_place_of_one_that_is_being_filled(filled: Cluster) -> None:
    """Node 4 dies while it is about to be given a share: the ring is planned without it, and nothing was lost."""
    filled.change_ring(0, 1, 2, 3)
    _finish(filled)
    filled.change_ring(0, 1, 2, 3, 4)
    filled.run(10 * MILLISECOND)
    filled.crash(4)
    filled.run(5 * SECOND)
    assert step_of(filled.config).filling
    filled.change_ring(0, 1, 2)
    _finish(filled)
    assert filled.ring.version == 4
    assert not _missing(filled, range(_FILLED))
    filled.start(4)
    _finish(filled)


@pytest.mark.parametrize("seed", range(4))
def test_crashes_of_either_end_and_lost_messages_only_cost_time(seed: int) -> None:
    rng = Random(seed)
    cluster = Cluster(5, seed, loss=0.02, background=True)
    written = [n for n in range(100) if isinstance(cluster.ask(n % 5, _put(n)), Stored)]
    cluster.change_ring(*[(0, 1, 2), (1, 3, 4), (0, 2, 4)][seed % 3])
    for _ in range(6):
        cluster.run(rng.randrange(400) * MILLISECOND)
        victim = rng.randrange(5)
        cluster.crash(victim)
        cluster.run(rng.randrange(1500) * MILLISECOND)
        cluster.start(victim)
    _finish(cluster)
    _until(cluster, "replicas lack something", lambda: not [n for n in written if _missing(cluster, range(n, n + 1))])


# --- reads and writes meanwhile


@pytest.mark.parametrize("seed", range(3))
def test_a_read_sees_what_was_acknowledged_whatever_step_each_node_is_at(seed: int) -> None:
    """Two of three primaries are new; w = 2, r = 2; nodes hear of each step when they hear."""
    rng = Random(seed)
    cluster = Cluster(6, seed, background=True)
    for n in range(30):
        assert isinstance(cluster.ask(n % 6, _put(n, "0")), Stored)
    cluster.change_ring(0, 3, 4, 5)
    turns = 0
    while not _settled(cluster) or turns < 50:
        turns += 1
        assert turns < 2_000, "the change does not end"
        n = rng.randrange(30)
        assert isinstance(cluster.ask(rng.randrange(6), _put(n, f"{turns}")), Stored)
        assert f"{turns}" in _texts(cluster.ask(rng.randrange(6), Get(_name(n), _R2)))
    assert cluster.ring.version == 2


def test_a_write_is_not_sent_to_and_fro_between_nodes_that_are_a_step_apart() -> None:
    """A node that has not switched sends it to an old primary, which has; a new one has not."""
    for switched in ((0, 1, 2), (3, 4, 5)):
        cluster = Cluster(6)
        cluster.change_ring(0, 3, 4, 5)
        for machine in cluster.machines:
            machine.configure(cluster.config)
        cluster.commit(advanced(cluster.config, step_of(cluster.config)), *switched)
        for n in range(40):
            cluster.sent.clear()
            assert isinstance(cluster.ask(n % 6, _put(n)), Stored)
            assert sum(isinstance(message, Coordinate) for message in cluster.sent) <= 1


def test_no_write_is_refused_for_a_new_primary_that_is_dead(filled: Cluster) -> None:
    """It is told later, by a hint."""
    filled.change_ring(0, 1, 2, 3)
    _finish(filled)
    filled.change_ring(0, 1, 2, 3, 4)
    filled.run(5 * MILLISECOND)
    filled.crash(4)
    for n in range(_FILLED, _FILLED + 30):
        assert isinstance(filled.ask(n % 4, _put(n, quorum=WriteQuorum(3, 3, dw=3))), Stored)
    filled.start(4)
    _finish(filled)
    assert not _missing(filled, range(_FILLED + 30))


def test_with_all_but_one_node_down_w_1_is_accepted_in_every_step() -> None:
    for left in range(5):
        for at_ms in (0, 50, 1_100, 2_200, 3_300):
            cluster = Cluster(5, background=True)
            cluster.change_ring(0, 1, 2)
            cluster.run(at_ms * MILLISECOND)
            cluster.crash(*(n for n in range(5) if n != left))
            assert isinstance(cluster.ask(left, _put(0, quorum=_W1)), Stored), (left, at_ms)


def test_what_is_kept_for_a_node_that_has_left_goes_to_who_has_its_place(filled: Cluster) -> None:
    gone = filled.primaries(_name(300))[0]
    filled.crash(gone)
    for n in range(300, 320):
        assert isinstance(filled.ask(next(m.node for m in filled.machines if m.up), _put(n, quorum=_W1)), Stored)
    assert any(gone in machine.replica.store.hinted_nodes() for machine in filled.machines if machine.up)
    filled.change_ring(*(n for n in range(5) if n != gone))
    _finish(filled)
    _until(
        filled,
        "hints for a node that has left stay",
        lambda: not any(machine.replica.store.hinted_nodes() for machine in filled.machines if machine.up),
    )
    _finish(filled)
    assert not _missing(filled, range(300, 320))


# --- bytes


def test_what_is_there_already_is_not_sent_again(filled: Cluster) -> None:
    filled.change_ring(0, 1, 2, 3)
    _finish(filled)
    moved = sum(machine.transfers.states_sent for machine in filled.machines)
    copies = sum(4 in filled.founded.ring.preference_list(p, 3)[:3] for p in _partitions(filled))
    assert moved <= copies * 1.2  # several old primaries may offer the same one at the same time
    filled.sent.clear()
    for machine in filled.machines:
        machine.transfers.wake()
    filled.run(5 * SECOND)
    assert not any(isinstance(message, Deliver) for message in filled.sent)


def _partitions(cluster: Cluster) -> Iterator[int]:
    for n in range(_FILLED):
        yield cluster.machines[0].replica.store.place(_name(n)).section.partition


# --- planted faults


def test_found_when_planted_transfer_without_confirming() -> None:
    """A sender that takes a delivery for done as soon as it is sent: what is lost on the way is lost for good."""

    def sent_is_done(transfers: Transfers, walk: object, now: Instant, out: object) -> None:
        original(transfers, walk, now, out)  # type: ignore[arg-type]
        if isinstance(walk.asked, Deliver):  # type: ignore[attr-defined]
            walk.id = 0  # type: ignore[attr-defined]
            transfers._go_on(walk, walk.asked, [])  # type: ignore[arg-type, attr-defined]
            walk.done = walk.ended and walk.counts  # type: ignore[attr-defined]

    original = Transfers._send
    with patched(Transfers, "_send", sent_is_done):
        lost = _lost_by_a_straggler()
    assert lost
    assert not _lost_by_a_straggler()


def test_found_when_planted_an_old_copy_is_dropped_before_all_have_it() -> None:
    def one_is_enough(transfers: Transfers, section: Section) -> bool:
        return any(walk.done for walk in transfers._of(section))

    with patched(Transfers, "_may_drop", one_is_enough):
        lost = _lost_by_a_straggler()
    assert lost
    assert not _lost_by_a_straggler()


def _lost_by_a_straggler() -> list[int]:
    """Names that only a node has which has left the ring; for a while none of what it delivers to one of the new
    primaries arrives. Those that this primary lacks in the end, without anti-entropy's help."""
    cluster = Cluster(6, 3, background=True)
    for machine in cluster.machines:
        machine.compares = False
    assert isinstance(cluster.ask(0, _put(0)), Stored)
    cluster.change_ring(3, 4, 5)
    _finish(cluster)
    state = cluster.machines[3].replica.store.get(_name(0))
    assert state is not None
    for n in range(1, 30):
        cluster.machines[0].write_here(_name(n), state)
    cluster.swallowed = lambda target, message: target == 5 and isinstance(message, Deliver)
    cluster.run(10 * SECOND)
    cluster.swallowed = lambda _target, _message: False
    _finish(cluster)
    return _missing(cluster, range(30))


def test_a_node_outside_the_ring_that_hears_none_of_its_members_proposes_nothing(filled: Cluster) -> None:
    """Simulation (removals, seed 6003166): it looked for who does among those that it hears, and there was nobody."""
    filled.crash(2)
    filled.change_ring(0, 1, 2)
    filled.run(20 * SECOND)
    outsider = RingChange(NodeId(9), lambda: [NodeId(0)], lambda: filled.config, lambda _: False)
    outsider.transfers = filled.machines[4].transfers
    step = step_of(filled.config)
    report = RingReport(filled.config.version, step.ring, step.other, True, Progress())
    outputs = [outsider.step(NodeId(n), report, Instant(0)).outputs for n in range(3)]
    assert step.filling
    assert not outsider.missing()
    assert outputs == [[], [], [AllKnow()]]
