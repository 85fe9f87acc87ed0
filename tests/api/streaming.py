"""A table with a stream over the in-memory backend, and ways to read it; shared by the tests of streams."""

from __future__ import annotations

from typing import Any

from tests.api.caller import RANGE_TABLE, Caller, event

from gramme.api.dynamodb.settings import ApiSettings

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
