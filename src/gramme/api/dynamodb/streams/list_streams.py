"""ListStreams: the streams of one table or of all, of the present and of the past 24 hours, in pages."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.streams.names import stream_arn, stream_name
from gramme.api.dynamodb.streams.shards import ask
from gramme.tables.streams import ListStreams

_PAGE: Final = 100

_encode: Final = msgspec.json.Encoder().encode


def start(call: Call) -> None:
    """Begin ListStreams."""
    call.run(_list(call))


async def _list(call: Call) -> None:
    body, settings = call.body, call.env.settings
    limit = body.get("Limit") or _PAGE
    if limit > _PAGE:
        raise validation(
            f"One or more parameter values were invalid: Limit cannot be greater than the maximum allowed size: {_PAGE}"
        )
    after = body.get("ExclusiveStartStreamArn")
    request = ListStreams(body.get("TableName"), None if after is None else stream_name(settings, after), limit)
    found = await ask(call, request)
    streams = [
        {
            "StreamArn": stream_arn(settings, stream.table, stream.label),
            "TableName": stream.table,
            "StreamLabel": stream.label,
        }
        for stream in found.streams
    ]
    answer: dict[str, Any] = {"Streams": streams}
    if found.more and streams:
        answer["LastEvaluatedStreamArn"] = streams[-1]["StreamArn"]
    call.answer(_encode(answer))
