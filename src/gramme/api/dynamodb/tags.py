"""TagResource, UntagResource, ListTagsOfResource: tags of tables, which nothing here interprets.

Source: API reference. All tags of a table (50 at most) fit into one answer, so no page token is ever given out.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.control import ask, described
from gramme.api.dynamodb.errors import ApiError, validation
from gramme.tables.catalog import TableReply, TagTable

_encode: Final = msgspec.json.Encoder().encode


def tag(call: Call) -> None:
    """Begin TagResource."""
    name = _table_of_arn(call)
    tags = call.body["Tags"]
    if not tags:
        raise validation("Atleast one Tag needs to be provided as Input.")
    check_tags(tags)
    ask(call, TagTable(name, put=tuple((tag["Key"], tag["Value"]) for tag in tags)), _done, _missing(call))


def untag(call: Call) -> None:
    """Begin UntagResource."""
    name = _table_of_arn(call)
    keys = call.body["TagKeys"]
    if not keys:
        raise validation("Atleast one Tag Key needs to be provided as Input.")
    ask(call, TagTable(name, remove=tuple(keys)), _done, _missing(call))


def list_tags(call: Call) -> None:
    """Begin ListTagsOfResource."""
    _table_of_arn(call)
    if call.body.get("NextToken") is not None:
        raise validation("Invalid NextToken: it was not given out by ListTagsOfResource")
    described(call, call.body["ResourceArn"], _listed, _missing(call))


def check_tags(tags: list[dict[str, Any]]) -> None:
    """Refuse a list of tags that names a key twice. Raises ApiError."""
    keys = [tag["Key"] for tag in tags]
    for key in keys:
        if keys.count(key) > 1:
            raise validation(f"One or more parameter values were invalid: Duplicate tag key: {key}")


def _done(call: Call, reply: TableReply) -> None:
    call.answer(b"")


def _listed(call: Call, reply: TableReply) -> None:
    call.answer(_encode({"Tags": reply.table.settings.get("Tags", [])}))


def _table_of_arn(call: Call) -> str:
    arn = call.body["ResourceArn"]
    if not arn.startswith("arn:"):
        raise validation(f"Invalid TableArn: Invalid ResourceArn provided as input {arn}")
    call.table_name = call.env.settings.table_name(arn)
    return call.table_name


def _missing(call: Call) -> Any:
    text = f"Requested resource not found: ResourcArn: {call.body['ResourceArn']} not found"
    return lambda name: ApiError("ResourceNotFoundException", text)
