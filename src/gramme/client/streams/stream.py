"""Streams and their shards, as an endpoint describes them.

Rule of order: a shard may be read when its parent has been read to its end, and a later stream of a table when all
shards of the earlier ones have. So the changes of an item are met in the order in which they were made. Source: AWS
developer guide, "Change data capture for DynamoDB Streams" (shards and their parents).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from gramme.client.endpoint import Endpoint
from gramme.client.errors import ServiceError
from gramme.kernel.errors import InvalidInput


class Shard(msgspec.Struct, frozen=True):
    """One shard. `stream` is the ARN; `parent` an id, or None; `closed` when nothing more will be written to it."""

    stream: str
    id: str
    parent: str | None
    closed: bool

    @property
    def label(self) -> str:
        """Of the stream; labels of a table sort by age."""
        return label_of(self.stream)

    @property
    def name(self) -> str:
        """Unique among all shards of a table."""
        return f"{self.label}/{self.id}"


def label_of(arn: str) -> str:
    """The label at the end of a stream's ARN."""
    return arn.rpartition("/stream/")[2]


def latest_stream(endpoint: Endpoint, table: str) -> str | None:
    """The ARN of the table's stream; None while it has none, or it is off. Raises ServiceError, Unreachable."""
    description = endpoint.call("DescribeTable", {"TableName": table})["Table"]
    enabled: bool = description.get("StreamSpecification", {}).get("StreamEnabled", False)
    arn: str | None = description.get("LatestStreamArn") if enabled else None
    return arn


def required_stream(endpoint: Endpoint, table: str) -> str:
    """As `latest_stream`. Raises InvalidInput, saying what to do, if there is none."""
    try:
        arn = latest_stream(endpoint, table)
    except ServiceError as error:
        if error.name == "ResourceNotFoundException":
            raise InvalidInput(f"there is no table {table}") from None
        raise
    if arn is None:
        raise InvalidInput(f"table {table} has no stream: turn one on with UpdateTable, StreamSpecification")
    return arn


def streams_of(endpoint: Endpoint, table: str, since: str) -> list[str]:
    """ARNs of the table's streams whose label is not older than `since`, oldest first. Raises as `latest_stream`."""
    arns: list[str] = []
    body: dict[str, Any] = {"TableName": table}
    while True:
        page = endpoint.call("ListStreams", body)
        arns += [stream["StreamArn"] for stream in page["Streams"]]
        last = page.get("LastEvaluatedStreamArn")
        if not last:
            return sorted((arn for arn in arns if label_of(arn) >= since), key=label_of)
        body["ExclusiveStartStreamArn"] = last


def shards_of(endpoint: Endpoint, arn: str) -> list[Shard]:
    """The stream's shards; none if the stream is gone. Raises ServiceError, Unreachable."""
    shards: list[Shard] = []
    body: dict[str, Any] = {"StreamArn": arn}
    while True:
        try:
            page = endpoint.call("DescribeStream", body)["StreamDescription"]
        except ServiceError as error:
            if error.name == "ResourceNotFoundException":
                return shards
            raise
        shards += [
            Shard(
                arn,
                shard["ShardId"],
                shard.get("ParentShardId"),
                "EndingSequenceNumber" in shard["SequenceNumberRange"],
            )
            for shard in page.get("Shards", ())
        ]
        last = page.get("LastEvaluatedShardId")
        if not last:
            return shards
        body["ExclusiveStartShardId"] = last


def readable(shards: Iterable[Shard], ended: Callable[[Shard], bool]) -> list[Shard]:
    """The shards to read now: not ended, no parent of theirs left to read, and none of an earlier stream's shards.

    A parent that is no longer described has been trimmed, and holds nobody up.
    """
    known = {(shard.stream, shard.id): shard for shard in shards}
    left = [shard for shard in known.values() if not ended(shard)]
    if not left:
        return []
    first = min(shard.label for shard in left)
    now = [shard for shard in left if shard.label == first]
    waiting = {shard.id for shard in now}
    return sorted((shard for shard in now if shard.parent not in waiting), key=lambda shard: shard.id)
