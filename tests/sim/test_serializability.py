"""The checker of transactions is itself checked: each anomaly by hand, random histories against brute force."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.orders import some_order

from gramme.sim.checkers.history import Outcome
from gramme.sim.checkers.list_append import Recency, Transaction
from gramme.sim.checkers.serializability import check

OK, FAILED, REFUSED, UNKNOWN = Outcome.OK, Outcome.FAILED, Outcome.REFUSED, Outcome.UNKNOWN
SOMETIME = (0, 100)


def tx(
    span: tuple[int, int | None],
    outcome: Outcome = OK,
    *,
    recency: Recency = Recency.ALL,
    append: dict[str, str] | None = None,
    **reads: str,
) -> Transaction:
    """`x="ab"`: x was read as the list of a and b; `append={"x": "c"}`: c is appended to x."""
    return Transaction(
        client=0,
        invoke_ns=span[0],
        return_ns=span[1],
        outcome=outcome,
        reads={key: tuple(seen) for key, seen in reads.items()},
        appends={key: tuple(values) for key, values in (append or {}).items()},
        recency=recency,
    )


def anomaly(*history: Transaction) -> str | None:
    found = check(history)
    return None if found is None else found.name


def test_a_serial_history_is_serial() -> None:
    first = tx((0, 1), append={"x": "a", "y": "b"})
    assert anomaly(tx((0, 0), x="", y=""), first, tx((2, 3), x="a", y="b")) is None
    assert anomaly(first, tx((2, 3), append={"x": "c"}, x="a"), tx((4, 5), x="ac", y="b")) is None


def test_overlapping_transactions_may_have_either_order_but_one_for_all() -> None:
    one, other = tx(SOMETIME, append={"x": "a", "y": "a"}), tx(SOMETIME, append={"x": "b", "y": "b"})
    assert anomaly(one, other, tx(SOMETIME, x="ab", y="ab"), tx(SOMETIME, x="a", y="a")) is None
    assert anomaly(one, other, tx(SOMETIME, x="ba", y="ba"), tx(SOMETIME, x="", y="")) is None
    assert anomaly(one, other, tx(SOMETIME, x="ab"), tx(SOMETIME, y="ba")) == "G0"


def test_g1a_a_canceled_write_is_never_seen() -> None:
    assert anomaly(tx((0, 1), REFUSED, append={"x": "a"}), tx((2, 3), x="a")) == "G1a"
    assert anomaly(tx((0, 1), FAILED, append={"x": "a"}), tx((2, 3), x="a", recency=Recency.NOTHING)) == "G1a"
    assert anomaly(tx((0, 1), REFUSED, append={"x": "a"}), tx((2, 3), x="")) is None


def test_g1b_nobody_sees_half_of_what_one_action_appended() -> None:
    whole = tx(SOMETIME, append={"x": "ab"})
    assert anomaly(whole, tx(SOMETIME, x="ab")) is None
    assert anomaly(whole, tx(SOMETIME, x="a")) == "G1b"
    assert anomaly(whole, tx(SOMETIME, x="a"), tx(SOMETIME, x="ab")) == "G1b"
    assert anomaly(whole, tx(SOMETIME, append={"x": "c"}), tx(SOMETIME, x="acb")) == "G1b"


def test_g1c_two_writers_do_not_read_each_other() -> None:
    one = tx(SOMETIME, append={"x": "a"}, y="b")
    other = tx(SOMETIME, append={"y": "b"}, x="a")
    assert anomaly(one, other) == "G1c"


def test_g_single_a_read_sees_a_transaction_whole_or_not_at_all() -> None:
    assert anomaly(tx(SOMETIME, append={"x": "a", "y": "b"}), tx(SOMETIME, x="a", y="")) == "G-single"


def test_g2_write_skew_is_found() -> None:
    one, other = tx(SOMETIME, append={"y": "a"}, x="", y=""), tx(SOMETIME, append={"x": "b"}, x="", y="")
    assert anomaly(one, other, tx(SOMETIME, x="b", y="a")) == "G2"
    assert anomaly(one, tx(SOMETIME, append={"x": "b"}, x="", y="a"), tx(SOMETIME, x="b", y="a")) is None


def test_realtime_nothing_that_was_acknowledged_is_forgotten() -> None:
    write = tx((0, 1), append={"x": "a"})
    assert anomaly(write, tx((2, 3), x="")) == "G-single-realtime"
    assert anomaly(write, tx((1, 3), x="")) is None
    assert anomaly(write, tx((2, 3), x="", recency=Recency.NOTHING)) is None


def test_realtime_a_plain_read_may_come_before_a_transaction_of_which_a_part_was_seen_elsewhere() -> None:
    slow, other = tx((0, 90), append={"x": "a", "y": "a"}), tx((10, 20), append={"x": "b"})
    seen = tx(SOMETIME, x="ab", y="a")
    assert anomaly(slow, other, seen, tx((30, 40), y="", recency=Recency.OWN_KEY)) is None
    assert anomaly(slow, other, seen, tx((30, 40), y="")) == "G-single-realtime"
    assert anomaly(slow, other, seen, tx((91, 99), y="", recency=Recency.OWN_KEY)) == "G-single-realtime"
    assert anomaly(slow, tx((10, 20), y="a"), tx((30, 40), y="", recency=Recency.OWN_KEY)) == "G-single-realtime"
    assert anomaly(slow, tx((10, 20), x="", y="a", recency=Recency.OWN_KEY)) == "G-single"


def test_realtime_orders_writers_of_different_keys_too() -> None:
    """Long fork: two readers disagree about which of two independent writes came first; and one only about time."""
    writes = (tx(SOMETIME, append={"x": "a"}), tx(SOMETIME, append={"y": "b"}))
    assert anomaly(*writes, tx(SOMETIME, x="a", y=""), tx(SOMETIME, x="", y="b")) == "G2"
    first, second = tx((0, 1), append={"x": "a"}), tx((2, 3), append={"y": "b"})
    assert anomaly(first, second, tx(SOMETIME, x="", y="b")) == "G-single-realtime"
    assert anomaly(first, second, tx(SOMETIME, x="a", y="")) is None
    late, early = tx((2, 3), append={"x": "a"}), tx((0, 1), append={"x": "b"})
    assert anomaly(late, early, tx((9, 10), x="ab")) == "G0-realtime"


def test_a_torn_commit_is_found_by_whoever_reads_later() -> None:
    torn = tx((0, None), UNKNOWN, append={"x": "a", "y": "b"})
    assert anomaly(torn, tx((5, 6), x="a"), tx((7, 8), y="")) == "G-single-realtime"
    assert anomaly(torn, tx((5, 6), x="a"), tx((6, 8), y="")) is None
    assert anomaly(torn, tx((5, 6), x=""), tx((7, 8), y="")) is None


def test_an_unknown_outcome_that_was_seen_had_its_conditions_fulfilled() -> None:
    other = tx((0, 1), append={"x": "a"})
    lost = tx((2, None), UNKNOWN, append={"y": "b"}, x="")
    assert anomaly(other, lost, tx((5, 6), y="")) is None
    assert anomaly(other, lost, tx((5, 6), y="b")) == "G-single-realtime"


def test_an_unknown_outcome_does_not_precede_its_invocation() -> None:
    assert anomaly(tx((0, 1), x="a"), tx((2, None), UNKNOWN, append={"x": "a"})) == "G1c-realtime"


def test_values_that_are_doubled_invented_or_out_of_order_are_named() -> None:
    one, other = tx(SOMETIME, append={"x": "a"}), tx(SOMETIME, append={"x": "b"})
    assert anomaly(one, tx(SOMETIME, x="aa")) == "duplicate"
    assert anomaly(one, other, tx(SOMETIME, x="aba")) == "duplicate"
    assert anomaly(tx(SOMETIME, append={"x": "a"}, x="a"), tx(SOMETIME, x="a")) == "duplicate"
    assert anomaly(one, tx(SOMETIME, x="z")) == "read of nothing"
    assert anomaly(one, other, tx(SOMETIME, x="ab"), tx(SOMETIME, x="b")) == "incompatible orders"


def test_a_value_that_is_not_unique_is_a_fault_of_the_test() -> None:
    with pytest.raises(ValueError, match="appended to x twice"):
        check([tx(SOMETIME, append={"x": "a"}), tx(SOMETIME, append={"x": "a"})])


def test_the_story_names_each_step_and_why() -> None:
    found = check([tx((0, 1), append={"x": "a", "y": "b"}), tx((2, 3), x="a"), tx((4, 5), y="")])
    assert found is not None
    assert str(found).splitlines() == [
        "G-single-realtime: these transactions must each come before the next, and the last before the first:",
        "  T1 [0.000000, 0.000000] client 0 ok: read y []",
        "  T2 [0.000000, 0.000000] client 0 ok: appended a to x, appended b to y",
        "  T1 before T2: it read y as [], without what the other appended (rw)",
        "  T2 before T1: it had returned at 0.000000, before the other was invoked",
    ]


def test_a_history_is_plain_json() -> None:
    history = [tx((0, 1), append={"x": "a"}, y="b"), tx((0, None), UNKNOWN, append={"y": "b"})]
    assert msgspec.json.decode(msgspec.json.encode(history), type=list[Transaction]) == history


def brute_force(history: list[Transaction]) -> bool:
    """Tries every order of every subset that holds all that is known to have happened."""
    known = [t for t in history if t.outcome is OK]
    unknown = [t for t in history if t.outcome is UNKNOWN and t.appends]
    return some_order(known, unknown, _fits)


def _fits(order: tuple[Transaction, ...]) -> bool:
    for i, later in enumerate(order):
        for earlier in order[:i]:
            if later.return_ns is not None and later.return_ns < earlier.invoke_ns and _feels(earlier, later):
                return False
    state: dict[str, tuple[str, ...]] = {}
    for transaction in order:
        if any(state.get(key, ()) != seen for key, seen in transaction.reads.items()):
            return False
        for key, values in transaction.appends.items():
            state[key] = state.get(key, ()) + values
    return True


def _feels(one: Transaction, other: Transaction) -> bool:
    """Whether time can order `one` after `other`."""
    keys = {*other.reads, *other.appends}
    return one.recency is Recency.ALL or any(key in keys for key in one.reads)


@given(st.integers(0, 1 << 62), st.integers(1, 6), st.sampled_from((0.0, 0.2, 0.5)))
@settings(max_examples=2_000, deadline=None)
def test_agrees_with_brute_force(seed: int, count: int, damage: float) -> None:
    """Histories of a real store; then answers, times and effects are altered."""
    rng = Random(seed)
    history: list[Transaction] = []
    state: dict[str, tuple[str, ...]] = {}
    for number in range(count):
        at, changes = 8 * number, dict[str, Any]()
        keys = rng.sample("xyz", rng.randrange(1, 4))
        reads = {key: state.get(key, ()) for key in keys if rng.random() < 0.6}
        appends = {}
        if rng.random() < 0.6:
            appends = {key: tuple(f"{number}{part}" for part in range(rng.randrange(1, 3))) for key in keys}
        if rng.random() < 0.85:
            for key, values in appends.items():
                if rng.random() >= damage:
                    state[key] = state.get(key, ()) + values
        elif rng.random() < 0.5:
            changes = {"outcome": rng.choice((FAILED, REFUSED))}
        else:
            changes = {"outcome": UNKNOWN, "return_ns": None}
        if not changes and rng.random() < 0.2:
            changes = {"outcome": UNKNOWN, "return_ns": None}
        if rng.random() < damage:
            reads = {key: seen[: rng.randrange(len(seen) + 1)] for key, seen in reads.items()}
        asked = Transaction(
            client=number,
            invoke_ns=max(0, at - rng.randrange(12)) if rng.random() >= damage else at + rng.randrange(12),
            return_ns=at + 12 + rng.randrange(4),
            outcome=OK,
            reads=reads,
            appends=appends,
        )
        history.append(msgspec.structs.replace(asked, **changes))
        if len(reads) == 1 and not appends and rng.random() < 0.5:
            history[-1] = msgspec.structs.replace(history[-1], recency=Recency.OWN_KEY)
    for number, transaction in enumerate(history):
        if rng.random() < damage / 2:
            future = {key: state.get(key, ()) for key in transaction.reads if key not in transaction.appends}
            history[number] = msgspec.structs.replace(transaction, reads=transaction.reads | future)
    found = check(history)
    assert (found is None) == brute_force(history), found
