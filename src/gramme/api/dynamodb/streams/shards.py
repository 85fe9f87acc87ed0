"""Finding streams and shards: from an ARN or an iterator to the partition that can tell.

Owns the cache of stream descriptors. What GetRecords needs of one (key, view, partitions) does not change while the
stream lives, so the catalog is asked once per node and stream, and again only when a partition is missing or gone;
whether shards are closed is always the partition's word. Rule: DescribeStream and ListStreams never use the cache.
"""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import ApiError, unreachable
from gramme.api.dynamodb.streams.names import stream_arn, stream_name, stream_not_found
from gramme.api.tasks import Waiter
from gramme.kernel.ids import GroupId
from gramme.tables.catalog import CatalogReply
from gramme.tables.descriptor import Partition
from gramme.tables.requests import Failed, FailureKind
from gramme.tables.streams import (
    Changes,
    DescribeStream,
    Position,
    ReadChanges,
    StreamDescriptor,
    StreamList,
    StreamRequest,
)

_REMEMBERED: Final = 1_000  # streams


async def ask(call: Call, request: StreamRequest) -> StreamList:
    """The catalog's answer. Raises ApiError."""
    waiter: Waiter[CatalogReply] = Waiter()
    call.env.backend.catalog(request, call.deadline, waiter)
    reply = await waiter
    if isinstance(reply, StreamList):
        return reply
    if isinstance(reply, Failed):
        raise call.failure(reply)
    raise TypeError(f"unexpected catalog reply {type(reply).__name__}")


async def newest(call: Call, arn: str) -> StreamDescriptor:
    """The stream as the catalog has it now. Raises ApiError."""
    name = stream_name(call.env.settings, arn)
    call.table_name = name[0]
    remembered = call.env.streams
    found = (await ask(call, DescribeStream(*name))).streams
    if not found:
        remembered.pop(name, None)
        raise stream_not_found(arn)
    if len(remembered) >= _REMEMBERED and name not in remembered:
        remembered.clear()
    remembered[name] = found[0]
    return found[0]


async def known(call: Call, arn: str) -> StreamDescriptor:
    """The stream as this node knows it, or else as the catalog has it. Raises ApiError."""
    name = stream_name(call.env.settings, arn)
    call.table_name = name[0]
    return call.env.streams.get(name) or await newest(call, arn)


def partition_of(stream: StreamDescriptor, group: GroupId) -> Partition | None:
    """The partition behind a shard of `stream`."""
    return next((partition for partition in stream.partitions if partition.group == group), None)


async def shard_of(call: Call, arn: str, group: GroupId) -> tuple[StreamDescriptor, Partition]:
    """The stream and the partition behind one of its shards. Raises ApiError."""
    stream = await known(call, arn)
    place = partition_of(stream, group)
    if place is None:
        stream = await newest(call, arn)
        place = partition_of(stream, group)
        if place is None:
            raise shard_not_found()
    return stream, place


def shard_not_found() -> ApiError:
    """No such shard in the stream."""
    return ApiError("ResourceNotFoundException", "Requested resource not found: Shard does not exist")


def trimmed() -> ApiError:
    """The place is older than the oldest record that is kept."""
    return ApiError("TrimmedDataAccessException", "The data you are trying to access has been trimmed")


def order(at: Position) -> tuple[int, int]:
    """For comparing places."""
    return at.slot, at.index


async def read(call: Call, stream: StreamDescriptor, place: Partition, request: ReadChanges) -> Changes:
    """Have the partition tell. Raises ApiError; it is no ResourceNotFoundException while the stream exists."""
    waiter: Waiter[Changes | Failed] = Waiter()
    call.env.backend.read_changes(place, request, call.deadline, waiter)
    reply = await waiter
    if isinstance(reply, Changes):
        return reply
    if reply.kind is not FailureKind.NO_TABLE:
        raise call.failure(reply)
    await newest(call, stream_arn(call.env.settings, stream.table, stream.label))
    raise unreachable()
