"""Expiry as a client meets it, on one node and on three: the clock moves, the item is gone from everywhere (H16)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.support import eventually

import gramme.testing
from gramme.testing import Cluster, Server
from gramme.testing.controls import Endpoint

HOUR_S = 3_600
PERIOD_S = 0.3
OFTEN = {"expiry_period_ms": int(1_000 * PERIOD_S)}


@pytest.fixture(scope="module")
def one() -> Iterator[Server]:
    with gramme.testing.server(in_memory=False, settings=OFTEN) as server:
        yield server


@pytest.fixture(scope="module")
def three() -> Iterator[Cluster]:
    with gramme.testing.cluster(3, settings=OFTEN) as cluster:
        yield cluster


@pytest.fixture(params=["one", "three"])
def g(request: pytest.FixtureRequest) -> Endpoint:
    """With a table `sessions` that has a stream, a local and a global index, and expiry by `until`."""
    endpoint: Endpoint = request.getfixturevalue(request.param)
    endpoint.reset()
    client = endpoint.client()
    client.create_table(
        TableName="sessions",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "user")],
        LocalSecondaryIndexes=[_index("local", pk="HASH", user="RANGE")],
        GlobalSecondaryIndexes=[_index("global", user="HASH")],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "OLD_IMAGE"},
    )
    client.update_time_to_live(
        TableName="sessions", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"}
    )
    return endpoint


def _index(name: str, **keys: str) -> dict[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": [{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        "Projection": {"ProjectionType": "ALL"},
    }


def put(client: Any, sk: str, until: Any = None) -> None:
    item = {"pk": {"S": "p"}, "sk": {"S": sk}, "user": {"S": "u"}}
    client.put_item(TableName="sessions", Item=item if until is None else {**item, "until": until})


def found(client: Any, index: str | None = None) -> list[str]:
    name = "user" if index == "global" else "pk"
    answer = client.query(
        TableName="sessions",
        KeyConditionExpression="#k = :v",
        ExpressionAttributeNames={"#k": name},
        ExpressionAttributeValues={":v": {"S": "u" if index == "global" else "p"}},
        **({} if index is None else {"IndexName": index}),
    )
    return sorted(item["sk"]["S"] for item in answer["Items"])


def removals(g: Endpoint) -> list[dict[str, Any]]:
    streams = g.client("dynamodbstreams")
    (stream,) = streams.list_streams(TableName="sessions")["Streams"]
    described = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]
    records: list[dict[str, Any]] = []
    for shard in described["Shards"]:
        position = {"StreamArn": stream["StreamArn"], "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = streams.get_shard_iterator(**position)["ShardIterator"]
        records += streams.get_records(ShardIterator=iterator)["Records"]
    return [record for record in records if record["eventName"] == "REMOVE"]


def test_what_has_expired_goes_from_table_and_indexes_and_the_stream_tells_who_did_it(g: Endpoint) -> None:
    client = g.client()
    now_s = int(time.time()) + _advanced.get(g.endpoint_url, 0)
    put(client, "expires", {"N": str(now_s + HOUR_S)})
    put(client, "text", {"S": str(now_s + HOUR_S)})
    put(client, "later", {"N": str(now_s + 3 * HOUR_S)})
    put(client, "never")
    put(client, "deleted by hand")
    client.delete_item(TableName="sessions", Key={"pk": {"S": "p"}, "sk": {"S": "deleted by hand"}})
    everything = ["expires", "later", "never", "text"]
    eventually("the index", lambda: found(client, "global") == everything)
    g.advance_clock(2 * HOUR_S * 1000)
    _advanced[g.endpoint_url] = _advanced.get(g.endpoint_url, 0) + 2 * HOUR_S
    left = ["later", "never", "text"]
    for index in (None, "local", "global"):
        eventually(f"expiry in {index}", lambda: found(client, index) == left)  # noqa: B023
    by_key = {r["dynamodb"]["Keys"]["sk"]["S"]: r.get("userIdentity") for r in removals(g)}
    service = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    assert by_key == {"deleted by hand": None, "expires": service}


def test_nothing_expires_any_more_once_it_is_switched_off(g: Endpoint) -> None:
    client = g.client()
    off = {"Enabled": False, "AttributeName": "until"}
    client.update_time_to_live(TableName="sessions", TimeToLiveSpecification=off)
    eventually(
        "expiry is off",
        lambda: (
            client.describe_time_to_live(TableName="sessions")["TimeToLiveDescription"]
            == {"TimeToLiveStatus": "DISABLED"}
        ),
    )
    put(client, "old", {"N": str(int(time.time()) - HOUR_S)})
    time.sleep(4 * PERIOD_S)  # of the scanner
    assert found(client) == ["old"]


_advanced: dict[str, int] = {}
"""How far each endpoint's clock is ahead."""
