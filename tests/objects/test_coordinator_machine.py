"""Requests between several nodes' machines: quorums, stand-ins, hints, repair, crashes."""

from __future__ import annotations

from random import Random

import pytest
from tests.objects.cluster import Cluster

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.objects.merge_types import ChangeMap, ChangeSet, Field, Increment, Typed, counts, value_of
from gramme.objects.messages import Busy, Coordinate, Fetched, Get, Got, Invalid, Put, Stored, Unmet
from gramme.objects.quorums import ReadQuorum, WriteQuorum
from gramme.objects.state import Name, State, decode_state, encode_state
from gramme.objects.versions import NO_VECTOR, Value, Vector, Versions

_NAME = Name(b"default", b"carts", b"of-anna")
_R2, _W2 = ReadQuorum(3, 2), WriteQuorum(3, 2, dw=2)
_R1, _W1 = ReadQuorum(3, 1), WriteQuorum(3, 1, dw=1)


def _put(text: str, quorum: WriteQuorum = _W2, context: Vector = NO_VECTOR, name: Name = _NAME) -> Put:
    return Put(name, quorum, Value(text.encode()), context=context)


def _state(outcome: object) -> State:
    assert isinstance(outcome, Got | Stored), outcome
    assert outcome.state is not None
    return decode_state(outcome.state)


def _texts(outcome: object) -> list[str]:
    state = _state(outcome)
    assert isinstance(state, Versions)
    return sorted(sibling.value.body.decode() for sibling in state.siblings)


def _coordinator(cluster: Cluster, primary: bool) -> int:
    primaries = cluster.primaries(_NAME)
    return next(n for n in range(len(cluster.machines)) if (NodeId(n) in primaries) == primary)


@pytest.mark.parametrize("primary", [True, False])
def test_what_is_written_anywhere_is_read_anywhere(primary: bool) -> None:
    cluster = Cluster(5)
    at = _coordinator(cluster, primary)
    assert _texts(cluster.ask(at, _put("one"))) == ["one"]
    for node in range(5):
        assert _texts(cluster.ask(node, Get(_NAME, _R2))) == ["one"]
    holders = [NodeId(n) for n, state in enumerate(cluster.known(_NAME)) if state is not None]
    assert sorted(holders) == sorted(cluster.primaries(_NAME))
    assert sum(isinstance(message, Coordinate) for message in cluster.sent) == (0 if primary else 1)


def test_a_write_with_the_readers_context_replaces_and_one_without_makes_a_sibling() -> None:
    cluster = Cluster(5)
    cluster.ask(0, _put("one"))
    seen = _state(cluster.ask(1, Get(_NAME, _R2))).seen
    cluster.ask(2, _put("two", context=seen))
    assert _texts(cluster.ask(3, Get(_NAME, _R2))) == ["two"]
    cluster.ask(4, _put("three"))
    assert _texts(cluster.ask(0, Get(_NAME, _R2))) == ["three", "two"]


def test_a_name_that_nobody_wrote() -> None:
    assert Cluster(3).ask(0, Get(_NAME, _R2)) == Got(None)


def test_with_all_nodes_but_one_down_w_1_is_accepted_and_r_1_answered() -> None:
    """Whichever node is left, primary or not (row A21)."""
    for left in range(5):
        cluster = Cluster(5)
        cluster.ask(left, _put("before"))
        cluster.crash(*(n for n in range(5) if n != left))
        assert isinstance(cluster.ask(left, _put("alone", _W1)), Stored)
        assert "alone" in _texts(cluster.ask(left, Get(_NAME, _R1)))


def test_who_is_not_known_to_be_down_costs_a_moment_and_no_write() -> None:
    cluster = Cluster(5)
    up = set(cluster.believed_up)
    cluster.crash(*cluster.primaries(_NAME))
    cluster.believed_up = up
    at = _coordinator(cluster, primary=False)
    assert isinstance(cluster.ask(at, _put("patient", WriteQuorum(3, 2, dw=2))), Stored)


def test_a_quorum_that_cannot_be_reached_says_how_many_answered() -> None:
    cluster = Cluster(3)
    cluster.crash(1, 2)
    assert cluster.ask(0, _put("two wanted", WriteQuorum(3, 2))) == Unmet("W", 1, 2)
    assert cluster.ask(0, Get(_NAME, _R2)) == Unmet("R", 1, 2)
    assert cluster.ask(0, _put("primaries", WriteQuorum(3, 1, pw=2))) == Unmet("PW", 1, 2)


def test_stand_ins_keep_hints_for_the_primaries_that_are_down() -> None:
    cluster = Cluster(5)
    first, second, third = cluster.primaries(_NAME)
    cluster.crash(second, third)
    cluster.ask(first, _put("hinted", WriteQuorum(3, 3, dw=3)))
    kept = {
        node: machine.node
        for machine in cluster.machines
        for node in machine.replica.store.hinted_nodes()
        if machine.replica.store.hint(node, _NAME) is not None
    }
    assert sorted(kept) == sorted((second, third))
    assert not set(kept.values()) & {first, second, third}


def test_a_straggler_that_never_answers_is_owed_a_hint_somewhere() -> None:
    cluster = Cluster(3)
    first, second, third = cluster.primaries(_NAME)
    cluster.cut = {(first, third), (second, third)}
    assert isinstance(cluster.ask(first, _put("owed")), Stored)
    cluster.run(5 * SECOND)
    assert cluster.machines[first].replica.store.hint(third, _NAME) is not None


def test_one_read_repairs_a_stale_replica() -> None:
    """Row A20."""
    cluster = Cluster(3)
    cluster.cut = {(NodeId(a), NodeId(2)) for a in (0, 1)}
    cluster.ask(0, _put("missed by one"))
    cluster.cut = set()
    assert cluster.known(_NAME)[2] is None
    cluster.ask(1, Get(_NAME, ReadQuorum(3, 1)))
    cluster.run(SECOND)
    one, two, three = cluster.known(_NAME)
    assert one == two == three
    assert one is not None


def test_what_w_nodes_have_fsynced_survives_their_crash() -> None:
    cluster = Cluster(3)
    cluster.ask(0, _put("durable"))
    cluster.crash(0, 1, 2)
    cluster.start(0, 1, 2)
    assert _texts(cluster.ask(0, Get(_NAME, ReadQuorum(3, 3)))) == ["durable"]


def test_an_answer_with_dw_0_may_be_lost_and_its_dot_is_not_used_again() -> None:
    cluster = Cluster(3)
    first = cluster.primaries(_NAME)[0]
    quick = WriteQuorum(3, 1)
    id_, effects = cluster.machines[first].coordinators.submit(_put("lost", quick), cluster.now, cluster.now)
    cluster.answers[(first, id_)] = effects.outputs[0].outcome
    assert isinstance(cluster.answers[(first, id_)], Stored)  # answered before anything could be durable
    cluster.crash(first)
    cluster.start(first)
    cluster.ask(first, _put("after"))
    other = cluster.machines[first].replica.store.get(_NAME)
    assert isinstance(other, Versions)
    assert [sibling.value.body for sibling in other.siblings] == [b"after"]


def test_merge_types_join_what_was_done_at_different_nodes() -> None:
    cluster = Cluster(3)
    for node in range(3):
        cluster.ask(node, Put(_NAME, _W2, kind="counter", operation=Increment(node + 1)))
    state = _state(cluster.ask(0, Get(_NAME, ReadQuorum(3, 3))))
    assert isinstance(state, Typed)
    assert value_of(state.store) == 6


def test_a_stand_in_sends_on_what_primaries_can_do_again_by_the_time_it_has_read() -> None:
    """An assertion once stopped its node."""
    cluster = Cluster(5)
    stand_in = NodeId(_coordinator(cluster, primary=False))
    added = cluster.ask(cluster.primaries(_NAME)[0], Put(_NAME, _W2, kind="set", operation=ChangeSet((b"book",))))
    everybody, cluster.believed_up = cluster.believed_up, {stand_in}
    removal = Put(_NAME, _W2, kind="set", operation=ChangeSet((), (b"book",)), context=_state(added).seen)
    coordinators = cluster.machines[stand_in].coordinators
    id_, effects = coordinators.submit(removal, Instant(cluster.now + 3 * SECOND), cluster.now)
    cluster.believed_up = everybody
    cluster.machines[stand_in].execute(effects)
    cluster.run(SECOND)
    left = _state(cluster.answers[stand_in, id_])
    assert isinstance(left, Typed)
    assert value_of(left.store) == []
    assert coordinators.forwarded == 1


def test_a_stand_in_removes_what_it_has_only_heard_of_and_keeps_it_as_a_hint() -> None:
    """It once kept what it had read as a row of its own, which it never lost again, and left the element in the set.
    Found by `gramme sim --seed 30 --config objects-drains`."""
    cluster = Cluster(5)
    primaries = cluster.primaries(_NAME)
    stand_in = next(n for n in range(5) if n not in primaries)
    added = cluster.ask(primaries[0], Put(_NAME, _W2, kind="set", operation=ChangeSet((b"book",))))
    assert isinstance(added, Stored)
    cluster.run(SECOND)
    cluster.believed_up = {NodeId(stand_in)}
    removal = ChangeSet((), (b"book",))
    outcome = cluster.ask(
        stand_in, Put(_NAME, _W2, kind="set", operation=removal, context=decode_state(added.state).seen)
    )
    assert isinstance(outcome, Stored)
    left = decode_state(outcome.state)
    assert isinstance(left, Typed)
    assert value_of(left.store) == []
    assert cluster.known(_NAME)[stand_in] is None
    assert cluster.machines[stand_in].replica.store.hinted_nodes() != []


def test_a_removal_reads_first_so_that_it_removes_what_its_client_has_seen() -> None:
    cluster = Cluster(3)
    first, second, third = cluster.primaries(_NAME)
    cluster.cut = {(first, third), (second, third)}
    cluster.ask(first, Put(_NAME, _W2, kind="set", operation=ChangeSet((b"book",))))
    seen = _state(cluster.ask(first, Get(_NAME, _R2))).seen
    cluster.cut = set()
    outcome = cluster.ask(third, Put(_NAME, _W2, kind="set", operation=ChangeSet((), (b"book",)), context=seen))
    state = _state(outcome)
    assert isinstance(state, Typed)
    assert value_of(state.store) == []


def test_a_removal_of_what_nobody_near_has_is_not_acknowledged() -> None:
    """Its read quorum lacks the element: it once was acknowledged, and removed nothing."""
    cluster = Cluster(3)
    first, second, third = cluster.primaries(_NAME)
    cluster.cut = {(first, second), (first, third)}
    added = cluster.ask(first, Put(_NAME, _W1, kind="set", operation=ChangeSet((b"book",))))
    cluster.cut |= {(second, first), (third, first)}
    removal = Put(_NAME, _W1, kind="set", operation=ChangeSet((), (b"book",)), context=_state(added).seen)
    refused = cluster.ask(second, removal)
    assert isinstance(refused, Busy | Unmet), refused
    assert cluster.known(_NAME)[second] is None
    cluster.cut = set()
    left = _state(cluster.ask(second, removal))
    assert isinstance(left, Typed)
    assert value_of(left.store) == []


def test_a_removal_waits_for_who_has_what_its_client_has_seen() -> None:
    """A majority answers first that it knows nothing."""
    cluster = Cluster(3)
    first, second, third = cluster.primaries(_NAME)
    cluster.cut = {(first, second), (first, third)}
    added = cluster.ask(first, Put(_NAME, _W1, kind="set", operation=ChangeSet((b"book",))))
    cluster.cut = set()
    coordinators = cluster.machines[second].coordinators
    removal = Put(_NAME, _W1, kind="set", operation=ChangeSet((), (b"book",)), context=_state(added).seen)
    id_, effects = coordinators.submit(removal, Instant(cluster.now + 3 * SECOND), cluster.now)
    fetch = next(message for node, message in effects.sends if node == first)
    state = cluster.known(_NAME)[first]
    assert state is not None
    assert not coordinators.step(third, Fetched(fetch.id, None), cluster.now)
    removed = coordinators.step(first, Fetched(fetch.id, encode_state(state)), cluster.now)
    assert removed.records
    cluster.machines[second].execute(removed)
    cluster.run(SECOND)
    left = _state(cluster.answers[second, id_])
    assert isinstance(left, Typed)
    assert value_of(left.store) == []


def _count(cluster: Cluster) -> int:
    state = _state(cluster.ask(cluster.primaries(_NAME)[0], Get(_NAME, ReadQuorum(3, 3))))
    assert isinstance(state, Typed)
    value: int = value_of(state.store)
    return value


def test_what_counts_is_sent_on_once_and_nobody_knows_what_became_of_it() -> None:
    """The primary does it, and its answer is lost. It was once sent to the next one, and counted twice."""
    cluster = Cluster(5)
    outside = NodeId(_coordinator(cluster, primary=False))
    first = cluster.primaries(_NAME)[0]
    cluster.cut = {(first, outside)}
    outcome = cluster.ask(outside, Put(_NAME, _W1, kind="counter", operation=Increment(1)))
    assert outcome == Unmet("W", 0, 1)
    cluster.cut = set()
    assert _count(cluster) == 1
    nested = ChangeMap({Field("hits", "counter"): Increment(1)})
    assert counts(nested)
    assert not counts(ChangeSet((b"book",)))


def test_what_counts_is_answered_at_once_where_the_link_breaks() -> None:
    cluster = Cluster(5)
    outside = NodeId(_coordinator(cluster, primary=False))
    first = cluster.primaries(_NAME)[0]
    cluster.cut = {(outside, first)}
    request = Put(_NAME, _W1, kind="counter", operation=Increment(1))
    machine = cluster.machines[outside]
    id_, effects = machine.coordinators.submit(request, Instant(cluster.now + 3 * SECOND), cluster.now)
    machine.execute(effects)
    machine.execute(machine.coordinators.lost(first, cluster.now))
    assert cluster.answers[outside, id_] == Unmet("W", 0, 1)


def test_a_second_copy_of_a_request_that_counts_is_not_done() -> None:
    cluster = Cluster(5)
    first = cluster.machines[cluster.primaries(_NAME)[0]]
    request = Put(_NAME, _W2, kind="counter", operation=Increment(1))
    for _ in range(2):
        first.deliver(NodeId(_coordinator(cluster, primary=False)), Coordinate(7, request, SECOND))
    cluster.run(SECOND)
    assert _count(cluster) == 1


def test_what_counts_is_still_done_by_another_where_the_first_has_no_room() -> None:
    cluster = Cluster(5)
    outside = NodeId(_coordinator(cluster, primary=False))
    cluster.machines[cluster.primaries(_NAME)[0]].full = True
    assert isinstance(cluster.ask(outside, Put(_NAME, _W1, kind="counter", operation=Increment(1))), Stored)
    cluster.run(SECOND)
    assert _count(cluster) == 1


def test_an_operation_that_does_not_suit_what_is_stored_is_refused() -> None:
    cluster = Cluster(3)
    cluster.ask(0, _put("opaque"))
    assert isinstance(cluster.ask(1, Put(_NAME, _W2, kind="counter", operation=Increment(1))), Invalid)
    other = Name(b"counts", b"b", b"k")
    cluster.ask(0, Put(other, _W2, kind="counter", operation=Increment(1)))
    assert isinstance(cluster.ask(0, _put("bytes", name=other)), Invalid)
    assert isinstance(cluster.ask(0, Put(other, _W2, kind="counter", operation=ChangeSet())), Invalid)


@pytest.mark.parametrize("seed", range(20))
def test_no_acknowledged_write_is_lost_under_one_crash_at_a_time(seed: int) -> None:
    """Writes without context replace nothing, so that all of them must be there in the end (w=2, dw=2)."""
    rng = Random(seed)
    cluster = Cluster(5, seed, loss=0.05)
    acknowledged: list[str] = []
    for number in range(40):
        action = rng.random()
        if action < 0.15:
            cluster.switch_one(rng)
        node = rng.choice([n for n in range(5) if n != cluster.down])
        if isinstance(cluster.ask(node, _put(f"v{number:02}")), Stored):
            acknowledged.append(f"v{number:02}")
    cluster.start_all()
    cluster.loss = 0.0
    cluster.run(5 * SECOND)
    found = _texts(cluster.ask(0, Get(_NAME, ReadQuorum(3, 3))))
    for machine in cluster.machines:
        known = machine.replica.known(_NAME)
        if isinstance(known, Versions):
            found += [sibling.value.body.decode() for sibling in known.siblings]
    assert set(acknowledged) <= set(found)
    assert len(acknowledged) > 30


def test_a_node_without_room_takes_nothing_and_others_do() -> None:
    cluster = Cluster(5)
    first = cluster.primaries(_NAME)[0]
    cluster.machines[first].full = True
    for node in range(5):
        assert isinstance(cluster.ask(node, _put(f"v{node}")), Stored)
    assert cluster.known(_NAME)[first] is None
    assert len(_texts(cluster.ask(first, Get(_NAME, _R2)))) == 5
    for machine in cluster.machines:
        machine.full = True
    assert isinstance(cluster.ask(first, _put("refused")), Busy)
    assert isinstance(cluster.ask(4, _put("refused")), Busy)


def test_a_write_that_was_sent_on_is_never_sent_on_again() -> None:
    """Two nodes that know different rings would take turns until nobody waits any more."""
    cluster = Cluster(5)
    sent_to, sender = (n for n in range(5) if NodeId(n) not in cluster.primaries(_NAME))
    coordinators = cluster.machines[sent_to].coordinators
    assert coordinators is not None
    message = Coordinate(7, _put("one", _W1), 3 * SECOND)
    effects = coordinators.step(NodeId(sender), message, Instant(cluster.now))
    assert not any(isinstance(sent, Coordinate) for _, sent in effects.sends)
    assert [record.kind for record in effects.records] != [], "it is kept here, for a primary"
