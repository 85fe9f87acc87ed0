"""The inputs of ExecuteStatement, BatchExecuteStatement and ExecuteTransaction, as data for `shapes`; the rules are
those of `models`."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.legacy_shapes import AttributeValueShape
from gramme.api.dynamodb.models import GET_ITEM, QUERY, UPDATE_ITEM
from gramme.api.dynamodb.shapes import InputShape, ListShape, Member, StringShape, StructureShape
from gramme.tables.partiql.parser import MAX_STATEMENT_CHARS

MAX_BATCH: Final = 25
MAX_TRANSACTION: Final = 100

_STRING: Final = StringShape()
_PLAIN: Final = {member.name: member for member in (*GET_ITEM.members, *QUERY.members, *UPDATE_ITEM.members)}
_STATEMENT: Final = (
    Member("Statement", _STRING, required=True, minimum=1, maximum=MAX_STATEMENT_CHARS),
    Member("Parameters", ListShape(AttributeValueShape()), minimum=1),
)
_SHOWS_ITEM: Final = _PLAIN["ReturnValuesOnConditionCheckFailure"]
_CAPACITY: Final = _PLAIN["ReturnConsumedCapacity"]

EXECUTE_STATEMENT: Final = InputShape(
    "ExecuteStatement",
    (
        *_STATEMENT,
        _PLAIN["ConsistentRead"],
        Member("NextToken", _STRING, minimum=1, maximum=32768),
        _CAPACITY,
        _PLAIN["Limit"],
        _SHOWS_ITEM,
    ),
)

BATCH_EXECUTE_STATEMENT: Final = InputShape(
    "BatchExecuteStatement",
    (
        Member(
            "Statements",
            ListShape(StructureShape("BatchStatementRequest", (*_STATEMENT, _PLAIN["ConsistentRead"], _SHOWS_ITEM))),
            required=True,
            minimum=1,
            maximum=MAX_BATCH,
        ),
        _CAPACITY,
    ),
)

EXECUTE_TRANSACTION: Final = InputShape(
    "ExecuteTransaction",
    (
        Member(
            "TransactStatements",
            ListShape(StructureShape("ParameterizedStatement", (*_STATEMENT, _SHOWS_ITEM))),
            required=True,
            minimum=1,
            maximum=MAX_TRANSACTION,
        ),
        Member("ClientRequestToken", _STRING, minimum=1, maximum=36),
        _CAPACITY,
    ),
)
