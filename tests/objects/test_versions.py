"""Versions against causal histories, the laws of merging, and the paper's own example."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.kernel.ids import NodeId
from gramme.kernel.time import Timestamp
from gramme.objects.versions import (
    MAX_ACTORS,
    NO_VECTOR,
    NOTHING,
    Actor,
    Dot,
    Seen,
    Value,
    Vector,
    Versions,
    bounded,
    covers,
    decode_versions,
    descends,
    encode_versions,
    last_write,
    make_actor,
    merge,
    merge_all,
    truncated,
    without_context,
    write,
)

_X, _Y, _Z = (make_actor(NodeId(node), 1) for node in range(3))
_AT = Timestamp(0)


def _value(text: str, modified: int = 0) -> Value:
    return Value(text.encode(), modified=Timestamp(modified))


def _texts(versions: Versions) -> list[str]:
    return sorted(sibling.value.body.decode() for sibling in versions.siblings)


def _vector(**counters: int) -> Vector:
    actors = {"x": _X, "y": _Y, "z": _Z}
    return tuple(Seen(actors[name], counter, _AT) for name, counter in sorted(counters.items()))


def test_the_papers_figure_3() -> None:
    """D1 and D2 at Sx, D3 at Sy and D4 at Sz both from D2, D5 reconciles them at Sx (SOSP 2007, Figure 3)."""
    d1 = write(NOTHING, NO_VECTOR, Dot(_X, 1), _value("D1"), _AT)
    assert d1.seen == _vector(x=1)
    d2 = write(d1, d1.seen, Dot(_X, 2), _value("D2"), _AT)
    assert (d2.seen, _texts(d2)) == (_vector(x=2), ["D2"])
    d3 = write(d2, d2.seen, Dot(_Y, 1), _value("D3"), _AT)
    d4 = write(d2, d2.seen, Dot(_Z, 1), _value("D4"), _AT)
    assert (d3.seen, d4.seen) == (_vector(x=2, y=1), _vector(x=2, z=1))
    assert not descends(d3.seen, d4.seen)
    assert not descends(d4.seen, d3.seen)
    both = merge(d3, d4)
    assert (both.seen, _texts(both)) == (_vector(x=2, y=1, z=1), ["D3", "D4"])
    assert _texts(merge(merge(d1, d2), d3)) == ["D3"]  # ancestors are dropped
    d5 = write(both, both.seen, Dot(_X, 3), _value("D5"), _AT)
    assert (d5.seen, _texts(d5)) == (_vector(x=3, y=1, z=1), ["D5"])
    assert _texts(merge_all((d1, d2, d3, d4, d5))) == ["D5"]


def test_many_writes_through_one_stale_context_leave_one_sibling_each() -> None:
    """With vectors alone, two clients taking turns would double the siblings at every write."""
    known = write(NOTHING, NO_VECTOR, Dot(_X, 1), _value("first"), _AT)
    stale = known.seen
    for counter in range(2, 12):
        known = write(known, stale, Dot(_X, counter), _value(f"v{counter:02}"), _AT)
    assert _texts(known) == [f"v{counter:02}" for counter in range(2, 12)]
    assert len(known.seen) == 1


def test_two_clients_that_take_turns_keep_two_siblings() -> None:
    known, mine, yours = NOTHING, NO_VECTOR, NO_VECTOR
    for turn in range(1, 20):
        known = write(known, mine, Dot(_X, 2 * turn - 1), _value(f"mine{turn}"), _AT)
        mine = (Seen(_X, 2 * turn - 1, _AT),)
        known = write(known, yours, Dot(_X, 2 * turn), _value(f"yours{turn}"), _AT)
        yours = known.seen
        assert len(known.siblings) <= 2


def test_a_counter_that_other_keys_share_may_jump() -> None:
    """Counters are the virtual node's, not the key's: what lies between two dots concerns other keys."""
    first = write(NOTHING, NO_VECTOR, Dot(_X, 7), _value("a"), _AT)
    second = write(first, first.seen, Dot(_X, 90), _value("b"), _AT)
    assert covers(second.seen, Dot(_X, 7))
    assert _texts(merge(second, first)) == ["b"]


def test_the_last_write_wins_though_its_clock_is_behind_and_nothing_is_lost_by_going_in_a_circle() -> None:
    """x is later than y, y than w by its clock, and w has replaced x: all three were once gone. Found by
    `gramme sim --seed 35 --config objects-blackouts`."""
    x = write(NOTHING, NO_VECTOR, Dot(_X, 1), _value("x", 9), _AT)
    y = write(NOTHING, NO_VECTOR, Dot(_Y, 1), _value("y", 5), _AT)
    w = without_context(x, Dot(_Z, 1), _value("w", 2), _AT)
    assert w.siblings[0].value.modified == 10
    one, other = last_write(merge(x, y)), last_write(merge(w, y))
    assert _texts(last_write(merge(one, other))) == ["w"] == _texts(last_write(merge(merge(x, y), w)))


def test_the_last_write_wins_by_time_then_by_dot() -> None:
    one = write(NOTHING, NO_VECTOR, Dot(_X, 1), _value("later", 9), _AT)
    other = write(NOTHING, NO_VECTOR, Dot(_Y, 1), _value("earlier", 5), _AT)
    assert _texts(last_write(merge(one, other))) == ["later"]
    tie = write(NOTHING, NO_VECTOR, Dot(_Z, 1), _value("tie", 9), _AT)
    assert last_write(merge(one, tie)) == last_write(merge(tie, one))
    both = merge(one, other)
    assert _texts(write(both, both.seen, Dot(_Z, 4), _value("all"), _AT)) == ["all"]


def test_only_deletions_left_means_deleted() -> None:
    gone = Value(b"", deleted=True)
    known = write(NOTHING, NO_VECTOR, Dot(_X, 1), _value("a"), _AT)
    assert not known.deleted
    removed = write(known, known.seen, Dot(_X, 2), gone, _AT)
    assert removed.deleted
    assert not write(removed, NO_VECTOR, Dot(_Y, 1), _value("b"), _AT).deleted
    assert NOTHING.deleted


def test_a_vector_is_bounded_and_keeps_what_its_siblings_need() -> None:
    seen = tuple(Seen(Actor(n), 1, Timestamp(n)) for n in range(1, 21))
    kept = bounded(seen, ())
    assert [entry.actor for entry in kept.seen] == list(range(11, 21))
    old = write(NOTHING, NO_VECTOR, Dot(Actor(1), 1), _value("old"), Timestamp(1)).siblings
    assert [entry.actor for entry in bounded(seen, old).seen] == [1, *range(11, 21)]


def test_truncation_may_bring_back_a_sibling_but_loses_none() -> None:
    """Row A31: a replica that missed everything since meets a vector that has forgotten it."""
    stale = known = write(NOTHING, NO_VECTOR, Dot(Actor(1), 1), _value("replaced"), Timestamp(1))
    for n in range(2, MAX_ACTORS + 2):
        before, known = known, write(known, known.seen, Dot(Actor(n), 1), _value(f"v{n}"), Timestamp(n))
        assert truncated(known.seen, before.seen) == (n > MAX_ACTORS)
    assert len(known.seen) == MAX_ACTORS
    assert _texts(merge(known, stale)) == ["replaced", f"v{MAX_ACTORS + 1}"]
    assert merge(known, stale) == merge(stale, known)


# --- histories

_REPLICAS = 3
_STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2), st.integers(0, 4), st.booleans()),
    st.tuples(st.just("sync"), st.integers(0, 2), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("read"), st.integers(0, 2), st.integers(0, 4), st.booleans()),
)


class _History:
    """Replicas under test beside an oracle that keeps, for every value, the set of all values it replaced."""

    def __init__(self) -> None:
        self.replicas = [NOTHING] * _REPLICAS
        self.true: list[frozenset[int]] = [frozenset()] * _REPLICAS  # every write a replica has heard of
        self.replaced: dict[int, frozenset[int]] = {}
        self.contexts: list[tuple[Vector, frozenset[int]]] = [(NO_VECTOR, frozenset())] * 5
        self.writes = 0

    def step(self, kind: str, replica: int, other: int, flag: bool) -> None:
        if kind == "write":
            self._write(replica, other if flag else None)
        elif kind == "sync":
            merged = merge(self.replicas[replica], self.replicas[other])
            self.replicas[replica] = merged
            self.true[replica] |= self.true[other]
        else:
            self.contexts[other] = (self.replicas[replica].seen, self.true[replica])

    def _write(self, replica: int, client: int | None) -> None:
        self.writes += 1
        number = self.writes
        context, heard = (NO_VECTOR, frozenset[int]()) if client is None else self.contexts[client]
        dot = Dot(make_actor(NodeId(replica), 1), number)
        self.replicas[replica] = write(self.replicas[replica], context, dot, _value(str(number)), Timestamp(number))
        self.replaced[number] = heard
        self.true[replica] |= heard | {number}

    def expected(self, replica: int) -> list[str]:
        heard = self.true[replica]
        gone = frozenset[int]().union(*(self.replaced[number] for number in heard))
        return sorted(str(number) for number in heard - gone)


@settings(max_examples=300)
@given(st.lists(_STEP, max_size=40))
def test_siblings_are_exactly_what_no_heard_write_has_replaced(steps: list[tuple[str, int, int, bool]]) -> None:
    history = _History()
    for step in steps:
        history.step(*step)
    for replica in range(_REPLICAS):
        assert _texts(history.replicas[replica]) == history.expected(replica)


@settings(max_examples=200)
@given(st.lists(_STEP, max_size=40))
def test_merging_is_commutative_associative_and_idempotent(steps: list[tuple[str, int, int, bool]]) -> None:
    history = _History()
    for step in steps:
        history.step(*step)
    a, b, c = history.replicas
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a
    assert merge(merge(a, b), b) == merge(a, b)
    assert encode_versions(merge_all((a, b, c))) == encode_versions(merge_all((c, a, b)))
    assert decode_versions(encode_versions(a)) == a
