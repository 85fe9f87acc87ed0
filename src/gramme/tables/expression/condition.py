"""Conditions and filters: from the tree to a function of item and values.

Owns what a condition means. A tree is compiled once into nested functions, so that a Scan's filter pays for each row
only what it looks at. Logic is two-valued: a missing attribute, or operands of different types, make a comparison
false, and `<>` true. Source: AWS developer guide, "Condition and filter expressions, operators, and functions".
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gramme.kernel.errors import Invariant
from gramme.tables import compare
from gramme.tables.expression.condition_parser import parse_condition
from gramme.tables.expression.nodes import (
    And,
    Between,
    Call,
    Compare,
    ConditionNode,
    In,
    Not,
    Operand,
    Or,
    Path,
    Value,
    Values,
    fetch,
)
from gramme.tables.requests import AttributeValue, Item

Predicate = Callable[[Item, Values], bool]
Fetcher = Callable[[Item, Values], AttributeValue | None]


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition; immutable, shared between requests."""

    root: ConditionNode
    holds: Predicate
    """Whether the condition holds for an item (empty if there is none); `values` has passed `check`."""
    checks: tuple[Callable[[Values], None], ...]
    names: frozenset[str]
    values: frozenset[str]

    def check(self, values: Values) -> None:
        """Refuse values that the expression cannot take (undefined, wrong types). Raises InvalidExpression."""
        for check in self.checks:
            check(values)


def compile_condition(kind: str, text: str, names: Mapping[str, str] | None) -> Condition:
    """Parse and compile a condition; `kind` names the member in messages. Raises InvalidExpression."""
    parsed = parse_condition(kind, text, names)
    holds = _unreachable if parsed.faulty else _predicate(parsed.root)
    return Condition(parsed.root, holds, parsed.checks, parsed.names, parsed.values)


def _unreachable(_item: Item, _values: Values) -> bool:
    raise Invariant("a condition was evaluated that its own checks refuse")


def _predicate(node: ConditionNode) -> Predicate:
    match node:
        case Compare(operator, left, right):
            return _comparison(operator, _fetcher(left), _fetcher(right))
        case Call(name, arguments):
            return _FUNCTIONS[name](*arguments)
        case And(terms):
            return _all([_predicate(term) for term in terms])
        case Or(terms):
            return _any([_predicate(term) for term in terms])
        case Not(term):
            inner = _predicate(term)
            return lambda item, values: not inner(item, values)
        case Between(operand, low, high):
            return _between(_fetcher(operand), _fetcher(low), _fetcher(high))
        case In(operand, choices):
            return _in(_fetcher(operand), [_fetcher(choice) for choice in choices])


def _all(terms: list[Predicate]) -> Predicate:
    def holds(item: Item, values: Values) -> bool:
        for term in terms:  # noqa: SIM110  a generator would cost more than the terms
            if not term(item, values):
                return False
        return True

    return holds


def _any(terms: list[Predicate]) -> Predicate:
    def holds(item: Item, values: Values) -> bool:
        for term in terms:  # noqa: SIM110  as above
            if term(item, values):
                return True
        return False

    return holds


# --- operands


def _fetcher(operand: Operand) -> Fetcher:
    if isinstance(operand, Value):
        placeholder = operand.placeholder
        return lambda _item, values: values[placeholder]
    if isinstance(operand, Path):
        steps = operand.steps
        if len(steps) == 1:
            name = str(steps[0])
            return lambda item, _values: item.get(name)
        return lambda item, _values: fetch(item, steps)
    assert isinstance(operand, Call)
    return _size(_fetcher(operand.arguments[0]))


def _size(inner: Fetcher) -> Fetcher:
    def size(item: Item, values: Values) -> AttributeValue | None:
        value = inner(item, values)
        length = None if value is None else _length(value)
        return None if length is None else {"N": str(length)}

    return size


def _length(value: AttributeValue) -> int | None:
    """size(): UTF-16 units of a string (the service is written in Java), bytes of a binary, elements of the rest."""
    for kind, content in value.items():
        if kind == "S":
            return len(content) if content.isascii() else len(content.encode("utf-16-le", "surrogatepass")) // 2
        if kind == "B":
            return len(a2b_base64(content))
        if kind in ("SS", "NS", "BS", "L", "M"):
            return len(content)
    return None


# --- comparisons


def _comparison(operator: str, left: Fetcher, right: Fetcher) -> Predicate:
    if operator == "=":

        def equals(item: Item, values: Values) -> bool:
            one, other = left(item, values), right(item, values)
            return one is not None and other is not None and compare.equal(one, other)

        return equals
    if operator == "<>":

        def differs(item: Item, values: Values) -> bool:
            one, other = left(item, values), right(item, values)
            return one is None or other is None or not compare.equal(one, other)

        return differs
    return _ordering(_ORDERINGS[operator], left, right)


def _ordering(test: Callable[[AttributeValue, AttributeValue], bool], left: Fetcher, right: Fetcher) -> Predicate:
    def holds(item: Item, values: Values) -> bool:
        one, other = left(item, values), right(item, values)
        return one is not None and other is not None and test(one, other)

    return holds


def _not_less(left: AttributeValue, right: AttributeValue) -> bool:
    return compare.is_ordered_like(left, right) and not compare.less(left, right)


_ORDERINGS: Final[dict[str, Callable[[AttributeValue, AttributeValue], bool]]] = {
    "<": compare.less,
    ">": lambda left, right: compare.less(right, left),
    "<=": lambda left, right: _not_less(right, left),
    ">=": _not_less,
}


def _between(operand: Fetcher, low: Fetcher, high: Fetcher) -> Predicate:
    def holds(item: Item, values: Values) -> bool:
        value, lower, upper = operand(item, values), low(item, values), high(item, values)
        if value is None or lower is None or upper is None:
            return False
        return _not_less(value, lower) and _not_less(upper, value)

    return holds


def _in(operand: Fetcher, choices: list[Fetcher]) -> Predicate:
    def holds(item: Item, values: Values) -> bool:
        value = operand(item, values)
        if value is None:
            return False
        for choice in choices:
            other = choice(item, values)
            if other is not None and compare.equal(value, other):
                return True
        return False

    return holds


# --- functions


def _attribute_exists(operand: Operand) -> Predicate:
    value = _fetcher(operand)
    return lambda item, values: value(item, values) is not None


def _attribute_not_exists(operand: Operand) -> Predicate:
    value = _fetcher(operand)
    return lambda item, values: value(item, values) is None


def _attribute_type(operand: Operand, kind: Operand) -> Predicate:
    value, wanted = _fetcher(operand), _fetcher(kind)

    def holds(item: Item, values: Values) -> bool:
        found, name = value(item, values), wanted(item, values)
        return found is not None and name is not None and name.get("S") in found

    return holds


def _begins_with(operand: Operand, prefix: Operand) -> Predicate:
    whole, start = _fetcher(operand), _fetcher(prefix)

    def holds(item: Item, values: Values) -> bool:
        value, beginning = whole(item, values), start(item, values)
        if value is None or beginning is None:
            return False
        if "S" in value and "S" in beginning:
            return str.startswith(value["S"], beginning["S"])
        if "B" in value and "B" in beginning:
            return a2b_base64(value["B"]).startswith(a2b_base64(beginning["B"]))
        return False

    return holds


def _contains(container: Operand, member: Operand) -> Predicate:
    whole, part = _fetcher(container), _fetcher(member)

    def holds(item: Item, values: Values) -> bool:
        value, wanted = whole(item, values), part(item, values)
        return value is not None and wanted is not None and _has(value, wanted)

    return holds


def _has(value: AttributeValue, wanted: AttributeValue) -> bool:
    kind = compare.type_of(wanted)
    content = wanted[kind]
    if "L" in value:
        return any(compare.equal(element, wanted) for element in value["L"])
    if kind == "S":
        return content in value.get("S", ()) if "S" in value else content in value.get("SS", ())
    if kind == "B":
        return a2b_base64(content) in a2b_base64(value["B"]) if "B" in value else content in value.get("BS", ())
    return kind == "N" and content in value.get("NS", ())


_FUNCTIONS: Final[dict[str, Callable[..., Predicate]]] = {
    "attribute_exists": _attribute_exists,
    "attribute_not_exists": _attribute_not_exists,
    "attribute_type": _attribute_type,
    "begins_with": _begins_with,
    "contains": _contains,
}
