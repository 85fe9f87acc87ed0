"""The grammar of conditions: ConditionExpression, FilterExpression and KeyConditionExpression.

    or    = and {OR and};  and = not {AND not};  not = {NOT} primary
    primary = "(" or ")" | operand comparator operand | operand BETWEEN operand AND operand
            | operand IN "(" operand {"," operand} ")" | function "(" operand {"," operand} ")"
    operand = path | :value | size "(" operand ")" | "(" operand ")"

Parentheses hold conditions or operands alike, which a top-down parser cannot tell apart beforehand: so groups live on
an explicit stack, whatever stands in them is one node, and each place asks for the sort it wants. The stack also keeps
deep nesting off Python's. Source: AWS developer guide, "Condition and filter expressions, operators, and functions".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from gramme.tables import compare
from gramme.tables.expression.grammar import MAX_CALL_DEPTH, Check, Early, OperandParser
from gramme.tables.expression.lexer import Kind
from gramme.tables.expression.nodes import (
    And,
    Arithmetic,
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
)
from gramme.tables.requests import AttributeValue

MAX_IN_OPERANDS: Final = 100

_COMPARATORS: Final = frozenset({"=", "<>", "<", "<=", ">", ">="})
_OPERAND_COUNTS: Final = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
    "size": 1,
}
_UPDATE_FUNCTIONS: Final = frozenset({"if_not_exists", "list_append"})
_ORDERED_TYPES: Final = frozenset({"S", "N", "B"})
_SIZELESS_TYPES: Final = frozenset({"N", "BOOL", "NULL"})
_TYPE_NAMES: Final = ("B", "NULL", "SS", "BOOL", "L", "BS", "N", "NS", "S", "M")
_ANY_TYPE: Final = "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}"

Node = Operand | ConditionNode


class _Stage(IntEnum):
    """The order of checks within one simple condition."""

    REFERENCE = 0
    COUNT = 1
    DISTINCT = 2
    TYPE = 3


@dataclass(slots=True)
class _Group:
    """An open parenthesis (or the whole text): what stands before the cursor in it."""

    alternatives: list[ConditionNode] = field(default_factory=list)  # complete terms of OR
    factors: list[ConditionNode] = field(default_factory=list)  # complete terms of AND since the last OR
    negations: int = 0  # NOTs before the next primary

    def is_bare(self) -> bool:
        return not (self.alternatives or self.factors or self.negations)


@dataclass(frozen=True, slots=True)
class ParsedCondition:
    """The tree, the checks to run on each request's values, and the placeholders it uses."""

    root: ConditionNode
    checks: tuple[Check, ...]
    faulty: bool  # the checks refuse any values, and the tree may break its own rules
    names: frozenset[str]
    values: frozenset[str]


def parse_condition(kind: str, text: str, names: Mapping[str, str] | None) -> ParsedCondition:
    """Parse a condition; `kind` is the member's name. Raises InvalidExpression with the service's text."""
    parser = _ConditionParser(kind, text, names)
    root = parser.parse()
    names_used, values_used = frozenset(parser.used_names), frozenset(parser.used_values)
    return ParsedCondition(root, tuple(parser.checks), parser.faulty, names_used, values_used)


class _ConditionParser(OperandParser):
    def __init__(self, kind: str, text: str, names: Mapping[str, str] | None) -> None:
        super().__init__(kind, text, names)
        self.checks: list[Check] = []
        self._staged: dict[_Stage, list[Check]] = {stage: [] for stage in _Stage}
        self._was_closed = False  # whether the node before the cursor came straight out of parentheses

    def parse(self) -> ConditionNode:
        stack = [_Group()]
        while True:
            group = stack[-1]
            while self.take_keyword("NOT"):
                group.negations += 1
                self.count_operator()
            if self.take_symbol("("):
                stack.append(_Group())
                continue
            self._was_closed = False
            node = self._finish_primary(self.read_bare_operand(0))
            while self.peek_symbol(")") and len(stack) > 1:
                node = self._close(stack, node)
            group = stack[-1]
            condition = self._condition(node)
            if self.take_keyword("AND"):
                self._add_factor(group, condition)
                self.count_operator()
            elif self.take_keyword("OR"):
                self._add_factor(group, condition)
                self._add_alternative(group)
                self.count_operator()
            elif len(stack) > 1:
                self.syntax_error()
            else:
                root = self._combine(group, condition)
                self.finish()
                self.checks.extend(self.limits)
                return root

    # --- groups

    def _close(self, stack: list[_Group], node: Node) -> Node:
        """At a closing parenthesis: the group's node, continued as an operand if it is one."""
        group = stack.pop()
        if not group.is_bare():
            node = self._combine(group, self._condition(node))
        elif self._was_closed:
            self.note_redundant_parentheses()
        self.expect_symbol(")")
        continued = self._finish_primary(node)
        self._was_closed = continued is node
        return continued

    def _combine(self, group: _Group, condition: ConditionNode) -> ConditionNode:
        self._add_factor(group, condition)
        if not group.alternatives:
            return _conjunction(group.factors)
        self._add_alternative(group)
        return Or(tuple(group.alternatives))

    def _add_factor(self, group: _Group, condition: ConditionNode) -> None:
        group.factors.append(Not(condition) if group.negations % 2 else condition)
        group.negations = 0

    def _add_alternative(self, group: _Group) -> None:
        group.alternatives.append(_conjunction(group.factors))
        group.factors = []

    def _condition(self, node: Node) -> ConditionNode:
        """`node` where a condition must stand, the cursor behind it."""
        if isinstance(node, Path | Value | Arithmetic):
            self.syntax_error()
        if isinstance(node, Call) and node.name == "size":
            self._misused(node)
        return node

    # --- simple conditions

    def _finish_primary(self, node: Node) -> Node:
        """What follows an operand: a comparison, BETWEEN or IN makes a condition of it; else it stays what it is."""
        token = self.token
        if token.kind is Kind.SYMBOL and token.text in _COMPARATORS:
            left = self._comparable(node)
            self.advance()
            return self._simple(self._compare(token.text, left))
        if self.peek_keyword("BETWEEN"):
            operand = self._comparable(node)
            self.advance()
            return self._simple(self._between(operand))
        if self.peek_keyword("IN"):
            operand = self._comparable(node)
            self.advance()
            return self._simple(self._in(operand))
        if isinstance(node, Call):
            self._flush()
        return node

    def _simple(self, condition: ConditionNode) -> ConditionNode:
        self._was_closed = False
        self.count_operator()
        self._flush()
        return condition

    def _flush(self) -> None:
        """End of a simple condition: its checks in their order, behind those of the conditions before it."""
        for staged in self._staged.values():
            self.checks.extend(staged)
            staged.clear()

    def _compare(self, operator: str, left: Operand) -> Compare:
        right = self._comparable(self.read_operand(0))
        self._check_distinct(operator, left, (right,))
        if operator not in ("=", "<>"):
            self._check_types(operator, (left, right), _ORDERED_TYPES)
        return Compare(operator, left, right)

    def _between(self, operand: Operand) -> Between:
        low = self._comparable(self.read_operand(0))
        if not self.take_keyword("AND"):
            self.syntax_error()
        high = self._comparable(self.read_operand(0))
        self._check_distinct("BETWEEN", operand, (low, high))
        self._check_types("BETWEEN", (operand, low, high), _ORDERED_TYPES)
        if isinstance(low, Value) and isinstance(high, Value):
            self._check_bounds(low, high)
        return Between(operand, low, high)

    def _in(self, operand: Operand) -> In:
        self.expect_symbol("(")
        choices = self._read_operands(0)
        if len(choices) > MAX_IN_OPERANDS and not self.generated:
            message = f"The IN operator is provided with too many operands; number of operands: {len(choices)}"
            self.limits.append(self.failing(message))
        for choice in choices:
            self._comparable(choice)
        self._check_distinct("IN", operand, choices)
        return In(operand, choices)

    # --- operands

    def note_reference(self, check: Check) -> None:
        self._staged[_Stage.REFERENCE].append(check)

    def _read_operands(self, depth: int) -> tuple[Operand, ...]:
        """Operands up to and with the closing parenthesis."""
        operands = [self.read_operand(depth)]
        while self.take_symbol(","):
            operands.append(self.read_operand(depth))
        self.expect_symbol(")")
        return tuple(operands)

    def read_call(self, depth: int) -> Call:
        if depth >= MAX_CALL_DEPTH:
            self.fail(f"The expression nests functions deeper than the {MAX_CALL_DEPTH} levels allowed")
        name = self.advance()
        self.expect_symbol("(")
        arguments = self._read_operands(depth + 1)
        self.count_operator()
        for argument in arguments:
            self._comparable(argument)
        call = Call(name.text, arguments, name.start)
        self._check_call(call)
        return call

    def _comparable(self, node: Node) -> Operand:
        """`node` where an operand must stand: of the functions only size() may."""
        if isinstance(node, Call):
            if node.name != "size":
                self._misused(node)
            return node
        if not isinstance(node, Path | Value):
            self.syntax_error()
        return node

    def _misused(self, call: Call) -> None:
        if call.name in _OPERAND_COUNTS:
            message = "The function is not allowed to be used this way in an expression; function: "
            self.note(Early.WORD, call.place, message + call.name)

    # --- checks

    def _check_call(self, call: Call) -> None:
        if call.name not in _OPERAND_COUNTS:
            if call.name in _UPDATE_FUNCTIONS:
                message = f"The function is not allowed in a condition expression; function: {call.name}"
            else:
                message = f"Invalid function name; function: {call.name}"
            self.note(Early.WORD, call.place, message)
            return
        count = len(call.arguments)
        if count != _OPERAND_COUNTS[call.name]:
            message = "Incorrect number of operands for operator or function; operator or function: "
            message += f"{call.name}, number of operands: {count}"
            self._staged[_Stage.COUNT].append(self.failing(message))
            return
        first = call.arguments[0]
        if count == 2:
            self._check_distinct(call.name, first, call.arguments[1:])
        if call.name in ("attribute_exists", "attribute_not_exists"):
            if not isinstance(first, Path):
                message = "Operator or function requires a document path; operator or function: "
                self._staged[_Stage.TYPE].append(self.failing(message + call.name))
        elif call.name == "begins_with":
            self._check_types(call.name, call.arguments, frozenset({"S", "B"}))
        elif call.name == "size":
            self._check_types(call.name, call.arguments, frozenset(_TYPE_NAMES) - _SIZELESS_TYPES)
        elif call.name == "attribute_type":
            self._check_type_name(call.arguments[1])

    def _check_distinct(self, operator: str, first: Operand, others: tuple[Operand, ...]) -> None:
        if isinstance(first, Path) and first in others:
            message = "The first operand must be distinct from the remaining operands for this operator or function; "
            message += f"operator: {operator}, first operand: {first}"
            self._staged[_Stage.DISTINCT].append(self.failing(message))

    def _check_types(self, operator: str, operands: tuple[Operand, ...], allowed: frozenset[str]) -> None:
        for operand in operands:
            if isinstance(operand, Path):
                continue
            self._staged[_Stage.TYPE].append(self._type_check(operator, operand, allowed))

    def _type_check(self, operator: str, operand: Operand, allowed: frozenset[str]) -> Check:
        def check(values: Values) -> None:
            kind = _static_type(operand, values)
            if kind is not None and kind not in allowed:
                message = "Incorrect operand type for operator or function; operator or function: "
                self.fail(f"{message}{operator}, operand type: {kind}")

        return check

    def _check_type_name(self, operand: Operand) -> None:
        def check(values: Values) -> None:
            kind = _static_type(operand, values)
            if kind != "S" or not isinstance(operand, Value):
                message = "Incorrect operand type for operator or function; operator or function: attribute_type, "
                self.fail(f"{message}operand type: {kind or _ANY_TYPE}")
            name = values[operand.placeholder]["S"]
            if name not in _TYPE_NAMES:
                message = f"Invalid attribute type name found; type: {name}, valid types: "
                self.fail(message + "{" + ",".join(_TYPE_NAMES) + "}")

        self._staged[_Stage.TYPE].append(check)

    def _check_bounds(self, low: Value, high: Value) -> None:
        def check(values: Values) -> None:
            lower, upper = values[low.placeholder], values[high.placeholder]
            if compare.type_of(lower) != compare.type_of(upper):
                rule = "requires same data type for lower and upper bounds"
            elif compare.less(upper, lower):
                rule = "requires upper bound to be greater than or equal to lower bound"
            else:
                return
            bounds = f"lower bound operand: {_printed(lower)}, upper bound operand: {_printed(upper)}"
            self.fail(f"The BETWEEN operator {rule}; {bounds}")

        self._staged[_Stage.TYPE].append(check)


def _conjunction(factors: list[ConditionNode]) -> ConditionNode:
    return factors[0] if len(factors) == 1 else And(tuple(factors))


def _static_type(operand: Operand, values: Values) -> str | None:
    """The type an operand has whatever the item holds; None if the item decides."""
    if isinstance(operand, Value):
        return compare.type_of(values[operand.placeholder])
    if isinstance(operand, Call):
        return "N" if operand.name == "size" else "BOOL"
    return None


def _printed(value: AttributeValue) -> str:
    kind = compare.type_of(value)
    return f"AttributeValue: {{{kind}:{value[kind]}}}"
