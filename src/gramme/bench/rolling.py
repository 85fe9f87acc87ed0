"""A rolling restart under default boto3 clients: how long each partition pauses, and whether anybody gets an error.

Four tables of one partition, two threads writing to each through the shared endpoint, one more doing transactions over
all of them. Every node is restarted as `gramme cluster restart --rolling` does it. The pause of a partition is the
longest time between two of its acknowledged writes while one node goes and comes back; of interest are those whose
leader that node was. Source: issue 6, "Hand-over" (row F14): no error, pauses under 200 ms.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec

from gramme.bench import markdown
from gramme.bench.outages import Clients, longest_gap_s
from gramme.bench.records import Record, Run, Section
from gramme.runtime.cluster import LocalCluster
from gramme.runtime.rolling import RestartedNode, restart_rolling
from gramme.testing import Cluster, cluster

TABLES: Final = tuple(f"rolled-{number}" for number in range(4))
_WRITERS: Final = 2
_CALM_S: Final = 1.0


class Pauses(msgspec.Struct, frozen=True):
    """Milliseconds without an acknowledged write, of partitions that lost their leader and of the others; requests in
    all and those that failed; how long the restart of a node took, in seconds."""

    led_ms: list[float]
    others_ms: list[float]
    requests: int
    errors: int
    restarts_s: list[float]


def measure(run: Run) -> Pauses:
    """Restart all three nodes, once in each round."""
    rounds, progress = run.rounds, run.progress
    led: list[float] = []
    others: list[float] = []
    took: list[float] = []
    with cluster(3, directory=run.directory / "rolling", test_controls=False) as three:
        for table in TABLES:
            three.client().create_table(
                TableName=table,
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
            )
        with _Load(three) as clients:
            time.sleep(_CALM_S)
            for _ in range(rounds):
                for one in _restarts(three):
                    for table, leader in one.leaders.items():
                        pause_ms = clients.pause_ms(table, one.began)
                        (led if leader == one.node else others).append(pause_ms)
                        progress(f"node {one.node} of {table}, led by {leader}: {pause_ms:.0f} ms")
                    took.append(one.took_s)
            requests, errors = clients.requests, clients.errors
    for error in errors[:5]:
        progress(f"a client got {error}")
    return Pauses(led, others, requests, len(errors), took)


class _Restart(msgspec.Struct, frozen=True):
    node: int
    began: float
    took_s: float
    leaders: dict[str, int | None]


def _restarts(three: Cluster) -> Iterator[_Restart]:
    """Carry one rolling restart out; yields after each node."""
    leaders: dict[str, int | None] = {}
    began = 0.0
    for step in restart_rolling(LocalCluster(three.directory)):
        if isinstance(step, RestartedNode):
            time.sleep(_CALM_S)
            yield _Restart(step.node, began, step.stop_s + step.ready_s, leaders)
        # What comes next is the stop of `step`, or the wait before it.
        leaders = {table: three.leaders(table)[0] for table in TABLES}
        began = time.monotonic()


class _Load(Clients):
    """The threads, each with a default client of its own."""

    def __init__(self, three: Cluster) -> None:
        self.errors: list[str] = []
        self._answered: dict[str, list[float]] = {table: [] for table in TABLES}
        self._transactions = 0
        writers = [
            partial(self._repeat, three.client(), self._write, table, f"w{number}")
            for table in TABLES
            for number in range(_WRITERS)
        ]
        super().__init__((*writers, partial(self._repeat, three.client(), self._transact, "", "")))

    @property
    def requests(self) -> int:
        """How many were answered without an error."""
        return sum(map(len, self._answered.values())) + self._transactions

    def pause_ms(self, table: str, since: float) -> float:
        """The longest time between two acknowledged writes to `table` since then."""
        return 1e3 * longest_gap_s(list(self._answered[table]), since, time.monotonic())

    def _repeat(self, client: Any, act: Callable[[Any, str, str, int], None], table: str, key: str) -> None:
        for number in itertools.count():
            if self.over.is_set():
                return
            try:
                act(client, table, key, number)
            except Exception as error:  # noqa: BLE001 - whatever a client is told counts
                self.errors.append(repr(error))

    def _write(self, client: Any, table: str, key: str, number: int) -> None:
        client.put_item(TableName=table, Item={"pk": {"S": key}, "n": {"N": str(number)}})
        self._answered[table].append(time.monotonic())
        client.get_item(TableName=table, Key={"pk": {"S": key}}, ConsistentRead=bool(number % 2))

    def _transact(self, client: Any, _table: str, _key: str, number: int) -> None:
        item = {"pk": {"S": "transacted"}, "n": {"N": str(number)}}
        client.transact_write_items(TransactItems=[{"Put": {"TableName": table, "Item": item}} for table in TABLES])
        self._transactions += 1


def _told(taken: Record[Pauses]) -> str:
    found = taken.found
    rows = []
    for what, values in (("led by the node that is restarted", found.led_ms), ("the others", found.others_ms)):
        if values:
            p90 = statistics.quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]
            figures = (statistics.median(values), p90, max(values))
            rows.append((what, len(values), *(f"{value:,.0f}" for value in figures)))
    return "\n\n".join(
        (
            "## Rolling restart",
            f"`gramme cluster restart --rolling` of three nodes under default boto3 clients: {len(TABLES)} tables of "
            "one partition, two threads writing and reading each, one doing transactions over all. The pause is the "
            "longest time between two acknowledged writes of a partition while one node goes and comes back. "
            f"{found.requests:,} requests, {found.errors} errors; a node was back and ready after "
            f"{statistics.median(found.restarts_s):.1f} s (median).",
            markdown.table(("partitions", "times", "median ms", "p90 ms", "longest ms"), rows),
        )
    )


SECTION: Final = Section("rolling", Pauses, measure, _told)
