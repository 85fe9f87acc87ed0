"""KeyConditionExpression: the one partition key and the range of sort keys that a Query reads.

Owns which conditions a Query may put on keys. They use the grammar of conditions and are narrowed twice: by shape,
which needs no table (one comparison per attribute, joined by AND), and then against the table's keys (the partition
key by `=`).
Source: AWS developer guide, "Key condition expressions for the Query operation".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from gramme.tables.descriptor import KeySchema
from gramme.tables.expression.condition_parser import parse_condition
from gramme.tables.expression.errors import InvalidExpression
from gramme.tables.expression.grammar import Check
from gramme.tables.expression.nodes import (
    And,
    Between,
    Call,
    Compare,
    ConditionNode,
    In,
    Operand,
    Or,
    Path,
    Value,
    Values,
)
from gramme.tables.keys import SortOperator
from gramme.tables.requests import AttributeValue
from gramme.tables.schema import check_key_content

_MIRRORED: Final = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_FIRST_OPERAND: Final = "operator must have the key attribute as its first operand"
_WRONG_TYPE: Final = "One or more parameter values were invalid: Condition parameter type does not match schema type"
_WRONG_CONDITION: Final = "Invalid condition in KeyConditionExpression: "


class KeyTerm(NamedTuple):
    """A condition on one attribute; `operands` are one value placeholder, or two for BETWEEN."""

    attribute: str
    operator: SortOperator
    operands: tuple[str, ...]


class KeyRange(NamedTuple):
    """What a Query reads: the items of one partition key, those whose sort key stands in `operator` to `value`.

    `operator` None is the whole partition key; `upper` is the end of BETWEEN (see `gramme.tables.keys.sort_bounds`).
    """

    hash_value: AttributeValue
    operator: SortOperator | None = None
    value: AttributeValue | None = None
    upper: AttributeValue | None = None


@dataclass(frozen=True, slots=True)
class KeyCondition:
    """A parsed key condition; immutable, shared between requests."""

    shape: dict[str, KeyTerm] | InvalidExpression  # the condition of each attribute, or why a Query cannot have it
    checks: tuple[Check, ...]
    names: frozenset[str]
    values: frozenset[str]

    def check(self, values: Values) -> None:
        """Refuse values that the expression cannot take (undefined, wrong types). Raises InvalidExpression."""
        for check in self.checks:
            check(values)

    def terms(self, limit: int = 2) -> Mapping[str, KeyTerm]:
        """The condition of each attribute. Raises InvalidExpression where a Query does not allow its shape.

        Apart from parsing, because the service reports faults of the request's other expressions before these.
        """
        if isinstance(self.shape, InvalidExpression):
            raise InvalidExpression(str(self.shape))
        if len(self.shape) > limit:
            raise InvalidExpression("Conditions can be of length 1 or 2 only")
        return self.shape


def parse_key_condition(kind: str, text: str, names: Mapping[str, str] | None) -> KeyCondition:
    """Parse a key condition. Raises InvalidExpression with the service's text."""
    parsed = parse_condition(kind, text, names)
    return KeyCondition(_shape_of(parsed.root), parsed.checks, parsed.names, parsed.values)


def _shape_of(root: ConditionNode) -> dict[str, KeyTerm] | InvalidExpression:
    terms: dict[str, KeyTerm] = {}
    try:
        _collect(root, terms)
    except InvalidExpression as error:
        return error
    return terms


def key_range(terms: Mapping[str, KeyTerm], values: Values, key: KeySchema) -> KeyRange:
    """The range of a table that `terms` describe. Raises InvalidExpression (missing key, wrong type, empty key)."""
    hash_term = terms.get(key.hash_name)
    range_term = None if key.range_name is None else terms.get(key.range_name)
    if hash_term is None:
        raise InvalidExpression(f"Query condition missed key schema element: {key.hash_name}")
    if len(terms) == 2 and range_term is None:
        if key.range_name is None:
            raise InvalidExpression("Query key condition not supported")
        raise InvalidExpression(f"Query condition missed key schema element: {key.range_name}")
    if hash_term.operator is not SortOperator.EQUAL:
        raise InvalidExpression("Query key condition not supported")
    (hash_value,) = operands_of(hash_term, values, key.hash_type)
    if range_term is None:
        return KeyRange(hash_value)
    assert key.range_type is not None
    operands = operands_of(range_term, values, key.range_type)
    return KeyRange(hash_value, range_term.operator, operands[0], operands[1] if len(operands) > 1 else None)


def operands_of(term: KeyTerm, values: Values, kind: str) -> list[AttributeValue]:
    """The values of a term, checked against the key attribute's type. Raises InvalidExpression."""
    if term.operator is SortOperator.BEGINS_WITH and kind == "N":
        raise InvalidExpression(_WRONG_TYPE)
    operands = [values[placeholder] for placeholder in term.operands]
    for operand in operands:
        if kind not in operand:
            raise InvalidExpression(_WRONG_TYPE)
        check_key_content(term.attribute, operand)
    return operands


# --- the shape


def _collect(node: ConditionNode, terms: dict[str, KeyTerm]) -> None:
    if isinstance(node, And):
        for term in node.terms:
            _collect(term, terms)
        return
    _refuse_operator(node)
    operands = _operands_of(node)
    position, path = _key_path(node, operands)
    placeholders = tuple(operand.placeholder for operand in operands if isinstance(operand, Value))
    if path.steps[0] in terms:
        raise InvalidExpression("KeyConditionExpressions must only contain one condition per key")
    attribute = str(path.steps[0])
    terms[attribute] = KeyTerm(attribute, SortOperator(_operator(node, position)), placeholders)


def _refuse_operator(node: ConditionNode) -> None:
    name = _operator_name(node)
    if name in ("OR", "NOT", "IN", "<>") or (isinstance(node, Call) and name not in ("begins_with", "size")):
        raise InvalidExpression(f"Invalid operator used in KeyConditionExpression: {name}")
    if isinstance(node, Between) and not isinstance(node.operand, Path):
        raise InvalidExpression(f"{_WRONG_CONDITION}{name} {_FIRST_OPERAND}")
    if isinstance(node, Call) and not isinstance(node.arguments[0], Path):
        raise InvalidExpression(f"{_WRONG_CONDITION}{name} {_FIRST_OPERAND}")


def _operator_name(node: ConditionNode) -> str:
    if isinstance(node, Compare):
        return node.operator
    if isinstance(node, Call):
        return node.name
    if isinstance(node, Between):
        return "BETWEEN"
    if isinstance(node, In):
        return "IN"
    return "OR" if isinstance(node, Or) else "NOT"


def _operator(node: ConditionNode, position: int) -> str:
    """The operator as seen from the key attribute: `:v < a` is `a > :v`."""
    name = _operator_name(node)
    return _MIRRORED[name] if position else name


def _operands_of(node: ConditionNode) -> tuple[Operand, ...]:
    if isinstance(node, Compare):
        return (node.left, node.right)
    if isinstance(node, Between):
        return (node.operand, node.low, node.high)
    assert isinstance(node, Call)
    return node.arguments


def _key_path(node: ConditionNode, operands: tuple[Operand, ...]) -> tuple[int, Path]:
    """The one attribute among the operands and its position."""
    found: tuple[int, Path] | None = None
    for position, operand in enumerate(operands):
        if isinstance(operand, Call):
            raise InvalidExpression("KeyConditionExpressions cannot contain nested operations")
        if not isinstance(operand, Path):
            continue
        if found is not None:
            raise InvalidExpression(f"{_WRONG_CONDITION}Multiple attribute names used in one condition")
        if len(operand.steps) > 1:
            raise InvalidExpression("KeyConditionExpressions cannot have conditions on nested attributes")
        found = (position, operand)
    if found is None:
        raise InvalidExpression(f"{_WRONG_CONDITION}No key attribute specified")
    return found
