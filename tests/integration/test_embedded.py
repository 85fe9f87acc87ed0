"""The embedded node as its users meet it: `gramme dev` in a process of its own, boto3 in front of it.

Rows of issue 2, "What a user can do", 2: every attribute type, batches, paging, waiters, and the service's errors.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from boto3.dynamodb.types import Binary
from botocore.exceptions import ClientError
from tests.integration.support import create_table, post

from gramme.testing import Server

ALL_TYPES: dict[str, Any] = {
    "pk": {"S": "all types"},
    "string": {"S": 'Zénobe "Gramme" \\ 🧲'},
    "empty": {"S": ""},
    "number": {"N": "-0.00000000000000000000000012345678901234567890123456789012345678"},
    # boto3's resource cannot read this one (it traps rounding of more than 38 digits), a client can.
    "large": {"N": "9.9999999999999999999999999999999999999E+125"},
    "binary": {"B": bytes(range(256))},
    "boolean": {"BOOL": False},
    "null": {"NULL": True},
    "list": {"L": [{"S": "a"}, {"N": "1"}, {"L": []}, {"M": {}}]},
    "map": {"M": {"inner": {"M": {"deep": {"SS": ["x"]}}}, "void": {"S": ""}}},
    "strings": {"SS": ["b", "a"]},
    "numbers": {"NS": ["3", "-1.5"]},
    "binaries": {"BS": [b"\x00", b"\xff"]},
}


def test_the_life_of_an_item(client: Any) -> None:
    create_table(client, "items")
    key = {"pk": {"S": "k"}}
    client.put_item(TableName="items", Item={**key, "n": {"N": "1"}})
    for consistent in (True, False):
        answer = client.get_item(TableName="items", Key=key, ConsistentRead=consistent)
        assert answer["Item"] == {**key, "n": {"N": "1"}}
    updated = client.update_item(
        TableName="items",
        Key=key,
        UpdateExpression="SET #v = :v ADD n :two",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":v": {"S": "new"}, ":two": {"N": "2"}},
        ReturnValues="ALL_NEW",
    )
    assert updated["Attributes"] == {**key, "n": {"N": "3"}, "value": {"S": "new"}}
    old = client.delete_item(TableName="items", Key=key, ReturnValues="ALL_OLD")
    assert old["Attributes"] == updated["Attributes"]
    assert "Item" not in client.get_item(TableName="items", Key=key, ConsistentRead=True)


def test_all_ten_types_come_back_as_they_went(client: Any) -> None:
    create_table(client, "types")
    client.put_item(TableName="types", Item=ALL_TYPES)
    item = client.get_item(TableName="types", Key={"pk": ALL_TYPES["pk"]}, ConsistentRead=True)["Item"]
    assert item.keys() == ALL_TYPES.keys()
    for name, value in ALL_TYPES.items():
        [(kind, given)] = value.items()
        [(kind_back, returned)] = item[name].items()
        assert kind_back == kind, name
        if kind in ("SS", "NS", "BS"):
            assert sorted(returned) == sorted(given), name
        elif kind == "N":
            assert Decimal(returned) == Decimal(given), name
        else:
            assert returned == given, name


def test_numbers_keep_38_digits_through_the_resource(node: Server, client: Any) -> None:
    create_table(client, "numbers")
    table = node.resource().Table("numbers")
    numbers = [
        Decimal("9.9999999999999999999999999999999999999E+37"),
        Decimal("-1E-130"),
        Decimal("12345678901234567890123456789012345678"),
        Decimal("0.1"),
        Decimal(0),
    ]
    table.put_item(Item={"pk": "n", "list": numbers, "set": set(numbers)})
    item = table.get_item(Key={"pk": "n"}, ConsistentRead=True)["Item"]
    assert item["list"] == numbers
    assert item["set"] == set(numbers)
    table.put_item(Item={"pk": "b", "data": Binary(b"\x00\xff")})
    assert table.get_item(Key={"pk": "b"}, ConsistentRead=True)["Item"]["data"].value == b"\x00\xff"


def test_conditions_decide(client: Any) -> None:
    create_table(client, "conditions")
    item = {"pk": {"S": "k"}, "n": {"N": "5"}}
    client.put_item(TableName="conditions", Item=item, ConditionExpression="attribute_not_exists(pk)")
    with pytest.raises(client.exceptions.ConditionalCheckFailedException):
        client.put_item(TableName="conditions", Item=item, ConditionExpression="attribute_not_exists(pk)")
    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as failed:
        client.delete_item(
            TableName="conditions",
            Key={"pk": {"S": "k"}},
            ConditionExpression="n > :n",
            ExpressionAttributeValues={":n": {"N": "5"}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert failed.value.response["Item"] == item
    client.delete_item(
        TableName="conditions",
        Key={"pk": {"S": "k"}},
        ConditionExpression="attribute_exists(pk) AND n >= :n",
        ExpressionAttributeValues={":n": {"N": "5.0"}},
    )


def test_batches_write_and_read(node: Server, client: Any) -> None:
    create_table(client, "batch-a", range_key=True)
    create_table(client, "batch-b")
    with node.resource().Table("batch-a").batch_writer() as batch:
        for i in range(120):
            batch.put_item(Item={"pk": f"p{i % 7}", "sk": f"{i:03}", "n": i})
    client.batch_write_item(
        RequestItems={
            "batch-b": [{"PutRequest": {"Item": {"pk": {"S": "one"}}}}],
            "batch-a": [{"DeleteRequest": {"Key": {"pk": {"S": "p0"}, "sk": {"S": "000"}}}}],
        }
    )
    keys = [{"pk": {"S": f"p{i % 7}"}, "sk": {"S": f"{i:03}"}} for i in range(99)]
    answer = client.batch_get_item(
        RequestItems={"batch-a": {"Keys": keys, "ConsistentRead": True}, "batch-b": {"Keys": [{"pk": {"S": "one"}}]}}
    )
    assert not answer["UnprocessedKeys"]
    assert sorted(int(item["n"]["N"]) for item in answer["Responses"]["batch-a"]) == list(range(1, 99))
    assert answer["Responses"]["batch-b"] == [{"pk": {"S": "one"}}]


def test_query_and_scan_page_through_everything_once(node: Server, client: Any) -> None:
    create_table(client, "pages", range_key=True)
    with node.resource().Table("pages").batch_writer() as batch:
        for i in range(200):
            batch.put_item(Item={"pk": f"p{i % 2}", "sk": f"{i:03}"})
    pages = client.get_paginator("query").paginate(
        TableName="pages",
        KeyConditionExpression="pk = :p AND sk BETWEEN :a AND :b",
        ExpressionAttributeValues={":p": {"S": "p1"}, ":a": {"S": "011"}, ":b": {"S": "150"}},
        ScanIndexForward=False,
        ConsistentRead=True,
        PaginationConfig={"PageSize": 7},
    )
    sort_keys = [item["sk"]["S"] for page in pages for item in page["Items"]]
    assert sort_keys == [f"{i:03}" for i in range(149, 10, -2)]
    scan = client.get_paginator("scan").paginate(TableName="pages", PaginationConfig={"PageSize": 13})
    assert sorted(item["sk"]["S"] for page in scan for item in page["Items"]) == [f"{i:03}" for i in range(200)]
    segments = [
        client.scan(TableName="pages", Segment=segment, TotalSegments=3, ConsistentRead=True)["Items"]
        for segment in range(3)
    ]
    assert sorted(item["sk"]["S"] for items in segments for item in items) == [f"{i:03}" for i in range(200)]
    counted = node.resource().Table("pages").query(KeyConditionExpression=Key("pk").eq("p0"), Select="COUNT")
    assert counted["Count"] == 100
    assert "Items" not in counted


def test_a_page_ends_at_a_megabyte(client: Any) -> None:
    create_table(client, "large", range_key=True)
    for i in range(5):
        item = {"pk": {"S": "p"}, "sk": {"S": str(i)}, "data": {"B": bytes(300_000)}}
        client.put_item(TableName="large", Item=item)
    first = client.query(
        TableName="large", KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": {"S": "p"}}
    )
    assert first["Count"] == 4
    assert first["LastEvaluatedKey"] == {"pk": {"S": "p"}, "sk": {"S": "3"}}


def test_tables_are_active_at_the_first_look(client: Any) -> None:
    description = create_table(client, "table", range_key=True, units=4_000)
    assert description["TableStatus"] == "CREATING"
    assert client.describe_table(TableName="table")["Table"]["TableStatus"] == "ACTIVE"
    first_look = {"Delay": 1, "MaxAttempts": 1}  # a waiter of an SDK that has to wait sleeps 20 s
    client.get_waiter("table_exists").wait(TableName="table", WaiterConfig=first_look)
    assert client.list_tables()["TableNames"] == ["table"]
    with pytest.raises(client.exceptions.ResourceInUseException):
        create_table(client, "table")
    assert client.delete_table(TableName="table")["TableDescription"]["TableStatus"] == "DELETING"
    client.get_waiter("table_not_exists").wait(TableName="table", WaiterConfig=first_look)
    assert client.list_tables()["TableNames"] == []


def test_a_table_made_again_is_another_table(client: Any) -> None:
    first = create_table(client, "again")
    client.put_item(TableName="again", Item={"pk": {"S": "old"}})
    client.delete_table(TableName="again")
    second = create_table(client, "again")
    assert first["TableId"] != second["TableId"]
    assert client.scan(TableName="again", ConsistentRead=True)["Items"] == []
    assert "Item" not in client.get_item(TableName="again", Key={"pk": {"S": "old"}}, ConsistentRead=True)


@pytest.mark.parametrize(
    ("operation", "arguments", "code", "message"),
    [
        ("get_item", {"TableName": "nowhere", "Key": {"pk": {"S": "x"}}}, "ResourceNotFoundException",
         "Requested resource not found"),
        ("describe_table", {"TableName": "nowhere"}, "ResourceNotFoundException",
         "Requested resource not found: Table: nowhere not found"),
        ("put_item", {"TableName": "errors", "Item": {"other": {"S": "x"}}}, "ValidationException",
         "One or more parameter values were invalid: Missing the key pk in the item"),
        ("put_item", {"TableName": "errors", "Item": {"pk": {"N": "1"}}}, "ValidationException",
         "One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N"),
        ("get_item", {"TableName": "errors", "Key": {"wrong": {"S": "x"}}}, "ValidationException",
         "The provided key element does not match the schema"),
        ("put_item", {"TableName": "errors", "Item": {"pk": {"S": "x"}, "data": {"S": "y" * 410_000}}},
         "ValidationException", "Item size has exceeded the maximum allowed size"),
    ],
)  # fmt: skip
def test_errors_are_those_of_the_service(
    client: Any, operation: str, arguments: dict[str, Any], code: str, message: str
) -> None:
    create_table(client, "errors")
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["Error"]["Message"] == message
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("operation", "body", "status", "type_"),
    [
        ("NoSuchOperation", b"{}", 400, "com.amazon.coral.service#UnknownOperationException"),
        (None, b"{}", 400, "com.amazon.coral.service#UnknownOperationException"),
        ("GetItem", b"", 400, "com.amazon.coral.service#SerializationException"),
        ("GetItem", b'{"TableName": "t"', 400, "com.amazon.coral.service#SerializationException"),
        ("GetItem", b"[]", 400, "com.amazon.coral.service#SerializationException"),
        ("GetItem", b'{"TableName": 5}', 400, "com.amazon.coral.service#SerializationException"),
        ("PutItem", b'{"TableName": "ttt", "Item": {"pk": {"B": "no base64!"}}}', 400,
         "com.amazon.coral.service#SerializationException"),
        ("GetItem", b"{}", 400, "com.amazon.coral.validate#ValidationException"),
    ],
)  # fmt: skip
def test_what_no_sdk_sends_is_answered(
    node: Server, operation: str | None, body: bytes, status: int, type_: str
) -> None:
    answer = post(node.endpoint_url, operation, body)
    assert (answer.status, answer.json["__type"]) == (status, type_)
    assert b"Traceback" not in answer.body
    assert len(answer.headers["x-amzn-RequestId"]) == 52


def test_an_oversized_body_is_413(node: Server) -> None:
    body = b'{"TableName": "' + b"x" * (16 << 20) + b'"}'
    try:
        answer = post(node.endpoint_url, "GetItem", body)
    except (BrokenPipeError, ConnectionResetError):
        return  # answered and closed before all of it was sent: the answer is lost with the connection
    assert answer.status == 413
