"""An unmodified boto3 against the HTTP server and the API: signing, checksums, waiters, pages, all types.

The backend is the in-memory one of the API's unit tests; real nodes are under it in the integration tests.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import boto3
import pytest
from boto3.dynamodb.conditions import Attr, Key
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.api.memory_backend import MemoryBackend
from tests.runtime.http_loop import ServerThread

from gramme.api.dynamodb.service import DynamoDbApi


@pytest.fixture(scope="module")
def resource() -> Iterator[Any]:
    backend = MemoryBackend()
    api = DynamoDbApi(backend, backend.clock, random.Random(1))
    thread = ServerThread(api.handle)
    yield boto3.resource(
        "dynamodb",
        endpoint_url=f"http://127.0.0.1:{thread.port}",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    thread.stop()
    assert thread.errors == []


@pytest.fixture(scope="module")
def table(resource: Any) -> Any:
    created = resource.create_table(
        TableName="events",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    created.wait_until_exists()
    return created


def test_all_types_round_trip(table: Any) -> None:
    item = {
        "pk": "types",
        "sk": Decimal("-1.5"),
        "number": Decimal("12345678901234567890123456789012345678"),
        "text": "h\u00e9llo \U0001f600",
        "yes": True,
        "nothing": None,
        "list": [Decimal(1), "x", {"deep": [b"\x00\xff"]}],
        "strings": {"a", "b"},
        "numbers": {Decimal(1), Decimal("2.5")},
    }
    table.put_item(Item=item)
    assert table.get_item(Key={"pk": "types", "sk": Decimal("-1.50")})["Item"] == item


def test_query_pages_updates_and_conditions(table: Any) -> None:
    with table.batch_writer() as batch:
        for index in range(60):
            batch.put_item(Item={"pk": "walk", "sk": index, "even": index % 2 == 0})
    pages = table.meta.client.get_paginator("query").paginate(
        TableName="events",
        KeyConditionExpression=Key("pk").eq("walk") & Key("sk").between(10, 49),
        FilterExpression=Attr("even").eq(True),
        PaginationConfig={"PageSize": 7},
    )
    assert [item["sk"] for page in pages for item in page["Items"]] == list(range(10, 50, 2))
    updated = table.update_item(
        Key={"pk": "walk", "sk": 3},
        UpdateExpression="SET label = :l ADD hits :one",
        ExpressionAttributeValues={":l": "x", ":one": 2},
        ReturnValues="UPDATED_NEW",
    )
    assert updated["Attributes"] == {"label": "x", "hits": 2}
    with pytest.raises(table.meta.client.exceptions.ConditionalCheckFailedException):
        table.delete_item(Key={"pk": "walk", "sk": 3}, ConditionExpression=Attr("hits").gt(2))


def test_a_large_page_comes_whole(table: Any) -> None:
    for index in range(12):
        table.put_item(Item={"pk": "large", "sk": index, "data": "abc" * 30_000})
    page = table.query(KeyConditionExpression=Key("pk").eq("large"))
    assert [len(item["data"]) for item in page["Items"]] == [90_000] * 12


def test_errors_carry_type_text_and_request_id(resource: Any) -> None:
    with pytest.raises(ClientError) as caught:
        resource.meta.client.get_item(TableName="missing", Key={"pk": {"S": "a"}})
    error = caught.value.response
    assert error["Error"] == {"Code": "ResourceNotFoundException", "Message": "Requested resource not found"}
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert len(error["ResponseMetadata"]["RequestId"]) == 52


def test_delete_and_the_waiter(resource: Any, table: Any) -> None:
    table.delete()
    table.wait_until_not_exists()
    assert list(resource.tables.all()) == []
