"""Trees of statements as texts of the expression language.

Owns the printing. A text has a placeholder for every name (`#0`, …), so any name can stand in it, and the value
placeholders of the statement; it has just the parentheses that it needs. So statements that differ in their literals
only share their texts, and with them the cache of parsed expressions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gramme.tables.expression.nodes import (
    Action,
    AddAction,
    And,
    Arithmetic,
    Between,
    Call,
    Compare,
    ConditionNode,
    DeleteAction,
    In,
    Not,
    Operand,
    Or,
    Path,
    RemoveAction,
    SetAction,
    Step,
    Value,
)
from gramme.tables.partiql.errors import InvalidStatement

_SECTIONS: Final = {SetAction: "SET", RemoveAction: "REMOVE", AddAction: "ADD", DeleteAction: "DELETE"}


class Names:
    """The name placeholders of one request's texts."""

    def __init__(self) -> None:
        self._placeholders: dict[str, str] = {}

    @property
    def names(self) -> dict[str, str] | None:
        """As ExpressionAttributeNames: names by placeholder, None if there are none."""
        return {placeholder: name for name, placeholder in self._placeholders.items()} or None

    def path(self, path: Path) -> str:
        """A document path."""
        return "".join(map(self._step, path.steps))[1:]

    def _step(self, step: Step) -> str:
        if isinstance(step, int):
            return f"[{step}]"
        return "." + self._placeholders.setdefault(step, f"#{len(self._placeholders)}")


def condition_text(node: ConditionNode, names: Names) -> str:
    """A condition. Raises InvalidStatement for an operand that no condition has."""
    match node:
        case Or(terms):
            return " OR ".join(condition_text(term, names) for term in terms)
        case And(terms):
            return " AND ".join(_factor(term, names) for term in terms)
        case Not(term):
            inner = condition_text(term, names)
            return f"NOT ({inner})" if isinstance(term, And | Or | Not) else f"NOT {inner}"
        case Compare(operator, left, right):
            return f"{operand_text(left, names)} {operator} {operand_text(right, names)}"
        case Between(operand, low, high):
            bounds = f"{operand_text(low, names)} AND {operand_text(high, names)}"
            return f"{operand_text(operand, names)} BETWEEN {bounds}"
        case In(operand, choices):
            return f"{operand_text(operand, names)} IN ({_list(choices, names)})"
        case Call():
            return operand_text(node, names)


def _factor(node: ConditionNode, names: Names) -> str:
    text = condition_text(node, names)
    return f"({text})" if isinstance(node, Or) else text


def operand_text(operand: Operand, names: Names) -> str:
    """An operand of a condition, or an argument. Raises InvalidStatement for arithmetic."""
    if isinstance(operand, Path):
        return names.path(operand)
    if isinstance(operand, Value):
        return operand.placeholder
    if isinstance(operand, Call):
        return f"{operand.name}({_list(operand.arguments, names)})"
    raise InvalidStatement(f"Unsupported operator in Expression. Operator: {operand.operator}")


def _list(operands: Iterable[Operand], names: Names) -> str:
    return ", ".join(operand_text(operand, names) for operand in operands)


def update_text(actions: Iterable[Action], names: Names) -> str:
    """The actions of an UPDATE: `SET … REMOVE … ADD … DELETE …`. Raises InvalidStatement."""
    sections: dict[str, list[str]] = {section: [] for section in _SECTIONS.values()}
    for action in actions:
        text = names.path(action.path)
        if isinstance(action, SetAction):
            text += f" = {_sum_text(action.value, names)}"
        elif isinstance(action, AddAction | DeleteAction):
            text += f" {action.value.placeholder}"
        sections[_SECTIONS[type(action)]].append(text)
    return " ".join(f"{section} {', '.join(texts)}" for section, texts in sections.items() if texts)


def _sum_text(operand: Operand, names: Names) -> str:
    """A sum as a chain without parentheses: `a - (b - c)` is `a - b + c`."""
    parts: list[tuple[str, Operand]] = []
    waiting: list[tuple[str, Operand]] = [("+", operand)]
    while waiting:
        sign, part = waiting.pop()
        if not isinstance(part, Arithmetic):
            parts.append((sign, part))
            continue
        if part.operator not in ("+", "-"):
            raise InvalidStatement(f"Unsupported operator in Update Expression. Operator: {part.operator}")
        waiting.append(("+" if sign == part.operator else "-", part.right))
        waiting.append((sign, part.left))
    texts = [f" {sign} {operand_text(part, names)}" for sign, part in parts]
    return "".join(texts)[3:]  # the first part is never subtracted
