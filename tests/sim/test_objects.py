"""Objects in simulation: nothing is found in sound nodes, each planted fault is, and the checker's rules one by one."""

from __future__ import annotations

import pytest
from tests.sim import planted_objects as planted
from tests.sim.hunting import Plant, find
from tests.sim.planted import acknowledge_before_fsync

from gramme.kernel.ids import NodeId
from gramme.kernel.time import Timestamp
from gramme.objects.merge_types import Counter, Set, Typed
from gramme.objects.state import State
from gramme.objects.versions import NO_VECTOR, NOTHING, Dot, Value, Versions, make_actor, merge, write
from gramme.sim.checkers.objects import ObjectHistory, Write, wrong_object
from gramme.sim.configs import CONFIGS
from gramme.sim.run import simulate

pytestmark = pytest.mark.seconds(26)

PLANTED: list[tuple[Plant, str, int, int]] = [
    (planted.drop_a_hint, "objects-blackouts", 15, 3),
    (planted.forget_hints_at_restart, "objects-blackouts", 15, 6),
    (planted.forget_a_dot, "objects", 5, 1),
    (planted.lose_a_sibling, "objects", 5, 1),
    (planted.reuse_a_dot_after_a_restart, "objects", 5, 1),
    (planted.trust_what_a_crash_has_left, "objects-losses", 40, 11),
    (planted.reuse_a_dot_after_losing_a_disk, "objects-losses", 40, 28),
    (planted.count_a_fallback_twice, "objects-burns", 10, 6),
    (planted.transfer_without_confirming, "objects-ring", 40, 13),
    (acknowledge_before_fsync, "objects-blackouts", 5, 1),
    (planted.claim_what_was_handed_off, "objects-power", 40, 28),
    (planted.reap_before_all_have_confirmed, "objects-deletions", 30, 3),
    (planted.skip_merkle_buckets, "objects", 15, 4),
    (planted.leave_the_tree_behind, "objects", 5, 1),
    (planted.replace_by_arrival, "objects-clocks", 20, 3),
    (planted.count_by_the_highest_sum, "objects", 15, 1),
    (planted.let_removals_win, "objects", 5, 1),
]
"""(fault, configuration, within how many seeds it is found, which seed to ask first)."""


@pytest.mark.parametrize(
    ("plant", "config", "seeds", "first"),
    PLANTED,
    ids=[f"{plant.__name__}-{config}-{seeds}" for plant, config, seeds, _ in PLANTED],
)
def test_a_planted_fault_is_found_and_nothing_without_it(plant: Plant, config: str, seeds: int, first: int) -> None:
    find(plant, CONFIGS[config], range(1, seeds + 1), first)


def test_the_list_holds_what_issue_5_names() -> None:
    named = (
        planted.drop_a_hint,
        planted.forget_a_dot,
        acknowledge_before_fsync,
        planted.lose_a_sibling,
        planted.skip_merkle_buckets,
        planted.reap_before_all_have_confirmed,  # which resurrects a deletion
        planted.transfer_without_confirming,
        planted.count_a_fallback_twice,
        planted.reuse_a_dot_after_losing_a_disk,
    )
    listed = [plant for plant, *_ in PLANTED]
    assert [plant for plant in named if plant not in listed] == []


@pytest.mark.parametrize(
    ("config", "seed", "story"),
    [
        ("objects-losses", 1000394, "a node went on with an actor of a life that was lost, under numbers seen passed"),
        ("objects-drains", 30, "a stand-in kept what it had read as a row of its own, and removed nothing"),
        (
            "objects-power",
            64,
            "a node that had lost all that it wrote in its reserved numbers took itself for a clean one",
        ),
        ("objects-blackouts", 8, "a node had used settings that its disk did not have yet, and forgot a bucket type"),
    ],
)
def test_what_was_found_once_stays_fixed(config: str, seed: int, story: str) -> None:
    result = simulate(seed, CONFIGS[config])
    assert result.violation == "", f"{result.replay} found again: {story}"


def test_the_same_seed_gives_the_same_trace() -> None:
    one, other = (simulate(7, CONFIGS["objects"]) for _ in range(2))
    assert one.trace_hash == other.trace_hash
    assert one.trace_hash != simulate(8, CONFIGS["objects"]).trace_hash


def test_without_faults_everything_is_acknowledged_and_counters_are_exact() -> None:
    result = simulate(3, CONFIGS["objects-quiet"])
    assert result.violation == ""
    assert result.stats["unknown"] == 0
    assert result.stats["operations"] > 50


# --- the checker alone

_AT = Timestamp(0)
_A, _B = make_actor(NodeId(1), 1), make_actor(NodeId(2), 1)
_ONE = write(NOTHING, NO_VECTOR, Dot(_A, 1), Value(b"<one>"), _AT)
_BOTH = merge(_ONE, write(NOTHING, NO_VECTOR, Dot(_B, 1), Value(b"<two>"), _AT))


def _judge(bucket: str, state: State | None, *writes: Write) -> str | None:
    return wrong_object(ObjectHistory(list(writes)), {} if state is None else {(bucket, "k"): state})


def _put(id_: str, *seen: str, kind: str = "put", acknowledged: bool = True, once: bool = True) -> Write:
    return Write("carts", "k", id_, kind, seen, once=once, acknowledged=acknowledged)


def test_what_was_acknowledged_is_there_or_was_seen_by_what_is() -> None:
    assert _judge("carts", _BOTH, _put("one"), _put("two")) is None
    assert "two was acknowledged and is lost" in str(_judge("carts", _ONE, _put("one"), _put("two")))
    assert _judge("carts", _ONE, _put("one"), _put("two", acknowledged=False)) is None
    assert _judge("carts", _ONE, _put("two"), _put("three", "two"), _put("one", "three")) is None
    assert "lost" in str(_judge("carts", None, _put("one")))


def test_what_was_replaced_does_not_come_back() -> None:
    assert "one is back" in str(_judge("carts", _BOTH, _put("one"), _put("two", "one")))
    assert _judge("carts", _BOTH, _put("one", once=False), _put("two", "one")) is None
    assert _judge("carts", _BOTH, _put("one"), _put("two", "one", acknowledged=False)) is None


def test_a_value_that_nobody_wrote_is_found() -> None:
    assert "nobody wrote" in str(_judge("carts", _BOTH, _put("one")))
    assert "nobody wrote" in str(_judge("carts", _ONE))


def test_a_deletion_excuses_only_what_it_had_seen() -> None:
    gone = write(_ONE, _ONE.seen, Dot(_B, 1), Value(b"", deleted=True), _AT)
    assert _judge("carts", gone, _put("one"), _put("d", "one", kind="delete")) is None
    assert "lost" in str(_judge("carts", gone, _put("one"), _put("d", kind="delete")))


def test_where_the_last_write_wins_one_is_left() -> None:
    def put(id_: str) -> Write:
        return Write("latest", "k", id_, "put", acknowledged=True)

    assert _judge("latest", _ONE, put("one"), put("two")) is None
    assert "2 are left" in str(_judge("latest", _BOTH, put("one"), put("two")))
    assert "none is left" in str(_judge("latest", Versions(_ONE.seen), put("one")))


def test_counters_lie_between_what_was_acknowledged_and_what_was_tried() -> None:
    state = Typed(_ONE.seen, Counter({Dot(_A, 1): 2}))
    sure, unknown = (Write("counts", "k", i, "increment", acknowledged=i == "i") for i in ("i", "j"))
    assert _judge("counts", state, sure, sure) is None
    assert _judge("counts", state, sure, unknown) is None
    assert "not 1 to 1" in str(_judge("counts", state, sure))
    assert "not 3 to 4" in str(_judge("counts", state, sure, sure, sure, unknown))


def test_sets_keep_what_nobody_removed() -> None:
    state = Typed(_ONE.seen, Set({b"one": (Dot(_A, 1),)}))
    one, two = (Write("sets", "k", i, "add", acknowledged=True) for i in ("one", "two"))
    removal = Write("sets", "k", "r", "remove", ("two",))
    assert _judge("sets", state, one, two, removal) is None
    assert "two was added" in str(_judge("sets", state, one, two))
    assert "nobody added" in str(_judge("sets", state, two, removal))
