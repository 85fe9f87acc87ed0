"""The parameters from before expressions (Expected, AttributeUpdates, filters, KeyConditions), as expressions.

Owns their rules and what they mean in the expression language. Rule: there is one evaluator, so everything here becomes
text of that language with placeholders of its own (`#0`, `:0`), which partitions parse like any other. Such a text is
carried behind `GENERATED`, a character that begins no token: a client cannot write it, and a reader that does not know
it refuses the request instead of misreading it. Limits on the length of expressions do not apply to it, the number of
conditions is bounded instead.
Sources: API reference, "Legacy conditional parameters"; the service's texts as public test suites recorded them, and
DynamoDB Local's where those are silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from gramme.kernel.errors import InvalidInput
from gramme.tables import compare
from gramme.tables.expression.key_condition import KeyTerm
from gramme.tables.expression.request import MAX_NAME_BYTES
from gramme.tables.keys import SortOperator
from gramme.tables.requests import AttributeValue
from gramme.tables.values import normalise_value, utf8_size

MAX_CONDITIONS: Final = 2000
"""Conditions, operands or updates of one request: bounds what one request costs its partition's leader."""

_INVALID: Final = "One or more parameter values were invalid: "
_SCALARS: Final = ("S", "N", "B")
_COMPARATORS: Final = {"EQ": "=", "NE": "<>", "LE": "<=", "LT": "<", "GE": ">=", "GT": ">"}
_OPERANDS: Final = {**dict.fromkeys((*_COMPARATORS, "CONTAINS", "NOT_CONTAINS", "BEGINS_WITH"), 1), "BETWEEN": 2}
_TYPES: Final = {
    **dict.fromkeys(("LE", "LT", "GE", "GT", "IN", "BETWEEN"), _SCALARS),
    **dict.fromkeys(("CONTAINS", "NOT_CONTAINS"), (*_SCALARS, "BOOL", "NULL")),
    "BEGINS_WITH": ("S", "B"),
}
_KEY_OPERATORS: Final = {
    "EQ": SortOperator.EQUAL,
    "LE": SortOperator.LESS_OR_EQUAL,
    "LT": SortOperator.LESS,
    "GE": SortOperator.GREATER_OR_EQUAL,
    "GT": SortOperator.GREATER,
    "BEGINS_WITH": SortOperator.BEGINS_WITH,
    "BETWEEN": SortOperator.BETWEEN,
}
_SETS: Final = ("SS", "NS", "BS")
_EMPTY_LIST: Final = ":empty"

OPERATORS: Final = (
    "IN", "NULL", "BETWEEN", "LT", "NOT_CONTAINS", "EQ", "GT", "NOT_NULL", "NE", "LE", "BEGINS_WITH", "GE", "CONTAINS",
)  # fmt: skip
"""ComparisonOperator, in the order in which messages name them."""


class InvalidParameter(InvalidInput):
    """A legacy parameter breaks a rule: a ValidationException with the service's text."""


class Comparison(NamedTuple):
    """`attribute operator operands`; operands are normalised."""

    attribute: str
    operator: str
    operands: list[AttributeValue]


class Update(NamedTuple):
    """`action attribute value`: PUT, ADD or DELETE; value None is DELETE of the whole attribute."""

    attribute: str
    action: str
    value: AttributeValue | None


class Placeholders:
    """The names and values of one request's generated texts."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, AttributeValue] = {}

    def name(self, attribute: str) -> str:
        """A placeholder for a top-level attribute, whatever characters its name has."""
        placeholder = f"#{len(self.names)}"
        self.names[placeholder] = attribute
        return placeholder

    def value(self, value: AttributeValue) -> str:
        """A placeholder for a normalised value."""
        placeholder = f":{len(self.values)}"
        self.values[placeholder] = value
        return placeholder


# --- reading and checking


def read_expected(expected: Mapping[str, Mapping[str, Any]]) -> list[Comparison]:
    """The conditions of `Expected`; values are normalised in place. Raises InvalidParameter, InvalidValue."""
    _check_names(expected)
    comparisons = [_read_expectation(name, entry) for name, entry in expected.items()]
    _check_count(comparisons)
    return comparisons


def read_conditions(conditions: Mapping[str, Mapping[str, Any]]) -> list[Comparison]:
    """The conditions of a QueryFilter, a ScanFilter or KeyConditions; values are normalised in place.

    Raises InvalidParameter, InvalidValue.
    """
    _check_names(conditions)
    comparisons = []
    for name, entry in conditions.items():
        operands = [normalise_value(value)[0] for value in entry.get("AttributeValueList") or ()]
        comparison = Comparison(name, entry["ComparisonOperator"], operands)
        _check_operands(comparison)
        comparisons.append(comparison)
    _check_count(comparisons)
    return comparisons


def read_updates(updates: Mapping[str, Mapping[str, Any]]) -> list[Update]:
    """The edits of `AttributeUpdates`; values are normalised in place. Raises InvalidParameter, InvalidValue."""
    _check_names(updates)
    if len(updates) > MAX_CONDITIONS:
        raise InvalidParameter(f"{_INVALID}AttributeUpdates has more than {MAX_CONDITIONS} attributes")
    return [_read_update(name, entry) for name, entry in updates.items()]


def check_attributes_to_get(names: list[str]) -> None:
    """Refuse empty and repeated names. Raises InvalidParameter."""
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            raise InvalidParameter(f"{_INVALID}Duplicate value in attribute name: {name}")
        seen[name] = None
    _check_names(seen)


def check_operator(operator: str | None, conditions: int) -> None:
    """Refuse a ConditionalOperator that has nothing to join. Raises InvalidParameter."""
    if operator is None or conditions > 1:
        return
    if conditions == 0:
        raise InvalidParameter("ConditionalOperator cannot be used without Filter or Expected")
    raise InvalidParameter("ConditionalOperator can only be used when Filter or Expected has two or more elements")


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not name:
            raise InvalidParameter("Empty attribute name")
        if utf8_size(name) > MAX_NAME_BYTES:
            raise InvalidParameter(f"Attribute name is too large, must be less than {MAX_NAME_BYTES + 1} bytes")


def _check_count(comparisons: list[Comparison]) -> None:
    if sum(max(1, len(comparison.operands)) for comparison in comparisons) > MAX_CONDITIONS:
        raise InvalidParameter(f"{_INVALID}Conditions have more than {MAX_CONDITIONS} values")


def _read_expectation(name: str, entry: Mapping[str, Any]) -> Comparison:
    operator, exists, value = entry.get("ComparisonOperator"), entry.get("Exists"), entry.get("Value")
    values = entry.get("AttributeValueList")
    if values is not None and value is not None:
        raise InvalidParameter(f"{_INVALID}Value and AttributeValueList cannot be used together for Attribute: {name}")
    if operator is None:
        return _read_existence(name, exists, value, values)
    if exists is not None:
        raise InvalidParameter(f"{_INVALID}Exists and ComparisonOperator cannot be used together for Attribute: {name}")
    if values is None and value is None and operator not in ("NULL", "NOT_NULL"):
        raise InvalidParameter(
            f"{_INVALID}Value or AttributeValueList must be used with ComparisonOperator: {operator} for Attribute: "
            f"{name}"
        )
    given = ([] if value is None else [value]) if values is None else values
    comparison = Comparison(name, operator, [normalise_value(operand)[0] for operand in given])
    _check_operands(comparison)
    return comparison


def _read_existence(name: str, exists: bool | None, value: Any, values: Any) -> Comparison:
    if values is not None:
        raise InvalidParameter(
            f"{_INVALID}AttributeValueList can only be used with a ComparisonOperator for Attribute: {name}"
        )
    if exists is False:
        if value is not None:
            raise InvalidParameter(f"{_INVALID}Value cannot be used when Exists is false for Attribute: {name}")
        return Comparison(name, "NULL", [])
    if value is None:
        shown = "null" if exists is None else "true"
        raise InvalidParameter(f"{_INVALID}Value must be provided when Exists is {shown} for Attribute: {name}")
    return Comparison(name, "EQ", [normalise_value(value)[0]])


def _check_operands(comparison: Comparison) -> None:
    operator, operands = comparison.operator, comparison.operands
    count = len(operands)
    if not count if operator == "IN" else count != _OPERANDS.get(operator, 0):
        raise InvalidParameter(f"{_INVALID}Invalid number of argument(s) for the {operator} ComparisonOperator")
    kinds = [compare.type_of(operand) for operand in operands]
    if any(kind != kinds[0] for kind in kinds):
        raise InvalidParameter(f"{_INVALID}AttributeValues inside AttributeValueList must be of same type")
    if kinds and operator in _TYPES and kinds[0] not in _TYPES[operator]:
        raise InvalidParameter(
            f"{_INVALID}ComparisonOperator {operator} is not valid for {kinds[0]} AttributeValue type"
        )
    if operator == "BETWEEN" and compare.less(operands[1], operands[0]):
        raise InvalidParameter(
            "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"
        )


def _read_update(name: str, entry: Mapping[str, Any]) -> Update:
    action, given = entry.get("Action") or "PUT", entry.get("Value")
    if given is None:
        if action != "DELETE":
            raise InvalidParameter(f"{_INVALID}Only DELETE action is allowed when no attribute value is specified")
        return Update(name, action, None)
    value = normalise_value(given)[0]
    kind = compare.type_of(value)
    if action == "DELETE" and kind not in _SETS:
        raise InvalidParameter(f"{_INVALID}DELETE action with value is not supported for the type {kind}")
    if action == "ADD" and kind not in (*_SETS, "N", "L"):
        raise InvalidParameter(f"{_INVALID}ADD action is not supported for the type {kind}")
    return Update(name, action, value)


# --- rewriting


def condition_text(comparisons: list[Comparison], operator: str | None, placeholders: Placeholders) -> str:
    """The conditions in the expression language, joined by `operator` (AND, OR; None is AND)."""
    return f" {operator or 'AND'} ".join(_comparison_text(comparison, placeholders) for comparison in comparisons)


def _comparison_text(comparison: Comparison, placeholders: Placeholders) -> str:
    name = placeholders.name(comparison.attribute)
    operator = comparison.operator
    values = [placeholders.value(operand) for operand in comparison.operands]
    if operator in _COMPARATORS:
        return f"{name} {_COMPARATORS[operator]} {values[0]}"
    if operator == "NULL":
        return f"attribute_not_exists({name})"
    if operator == "NOT_NULL":
        return f"attribute_exists({name})"
    if operator == "IN":
        return f"{name} IN ({', '.join(values)})"
    if operator == "BETWEEN":
        return f"{name} BETWEEN {values[0]} AND {values[1]}"
    if operator == "NOT_CONTAINS":  # true of no attribute it cannot be in, but of a missing one false
        return f"(attribute_exists({name}) AND NOT contains({name}, {values[0]}))"
    return f"{operator.lower()}({name}, {values[0]})"


def update_text(updates: list[Update], placeholders: Placeholders) -> str:
    """The edits as an update expression: `SET … REMOVE … ADD … DELETE …`."""
    sections: dict[str, list[str]] = {"SET": [], "REMOVE": [], "ADD": [], "DELETE": []}
    for update in updates:
        name = placeholders.name(update.attribute)
        if update.value is None:
            sections["REMOVE"].append(name)
            continue
        value = placeholders.value(update.value)
        if update.action == "PUT":
            sections["SET"].append(f"{name} = {value}")
        elif "L" in update.value:
            placeholders.values[_EMPTY_LIST] = {"L": []}
            sections["SET"].append(f"{name} = list_append(if_not_exists({name}, {_EMPTY_LIST}), {value})")
        else:
            sections[update.action].append(f"{name} {value}")
    return " ".join(f"{section} {', '.join(actions)}" for section, actions in sections.items() if actions)


def projection_text(names: list[str], placeholders: Placeholders) -> str:
    """AttributesToGet as a projection: top-level attributes, dots in their names included."""
    return ", ".join(placeholders.name(name) for name in names)


def key_terms(comparisons: list[Comparison], values: dict[str, AttributeValue]) -> dict[str, KeyTerm]:
    """KeyConditions as the terms of a key condition; their operands go to `values` under placeholders of their own.

    Raises InvalidParameter.
    """
    if not 1 <= len(comparisons) <= 2:
        raise InvalidParameter("Conditions can be of length 1 or 2 only")
    terms: dict[str, KeyTerm] = {}
    for comparison in comparisons:
        operator = _KEY_OPERATORS.get(comparison.operator)
        if operator is None:
            raise InvalidParameter("Attempted conditional constraint is not an indexable operation")
        placeholders = tuple(f"key:{len(values) + index}" for index in range(len(comparison.operands)))
        values.update(zip(placeholders, comparison.operands, strict=True))
        terms[comparison.attribute] = KeyTerm(comparison.attribute, operator, placeholders)
    return terms
