"""PutItem: replace a whole item. Source: API reference, PutItem."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Rules, prepare
from gramme.api.dynamodb.legacy import with_expected
from gramme.api.dynamodb.writes import return_values, returns_on_failure, send
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.item import encode_item
from gramme.tables.requests import PutItem, ReturnValues
from gramme.tables.schema import check_item_size, item_key
from gramme.tables.values import normalise_item

_RULES: Final = Rules(("ConditionExpression",), ("Expected", "ConditionalOperator"))


def start(call: Call) -> None:
    """Begin PutItem."""
    body = call.body
    expressions = prepare(body, _RULES)
    item, size = normalise_item(body["Item"])
    returned = return_values(body)
    if returned not in (ReturnValues.NONE, ReturnValues.ALL_OLD):
        raise validation("Return values set to invalid value")
    check_item_size(size)
    expressions = with_expected(body, expressions)
    call.parsed = (expressions, item, size, returned)
    call.with_table(_located)


def _located(call: Call, table: TableDescriptor) -> None:
    expressions, item, size, returned = call.parsed
    key = item_key(table.key, item)
    condition = None if expressions is None else expressions.condition()
    encoded = encode_item(item, table.key.names)
    send(call, table, PutItem(key, encoded, size, condition, returned, returns_on_failure(call.body)))
