"""A stream tells its table's story under every kind of trouble; and the checker tells where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.patched import patched
from tests.sim.hunting import Plant, find

from gramme.kernel.time import SECOND
from gramme.node.changes import change_log, item_changes
from gramme.node.evaluator import Change
from gramme.node.partition import PartitionReplica
from gramme.node.table_evaluator import TableEvaluator
from gramme.sim.checkers.streams import Record, ShardStory, broken_story, wrong_replay
from gramme.sim.configs import CONFIGS
from gramme.tables.streams import Changes

pytestmark = pytest.mark.seconds(15)

# --- planted faults


def lose_the_first_record_of_a_leader() -> AbstractContextManager[None]:
    """A new leader does not know of the stream when it evaluates its first write."""
    original = TableEvaluator.write

    def forgetful(self: TableEvaluator, request: Any, read: Any, context: Any) -> Any:
        begins = self._schema is None
        plan = original(self, request, read, context)
        if begins and type(plan) is Change:
            plan.changes = ()
        return plan

    return patched(TableEvaluator, "write", forgetful)


def record_twice_what_is_sent_twice() -> AbstractContextManager[None]:
    """A write of which an earlier attempt may be under way leaves two records."""
    original = PartitionReplica._write
    propose = PartitionReplica._propose
    repeats: list[bool] = []

    def write(self: PartitionReplica, request: Any, command_id: Any, on_reply: Any, repeated: bool) -> None:
        repeats.append(repeated)
        original(self, request, command_id, on_reply, repeated)
        repeats.pop()

    def twice(self: PartitionReplica, plan: Change, *rest: Any) -> None:
        if repeats[-1]:
            plan.changes *= 2
        propose(self, plan, *rest)

    stack = patched(PartitionReplica, "_propose", twice)

    @contextmanager
    def both() -> Iterator[None]:
        with stack, patched(PartitionReplica, "_write", write):
            yield

    return both()


def trim_what_an_index_still_needs() -> AbstractContextManager[None]:
    """What is old goes, fed or not."""
    original = change_log.trimmed

    def careless(log: Any, feeds: bool, applied: Any, confirmed: int, expired: int, forgotten: Any) -> Any:
        return original(log, feeds, applied, max(confirmed, expired), expired, forgotten)

    return patched(change_log, "trimmed", careless)


def trim_what_is_not_old() -> AbstractContextManager[None]:
    """What an index has confirmed goes, though a stream still tells it."""
    original = change_log.trimmed

    def careless(log: Any, feeds: bool, applied: Any, confirmed: int, expired: int, forgotten: Any) -> Any:
        return original(log, feeds, applied, confirmed, max(expired, confirmed), forgotten)

    return patched(change_log, "trimmed", careless)


def begin_a_page_with_the_last_record_again() -> AbstractContextManager[None]:
    """A page goes on at the place of its last record instead of behind it."""
    return patched(change_log, "_behind", lambda position: position)


def leave_out_what_replaces_its_like() -> AbstractContextManager[None]:
    """Two images of the same length pass for the same."""

    def same(old: Any, new: Any) -> bool:
        return old is not None and new is not None and len(old[1]) == len(new[1])

    return patched(item_changes, "_same", same)


def keep_the_last_record_of_a_closed_shard_back() -> AbstractContextManager[None]:
    """A closed shard ends one record too early."""
    original = change_log.read_changes

    def short(*args: Any) -> Changes:
        answer = original(*args)
        if not answer.records or answer.last is None:
            return answer
        return Changes(
            answer.records[:-1], answer.records[-1].at, answer.oldest, answer.end, answer.first, answer.last
        )  # fmt: skip

    return patched(change_log, "read_changes", short)


FAULTS: list[tuple[Plant, str, int]] = [
    (lose_the_first_record_of_a_leader, "stream-crashes", 1),
    (record_twice_what_is_sent_twice, "streams", 1),
    (trim_what_an_index_still_needs, "stream-expiry", 1),
    (trim_what_is_not_old, "streams", 1),
    (begin_a_page_with_the_last_record_again, "streams", 1),
    (leave_out_what_replaces_its_like, "stream-crashes", 1),
    (keep_the_last_record_of_a_closed_shard_back, "stream-crashes", 1),
]


@pytest.mark.parametrize(("plant", "config", "first"), FAULTS, ids=[plant.__name__ for plant, *_ in FAULTS])
def test_a_planted_fault_is_found(plant: Plant, config: str, first: int) -> None:
    length_ns = (8 if config == "stream-expiry" else 4) * SECOND
    find(plant, replace(CONFIGS[config], safety_ns=length_ns), range(1, 41), first)


# --- the checker


def _shard(*changes: tuple[bytes | None, bytes | None], trimmed_before: tuple[int, ...] = ()) -> ShardStory:
    records = [Record((slot, 0), b"k", old, new) for slot, (old, new) in enumerate(changes)]
    return ShardStory("s", records, list(trimmed_before))


def test_a_good_story_is_believed() -> None:
    shard = _shard((None, b"1"), (b"1", b"2"), (b"2", None), (None, b"3"))
    assert broken_story(shard, from_birth=True) is None
    assert wrong_replay([shard], {b"k": b"3"}, from_birth=True) is None
    late = _shard((b"7", b"8"))
    assert broken_story(late, from_birth=False) is None
    assert wrong_replay([late], {b"k": b"8", b"older": b"1"}, from_birth=False) is None


@pytest.mark.parametrize(
    "shard",
    [
        _shard((None, b"1"), (b"2", b"3")),  # one is missing
        _shard((None, b"1"), (None, b"1")),  # one is there twice
        _shard((b"0", b"1")),  # the first is missing
        _shard((None, b"1"), (b"1", b"1")),  # nothing changed
        _shard((None, b"1"), (b"1", b"2"), (b"1", b"2")),
        ShardStory("s", [Record((2, 0), b"k", None, b"1"), Record((1, 0), b"j", None, b"1")]),
        ShardStory("s", [Record((2, 0), b"k", None, b"1"), Record((2, 0), b"j", None, b"1")]),
    ],
)
def test_a_broken_story_is_told(shard: ShardStory) -> None:
    assert broken_story(shard, from_birth=True) is not None


def test_what_was_trimmed_may_be_missing_and_nothing_else() -> None:
    gap = _shard((None, b"1"), (b"5", b"6"), (b"6", b"7"), trimmed_before=(1,))
    assert broken_story(gap, from_birth=True) is None
    assert broken_story(_shard((None, b"1"), (b"5", b"6"), (b"7", b"8"), trimmed_before=(1,)), True) is not None
    assert wrong_replay([_shard((None, b"1"), trimmed_before=(1,))], {b"k": b"9"}, from_birth=False) is None


def test_a_replay_that_differs_is_told() -> None:
    shard = _shard((None, b"1"))
    assert wrong_replay([shard], {}, from_birth=True) is not None
    assert wrong_replay([shard], {b"k": b"2"}, from_birth=True) is not None
    assert wrong_replay([shard], {b"k": b"1", b"j": b"1"}, from_birth=True) is not None
    assert wrong_replay([_shard((None, b"1"), (b"1", None))], {}, from_birth=True) is None
