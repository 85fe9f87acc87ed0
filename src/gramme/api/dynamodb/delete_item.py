"""DeleteItem: remove an item by its key; succeeds if there is none. Source: API reference, DeleteItem."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Rules, prepare
from gramme.api.dynamodb.legacy import with_expected
from gramme.api.dynamodb.writes import return_values, returns_on_failure, send
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import DeleteItem, ReturnValues
from gramme.tables.schema import request_key
from gramme.tables.values import normalise_item

_RULES: Final = Rules(("ConditionExpression",), ("Expected", "ConditionalOperator"))


def start(call: Call) -> None:
    """Begin DeleteItem."""
    body = call.body
    expressions = prepare(body, _RULES)
    normalise_item(body["Key"])
    expressions = with_expected(body, expressions)
    returned = return_values(body)
    if returned not in (ReturnValues.NONE, ReturnValues.ALL_OLD):
        raise validation("Return values set to invalid value")
    call.parsed = (expressions, returned)
    call.with_table(_located)


def _located(call: Call, table: TableDescriptor) -> None:
    expressions, returned = call.parsed
    key = request_key(table.key, call.body["Key"])
    condition = None if expressions is None else expressions.condition()
    send(call, table, DeleteItem(key, condition, returned, returns_on_failure(call.body)))
