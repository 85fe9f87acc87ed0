"""The inputs of the stream operations, as data for `shapes`. Source: the DynamoDB Streams service model (botocore)."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.shapes import (
    TABLE_NAME,
    InputShape,
    IntegerShape,
    Member,
    StringShape,
    StructureShape,
    TimestampShape,
)

_STRING: Final = StringShape()
_INTEGER: Final = IntegerShape()

_STREAM: Final = Member("StreamArn", _STRING, required=True, minimum=37, maximum=1024)
_LIMIT: Final = Member("Limit", _INTEGER, minimum=1)

DESCRIBE_STREAM: Final = InputShape(
    "DescribeStream",
    (
        _LIMIT,
        Member("ExclusiveStartShardId", _STRING, minimum=28, maximum=65),
        _STREAM,
        Member(
            "ShardFilter",
            StructureShape(
                "ShardFilter",
                (
                    Member("Type", _STRING, required=True, enum=("CHILD_SHARDS",)),
                    Member("ShardId", _STRING, required=True, minimum=28, maximum=65),
                ),
            ),
        ),
    ),
)

GET_RECORDS: Final = InputShape(
    "GetRecords", (_LIMIT, Member("ShardIterator", _STRING, required=True, minimum=1, maximum=2048))
)

GET_SHARD_ITERATOR: Final = InputShape(
    "GetShardIterator",
    (
        Member("ShardId", _STRING, required=True, minimum=28, maximum=65),
        Member(
            "ShardIteratorType",
            _STRING,
            required=True,
            enum=("AFTER_SEQUENCE_NUMBER", "AT_SEQUENCE_NUMBER", "AT_TIMESTAMP", "LATEST", "TRIM_HORIZON"),
        ),
        Member("SequenceNumber", _STRING, minimum=21, maximum=40),
        _STREAM,
        Member("Timestamp", TimestampShape()),
    ),
)

LIST_STREAMS: Final = InputShape(
    "ListStreams",
    (
        Member("ExclusiveStartStreamArn", _STRING, minimum=37, maximum=1024),
        _LIMIT,
        Member("TableName", _STRING, minimum=3, maximum=255, pattern=TABLE_NAME),
    ),
)
