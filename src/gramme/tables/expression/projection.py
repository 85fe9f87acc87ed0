"""ProjectionExpression: which parts of an item a read returns.

Also projects for UPDATED_OLD and UPDATED_NEW. Rule: a projected map keeps only the named members, a projected list only
the named elements, closed up in their order; paths that lead nowhere are left out.
Source: AWS developer guide, "Using projection expressions".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gramme.tables.expression.grammar import Check, Parser
from gramme.tables.expression.nodes import Path, Step, Values, fetch
from gramme.tables.requests import AttributeValue, Item


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


@dataclass(frozen=True, slots=True)
class Columns:
    """What a PartiQL SELECT keeps of an item: parts side by side, each under a name of its own."""

    names: tuple[str, ...]
    paths: tuple[Path, ...]

    def apply(self, item: Item) -> Item:
        """The columns that `item` has, in the order of the statement."""
        found = zip(self.names, [fetch(item, path.steps) for path in self.paths], strict=True)
        return {name: value for name, value in found if value is not None}


def parse_projection(kind: str, text: str, names: Mapping[str, str] | None) -> Projection:
    """Parse a projection; `kind` names the member in messages. Raises InvalidExpression."""
    parser = Parser(kind, text, names)
    undefined: list[Check] = []
    paths = [parser.read_path(undefined.append)]
    while parser.take_symbol(","):
        paths.append(parser.read_path(undefined.append))
    parser.finish()
    checks = (*path_checks(parser, paths), *undefined, *parser.limits)
    return Projection(tuple(paths), wanted_tree(paths), checks, frozenset(parser.used_names))


def path_checks(parser: Parser, paths: list[Path]) -> list[Check]:
    """A check that fails if two paths overlap or disagree on what a place is; none if all are apart.

    The service goes from the last path to the first and reports the first pair it finds.
    """
    buckets: dict[Step, list[Path]] = {}  # only paths of one top-level attribute can collide
    for path in reversed(paths):
        bucket = buckets.setdefault(path.steps[0], [])
        for later in bucket:
            if _collide(path.steps, later.steps):
                return [parser.failing(_collision(path, later))]
        bucket.append(path)
    return []


def _collision(one: Path, two: Path) -> str:
    apart = any(step != other for step, other in zip(one.steps, two.steps, strict=False))
    how = "conflict" if apart else "overlap"
    rule = f"Two document paths {how} with each other; must remove or rewrite one of these paths"
    return f"{rule}; path one: {one}, path two: {two}"


def _collide(left: tuple[Step, ...], right: tuple[Step, ...]) -> bool:
    """Whether one path is a prefix of the other, or one has an index where the other has a name."""
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
