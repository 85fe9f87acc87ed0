"""Streams of tables over the in-memory backend: turning them on and off, their records, ListStreams, DescribeStream."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.api.caller import HASH_TABLE, RANGE_TABLE, Caller, event
from tests.api.streaming import ARN, BOTH, arn_of, put, records_of, shards_of, streaming, switch

from gramme.api.dynamodb.settings import ApiSettings
from gramme.kernel.time import SECOND
from gramme.tables.keys import encode_key

# --- the table's side


def test_a_table_is_created_with_its_stream_and_says_so() -> None:
    caller = Caller()
    specification = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    created = caller.call("CreateTable", {**RANGE_TABLE, "StreamSpecification": specification})["TableDescription"]
    described = caller.call("DescribeTable", {"TableName": "events"})["Table"]
    for table in (created, described):
        assert table["StreamSpecification"] == specification
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", table["LatestStreamLabel"])
        assert table["LatestStreamArn"] == ARN + table["LatestStreamLabel"]


def test_a_table_without_a_stream_says_nothing_of_one() -> None:
    caller = Caller()
    caller.call("CreateTable", {**RANGE_TABLE, "StreamSpecification": {"StreamEnabled": False}})
    described = caller.call("DescribeTable", {"TableName": "events"})["Table"]
    assert not {"StreamSpecification", "LatestStreamArn", "LatestStreamLabel"} & set(described)


@pytest.mark.parametrize("operation", ["CreateTable", "UpdateTable"])
@pytest.mark.parametrize(
    ("specification", "text"),
    [
        (
            {},
            "1 validation error detected: Value null at 'streamSpecification.streamEnabled' failed to satisfy "
            "constraint: Member must not be null",
        ),
        (
            {"StreamEnabled": True, "StreamViewType": "Fisk"},
            "1 validation error detected: Value 'Fisk' at 'streamSpecification.streamViewType' failed to satisfy "
            "constraint: Member must satisfy enum value set: [NEW_IMAGE, OLD_IMAGE, NEW_AND_OLD_IMAGES, KEYS_ONLY]",
        ),
        (
            {"StreamEnabled": True},
            "Invalid StreamViewType: Stream ViewType must not be null or empty when enabling streams.",
        ),
        (
            {"StreamEnabled": False, "StreamViewType": BOTH},
            "Invalid StreamViewType: Stream StreamEnabled was false but a StreamViewType was present.",
        ),
    ],
)
def test_bad_specifications(operation: str, specification: dict[str, Any], text: str) -> None:
    caller = Caller()
    body = {"TableName": "events"} if operation == "UpdateTable" else RANGE_TABLE
    assert caller.invalid(operation, {**body, "StreamSpecification": specification}) == text
    assert caller.call("ListTables", {}) == {"TableNames": []}


def test_turning_a_stream_off_and_on_gives_a_new_one() -> None:
    caller = streaming()
    first = arn_of(caller)
    text = "Table already has an enabled stream: TableName: events"
    again = {"TableName": "events", "StreamSpecification": {"StreamEnabled": True, "StreamViewType": BOTH}}
    assert caller.invalid("UpdateTable", again) == text
    off = switch(caller, None)["TableDescription"]
    assert "StreamSpecification" not in off
    assert off["LatestStreamArn"] == first
    nothing = {"TableName": "events", "StreamSpecification": {"StreamEnabled": False}}
    assert caller.invalid("UpdateTable", nothing) == "Table has no stream to disable: TableName: events"
    on = switch(caller, "KEYS_ONLY")["TableDescription"]
    assert on["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    assert on["LatestStreamArn"] > first  # even though the clock stood still
    arns = [stream["StreamArn"] for stream in caller.call("ListStreams", {"TableName": "events"})["Streams"]]
    assert arns == [first, on["LatestStreamArn"]]


def test_a_stream_is_not_switched_together_with_throughput() -> None:
    caller = streaming()
    body = {
        "TableName": "events",
        "StreamSpecification": {"StreamEnabled": False},
        "ProvisionedThroughput": {"ReadCapacityUnits": 7, "WriteCapacityUnits": 7},
    }
    text = "One or more parameter values were invalid: You cannot modify stream status while updating table IOPS"
    assert caller.invalid("UpdateTable", body) == text


# --- records


def test_the_records_of_an_item() -> None:
    caller = streaming(partitions=1)
    put(caller, "a", 1, v={"N": "1.50"})
    put(caller, "a", 1, v={"N": "1.5"})  # the same item again: no change, no record
    put(caller, "a", 1, v={"N": "2"})
    caller.call("DeleteItem", {"TableName": "events", "Key": event("a", 1)})
    caller.call("DeleteItem", {"TableName": "events", "Key": event("a", 1)})
    records = records_of(caller)
    assert [record["eventName"] for record in records] == ["INSERT", "MODIFY", "REMOVE"]
    now_s = caller.backend.clock.timestamp() // SECOND
    numbers = [record["dynamodb"].pop("SequenceNumber") for record in records]
    key_size, item_size = 3 + 4, 3 + 4 + 3
    assert [record["dynamodb"] for record in records] == [
        {
            "ApproximateCreationDateTime": now_s,
            "Keys": event("a", 1),
            "NewImage": event("a", 1, v={"N": "1.5"}),
            "SizeBytes": records[0]["dynamodb"]["SizeBytes"],
            "StreamViewType": BOTH,
        },
        {
            "ApproximateCreationDateTime": now_s,
            "Keys": event("a", 1),
            "NewImage": event("a", 1, v={"N": "2"}),
            "OldImage": event("a", 1, v={"N": "1.5"}),
            "SizeBytes": records[1]["dynamodb"]["SizeBytes"],
            "StreamViewType": BOTH,
        },
        {
            "ApproximateCreationDateTime": now_s,
            "Keys": event("a", 1),
            "OldImage": event("a", 1, v={"N": "2"}),
            "SizeBytes": key_size + item_size,
            "StreamViewType": BOTH,
        },
    ]
    for record in records:
        assert record["eventVersion"] == "1.1"
        assert record["eventSource"] == "aws:dynamodb"
        assert record["awsRegion"] == "us-east-1"
        assert re.fullmatch("[0-9a-f]{32}", record["eventID"])
        assert "userIdentity" not in record
    assert len({record["eventID"] for record in records}) == 3
    assert all(21 <= len(number) <= 40 and number.isdecimal() and number[0] != "0" for number in numbers)
    assert numbers == sorted(set(numbers))
    assert [record["eventID"] for record in records_of(caller)] == [record["eventID"] for record in records]


@pytest.mark.parametrize(
    ("view", "new", "old"),
    [("KEYS_ONLY", False, False), ("NEW_IMAGE", True, False), ("OLD_IMAGE", False, True), (BOTH, True, True)],
)
def test_view_types(view: str, new: bool, old: bool) -> None:
    caller = streaming(view)
    put(caller, "a", 1)
    put(caller, "a", 1, v={"S": "x"})
    caller.call("DeleteItem", {"TableName": "events", "Key": event("a", 1)})
    shown = [record["dynamodb"] for record in records_of(caller)]
    assert [change["StreamViewType"] for change in shown] == [view] * 3
    assert [change["Keys"] for change in shown] == [event("a", 1)] * 3
    assert [change.get("NewImage") for change in shown] == (
        [event("a", 1), event("a", 1, v={"S": "x"}), None] if new else [None] * 3
    )
    assert [change.get("OldImage") for change in shown] == (
        [None, event("a", 1), event("a", 1, v={"S": "x"})] if old else [None] * 3
    )


def test_what_the_service_deletes_bears_its_name() -> None:
    caller = streaming(settings=ApiSettings(region="eu-central-1"))
    put(caller, "a", 1)
    table = caller.backend.tables["events"]
    caller.backend.expire(table, encode_key(table.key, {"S": "a"}, {"N": "1"}))
    arn = arn_of(caller)
    assert arn.startswith("arn:aws:dynamodb:eu-central-1:")
    insert, remove = records_of(caller)
    assert remove["eventName"] == "REMOVE"
    assert remove["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    assert remove["awsRegion"] == "eu-central-1"
    assert "userIdentity" not in insert


# --- ListStreams


def test_list_streams_in_pages() -> None:
    caller = streaming()
    caller.call("CreateTable", {**HASH_TABLE, "StreamSpecification": {"StreamEnabled": True, "StreamViewType": BOTH}})
    switch(caller, None)
    switch(caller, BOTH)
    whole = caller.call("ListStreams", {})
    assert [stream["TableName"] for stream in whole["Streams"]] == ["events", "events", "users"]
    assert "LastEvaluatedStreamArn" not in whole
    for stream in whole["Streams"]:
        assert set(stream) == {"StreamArn", "TableName", "StreamLabel"}
    pages: list[Any] = []
    after: dict[str, Any] = {}
    while True:
        page = caller.call("ListStreams", {"Limit": 1, **after})
        pages += page["Streams"]
        if "LastEvaluatedStreamArn" not in page:
            break
        after = {"ExclusiveStartStreamArn": page["LastEvaluatedStreamArn"]}
    assert pages == whole["Streams"]
    assert len(caller.call("ListStreams", {"TableName": "events"})["Streams"]) == 2
    assert caller.call("ListStreams", {"TableName": "nothing"}) == {"Streams": []}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            {"Limit": 0},
            "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value "
            "greater than or equal to 1",
        ),
        (
            {"Limit": 101},
            "One or more parameter values were invalid: Limit cannot be greater than the maximum allowed size: 100",
        ),
        ({"ExclusiveStartStreamArn": "x" * 40}, "Invalid StreamArn: " + "x" * 40),
    ],
)
def test_list_streams_refusals(body: dict[str, Any], text: str) -> None:
    assert streaming().invalid("ListStreams", body) == text


# --- DescribeStream


def test_describe_stream() -> None:
    caller = streaming()
    arn = arn_of(caller)
    description = caller.call("DescribeStream", {"StreamArn": arn})["StreamDescription"]
    shards = description.pop("Shards")
    assert description == {
        "StreamArn": arn,
        "StreamLabel": arn.removeprefix(ARN),
        "StreamStatus": "ENABLED",
        "StreamViewType": BOTH,
        "CreationRequestDateTime": caller.backend.clock.timestamp() / SECOND,
        "TableName": "events",
        "KeySchema": RANGE_TABLE["KeySchema"],
    }
    names = [shard["ShardId"] for shard in shards]
    assert len(names) == 4
    assert names == sorted(set(names))
    assert all(28 <= len(name) <= 65 for name in names)
    # What the Kinesis adapter and Flink's connector do with an id:
    assert {int(name.split("-")[1]) for name in names} == {caller.backend.clock.timestamp() // 1_000_000}
    for shard in shards:
        assert set(shard) == {"ShardId", "SequenceNumberRange"}
        assert set(shard["SequenceNumberRange"]) == {"StartingSequenceNumber"}


def test_describe_stream_in_pages() -> None:
    caller = streaming()
    arn = arn_of(caller)
    names = [shard["ShardId"] for shard in shards_of(caller)]
    found: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = caller.call("DescribeStream", {"StreamArn": arn, "Limit": 3, **after})["StreamDescription"]
        found += [shard["ShardId"] for shard in page["Shards"]]
        if "LastEvaluatedShardId" not in page:
            break
        assert page["LastEvaluatedShardId"] == found[-1]
        after = {"ExclusiveStartShardId": page["LastEvaluatedShardId"]}
    assert found == names
    assert (
        caller.call("DescribeStream", {"StreamArn": arn, "Limit": 4})["StreamDescription"].get("LastEvaluatedShardId")
        is None
    )
    behind = caller.call("DescribeStream", {"StreamArn": arn, "ExclusiveStartShardId": "z" * 30})
    assert behind["StreamDescription"]["Shards"] == []


def test_children_of_a_shard() -> None:
    caller = streaming()
    body = {"StreamArn": arn_of(caller), "ShardFilter": {"Type": "CHILD_SHARDS", "ShardId": "shardId-" + "0" * 29}}
    assert caller.call("DescribeStream", body)["StreamDescription"]["Shards"] == []
    both = {**body, "ExclusiveStartShardId": "z" * 30}
    text = "ShardFilter and ExclusiveStartShardId both should not be specified in the request."
    assert caller.invalid("DescribeStream", both) == text
    other = {**body, "ShardFilter": {"Type": "ALL"}}
    assert "Member must satisfy enum value set: [CHILD_SHARDS]" in caller.invalid("DescribeStream", other)
    nobody = {**body, "ShardFilter": {"Type": "CHILD_SHARDS"}}
    assert "'shardFilter.shardId' failed to satisfy constraint" in caller.invalid("DescribeStream", nobody)


def test_streams_that_do_not_exist() -> None:
    caller = streaming()
    arn = arn_of(caller)
    shard = shards_of(caller)[0]
    more = {"ShardId": shard["ShardId"], "ShardIteratorType": "LATEST"}
    foreign = arn.replace("123456789012", "999999999999")
    for operation, rest in (("DescribeStream", {}), ("GetShardIterator", more)):
        assert caller.invalid(operation, {"StreamArn": "x" * 40, **rest}) == "Invalid StreamArn: " + "x" * 40
        year = arn.removeprefix(ARN)[:4]
        for gone in (arn.replace("events", "other"), arn.replace(year, "2001"), arn.replace("us-east-1", "eu-west-1")):
            refused = caller.refuse(operation, {"StreamArn": gone, **rest})
            assert refused == ("ResourceNotFoundException", f"Requested resource not found: Stream: {gone} not found")
        assert caller.refuse(operation, {"StreamArn": foreign, **rest})[0] == "AccessDeniedException"
        assert caller.invalid(operation, {"StreamArn": "short", **rest}).endswith("greater than or equal to 37")
