"""Item counts and sizes in DescribeTable are those of the rows: after any writes, a kill, and a change of leader."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.support import eventually

from gramme.tables.values import item_size, normalise_item
from gramme.testing import Cluster, server

pytestmark = pytest.mark.seconds(10)

_INDEX = {"Projection": {"ProjectionType": "KEYS_ONLY"}}


def _create(client: Any) -> None:
    client.create_table(
        TableName="counted",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "by")],
        KeySchema=_keys("pk", "sk"),
        LocalSecondaryIndexes=[{"IndexName": "local", "KeySchema": _keys("pk", "by"), **_INDEX}],
        GlobalSecondaryIndexes=[{"IndexName": "global", "KeySchema": _keys("by"), **_INDEX}],
    )
    client.get_waiter("table_exists").wait(TableName="counted", WaiterConfig={"Delay": 1})


def _keys(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": n, "KeyType": kind} for n, kind in zip(names, ("HASH", "RANGE"), strict=False)]


def _described(client: Any) -> dict[str, tuple[int, int]]:
    table = client.describe_table(TableName="counted")["Table"]
    counts = {"table": (table["ItemCount"], table["TableSizeBytes"])}
    for index in table["LocalSecondaryIndexes"] + table["GlobalSecondaryIndexes"]:
        counts[index["IndexName"]] = (index["ItemCount"], index["IndexSizeBytes"])
    return counts


def _recounted(client: Any) -> dict[str, tuple[int, int]]:
    """The same from the rows themselves: an index holds the keys of the items that have its key."""
    pages = client.get_paginator("scan").paginate(TableName="counted", ConsistentRead=True)
    items = [item for page in pages for item in page["Items"]]
    indexed = [{name: item[name] for name in ("pk", "sk", "by")} for item in items if "by" in item]
    return {"table": _sum(items), "local": _sum(indexed), "global": _sum(indexed)}


def _sum(items: list[dict[str, Any]]) -> tuple[int, int]:
    return len(items), sum(item_size(normalise_item(item)[0]) for item in items)


def _write(client: Any, rng: random.Random, count: int) -> None:
    for _ in range(count):
        key = {"pk": {"S": f"p{rng.randrange(8)}"}, "sk": {"S": f"s{rng.randrange(5)}"}}
        by = {"by": {"S": "x" * rng.randrange(1, 9)}} if rng.random() < 0.6 else {}
        match rng.randrange(4):
            case 0:
                client.delete_item(TableName="counted", Key=key)
            case 1:
                client.update_item(
                    TableName="counted",
                    Key=key,
                    UpdateExpression="SET n = :n REMOVE #by",
                    ExpressionAttributeNames={"#by": "by"},
                    ExpressionAttributeValues={":n": {"N": str(rng.randrange(10**6))}},
                )
            case 2:
                client.batch_write_item(RequestItems={"counted": [{"PutRequest": {"Item": {**key, **by}}}]})
            case _:
                client.put_item(TableName="counted", Item={**key, **by, "data": {"S": "d" * rng.randrange(300)}})


def _agree(client: Any) -> Callable[[], bool]:
    return lambda: _described(client) == _recounted(client)


def test_counts_follow_every_write_and_survive_a_kill() -> None:
    rng = random.Random(5)
    with server(in_memory=False) as node:
        client = node.client()
        _create(client)
        assert set(_described(client).values()) == {(0, 0)}
        _write(client, rng, 150)
        expected = _recounted(client)
        assert min(rows for rows, _ in expected.values()) > 0
        described = _described(client)  # the table and its local index at once, the global one when it is fed
        assert (described["table"], described["local"]) == (expected["table"], expected["local"])
        eventually("counts agree with the rows", _agree(client))
        node.kill()
        node.start()
        client = node.client()
        eventually("counts are what they were", lambda: _described(client) == expected)
        _write(client, rng, 50)
        eventually("counts go on", _agree(client))


def test_another_leader_counts_on(three: Cluster) -> None:
    rng = random.Random(6)
    client = three.client()
    _create(client)
    _write(client, rng, 60)
    victim = next(leader for leader in three.leaders("counted") if leader is not None)
    three.kill(victim)
    _write(client, rng, 60)
    eventually("counts agree with the rows", _agree(client))
    three.start(victim)
    three.wait_ready()
    _write(client, rng, 20)
    eventually("counts agree with the rows", _agree(client))
