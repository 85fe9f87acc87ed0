"""Update expressions: what SET, REMOVE, ADD and DELETE make of an item.

Owns the effect of an update. Rules: every operand is read from the item as it was before the update; list indexes name
places in the old list, so elements are removed after all others are set, and what is set past the end is appended in
the order of the indexes; the old item is never changed, containers on the way to a change are copied once.
Source: AWS developer guide, "Using update expressions in DynamoDB"; details as DynamoDB Local answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gramme.kernel.errors import InvalidInput
from gramme.tables import compare, numbers
from gramme.tables.expression.grammar import Check
from gramme.tables.expression.nodes import (
    Action,
    AddAction,
    Arithmetic,
    Call,
    DeleteAction,
    Operand,
    Path,
    SetAction,
    Step,
    Value,
    Values,
    fetch,
)
from gramme.tables.expression.projection import Wanted, wanted_tree
from gramme.tables.expression.update_parser import parse_update
from gramme.tables.requests import AttributeValue, Item
from gramme.tables.values import MAX_LEVELS, TOO_DEEP

_WRONG_TYPE = "An operand in the update expression has an incorrect data type"
_NO_ATTRIBUTE = "The provided expression refers to an attribute that does not exist in the item"
_INVALID_PATH = "The document path provided in the update expression is invalid for update"


class InvalidUpdate(InvalidInput):
    """The update does not fit the item as it is stored: a ValidationException with the service's text."""


class WrongOperandType(InvalidUpdate):
    """An operand of the update, or the attribute that it edits, has the wrong type."""


@dataclass(frozen=True, slots=True)
class Update:
    """A parsed update; immutable, shared between requests."""

    actions: tuple[Action, ...]
    wanted: Wanted
    """The updated paths, as UPDATED_OLD and UPDATED_NEW project them."""
    checks: tuple[Check, ...]
    names: frozenset[str]
    values: frozenset[str]

    def check(self, values: Values) -> None:
        """Refuse values that the expression cannot take (undefined, wrong types). Raises InvalidExpression."""
        for check in self.checks:
            check(values)

    def creates(self) -> bool:
        """Whether the update makes an item where there is none: not if it only removes."""
        return any(isinstance(action, SetAction | AddAction) for action in self.actions)

    def apply(self, item: Item, values: Values) -> Item:
        """The updated item; `item` stays as it is. `values` has passed `check`. Raises InvalidUpdate, InvalidNumber."""
        editor = _Editor(item)
        for action in reversed(self.actions):  # which of several faults is reported follows the service
            _perform(action, editor, item, values)
        return editor.finish()


def compile_update(kind: str, text: str, names: Mapping[str, str] | None) -> Update:
    """Parse an update; `kind` names the member in messages. Raises InvalidExpression."""
    parsed = parse_update(kind, text, names)
    wanted = wanted_tree([action.path for action in parsed.actions])
    return Update(parsed.actions, wanted, parsed.checks, parsed.names, parsed.values)


def _perform(action: Action, editor: _Editor, item: Item, values: Values) -> None:
    editor.require_parent(action.path)
    if isinstance(action, SetAction):
        editor.put(action.path, _evaluate(action.value, item, values))
    elif isinstance(action, AddAction):
        _add(editor, item, action.path, values[action.value.placeholder])
    elif isinstance(action, DeleteAction):
        _delete(editor, item, action.path, values[action.value.placeholder])
    else:
        editor.remove(action.path)


# --- the values of SET


def _evaluate(operand: Operand, item: Item, values: Values) -> AttributeValue:
    if isinstance(operand, Value):
        return values[operand.placeholder]
    if isinstance(operand, Path):
        found = fetch(item, operand.steps)
        if found is None:
            raise InvalidUpdate(_NO_ATTRIBUTE)
        return found
    if isinstance(operand, Arithmetic):
        left = _content("N", _evaluate(operand.left, item, values))
        right = _content("N", _evaluate(operand.right, item, values))
        return {"N": (numbers.add if operand.operator == "+" else numbers.subtract)(left, right)}
    return _call(operand, item, values)


def _call(call: Call, item: Item, values: Values) -> AttributeValue:
    first, second = call.arguments
    if call.name == "if_not_exists":
        assert isinstance(first, Path)
        otherwise = _evaluate(second, item, values)  # evaluated, and refused, even where it is not needed
        found = fetch(item, first.steps)
        return found if found is not None else otherwise
    head = _content("L", _evaluate(first, item, values))
    return {"L": head + _content("L", _evaluate(second, item, values))}


def _content(kind: str, value: AttributeValue) -> Any:
    if kind not in value:
        raise WrongOperandType(_WRONG_TYPE)
    return value[kind]


# --- ADD and DELETE


def _add(editor: _Editor, item: Item, path: Path, value: AttributeValue) -> None:
    kind = compare.type_of(value)
    found = fetch(item, path.steps)
    if found is None:
        editor.put(path, value)
    elif kind == "N":
        editor.put(path, {"N": numbers.add(_content("N", found), value["N"])})
    else:
        members = _content(kind, found)
        present = frozenset(members)
        editor.put(path, {kind: members + [member for member in value[kind] if member not in present]})


def _delete(editor: _Editor, item: Item, path: Path, value: AttributeValue) -> None:
    kind = compare.type_of(value)
    found = fetch(item, path.steps)
    if found is None:
        return
    unwanted = frozenset(value[kind])
    kept = [member for member in _content(kind, found) if member not in unwanted]
    if kept:
        editor.put(path, {kind: kept})
    else:
        editor.remove(path)  # a set is never empty


# --- the copy that is edited


@dataclass(slots=True)
class _ListEdit:
    """Changes of one list that wait for the end, because they move elements."""

    elements: list[AttributeValue]
    removed: list[int]
    appended: list[tuple[int, AttributeValue]]


class _Editor:
    """A copy of an item, copying only the containers on the way to a change."""

    def __init__(self, item: Item) -> None:
        self._item = dict(item)
        self._copied: dict[tuple[Step, ...], dict[str, AttributeValue] | list[AttributeValue]] = {}
        self._edits: dict[tuple[Step, ...], _ListEdit] = {}

    def put(self, path: Path, value: AttributeValue) -> None:
        """Set the value at `path`, whose container must exist."""
        container = self._container(path.steps[:-1])
        if len(path.steps) - 1 + _levels(value) > MAX_LEVELS:
            raise InvalidUpdate(TOO_DEEP)
        last = path.steps[-1]
        if isinstance(container, dict):
            container[self._name(last)] = value
        elif self._index(last) < len(container):
            container[self._index(last)] = value
        else:
            self._edit(path.steps[:-1], container).appended.append((self._index(last), value))

    def remove(self, path: Path) -> None:
        """Remove what is at `path`, whose container must exist; nothing there is no fault."""
        container = self._container(path.steps[:-1])
        last = path.steps[-1]
        if isinstance(container, dict):
            container.pop(self._name(last), None)
        elif self._index(last) < len(container):
            self._edit(path.steps[:-1], container).removed.append(self._index(last))

    def require_parent(self, path: Path) -> None:
        """Refuse a path into something that is not there or is no container."""
        container = self._container(path.steps[:-1])
        (self._name if isinstance(container, dict) else self._index)(path.steps[-1])

    def finish(self) -> Item:
        """The edited item, lists closed up."""
        for edit in self._edits.values():
            for index in sorted(edit.removed, reverse=True):
                del edit.elements[index]
            edit.elements.extend(value for _, value in sorted(edit.appended, key=lambda entry: entry[0]))
        return self._item

    def _edit(self, steps: tuple[Step, ...], elements: list[AttributeValue]) -> _ListEdit:
        return self._edits.setdefault(steps, _ListEdit(elements, [], []))

    def _container(self, steps: tuple[Step, ...]) -> dict[str, AttributeValue] | list[AttributeValue]:
        """The map or list at `steps`, ours to change."""
        if not steps:
            return self._item
        found = self._copied.get(steps)
        if found is not None:
            return found
        parent = self._container(steps[:-1])
        value = self._child(parent, steps[-1])
        if value is None or not ("M" in value or "L" in value):
            raise InvalidUpdate(_INVALID_PATH)
        copy: dict[str, AttributeValue] | list[AttributeValue]
        copy = dict(value["M"]) if "M" in value else list(value["L"])
        wrapped = {"M": copy} if isinstance(copy, dict) else {"L": copy}
        if isinstance(parent, dict):
            parent[self._name(steps[-1])] = wrapped
        else:
            parent[self._index(steps[-1])] = wrapped
        self._copied[steps] = copy
        return copy

    def _child(self, parent: dict[str, AttributeValue] | list[AttributeValue], step: Step) -> AttributeValue | None:
        if isinstance(parent, dict):
            return parent.get(self._name(step))
        index = self._index(step)
        return parent[index] if index < len(parent) else None

    @staticmethod
    def _name(step: Step) -> str:
        if isinstance(step, int):
            raise InvalidUpdate(_INVALID_PATH)
        return step

    @staticmethod
    def _index(step: Step) -> int:
        if isinstance(step, str):
            raise InvalidUpdate(_INVALID_PATH)
        return step


def _levels(value: AttributeValue) -> int:
    """Levels of a value: 1 for a scalar or a set, one more for each list or map around."""
    elements = value.get("L")
    if elements is None:
        members = value.get("M")
        if members is None:
            return 1
        elements = list(members.values())
    return 1 + max(map(_levels, elements), default=1)
