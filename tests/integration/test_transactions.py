"""Transactions as boto3 meets them, at an embedded node and at three: all or nothing, tokens, conflicts, indexes.

Faults are left to `test_bank`; here every node runs. Source: issue 4, "Transactions".
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from botocore.config import Config
from tests.integration.support import create_table, eventually

from gramme.testing import Cluster, Server

pytestmark = pytest.mark.seconds(14)

_TEN_MINUTES_MS = 600_000


@pytest.fixture(params=["embedded", "three nodes"])
def endpoint(request: pytest.FixtureRequest) -> Server | Cluster:
    """Without tables."""
    shape: Server | Cluster = request.getfixturevalue("node" if request.param == "embedded" else "three")
    shape.reset()
    return shape


@pytest.fixture
def client(endpoint: Server | Cluster) -> Any:
    """A client with two tables, `accounts` (pk) and `entries` (pk, sk), that tries nothing again by itself."""
    made = endpoint.client(config=Config(retries={"total_max_attempts": 1}))
    create_table(made, "accounts")
    create_table(made, "entries", range_key=True)
    return made


def _account(name: str, **attributes: Any) -> dict[str, Any]:
    return {"pk": {"S": name}, **attributes}


def _entry(name: str, number: int, **attributes: Any) -> dict[str, Any]:
    return {"pk": {"S": name}, "sk": {"S": f"{number:03}"}, **attributes}


def _put(table: str, item: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": item, **members}}


def _add(name: str, amount: int, **members: Any) -> dict[str, Any]:
    return {
        "Update": {
            "TableName": "accounts",
            "Key": _account(name),
            "UpdateExpression": "ADD n :amount",
            "ExpressionAttributeValues": {":amount": {"N": str(amount)}},
            **members,
        }
    }


def _delete(table: str, key: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"Delete": {"TableName": table, "Key": key, **members}}


def _exists(table: str, key: dict[str, Any]) -> dict[str, Any]:
    return {"ConditionCheck": {"TableName": table, "Key": key, "ConditionExpression": "attribute_exists(pk)"}}


def _read(client: Any, *keys: tuple[str, dict[str, Any]]) -> list[dict[str, Any] | None]:
    gets = [{"Get": {"TableName": table, "Key": key}} for table, key in keys]
    answer = client.transact_get_items(TransactItems=gets)
    assert [bool(entry) for entry in answer["Responses"]] == ["Item" in entry for entry in answer["Responses"]]
    return [entry.get("Item") for entry in answer["Responses"]]


def _item(client: Any, table: str, key: dict[str, Any]) -> dict[str, Any] | None:
    item: dict[str, Any] | None = client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return item


def _rows(client: Any) -> int:
    return sum(
        int(client.scan(TableName=table, ConsistentRead=True, Select="COUNT")["Count"])
        for table in ("accounts", "entries")
    )


def test_every_action_is_seen_as_soon_as_the_answer_is_there(client: Any) -> None:
    for name in ("old", "gone", "seen"):
        client.put_item(TableName="accounts", Item=_account(name, n={"N": "1"}))
    client.transact_write_items(
        TransactItems=[
            _add("old", 41),
            _delete("accounts", _account("gone"), ConditionExpression="attribute_exists(pk)"),
            _exists("accounts", _account("seen")),
            _put("accounts", _account("new"), ConditionExpression="attribute_not_exists(pk)"),
            *(_put("entries", _entry("e", number, x={"S": str(number)})) for number in range(20)),
        ]
    )
    keys = [("accounts", _account(name)) for name in ("old", "gone", "seen", "new")]
    keys += [("entries", _entry("e", number)) for number in range(20)]
    expected: list[dict[str, Any] | None] = [
        _account("old", n={"N": "42"}),
        None,
        _account("seen", n={"N": "1"}),
        _account("new"),
        *(_entry("e", number, x={"S": str(number)}) for number in range(20)),
    ]
    assert [_item(client, table, key) for table, key in keys] == expected
    assert _read(client, *keys) == expected


def test_a_reason_for_every_action_and_nothing_done(client: Any) -> None:
    client.put_item(TableName="accounts", Item=_account("a", s={"S": "text"}))
    client.put_item(TableName="entries", Item=_entry("e", 1, big={"S": "x" * 300_000}))
    before = _rows(client)
    growing = {
        "Update": {
            "TableName": "entries",
            "Key": _entry("e", 1),
            "UpdateExpression": "SET more = big",
        }
    }
    with pytest.raises(client.exceptions.TransactionCanceledException) as caught:
        client.transact_write_items(
            TransactItems=[
                _put("accounts", _account("new")),
                _put(
                    "accounts",
                    _account("a"),
                    ConditionExpression="attribute_not_exists(pk)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                ),
                _exists("accounts", _account("missing")),
                growing,
                _put("entries", _entry("e", 2)),
            ]
        )
    failed = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
    too_large = "Item size to update has exceeded the maximum allowed size"
    assert caught.value.response["CancellationReasons"] == [
        {"Code": "None"},
        {**failed, "Item": _account("a", s={"S": "text"})},
        failed,
        {"Code": "ValidationError", "Message": too_large},
        {"Code": "None"},
    ]
    assert _rows(client) == before
    with pytest.raises(client.exceptions.TransactionCanceledException) as caught:
        client.transact_write_items(
            TransactItems=[_put("accounts", _account("new")), _add("a", 1, UpdateExpression="SET s = s + :amount")]
        )
    text = "An operand in the update expression has an incorrect data type"
    assert caught.value.response["CancellationReasons"] == [
        {"Code": "None"},
        {"Code": "ValidationError", "Message": text},
    ]
    assert _rows(client) == before
    # Nothing of these transactions is left to be in the way.
    client.transact_write_items(TransactItems=[_put("accounts", _account("new")), _put("entries", _entry("e", 2))])
    client.delete_item(TableName="accounts", Key=_account("a"))
    assert _rows(client) == before + 1


def test_a_hundred_items_and_four_megabytes(client: Any) -> None:
    items = [_put("accounts", _account(f"k{number}", x={"S": "y" * 41_000})) for number in range(100)]
    client.transact_write_items(TransactItems=items)
    read = _read(client, *(("accounts", _account(f"k{number}")) for number in range(100)))
    assert [len(item["x"]["S"]) for item in read if item is not None] == [41_000] * 100
    doubled = [
        {"Update": {"TableName": "accounts", "Key": _account(f"k{number}"), "UpdateExpression": "SET y = x"}}
        for number in range(100)
    ]
    for items in (doubled, doubled[:60]):  # a small request; and where no partition alone has too much
        with pytest.raises(client.exceptions.ClientError, match="Transaction payload size cannot exceed 4MB"):
            client.transact_write_items(TransactItems=items)
    client.transact_write_items(TransactItems=doubled[:50])
    client.transact_write_items(
        TransactItems=[_delete("accounts", _account(f"k{number}")) for number in range(100)],
    )
    assert _rows(client) == 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_token_makes_a_transaction_happen_once(endpoint: Server | Cluster, client: Any, count: int) -> None:
    """At whichever node the request arrives again; `count` 1 is a transaction of one partition."""
    items = [_add("a", 1), _put("entries", _entry("e", 1))][:count]
    token = f"token-{count}"
    request = {"TransactItems": items, "ReturnConsumedCapacity": "TOTAL", "ClientRequestToken": token}
    first = client.transact_write_items(**request)
    assert [usage["WriteCapacityUnits"] for usage in first["ConsumedCapacity"]] == [2.0] * count
    for again in _every_node(endpoint):
        answer = again.transact_write_items(**request)
        assert [usage["ReadCapacityUnits"] for usage in answer["ConsumedCapacity"]] == [2.0] * count
        assert _read(again, ("accounts", _account("a"))) == [_account("a", n={"N": "1"})]
        with pytest.raises(again.exceptions.IdempotentParameterMismatchException):
            again.transact_write_items(TransactItems=[_add("a", 2)], ClientRequestToken=token)

    def forgotten() -> bool:
        """Ten minutes count from when the coordinator has told the ledger that all is done, a moment later."""
        endpoint.advance_clock(_TEN_MINUTES_MS + 1_000)
        client.transact_write_items(**request)
        return _item(client, "accounts", _account("a")) == _account("a", n={"N": "2"})

    eventually("the token is free again", forgotten)


def test_a_canceled_transaction_frees_its_token(client: Any) -> None:
    items = [_put("entries", _entry("e", 1)), _exists("accounts", _account("a"))]
    for _ in range(2):
        with pytest.raises(client.exceptions.TransactionCanceledException):
            client.transact_write_items(TransactItems=items, ClientRequestToken="t")
    client.put_item(TableName="accounts", Item=_account("a"))
    client.transact_write_items(TransactItems=items, ClientRequestToken="t")
    assert _item(client, "entries", _entry("e", 1)) == _entry("e", 1)


def _every_node(endpoint: Server | Cluster) -> list[Any]:
    if isinstance(endpoint, Server):
        return [endpoint.client()]
    return [endpoint.client(endpoint_url=endpoint.node_url(node)) for node in range(endpoint.nodes)]


def test_tables_that_are_missing_or_made_anew(endpoint: Server | Cluster, client: Any) -> None:
    others = _every_node(endpoint)
    for other in others:  # every router knows the table
        assert _read(other, ("accounts", _account("a"))) == [None]
    client.delete_table(TableName="accounts")
    for other in others:
        with pytest.raises(other.exceptions.ResourceNotFoundException):
            other.transact_write_items(TransactItems=[_put("entries", _entry("e", 1)), _put("accounts", _account("a"))])
        with pytest.raises(other.exceptions.ResourceNotFoundException):
            _read(other, ("entries", _entry("e", 1)), ("accounts", _account("a")))
    assert _item(client, "entries", _entry("e", 1)) is None
    create_table(client, "accounts")
    for number, other in enumerate(others):
        other.transact_write_items(TransactItems=[_put("accounts", _account(str(number))), _exists_not(number)])
        assert _read(other, ("accounts", _account(str(number)))) == [_account(str(number))]


def _exists_not(number: int) -> dict[str, Any]:
    check = _exists("entries", _entry("nothing", number))
    check["ConditionCheck"]["ConditionExpression"] = "attribute_not_exists(pk)"
    return check


def test_indexes_follow(endpoint: Server | Cluster, client: Any) -> None:
    name = "indexed"
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk", "g")],
        LocalSecondaryIndexes=[
            {
                "IndexName": "local",
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "g", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "global",
                "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    items = [_entry(pk, number, g={"S": f"g{number}"}) for pk in "abc" for number in range(3)]
    answer = client.transact_write_items(
        TransactItems=[_put(name, item) for item in items],
        ReturnConsumedCapacity="INDEXES",
        ReturnItemCollectionMetrics="SIZE",
    )
    units = dict.fromkeys(("CapacityUnits", "WriteCapacityUnits"), 9.0)
    assert answer["ConsumedCapacity"] == [
        {
            "TableName": name,
            "CapacityUnits": 36.0,
            "WriteCapacityUnits": 36.0,
            "Table": {"CapacityUnits": 18.0, "WriteCapacityUnits": 18.0},
            "LocalSecondaryIndexes": {"local": units},
            "GlobalSecondaryIndexes": {"global": units},
        }
    ]
    collections = answer["ItemCollectionMetrics"][name]
    assert [metrics["ItemCollectionKey"] for metrics in collections] == [{"pk": {"S": pk}} for pk in "abc"]
    local = client.query(
        TableName=name,
        IndexName="local",
        ConsistentRead=True,
        KeyConditionExpression="pk = :p AND g = :g",
        ExpressionAttributeValues={":p": {"S": "b"}, ":g": {"S": "g1"}},
    )
    assert local["Items"] == [_entry("b", 1, g={"S": "g1"})]
    client.transact_write_items(
        TransactItems=[
            _delete(name, _entry("a", 1)),
            _put(name, _entry("b", 1, g={"S": "g2"})),
            {"ConditionCheck": {"TableName": name, "Key": _entry("c", 1), "ConditionExpression": "g = :g",
                                "ExpressionAttributeValues": {":g": {"S": "g1"}}}},
        ]
    )  # fmt: skip
    expected = {"g0": 3, "g1": 1, "g2": 4}

    def fed() -> bool:
        rows = client.scan(TableName=name, IndexName="global")["Items"]
        return Counter(row["g"]["S"] for row in rows) == expected

    eventually("the global index", fed)
    with pytest.raises(client.exceptions.TransactionCanceledException) as caught:
        client.transact_write_items(TransactItems=[_put(name, _entry("z", 1, g={"N": "1"})), _add("a", 1)])
    reason, none = caught.value.response["CancellationReasons"]
    assert (reason["Code"], none) == ("ValidationError", {"Code": "None"})
    assert reason["Message"].startswith("One or more parameter values were invalid: Type mismatch for Index Key g ")
    with pytest.raises(client.exceptions.ClientError, match="cannot contain an empty string value"):
        client.transact_write_items(TransactItems=[_put(name, _entry("z", 1, g={"S": ""})), _add("a", 1)])
    assert _item(client, "accounts", _account("a")) is None


def test_concurrent_transactions_and_plain_writes_lose_nothing(endpoint: Server | Cluster, client: Any) -> None:
    """Each worker adds to both of two accounts at once, or to one of them alone; readers never see half of it."""
    done: list[Counter[str]] = [Counter() for _ in range(4)]
    stop = threading.Event()
    problems: list[BaseException] = []

    def work(number: int, own: Any) -> None:
        try:
            while not stop.is_set():
                try:
                    own.transact_write_items(TransactItems=[_add("a", 1), _add("b", 1)])
                    done[number]["both"] += 1
                except own.exceptions.TransactionCanceledException as error:
                    codes = [reason["Code"] for reason in error.response["CancellationReasons"]]
                    assert "TransactionConflict" in codes, codes
                    assert set(codes) <= {"TransactionConflict", "None"}, codes
                    done[number]["canceled"] += 1
                if number == 0:
                    try:
                        own.update_item(TableName="accounts", **_alone())
                        done[number]["alone"] += 1
                    except own.exceptions.TransactionConflictException:
                        done[number]["refused"] += 1
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            problems.append(error)

    clients = _every_node(endpoint)
    threads = [threading.Thread(target=work, args=(i, clients[i % len(clients)])) for i in range(len(done))]
    for thread in threads:
        thread.start()
    try:
        eventually("fifty transactions", lambda: problems or sum(counts["both"] for counts in done) >= 50)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    both, alone = (sum(counts[kind] for counts in done) for kind in ("both", "alone"))
    first, second = _read(client, ("accounts", _account("a")), ("accounts", _account("b")))
    assert first == _account("a", n={"N": str(both + alone)})
    assert second == _account("b", n={"N": str(both)})


def _alone() -> dict[str, Any]:
    return {
        "Key": _account("a"),
        "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
