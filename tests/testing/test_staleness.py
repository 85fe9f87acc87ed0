"""Eventual reads that lag on purpose (`stale`), as a boto3 client meets them, on one node and on three.

A lag of ten minutes stands for "from now on nothing new": so no test depends on how fast anything is.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.support import eventually

import gramme.testing
from gramme.testing import Cluster, ControlRefused, Server
from gramme.testing.controls import Endpoint

pytestmark = pytest.mark.seconds(9)

LONG_MS = 600_000


@pytest.fixture(scope="module")
def one() -> Iterator[Server]:
    with gramme.testing.server(in_memory=False) as server:
        yield server


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with gramme.testing.cluster(3) as cluster:
        yield cluster


@pytest.fixture(params=["one", "three"])
def g(request: pytest.FixtureRequest) -> Endpoint:
    """With a table that has a local and a global index, and one item in all three."""
    endpoint: Endpoint = request.getfixturevalue(request.param)
    endpoint.reset()
    kinds = {"pk": "HASH", "sk": "RANGE"}
    endpoint.client().create_table(
        TableName="games",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in kinds.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "a", "b")],
        LocalSecondaryIndexes=[_index("local", pk="HASH", a="RANGE")],
        GlobalSecondaryIndexes=[_index("global", b="HASH")],
    )
    put(endpoint, "1")
    eventually("the first item", lambda: seen(endpoint, "table") == seen(endpoint, "global") == ["1"])
    if isinstance(endpoint, Cluster):  # from now on a replica shows what it has applied, and nothing of the leader's
        eventually("every replica has applied it", lambda: applied_alike(endpoint))
    return endpoint


def applied_alike(cluster: Cluster) -> bool:
    """Whether all replicas of each group are at the same slot."""
    slots: dict[int, set[int]] = {}
    for node in range(cluster.nodes):
        with urllib.request.urlopen(f"http://127.0.0.1:{cluster.admin_port(node)}/cluster", timeout=10) as answer:
            for group in json.load(answer)["groups"]:
                slots.setdefault(group["group"], set()).add(group["applied_slot"])
    return all(len(applied) == 1 for applied in slots.values())


def _index(name: str, **keys: str) -> dict[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": [{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        "Projection": {"ProjectionType": "ALL"},
    }


def put(g: Endpoint, sk: str) -> None:
    item = {"pk": {"S": "p"}, "sk": {"S": sk}, "a": {"S": sk}, "b": {"S": "b"}}
    g.client().put_item(TableName="games", Item=item)


def seen(g: Endpoint, where: str, *, consistent: bool = False) -> list[str]:
    """The sort keys that a Query finds."""
    name = "b" if where == "global" else "pk"
    found = g.client().query(
        TableName="games",
        KeyConditionExpression=f"{name} = :p",
        ExpressionAttributeValues={":p": {"S": name[0]}},
        ConsistentRead=consistent,
        **({} if where == "table" else {"IndexName": where}),
    )
    return sorted(item["sk"]["S"] for item in found["Items"])


def got(g: Endpoint, sk: str, *, consistent: bool = False) -> bool:
    key = {"pk": {"S": "p"}, "sk": {"S": sk}}
    return "Item" in g.client().get_item(TableName="games", Key=key, ConsistentRead=consistent)


def test_eventual_reads_of_a_table_lag_and_strong_ones_do_not(g: Endpoint) -> None:
    g.stale("games", LONG_MS)
    put(g, "2")
    g.client().delete_item(TableName="games", Key={"pk": {"S": "p"}, "sk": {"S": "1"}})
    for _ in range(6):  # at whichever node
        assert (seen(g, "table"), seen(g, "local"), got(g, "1"), got(g, "2")) == (["1"], ["1"], True, False)
        assert (seen(g, "table", consistent=True), got(g, "2", consistent=True)) == (["2"], True)
    g.stale("games", 0)
    eventually("the second item", lambda: seen(g, "table") == seen(g, "local") == ["2"])


def test_what_was_written_is_seen_when_the_lag_is_over(g: Endpoint) -> None:
    g.stale("games", 300)
    put(g, "2")
    eventually("the second item", lambda: seen(g, "table") == ["1", "2"] and got(g, "2"))


def test_a_local_index_lags_alone(g: Endpoint) -> None:
    g.stale("games", LONG_MS, "local")
    put(g, "2")
    assert seen(g, "local") == ["1"]
    assert seen(g, "local", consistent=True) == ["1", "2"]
    eventually("the second item", lambda: seen(g, "table") == ["1", "2"])


def test_a_global_index_is_fed_late_and_in_full(g: Endpoint) -> None:
    g.stale("games", LONG_MS, "global")
    for sk in "234":
        put(g, sk)
    assert seen(g, "global") == ["1"]
    eventually("the other items", lambda: seen(g, "table") == ["1", "2", "3", "4"])
    assert seen(g, "global") == ["1"]
    g.stale("games", 0, "global")
    eventually("the index", lambda: seen(g, "global") == ["1", "2", "3", "4"])
    g.stale("games", 200, "global")
    put(g, "5")
    eventually("the newest item", lambda: "5" in seen(g, "global"))


def test_a_lag_ends_with_reset_and_with_its_table(g: Endpoint) -> None:
    g.stale("games", LONG_MS)
    g.stale("games", LONG_MS, "global")
    g.reset()
    with pytest.raises(ControlRefused, match="no table 'games'"):
        g.stale("games", 0)


def test_strange_lags_are_refused(g: Endpoint) -> None:
    for milliseconds in (-1, LONG_MS + 1):
        with pytest.raises(ControlRefused, match="between 0 and 600000"):
            g.stale("games", milliseconds)
    with pytest.raises(ControlRefused, match="no index 'other'"):
        g.stale("games", 5, "other")
    for lag in range(16):
        g.stale("games", LONG_MS - lag, "local" if lag % 2 else "")
    for lag in range(1, 10):  # each replaces the one before
        g.stale("games", lag)
