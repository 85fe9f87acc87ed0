"""Deletions are forgotten by all and for good: nothing that anybody holds, wherever, brings back what they deleted."""

from __future__ import annotations

from random import Random

import pytest
from tests.objects.cluster import AGE_NS, PARTITIONS, Cluster

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.objects.messages import AskHeld, Exchange, Get, Got, Held, Keep, Put, Stored
from gramme.objects.quorums import ReadQuorum, WriteQuorum
from gramme.objects.reaping import Holding
from gramme.objects.state import Name, State, encode_state
from gramme.objects.store import Section
from gramme.objects.versions import NO_VECTOR, Value, Vector, Versions

_NAME = Name(b"default", b"carts", b"of-anna")
_ALL = WriteQuorum(3, 3, dw=3)
_W1, _R3 = WriteQuorum(3, 1, dw=1), ReadQuorum(3, 3)
_GONE_NS = 4 * AGE_NS
"""Within this time of a deletion that everybody has heard of, it is forgotten."""


def _cluster(nodes: int = 5, seed: int = 0) -> Cluster:
    cluster = Cluster(nodes, seed, background=True)
    cluster.reaping = True
    return cluster


def _seen(cluster: Cluster, name: Name = _NAME) -> Vector:
    for state in cluster.known(name):
        if state is not None:
            return state.seen
    return NO_VECTOR


def _put(cluster: Cluster, text: str, quorum: WriteQuorum = _ALL, at: int | None = None, name: Name = _NAME) -> State:
    node = cluster.primaries(name)[0] if at is None else at
    assert isinstance(cluster.ask(node, Put(name, quorum, Value(text.encode(), modified=cluster.wall))), Stored)
    known = cluster.known(name)[node]
    return Versions() if known is None else known


def _delete(cluster: Cluster, quorum: WriteQuorum = _ALL, at: int | None = None, name: Name = _NAME) -> None:
    node = cluster.primaries(name)[0] if at is None else at
    value = Value(b"", deleted=True, modified=cluster.wall)
    assert isinstance(cluster.ask(node, Put(name, quorum, value, context=_seen(cluster, name))), Stored)


def _read(cluster: Cluster, name: Name = _NAME) -> list[str]:
    outcome = cluster.ask(cluster.primaries(name)[0], Get(name, _R3))
    assert isinstance(outcome, Got)
    live: list[str] = []
    for state in cluster.known(name):
        if isinstance(state, Versions):
            live += [s.value.body.decode() for s in state.siblings if not s.value.deleted]
    return sorted(set(live))


def _is_forgotten(cluster: Cluster, name: Name = _NAME) -> bool:
    return all(not machine.replica.store.rows(name) for machine in cluster.machines)


def _is_forgotten_once_nothing_is_cut(cluster: Cluster) -> None:
    cluster.run(10 * AGE_NS)
    assert not _is_forgotten(cluster)
    cluster.cut = set()
    cluster.run(_GONE_NS + 10 * SECOND)
    assert _is_forgotten(cluster)
    assert _read(cluster) == []


def test_a_deletion_that_everybody_has_is_forgotten_by_everybody() -> None:
    cluster = _cluster()
    _put(cluster, "book")
    _delete(cluster)
    assert not _is_forgotten(cluster)
    cluster.run(_GONE_NS)
    assert _is_forgotten(cluster)
    _put(cluster, "again")
    assert _read(cluster) == ["again"]


def test_many_are_asked_about_together() -> None:
    cluster = _cluster()
    names = [Name(b"default", b"carts", b"%d" % n) for n in range(200)]
    for name in names:
        _put(cluster, "v", name=name)
        _delete(cluster, name=name)
    cluster.sent.clear()
    cluster.run(_GONE_NS)
    assert all(_is_forgotten(cluster, name) for name in names)
    assert sum(isinstance(message, AskHeld) for message in cluster.sent) < 200


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_while_a_primary_is_away_nothing_is_forgotten_and_it_brings_nothing_back(missing: int) -> None:
    cluster = _cluster()
    _put(cluster, "book")
    away = cluster.primaries(_NAME)[missing]
    left = next(node for node in cluster.primaries(_NAME) if node != away)
    cluster.crash(away)
    _delete(cluster, WriteQuorum(3, 2, dw=2), at=left)
    cluster.run(10 * AGE_NS)
    assert not _is_forgotten(cluster)
    cluster.start(away)
    cluster.run(_GONE_NS + 10 * SECOND)
    assert _is_forgotten(cluster)
    assert _read(cluster) == []


def test_a_hint_of_the_old_value_keeps_the_deletion_alive() -> None:
    """Its keeper cannot reach the owner, and everybody else can reach both."""
    cluster = _cluster()
    keeper = next(machine.node for machine in cluster.machines if machine.node not in cluster.primaries(_NAME))
    old = _put(cluster, "book")
    owner = cluster.primaries(_NAME)[1]
    cluster.cut = {(keeper, owner)}
    cluster.machines[keeper].replica.store.keep_hint(owner, _NAME, old)
    _delete(cluster)
    _is_forgotten_once_nothing_is_cut(cluster)


def test_a_copy_that_was_left_behind_is_answered_for_by_who_has_it() -> None:
    """As by a node that was a primary before the ring changed, until it has handed on what it has."""
    cluster = _cluster()
    other = next(machine for machine in cluster.machines if machine.node not in cluster.primaries(_NAME))
    item = [(_NAME, b"")]
    assert other.reaper._holdings(other.config.version, item) == bytes((Holding.NOTHING,))
    other.replica.store.put(_NAME, _put(cluster, "book"))
    assert other.reaper._holdings(other.config.version, item) == bytes((Holding.OTHER,))
    _delete(cluster)
    cluster.run(_GONE_NS + 20 * SECOND)
    assert _is_forgotten(cluster)
    assert _read(cluster) == []


def test_an_old_value_that_arrives_between_the_two_agreements_is_refused_and_delays_nothing() -> None:
    cluster = _cluster()
    old = _put(cluster, "book")
    _delete(cluster)
    cluster.run(AGE_NS + 3 * SECOND)
    assert all(machine.reaper.forgotten == 0 for machine in cluster.machines)
    first, second, _ = cluster.primaries(_NAME)
    state = cluster.known(_NAME)[first]
    assert isinstance(state, Versions)
    assert state.bare
    for node in cluster.primaries(_NAME):
        cluster.machines[node].deliver(second, Keep(0, _NAME, encode_state(old), durable=False))
    assert _read(cluster) == []
    cluster.run(_GONE_NS)
    assert _is_forgotten(cluster)


def test_an_old_value_that_arrives_as_a_hint_between_the_two_agreements_is_seen_by_the_second() -> None:
    cluster = _cluster()
    old = _put(cluster, "book")
    _delete(cluster)
    cluster.run(AGE_NS + 3 * SECOND)
    keeper = next(machine.node for machine in cluster.machines if machine.node not in cluster.primaries(_NAME))
    owner = cluster.primaries(_NAME)[2]
    cluster.cut = {(keeper, owner)}
    cluster.machines[keeper].deliver(owner, Keep(0, _NAME, encode_state(old), stands_for=owner, durable=False))
    _is_forgotten_once_nothing_is_cut(cluster)


def test_a_request_in_progress_keeps_it_alive() -> None:
    cluster = _cluster()
    _put(cluster, "book")
    _delete(cluster)
    machine = cluster.machines[4]
    item = [(_NAME, b"")]
    assert machine.reaper._holdings(machine.config.version, item)[0] != Holding.OTHER or cluster.known(_NAME)[4]
    machine.coordinators.submit(Get(_NAME, _R3), cluster.now, cluster.now)
    assert machine.reaper._holdings(machine.config.version, item) == bytes((Holding.OTHER,))


def test_an_answer_that_comes_late_does_not_count() -> None:
    """A node that was paused would speak of how things were before it hears what waits for it."""
    cluster = _cluster()
    _put(cluster, "book")
    _delete(cluster)
    machine = cluster.machines[cluster.primaries(_NAME)[0]]
    cluster.reaping = False
    cluster.run(AGE_NS + SECOND)
    machine.reaper.tick(cluster.now)
    current = machine.reaper._round
    assert current is not None
    cluster.run(3 * SECOND)
    for node in range(5):
        machine.deliver(NodeId(node), Held(current.id, bytes((Holding.BARE,)) * len(current.items)))
    assert machine.reaper.buried == 0


def test_nodes_that_know_another_ring_agree_to_nothing() -> None:
    cluster = _cluster()
    _put(cluster, "book")
    holdings = cluster.machines[0].reaper._holdings(cluster.machines[0].config.version + 1, [(_NAME, b"")])
    assert holdings == bytes((Holding.OTHER,))


def test_trees_and_messages_are_quiet_whoever_has_forgotten_and_whoever_has_not() -> None:
    """To have a bare row and to have none is the same to everybody else: nothing is sent, nothing comes back."""
    cluster = _cluster()
    _put(cluster, "book")
    _delete(cluster)
    cluster.run(AGE_NS + 3 * SECOND)
    first = cluster.primaries(_NAME)[0]
    assert cluster.known(_NAME)[first] is not None
    cluster.reaping = False
    cluster.machines[first].replica.store.reap(_NAME)
    roots = {cluster.machines[n].replica.store.tree(Section(p, 3)).root() for n in range(5) for p in range(PARTITIONS)}
    assert roots == {0}
    cluster.sent.clear()
    _read(cluster)
    cluster.run(60 * SECOND)
    assert cluster.known(_NAME)[first] is None
    assert not any(isinstance(message, Exchange | Keep) for message in cluster.sent)


def test_who_has_not_buried_it_yet_learns_of_it_by_comparing() -> None:
    cluster = _cluster()
    _put(cluster, "book")
    _delete(cluster)
    first, second, third = cluster.primaries(_NAME)
    cluster.reaping = False
    state = cluster.known(_NAME)[first]
    assert state is not None
    cluster.machines[first].replica.store.put(_NAME, Versions(state.seen))
    cluster.run(60 * SECOND)
    for node in (second, third):
        known = cluster.known(_NAME)[node]
        assert isinstance(known, Versions)
        assert known.bare


def test_forgetting_survives_a_restart_and_a_restart_in_between_only_delays_it() -> None:
    cluster = _cluster()
    _put(cluster, "book")
    _delete(cluster)
    cluster.run(AGE_NS + 3 * SECOND)
    for node in range(5):
        cluster.crash(node)
        cluster.start(node)
    assert _read(cluster) == []
    cluster.run(_GONE_NS)
    assert _is_forgotten(cluster)
    for node in range(5):
        cluster.crash(node)
        cluster.start(node)
    assert _is_forgotten(cluster)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_deleted_comes_back_whatever_happens(seed: int) -> None:
    """Losses, crashes and cuts around deletions of everything that was seen; then quiet, and all is forgotten but what
    was written without having been seen by any deletion."""
    rng = Random(seed)
    cluster = _cluster(5, seed)
    cluster.loss = 0.05
    alive: dict[int, dict[str, None]] = {key: {} for key in range(4)}
    for number in range(50):
        action = rng.random()
        if action < 0.12:
            cluster.switch_one(rng)
        elif action < 0.25:
            cluster.cut = {(NodeId(rng.randrange(5)), NodeId(rng.randrange(5))) for _ in range(rng.randrange(6))}
        elif action < 0.4:
            cluster.run(rng.randrange(2 * AGE_NS))
        node, key = rng.choice([n for n in range(5) if n != cluster.down]), rng.randrange(4)
        name = Name(b"default", b"carts", b"%d" % key)
        if rng.random() < 0.5:
            outcome = cluster.ask(node, Get(name, ReadQuorum(3, 2)))
            state = outcome.state if isinstance(outcome, Got) else None
            if state is not None:
                seen = cluster.decoded(state)
                value = Value(b"", deleted=True, modified=cluster.wall)
                outcome = cluster.ask(node, Put(name, WriteQuorum(3, 2, dw=2), value, context=seen.seen))
                if isinstance(outcome, Stored):
                    for text in cluster.texts(seen):
                        alive[key].pop(text, None)
        else:
            put = Put(name, WriteQuorum(3, 2, dw=2), Value(b"v%d" % number, modified=cluster.wall))
            # At a primary: a request that is sent on may be done twice, and a deletion may have seen one of the two.
            cluster.ask(next(node for node in cluster.primaries(name) if node != cluster.down), put)
            alive[key][f"v{number}"] = None  # it may be there, acknowledged or not
    cluster.start_all()
    cluster.cut, cluster.loss = set(), 0.0
    cluster.run(60 * SECOND + _GONE_NS)
    for key in range(4):
        name = Name(b"default", b"carts", b"%d" % key)
        found = _read(cluster, name)
        assert set(found) <= set(alive[key])
        assert found or _is_forgotten(cluster, name)
