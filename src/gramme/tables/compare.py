"""Equality and order of attribute values.

Owns how two values compare, for conditions, filters and key conditions. Rule: values are normal
(`gramme.tables.values`), so scalars of one type are equal exactly when their wire forms are; sets compare without
order, lists and maps member by member. Only strings (by UTF-8 bytes), numbers (by value) and binaries (by unsigned
bytes) have an order, and only within their type.
Source: AWS developer guide, "Comparison operator and function reference".
"""

from __future__ import annotations

from binascii import a2b_base64
from typing import Any, Final

from gramme.tables import numbers
from gramme.tables.requests import AttributeValue

_UNORDERED_WIRE: Final = frozenset({"SS", "NS", "BS", "L", "M"})  # may be equal though their wire forms differ


def type_of(value: AttributeValue) -> str:
    """The type name of a value: S, N, B, BOOL, NULL, L, M, SS, NS or BS."""
    return next(iter(value))


def equal(left: AttributeValue, right: AttributeValue) -> bool:
    """Whether two values have the same type and content."""
    if left == right:
        return True
    kind = type_of(left)
    if kind not in _UNORDERED_WIRE or kind not in right:
        return False
    return _equal_contents(kind, left[kind], right[kind])


def _equal_contents(kind: str, left: Any, right: Any) -> bool:
    if len(left) != len(right):
        return False
    if kind == "L":
        return all(map(equal, left, right))
    if kind == "M":
        return all(name in right and equal(value, right[name]) for name, value in left.items())
    return frozenset(left) == frozenset(right)


def less(left: AttributeValue, right: AttributeValue) -> bool:
    """Whether left < right; False for different types and for types without an order."""
    kind = type_of(left)
    if kind not in right:
        return False
    if kind == "S":
        return str.__lt__(left["S"], right["S"])  # code points order as UTF-8 bytes do
    if kind == "N":
        return numbers.less(left["N"], right["N"])
    if kind == "B":
        return a2b_base64(left["B"]) < a2b_base64(right["B"])
    return False


def is_ordered_like(left: AttributeValue, right: AttributeValue) -> bool:
    """Whether both are of one type that has an order."""
    kind = type_of(left)
    return kind in ("S", "N", "B") and kind in right
