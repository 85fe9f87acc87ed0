"""GetShardIterator and GetRecords over the in-memory backend: places, pages, ends, tokens, and the errors of each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.caller import event
from tests.api.streaming import ARN, BOTH, arn_of, iterator, put, records_of, shards_of, streaming, switch

from gramme.api.dynamodb.streams import iterators
from gramme.api.dynamodb.streams.names import position_of, sequence_number
from gramme.kernel.ids import GroupId
from gramme.kernel.time import SECOND, Timestamp
from gramme.tables.requests import Failed, FailureKind
from gramme.tables.streams import Position

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
