"""The pure cores of reads and writes: quorums, fallbacks, hints, repair."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.kernel.time import Timestamp
from gramme.objects.quorums import ReadQuorum, WriteQuorum, parse_count, resolve
from gramme.objects.reading import Read, ReadCore
from gramme.objects.versions import NOTHING, Dot, Value, Versions, make_actor, merge, write
from gramme.objects.writing import Target, Unsatisfied, WriteCore

A, B, C, D, E = (NodeId(n) for n in range(5))
ALL = (A, B, C, D, E)


def _up(*nodes: NodeId) -> Callable[[NodeId], bool]:
    return lambda node: node in nodes


def _written(node: NodeId, text: str, before: Versions = NOTHING) -> Versions:
    dot = Dot(make_actor(node, 1), len(text))
    return write(before, before.seen, dot, Value(text.encode()), Timestamp(0))


OLD = _written(A, "v")
NEW = _written(B, "vv", OLD)


# --- counts


def test_words_for_counts() -> None:
    assert [resolve("r", word, 1, 5) for word in ("one", "quorum", "all", "default", 4)] == [1, 3, 5, 1, 4]
    assert resolve("pw", 0, 0, 3) == 0


@pytest.mark.parametrize(("name", "count"), [("r", 0), ("w", 4), ("pr", 4), ("dw", -1)])
def test_a_count_out_of_range_is_refused(name: str, count: int) -> None:
    with pytest.raises(InvalidInput, match=f"{name}-value {count} is out of range"):
        resolve(name, count, 2, 3)


def test_a_count_is_a_number_or_a_word() -> None:
    assert [parse_count("r", text) for text in ("2", "all")] == [2, "all"]
    for text in ("", "-1", "two", "²", "1e1", "9999"):
        with pytest.raises(InvalidInput, match="r query parameter"):
            parse_count("r", text)


# --- writes


def test_a_write_asks_the_primaries_and_is_done_at_w() -> None:
    core = WriteCore(WriteQuorum(n=3, w=2, dw=1), ALL, _up(*ALL))
    assert core.begin() == [Target(A), Target(B), Target(C)]
    core.add_result(A, durable=False)
    core.add_result(B, durable=False)
    assert not core.enough()  # nobody has it fsynced
    core.add_result(B, durable=True)
    assert core.enough()
    assert core.response() is None


def test_a_node_counts_once() -> None:
    core = WriteCore(WriteQuorum(n=3, w=2, dw=2), ALL, _up(*ALL))
    core.begin()
    core.add_result(A, durable=True)
    core.add_result(A, durable=True)
    assert core.response() == Unsatisfied("W", 1, 2)


def test_fallbacks_stand_in_for_primaries_that_are_down() -> None:
    core = WriteCore(WriteQuorum(n=3, w=3), ALL, _up(A, D, E))
    assert core.begin() == [Target(A), Target(D, B), Target(E, C)]
    for node in (A, D, E):
        core.add_result(node, durable=True)
    assert core.response() is None
    assert core.final_action() == []


def test_with_w_1_a_write_is_refused_only_if_all_nodes_are_down() -> None:
    """Row A21."""
    core = WriteCore(WriteQuorum(n=3, w=1), ALL, _up())
    assert core.begin() == [Target(A), Target(B), Target(C)]
    assert core.add_failure(A) == [Target(D, A)]
    assert core.add_failure(B) == [Target(E, B)]
    core.add_result(E, durable=True)
    assert core.response() is None
    lost = WriteCore(WriteQuorum(n=3, w=1), ALL, _up())
    asked = [target.node for target in lost.begin()]
    tried = 0
    while asked:
        node = asked.pop(0)
        tried += 1
        asked += [target.node for target in lost.add_failure(node)]
        lost.gone(node)
    assert (tried, lost.response()) == (5, Unsatisfied("W", 0, 1))


def test_primaries_that_must_answer_cannot_be_replaced() -> None:
    core = WriteCore(WriteQuorum(n=3, w=2, pw=2), ALL, _up(A, D, E))
    core.begin()
    for node in (A, D, E):
        core.add_result(node, durable=True)
    assert core.response() == Unsatisfied("PW", 1, 2)
    assert str(core.response()) == "PW-value unsatisfied: 1/2"


def test_a_late_answer_of_a_slow_node_still_counts() -> None:
    core = WriteCore(WriteQuorum(n=3, w=3), ALL, _up(*ALL))
    core.begin()
    assert core.add_failure(C) == [Target(D, C)]
    core.add_result(A, durable=True)
    core.add_result(B, durable=True)
    core.add_result(C, durable=True)
    assert core.response() is None


def test_who_has_not_confirmed_is_owed_a_hint() -> None:
    core = WriteCore(WriteQuorum(n=3, w=1), (A, B, C), _up(A, B, C))
    core.begin()
    core.add_result(A, durable=True)
    core.add_failure(B)
    assert core.final_action() == [B, C]


@given(st.sets(st.sampled_from(ALL)), st.integers(1, 3), st.permutations(ALL))
def test_any_w_nodes_that_live_are_enough(alive: set[NodeId], w: int, order: list[NodeId]) -> None:
    """Whatever is thought to be up: a write succeeds if and only if W nodes answer."""
    core = WriteCore(WriteQuorum(n=3, w=w), ALL, lambda node: node in order[:2])
    asked = core.begin()
    seen: list[Target] = []
    while asked and core.response() is not None:
        target = asked.pop(0)
        seen.append(target)
        if target.node in alive:
            core.add_result(target.node, durable=True)
        else:
            asked += core.add_failure(target.node)
            core.gone(target.node)
    assert (core.response() is None) == (min(len(alive), 3) >= w)
    assert len({target.node for target in seen}) == len(seen)
    assert all(target.stands_for in (NO_NODE, A, B, C) for target in seen)


# --- reads


def test_a_read_answers_at_r_with_the_merge() -> None:
    core = ReadCore(ReadQuorum(n=3, r=2), ALL, _up(*ALL))
    assert core.begin() == [A, B, C]
    core.add_result(B, NEW)
    assert not core.enough()
    core.add_result(A, OLD)
    assert core.response() == Read(NEW, B)


def test_after_the_answer_stragglers_are_heard_and_repaired() -> None:
    core = ReadCore(ReadQuorum(n=3, r=1), ALL, _up(*ALL))
    core.begin()
    core.add_result(A, OLD)
    assert core.response() == Read(OLD, A)
    assert not core.settled()
    core.add_result(B, NEW)
    core.add_result(C, None)
    assert core.settled()
    assert core.final_action() == (NEW, [A, C])


def test_siblings_of_two_replicas_are_both_answered_and_both_repaired() -> None:
    mine, yours = _written(A, "mine"), _written(B, "yours")
    core = ReadCore(ReadQuorum(n=2, r=2), ALL, _up(*ALL))
    core.begin()
    core.add_result(A, mine)
    core.add_result(B, yours)
    assert core.response() == Read(merge(mine, yours), A)
    assert core.final_action() == (merge(mine, yours), [A, B])


def test_a_fallback_answers_for_who_is_down_but_is_no_primary() -> None:
    core = ReadCore(ReadQuorum(n=3, r=2, pr=2), ALL, _up(A, D))
    assert core.begin() == [A, D, B]
    core.add_result(A, OLD)
    core.add_result(D, NEW)
    assert not core.enough()
    assert core.add_failure(B) == [C]
    assert core.add_failure(C) == [E]
    core.add_failure(E)
    assert core.response() == Unsatisfied("PR", 1, 2)


def test_a_late_answer_of_a_slow_replica_counts() -> None:
    """However many were asked in its place; only of one that is gone nothing is awaited."""
    core = ReadCore(ReadQuorum(n=3, r=1), ALL, _up(*ALL))
    core.begin()
    assert [core.add_failure(node) for node in (A, B, C, D, E)] == [[D], [E], [], [], []]
    assert core.add_failure(A) == [], "it was given up already"
    for node in (B, C, D, E):
        core.gone(node)
    assert not core.enough()
    core.add_result(A, NEW)
    assert core.response() == Read(NEW, A)
    late = ReadCore(ReadQuorum(n=3, r=1), ALL, _up(*ALL))
    late.begin()
    for node in (A, B, C):
        late.gone(node)
    assert late.enough()
    assert late.response() == Unsatisfied("R", 0, 1)


def test_not_found_counts_as_an_answer_unless_told_otherwise() -> None:
    core = ReadCore(ReadQuorum(n=3, r=2), ALL, _up(*ALL))
    core.begin()
    core.add_result(A, None)
    core.add_result(B, None)
    assert core.response() == Read(None, NO_NODE)
    strict = ReadCore(ReadQuorum(n=3, r=2, notfound_ok=False), ALL, _up(*ALL))
    strict.begin()
    strict.add_result(A, None)
    strict.add_result(B, None)
    assert not strict.enough()
    strict.add_result(C, OLD)
    assert strict.response() == Unsatisfied("R", 1, 2)
    basic = ReadCore(ReadQuorum(n=3, r=3, notfound_ok=False, basic_quorum=True), ALL, _up(*ALL))
    basic.begin()
    basic.add_result(A, None)
    basic.add_result(B, None)
    assert basic.response() == Read(None, NO_NODE)


def test_who_was_not_asked_cannot_answer() -> None:
    core = ReadCore(ReadQuorum(n=3, r=1), ALL, _up(*ALL))
    core.begin()
    core.add_result(E, NEW)
    assert not core.enough()
