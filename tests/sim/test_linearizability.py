"""The checker is itself checked: histories known to be good and bad, and random ones against brute force."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.orders import some_order

from gramme.sim.checkers.history import Item, Kind, Operation, Outcome, effect
from gramme.sim.checkers.linearizability import Undecided, check, check_key

OK, FAILED, REFUSED, UNKNOWN = Outcome.OK, Outcome.FAILED, Outcome.REFUSED, Outcome.UNKNOWN


def op(kind: Kind, start: int, end: int | None, outcome: Outcome = OK, key: str = "k", **more: Any) -> Operation:
    return Operation(client=0, key=key, kind=kind, invoke_ns=start, return_ns=end, outcome=outcome, **more)


def put(start: int, end: int | None, value: str, outcome: Outcome = OK, **more: Any) -> Operation:
    return op(Kind.PUT, start, end, outcome, value=value, **more)


def get(start: int, end: int, value: str | None) -> Operation:
    return op(Kind.GET, start, end, seen=None if value is None else Item(value))


def add(start: int, end: int | None, outcome: Outcome = OK, total: int | None = None) -> Operation:
    seen = None if total is None else Item(None, total)
    return op(Kind.ADD, start, end, outcome, amount=1, seen=seen, reports=total is not None)


def is_good(*operations: Operation) -> bool:
    return check_key(operations) is None


def test_a_read_sees_the_write_that_returned_before_it() -> None:
    assert is_good(put(0, 1, "a"), get(2, 3, "a"))
    assert not is_good(put(0, 1, "a"), get(2, 3, None))
    assert not is_good(put(0, 1, "a"), put(2, 3, "b"), get(4, 5, "a"))


def test_an_overlapping_write_may_be_seen_or_not_but_not_forgotten_again() -> None:
    assert is_good(put(0, 10, "a"), get(1, 2, None), get(3, 4, "a"))
    assert not is_good(put(0, 10, "a"), get(1, 2, "a"), get(3, 4, None))


def test_an_unknown_write_may_happen_at_any_later_time_or_never() -> None:
    lost = put(0, None, "a", UNKNOWN)
    assert is_good(lost, get(5, 6, None))
    assert is_good(lost, put(1, 2, "b"), get(3, 4, "b"), get(5, 6, "a"))
    assert is_good(lost, put(1, 2, "b"), get(3, 4, "b"))


def test_an_unknown_write_happens_at_most_once() -> None:
    lost = put(0, None, "a", UNKNOWN)
    assert not is_good(lost, get(1, 2, "a"), put(3, 4, "b"), get(5, 6, "b"), get(7, 8, "a"))


def test_an_unknown_write_does_not_happen_before_it_was_asked_for() -> None:
    assert not is_good(get(0, 1, "a"), put(2, None, "a", UNKNOWN))


def test_a_refused_write_did_not_happen() -> None:
    assert is_good(put(0, 1, "a", REFUSED), get(2, 3, None))
    assert not is_good(put(0, 1, "a", REFUSED), get(2, 3, "a"))


def test_conditions_read_the_state_that_they_are_judged_on() -> None:
    insert_a, insert_b = (op(Kind.INSERT, 0, 1, value="a"), op(Kind.INSERT, 2, 3, value="b"))
    assert not is_good(insert_a, insert_b)
    assert is_good(insert_a, op(Kind.INSERT, 2, 3, FAILED, value="b"), get(4, 5, "a"))
    assert not is_good(op(Kind.INSERT, 0, 1, FAILED, value="a"))
    assert is_good(insert_a, op(Kind.REPLACE, 2, 3, value="c", expected="a"), get(4, 5, "c"))
    assert not is_good(insert_a, op(Kind.REPLACE, 2, 3, FAILED, value="c", expected="a"))
    # A failed condition is a read: what it saw has to stay.
    lost = put(0, None, "a", UNKNOWN)
    assert not is_good(lost, op(Kind.INSERT, 1, 2, FAILED, value="b"), get(3, 4, None))


def test_returned_values_are_reads() -> None:
    assert is_good(put(0, 1, "a"), put(2, 3, "b", reports=True, seen=Item("a")))
    assert not is_good(put(0, 1, "a"), put(2, 3, "b", reports=True, seen=None))
    assert not is_good(put(0, 1, "a"), op(Kind.DELETE, 2, 3, reports=True, seen=Item("b")))


def test_no_increment_is_lost_or_doubled() -> None:
    assert is_good(add(0, 1), add(2, 3, total=2))
    assert not is_good(add(0, 1), add(2, 3, total=1))
    assert not is_good(add(0, 1), add(2, 3, total=3))
    assert is_good(add(0, None, UNKNOWN), add(2, 3, total=2))
    assert not is_good(add(0, None, UNKNOWN), add(2, 3, total=3))


def test_keys_are_separate_and_the_violation_names_its_key() -> None:
    good = [put(0, 1, "a"), get(2, 3, "a")]
    bad = [op(Kind.PUT, 0, 1, key="x", value="a"), op(Kind.GET, 2, 3, key="x", seen=None)]
    violation = check([*good, *bad])
    assert violation is not None
    assert violation.key == "x"
    assert "key x is not linearizable at [0.000000, 0.000000] client 0 get() ok saw absent" in str(violation)


def test_many_unknown_increments_stay_cheap() -> None:
    history = [add(i, None, UNKNOWN) for i in range(60)]
    history += [add(100 + 2 * i, 101 + 2 * i, total=i + 1 + min(i, 60)) for i in range(60)]
    assert check_key(history, limit=200_000) is None


def test_many_unknown_writes_of_values_that_nobody_saw_stay_cheap() -> None:
    """Simulation (tables, seed 6): 119 writes without an answer, for a table that was hardly ever there."""
    kinds = (Kind.PUT, Kind.INSERT, Kind.ADD, Kind.DELETE)
    history = [op(kinds[i % 4], i, None, UNKNOWN, value=f"v{i}", amount=1) for i in range(120)]
    history += [op(Kind.INSERT, 200 + 2 * i, 201 + 2 * i, FAILED, value="x") for i in range(10)]
    history += [get(300, 301, None), put(302, 303, "a"), get(304, 305, "v4")]
    assert check_key(history, limit=20_000) is None


def test_a_long_history_is_read_in_linear_work() -> None:
    rng, numbers = Random(1), count()
    history, current = [], None
    for i in range(3_000):
        start = 10 * i
        if rng.random() < 0.5:
            current = f"v{next(numbers)}"
            history.append(put(start, start + rng.randrange(5, 9), current))
        else:
            history.append(get(start, start + rng.randrange(5, 9), current))
    assert check_key(history, limit=20_000) is None


def test_a_search_past_its_limit_says_so_instead_of_an_answer() -> None:
    overlapping = [put(i, 1_000 + i, f"v{i}") for i in range(14)]
    named = [op(Kind.REPLACE, 3_000, 3_001, FAILED, value="x", expected=f"v{i}") for i in range(14)]
    with pytest.raises(Undecided):
        check_key([*overlapping, get(2_000, 2_001, "nothing"), *named], limit=50)


def brute_force(operations: list[Operation]) -> bool:
    """Tries every order of every subset that holds all known operations."""
    known = [o for o in operations if o.outcome in (OK, FAILED)]
    unknown = [o for o in operations if o.outcome is UNKNOWN and o.kind is not Kind.GET]
    return some_order(known, unknown, _fits)


def _fits(order: tuple[Operation, ...]) -> bool:
    for i, later in enumerate(order):
        for earlier in order[:i]:
            if later.outcome is not UNKNOWN and later.return_ns is not None and later.return_ns < earlier.invoke_ns:
                return False
    state: Item | None = None
    for operation in order:
        state, consistent = effect(operation, state)
        if not consistent:
            return False
    return True


ITEMS = st.sampled_from([None, Item("a"), Item("b"), Item(None, 1), Item("a", 1), Item(None, 2)])


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    kind = draw(st.sampled_from([k for k in Kind if k is not Kind.PEEK]))
    start = draw(st.integers(0, 12))
    outcome = draw(st.sampled_from([OK, OK, OK, UNKNOWN, REFUSED]))
    if kind in (Kind.INSERT, Kind.REPLACE) and outcome is OK and draw(st.booleans()):
        outcome = FAILED
    return op(
        kind,
        start,
        None if outcome is UNKNOWN else start + draw(st.integers(0, 6)),
        outcome,
        value=draw(st.sampled_from("ab")),
        expected=draw(st.sampled_from("ab")),
        amount=1,
        seen=draw(ITEMS),
        reports=kind is not Kind.GET and draw(st.integers(0, 3)) == 0,
    )


@given(st.lists(operations(), max_size=5))
@settings(max_examples=1_000, deadline=None)
def test_agrees_with_brute_force(history: list[Operation]) -> None:
    assert (check_key(history) is None) == brute_force(history)


@given(st.integers(0, 1 << 32), st.booleans())
@settings(max_examples=200, deadline=None)
def test_agrees_with_brute_force_on_histories_of_a_real_register(seed: int, corrupt: bool) -> None:
    """Random histories are mostly bad; these come from a register and are good unless one answer was altered."""
    rng = Random(seed)
    history: list[Operation] = []
    state: Item | None = None
    clock = 0
    for number in range(6):
        clock += rng.randrange(1, 4)
        kind = rng.choice([k for k in Kind if k is not Kind.PEEK])
        asked = op(
            kind,
            max(0, clock - rng.randrange(5)),
            clock + rng.randrange(5),
            value=f"v{number}",
            expected="v0",
            amount=1,
        )
        before, (state, fits) = state, effect(asked, state)
        answer = {Kind.GET: before, Kind.PUT: before, Kind.DELETE: before, Kind.ADD: state}.get(kind)
        if corrupt and rng.random() < 0.3:
            answer = Item("v1")
        outcome = OK if fits or kind not in (Kind.INSERT, Kind.REPLACE) else FAILED
        reports = kind in (Kind.PUT, Kind.DELETE, Kind.ADD) and rng.random() < 0.5
        changes: dict[str, Any] = {"outcome": outcome, "seen": answer, "reports": reports}
        if rng.random() < 0.2:
            changes = {"outcome": UNKNOWN, "return_ns": None}
        fields = {name: getattr(asked, name) for name in asked.__struct_fields__}
        history.append(Operation(**{**fields, **changes}))
    verdict = check_key(history) is None
    assert verdict == brute_force(history)
    assert verdict or corrupt
