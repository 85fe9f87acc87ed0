"""DescribeStream: a stream and its shards, in pages, or the children of one shard.

The catalog knows which partitions write the stream; each partition's leader tells where its shard begins and whether
it is closed. Shards come in the order of their ids, which is the order of their birth, parents before children.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import unreachable, validation
from gramme.api.dynamodb.streams.names import sequence_number, shard_id, stream_arn
from gramme.api.dynamodb.streams.shards import newest
from gramme.api.tasks import Gather
from gramme.kernel.time import SECOND
from gramme.tables.descriptor import KeySchema, Partition
from gramme.tables.requests import Failed, FailureKind
from gramme.tables.streams import Changes, Position, ReadChanges, StreamDescriptor

_PAGE: Final = 100
_NOWHERE: Final = Position(0, 0)  # the oldest place of a shard that its partition has not begun yet

_encode: Final = msgspec.json.Encoder().encode


def start(call: Call) -> None:
    """Begin DescribeStream."""
    call.run(_describe(call))


async def _describe(call: Call) -> None:
    body = call.body
    limit = body.get("Limit") or _PAGE
    if limit > _PAGE:
        raise validation(
            f"One or more parameter values were invalid: Limit cannot be greater than the maximum: {_PAGE}"
        )
    if body.get("ShardFilter") is not None and body.get("ExclusiveStartShardId") is not None:
        raise validation("ShardFilter and ExclusiveStartShardId both should not be specified in the request.")
    stream = await newest(call, body["StreamArn"])
    wanted = _wanted(stream, body)
    shards = await _shards(call, stream, [place for _, place in wanted[:limit]])
    description: dict[str, Any] = {
        "StreamArn": stream_arn(call.env.settings, stream.table, stream.label),
        "StreamLabel": stream.label,
        "StreamStatus": stream.status,
        "StreamViewType": stream.view,
        "CreationRequestDateTime": round(stream.created / SECOND, 3),
        "TableName": stream.table,
        "KeySchema": _key_schema(stream.key),
        "Shards": shards,
    }
    if len(wanted) > limit:
        description["LastEvaluatedShardId"] = wanted[limit - 1][0]
    call.answer(_encode({"StreamDescription": description}))


def _wanted(stream: StreamDescriptor, body: dict[str, Any]) -> list[tuple[str, Partition]]:
    """Ids and partitions of the shards asked for, in order."""
    if body.get("ShardFilter") is not None:
        return []  # partitions are not split yet: no shard has children
    after = body.get("ExclusiveStartShardId") or ""
    named = ((shard_id(stream, place.group), place) for place in stream.partitions)
    return sorted(((name, place) for name, place in named if name > after), key=lambda shard: shard[0])


async def _shards(call: Call, stream: StreamDescriptor, places: list[Partition]) -> list[dict[str, Any]]:
    request = ReadChanges(stream.label, Position(0, 0), 0, consistent=True)
    replies: Gather[Changes | Failed] = Gather(len(places))
    for slot, place in enumerate(places):
        call.env.backend.read_changes(place, request, call.deadline, replies.slot(slot))
    shards = []
    for place, reply in zip(places, await replies, strict=True):
        if isinstance(reply, Failed):
            raise unreachable() if reply.kind is FailureKind.NO_TABLE else call.failure(reply)
        if reply.oldest != _NOWHERE:
            shards.append({"ShardId": shard_id(stream, place.group), "SequenceNumberRange": _range(reply)})
    return shards


def _range(reply: Changes) -> dict[str, str]:
    # A shard lives as long as its partition, much longer than a record: it is said to start where it can be read from.
    bounds = {"StartingSequenceNumber": sequence_number(reply.oldest)}
    if reply.last is not None:
        bounds["EndingSequenceNumber"] = sequence_number(Position(reply.last, 0))
    return bounds


def _key_schema(key: KeySchema) -> list[dict[str, str]]:
    kinds = ("HASH", "RANGE")
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(key.names, kinds, strict=False)]
