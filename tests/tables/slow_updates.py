"""Random updates with their effect spelled out the slow, obvious way, sharing nothing with the evaluator.

Lists are edited with their places kept until the end: a removed element leaves a hole, one set past the end is written
down with its index.
"""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from tests.tables.strategies import number_texts, path_text, paths, sets, value_at, values

Action = tuple[Any, ...]
"""(section, steps, operand); operands ("path", steps), ("value", v), ("+"|"-", o, o), ("if_not_exists", steps, o),
("list_append", o, o)."""

_HOLE = object()


class Refusal(Exception):
    """The update does not fit the item."""


_literals = values.map(lambda value: ("value", value))
_plain = st.one_of(_literals, paths().map(lambda steps: ("path", steps)))
_numbers = st.one_of(number_texts.map(lambda text: ("value", {"N": text})), paths().map(lambda steps: ("path", steps)))
_lists = st.one_of(
    st.lists(values, max_size=2).map(lambda elements: ("value", {"L": elements})),
    paths().map(lambda steps: ("path", steps)),
)


def _or_default(operands: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(operands, st.tuples(st.just("if_not_exists"), paths(), operands))


_set_values = st.one_of(
    _or_default(_plain),
    st.tuples(st.sampled_from(["+", "-"]), _or_default(_numbers), _or_default(_numbers)),
    st.tuples(st.just("list_append"), _or_default(_lists), _or_default(_lists)),
)
_addends = st.one_of(number_texts.map(lambda text: {"N": text}), sets)
_actions = st.one_of(
    st.tuples(st.just("SET"), paths(), _set_values),
    st.tuples(st.just("REMOVE"), paths()),
    st.tuples(st.just("ADD"), paths(), _addends.map(lambda value: ("value", value))),
    st.tuples(st.just("DELETE"), paths(), sets.map(lambda value: ("value", value))),
)


def _apart(actions: list[Action]) -> bool:
    all_steps = [action[1] for action in actions]
    for index, one in enumerate(all_steps):
        for other in all_steps[index + 1 :]:
            for left, right in zip(one, other, strict=False):
                if type(left) is type(right) and left != right:
                    break
                if type(left) is not type(right):
                    return False
            else:
                return False
    return True


updates: st.SearchStrategy[list[Action]] = st.lists(_actions, min_size=1, max_size=4).filter(_apart)


def render(actions: list[Action], placeholders: dict[str, Any]) -> str:
    """The expression's text; values are put into `placeholders`."""
    sections = []
    for section in ("SET", "REMOVE", "ADD", "DELETE"):
        clauses = [_clause(action, placeholders) for action in actions if action[0] == section]
        if clauses:
            sections.append(f"{section} {', '.join(clauses)}")
    return " ".join(sections)


def _clause(action: Action, placeholders: dict[str, Any]) -> str:
    section, steps, *operand = action
    if section == "REMOVE":
        return path_text(steps)
    return f"{path_text(steps)}{' = ' if section == 'SET' else ' '}{_operand(operand[0], placeholders)}"


def _operand(operand: Any, placeholders: dict[str, Any]) -> str:
    kind, *rest = operand
    if kind == "path":
        return path_text(rest[0])
    if kind == "value":
        name = f":v{len(placeholders)}"
        placeholders[name] = rest[0]
        return name
    if kind in "+-":
        return f"{_operand(rest[0], placeholders)} {kind} {_operand(rest[1], placeholders)}"
    if kind == "if_not_exists":
        return f"if_not_exists({path_text(rest[0])}, {_operand(rest[1], placeholders)})"
    return f"list_append({_operand(rest[0], placeholders)}, {_operand(rest[1], placeholders)})"


def apply(actions: list[Action], item: dict[str, Any]) -> dict[str, Any]:
    """The updated item. Raises Refusal."""
    results = [(action, _result(action, item)) for action in actions]
    new: dict[str, Any] = {"M": copy.deepcopy(item)}
    late: list[tuple[list[Any], int, Any]] = []
    for action, result in results:
        _place(new, action[1], result, late)
    for elements, _, value in sorted(late, key=lambda entry: entry[1]):
        elements.append(value)
    _close(new)
    members: dict[str, Any] = new["M"]
    return members


def _result(action: Action, item: dict[str, Any]) -> Any:
    section, steps, *operand = action
    found = value_at(item, steps)
    if section == "SET":
        return copy.deepcopy(_evaluate(operand[0], item))
    if section == "REMOVE":
        return _HOLE
    ((kind, content),) = operand[0][1].items()
    if found is not None and kind not in found:
        raise Refusal
    if section == "DELETE":
        kept = [] if found is None else [member for member in found[kind] if member not in content]
        return {kind: kept} if kept else _HOLE
    if found is None:
        return {kind: content}
    if kind == "N":
        return {"N": _number(Decimal(found["N"]) + Decimal(content))}
    return {kind: found[kind] + [member for member in content if member not in found[kind]]}


def _evaluate(operand: Any, item: dict[str, Any]) -> Any:
    kind, *rest = operand
    if kind == "value":
        return rest[0]
    if kind == "path":
        found = value_at(item, rest[0])
        if found is None:
            raise Refusal
        return found
    if kind == "if_not_exists":
        default = _evaluate(rest[1], item)
        found = value_at(item, rest[0])
        return default if found is None else found
    left, right = _evaluate(rest[0], item), _evaluate(rest[1], item)
    wanted = "L" if kind == "list_append" else "N"
    if wanted not in left or wanted not in right:
        raise Refusal
    if wanted == "L":
        return {"L": left["L"] + right["L"]}
    one, other = Decimal(left["N"]), Decimal(right["N"])
    return {"N": _number(one + other if kind == "+" else one - other)}


def _number(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def _place(root: dict[str, Any], steps: tuple[str | int, ...], result: Any, late: list[Any]) -> None:
    parent: Any = root
    for step in steps[:-1]:
        try:
            parent = parent["L" if isinstance(step, int) else "M"][step]
        except (KeyError, IndexError):
            raise Refusal from None
    last = steps[-1]
    container = parent.get("L" if isinstance(last, int) else "M")
    if container is None:
        raise Refusal
    if isinstance(last, str) and result is _HOLE:
        container.pop(last, None)
    elif isinstance(last, int) and last >= len(container):
        if result is not _HOLE:
            late.append((container, last, result))
    else:
        container[last] = result


def _close(value: Any) -> None:
    """Close the holes of all lists."""
    if "L" in value:
        value["L"][:] = [element for element in value["L"] if element is not _HOLE]
    children = value.get("L", []) if "L" in value else list(value.get("M", {}).values())
    for child in children:
        _close(child)
