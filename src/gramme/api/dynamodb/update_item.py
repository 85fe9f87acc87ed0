"""UpdateItem: edit an item in place, creating it if there is none. Source: API reference, UpdateItem."""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.expressions import Prepared, Rules, prepare
from gramme.api.dynamodb.legacy import with_updates
from gramme.api.dynamodb.writes import return_values, returns_on_failure, send
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import UpdateItem
from gramme.tables.schema import check_updated_attributes, request_key
from gramme.tables.values import normalise_item

_RULES: Final = Rules(
    ("UpdateExpression", "ConditionExpression"), ("AttributeUpdates", "Expected", "ConditionalOperator")
)


def start(call: Call) -> None:
    """Begin UpdateItem."""
    expressions = prepare(call.body, _RULES)
    normalise_item(call.body["Key"])
    call.parsed = with_updates(call.body, expressions)
    call.with_table(_located)


def _located(call: Call, table: TableDescriptor) -> None:
    body = call.body
    given = body["Key"]
    key = request_key(table.key, given)
    names = table.key.names
    primary = {name: given[name] for name in names}
    expressions: Prepared | None = call.parsed
    if expressions is not None and expressions.parsed.update is not None:
        updated = [action.path.steps[0] for action in expressions.parsed.update.actions]
        check_updated_attributes(updated, names)
    condition = None if expressions is None else expressions.condition()
    update = None if expressions is None else expressions.update_text
    send(call, table, UpdateItem(key, primary, update, condition, return_values(body), returns_on_failure(body)))
