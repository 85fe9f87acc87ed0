"""An unmodified boto3 client counts while one node after another is killed: it notices nothing, and the sums are right.

Source: issue 2, "What a user can do" 3 and 4. The gaps are printed (`pytest -s`); `make bench` measures them properly.
"""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import Any

import pytest
from tests.integration.support import RECOVERY_DEADLINE_S, create_table, eventually

from gramme.bench.outages import Clients
from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(80)

KILLS = 20
WORKERS = 4
TABLE = "counters"
PAUSE_S = 0.02
"""Between two increments of a thread: enough to leave cores to the nodes, which have to start, and to other tests."""


class Counters(Clients):
    """Threads that increment: each a counter of its own, and all of them a shared one."""

    def __init__(self, client: Any) -> None:
        self._client = client  # one default client for all threads, as applications do it
        self.acknowledged = [0] * WORKERS
        self.shared_results: list[list[int]] = [[] for _ in range(WORKERS)]
        self.errors: list[BaseException] = []
        self.answered_at: list[float] = []
        super().__init__([partial(self._work, worker) for worker in range(WORKERS)])

    def increment(self, counter: str) -> int:
        answer = self._client.update_item(
            TableName=TABLE,
            Key={"pk": {"S": counter}},
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )
        self.answered_at.append(time.monotonic())
        return int(answer["Attributes"]["n"]["N"])

    def value(self, counter: str) -> int:
        item = self._client.get_item(TableName=TABLE, Key={"pk": {"S": counter}}, ConsistentRead=True).get("Item")
        return int(item["n"]["N"]) if item else 0

    def _work(self, worker: int) -> None:
        try:
            while not self.over.wait(PAUSE_S):
                result = self.increment(f"own-{worker}")
                self.acknowledged[worker] += 1
                assert result == self.acknowledged[worker], f"own-{worker}: {result} after {self.acknowledged[worker]}"
                self.shared_results[worker].append(self.increment("shared"))
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.errors.append(error)

    def progressed(self, since: float) -> bool:
        """Whether every worker could have been answered since then, or one has failed."""
        return bool(self.errors) or sum(at > since for at in list(self.answered_at)) >= 4 * WORKERS


def test_twenty_kills_go_unnoticed() -> None:
    with cluster(3) as three:
        client = three.client()
        create_table(client, TABLE, units=5)  # one partition: every other kill hits the leader of all counters
        with Counters(client) as counters:
            for kill in range(KILLS):
                node = _next_victim(three, kill)
                killed_at = time.monotonic()
                three.kill(node)
                eventually("increments go on", lambda: counters.progressed(killed_at))  # noqa: B023
                three.start(node)
                assert not counters.errors, f"kill {kill} of node {node}: {counters.errors[0]!r}"
        _report_gaps("kill -9", counters.answered_at)
        for worker in range(WORKERS):
            assert counters.value(f"own-{worker}") == counters.acknowledged[worker]
        results = sorted(result for results in counters.shared_results for result in results)
        assert results == list(range(1, len(results) + 1)), "an increment was lost or doubled"
        assert counters.value("shared") == len(results)


def test_graceful_stops_go_unnoticed() -> None:
    """A node that is told to stop hands its leaderships over first: no lease has to run out."""
    with cluster(3) as three:
        client = three.client()
        create_table(client, TABLE, units=5)
        with Counters(client) as counters:
            for stop in range(6):
                stopped_at = time.monotonic()
                assert three.stop(_next_victim(three, stop))
                eventually("increments go on", lambda: counters.progressed(stopped_at))  # noqa: B023
                three.start_all()
        _report_gaps("SIGTERM", counters.answered_at)
        assert not counters.errors, repr(counters.errors[0])
        results = sorted(result for results in counters.shared_results for result in results)
        assert results == list(range(1, len(results) + 1)), "an increment was lost or doubled"


def _next_victim(three: Cluster, number: int) -> int:
    """The leader, then each node in turn, leaders and followers alike."""
    leaders = [node for node in three.leaders(TABLE) if node is not None]
    return leaders[0] if number % 2 == 0 and leaders else number % 3


def _report_gaps(what: str, answered_at: list[float]) -> None:
    times = sorted(answered_at)
    gaps = sorted((after - before for before, after in itertools.pairwise(times)), reverse=True)
    assert gaps[0] < RECOVERY_DEADLINE_S
    print(f"{what}: the longest times without an answer were {', '.join(f'{gap:.2f}' for gap in gaps[:10])} s")
