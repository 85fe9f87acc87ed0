"""Secondary indexes as applications use them, on the embedded node and on three nodes of which one dies."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.integration.support import eventually

from gramme.testing import Cluster, Server

pytestmark = pytest.mark.seconds(16)

_DEFINED = (("pk", "S"), ("sk", "S"), ("place", "S"), ("score", "N"))


def _schema(*names: str, hashes: int = 1) -> list[dict[str, str]]:
    return [{"AttributeName": n, "KeyType": "HASH" if i < hashes else "RANGE"} for i, n in enumerate(names)]


def _projected(kind: str, *names: str) -> dict[str, Any]:
    return {"ProjectionType": kind, **({"NonKeyAttributes": list(names)} if names else {})}


def _create(client: Any, name: str, **indexes: Any) -> dict[str, Any]:
    used = {e["AttributeName"] for group in indexes.values() for index in group for e in index["KeySchema"]}
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=_schema("pk", "sk"),
        AttributeDefinitions=[
            {"AttributeName": n, "AttributeType": t} for n, t in _DEFINED if n in used | {"pk", "sk"}
        ],
        **indexes,
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    description: dict[str, Any] = client.describe_table(TableName=name)["Table"]
    return description


def _put(client: Any, name: str, pk: str, sk: str, **attributes: Any) -> dict[str, Any]:
    item: dict[str, Any] = {"pk": {"S": pk}, "sk": {"S": sk}}
    item |= {n: {"N": str(v)} if isinstance(v, int) else {"S": v} for n, v in attributes.items()}
    client.put_item(TableName=name, Item=item)
    return item


def _walk(read: Any, **arguments: Any) -> list[dict[str, Any]]:
    """All pages of a Query or Scan."""
    items: list[dict[str, Any]] = []
    while True:
        page = read(**arguments)
        items += page["Items"]
        if "LastEvaluatedKey" not in page:
            return items
        arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _sks(items: list[dict[str, Any]]) -> list[str]:
    return [item["sk"]["S"] for item in items]


def _query(client: Any, name: str, index: str, condition: str, values: dict[str, Any], **more: Any) -> Any:
    return _walk(
        client.query,
        TableName=name,
        IndexName=index,
        KeyConditionExpression=condition,
        ExpressionAttributeValues=values,
        **more,
    )


def _message(action: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as refused:
        action(**arguments)
    text: str = refused.value.response["Error"]["Message"]
    return text


BY_SCORE = {"IndexName": "by-score", "KeySchema": _schema("pk", "score"), "Projection": _projected("KEYS_ONLY")}
BY_PLACE = {
    "IndexName": "by-place",
    "KeySchema": _schema("place", "score"),
    "Projection": _projected("INCLUDE", "note"),
}


def test_a_local_index_is_as_new_as_its_table_and_fetches_what_it_does_not_hold(client: Any) -> None:
    described = _create(client, "scores", LocalSecondaryIndexes=[BY_SCORE])
    (local,) = described["LocalSecondaryIndexes"]
    assert local["IndexArn"] == described["TableArn"] + "/index/by-score"
    assert "GlobalSecondaryIndexes" not in described
    for n in range(9):
        _put(client, "scores", "p", f"s{n}", score=9 - n, note="n")
        page = _query(client, "scores", "by-score", "pk = :p", {":p": {"S": "p"}}, ConsistentRead=True)
        assert _sks(page) == [f"s{m}" for m in range(n, -1, -1)]
    _put(client, "scores", "p", "none")  # sparse
    of_p = {":p": {"S": "p"}}
    three = _query(client, "scores", "by-score", "pk = :p", of_p, Limit=3, ScanIndexForward=False)
    assert _sks(three) == [f"s{m}" for m in range(9)]
    assert set(three[0]) == {"pk", "sk", "score"}
    whole = _query(client, "scores", "by-score", "pk = :p", of_p, Select="ALL_ATTRIBUTES", Limit=2)
    assert all(item["note"] == {"S": "n"} for item in whole)
    assert len(whole) == 9
    noted = _query(client, "scores", "by-score", "pk = :p", of_p, ProjectionExpression="note")
    assert noted == [{"note": {"S": "n"}}] * 9
    between = {**of_p, ":a": {"N": "3"}, ":b": {"N": "5"}}
    assert len(_query(client, "scores", "by-score", "pk = :p AND score BETWEEN :a AND :b", between)) == 3
    client.update_item(TableName="scores", Key={"pk": {"S": "p"}, "sk": {"S": "s0"}}, UpdateExpression="REMOVE score")
    client.delete_item(TableName="scores", Key={"pk": {"S": "p"}, "sk": {"S": "s1"}})
    left = _walk(client.scan, TableName="scores", IndexName="by-score", ConsistentRead=True, Limit=2)
    assert sorted(_sks(left)) == [f"s{m}" for m in range(2, 9)]


def test_items_fetched_beside_a_local_index_are_charged_one_by_one(client: Any) -> None:
    """The developer guide's example ("Local secondary indexes", "Read capacity units"): entries are summed and rounded
    up to 4 KB, each item fetched is rounded up by itself, and both count towards the megabyte of a page."""
    _create(client, "scores", LocalSecondaryIndexes=[BY_SCORE])
    for n in range(4):
        _put(client, "scores", "p", f"s{n}", score=n, note="n" * 280)
    for n in range(200):
        _put(client, "scores", "large", f"s{n:03}", score=n, note="n" * 5_000)
    asked = {
        "TableName": "scores",
        "IndexName": "by-score",
        "KeyConditionExpression": "pk = :p",
        "ReturnConsumedCapacity": "INDEXES",
    }
    of_p = {":p": {"S": "p"}}

    def used(**more: Any) -> tuple[float, float, float]:
        used = client.query(**asked, ExpressionAttributeValues=of_p, **more)["ConsumedCapacity"]
        index = used["LocalSecondaryIndexes"]["by-score"]["CapacityUnits"]
        return used["CapacityUnits"], used["Table"]["CapacityUnits"], index

    assert used() == (0.5, 0, 0.5)
    assert used(Select="ALL_ATTRIBUTES", ConsistentRead=True) == (5, 4, 1)
    assert used(ProjectionExpression="note") == (2.5, 2, 0.5)
    large = {":p": {"S": "large"}}
    page = client.query(**asked, ExpressionAttributeValues=large, Select="ALL_ATTRIBUTES", ConsistentRead=True)
    assert page["Count"] == 128, "8 KB each; the entries are small"
    table = page["ConsumedCapacity"]["Table"]["CapacityUnits"]
    assert table == 2 * page["Count"]
    assert len(_query(client, "scores", "by-score", "pk = :p", large, Select="ALL_ATTRIBUTES")) == 200


def test_a_global_index_follows_its_table(client: Any) -> None:
    (index,) = _create(client, "places", GlobalSecondaryIndexes=[BY_PLACE])["GlobalSecondaryIndexes"]
    assert (index["IndexStatus"], index["Projection"]) == ("ACTIVE", BY_PLACE["Projection"])
    for n in range(40):
        _put(client, "places", f"p{n}", "s", place=f"c{n % 2}", score=n // 4, note="n", other="o")
    _put(client, "places", "homeless", "s", score=1)
    in_c1 = {":c": {"S": "c1"}}

    def found() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = _query(client, "places", "by-place", "place = :c", in_c1, Limit=3)
        return items

    eventually("the index has followed", lambda: len(found()) == 20)
    assert [int(item["score"]["N"]) for item in found()] == sorted(n // 4 for n in range(1, 40, 2))
    assert all(set(item) == {"pk", "sk", "place", "score", "note"} for item in found())
    backwards = _query(client, "places", "by-place", "place = :c", in_c1, Limit=7, ScanIndexForward=False)
    assert backwards == found()[::-1]
    above = {**in_c1, ":n": {"N": "4"}}
    assert len(_query(client, "places", "by-place", "place = :c AND score > :n", above)) == 10
    assert len(_walk(client.scan, TableName="places", IndexName="by-place", Limit=9)) == 40
    parts = [_walk(client.scan, TableName="places", IndexName="by-place", Segment=n, TotalSegments=3) for n in range(3)]
    assert sorted(item["pk"]["S"] for part in parts for item in part) == sorted(f"p{n}" for n in range(40))
    client.delete_item(TableName="places", Key={"pk": {"S": "p1"}, "sk": {"S": "s"}})
    _put(client, "places", "p3", "s", place="c0", score=0)
    eventually("the changes arrived", lambda: len(found()) == 18)


def test_what_an_index_cannot_give_is_refused(client: Any) -> None:
    _create(client, "limits", LocalSecondaryIndexes=[BY_SCORE], GlobalSecondaryIndexes=[BY_PLACE])
    asked: dict[str, Any] = {
        "TableName": "limits",
        "IndexName": "by-place",
        "KeyConditionExpression": "place = :c",
        "ExpressionAttributeValues": {":c": {"S": "c"}},
    }
    assert _message(client.query, **asked, ConsistentRead=True) == (
        "Consistent reads are not supported on global secondary indexes"
    )
    assert "Select type ALL_ATTRIBUTES is not supported" in _message(client.query, **asked, Select="ALL_ATTRIBUTES")
    assert "does not project [far]" in _message(client.query, **asked, ProjectionExpression="far")
    assert _message(client.query, **{**asked, "IndexName": "other"}) == (
        "The table does not have the specified index: other"
    )
    assert _message(client.query, **{**asked, "KeyConditionExpression": "pk = :c"}) == (
        "Query condition missed key schema element: place"
    )
    token = {"pk": {"S": "p"}, "sk": {"S": "s"}}
    assert _message(client.query, **asked, ExclusiveStartKey=token) == "The provided starting key is invalid"
    wrong = {"pk": {"S": "p"}, "sk": {"S": "s"}, "score": {"S": "many"}}
    mismatch = "Type mismatch for Index Key score Expected: N Actual: S IndexName: by-score"
    assert mismatch in _message(client.put_item, TableName="limits", Item=wrong)
    batch = {"limits": [{"PutRequest": {"Item": wrong}}]}
    assert mismatch in _message(client.batch_write_item, RequestItems=batch)
    assert mismatch in _message(
        client.update_item,
        TableName="limits",
        Key=token,
        UpdateExpression="SET score = :s",
        ExpressionAttributeValues={":s": {"S": "many"}},
    )
    assert client.scan(TableName="limits", ConsistentRead=True)["Count"] == 0


def test_an_index_comes_to_a_live_table_and_goes(client: Any) -> None:
    _create(client, "live")
    for n in range(250):
        _put(client, "live", f"p{n}", "s", place="here" if n % 2 else "there")
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set():
            n = len(written)
            _put(client, "live", f"p{n % 300}", "s", place="here", note=f"{n}")
            written.append(n)

    writer = threading.Thread(target=write)
    writer.start()
    index = {"IndexName": "late", "KeySchema": _schema("place"), "Projection": _projected("ALL")}
    try:
        answer = client.update_table(
            TableName="live",
            AttributeDefinitions=[{"AttributeName": "place", "AttributeType": "S"}],
            GlobalSecondaryIndexUpdates=[{"Create": index}],
        )
        (described,) = answer["TableDescription"]["GlobalSecondaryIndexes"]
        assert (described["IndexStatus"], described["Backfilling"]) == ("CREATING", True)
        eventually("the index is there", lambda: _status(client, "live") == "ACTIVE")
        assert client.describe_table(TableName="live")["Table"]["GlobalSecondaryIndexes"][0]["IndexStatus"] == "ACTIVE"
        again = len(written)
        eventually("writes went on", lambda: len(written) > again + 20)
    finally:
        stop.set()
        writer.join()

    def same() -> bool:
        table = _walk(client.scan, TableName="live", ConsistentRead=True)
        entries = _walk(client.scan, TableName="live", IndexName="late")
        return sorted(table, key=str) == sorted(entries, key=str)

    eventually("index and table agree", same)
    client.update_table(TableName="live", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "late"}}])
    eventually("the index is gone", lambda: _status(client, "live") == "ACTIVE")
    table = client.describe_table(TableName="live")["Table"]
    assert "GlobalSecondaryIndexes" not in table
    assert [d["AttributeName"] for d in table["AttributeDefinitions"]] == ["pk", "sk"]
    _put(client, "live", "p", "s", place=1)  # no key of anything any more


def _status(client: Any, name: str) -> str:
    status: str = client.describe_table(TableName=name)["Table"]["TableStatus"]
    return status


def test_a_snapshot_for_tests_brings_indexes_back(node: Server, client: Any) -> None:
    _create(client, "kept", LocalSecondaryIndexes=[BY_SCORE], GlobalSecondaryIndexes=[BY_PLACE])
    _put(client, "kept", "p", "s", place="here", score=1)
    node.snapshot("indexed")
    client.delete_table(TableName="kept")
    node.restore("indexed")
    described = client.describe_table(TableName="kept")["Table"]
    assert [index["IndexName"] for index in described["GlobalSecondaryIndexes"]] == ["by-place"]
    here = {":h": {"S": "here"}}
    eventually("fed again", lambda: len(_query(client, "kept", "by-place", "place = :h", here)) == 1)
    assert len(_query(client, "kept", "by-score", "pk = :h", {":h": {"S": "p"}}, ConsistentRead=True)) == 1


def test_throughput_of_indexes_goes_with_the_billing_mode(client: Any) -> None:
    _create(client, "billed", GlobalSecondaryIndexes=[BY_PLACE])
    units = {"ReadCapacityUnits": 3, "WriteCapacityUnits": 2}
    change: dict[str, Any] = {"TableName": "billed", "BillingMode": "PROVISIONED", "ProvisionedThroughput": units}
    text = "One or more parameter values were invalid: ProvisionedThroughput must be specified for index: by-place"
    assert _message(client.update_table, **change) == text
    update = {"Update": {"IndexName": "by-place", "ProvisionedThroughput": units}}
    client.update_table(**change, GlobalSecondaryIndexUpdates=[update])
    (index,) = client.describe_table(TableName="billed")["Table"]["GlobalSecondaryIndexes"]
    assert index["ProvisionedThroughput"] == {**units, "NumberOfDecreasesToday": 0}
    again = [{"Update": {"IndexName": "by-place", "ProvisionedThroughput": units}}]
    refused = _message(client.update_table, TableName="billed", GlobalSecondaryIndexUpdates=again)
    assert refused.startswith("The provisioned throughput for the index by-place will not change.")
    client.update_table(TableName="billed", BillingMode="PAY_PER_REQUEST")
    (index,) = client.describe_table(TableName="billed")["Table"]["GlobalSecondaryIndexes"]
    assert index["ProvisionedThroughput"]["ReadCapacityUnits"] == 0
    two = [{"Delete": {"IndexName": name}} for name in ("by-place", "other")]
    refused = _message(client.update_table, TableName="billed", GlobalSecondaryIndexUpdates=two)
    assert refused.startswith("Subscriber limit exceeded: Only 1 online index")
    gone = [{"Delete": {"IndexName": "other"}}]
    assert _message(client.update_table, TableName="billed", GlobalSecondaryIndexUpdates=gone) == (
        "Requested resource not found"
    )


def test_what_is_older_than_an_index_and_does_not_fit_stays_out_of_it(client: Any) -> None:
    _create(client, "older")
    client.put_item(TableName="older", Item={"pk": {"S": "p"}, "sk": {"S": "s"}, "place": {"N": "1"}})
    _put(client, "older", "q", "s", place="here")
    index = {"IndexName": "late", "KeySchema": _schema("place"), "Projection": _projected("ALL")}
    client.update_table(
        TableName="older",
        AttributeDefinitions=[{"AttributeName": "place", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[{"Create": index}],
    )
    eventually("the index is there", lambda: _status(client, "older") == "ACTIVE")
    assert [i["pk"]["S"] for i in client.scan(TableName="older", IndexName="late")["Items"]] == ["q"]
    key = {"pk": {"S": "p"}, "sk": {"S": "s"}}
    one = {":one": {"N": "1"}}
    client.update_item(TableName="older", Key=key, UpdateExpression="SET n = :one", ExpressionAttributeValues=one)
    change = {"TableName": "older", "Key": key, "UpdateExpression": "SET place = :v"}
    two = {":v": {"N": "2"}}
    assert "Type mismatch for Index Key place" in _message(client.update_item, **change, ExpressionAttributeValues=two)
    client.update_item(**change, ExpressionAttributeValues={":v": {"S": "here"}})
    eventually("it entered", lambda: client.scan(TableName="older", IndexName="late")["Count"] == 2)


def test_an_index_with_several_key_attributes(client: Any) -> None:
    index = {
        "IndexName": "wide",
        "KeySchema": _schema("place", "sk", "pk", "score", hashes=2),
        "Projection": _projected("KEYS_ONLY"),
    }
    _create(client, "wide", GlobalSecondaryIndexes=[index])
    for n in range(12):
        _put(client, "wide", f"p{n % 3}", "s", place="here", score=n)
    # Each p overwrites its former item: p0 has 9, p1 has 10, p2 has 11.
    here = {":h": {"S": "here"}, ":s": {"S": "s"}}
    both = "place = :h AND sk = :s"
    eventually("all there", lambda: len(_query(client, "wide", "wide", both, here, Limit=1)) == 3)
    one = {**here, ":p": {"S": "p1"}, ":n": {"N": "5"}}
    assert len(_query(client, "wide", "wide", f"{both} AND pk = :p AND score > :n", one)) == 1
    asked: dict[str, Any] = {"TableName": "wide", "IndexName": "wide"}
    assert "missed key schema element: sk" in _message(
        client.query,
        **asked,
        KeyConditionExpression="place = :h",
        ExpressionAttributeValues={":h": {"S": "here"}},
    )
    assert "missed key schema element: pk" in _message(
        client.query,
        **asked,
        KeyConditionExpression=f"{both} AND score > :n",
        ExpressionAttributeValues={**here, ":n": {"N": "5"}},
    )


def test_an_index_keeps_up_while_a_node_dies(three: Cluster) -> None:
    client = three.client()
    _create(client, "survivor", LocalSecondaryIndexes=[BY_SCORE], GlobalSecondaryIndexes=[BY_PLACE])
    for n in range(60):
        if n == 20:
            three.kill(1)
        if n == 40:
            three.start(1)
        _put(client, "survivor", f"p{n % 20}", "s", place="here", score=n)
    here = {":h": {"S": "here"}}

    def scores() -> list[int]:
        return [int(i["score"]["N"]) for i in _query(client, "survivor", "by-place", "place = :h", here, Limit=7)]

    eventually("the index has followed", lambda: scores() == list(range(40, 60)))
    local = _walk(client.scan, TableName="survivor", IndexName="by-score", ConsistentRead=True)
    assert sorted(int(item["score"]["N"]) for item in local) == list(range(40, 60))
    client.delete_table(TableName="survivor")
