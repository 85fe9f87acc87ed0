"""What a WHERE clause says about keys: the one item of a write, the ranges of a SELECT.

Rules: the terms of the outermost AND count. A write names its whole primary key by `=`. A SELECT that names all
partition key attributes by `=` or IN (or an OR of these) reads only these collections, in the order of their values,
and of them what its terms on the sort key leave; everything else stays a filter. Any other SELECT is a Scan. Source:
AWS developer guide, "PartiQL select statements for DynamoDB" (which statements are full table scans), "PartiQL update
statements" (one item at a time).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from gramme.tables import compare
from gramme.tables.descriptor import KeySchema
from gramme.tables.expression.nodes import And, Between, Call, Compare, ConditionNode, In, Operand, Or, Path, Value
from gramme.tables.keys import SortOperator, encode_scalar
from gramme.tables.partiql.errors import InvalidStatement, NoKey
from gramme.tables.requests import AttributeValue, Item
from gramme.tables.schema import check_key_content

MAX_RANGES: Final = 100
"""Ranges of one SELECT; what would make more becomes a filter, or a Scan."""

KeyAttributes = tuple[tuple[str, str], ...]
"""Names and types (S, N, B)."""

_MIRRORED: Final = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


class SortTerm(NamedTuple):
    """A condition on the sort key; `upper` only with BETWEEN."""

    operator: SortOperator
    value: AttributeValue
    upper: AttributeValue | None = None


class Reading(NamedTuple):
    """How a SELECT reads. `hashes`: the collections, each with its partition key values, None for a Scan. `points`: the
    sort keys of an IN, None if there is none. `terms`: what else the sort key must fulfil. `rest`: the filter."""

    hashes: list[list[AttributeValue]] | None
    points: list[AttributeValue] | None
    terms: list[SortTerm]
    rest: ConditionNode | None


# --- one item


def item_key(
    where: ConditionNode | None, values: Mapping[str, AttributeValue], key: KeySchema
) -> tuple[Item, ConditionNode | None]:
    """The primary key that a write's WHERE clause names, and what else it demands. Raises InvalidStatement."""
    found: Item = {}
    rest: list[ConditionNode] = []
    for term in _terms(where):
        equal = _equality(term, key.names)
        if equal is None:
            rest.append(term)
            continue
        name, value = equal[0], values[equal[1]]
        if name in found and not compare.equal(found[name], value):
            raise InvalidStatement(
                f"Multiple conditions on same key {name}. Only single item Update/Insert/Delete are supported"
            )
        found[name] = value
    if len(found) < len(key.names):
        raise NoKey
    check_key_types(key, found)
    return {name: found[name] for name in key.names}, conjunction(rest)


def check_key_types(key: KeySchema, attributes: Mapping[str, AttributeValue]) -> None:
    """Refuse key attributes of another type than the table's. Raises InvalidStatement."""
    _check_type(key.hash_name, key.hash_type, attributes[key.hash_name])
    if key.range_name is not None and key.range_type is not None:
        _check_type(key.range_name, key.range_type, attributes[key.range_name])


def _check_type(name: str, kind: str, value: AttributeValue) -> None:
    if kind not in value:
        raise InvalidStatement(f"Key attribute's data type should match its data type in table's schema: Key {name}")


# --- ranges


def reading(
    where: ConditionNode | None, values: Mapping[str, AttributeValue], hashed: KeyAttributes, ranged: KeyAttributes
) -> Reading:
    """How to read what fulfils `where` from a table or index with these key attributes.

    Raises InvalidStatement, InvalidItem for key values of a wrong type, and empty ones.
    """
    terms = _terms(where)
    used: dict[int, None] = {}
    choices: list[list[AttributeValue]] = []
    for name, kind in hashed:
        found = next(((at, those) for at, term in enumerate(terms) if (those := _choices(term, name))), None)
        several = found is not None and len(found[1]) > (MAX_RANGES if len(hashed) == 1 else 1)
        if found is None or several:
            return Reading(None, None, [], where)
        used[found[0]] = None
        choices.append(_distinct(name, kind, [values[placeholder] for placeholder in found[1]]))
    hashes = [[value] for value in choices[0]] if len(choices) == 1 else [[own[0] for own in choices]]
    points: list[AttributeValue] | None = None
    sort_terms: list[SortTerm] = []
    for at, term in enumerate(terms if ranged else ()):
        name, kind = ranged[0]
        operator, placeholders = _sort_condition(term, name)
        if operator is None:
            continue
        operands = [values[placeholder] for placeholder in placeholders]
        if operator is not SortOperator.EQUAL or len(operands) == 1:
            for operand in operands:
                _check_operand(name, kind, operand)
            sort_terms.append(SortTerm(operator, *operands))
        elif points is None and len(operands) * len(hashes) <= MAX_RANGES:
            points = _distinct(name, kind, operands)
        else:
            continue
        used[at] = None
    rest = [term for at, term in enumerate(terms) if at not in used]
    return Reading(hashes, points, sort_terms, conjunction(rest))


def _distinct(name: str, kind: str, operands: list[AttributeValue]) -> list[AttributeValue]:
    """The operands without repetitions, in the order of their values."""
    encoded: dict[bytes, AttributeValue] = {}
    for operand in operands:
        _check_operand(name, kind, operand)
        encoded[encode_scalar(kind, operand)] = operand  # type: ignore[arg-type]
    return [operand for _, operand in sorted(encoded.items())]


def _check_operand(name: str, kind: str, value: AttributeValue) -> None:
    _check_type(name, kind, value)
    check_key_content(name, value)


# --- terms


def _terms(where: ConditionNode | None) -> tuple[ConditionNode, ...]:
    if where is None:
        return ()
    return where.terms if isinstance(where, And) else (where,)


def conjunction(terms: list[ConditionNode]) -> ConditionNode | None:
    """All of `terms`; None if there are none."""
    if not terms:
        return None
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _equality(term: ConditionNode, names: tuple[str, ...]) -> tuple[str, str] | None:
    """Name and value placeholder of `name = value` (or the other way round) for one of `names`."""
    if not isinstance(term, Compare) or term.operator != "=":
        return None
    for path, value in ((term.left, term.right), (term.right, term.left)):
        if isinstance(value, Value):
            name = _name(path)
            if name in names:
                return name, value.placeholder
    return None


def _name(operand: Operand) -> str | None:
    """The attribute if the operand is a top-level one."""
    return str(operand.steps[0]) if isinstance(operand, Path) and len(operand.steps) == 1 else None


def _choices(term: ConditionNode, name: str) -> list[str]:
    """The value placeholders that `term` demands of an attribute by `=`, IN, or an OR of these, if any."""
    if isinstance(term, Or):
        alternatives = [_choices(alternative, name) for alternative in term.terms]
        return [choice for choices in alternatives for choice in choices] if all(alternatives) else []
    if isinstance(term, In):
        values = [choice.placeholder for choice in term.choices if isinstance(choice, Value)]
        return values if _name(term.operand) == name and len(values) == len(term.choices) else []
    equal = _equality(term, (name,))
    return [] if equal is None else [equal[1]]


def _sort_condition(term: ConditionNode, name: str) -> tuple[SortOperator | None, list[str]]:
    """Operator and value placeholders of a term on the sort key; EQUAL with several is IN. None for any other term."""
    choices = _choices(term, name)
    if choices:
        return SortOperator.EQUAL, choices
    operands: tuple[Operand, ...] = ()
    operator = ""
    if isinstance(term, Compare):
        operands, operator = (term.left, term.right), term.operator
        if isinstance(term.left, Value):
            operands, operator = (term.right, term.left), _MIRRORED.get(operator, "")
    elif isinstance(term, Between):
        operands, operator = (term.operand, term.low, term.high), "BETWEEN"
    elif isinstance(term, Call) and term.name == "begins_with":
        operands, operator = term.arguments, "begins_with"
    placeholders = [operand.placeholder for operand in operands[1:] if isinstance(operand, Value)]
    fits = operator not in ("", "<>") and _name(operands[0]) == name and len(placeholders) == len(operands) - 1
    return (SortOperator(operator), placeholders) if fits else (None, [])
