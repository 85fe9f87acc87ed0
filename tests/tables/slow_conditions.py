"""Random conditions with their meaning spelled out the slow, obvious way, sharing nothing with the evaluator."""

from __future__ import annotations

from base64 import b64decode
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from tests.tables.strategies import path_text, paths, scalars, sets, value_at, values

Tree = tuple[Any, ...]
"""("=", operand, operand), ("and", tree, tree), ("contains", operand, operand), …; operands ("path", steps),
("value", attribute value) or ("size", operand)."""

_TYPES = ["S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS"]
_ordered_values = scalars.filter(lambda value: next(iter(value)) in "SNB")
_paths = paths().map(lambda steps: ("path", steps))
_sizes = _paths.map(lambda operand: ("size", operand))


def _literals(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Tree]:
    return of.map(lambda value: ("value", value))


def _distinct(tree: Tree) -> bool:
    """The service refuses a path compared with itself."""
    return tree[1][0] != "path" or tree[1] not in tree[2:]


def _simple() -> st.SearchStrategy[Tree]:
    ordered = _paths | _sizes | _literals(_ordered_values)
    return st.one_of(
        st.tuples(st.sampled_from(["=", "<>"]), _paths | _sizes | _literals(values), _paths | _literals(values)),
        st.tuples(st.sampled_from(["<", "<=", ">", ">="]), ordered, ordered),
        st.tuples(st.just("between"), ordered, _paths, ordered),
        st.tuples(st.just("in"), _paths, _paths | _literals(values), _literals(values)),
        st.tuples(st.just("contains"), _paths | _literals(values), _paths | _literals(scalars | sets)),
        st.tuples(st.just("begins_with"), _paths, _paths | _literals(scalars.filter(lambda v: next(iter(v)) in "SB"))),
        st.tuples(st.just("attribute_type"), _paths, st.sampled_from(_TYPES).map(lambda t: ("value", {"S": t}))),
        st.tuples(st.sampled_from(["attribute_exists", "attribute_not_exists"]), _paths),
    ).filter(_distinct)


trees: st.SearchStrategy[Tree] = st.recursive(
    _simple(),
    lambda children: st.one_of(
        st.tuples(st.just("not"), children), st.tuples(st.sampled_from(["and", "or"]), children, children)
    ),
    max_leaves=5,
)


def render(tree: Tree, placeholders: dict[str, Any]) -> str:
    """The expression's text; values are put into `placeholders`."""
    kind, *rest = tree
    if kind == "path":
        return "#" + path_text(rest[0])[:1] + path_text(rest[0])[1:].replace(".", ".#")
    if kind == "value":
        name = f":v{len(placeholders)}"
        placeholders[name] = rest[0]
        return name
    if kind == "not":
        return f"NOT ({render(rest[0], placeholders)})"
    if kind in ("and", "or"):
        parts = [render(part, placeholders) for part in rest]
        wrapped = [f"({text})" if part[0] in ("and", "or") else text for text, part in zip(parts, rest, strict=True)]
        return f" {kind.upper()} ".join(wrapped)
    operands = [render(operand, placeholders) for operand in rest]
    if kind == "between":
        return f"{operands[0]} BETWEEN {operands[1]} AND {operands[2]}"
    if kind == "in":
        return f"{operands[0]} in ({', '.join(operands[1:])})"
    if kind in ("=", "<>", "<", "<=", ">", ">="):
        return f"{operands[0]} {kind} {operands[1]}"
    return f"{kind}({', '.join(operands)})"


def holds(tree: Tree, item: dict[str, Any]) -> bool:
    """What the condition means."""
    kind, *rest = tree
    if kind == "not":
        return not holds(rest[0], item)
    if kind == "and":
        return all(holds(part, item) for part in rest)
    if kind == "or":
        return any(holds(part, item) for part in rest)
    operands: list[Any] = [_plain(_resolve(operand, item)) for operand in rest]
    first = operands[0]
    if kind == "attribute_exists":
        return first is not None
    if kind == "attribute_not_exists":
        return first is None
    if kind == "=":
        return None not in operands and first == operands[1]
    if kind == "<>":
        return None in operands or first != operands[1]
    if kind == "in":
        return first is not None and first in operands[1:]
    if None in operands:
        return False
    if kind == "between":
        return _compare("<=", operands[1], first) and _compare("<=", first, operands[2])
    if kind == "attribute_type":
        return bool(first[0] == operands[1][1])
    if kind == "begins_with":
        return bool(
            first[0] == operands[1][0] and first[0] in "SB" and first[1][: len(operands[1][1])] == operands[1][1]
        )
    if kind == "contains":
        return _contains(first, operands[1])
    return _compare(kind, first, operands[1])


def _resolve(operand: Tree, item: dict[str, Any]) -> dict[str, Any] | None:
    kind, content = operand
    if kind == "value":
        found: dict[str, Any] = content
        return found
    if kind == "size":
        measured = _plain(_resolve(content, item))
        if measured is None or measured[0] in ("N", "BOOL", "NULL"):
            return None
        length = len(measured[1].encode("utf-16-be")) // 2 if measured[0] == "S" else len(measured[1])
        return {"N": str(length)}
    value = value_at(item, content)
    return None if value is None else dict(value)


def _plain(value: dict[str, Any] | None) -> tuple[str, Any] | None:
    """A value as (type, Python value) with an equality of its own."""
    if value is None:
        return None
    ((kind, content),) = value.items()
    if kind == "N":
        return kind, Decimal(content)
    if kind == "B":
        return kind, b64decode(content)
    if kind == "NS":
        return kind, {Decimal(member) for member in content}
    if kind == "BS":
        return kind, {b64decode(member) for member in content}
    if kind == "SS":
        return kind, set(content)
    if kind == "L":
        return kind, [_plain(element) for element in content]
    if kind == "M":
        return kind, {name: _plain(member) for name, member in content.items()}
    return kind, content


def _compare(operator: str, left: Any, right: Any) -> bool:
    if left[0] != right[0] or left[0] not in ("S", "N", "B"):
        return False
    one, other = (left[1].encode(), right[1].encode()) if left[0] == "S" else (left[1], right[1])
    results = {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}
    return bool(results[operator])


def _contains(whole: Any, part: Any) -> bool:
    if whole[0] == "L":
        return part in whole[1]
    if whole[0] in ("SS", "NS", "BS"):
        return part[0] == whole[0][0] and part[1] in whole[1]
    return whole[0] == part[0] and whole[0] in ("S", "B") and part[1] in whole[1]
