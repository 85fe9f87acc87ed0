"""The grammar of UpdateExpression.

    update = section {section};  section = SET set {"," set} | REMOVE path {"," path} | ADD path :v … | DELETE path :v …
    set    = path "=" value;  value = operand [("+" | "-") operand]
    operand = path | :value | if_not_exists "(" path "," operand ")" | list_append "(" operand "," operand ")"

One pair of parentheses may stand around a value or an operand. Of the functions, only if_not_exists may stand inside
another operand. An update made from a PartiQL statement may add and subtract several operands, and nest list_append.
Source: AWS developer guide, "Using update expressions in DynamoDB".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gramme.tables import compare
from gramme.tables.expression.grammar import MAX_CALL_DEPTH, Check, Early, OperandParser
from gramme.tables.expression.lexer import Kind
from gramme.tables.expression.nodes import (
    Action,
    AddAction,
    Arithmetic,
    Call,
    DeleteAction,
    Operand,
    Path,
    RemoveAction,
    SetAction,
    Value,
    Values,
)
from gramme.tables.expression.projection import path_checks

_SECTIONS: Final = ("SET", "REMOVE", "ADD", "DELETE")
_FUNCTIONS: Final = frozenset({"if_not_exists", "list_append"})
_CONDITION_FUNCTIONS: Final = frozenset(
    {"attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains", "size"}
)
_TYPE_WORDS: Final = {
    "S": "STRING",
    "N": "NUMBER",
    "B": "BINARY",
    "BOOL": "BOOLEAN",
    "NULL": "NULL",
    "L": "LIST",
    "M": "MAP",
}  # sets may be added and deleted


@dataclass(frozen=True, slots=True)
class ParsedUpdate:
    """The actions in the order of the text, the checks to run on each request's values, the placeholders used."""

    actions: tuple[Action, ...]
    checks: tuple[Check, ...]
    names: frozenset[str]
    values: frozenset[str]


def parse_update(kind: str, text: str, names: Mapping[str, str] | None) -> ParsedUpdate:
    """Parse an update; `kind` is the member's name. Raises InvalidExpression with the service's text."""
    parser = _UpdateParser(kind, text, names)
    actions = parser.parse()
    return ParsedUpdate(tuple(actions), parser.checks(), frozenset(parser.used_names), frozenset(parser.used_values))


class _UpdateParser(OperandParser):
    """Collects the checks of each action: the service goes through the actions from the last to the first."""

    def __init__(self, kind: str, text: str, names: Mapping[str, str] | None) -> None:
        super().__init__(kind, text, names)
        self._references: list[Check] = []  # of the action being read
        self._types: list[Check] = []
        self._checks: list[list[Check]] = []  # of the actions before it
        self._path_checks: list[Check] = []
        self._seen: list[str] = []

    def checks(self) -> tuple[Check, ...]:
        """All checks, in the order in which their faults are reported."""
        ordered = list(self._path_checks)
        for checks in reversed(self._checks):
            ordered.extend(checks)
        return (*ordered, *self.limits)

    def parse(self) -> list[Action]:
        actions: list[Action] = []
        self._read_section(actions)
        while self.token.kind is not Kind.END:
            self._read_section(actions)
        self.finish()
        self._path_checks = path_checks(self, [action.path for action in actions])
        return actions

    # --- sections

    def _read_section(self, actions: list[Action]) -> None:
        start = self.token.start
        section = next((name for name in _SECTIONS if self.take_keyword(name)), None)
        if section is None:
            self.syntax_error()
        if section in self._seen:
            self.note(Early.SECTION, start, f'The "{section}" section can only be used once in an update expression;')
        self._seen.append(section)
        actions.append(self._read_action(section))
        while self.take_symbol(","):
            actions.append(self._read_action(section))

    def _read_action(self, section: str) -> Action:
        action = self._read_bare_action(section)
        self._checks.append(self._references + self._types)
        self._references = []
        self._types = []
        return action

    def _read_bare_action(self, section: str) -> Action:
        path = self.read_path(self._references.append)
        if section == "REMOVE":
            return RemoveAction(path)
        if section == "SET":
            self.expect_symbol("=")
            return SetAction(path, self._read_set_value())
        value, defined = self.read_value()
        self._references.append(defined)
        self._check_operator(section, value)
        return AddAction(path, value) if section == "ADD" else DeleteAction(path, value)

    # --- values of SET

    def _read_set_value(self) -> Operand:
        if not self.take_symbol("("):
            return self._read_sum(self.read_operand(0))
        was_grouped = self.peek_symbol("(")
        inner = self._read_sum(self.read_operand(0))
        if was_grouped and not isinstance(inner, Arithmetic):
            self.note_redundant_parentheses()
        self.expect_symbol(")")
        return inner if isinstance(inner, Arithmetic) else self._read_sum(inner)

    def _read_sum(self, left: Operand) -> Operand:
        total = self._read_addition(left)
        while self.of_statement and total is not left:
            left, total = total, self._read_addition(total)
        return total

    def _read_addition(self, left: Operand) -> Operand:
        operator = self.token.text
        if not (self.take_symbol("+") or self.take_symbol("-")):
            return left
        right = self.read_operand(0)
        self.count_operator()
        for operand in (left, right):
            self._check_nested(operand)
            self._check_type(operator, operand, "N")
        return Arithmetic(operator, left, right)

    def note_reference(self, check: Check) -> None:
        self._references.append(check)

    def read_call(self, depth: int) -> Call:
        if depth >= MAX_CALL_DEPTH:
            self.fail(f"The expression nests functions deeper than the {MAX_CALL_DEPTH} levels allowed")
        name = self.advance()
        self.expect_symbol("(")
        arguments = [self.read_operand(depth + 1)]
        while self.take_symbol(","):
            arguments.append(self.read_operand(depth + 1))
        self.expect_symbol(")")
        self.count_operator()
        call = Call(name.text, tuple(arguments), name.start)
        self._check_call(call)
        return call

    # --- checks

    def _check_call(self, call: Call) -> None:
        name = call.name
        if name not in _FUNCTIONS:
            if name in _CONDITION_FUNCTIONS:
                message = f"The function is not allowed in an update expression; function: {name}"
            else:
                message = f"Invalid function name; function: {name}"
            self.note(Early.WORD, call.place, message)
            return
        for argument in call.arguments:
            self._check_nested(argument)
        if len(call.arguments) != 2:
            message = "Incorrect number of operands for operator or function; operator or function: "
            self._types.append(self.failing(f"{message}{name}, number of operands: {len(call.arguments)}"))
        elif name == "list_append":
            for argument in call.arguments:
                self._check_type(name, argument, "L")
        elif not isinstance(call.arguments[0], Path):
            message = "Operator or function requires a document path; operator or function: "
            self._types.append(self.failing(message + name))

    def _check_nested(self, operand: Operand) -> None:
        if isinstance(operand, Call) and operand.name == "list_append" and not self.of_statement:
            message = "The function is not allowed to be used this way in an expression; function: "
            self.note(Early.WORD, operand.place, message + operand.name)

    def _check_type(self, operator: str, operand: Operand, wanted: str) -> None:
        if not isinstance(operand, Value):
            return
        placeholder = operand.placeholder

        def check(values: Values) -> None:
            kind = compare.type_of(values[placeholder])
            if kind != wanted:
                message = "Incorrect operand type for operator or function; operator or function: "
                self.fail(f"{message}{operator}, operand type: {kind}")

        self._types.append(check)

    def _check_operator(self, section: str, value: Value) -> None:
        def check(values: Values) -> None:
            kind = compare.type_of(values[value.placeholder])
            word = _TYPE_WORDS.get(kind)
            if word is not None and not (section == "ADD" and kind == "N"):
                message = "Incorrect operand type for operator or function; operator: "
                self.fail(f"{message}{section}, operand type: {word}, typeSet: ALLOWED_FOR_{section}_OPERAND")

        self._types.append(check)
