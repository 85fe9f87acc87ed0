"""From a statement and its parameters to native requests: the commands that partitions know, filters, projections.

Owns what a statement means. Rules: INSERT is a put of an item that must not exist; UPDATE an update of one that must;
DELETE is content with none; whatever else WHERE demands is a condition of the write. Expressions travel as texts behind
`OF_STATEMENT` and are judged here once, so that a statement is refused whole before anything is sent.
Source: AWS developer guide, "PartiQL insert/update/delete statements for DynamoDB"; refusals as DynamoDB Local words
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gramme.tables.descriptor import KeySchema
from gramme.tables.expression.condition import Condition as ParsedCondition
from gramme.tables.expression.grammar import STATEMENT
from gramme.tables.expression.nodes import (
    Action,
    AddAction,
    And,
    Call,
    ConditionNode,
    DeleteAction,
    Or,
    Path,
    Values,
)
from gramme.tables.expression.projection import Columns, Projection
from gramme.tables.expression.request import OF_STATEMENT, parsed_condition, parsed_projection, parsed_update
from gramme.tables.item import encode_item
from gramme.tables.partiql.errors import InvalidStatement, NoKey
from gramme.tables.partiql.keys import check_key_types, item_key
from gramme.tables.partiql.nodes import Body, Delete, Exists, Insert, Parameter, Select, Statement, Update, Write
from gramme.tables.partiql.text import Names, condition_text, update_text
from gramme.tables.requests import AttributeValue, Condition, DeleteItem, PutItem, UpdateItem, WriteRequest
from gramme.tables.schema import check_item_size, check_updated_attributes, request_key
from gramme.tables.schema import item_key as encoded_item_key
from gramme.tables.transactions import ConditionCheck
from gramme.tables.values import InvalidValue, item_size

_SETS: Final = frozenset({"SS", "NS", "BS"})


def bind(statement: Statement, parameters: list[AttributeValue]) -> dict[str, AttributeValue]:
    """The values of a statement by placeholder, with these (normalised) parameters. Raises InvalidStatement."""
    if len(parameters) != statement.parameters:
        raise InvalidStatement("Number of parameters in request and statement don't match.")
    return {
        placeholder: parameters[content.number] if isinstance(content, Parameter) else content
        for placeholder, content in statement.values.items()
    }


def judge(body: Body, values: dict[str, AttributeValue]) -> None:
    """Refuse what is wrong with a statement whatever its table is. Raises InvalidInput."""
    if isinstance(body, Insert):
        return
    select = body.select if isinstance(body, Exists) else body
    filter_of(select.where, values)
    if isinstance(select, Select):
        projection_of(select)
    if isinstance(body, Update):
        _check_sets(body.actions, values)
        names = Names()
        text = update_text(body.actions, names)
        parsed_update(text, names.names, values, STATEMENT)


# --- writes


def write_request(body: Write, values: dict[str, AttributeValue], key: KeySchema, shows_item: bool) -> WriteRequest:
    """The command that an INSERT, UPDATE or DELETE means for a table with this key.

    `shows_item`: a failed condition of UPDATE or DELETE is to show the item. Raises InvalidInput.
    """
    if isinstance(body, Insert):
        return _insert(body, values, key)
    if isinstance(body, Update):
        return _update(body, values, key, shows_item)
    return _delete(body, values, key, shows_item)


def _insert(body: Insert, values: Mapping[str, AttributeValue], key: KeySchema) -> PutItem:
    item = {name: values[value.placeholder] for name, value in body.attributes}
    if "" in item:
        raise InvalidValue("Empty attribute name")
    for name in key.names:
        if name not in item:
            raise InvalidStatement(f"Key attribute should be present in the item: Key {name}")
    check_key_types(key, item)
    size = item_size(item)
    check_item_size(size)
    encoded = encoded_item_key(key, item)
    condition = _carried(_absent(key), Names(), {})
    return PutItem(encoded, encode_item(item, key.names), size, condition)


def _update(body: Update, values: dict[str, AttributeValue], key: KeySchema, shows_item: bool) -> UpdateItem:
    primary, rest = item_key(body.where, values, key)
    encoded = request_key(key, primary)
    _check_sets(body.actions, values)
    names = Names()
    text = update_text(body.actions, names)
    condition = _carried(_with(_present(key), rest), names, values, text)
    check_updated_attributes((action.path.steps[0] for action in body.actions), key.names)
    return UpdateItem(encoded, primary, OF_STATEMENT + text, condition, body.returning, shows_item)


def _delete(body: Delete, values: dict[str, AttributeValue], key: KeySchema, shows_item: bool) -> DeleteItem:
    primary, rest = item_key(body.where, values, key)
    encoded = request_key(key, primary)
    condition = None if rest is None else _carried(_or(_absent(key), rest), Names(), values)
    return DeleteItem(encoded, condition, body.returning, shows_item)


def condition_check(
    body: Exists, values: dict[str, AttributeValue], key: KeySchema, shows_item: bool
) -> ConditionCheck | None:
    """The check that EXISTS means in a transaction; None unless it names a whole primary key and something else.

    Raises InvalidInput.
    """
    try:
        primary, rest = item_key(body.select.where, values, key)
    except NoKey:
        return None
    if rest is None:
        return None
    condition = _carried(_with(_present(key), rest), Names(), values)
    return ConditionCheck(request_key(key, primary), condition, shows_item)


def _check_sets(actions: tuple[Action, ...], values: Mapping[str, AttributeValue]) -> None:
    """A parameter of set_add or set_delete must be a set: ADD would take a number as well."""
    for action in actions:
        if isinstance(action, AddAction | DeleteAction) and _SETS.isdisjoint(values[action.value.placeholder]):
            function = "SET_ADD" if isinstance(action, AddAction) else "SET_DELETE"
            raise InvalidStatement(f"The second argument to {function} must be a value with type SET")


def _carried(
    node: ConditionNode, names: Names, values: dict[str, AttributeValue], update: str | None = None
) -> Condition:
    """A condition as a partition gets it, with the names and values of it and of the update, after both are judged:
    the condition first, unlike those of an UpdateItem."""
    text = condition_text(node, names)
    given = names.names
    used = parsed_condition(text, given, values, STATEMENT).values
    if update is not None:
        used |= parsed_update(update, given, values, STATEMENT).values
    kept = {placeholder: value for placeholder, value in values.items() if placeholder in used}
    return Condition(OF_STATEMENT + text, given, kept or None)


def _present(key: KeySchema) -> Call:
    return Call("attribute_exists", (Path((key.hash_name,)),))


def _absent(key: KeySchema) -> Call:
    return Call("attribute_not_exists", (Path((key.hash_name,)),))


def _with(first: ConditionNode, rest: ConditionNode | None) -> ConditionNode:
    if rest is None:
        return first
    return And((first, *rest.terms)) if isinstance(rest, And) else And((first, rest))


def _or(first: ConditionNode, rest: ConditionNode) -> ConditionNode:
    return Or((first, *rest.terms)) if isinstance(rest, Or) else Or((first, rest))


# --- reads


def projection_of(select: Select) -> Projection | None:
    """What a SELECT reads of each item, None for all of it. Raises InvalidExpression."""
    if select.columns is None:
        return None
    names = Names()
    text = ", ".join(names.path(column.path) for column in select.columns)
    return parsed_projection(text, names.names, STATEMENT)


def labelled(select: Select, projection: Projection | None) -> Projection | Columns | None:
    """What a SELECT answers of each item: `projection` with the statement's own names for nested values."""
    if select.columns is None or all(len(column.path.steps) == 1 for column in select.columns):
        return projection
    return Columns(tuple(column.name for column in select.columns), tuple(column.path for column in select.columns))


def filter_of(node: ConditionNode | None, values: Values) -> ParsedCondition | None:
    """A WHERE clause, or what is left of it, as a filter. Raises InvalidStatement, InvalidExpression."""
    if node is None:
        return None
    names = Names()
    text = condition_text(node, names)
    return parsed_condition(text, names.names, values, STATEMENT)


def single_item(select: Select, values: Mapping[str, AttributeValue], key: KeySchema) -> bytes | None:
    """The encoded key if a SELECT names a whole primary key and nothing else. Raises InvalidInput."""
    if select.index is not None or select.where is None:
        return None
    try:
        primary, rest = item_key(select.where, values, key)
    except NoKey:
        return None
    return None if rest is not None else request_key(key, primary)
