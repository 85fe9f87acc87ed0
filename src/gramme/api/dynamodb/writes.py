"""What PutItem, UpdateItem and DeleteItem share: sending the write, and the answer to a client from the partition's.

Rule: the write carries the id of the client's command, so that an SDK's re-send is applied once and gets the first
answer (issue 2, "Answers under trouble").
"""

from __future__ import annotations

from typing import Any, Final

from gramme.api.dynamodb.call import Call, guarded
from gramme.api.dynamodb.capacity import consumed, write_halves
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import Reply, ReturnValues, WriteRequest, Written

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


def send(call: Call, table: TableDescriptor, request: WriteRequest) -> None:
    """Have the partition evaluate `request`, then answer the client."""
    command_id = call.command_id(call.request.body)
    call.env.backend.submit(table, request.key, request, command_id, call.deadline, _on_reply(call))


def _answered(call: Call, reply: Reply) -> None:
    if type(reply) is not Written:
        call.refused(reply)
        return
    level = call.body.get("ReturnConsumedCapacity")
    if reply.attributes is None and level is None:
        call.answer(b"{}")
        return
    members = []
    if reply.attributes is not None:
        members.append(b',"Attributes":' + reply.attributes)
    members.append(consumed(level, call.table_name, write_halves(reply.old_size, reply.new_size)))
    call.answer(b"{" + b"".join(members)[1:] + b"}")


_on_reply: Final = guarded(_answered)
