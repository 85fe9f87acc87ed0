"""Merge types: the laws of joining, and what readers see against the history of operations."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.kernel.time import Timestamp
from gramme.objects.merge_types import (
    MAX_COUNT,
    MAX_DEPTH,
    Assign,
    ChangeMap,
    ChangeSet,
    Field,
    Increment,
    Kind,
    Operation,
    Raise,
    Typed,
    apply,
    check,
    join,
    needs_context,
    nothing,
    value_of,
)
from gramme.objects.versions import NO_VECTOR, Dot, Vector, make_actor

_ELEMENTS = (b"apple", b"bread", b"cheese")
_TAGS, _COUNT, _NAME, _UP = (
    Field("tags", "set"), Field("count", "counter"), Field("name", "register"), Field("up", "flag")
)  # fmt: skip
_INNER = Field("inner", "map")


class _Replicas:
    """Three replicas that apply operations and hear of each other."""

    def __init__(self, kind: Kind) -> None:
        self.states = [nothing(kind)] * 3
        self.clock = 0

    def do(self, replica: int, operation: Operation, context: Vector | None = None) -> None:
        self.clock += 1
        known = self.states[replica]
        dot = Dot(make_actor(NodeId(replica), 1), self.clock)
        seen = known.seen if context is None else context
        self.states[replica] = apply(known, operation, seen, dot, Timestamp(self.clock))

    def hear(self, replica: int, other: int) -> None:
        self.states[replica] = join(self.states[replica], self.states[other])

    def values(self) -> list[object]:
        return [value_of(state.store) for state in self.states]


_sets = st.builds(
    ChangeSet,
    st.lists(st.sampled_from(_ELEMENTS), max_size=2).map(tuple),
    st.lists(st.sampled_from(_ELEMENTS), max_size=2).map(tuple),
)
_leaves: dict[Field, st.SearchStrategy[Operation]] = {
    _TAGS: _sets,
    _COUNT: st.builds(Increment, st.integers(-5, 5)),
    _NAME: st.builds(Assign, st.sampled_from(_ELEMENTS)),
    _UP: st.builds(Raise, st.booleans()),
}


def _maps(inner: st.SearchStrategy[Operation] | None) -> st.SearchStrategy[Operation]:
    fields = dict(_leaves) if inner is None else {**_leaves, _INNER: inner}
    some = st.fixed_dictionaries({}, optional=fields)
    return st.builds(ChangeMap, some, st.lists(st.sampled_from(list(fields)), max_size=2).map(tuple))


_operations = _maps(_maps(None))
_steps = st.lists(
    st.tuples(st.integers(0, 2), st.one_of(st.integers(0, 2), _operations)),  # hear another replica, or do something
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(_steps)
def test_joins_commute_associate_and_repeat_without_effect(steps: list[tuple[int, int | Operation]]) -> None:
    replicas = _Replicas("map")
    for replica, step in steps:
        if isinstance(step, int):
            replicas.hear(replica, step)
        else:
            replicas.do(replica, step)
    a, b, c = replicas.states
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(join(a, b), b) == join(a, b)
    packed = msgspec.msgpack.encode(join(join(c, a), b))
    assert packed == msgspec.msgpack.encode(join(join(a, b), c))
    assert msgspec.msgpack.decode(packed, type=Typed) == join(a, join(b, c))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.one_of(st.integers(0, 2), _sets)), max_size=40))
def test_an_element_is_there_while_an_addition_is_that_no_removal_had_seen(
    steps: list[tuple[int, int | ChangeSet]],
) -> None:
    replicas = _Replicas("set")
    heard: list[frozenset[tuple[str, int, bytes]]] = [frozenset()] * 3
    removed: dict[int, frozenset[tuple[int, bytes]]] = {}  # operation → additions that it takes away or replaces
    for number, (replica, step) in enumerate(steps):
        if isinstance(step, int):
            replicas.hear(replica, step)
            heard[replica] |= heard[step]
            continue
        replicas.do(replica, step)
        removed[number] = frozenset(
            (n, e) for kind, n, e in heard[replica] if kind == "add" and e in step.add + step.remove
        )
        heard[replica] |= {("op", number, b"")} | {("add", number, element) for element in step.add}
    for replica in range(3):
        gone = frozenset[tuple[int, bytes]]().union(*(removed[n] for kind, n, _ in heard[replica] if kind == "op"))
        there = sorted({e for kind, n, e in heard[replica] if kind == "add" and (n, e) not in gone})
        assert value_of(replicas.states[replica].store) == there


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 9)), max_size=30))
def test_a_counter_counts_every_increment_once(steps: list[tuple[int, int]]) -> None:
    replicas = _Replicas("counter")
    for count, (replica, by) in enumerate(steps):
        replicas.do(replica, Increment(by))
        if count % 3 == 0:
            replicas.hear((replica + 1) % 3, replica)
    for _ in range(2):
        for replica in range(3):
            replicas.hear(replica, (replica + 1) % 3)
    assert replicas.values() == [sum(by for _, by in steps)] * 3


def test_the_cart_keeps_an_addition_made_during_a_removal() -> None:
    """Row A33, with a merge type instead of a client's merge: no add is lost."""
    carts = _Replicas("set")
    carts.do(0, ChangeSet((b"book",)))
    carts.hear(1, 0)
    carts.do(0, ChangeSet(remove=(b"book",)))
    carts.do(1, ChangeSet((b"book",)))
    carts.hear(0, 1)
    assert value_of(carts.states[0].store) == [b"book"]


def test_a_removed_field_keeps_only_what_its_remover_had_not_seen() -> None:
    maps = _Replicas("map")
    maps.do(0, ChangeMap({_COUNT: Increment(5), _TAGS: ChangeSet((b"old",))}))
    maps.hear(1, 0)
    maps.do(0, ChangeMap(remove=(_COUNT, _TAGS)))
    maps.do(1, ChangeMap({_TAGS: ChangeSet((b"new",)), _COUNT: Increment(2)}))
    maps.hear(0, 1)
    assert value_of(maps.states[0].store) == {_COUNT: 2, _TAGS: [b"new"]}


def test_a_removal_through_an_old_context_spares_what_came_since() -> None:
    sets = _Replicas("set")
    sets.do(0, ChangeSet((b"a",)))
    old = sets.states[0].seen
    sets.do(0, ChangeSet((b"a", b"b")))
    sets.do(0, ChangeSet(remove=(b"a", b"b")), old)
    assert value_of(sets.states[0].store) == [b"a", b"b"]


def test_the_last_value_of_a_register_wins_and_flags_prefer_to_be_up() -> None:
    maps = _Replicas("map")
    maps.do(0, ChangeMap({_NAME: Assign(b"first"), _UP: Raise(True)}))
    maps.hear(1, 0)
    maps.do(0, ChangeMap({_UP: Raise(False)}))
    maps.do(1, ChangeMap({_NAME: Assign(b"second"), _UP: Raise(True)}))
    maps.hear(0, 1)
    assert value_of(maps.states[0].store) == {_NAME: b"second", _UP: True}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="on a set cannot be applied to a counter"):
        check(ChangeSet(), "counter")
    with pytest.raises(InvalidInput, match="on a counter cannot be applied to a set"):
        check(ChangeMap({_TAGS: Increment(1)}), "map")
    deep: Operation = Increment(1)
    for _ in range(MAX_DEPTH):
        deep = ChangeMap({_COUNT if isinstance(deep, Increment) else _INNER: deep})
    with pytest.raises(InvalidInput, match=f"more than {MAX_DEPTH} deep"):
        check(ChangeMap({_INNER: deep}), "map")
    check(deep, "map")
    with pytest.raises(InvalidInput, match="different kinds"):
        join(
            apply(nothing("set"), ChangeSet((b"a",)), NO_VECTOR, Dot(make_actor(NodeId(0), 1), 1), Timestamp(1)),
            apply(nothing("counter"), Increment(1), NO_VECTOR, Dot(make_actor(NodeId(1), 1), 1), Timestamp(1)),
        )


def test_a_counter_stays_within_64_bits() -> None:
    counter = _Replicas("counter")
    counter.do(0, Increment(MAX_COUNT))
    with pytest.raises(InvalidInput, match="64 bits"):
        counter.do(0, Increment(1))
    assert value_of(counter.states[0].store) == MAX_COUNT


def test_only_removals_need_a_context() -> None:
    assert not needs_context(ChangeMap({_TAGS: ChangeSet((b"a",)), _UP: Raise(True), _COUNT: Increment(-1)}))
    assert needs_context(ChangeMap({_INNER: ChangeMap({_TAGS: ChangeSet((), (b"a",))})}))
    assert needs_context(ChangeMap(remove=(_TAGS,)))
    assert needs_context(Raise(False))
