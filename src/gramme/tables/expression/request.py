"""The expressions of one request: placeholders checked, texts parsed through a cache, everything used.

Owns what the members of a request must fulfil together. Rule: the service's order of faults: expressions missing for
placeholders, the placeholders themselves, then update, condition, key condition, filter and projection, then
placeholders that none of them uses.
Source: AWS developer guide, "Expression attribute names and values"; DynamoDB Local's answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar

from gramme.tables.expression.condition import Condition, compile_condition
from gramme.tables.expression.errors import InvalidExpression
from gramme.tables.expression.grammar import STATEMENT
from gramme.tables.expression.key_condition import KeyCondition, parse_key_condition
from gramme.tables.expression.nodes import Values
from gramme.tables.expression.projection import Projection, parse_projection
from gramme.tables.expression.update import Update, compile_update
from gramme.tables.values import InvalidValue, check_json_types, normalise_value, utf8_size

MAX_PLACEHOLDER_BYTES: Final = 255
MAX_NAME_BYTES: Final = 65535
CACHE_ENTRIES: Final = 512
CACHED_TEXT: Final = 1024  # longer texts are few in the cache: with CACHE_ENTRIES this bounds its memory
LONG_ENTRIES: Final = 4

GENERATED: Final = "!"
"""Begins a text that was made from legacy parameters (`gramme.tables.legacy`). It begins no token, so a client's text
that starts with it is a syntax error."""

OF_STATEMENT: Final = "?"
"""Begins a text that was made from a PartiQL statement (`gramme.tables.partiql`). It begins no token either."""

_MADE_CONDITIONS: Final = {GENERATED: "Expected", OF_STATEMENT: STATEMENT}
_MADE_UPDATES: Final = {GENERATED: "AttributeUpdates", OF_STATEMENT: STATEMENT}

NO_VALUES: Final[Values] = {}

_NAME_KEY: Final = re.compile(r"#[0-9A-Za-z_]+", re.ASCII)
_VALUE_KEY: Final = re.compile(r":[0-9A-Za-z_]+", re.ASCII)

_T = TypeVar("_T")


class Expressions:
    """The parsed expressions of a request, those that it has."""

    __slots__ = ("condition", "filter", "key_condition", "projection", "update")

    def __init__(
        self,
        update: Update | None = None,
        condition: Condition | None = None,
        key_condition: KeyCondition | None = None,
        filter: Condition | None = None,
        projection: Projection | None = None,
    ) -> None:
        self.update = update
        self.condition = condition
        self.key_condition = key_condition
        self.filter = filter
        self.projection = projection


def prepare(
    *,
    names: dict[str, str] | None = None,
    values: dict[str, Any] | None = None,
    update: str | None = None,
    condition: str | None = None,
    key_condition: str | None = None,
    filter: str | None = None,
    projection: str | None = None,
    value_members: tuple[str, ...] = ("ConditionExpression",),
) -> Expressions:
    """Check and parse all expressions of a request; normalises `values` in place.

    `value_members` are the members of this operation that may use values, in the order in which the service names them
    when all are missing: `("UpdateExpression", "ConditionExpression")`, `("FilterExpression",
    "KeyConditionExpression")`, … Raises InvalidExpression, WrongJsonType.
    """
    texts = (update, condition, key_condition, filter, projection)
    if names is not None or values is not None:
        _check_placeholders(names, values, texts, value_members)
    parsed = Expressions(
        None if update is None else parsed_update(update, names, values or NO_VALUES),
        None if condition is None else parsed_condition(condition, names, values or NO_VALUES),
        None if key_condition is None else parsed_key_condition(key_condition, names, values or NO_VALUES),
        None if filter is None else parsed_condition(filter, names, values or NO_VALUES, "FilterExpression"),
        None if projection is None else parsed_projection(projection, names),
    )
    if names or values:
        _check_used(names, values, parsed)
    return parsed


def parsed_condition(
    text: str, names: Mapping[str, str] | None, values: Values, kind: str = "ConditionExpression"
) -> Condition:
    """The condition of `text`, checked against `values`. Raises InvalidExpression."""
    condition = _cached(compile_condition, kind, text, names)
    condition.check(values)
    return condition


def parsed_update(text: str, names: Mapping[str, str] | None, values: Values, kind: str = "UpdateExpression") -> Update:
    """The update of `text`, checked against `values`. Raises InvalidExpression."""
    update = _cached(compile_update, kind, text, names)
    update.check(values)
    return update


def carried_condition(text: str, names: Mapping[str, str] | None, values: Values) -> Condition:
    """The condition of a request to a partition: a client's text, or one made of `Expected` or of a statement.

    Raises InvalidExpression.
    """
    kind = _MADE_CONDITIONS.get(text[:1])
    if kind is None:
        return parsed_condition(text, names, values)
    return parsed_condition(text[1:], names, values, kind)


def carried_update(text: str, names: Mapping[str, str] | None, values: Values) -> Update:
    """The update of a request to a partition: a client's text, or one made of `AttributeUpdates` or of a statement.

    Raises InvalidExpression.
    """
    kind = _MADE_UPDATES.get(text[:1])
    if kind is None:
        return parsed_update(text, names, values)
    return parsed_update(text[1:], names, values, kind)


def parsed_key_condition(text: str, names: Mapping[str, str] | None, values: Values) -> KeyCondition:
    """The key condition of `text`, checked against `values`. Raises InvalidExpression."""
    condition = _cached(parse_key_condition, "KeyConditionExpression", text, names)
    condition.check(values)
    return condition


def parsed_projection(text: str, names: Mapping[str, str] | None, kind: str = "ProjectionExpression") -> Projection:
    """The projection of `text`. Raises InvalidExpression."""
    projection = _cached(parse_projection, kind, text, names)
    projection.check(NO_VALUES)
    return projection


# --- the cache

_cache: Final[dict[tuple[Any, ...], Any]] = {}
_long: Final[dict[tuple[Any, ...], Any]] = {}  # texts over CACHED_TEXT, which the actions of a transaction may share


def _cached(
    parse: Callable[[str, str, Mapping[str, str] | None], _T], kind: str, text: str, names: Mapping[str, str] | None
) -> _T:
    """What `parse` makes of a text and its names; the oldest entry makes room. Refused texts are not kept.

    Parsing is a pure function, so the cache is no state that an outcome could depend on.
    """
    key = (kind, text, *names.items()) if names else (kind, text)
    found: _T | None = _cache.get(key)
    if found is not None:
        return found
    kept, entries = _cache, CACHE_ENTRIES
    if len(text) > CACHED_TEXT:
        kept, entries = _long, LONG_ENTRIES
        again: _T | None = _long.get(key)
        if again is not None:
            return again
    parsed = parse(kind, text, names)
    if len(kept) >= entries:
        del kept[next(iter(kept))]
    kept[key] = parsed
    return parsed


# --- placeholders


def _check_placeholders(
    names: dict[str, str] | None,
    values: dict[str, Any] | None,
    texts: tuple[str | None, ...],
    value_members: tuple[str, ...],
) -> None:
    if names is not None and texts.count(None) == len(texts):
        raise InvalidExpression("ExpressionAttributeNames can only be specified when using expressions")
    if values is not None and texts[:-1].count(None) == len(texts) - 1:
        verb = "are" if len(value_members) > 1 else "is"
        members = " and ".join(value_members)
        raise InvalidExpression(
            f"ExpressionAttributeValues can only be specified when using expressions: {members} {verb} null"
        )
    if names is not None:
        _check_names(names)
    if values is not None:
        _check_values(values)


def _check_names(names: Mapping[str, str | None]) -> None:
    if not names:
        raise InvalidExpression("ExpressionAttributeNames must not be empty")
    for key, name in names.items():
        if not _is_placeholder(key, _NAME_KEY):
            _refuse_placeholder("ExpressionAttributeNames", key, _NAME_KEY)
        fault = None
        if name is None:
            fault = "null"
        elif not name:
            fault = "Empty attribute name"
        elif utf8_size(name) > MAX_NAME_BYTES:
            fault = f"Attribute name is too large, must be less than {MAX_NAME_BYTES + 1} bytes"
        if fault is not None:
            raise InvalidExpression(f"ExpressionAttributeNames contains invalid value: {fault} for key {key}")


def _check_values(values: dict[str, Any]) -> None:
    if not values:
        raise InvalidExpression("ExpressionAttributeValues must not be empty")
    for key in values:
        if not _is_placeholder(key, _VALUE_KEY):
            _refuse_placeholder("ExpressionAttributeValues", key, _VALUE_KEY)
    for key, value in values.items():
        try:
            values[key] = normalise_value(value)[0]
        except InvalidValue as error:
            check_json_types(values)  # a wrong JSON type further on is reported first
            raise InvalidExpression(
                f"ExpressionAttributeValues contains invalid value: {error} for key {key}"
            ) from None


@lru_cache(CACHE_ENTRIES)
def _is_placeholder(key: str, pattern: re.Pattern[str]) -> bool:
    return len(key) <= MAX_PLACEHOLDER_BYTES and pattern.fullmatch(key) is not None


def _refuse_placeholder(member: str, key: str, pattern: re.Pattern[str]) -> NoReturn:
    if pattern.fullmatch(key) is None:
        raise InvalidExpression(f'{member} contains invalid key: Syntax error; key: "{key}"')
    raise InvalidExpression(
        f"{member} contains invalid key: The expression attribute map contains a key that is too long; "
        f"size of key: {len(key)}"  # ASCII, as the pattern says
    )


def _check_used(names: dict[str, str] | None, values: dict[str, Any] | None, parsed: Expressions) -> None:
    of_names: list[frozenset[str]] = []
    of_values: list[frozenset[str]] = []
    for expression in (parsed.update, parsed.condition, parsed.key_condition, parsed.filter, parsed.projection):
        if expression is not None:
            of_names.append(expression.names)
            of_values.append(expression.values)
    if names:
        _refuse_unused("ExpressionAttributeNames", names, of_names)
    if values:
        _refuse_unused("ExpressionAttributeValues", values, of_values)


def _refuse_unused(member: str, placeholders: Iterable[str], used: list[frozenset[str]]) -> None:
    everything = used[0] if len(used) == 1 else used[0].union(*used[1:])
    if not everything.issuperset(placeholders):
        unused = [key for key in placeholders if key not in everything]
        raise InvalidExpression(f"Value provided in {member} unused in expressions: keys: {{{', '.join(unused)}}}")
