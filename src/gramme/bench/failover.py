"""The failover gap: how long nobody gets an answer when the leader of a partition is killed, or told to stop.

A few raw clients write to one partition through the shared endpoint, each sending again at once (same invocation id)
when its connection breaks, as SDKs do. The gap of a kill is the longest time without any acknowledged write around it.
Source: issue 2, "What a user can do" 3: within 3 s by default, median 2 s; under 200 ms for a graceful stop.
"""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from gramme.bench import markdown
from gramme.bench.bars import Dots, Panel, draw
from gramme.bench.outages import Clients, longest_gap_s, wait_until
from gramme.bench.records import Progress, Record, Run, Section
from gramme.testing import Cluster, cluster

CLIENTS: Final = 4
KILLS_A_ROUND: Final = 4
STOPS_A_ROUND: Final = 2
_TABLE: Final = "failover"
_CALM_S: Final = 1.0
_LIMIT_S: Final = 30.0
_POLL_S: Final = 0.01


class Gaps(msgspec.Struct, frozen=True):
    """Seconds without an acknowledged write, one for each kill and each graceful stop."""

    kills_s: list[float]
    stops_s: list[float]


def measure(run: Run) -> Gaps:
    """Kill the leader and stop it so many times a round, under writes; the node is back before the next."""
    kills, stops, progress = run.rounds * KILLS_A_ROUND, run.rounds * STOPS_A_ROUND, run.progress
    with cluster(3, directory=run.directory / "failover", test_controls=False) as three:
        three.client().create_table(
            TableName=_TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        )
        with _Writers(three.port) as writers:
            killed = [_gap(three, writers, three.kill, "kill", progress) for _ in range(kills)]
            stopped = [_gap(three, writers, three.stop, "stop", progress) for _ in range(stops)]
        return Gaps(killed, stopped)


def _gap(three: Cluster, writers: _Writers, hurt: Callable[[int], object], what: str, progress: Progress) -> float:
    time.sleep(_CALM_S)
    leader = _leader(three)
    at = time.monotonic()
    hurt(leader)
    _wait(lambda: _leads_elsewhere(three, leader) and writers.answers_since(at + 0.01) > CLIENTS, "a new leader writes")
    time.sleep(0.2)
    gap = writers.longest_gap(at - 0.2, time.monotonic())
    three.start(leader)
    progress(f"{what} of node {leader}: {gap * 1e3:,.0f} ms without an answer")
    return gap


def _leader(three: Cluster) -> int:
    found: list[int] = []

    def look() -> bool:
        found[:] = [node for node in three.leaders(_TABLE) if node is not None]
        return bool(found)

    _wait(look, "there is a leader")
    return found[0]


def _leads_elsewhere(three: Cluster, before: int) -> bool:
    """No node may answer in time for a moment: then there are no leaders to be seen."""
    leaders = three.leaders(_TABLE)
    return bool(leaders) and leaders[0] is not None and leaders[0] != before


def _wait(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, what, _LIMIT_S, _POLL_S)


class _Writers(Clients):
    """Threads that write as fast as they are answered, and note when."""

    def __init__(self, port: int) -> None:
        super().__init__(partial(self._work, number) for number in range(CLIENTS))
        self._port = port
        self._answered: list[float] = []

    def answers_since(self, since: float) -> int:
        """How many writes were acknowledged after `since`."""
        return sum(at > since for at in self._answered[-1_000:])

    def longest_gap(self, start: float, end: float) -> float:
        """The longest time between two acknowledged writes of the interval."""
        return longest_gap_s(list(self._answered), start, end)

    def _work(self, writer: int) -> None:
        connection = self._connect()
        for number in itertools.count():
            body = json.dumps({"TableName": _TABLE, "Item": {"pk": {"S": str(writer)}, "n": {"N": str(number)}}})
            headers = {
                "X-Amz-Target": "DynamoDB_20120810.PutItem",
                "Content-Type": "application/x-amz-json-1.0",
                "amz-sdk-invocation-id": str(uuid.uuid4()),
            }
            while not self.over.is_set():
                try:
                    connection.request("POST", "/", body, headers)
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status == 200:
                        break
                except (OSError, http.client.HTTPException):
                    connection.close()
                    connection = self._connect()
                    time.sleep(0.001)
            else:
                connection.close()
                return
            self._answered.append(time.monotonic())

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)


def _told(taken: Record[Gaps]) -> str:
    """Median and extremes."""
    rows = [
        (what, len(values), *(f"{1e3 * value:,.0f}" for value in (statistics.median(values), min(values), max(values))))
        for what, values in (("killed", taken.found.kills_s), ("told to stop", taken.found.stops_s))
        if values
    ]
    return "\n\n".join(
        (
            "## Failover",
            f"Default settings (grants of 1.5 s). {CLIENTS} clients write to one partition through the shared "
            "endpoint; its leader is killed (`SIGKILL`) or told to stop (`SIGTERM`). The gap is the longest time "
            "without an acknowledged write.",
            markdown.table(("leader is", "times", "median ms", "lowest", "highest"), rows),
            "![Failover gaps](benchmarks/failover.svg)",
        )
    )


def _pictures(found: Gaps) -> dict[str, str]:
    dots = [
        Dots(f"leader {what}", [value * 1e3 for value in values])
        for what, values in (("killed", found.kills_s), ("told to stop", found.stops_s))
    ]
    return {"failover.svg": draw([Panel("Failover gap in milliseconds (the longest is written out)", dots)])}


SECTION: Final = Section("failover", Gaps, measure, _told, _pictures)
