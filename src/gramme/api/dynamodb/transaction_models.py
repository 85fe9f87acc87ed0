"""The inputs of TransactWriteItems and TransactGetItems, as data for `shapes`; the rules are those of `models`."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.models import GET_ITEM, UPDATE_ITEM
from gramme.api.dynamodb.shapes import (
    AttributeMapShape,
    InputShape,
    ListShape,
    Member,
    StringShape,
    StructureShape,
    TableNameShape,
)

MAX_ITEMS: Final = 100

_STRING: Final = StringShape()
_ATTRIBUTES: Final = AttributeMapShape()
_PLAIN: Final = {member.name: member for member in (*GET_ITEM.members, *UPDATE_ITEM.members)}

_TABLE: Final = Member("TableName", TableNameShape(), required=True)
_KEY: Final = Member("Key", _ATTRIBUTES, required=True)
_CONDITION: Final = tuple(
    _PLAIN[name]
    for name in (
        "ConditionExpression",
        "ReturnValuesOnConditionCheckFailure",
        "ExpressionAttributeValues",
        "ExpressionAttributeNames",
    )
)
_CHECKED: Final = (Member("ConditionExpression", _STRING, required=True), *_CONDITION[1:])


def _action(name: str, *members: Member) -> Member:
    return Member(name, StructureShape(name, (_TABLE, *members)))


def _items(name: str, *members: Member) -> Member:
    return Member(
        "TransactItems",
        ListShape(StructureShape(name, members, in_list=True)),
        required=True,
        minimum=1,
        maximum=MAX_ITEMS,
    )


TRANSACT_WRITE_ITEMS: Final = InputShape(
    "TransactWriteItems",
    (
        _PLAIN["ReturnConsumedCapacity"],
        _PLAIN["ReturnItemCollectionMetrics"],
        Member("ClientRequestToken", _STRING, minimum=1, maximum=36),
        _items(
            "TransactWriteItem",
            _action("ConditionCheck", _KEY, *_CHECKED),
            _action("Put", Member("Item", _ATTRIBUTES, required=True), *_CONDITION),
            _action("Delete", _KEY, *_CONDITION),
            _action("Update", _KEY, Member("UpdateExpression", _STRING, required=True), *_CONDITION),
        ),
    ),
)

TRANSACT_GET_ITEMS: Final = InputShape(
    "TransactGetItems",
    (
        _PLAIN["ReturnConsumedCapacity"],
        _items(
            "TransactGetItem",
            Member(
                "Get",
                StructureShape(
                    "Get", (_TABLE, _KEY, _PLAIN["ProjectionExpression"], _PLAIN["ExpressionAttributeNames"])
                ),
                required=True,
            ),
        ),
    ),
)
