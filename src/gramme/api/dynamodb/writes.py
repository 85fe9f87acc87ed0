"""What PutItem, UpdateItem and DeleteItem share: sending the write, and the answer to a client from the partition's.

Rule: the write carries the id of the client's command, so that an SDK's re-send is applied once and gets the first
answer (issue 2, "Answers under trouble").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call, guarded, is_repeated
from gramme.api.dynamodb.capacity import Usage, collection
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import Reply, ReturnValues, WriteRequest, Written

_encode: Final = msgspec.json.Encoder().encode

_RETURN_VALUES: Final = {
    None: ReturnValues.NONE,
    "NONE": ReturnValues.NONE,
    "ALL_OLD": ReturnValues.ALL_OLD,
    "UPDATED_OLD": ReturnValues.UPDATED_OLD,
    "ALL_NEW": ReturnValues.ALL_NEW,
    "UPDATED_NEW": ReturnValues.UPDATED_NEW,
}


def return_values(body: dict[str, Any]) -> ReturnValues:
    """`ReturnValues` of a request whose shape has been checked."""
    return _RETURN_VALUES[body.get("ReturnValues")]


def returns_on_failure(body: dict[str, Any]) -> bool:
    """Whether a failed condition is to show the item."""
    return body.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"


def send(
    call: Call, table: TableDescriptor, request: WriteRequest, on_reply: Callable[[Reply], None] | None = None
) -> None:
    """Have the partition evaluate `request`, then answer the client, or have `on_reply` do so."""
    command_id = call.command_id(call.request.body)
    repeated = is_repeated(call.request.headers)
    answer = on_reply or _on_reply(call)
    call.env.backend.submit(table, request.key, request, command_id, call.deadline, answer, repeated)


def _answered(call: Call, reply: Reply) -> None:
    if type(reply) is not Written:
        call.refused(reply)
        return
    body = call.body
    level = body.get("ReturnConsumedCapacity")
    members = b"" if reply.attributes is None else b',"Attributes":' + reply.attributes
    if level is not None:
        assert call.table is not None
        usage = Usage(body["TableName"], call.table)
        usage.add_write(reply)
        members += usage.member(level)
    if reply.collection_bytes is not None and body.get("ReturnItemCollectionMetrics") == "SIZE":
        assert call.table is not None
        metrics = collection(call.table, body.get("Key") or body["Item"], reply.collection_bytes)
        members += b',"ItemCollectionMetrics":' + _encode(metrics)
    call.answer(b"{" + members[1:] + b"}")


_on_reply: Final = guarded(_answered)
