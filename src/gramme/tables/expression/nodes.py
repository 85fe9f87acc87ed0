"""The syntax trees of expressions: frozen values, placeholders for names already resolved.

Values stay placeholders (`:v`), so that one tree serves every request with the same text and names and lives in a
cache; the values come with each evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gramme.tables.requests import AttributeValue, Item

Values = Mapping[str, AttributeValue]
"""Normalised attribute values by placeholder (`:v`)."""

Step = str | int
"""One step of a document path: a map member's name or a list index."""


@dataclass(frozen=True, slots=True)
class Path:
    """A document path; the first step is a top-level attribute's name."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        """The path as the service prints it: `[a, [1], b]`."""
        return "[" + ", ".join(f"[{step}]" if isinstance(step, int) else step for step in self.steps) + "]"


@dataclass(frozen=True, slots=True)
class Value:
    """A value placeholder, with its colon."""

    placeholder: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function call: a condition, `size(…)` as an operand, or a function of an update."""

    name: str
    arguments: tuple[Operand, ...]
    place: int = field(default=0, compare=False)  # offset in the text, for the order of faults


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`left + right` or `left - right` in a SET action."""

    operator: str
    left: Operand
    right: Operand


Operand = Path | Value | Call | Arithmetic


@dataclass(frozen=True, slots=True)
class Compare:
    """`left operator right` with one of = <> < <= > >=."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Between:
    """`operand BETWEEN low AND high`, both ends included."""

    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True, slots=True)
class In:
    """`operand IN (choices)`."""

    operand: Operand
    choices: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more terms."""

    terms: tuple[ConditionNode, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more terms."""

    terms: tuple[ConditionNode, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of a term."""

    term: ConditionNode


ConditionNode = Compare | Between | In | And | Or | Not | Call


@dataclass(frozen=True, slots=True)
class SetAction:
    """`SET path = value`."""

    path: Path
    value: Operand


@dataclass(frozen=True, slots=True)
class RemoveAction:
    """`REMOVE path`."""

    path: Path


@dataclass(frozen=True, slots=True)
class AddAction:
    """`ADD path :value`."""

    path: Path
    value: Value


@dataclass(frozen=True, slots=True)
class DeleteAction:
    """`DELETE path :value`."""

    path: Path
    value: Value


Action = SetAction | RemoveAction | AddAction | DeleteAction


def fetch(item: Item, steps: tuple[Step, ...]) -> AttributeValue | None:
    """The value at a document path, None if the path leads nowhere."""
    first = steps[0]
    assert isinstance(first, str)
    value = item.get(first)
    for step in steps[1:]:
        if value is None:
            return None
        if isinstance(step, str):
            members = value.get("M")
            value = None if members is None else members.get(step)
        else:
            elements = value.get("L")
            value = elements[step] if elements is not None and step < len(elements) else None
    return value
