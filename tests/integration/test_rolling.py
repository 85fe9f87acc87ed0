"""A rolling restart of a real cluster under default boto3 clients: nobody gets an error, nothing is lost or doubled.

Source: issue 6, "Hand-over" (row F14). How long a partition pauses is measured by `python -m bench --only rolling`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.support import create_table, eventually

from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(20)

TABLE = "rolled"
WORKERS = 3


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with cluster(3, test_controls=False) as running:
        yield running


def _restart(three: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gramme.runtime.cli", "cluster", "restart", *arguments]
    return subprocess.run(
        [*command, "--data", str(three.directory)], capture_output=True, text=True, timeout=120, check=False
    )


class Worker:
    """One thread with a client and items of its own; what it was told must be what it finds, at every step."""

    def __init__(self, client: Any, number: int) -> None:
        self.rounds = 0
        self.eventual_seen = 0
        self.error: BaseException | None = None
        self._client = client
        self._keys = [f"w{number}-{part}" for part in range(4)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._stop.wait(0.01):
                self._round(self.rounds + 1)
                self.rounds += 1
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def _round(self, number: int) -> None:
        client, (put, counted, left, right) = self._client, self._keys
        client.put_item(TableName=TABLE, Item={"pk": {"S": put}, "n": {"N": str(number)}})
        assert self._read(put) == number
        answer = client.update_item(
            TableName=TABLE, Key={"pk": {"S": counted}}, UpdateExpression="ADD n :one",
            ConditionExpression="attribute_not_exists(n) OR n = :before",
            ExpressionAttributeValues={":one": {"N": "1"}, ":before": {"N": str(number - 1)}},
            ReturnValues="UPDATED_NEW",
        )  # fmt: skip
        assert int(answer["Attributes"]["n"]["N"]) == number
        client.transact_write_items(
            TransactItems=[
                {"Update": {
                    "TableName": TABLE, "Key": {"pk": {"S": key}}, "UpdateExpression": "ADD n :by",
                    "ExpressionAttributeValues": {":by": {"N": by}},
                }}
                for key, by in ((left, "1"), (right, "-1"))
            ]
        )  # fmt: skip
        get = [{"Get": {"TableName": TABLE, "Key": {"pk": {"S": key}}}} for key in (left, right)]
        found = client.transact_get_items(TransactItems=get)["Responses"]
        assert [int(entry["Item"]["n"]["N"]) for entry in found] == [number, -number]
        seen = self._read(counted, consistent=False)
        assert seen <= number
        self.eventual_seen = max(self.eventual_seen, seen)

    def _read(self, key: str, *, consistent: bool = True) -> int:
        answer = self._client.get_item(TableName=TABLE, Key={"pk": {"S": key}}, ConsistentRead=consistent)
        return int(answer["Item"]["n"]["N"]) if "Item" in answer else 0


def test_no_client_notices_a_rolling_restart(three: Cluster) -> None:
    create_table(three.client(), TABLE)
    boots = {node: three.status().nodes[node].pid for node in range(3)}
    workers = [Worker(three.client(), number) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    try:
        _wait_for_rounds(workers, 3)
        restart = _restart(three, "--rolling", "--json")
        _wait_for_rounds(workers, 3)
    finally:
        for worker in workers:
            worker.stop()
    assert [worker.error for worker in workers] == [None] * WORKERS
    assert restart.returncode == 0, restart.stdout + restart.stderr
    report = json.loads(restart.stdout)
    assert (report["schema"], report["error"]) == ("gramme.cluster-restart/1", "")
    assert [(node["node"], node["drained"]) for node in report["nodes"]] == [(0, True), (1, True), (2, True)]
    assert all(three.status().nodes[node].pid not in (None, boots[node]) for node in range(3))
    assert all(worker.eventual_seen for worker in workers)


def _wait_for_rounds(workers: list[Worker], more: int) -> None:
    wanted = [worker.rounds + more for worker in workers]

    def done() -> bool:
        pairs = zip(workers, wanted, strict=True)
        return all(worker.error is not None or worker.rounds >= least for worker, least in pairs)

    eventually("all workers go on", done)


def test_it_stops_where_a_node_is_not_ready_and_says_which(three: Cluster) -> None:
    """With one node down, to stop another one would stop the cluster."""
    three.kill(2)
    before = [node.pid for node in three.status().nodes]
    refused = _restart(three, "--rolling")
    assert refused.returncode == 1
    assert "node 2 does not run" in refused.stderr
    assert [node.pid for node in three.status().nodes] == before
    three.start_all()


def test_a_node_that_does_not_come_back_ends_it(three: Cluster) -> None:
    three.wait_ready()
    written_by = three.directory / "nodes" / "1" / "data" / "format"
    content = written_by.read_bytes()
    written_by.write_bytes(b"999999\n")  # the running process has read it; the next one refuses a later release
    before = [node.pid for node in three.status().nodes]
    try:
        failed = _restart(three, "--rolling", "--json")
    finally:
        written_by.write_bytes(content)
    assert failed.returncode == 1
    report = json.loads(failed.stdout)
    assert [node["node"] for node in report["nodes"]] == [0]
    assert "node 1" in report["error"]
    after = [node.pid for node in three.status().nodes]
    assert (after[0] != before[0], after[2] == before[2]) == (True, True)
    three.start_all()


def test_without_rolling_nothing_is_done(three: Cluster) -> None:
    before = [node.pid for node in three.status().nodes]
    refused = _restart(three)
    assert refused.returncode == 2
    assert "--rolling" in refused.stderr
    assert [node.pid for node in three.status().nodes] == before
