"""The stream operations over the in-memory backend: shapes, rules, texts and order of errors, pages, iterators."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.caller import HASH_TABLE, RANGE_TABLE, Caller, event

from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.dynamodb.streams import iterators
from gramme.api.dynamodb.streams.names import position_of, sequence_number
from gramme.kernel.ids import GroupId
from gramme.kernel.time import SECOND, Timestamp
from gramme.tables.keys import encode_key
from gramme.tables.requests import Failed, FailureKind
from gramme.tables.streams import Position

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/events/stream/"
BOTH = "NEW_AND_OLD_IMAGES"


def streaming(view: str = BOTH, partitions: int = 4, settings: ApiSettings | None = None) -> Caller:
    """An endpoint with the table `events`, whose stream is on."""
    caller = Caller(settings, partitions)
    specification = {"StreamEnabled": True, "StreamViewType": view}
    caller.call("CreateTable", {**RANGE_TABLE, "StreamSpecification": specification})
    return caller


def arn_of(caller: Caller) -> str:
    arn: str = caller.call("DescribeTable", {"TableName": "events"})["Table"]["LatestStreamArn"]
    return arn


def shards_of(caller: Caller, arn: str | None = None) -> list[dict[str, Any]]:
    answer = caller.call("DescribeStream", {"StreamArn": arn or arn_of(caller)})
    shards: list[dict[str, Any]] = answer["StreamDescription"]["Shards"]
    return shards


def iterator(caller: Caller, shard: dict[str, Any], kind: str = "TRIM_HORIZON", **more: Any) -> str:
    body = {"StreamArn": arn_of(caller), "ShardId": shard["ShardId"], "ShardIteratorType": kind, **more}
    token: str = caller.call("GetShardIterator", body)["ShardIterator"]
    return token


def records_of(caller: Caller, **more: Any) -> list[dict[str, Any]]:
    """All records of all shards, shard by shard."""
    found: list[dict[str, Any]] = []
    for shard in shards_of(caller):
        page = caller.call("GetRecords", {"ShardIterator": iterator(caller, shard), **more})
        while page["Records"]:
            found += page["Records"]
            page = caller.call("GetRecords", {"ShardIterator": page["NextShardIterator"], **more})
    return found


def put(caller: Caller, pk: str, sk: int = 0, **attributes: Any) -> None:
    caller.call("PutItem", {"TableName": "events", "Item": event(pk, sk, **attributes)})


def switch(caller: Caller, view: str | None) -> Any:
    specification = {"StreamEnabled": view is not None, **({} if view is None else {"StreamViewType": view})}
    return caller.call("UpdateTable", {"TableName": "events", "StreamSpecification": specification})


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


# --- GetShardIterator


def test_iterator_types() -> None:
    caller = streaming(partitions=1)
    for number in range(5):
        put(caller, "a", number)
        caller.backend.clock.now += 10 * SECOND
    shard = shards_of(caller)[0]
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records_of(caller)]

    def read(kind: str, **more: Any) -> list[str]:
        page = caller.call("GetRecords", {"ShardIterator": iterator(caller, shard, kind, **more)})
        return [record["dynamodb"]["SequenceNumber"] for record in page["Records"]]

    assert read("TRIM_HORIZON") == numbers
    assert read("LATEST") == []
    start = shard["SequenceNumberRange"]["StartingSequenceNumber"]
    assert read("AT_SEQUENCE_NUMBER", SequenceNumber=start) == numbers
    for index, number in enumerate(numbers):
        assert read("AT_SEQUENCE_NUMBER", SequenceNumber=number) == numbers[index:]
        assert read("AFTER_SEQUENCE_NUMBER", SequenceNumber=number) == numbers[index + 1 :]
    born = caller.backend.clock.timestamp() / SECOND - 50
    for seconds, first in ((-1e9, 0), (0, 0), (0.001, 1), (10, 1), (25, 3), (40, 4), (40.5, 5), (50, 5)):
        assert read("AT_TIMESTAMP", Timestamp=born + seconds) == numbers[first:], seconds
    # What begins behind everything misses nothing of what comes.
    ends = [iterator(caller, shard, "LATEST"), iterator(caller, shard, "AT_TIMESTAMP", Timestamp=born + 50)]
    ends.append(iterator(caller, shard, "AFTER_SEQUENCE_NUMBER", SequenceNumber=numbers[-1]))
    put(caller, "a", 9)
    for token in ends:
        assert len(caller.call("GetRecords", {"ShardIterator": token})["Records"]) == 1


def test_what_an_iterator_type_needs() -> None:
    caller = streaming()
    shard = shards_of(caller)[0]
    body = {"StreamArn": arn_of(caller), "ShardId": shard["ShardId"]}
    invalid = "One or more parameter values were invalid: "
    number = "1" + "0" * 25
    now = caller.backend.clock.timestamp() / SECOND
    for more, text in (
        ({"ShardIteratorType": "AT_SEQUENCE_NUMBER"}, f"{invalid}Invalid SequenceNumber"),
        (
            {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "x" * 30},
            f"{invalid}Invalid SequenceNumber",
        ),
        (
            {"ShardIteratorType": "LATEST", "SequenceNumber": number},
            f"{invalid}SequenceNumber should not be passed for this iterator type",
        ),
        (
            {"ShardIteratorType": "LATEST", "Timestamp": 5},
            f"{invalid}Timestamp should not be passed for this iterator type",
        ),
        ({"ShardIteratorType": "AT_TIMESTAMP"}, f"{invalid}Timestamp must be passed for this iterator type"),
        (
            {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": now + 0.01},
            f"{invalid}Timestamp cannot be in the future",
        ),
        (
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": number},
            "Invalid SequenceNumber for the shard",
        ),
        (
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": "9" * 40},
            "Invalid SequenceNumber for the shard",
        ),
    ):
        assert caller.invalid("GetShardIterator", {**body, **more}) == text
    assert caller.invalid("GetShardIterator", {**body, "ShardIteratorType": "bulle"}).endswith(
        "[AFTER_SEQUENCE_NUMBER, AT_SEQUENCE_NUMBER, AT_TIMESTAMP, LATEST, TRIM_HORIZON]"
    )
    assert caller.refuse("GetShardIterator", {**body, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": "5"}) == (
        "SerializationException",
        "STRING_VALUE cannot be converted to Timestamp",
    )


def test_shards_that_do_not_exist() -> None:
    caller = streaming()
    shard = shards_of(caller)[0]["ShardId"]
    switch(caller, None)
    switch(caller, BOTH)
    of_the_second = shards_of(caller)[0]["ShardId"]
    assert shard != of_the_second
    of_no_partition = of_the_second[:29] + "f" * 16 + of_the_second[45:]
    assert len(of_no_partition) == len(of_the_second)
    for name in ("x" * 30, shard, "shardId-" + "9" * 20 + of_the_second[28:], of_no_partition):
        body = {"StreamArn": arn_of(caller), "ShardId": name, "ShardIteratorType": "TRIM_HORIZON"}
        text = "Requested resource not found: Shard does not exist"
        assert caller.refuse("GetShardIterator", body) == ("ResourceNotFoundException", text)


# --- GetRecords


def test_pages_joined_are_the_shard() -> None:
    caller = streaming(partitions=1)
    for number in range(25):
        put(caller, "a", number)
    whole = records_of(caller)
    assert [record["dynamodb"]["Keys"]["sk"]["N"] for record in whole] == [str(n) for n in range(25)]
    for limit in (1, 7, 25, 1000):
        assert records_of(caller, Limit=limit) == whole


def test_a_page_holds_one_megabyte() -> None:
    caller = streaming("NEW_IMAGE", partitions=1)
    for number in range(12):
        put(caller, "a", number, v={"S": "x" * 150_000})
    token: str | None = iterator(caller, shards_of(caller)[0])
    sizes = []
    while token is not None:
        page = caller.call("GetRecords", {"ShardIterator": token})
        if not page["Records"]:
            break
        sizes.append(sum(record["dynamodb"]["SizeBytes"] for record in page["Records"]))
        token = page["NextShardIterator"]
    assert sum(sizes) > 12 * 150_000
    assert all(size <= 1 << 20 for size in sizes)
    assert len(sizes) == 2


def test_limits_of_a_page() -> None:
    caller = streaming()
    token = iterator(caller, shards_of(caller)[0])
    text = "One or more parameter values were invalid: Limit should be less than or equal to 1000"
    assert caller.invalid("GetRecords", {"ShardIterator": token, "Limit": 1001}) == text
    assert caller.invalid("GetRecords", {"ShardIterator": token, "Limit": 0}).endswith("greater than or equal to 1")


def test_the_end_of_a_closed_shard() -> None:
    caller = streaming(partitions=1)
    put(caller, "a", 1)
    arn = arn_of(caller)
    token = iterator(caller, shards_of(caller)[0])
    latest = iterator(caller, shards_of(caller)[0], "LATEST")
    switch(caller, None)
    put(caller, "a", 2)  # in no stream
    description = caller.call("DescribeStream", {"StreamArn": arn})["StreamDescription"]
    assert description["StreamStatus"] == "DISABLED"
    bounds = description["Shards"][0]["SequenceNumberRange"]
    page = caller.call("GetRecords", {"ShardIterator": token, "Limit": 1})
    assert [record["dynamodb"]["Keys"] for record in page["Records"]] == [event("a", 1)]
    assert "NextShardIterator" not in page
    number = page["Records"][0]["dynamodb"]["SequenceNumber"]
    assert bounds["StartingSequenceNumber"] <= number <= bounds["EndingSequenceNumber"]
    assert caller.call("GetRecords", {"ShardIterator": latest}) == {"Records": []}
    body = {"StreamArn": arn, "ShardId": description["Shards"][0]["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    again = caller.call("GetShardIterator", body)["ShardIterator"]
    assert caller.call("GetRecords", {"ShardIterator": again}) == page


def test_the_stream_of_a_deleted_table_until_it_is_forgotten() -> None:
    caller = streaming()
    put(caller, "a", 1)
    arn = arn_of(caller)
    shards = shards_of(caller)
    tokens = [iterator(caller, shard) for shard in shards]
    caller.call("DeleteTable", {"TableName": "events"})
    assert len(caller.call("ListStreams", {"TableName": "events"})["Streams"]) == 1
    assert all("EndingSequenceNumber" in shard["SequenceNumberRange"] for shard in shards_of(caller, arn))
    pages = [caller.call("GetRecords", {"ShardIterator": token}) for token in tokens]
    assert sum(len(page["Records"]) for page in pages) == 1
    assert not any("NextShardIterator" in page for page in pages)
    caller.backend.streams.forget("events")
    caller.backend.failures = [Failed(FailureKind.NO_TABLE)]  # the partition is gone, and this node does not know
    text = f"Requested resource not found: Stream: {arn} not found"
    assert caller.refuse("GetRecords", {"ShardIterator": tokens[0]}) == ("ResourceNotFoundException", text)
    assert caller.call("ListStreams", {}) == {"Streams": []}


def test_trimmed_data() -> None:
    caller = streaming(partitions=1)
    put(caller, "a", 1)
    shard = shards_of(caller)[0]
    number = records_of(caller)[0]["dynamodb"]["SequenceNumber"]
    at = iterator(caller, shard, "AT_SEQUENCE_NUMBER", SequenceNumber=number)
    horizon = iterator(caller, shard)
    caller.backend.streams.trim(arn_of(caller).removeprefix(ARN))
    put(caller, "a", 2)
    trimmed = ("TrimmedDataAccessException", "The data you are trying to access has been trimmed")
    assert caller.refuse("GetRecords", {"ShardIterator": at}) == trimmed
    body = {"StreamArn": arn_of(caller), "ShardId": shard["ShardId"]}
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        sent = {**body, "ShardIteratorType": kind, "SequenceNumber": number}
        assert caller.refuse("GetShardIterator", sent) == trimmed
    assert len(caller.call("GetRecords", {"ShardIterator": horizon})["Records"]) == 1
    start = shards_of(caller)[0]["SequenceNumberRange"]["StartingSequenceNumber"]
    from_start = iterator(caller, shard, "AT_SEQUENCE_NUMBER", SequenceNumber=start)
    assert len(caller.call("GetRecords", {"ShardIterator": from_start})["Records"]) == 1
    long_ago = iterator(caller, shard, "AT_TIMESTAMP", Timestamp=1)
    assert len(caller.call("GetRecords", {"ShardIterator": long_ago})["Records"]) == 1


def test_an_iterator_expires_after_a_quarter_of_an_hour() -> None:
    caller = streaming()
    token = iterator(caller, shards_of(caller)[0])
    caller.backend.clock.now += 15 * 60 * SECOND
    page = caller.call("GetRecords", {"ShardIterator": token})
    caller.backend.clock.now += SECOND
    text = "The provided iterator exceeds the maximum age allowed."
    assert caller.refuse("GetRecords", {"ShardIterator": token}) == ("ExpiredIteratorException", text)
    assert caller.call("GetRecords", {"ShardIterator": page["NextShardIterator"]})["Records"] == []


def test_foreign_and_damaged_iterators() -> None:
    caller = streaming()
    token = iterator(caller, shards_of(caller)[0])
    arn, _, sealed = token.rsplit("|", 2)
    for bad in ("x", "|", "||", f"{arn}|2|{sealed}", f"{arn}|1|", f"{arn}x|1|{sealed}", token[:-1], token + "A", "é||"):
        assert caller.invalid("GetRecords", {"ShardIterator": bad}) == "Invalid ShardIterator"
    for at, old in enumerate(token):
        new = "A" if old != "A" else "B"
        assert caller.invalid("GetRecords", {"ShardIterator": token[:at] + new + token[at + 1 :]})
    assert caller.invalid("GetRecords", {}).endswith("Member must not be null")


def test_a_partition_that_nobody_serves_is_no_missing_stream() -> None:
    caller = streaming()
    token = iterator(caller, shards_of(caller)[0])
    caller.backend.failures = [Failed(FailureKind.NO_TABLE)]
    answer = caller.raw("GetRecords", json.dumps({"ShardIterator": token}).encode())
    assert answer.status == 503
    caller.backend.failures = [Failed(FailureKind.NO_QUORUM)]
    answer = caller.raw("GetRecords", json.dumps({"ShardIterator": token}).encode())
    assert answer.status == 503


def test_reading_does_not_ask_the_catalog_again() -> None:
    caller = streaming()
    shard = shards_of(caller)[0]
    asked = caller.backend.streams.asked
    token = iterator(caller, shard)
    for _ in range(3):
        token = caller.call("GetRecords", {"ShardIterator": token})["NextShardIterator"]
    assert caller.backend.streams.asked == asked


# --- names and tokens


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(0, 999_999), st.integers(0, 2**63 - 1), st.integers(0, 999_999))
def test_sequence_numbers_order_as_places_do(slot: int, index: int, other_slot: int, other_index: int) -> None:
    one, other = Position(slot, index), Position(other_slot, other_index)
    assert position_of(sequence_number(one)) == one
    by_place = (slot, index) < (other_slot, other_index)
    assert (sequence_number(one) < sequence_number(other)) == by_place
    assert (int(sequence_number(one)) < int(sequence_number(other))) == by_place


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63), st.integers(0, 999_999), st.integers(0, 2**62))
def test_iterators_say_what_was_put_in(group: int, slot: int, index: int, now: int) -> None:
    given_out = iterators.ShardIterator(ARN + "x", GroupId(group), Position(slot, index))
    assert iterators.decode(iterators.encode(given_out, Timestamp(now)), Timestamp(now)) == given_out


@settings(deadline=None)
@given(st.text(max_size=80))
def test_no_text_is_taken_for_an_iterator(text: str) -> None:
    with pytest.raises(Exception, match="Invalid ShardIterator"):
        iterators.decode(text, Timestamp(0))
