"""An index that cannot keep up pushes back on its table, and only for as long (row B10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import gramme.node.changes.feeder as feeder_module
from gramme.api.http import HttpRequest, HttpResponse
from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.changes.feeder import Feeder
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.guard import forbid_ambient
from gramme.sim.world import World

_LIMIT = 20
_TABLE: dict[str, Any] = {
    "TableName": "pressed",
    "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "g")],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-g",
            "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
            "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
        }
    ],
}


class _Caller:
    """Requests to one simulated node, one after the other."""

    def __init__(self) -> None:
        self.world = World(5)
        self.cluster = SimCluster(self.world, CONFIGS["single"])
        self.cluster.start(NodeId(0))

    def call(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        answers: list[HttpResponse] = []
        headers = {
            b"host": b"localhost",
            b"content-type": b"application/x-amz-json-1.0",
            b"x-amz-target": b"DynamoDB_20120810." + operation.encode(),
        }
        request = HttpRequest("POST", "/", "", headers, msgspec.json.encode(body))
        self.cluster.request(NodeId(0), request, lambda answer: answers.append(answer) if answer else None)
        self.until(lambda: bool(answers))
        return answers[0].status, msgspec.json.decode(answers[0].whole_body())

    def until(self, done: Callable[[], bool], limit_ns: int = 10 * SECOND) -> None:
        deadline_ns = self.world.now_ns + limit_ns
        while not done():
            assert self.world.now_ns < deadline_ns
            self.world.run(self.world.now_ns + MILLISECOND)

    def put(self, n: int) -> tuple[int, dict[str, Any]]:
        return self.call("PutItem", {"TableName": "pressed", "Item": {"pk": {"S": f"k{n}"}, "g": {"S": "g"}}})

    def entries(self) -> int:
        count: int = self.call("Scan", {"TableName": "pressed", "IndexName": "by-g"})[1]["Count"]
        return count


def test_a_stuck_index_throttles_its_table_until_it_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder_module, "MAX_BACKLOG_ROWS", _LIMIT)
    feed = Feeder._feed
    with forbid_ambient():
        caller = _Caller()
        caller.world.run(2 * SECOND)
        assert caller.call("CreateTable", _TABLE)[0] == 200
        monkeypatch.setattr(Feeder, "_feed", lambda self, lane: None)
        taken = 0
        while (answer := caller.put(taken))[0] == 200:
            taken += 1
            assert taken <= _LIMIT
        assert taken == _LIMIT
        assert answer[1]["__type"].endswith("#ProvisionedThroughputExceededException")
        (reason,) = answer[1]["ThrottlingReasons"]
        assert reason["reason"] == "IndexWriteKeyRangeThroughputExceeded"
        assert reason["resource"].endswith(":table/pressed/index/by-g")
        assert caller.call("GetItem", {"TableName": "pressed", "Key": {"pk": {"S": "k0"}}})[0] == 200
        assert caller.entries() == 0
        monkeypatch.setattr(Feeder, "_feed", feed)
        (feeder,) = caller.cluster.machines[NodeId(0)].node.feeders.running.values()  # type: ignore[union-attr]
        feeder.wake()
        caller.until(lambda: feeder.backlog == 0)
        assert caller.entries() == taken
        assert caller.put(taken)[0] == 200
        caller.until(lambda: caller.entries() == taken + 1)
