"""Indexes follow their table under crashes, lost messages and changes of leader, while one comes and goes.

And the check that says so can fail: faults planted in the feeder and in the index's partitions are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
from tests.patched import patched
from tests.sim.hunting import Plant, find

import gramme.node.changes.feeder as feeder_module
import gramme.node.table_evaluator as evaluator_module
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.applied_rows import AppliedRows
from gramme.node.changes import item_changes
from gramme.node.changes.feeder import Feeder, _Lane
from gramme.node.changes.item_changes import ITEMS_END
from gramme.node.state_rows import cursor_row
from gramme.sim.checkers.indexes import IndexState, wrong_index
from gramme.sim.configs import CONFIGS, SimConfig
from gramme.sim.run import simulate
from gramme.tables.requests import IndexApplied

pytestmark = pytest.mark.seconds(20)


def _one_row_a_step() -> AbstractContextManager[None]:
    """No fault: many steps where there would be one, so that changes fall between the chunks of a backfill."""
    return patched(feeder_module, "_STEP_ROWS", 1)


@pytest.mark.parametrize(("config", "seed"), [("indexes", 11), ("index-crashes", 12), ("indexes", 13)])
@pytest.mark.parametrize("how", [nullcontext, _one_row_a_step], ids=["as is", "row by row"])
def test_indexes_follow_their_table(config: str, seed: int, how: Callable[[], AbstractContextManager[None]]) -> None:
    with how():
        assert simulate(seed, CONFIGS[config]).violation == ""


# --- planted faults


def take_any_batch() -> AbstractContextManager[None]:
    """An index's partition takes whatever comes: what is late, or sent by a deposed leader, undoes what is newer."""
    original = evaluator_module._apply_index

    def careless(request: Any, read: Any, context: Any) -> Any:
        before = IndexApplied(request.epoch, request.seq - 1, 0)
        cursor = evaluator_module._encode_cursor(before) if request.seq else None
        row = cursor_row(request.feeder)
        return original(request, lambda key: cursor if key == row else read(key), context)

    return patched(evaluator_module, "_apply_index", careless)


def delete_records_too_early() -> AbstractContextManager[None]:
    """Change records are deleted when they were read, not when every lane has them."""
    return patched(_Lane, "confirmed", lambda self, read: read)


@contextmanager
def backfill_old_rows() -> Iterator[None]:
    """A backfill's chunk goes into the lanes behind changes that it does not know."""
    original = Feeder._read_chunk
    held: dict[int, list[Any]] = {}

    def late(self: Feeder, index: Any, backfill: Any, lanes: Any) -> None:
        rows = held.pop(id(backfill), None)
        if rows is None:
            held[id(backfill)] = [
                (key, value) for key, value in self._partition.rows.scan(backfill.next, ITEMS_END, False)
            ]
            self._later(200_000_000, self.wake)
            return
        with patched(AppliedRows, "scan", lambda *_: iter(rows)):
            original(self, index, backfill, lanes)

    with patched(Feeder, "_read_chunk", late):
        yield


def forget_the_greeting() -> AbstractContextManager[None]:
    """A new leader's feeder believes that lanes have everything that was there when it began."""

    def bold(self: Feeder, lane: Any, through: int) -> None:
        lane.greeted = True
        lane.queue.clear()

    return patched(Feeder, "_greeted", bold)


def count_only_new_items() -> AbstractContextManager[None]:
    """A write that replaces an item by a larger one does not count."""
    original = item_changes._growth
    return patched(item_changes, "_growth", lambda reply: () if reply.old_size else original(reply))


CRASHES = CONFIGS["index-crashes"]
BUSY = replace(CONFIGS["indexes"], faults={}, clients=8, think_ns=4 * MILLISECOND, safety_ns=3 * SECOND)

FAULTS: list[tuple[Plant, SimConfig, int]] = [
    (take_any_batch, CRASHES, 12),
    (delete_records_too_early, CRASHES, 6),
    (backfill_old_rows, BUSY, 3),
    (forget_the_greeting, CRASHES, 0),
    (count_only_new_items, CRASHES, 0),
]


@pytest.mark.parametrize(("plant", "config", "first"), FAULTS, ids=[plant.__name__ for plant, *_ in FAULTS])
def test_a_planted_fault_is_found(plant: Plant, config: SimConfig, first: int) -> None:
    find(plant, config, range(40), first)


# --- the checker


def _state(*rows: Any, projected: tuple[str, ...] | None = ()) -> IndexState:
    return IndexState("t", "i", (("g", "S"),), projected, list(rows))


def test_the_checker_tells_what_is_missing_stale_or_twice() -> None:
    item = {"pk": {"S": "a"}, "g": {"S": "x"}, "v": {"N": "1"}}
    entry = {"pk": {"S": "a"}, "g": {"S": "x"}}
    assert wrong_index(("pk",), [item], _state(entry)) is None
    assert wrong_index(("pk",), [item], _state(item, projected=None)) is None
    assert wrong_index(("pk",), [{"pk": {"S": "a"}}, {"pk": {"S": "b"}, "g": {"N": "1"}}], _state()) is None
    assert wrong_index(("pk",), [item], _state()) is not None
    assert wrong_index(("pk",), [], _state(entry)) is not None
    assert wrong_index(("pk",), [item], _state(item)) is not None
    assert wrong_index(("pk",), [item], _state(entry, entry)) is not None
