"""Pure evaluation of a write against the stored item: the decision that the leader turns into a mutation.

Owns what a write does, and nothing about where or when. Rule: same request and stored value, same decision, on every
node and every time; stamps and headers are the node's business (DESIGN.md §4, REPLICATION.md §2). The order is the
service's: condition first, then the update, then the limits of its result.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.errors import InvalidInput
from gramme.tables.decisions import Decision, Fail, Nothing, Put, Remove
from gramme.tables.expression.nodes import Values
from gramme.tables.expression.projection import Wanted, project
from gramme.tables.expression.request import GENERATED, NO_VALUES, carried_condition, carried_update
from gramme.tables.expression.update import InvalidUpdate, Update, WrongOperandType
from gramme.tables.item import (
    MAX_ITEM_BYTES,
    decode_item,
    encode_attributes,
    encode_item,
    is_tombstone,
    item_json,
    stored_size,
)
from gramme.tables.requests import (
    Condition,
    ConditionFailed,
    DeleteItem,
    Item,
    PutItem,
    Refused,
    ReturnValues,
    UpdateItem,
    WriteRequest,
    Written,
)
from gramme.tables.schema import InvalidItem, check_updated_attributes
from gramme.tables.values import utf8_size, value_size

_NO_ITEM: Final[Item] = {}
_NOTHING_WANTED: Final[Wanted] = {}


def evaluate(request: WriteRequest, stored: bytes | None) -> Decision:
    """What `request` does to the row whose stored value (header and JSON) is `stored`, None if there is none.

    `Nothing` and `Fail` are reads of the state they saw and need the lease like one (REPLICATION.md §2).
    Raises Corruption or Incompatible if `stored` cannot be read.
    """
    if stored is not None and is_tombstone(stored):
        stored = None
    try:
        if type(request) is UpdateItem:
            return _update(request, stored)
        if request.condition is not None:
            old = _NO_ITEM if stored is None else decode_item(item_json(stored))
            failure = _failed_condition(request, request.condition, old, stored)
            if failure is not None:
                return failure
        if type(request) is PutItem:
            return _put(request, stored)
        assert type(request) is DeleteItem
        return _delete(request, stored)
    except InvalidInput as error:
        return Fail(Refused(str(error)))


def _failed_condition(request: WriteRequest, condition: Condition, old: Item, stored: bytes | None) -> Fail | None:
    if condition.text is None:
        return None
    values: Values = condition.values or NO_VALUES
    if carried_condition(condition.text, condition.names, values).holds(old, values):
        return None
    if stored is None:
        return Fail(ConditionFailed(None, 0))
    return Fail(ConditionFailed(item_json(stored) if request.return_on_failure else None, stored_size(stored)))


def _put(request: PutItem, stored: bytes | None) -> Put:
    if stored is None:
        return Put(request.item, request.size, Written(None, 0, request.size))
    old = item_json(stored) if request.return_values is ReturnValues.ALL_OLD else None
    return Put(request.item, request.size, Written(old, stored_size(stored), request.size))


def _delete(request: DeleteItem, stored: bytes | None) -> Remove | Nothing:
    if stored is None:
        return Nothing(Written(None, 0, 0))
    old = item_json(stored) if request.return_values is ReturnValues.ALL_OLD else None
    return Remove(Written(old, stored_size(stored), 0))


def _update(request: UpdateItem, stored: bytes | None) -> Decision:
    old_json = None if stored is None else item_json(stored)
    old = _NO_ITEM if old_json is None else decode_item(old_json)
    condition = request.condition
    values: Values = NO_VALUES
    names: dict[str, str] | None = None
    if condition is not None:
        values, names = condition.values or NO_VALUES, condition.names
        failure = _failed_condition(request, condition, old, stored)
        if failure is not None:
            return failure
    update = None if request.update is None else carried_update(request.update, names, values)
    if stored is None and update is not None and not update.creates():
        _check_targets(update, request.primary)
        return Nothing(Written(None, 0, 0))
    try:
        new = _updated(update, old if stored is not None else request.primary, request.primary, values)
    except WrongOperandType:
        if request.update is None or not request.update.startswith(GENERATED):
            raise
        raise InvalidUpdate("Type mismatch for attribute to update") from None  # the words of AttributeUpdates
    size = _checked_size(new)
    new_json = encode_item(new, tuple(request.primary))
    wanted = _NOTHING_WANTED if update is None else update.wanted
    attributes = _returned(request.return_values, wanted, old, old_json, new, new_json)
    reply = Written(attributes, 0 if stored is None else stored_size(stored), size)
    return Nothing(reply) if new_json == old_json else Put(new_json, size, reply)


def _updated(update: Update | None, base: Item, primary: Item, values: Values) -> Item:
    if update is None:
        return base
    _check_targets(update, primary)
    return update.apply(base, values)


def _check_targets(update: Update, primary: Item) -> None:
    check_updated_attributes([action.path.steps[0] for action in update.actions], primary)


def _checked_size(item: Item) -> int:
    """The item's size; refused as soon as it passes the limit, since an update may name one large value many times."""
    size = 0
    for name, value in item.items():
        text = value.get("S")
        size += len(name) if name.isascii() else utf8_size(name)
        size += value_size(value) if text is None else len(text) if text.isascii() else utf8_size(text)
        if size > MAX_ITEM_BYTES:
            raise InvalidItem("Item size to update has exceeded the maximum allowed size")
    return size


def _returned(
    mode: ReturnValues, wanted: Wanted, old: Item, old_json: bytes | None, new: Item, new_json: bytes
) -> bytes | None:
    if mode is ReturnValues.NONE:
        return None
    if mode is ReturnValues.ALL_OLD:
        return old_json
    if mode is ReturnValues.ALL_NEW:
        return new_json
    part = project(old if mode is ReturnValues.UPDATED_OLD else new, wanted)
    return encode_attributes(part) if part else None
