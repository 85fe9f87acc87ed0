"""Throttling on purpose, as a boto3 client without retries meets it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import gramme.testing
from gramme.testing import ControlRefused, Server

WRITE = "TableWriteProvisionedThroughputExceeded"


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with gramme.testing.server() as server:
        yield server


@pytest.fixture
def g(running: Server) -> Server:
    running.reset()
    for name, mode in (("on-demand", "PAY_PER_REQUEST"), ("provisioned", "PROVISIONED")):
        throughput = {"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}
        client(running).create_table(
            TableName=name,
            BillingMode=mode,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            **(throughput if mode == "PROVISIONED" else {}),
        )
    return running


def client(server: Server) -> Any:
    return server.client(config=Config(retries={"total_max_attempts": 1}))


def put(server: Server, table: str, key: str) -> dict[str, Any] | None:
    """Put an item; the error's answer if it was refused."""
    try:
        client(server).put_item(TableName=table, Item={"pk": {"S": key}})
    except ClientError as error:
        return dict(error.response)
    return None


def test_every_fourth_write_is_throttled_and_reads_are_not(g: Server) -> None:
    g.throttle("provisioned", 0.25, WRITE)
    refused = [number for number in range(8) if put(g, "provisioned", str(number)) is not None]
    assert refused == [3, 7]
    kept = client(g).scan(TableName="provisioned", ConsistentRead=True)["Items"]
    assert sorted(item["pk"]["S"] for item in kept) == ["0", "1", "2", "4", "5", "6"]
    g.throttle("provisioned", 0, WRITE)
    assert put(g, "provisioned", "3") is None


def test_the_error_names_reason_and_resource(g: Server) -> None:
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/"
    g.throttle("provisioned", 1, WRITE)
    answer = put(g, "provisioned", "x")
    assert answer is not None
    assert answer["Error"]["Code"] == "ProvisionedThroughputExceededException"
    assert answer["ThrottlingReasons"] == [{"reason": WRITE, "resource": arn + "provisioned"}]
    g.throttle("on-demand", 1, "IndexWriteKeyRangeThroughputExceeded", "by-time")
    answer = put(g, "on-demand", "x")
    assert answer is not None
    assert answer["Error"]["Code"] == "ThrottlingException"
    assert answer["throttlingReasons"] == [
        {"reason": "IndexWriteKeyRangeThroughputExceeded", "resource": arn + "on-demand/index/by-time"}
    ]


def test_parts_of_batches_come_back_unprocessed(g: Server) -> None:
    g.unprocessed("on-demand", 0.5)
    writes = [{"PutRequest": {"Item": {"pk": {"S": str(number)}}}} for number in range(10)]
    left = client(g).batch_write_item(RequestItems={"on-demand": writes})["UnprocessedItems"]
    assert left == {"on-demand": writes[1::2]}
    keys = [{"pk": {"S": str(number)}} for number in range(0, 10, 2)]
    answer = client(g).batch_get_item(RequestItems={"on-demand": {"Keys": keys, "ConsistentRead": True}})
    assert answer["UnprocessedKeys"] == {"on-demand": {"Keys": keys[1::2], "ConsistentRead": True}}
    assert answer["Responses"]["on-demand"] == keys[::2]
    assert put(g, "on-demand", "single") is None  # of batches only
    g.reset()


def test_a_batch_of_which_nothing_was_done_fails(g: Server) -> None:
    g.unprocessed("on-demand", 1)
    writes = [{"DeleteRequest": {"Key": {"pk": {"S": "x"}}}}]
    with pytest.raises(ClientError, match="ThrottlingException"):
        client(g).batch_write_item(RequestItems={"on-demand": writes})


def test_throttled_items_cancel_a_transaction(g: Server) -> None:
    g.throttle("provisioned", 0.5, WRITE)
    g.throttle("on-demand", 1, WRITE)
    own = client(g)
    items = [
        {"Put": {"TableName": table, "Item": {"pk": {"S": key}}}}
        for table, key in (("provisioned", "1"), ("provisioned", "2"), ("on-demand", "3"))
    ]
    with pytest.raises(own.exceptions.TransactionCanceledException) as caught:
        own.transact_write_items(TransactItems=items)
    reasons = caught.value.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "ProvisionedThroughputExceeded", "ThrottlingError"]
    assert "Message" not in reasons[0]
    gets = [{"Get": {"TableName": item["Put"]["TableName"], "Key": item["Put"]["Item"]}} for item in items]
    assert own.transact_get_items(TransactItems=gets)["Responses"] == [{}, {}, {}]  # reads are not throttled
    g.throttle("on-demand", 0, WRITE)
    g.throttle("provisioned", 0, WRITE)
    own.transact_write_items(TransactItems=items)
    assert own.transact_get_items(TransactItems=gets)["Responses"] == [{"Item": get["Get"]["Key"]} for get in gets]
    g.throttle("provisioned", 1, "TableReadMaxOnDemandThroughputExceeded")
    with pytest.raises(own.exceptions.TransactionCanceledException) as caught:
        own.transact_get_items(TransactItems=gets)
    assert [reason["Code"] for reason in caught.value.response["CancellationReasons"]] == [
        "ProvisionedThroughputExceeded", "ProvisionedThroughputExceeded", "None"
    ]  # fmt: skip


def test_reset_ends_throttling(g: Server) -> None:
    g.throttle("on-demand", 1, WRITE)
    g.reset()
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        client(g).put_item(TableName="on-demand", Item={"pk": {"S": "x"}})


@pytest.mark.parametrize(
    ("rate", "reason", "index", "message"),
    [
        (1.5, WRITE, "", "between 0 and 1"),
        (-0.1, WRITE, "", "between 0 and 1"),
        (1, "TableWriteTooMuch", "", "there is no reason 'TableWriteTooMuch'; there are: TableRead"),
        (1, WRITE, "by-time", "no other takes one"),
        (1, "IndexWriteProvisionedThroughputExceeded", "", "needs the index's name"),
    ],
)
def test_what_makes_no_sense_is_refused(g: Server, rate: float, reason: str, index: str, message: str) -> None:
    with pytest.raises(ControlRefused, match=message):
        g.throttle("on-demand", rate, reason, index)
    assert put(g, "on-demand", "x") is None
