"""ProjectionExpression: which parts of an item a read returns.

Also projects for UPDATED_OLD and UPDATED_NEW. Rule: a projected map keeps only the named members, a projected list only
the named elements, closed up in their order; paths that lead nowhere are left out.
Source: AWS developer guide, "Using projection expressions".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gramme.tables.expression.grammar import Check, Parser
from gramme.tables.expression.nodes import Path, Step, Values
from gramme.tables.requests import AttributeValue, Item

_NO_KEYWORDS: Final[frozenset[str]] = frozenset()


class _All:
    """Marks the end of a path in the tree of wanted paths."""


_ALL: Final = _All()
Wanted = dict[Step, Any]
"""A tree of steps; a leaf is `_ALL`."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A parsed projection; immutable, shared between requests."""

    paths: tuple[Path, ...]
    wanted: Wanted
    checks: tuple[Check, ...]
    names: frozenset[str]
    values: frozenset[str] = frozenset()

    def check(self, values: Values) -> None:
        """Refuse undefined names and overlapping paths. Raises InvalidExpression."""
        for check in self.checks:
            check(values)

    def apply(self, item: Item) -> Item:
        """The projected attributes of `item`, in the item's order."""
        return project(item, self.wanted)


def parse_projection(kind: str, text: str, names: Mapping[str, str] | None) -> Projection:
    """Parse a projection; `kind` names the member in messages. Raises InvalidExpression."""
    parser = Parser(kind, text, names)
    checks: list[Check] = []
    paths = [parser.read_path(_NO_KEYWORDS, checks.append)]
    while parser.take_symbol(","):
        paths.append(parser.read_path(_NO_KEYWORDS, checks.append))
    parser.finish()
    checks.extend(path_checks(parser, paths))
    return Projection(tuple(paths), wanted_tree(paths), tuple(checks), frozenset(parser.used_names))


def path_checks(parser: Parser, paths: list[Path]) -> list[Check]:
    """Checks that fail if two paths overlap or, behind those, disagree on what a place is. None if all are apart.

    The service reports the first overlapping pair before any conflicting one.
    """
    overlap: Callable[[Values], None] | None = None
    conflict: Callable[[Values], None] | None = None
    for path, other in _colliding_pairs(paths):
        shared = next((i for i, (a, b) in enumerate(zip(path.steps, other.steps, strict=False)) if a != b), None)
        how = "overlap" if shared is None else "conflict"
        message = f"Two document paths {how} with each other; must remove or rewrite one of these paths; "
        check = parser.failing(f"{message}path one: {path}, path two: {other}")
        if shared is None:
            overlap = overlap or check
        else:
            conflict = conflict or check
    return [check for check in (overlap, conflict) if check is not None]


def _colliding_pairs(paths: list[Path]) -> Iterable[tuple[Path, Path]]:
    """Pairs where one path is a prefix of the other, or one has an index where the other has a name.

    Only paths with the same first step can collide, so they are compared within their bucket.
    """
    buckets: dict[Step, list[Path]] = {}
    for path in paths:
        bucket = buckets.setdefault(path.steps[0], [])
        for earlier in bucket:
            if _collide(earlier.steps, path.steps):
                yield earlier, path
        bucket.append(path)


def _collide(left: tuple[Step, ...], right: tuple[Step, ...]) -> bool:
    for one, other in zip(left, right, strict=False):
        if type(one) is not type(other):
            return True
        if one != other:
            return False
    return True


def wanted_tree(paths: Iterable[Path]) -> Wanted:
    """Paths that are apart, as a tree."""
    root: Wanted = {}
    for path in paths:
        node = root
        for step in path.steps[:-1]:
            following = node.setdefault(step, {})
            if not isinstance(following, dict):
                break  # a prefix is wanted whole already
            node = following
        else:
            node[path.steps[-1]] = _ALL
    return root


def project(item: Item, wanted: Wanted) -> Item:
    """The wanted parts of an item, in the item's order."""
    result: Item = {}
    for name, value in item.items():
        branch = wanted.get(name)
        if branch is None:
            continue
        part = value if branch is _ALL else _part(value, branch)
        if part is not None:
            result[name] = part
    return result


def _part(value: AttributeValue, wanted: Wanted) -> AttributeValue | None:
    """What is wanted of a map or a list; None if nothing of it is there."""
    members = value.get("M")
    if members is not None:
        kept = project(members, wanted)
        return {"M": kept} if kept else None
    elements = value.get("L")
    if elements is None:
        return None
    parts: list[AttributeValue] = []
    for index in sorted(step for step in wanted if isinstance(step, int) and step < len(elements)):
        branch = wanted[index]
        part = elements[index] if branch is _ALL else _part(elements[index], branch)
        if part is not None:
            parts.append(part)
    return {"L": parts} if parts else None
