"""When nothing moves any more, every index holds what a recomputation from its table gives, and no change is left over.

The recomputation is the rule of the developer guide in a few lines, not the code that keeps the indexes: an item that
has all key attributes of the index, in their types, is in it once, cut down to what the index projects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Item = dict[str, dict[str, Any]]


class IndexState(NamedTuple):
    """One index of one table: its definition in plain values, and the items of its rows."""

    table: str
    name: str
    keys: tuple[tuple[str, str], ...]  # (attribute, type)
    projected: tuple[str, ...] | None  # beside the keys of table and index; None: everything
    rows: list[Item]


def wrong_index(table_keys: tuple[str, ...], items: Iterable[Item], index: IndexState) -> str | None:
    """What differs between an index and its recomputation from `items`, in words; None if nothing does."""
    expected = {}
    for item in items:
        if all(kind in item.get(name, {}) for name, kind in index.keys):
            kept = {*table_keys, *(name for name, _ in index.keys), *(index.projected or ())}
            entry = {name: value for name, value in item.items() if index.projected is None or name in kept}
            expected[_key(item, table_keys)] = entry
    found: dict[str, Item] = {}
    for row in index.rows:
        key = _key(row, table_keys)
        if key in found:
            return f"index {index.name} of {index.table} has item {key} twice: {found[key]} and {row}"
        found[key] = row
    for key in sorted({*expected, *found}):
        if expected.get(key) != found.get(key):
            return (
                f"index {index.name} of {index.table}, item {key}: it holds {found.get(key)}, "
                f"the table says {expected.get(key)}"
            )
    return None


def _key(item: Item, names: tuple[str, ...]) -> str:
    return " ".join(f"{name}={item[name]}" for name in names)
