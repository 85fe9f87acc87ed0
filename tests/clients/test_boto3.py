"""boto3, client and resource, over a real server: the everyday calls, unmodified."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr, Key

from gramme.testing import Server


def _orders(gramme: Server) -> Any:
    table = gramme.resource().create_table(
        TableName="orders",
        KeySchema=[
            {"AttributeName": "customer", "KeyType": "HASH"},
            {"AttributeName": "number", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "customer", "AttributeType": "S"},
            {"AttributeName": "number", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    table.wait_until_exists()
    return table


def test_resource(gramme: Server) -> None:
    table = _orders(gramme)
    with table.batch_writer() as batch:
        for number in range(60):
            batch.put_item({"customer": "ada", "number": number, "total": Decimal(number) / 4, "tags": {"a", "b"}})
    found = table.query(KeyConditionExpression=Key("customer").eq("ada") & Key("number").between(10, 12))
    assert [item["total"] for item in found["Items"]] == [Decimal("2.5"), Decimal("2.75"), Decimal(3)]
    cheap = table.scan(FilterExpression=Attr("total").lt(1) & Attr("tags").contains("a"), ConsistentRead=True)
    assert cheap["Count"] == 4
    updated = table.update_item(
        Key={"customer": "ada", "number": 1},
        UpdateExpression="SET #t = :t ADD tags :more",
        ConditionExpression=Attr("total").exists(),
        ExpressionAttributeNames={"#t": "total"},
        ExpressionAttributeValues={":t": Decimal("9.99"), ":more": {"c"}},
        ReturnValues="UPDATED_NEW",
    )
    assert updated["Attributes"] == {"total": Decimal("9.99"), "tags": {"a", "b", "c"}}
    table.delete()
    table.wait_until_not_exists()


def test_client_errors_are_the_services_own(gramme: Server) -> None:
    client = gramme.client()
    _orders(gramme)
    key = {"customer": {"S": "ada"}, "number": {"N": "1"}}
    client.put_item(TableName="orders", Item=key)
    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as failed:
        client.put_item(
            TableName="orders",
            Item=key,
            ConditionExpression="attribute_not_exists(customer)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert failed.value.response["Item"] == key
    with pytest.raises(client.exceptions.ResourceInUseException):
        _orders(gramme)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_item(TableName="missing", Key=key)
    with pytest.raises(client.exceptions.ClientError, match="ValidationException"):
        client.get_item(TableName="orders", Key={"customer": {"S": "ada"}})


def test_paginators(gramme: Server) -> None:
    client = gramme.client()
    table = _orders(gramme)
    for number in range(7):
        table.put_item(Item={"customer": "bob", "number": number})
    pages = client.get_paginator("scan").paginate(TableName="orders", PaginationConfig={"PageSize": 3})
    assert sum(page["Count"] for page in pages) == 7
    assert [page["TableNames"] for page in client.get_paginator("list_tables").paginate()] == [["orders"]]
