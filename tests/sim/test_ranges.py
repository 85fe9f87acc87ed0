"""Pages of range reads: what is wrong with one is named, it is judged as reads, and runs come to where it matters."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from gramme.sim.checkers.history import Item, Kind, Operation, Outcome
from gramme.sim.checkers.linearizability import check
from gramme.sim.checkers.pages import PageRead, reads_of, wrong_page, wrong_whole
from gramme.sim.checkers.staleness import stale_read
from gramme.sim.configs import CONFIGS
from gramme.sim.ranges import SORT_KEYS, keys_of, primary_of, some_range, whole_range
from gramme.sim.run import simulate

pytestmark = pytest.mark.seconds(4)

KEYS = ("a", "b", "c", "d")
PAGE = PageRead(
    client=1,
    keys=KEYS,
    limit=2,
    consistent=True,
    invoke_ns=10,
    return_ns=20,
    rows=(("a", Item("1")), ("c", Item("2"))),
    counts=(2, 2),
    last="c",
)


def page(*keys: str, **more: Any) -> PageRead:
    rows = tuple((key, Item("1")) for key in keys)
    return msgspec.structs.replace(PAGE, **({"rows": rows, "counts": (len(rows), len(rows))} | more))


# --- one page by itself


def test_pages_as_they_must_be() -> None:
    assert wrong_page(PAGE) is None
    assert wrong_page(page("b", last=None)) is None
    assert wrong_page(page(last=None)) is None
    assert wrong_page(page(*KEYS, limit=None, last=None)) is None
    assert wrong_page(page("d", "a", keys=KEYS[::-1], last="a")) is None


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (page("c", "a", last="a"), "shows a out of order"),
        (page("a", "a", last="a"), "shows a out of order"),
        (page("a", "e", last="e"), "shows e out of order, or outside of what is left of its range"),
        (page("a", "b", "c", last="c"), "has more rows than the 2 that were asked for"),
        (page("a", "b", last=None), "has no last key although it is full"),
        (page("a", last="a"), "has a last key although it is not full"),
        (page(last="a"), "has a last key although it is not full"),
        (page("a", limit=None, last="a"), "has a last key although it is not full"),
        (page("a", "c", last="b"), "has another last key than that of its last row"),
        (page("a", counts=(1, 2), last=None), "counts (1, 2) for 1 rows"),
    ],
)
def test_what_is_wrong_with_a_page_is_named(bad: PageRead, complaint: str) -> None:
    assert complaint in (wrong_page(bad) or "")


# --- the reads that it is


def put(key: str, at_ns: int, value: str) -> Operation:
    return Operation(
        client=0, key=key, kind=Kind.PUT, invoke_ns=at_ns, return_ns=at_ns + 1, outcome=Outcome.OK, value=value
    )


WRITTEN = [put("a", 1, "1"), put("c", 2, "2"), put("d", 3, "3")]


def test_a_page_reads_what_it_covers_and_nothing_behind_its_last_key() -> None:
    reads = list(reads_of(PAGE))
    assert [(read.key, read.seen) for read in reads] == [("a", Item("1")), ("b", None), ("c", Item("2"))]
    assert {(read.kind, read.outcome, read.invoke_ns, read.return_ns) for read in reads} == {
        (Kind.GET, Outcome.OK, 10, 20)
    }
    assert check([*WRITTEN, *reads]) is None
    assert {read.kind for read in reads_of(page("a", consistent=False, last=None))} == {Kind.PEEK}


def test_a_row_that_a_page_leaves_out_was_absent() -> None:
    whole = page("a", last=None, limit=None)
    violation = check([*WRITTEN, *reads_of(whole)])
    assert violation is not None
    assert (violation.key, violation.operation.seen) == ("c", None)
    deleted = Operation(client=2, key="c", kind=Kind.DELETE, invoke_ns=15, return_ns=30, outcome=Outcome.OK)
    assert check([*WRITTEN[:2], deleted, *reads_of(whole)]) is None


def test_pages_of_a_range_at_rest_are_what_is_stored() -> None:
    stored = {"a": Item("1"), "b": Item("2"), "z": Item("9")}
    assert wrong_whole([("a", Item("1")), ("b", Item("2"))], KEYS, stored) is None
    assert wrong_whole([("b", Item("2")), ("a", Item("1"))], KEYS[::-1], stored) is None
    assert "leave out ['b']" in (wrong_whole([("a", Item("1"))], KEYS, stored) or "")
    assert "show twice ['a']" in (wrong_whole([("a", Item("1"))] * 2, KEYS, stored) or "")
    assert "show otherwise [\"b: Item(value='1'" in (
        wrong_whole([("a", Item("1")), ("b", Item("1"))], KEYS, stored) or ""
    )


def test_an_eventual_read_may_miss_an_item_within_the_lag_or_after_a_deletion() -> None:
    (missed,) = reads_of(page(keys=("a",), consistent=False, last=None, invoke_ns=200, return_ns=210))
    deleted = Operation(client=2, key="a", kind=Kind.DELETE, invoke_ns=205, return_ns=None)
    before = msgspec.structs.replace(deleted, invoke_ns=0, return_ns=40, outcome=Outcome.OK)
    born = put("a", 50, "1")
    assert stale_read([born, missed], 149) is None
    assert stale_read([born, missed], None) is None
    assert "saw nothing, 0.000 s after an item was there" in (stale_read([born, missed], 148) or "")
    assert "saw nothing" in (stale_read([before, born, missed], 148) or "")
    assert stale_read([born, deleted, missed], 148) is None
    assert stale_read([msgspec.structs.replace(before, return_ns=60), born, missed], 148) is None


# --- what is asked for


def test_sort_keys_are_in_order_and_some_begin_with_another() -> None:
    assert sorted(SORT_KEYS) == list(SORT_KEYS)
    assert any(longer != shorter and longer.startswith(shorter) for longer in SORT_KEYS for shorter in SORT_KEYS)


def test_a_range_means_the_keys_that_its_condition_holds_for() -> None:
    """The same as a plain reading of the condition's text."""
    rng = Random(1)
    seen = set()
    for _ in range(300):
        wanted = some_range(rng, "k0")
        seen.add((wanted.condition, wanted.backward, wanted.consistent))
        bounds = {name: value["S"] for name, value in wanted.values.items() if name != ":key"}
        expected = [key for key in keys_of("k0") if _holds(wanted.condition, key.partition("/")[2], **bounds)]
        assert list(wanted.keys) == (expected[::-1] if wanted.backward else expected)
    assert len(seen) == 8 * 4


def _holds(condition: str, key: str, **bounds: str) -> bool:
    first, _, rest = condition.partition(" AND ")
    assert first == "pk = :key"
    if not rest:
        return True
    if rest.startswith("begins_with"):
        return key.startswith(bounds[":low"])
    if "BETWEEN" in rest:
        return bounds[":low"] <= key <= bounds[":high"]
    _, operator, name = rest.split()
    bound = bounds[name]
    return {"<": key < bound, "<=": key <= bound, ">": key > bound, ">=": key >= bound, "=": key == bound}[operator]


def test_the_page_behind_a_key_asks_for_what_is_left() -> None:
    wanted = whole_range("k1", 3, True, False)
    assert wanted.left(None) == wanted.keys == keys_of("k1")[::-1]
    assert wanted.left("k1/aa") == ("k1/a",)
    body = wanted.body("items", "k1/aa")
    assert body["ExclusiveStartKey"] == primary_of("k1/aa") == {"pk": {"S": "k1"}, "sk": {"S": "aa"}}
    assert (body["Limit"], body["ScanIndexForward"], body["ConsistentRead"]) == (3, False, False)
    assert "ExclusiveStartKey" not in wanted.body("items", None)


# --- what runs come to


def test_runs_read_what_is_kept_and_what_is_forgotten() -> None:
    reached: set[str] = set()
    for config in ("ranges", "range-laggards"):
        result = simulate(1, CONFIGS[config])
        assert result.violation == "", result.replay
        assert result.stats["pages"] > 100
        reached |= set(result.marks)
    assert reached >= {
        "a page is cut out of what was read lately",
        "rows that were kept are forgotten because one is written",
        "rows of a range are written between two of its pages",
        "a snapshot is sent whole",
    }


def test_other_configurations_read_no_ranges() -> None:
    result = simulate(1, CONFIGS["quiet"])
    assert "pages" not in result.stats
    assert "a page is cut out of what was read lately" not in result.marks
