"""Getting batches done: what fails is tried again, halved, and at last put aside, in order."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.client.errors import Unreachable
from gramme.client.streams import delivery
from gramme.client.streams.delivery import DeadLetters, Delivery, Interrupted
from gramme.client.streams.reader import Record
from gramme.client.streams.stream import Shard

SHARD = Shard("arn:aws:dynamodb:us-east-1:1:table/t/stream/2026", "shardId-1", None, closed=False)


class Kept(DeadLetters):
    """Dead letters in a list instead of a table."""

    def __init__(self) -> None:
        self.records: list[int] = []
        self.broken = False

    def put(self, shard: Shard, record: Record, error: str, attempts: int) -> None:
        if self.broken:
            raise Unreachable("no table")
        self.records.append(int(record["dynamodb"]["SequenceNumber"]))


class Recorder:
    """A handler that refuses every batch with one of `poison` in it, and the first `failures` calls."""

    def __init__(self, poison: set[int], failures: int = 0) -> None:
        self.poison = poison
        self.failures = failures
        self.calls = 0
        self.taken: list[int] = []

    def __call__(self, records: list[Record]) -> None:
        self.calls += 1
        numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in records]
        if self.calls <= self.failures or self.poison & set(numbers):
            raise ValueError("no")
        self.taken += numbers


def _records(count: int) -> list[dict[str, Any]]:
    return [{"eventID": str(n), "dynamodb": {"SequenceNumber": str(n)}} for n in range(count)]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "backoff_s", lambda *_: 0.0)


@settings(deadline=None)
@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=6), st.integers(1, 3))
def test_every_record_is_taken_or_put_aside_once_and_in_order(count: int, poison: set[int], attempts: int) -> None:
    handler, kept = Recorder(poison), Kept()
    Delivery(handler, kept, attempts, lambda _: None).deliver(SHARD, _records(count), threading.Event())
    bad = sorted(number for number in poison if number < count)
    assert kept.records == bad
    assert handler.taken == [number for number in range(count) if number not in bad]


def test_a_passing_trouble_leaves_the_batch_whole() -> None:
    handler, kept = Recorder(set(), failures=3), Kept()
    Delivery(handler, kept, 4, lambda _: None).deliver(SHARD, _records(9), threading.Event())
    assert (handler.calls, handler.taken, kept.records) == (4, list(range(9)), [])


def test_a_dead_letter_that_cannot_be_kept_is_an_error() -> None:
    kept = Kept()
    kept.broken = True
    with pytest.raises(Unreachable):
        Delivery(Recorder({0}), kept, 2, lambda _: None).deliver(SHARD, _records(1), threading.Event())


def test_a_worker_that_is_to_stop_tries_nothing_more() -> None:
    stop = threading.Event()
    stop.set()
    handler = Recorder(set())
    with pytest.raises(Interrupted):
        Delivery(handler, Kept(), 2, lambda _: None).deliver(SHARD, _records(1), stop)
    assert handler.calls == 0
