"""What streams, shards and records are called on the wire: ARNs, shard ids, sequence numbers.

Owns the spelling only, and it keeps no state: a shard's id is made of its stream and its partition's group, a sequence
number of the place in that group's log, so every node reads what any other has written. Rules that clients rely on:
shard ids and sequence numbers sort (as text and as numbers) in the order of their birth, a sequence number does not
begin with a zero, lengths are within the service's (ShardId 28 to 65, SequenceNumber 21 to 40). Source: API reference,
DynamoDB Streams; the Kinesis Client Library compares sequence numbers as whole numbers.
"""

from __future__ import annotations

import re
from typing import Final

from gramme.api.dynamodb.errors import ApiError, access_denied, validation
from gramme.api.dynamodb.settings import ApiSettings
from gramme.kernel.crc import crc32c
from gramme.kernel.ids import GroupId
from gramme.kernel.time import MILLISECOND
from gramme.tables.streams import Position, StreamDescriptor

_ARN: Final = re.compile(
    r"arn:aws:dynamodb:([a-z0-9-]+):([0-9]+):table/([a-zA-Z0-9_.-]{3,255})/stream/"
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15})"
)
_SHARD: Final = re.compile(r"shardId-[0-9]{20}-([0-9a-f]{16})[0-9a-f]{8}")
_SEQUENCE: Final = re.compile(r"1([0-9]{19})([0-9]{6})")
_MAX_SLOT: Final = 2**63 - 1

StreamName = tuple[str, str]
"""Table and label: one incarnation of the table's stream."""


def stream_arn(settings: ApiSettings, table: str, label: str) -> str:
    """The ARN of a stream."""
    return f"{settings.table_arn(table)}/stream/{label}"


def stream_name(settings: ApiSettings, arn: str) -> StreamName:
    """The stream that an ARN names.

    Raises ApiError: ValidationException if it is no stream's ARN, AccessDeniedException for another account's,
    ResourceNotFoundException for another region's.
    """
    match = _ARN.fullmatch(arn)
    if match is None:
        raise validation(f"Invalid StreamArn: {arn}")
    region, account, table, label = match.groups()
    if account != settings.account_id:
        raise access_denied(f"The resource {arn} belongs to another account")
    if region != settings.region:
        raise stream_not_found(arn)
    return table, label


def stream_not_found(arn: str) -> ApiError:
    """No such stream, or it ended more than 24 hours ago."""
    return ApiError("ResourceNotFoundException", f"Requested resource not found: Stream: {arn} not found")


def shard_id(stream: StreamDescriptor, group: GroupId) -> str:
    """The shard that the partition `group` writes for `stream`.

    Clients read the milliseconds of its creation out of an id (the Kinesis adapter, Flink): the stream's stand there.
    Groups are numbered as they come into being, so ids sort parents before children. The last eight digits keep shards
    of another stream from passing for this one's.
    """
    return f"shardId-{stream.created // MILLISECOND:020d}-{group:016x}{_mark(stream):08x}"


def group_of(stream: StreamDescriptor, shard: str) -> GroupId | None:
    """The partition that writes the shard; None if no shard of `stream` can be called that."""
    match = _SHARD.fullmatch(shard)
    if match is None:
        return None
    group = GroupId(int(match[1], 16))
    return group if shard == shard_id(stream, group) else None


def _mark(stream: StreamDescriptor) -> int:
    return crc32c(f"{stream.table_id}/{stream.label}".encode())


def sequence_number(at: Position) -> str:
    """The sequence number of the record at `at`: slot, then index in the slot."""
    return f"1{at.slot:019d}{at.index:06d}"


def position_of(sequence: str) -> Position | None:
    """The place that a sequence number names; None if it is none of ours."""
    match = _SEQUENCE.fullmatch(sequence)
    if match is None or int(match[1]) > _MAX_SLOT:
        return None
    return Position(int(match[1]), int(match[2]))
