"""TransactWriteItems: up to 100 puts, deletes, updates and checks of any tables, all of them or none.

Rule: the whole request is read and checked in steps that let others in between (`large`), and sent as one transaction;
`transactions` words its outcome. Source: API reference, TransactWriteItems.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Prepared, Rules, prepare
from gramme.api.dynamodb.large import PARSING_COST, Budget, free
from gramme.api.dynamodb.transactions import WritePart, token_of, write
from gramme.api.dynamodb.writes import returns_on_failure
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.item import encode_item
from gramme.tables.requests import Condition, DeleteItem, PutItem, UpdateItem
from gramme.tables.schema import check_item_size, check_updated_attributes, item_key, request_key
from gramme.tables.transactions import Action, ConditionCheck
from gramme.tables.values import normalise_item, utf8_size, value_size

_CONDITION: Final = Rules(("ConditionExpression",), ())
_UPDATE: Final = Rules(("UpdateExpression", "ConditionExpression"), ())


def start(call: Call) -> None:
    """Begin TransactWriteItems."""
    for element in call.body["TransactItems"]:
        given = sum(element.get(kind) is not None for kind in _PARTS)
        if given > 1:
            raise validation("TransactItems can only contain one of Check, Put, Update or Delete")
        if given == 0:
            raise validation("Invalid Request: TransactWriteRequest should contain Delete or Put or Update request")
    call.run(_run(call))


async def _run(call: Call) -> None:
    elements = call.body["TransactItems"]
    budget = Budget(call.env)
    parts: list[WritePart] = []
    for element in elements:
        kind, body = next(iter(element.items()))
        parts.append(part_of(kind, body))
        await budget.spend(parts[-1].size + PARSING_COST * _text_size(body))
    token = await token_of(call, call.body.get("ClientRequestToken"), elements, budget)
    committed = await write(call, parts, token, budget)
    members = committed.capacity(call.body.get("ReturnConsumedCapacity"))
    if call.body.get("ReturnItemCollectionMetrics") == "SIZE":
        members += committed.collections()
    call.answer(b"{" + members[1:] + b"}")
    parts.clear()
    await free(elements, budget)


def part_of(kind: str, body: dict[str, Any]) -> WritePart:
    """The action of `kind` (Put, Delete, Update, ConditionCheck) with the members `body`, whose shape has been checked.

    Values are normalised in place. Raises ApiError, InvalidInput.
    """
    return _PARTS[kind](body)


def _put(body: dict[str, Any]) -> WritePart:
    prepared, size = _prepared(body, _CONDITION)
    item, item_bytes = normalise_item(body["Item"])
    check_item_size(item_bytes)

    def build(table: TableDescriptor) -> Action:
        key = item_key(table.key, item)
        encoded = encode_item(item, table.key.names)
        return PutItem(key, encoded, item_bytes, _condition(prepared), return_on_failure=returns_on_failure(body))

    return WritePart(body["TableName"], item, size + item_bytes, build)


def _delete(body: dict[str, Any]) -> WritePart:
    prepared, size = _prepared(body, _CONDITION)
    key, key_bytes = normalise_item(body["Key"])

    def build(table: TableDescriptor) -> Action:
        encoded = request_key(table.key, key)
        return DeleteItem(encoded, _condition(prepared), return_on_failure=returns_on_failure(body))

    return WritePart(body["TableName"], key, size + key_bytes, build)


def _update(body: dict[str, Any]) -> WritePart:
    prepared, size = _prepared(body, _UPDATE)
    key, key_bytes = normalise_item(body["Key"])
    assert prepared is not None
    assert prepared.parsed.update is not None  # its text is required
    updated = [action.path.steps[0] for action in prepared.parsed.update.actions]
    text, condition = prepared.update_text, prepared.condition()

    def build(table: TableDescriptor) -> Action:
        encoded = request_key(table.key, key)
        check_updated_attributes(updated, table.key.names)
        primary = {name: key[name] for name in table.key.names}
        return UpdateItem(encoded, primary, text, condition, return_on_failure=returns_on_failure(body))

    return WritePart(body["TableName"], key, size + key_bytes, build)


def _check(body: dict[str, Any]) -> WritePart:
    prepared, size = _prepared(body, _CONDITION)
    key, key_bytes = normalise_item(body["Key"])
    assert prepared is not None  # its condition is required

    def build(table: TableDescriptor) -> Action:
        return ConditionCheck(request_key(table.key, key), prepared.condition(), returns_on_failure(body))

    return WritePart(body["TableName"], key, size + key_bytes, build)


_PARTS: Final[dict[str, Callable[[dict[str, Any]], WritePart]]] = {
    "ConditionCheck": _check,
    "Put": _put,
    "Delete": _delete,
    "Update": _update,
}


def _prepared(body: dict[str, Any], rules: Rules) -> tuple[Prepared | None, int]:
    """The expressions of an action, and how many bytes they and what they refer to have."""
    prepared = prepare(body, rules)
    if prepared is None:
        return None, 0
    names = sum(map(utf8_size, (prepared.names or {}).values()))
    values = sum(map(value_size, prepared.values.values()))
    return prepared, _text_size(body) + names + values


def _text_size(body: dict[str, Any]) -> int:
    return sum(utf8_size(body.get(member) or "") for member, _ in _UPDATE.arguments)


def _condition(prepared: Prepared | None) -> Condition | None:
    return None if prepared is None else prepared.condition()
