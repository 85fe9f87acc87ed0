"""GetShardIterator: a place in a shard, as a token.

TRIM_HORIZON needs no partition: the oldest record is looked for when the iterator is used. The other kinds ask the
leader, so that LATEST leaves out whatever has been acknowledged before, wherever the iterator is used then.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.streams import iterators
from gramme.api.dynamodb.streams.names import group_of, position_of
from gramme.api.dynamodb.streams.shards import known, order, read, shard_not_found, shard_of, trimmed
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.tables.descriptor import Partition
from gramme.tables.streams import Changes, Position, ReadChanges, StreamDescriptor

_INVALID: Final = "One or more parameter values were invalid: "
_BY_SEQUENCE: Final = ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")

_encode: Final = msgspec.json.Encoder().encode


def start(call: Call) -> None:
    """Begin GetShardIterator."""
    call.run(_get(call))


async def _get(call: Call) -> None:
    body = call.body
    _check(call, body)
    arn = body["StreamArn"]
    group = group_of(await known(call, arn), body["ShardId"])
    if group is None:
        raise shard_not_found()
    stream, place = await shard_of(call, arn, group)
    at = iterators.HORIZON
    if body["ShardIteratorType"] != "TRIM_HORIZON":
        at = await _position(call, stream, place, body)
    token = iterators.encode(iterators.ShardIterator(arn, group, at), call.env.clock.timestamp())
    call.answer(_encode({"ShardIterator": token}))


def _check(call: Call, body: dict[str, Any]) -> None:
    """What can be judged without the shard. Raises ApiError."""
    kind, number, time = body["ShardIteratorType"], body.get("SequenceNumber"), body.get("Timestamp")
    if number is not None and kind not in _BY_SEQUENCE:
        raise validation(f"{_INVALID}SequenceNumber should not be passed for this iterator type")
    if time is not None and kind != "AT_TIMESTAMP":
        raise validation(f"{_INVALID}Timestamp should not be passed for this iterator type")
    if kind in _BY_SEQUENCE and (number is None or not number.isdecimal()):
        raise validation(f"{_INVALID}Invalid SequenceNumber")
    if kind == "AT_TIMESTAMP" and time is None:
        raise validation(f"{_INVALID}Timestamp must be passed for this iterator type")
    if time is not None and time * SECOND > call.env.clock.timestamp():
        raise validation(f"{_INVALID}Timestamp cannot be in the future")


async def _position(call: Call, stream: StreamDescriptor, place: Partition, body: dict[str, Any]) -> Position:
    bounds = await read(call, stream, place, ReadChanges(stream.label, iterators.HORIZON, 0, consistent=True))
    kind = body["ShardIteratorType"]
    if kind == "LATEST":
        return bounds.end
    if kind == "AT_TIMESTAMP":
        return await _first_since(call, stream, place, bounds, int(body["Timestamp"] * 1_000) * MILLISECOND)
    at = position_of(body["SequenceNumber"])
    if at is None or not _within(bounds, at):
        raise validation("Invalid SequenceNumber for the shard")
    if kind == "AFTER_SEQUENCE_NUMBER":
        at = Position(at.slot, at.index + 1)
    if order(at) < order(bounds.oldest):
        raise trimmed()
    return at


def _within(bounds: Changes, at: Position) -> bool:
    """Whether a record of the shard can stand or have stood there."""
    end = bounds.end.slot if bounds.last is None else bounds.last
    return bounds.first <= at.slot <= max(bounds.first, end)


async def _first_since(
    call: Call, stream: StreamDescriptor, place: Partition, bounds: Changes, since_ns: int
) -> Position:
    """Where the first record stands that was made at or after `since_ns`.

    By bisection over slots: stamps grow with them, and all records of a slot have the slot's. Everything before `low`
    is older, nothing at or behind `high` is.
    """
    low, high = bounds.oldest.slot, bounds.end.slot + 1
    while low < high:
        middle = (low + high) // 2
        request = ReadChanges(stream.label, Position(middle, 0), 1, consistent=True)
        found = (await read(call, stream, place, request)).records
        if found and found[0].stamp < since_ns:
            low = found[0].at.slot + 1
        else:
            high = middle
    return max(Position(low, 0), bounds.oldest, key=order)
