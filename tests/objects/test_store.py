"""Objects at rest: rows and leaves move together, hints stay until they are delivered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.kernel.ids import NodeId
from gramme.kernel.time import Timestamp
from gramme.objects.merge_types import ChangeSet, Increment, Typed, apply, nothing
from gramme.objects.merkle import Tree, rebuilt
from gramme.objects.state import Name, State, decode_name, decode_state, encode_name, encode_state, joined
from gramme.objects.store import Keeping, ObjectStore, Section
from gramme.objects.versions import NO_VECTOR, NOTHING, Dot, Value, Versions, make_actor, write
from gramme.placement.ring import position_of
from gramme.storage.engine.contract import Batch
from gramme.storage.engine.memory import MemoryEngine
from gramme.storage.engine.rows import OBJECT_EXTENT, Space, row_key

_Q = 8
_B = NodeId(5)


def _store(last_write_wins: bool = False) -> ObjectStore:
    return ObjectStore(MemoryEngine(lambda done: done()), _Q, lambda _name: Keeping(3, last_write_wins))


def _name(key: bytes) -> Name:
    return Name(b"default", b"carts", key)


def _value(node: int, counter: int, text: bytes, modified: int = 0) -> Versions:
    dot = Dot(make_actor(NodeId(node), 1), counter)
    return write(NOTHING, NO_VECTOR, dot, Value(text, modified=Timestamp(modified)), Timestamp(0))


def _hear(store: ObjectStore, name: Name, state: State) -> None:
    merged = store.join(name, state)
    if merged is not None:
        store.put(name, merged)


def _roots(store: ObjectStore) -> list[int]:
    return [store.tree(Section(partition, 3)).root() for partition in range(_Q)]


_names = st.builds(
    Name, st.binary(min_size=1, max_size=3), st.binary(min_size=1, max_size=3), st.binary(min_size=1, max_size=3)
)


@given(_names, _names)
def test_names_come_back_and_are_told_apart(one: Name, other: Name) -> None:
    assert decode_name(encode_name(one)) == one
    assert (encode_name(one) == encode_name(other)) == (one == other)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(0, 2), st.booleans()), max_size=30))
def test_leaves_are_those_of_a_scan_after_any_writes(writes: list[tuple[bytes, int, bool]]) -> None:
    store = _store()
    for counter, (key, node, reap) in enumerate(writes, 1):
        if reap:
            store.reap(_name(key))
        else:
            _hear(store, _name(key), _value(node, counter, b"%d" % counter))
    engine = store._engine
    for partition in range(_Q):
        items = [
            (position_of(name.place, name.key), encode_name(name), encode_state(state))
            for _, name, state in store.of_section(Section(partition, 3))
        ]
        assert store.tree(Section(partition, 3)).buckets == rebuilt(items)
        assert (
            ObjectStore(engine, _Q, lambda _name: Keeping()).tree(Section(partition, 3)).root()
            == Tree(rebuilt(items)).root()
        )


def test_two_stores_that_hear_the_same_are_equal_whatever_the_order() -> None:
    heard = [(_name(b"%d" % (n % 7)), _value(n % 3, n, b"v%d" % n)) for n in range(1, 40)]
    one, other = _store(), _store()
    for name, state in heard:
        _hear(one, name, state)
    for name, state in reversed(heard * 2):
        _hear(other, name, state)
    assert _roots(one) == _roots(other)


def test_what_is_known_already_is_not_written_again() -> None:
    store = _store()
    _hear(store, _name(b"k"), _value(0, 1, b"v"))
    assert store.join(_name(b"k"), _value(0, 1, b"v")) is None


def test_where_the_last_write_wins_replicas_agree_on_one() -> None:
    store = _store(last_write_wins=True)
    _hear(store, _name(b"k"), _value(0, 1, b"early", modified=5))
    _hear(store, _name(b"k"), _value(1, 1, b"late", modified=9))
    known = store.get(_name(b"k"))
    assert isinstance(known, Versions)
    assert [sibling.value.body for sibling in known.siblings] == [b"late"]


def test_a_damaged_leaf_is_noticed_and_made_right() -> None:
    store = _store()
    name = _name(b"k")
    _hear(store, name, _value(0, 1, b"v"))
    place = store.place(name)
    true_root = store.tree(place.section).root()
    batch = Batch()
    batch.put(row_key(OBJECT_EXTENT, Space.TREES, place.prefix), b"\1" * 16)
    store._engine.write(batch)
    damaged = ObjectStore(store._engine, _Q, lambda _name: Keeping())
    assert damaged.tree(place.section).root() != true_root
    assert not damaged.check_bucket(place)
    assert damaged.check_bucket(place)
    assert damaged.tree(place.section).root() == true_root


@pytest.mark.parametrize("counted_before", [True, False])
def test_hints_are_counted(counted_before: bool) -> None:
    """From the rows when they are first asked for, and from then on as they come and go."""
    store = _store()
    names = [_name(b"%d" % n) for n in range(5)]
    if counted_before:
        assert store.hints_kept == 0
    for name in names:
        store.keep_hint(_B, name, _value(0, 1, b"x"))
        store.keep_hint(_B, name, _value(1, 1, b"y"))
    store.keep_hint(NodeId(9), names[0], _value(0, 1, b"x"))
    assert store.hints_kept == 6
    assert store.drop_hint(NodeId(9), names[0], _value(0, 1, b"x"))
    assert store.drop_hint(NodeId(9), names[0], _value(0, 1, b"x"))  # again: there is none
    assert not store.drop_hint(_B, names[0], _value(0, 1, b"x"))
    assert store.hints_kept == 5


def test_a_hint_stays_until_all_that_it_holds_is_delivered() -> None:
    store = _store()
    name, first, second = _name(b"k"), _value(0, 1, b"one"), _value(1, 1, b"two")
    store.keep_hint(_B, name, first)
    store.keep_hint(_B, name, second)
    assert store.hinted_nodes() == [_B]
    assert not store.drop_hint(_B, name, first)
    (hint,) = store.hints(_B)
    assert (hint.name, hint.partition) == (name, store.place(name).section.partition)
    assert hint.state == joined(first, second)
    assert store.drop_hint(_B, name, hint.state)
    assert store.hinted_nodes() == []
    assert store.get(name) is None  # a hint is no replica


def test_hints_of_several_nodes_are_kept_apart() -> None:
    store = _store()
    for node in (9, 3, 200):
        store.keep_hint(NodeId(node), _name(b"k%d" % node), _value(node, 1, b"v"))
    assert store.hinted_nodes() == [3, 9, 200]
    assert [hint.name.key for hint in store.hints(NodeId(9))] == [b"k9"]


def test_a_partition_that_was_given_away_leaves_nothing() -> None:
    store = _store()
    for n in range(40):
        _hear(store, _name(b"%d" % n), _value(0, n + 1, b"v"))
    sections = store.sections()
    sizes = {section: len(list(store.of_section(section))) for section in sections}
    gone = sections[3]
    store.drop_section(gone)
    assert store.sections() == [section for section in sections if section != gone]
    assert {section: len(list(store.of_section(section))) for section in sections} == {**sizes, gone: 0}
    assert store.tree(gone).root() == 0


def test_a_bucket_whose_n_has_changed_keeps_its_objects_and_moves_them_as_they_are_written() -> None:
    """One tree for all that has the same replicas: the section says how many."""
    store = _store()
    _hear(store, _name(b"k"), _value(0, 1, b"one"))
    changed = ObjectStore(store._engine, _Q, lambda _name: Keeping(5, former=(3,)))
    assert changed.get(_name(b"k")) == _value(0, 1, b"one")
    _hear(changed, _name(b"k"), _value(1, 1, b"two"))
    assert [section.n for section in changed.sections()] == [5]
    known = changed.get(_name(b"k"))
    assert isinstance(known, Versions)
    assert len(known.siblings) == 2
    assert changed.tree(Section(store.place(_name(b"k")).section.partition, 3)).root() == 0


def test_a_page_of_a_partition_goes_on_behind_its_cursor() -> None:
    store = _store()
    for n in range(60):
        _hear(store, _name(b"%d" % n), _value(0, n + 1, b"v"))
    section = Section(2, 3)
    whole = [name for _, name, _ in store.of_section(section)]
    walked: list[Name] = []
    cursor = b""
    while (step := next(store.of_section(section, cursor), None)) is not None:
        cursor = step[0]
        walked.append(step[1])
    assert walked == whole
    assert len(whole) > 1


def _typed(kind: str, counter: int) -> Typed:
    dot = Dot(make_actor(NodeId(1), 1), counter)
    if kind == "set":
        return apply(nothing("set"), ChangeSet((b"x",)), NO_VECTOR, dot, Timestamp(0))
    return apply(nothing("counter"), Increment(2), NO_VECTOR, dot, Timestamp(0))


def test_states_of_different_types_join_the_same_way_from_both_sides() -> None:
    states: list[State] = [_value(0, 1, b"v"), _typed("set", 1), _typed("counter", 2)]
    for one in states:
        assert decode_state(encode_state(one)) == one
        for other in states:
            assert joined(one, other) == joined(other, one)
