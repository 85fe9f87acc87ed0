"""Ranges of sort keys that simulated clients ask for with Query, and which keys each of them means.

Every partition key has the same few sort keys, some of which others begin with, so a client knows beforehand what a
page may show: what it does not show of that was absent (`gramme.sim.checkers.pages`).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

SORT_KEYS: Final = tuple(first + rest for first in "abc" for rest in ("", "a", "b", "c"))
"""Of each partition key, in order."""

_CONDITIONS: Final[tuple[tuple[str, Callable[[str, str, str], bool]], ...]] = (
    (" AND sk BETWEEN :low AND :high", lambda key, low, high: low <= key <= high),
    (" AND begins_with(sk, :low)", lambda key, low, high: key.startswith(low)),
    (" AND sk > :low", lambda key, low, high: key > low),
    (" AND sk >= :low", lambda key, low, high: key >= low),
    (" AND sk < :high", lambda key, low, high: key < high),
    (" AND sk <= :high", lambda key, low, high: key <= high),
    (" AND sk = :low", lambda key, low, high: key == low),
)


class Range(NamedTuple):
    """What is asked for on every page of one Query. `keys`: all that it means, in the order of reading, as `keys_of`
    calls them."""

    condition: str
    values: dict[str, Any]
    keys: tuple[str, ...]
    limit: int | None
    backward: bool
    consistent: bool

    def body(self, table: str, behind: str | None) -> dict[str, Any]:
        """The request for the page behind this key, for the first one without."""
        body: dict[str, Any] = {
            "TableName": table,
            "KeyConditionExpression": self.condition,
            "ExpressionAttributeValues": self.values,
            "ScanIndexForward": not self.backward,
            "ConsistentRead": self.consistent,
        }
        if self.limit is not None:
            body["Limit"] = self.limit
        if behind is not None:
            body["ExclusiveStartKey"] = primary_of(behind)
        return body

    def left(self, behind: str | None) -> tuple[str, ...]:
        """The keys that pages behind this one may show."""
        return self.keys if behind is None else self.keys[self.keys.index(behind) + 1 :]


def keys_of(partition_key: str) -> tuple[str, ...]:
    """What clients call the items of a partition key, in order: it and the sort key, a slash between them."""
    return tuple(f"{partition_key}/{sort_key}" for sort_key in SORT_KEYS)


def primary_of(key: str) -> dict[str, Any]:
    """The primary key of the item that clients call so."""
    partition_key, _, sort_key = key.partition("/")
    return {"pk": {"S": partition_key}, "sk": {"S": sort_key}}


def whole_range(partition_key: str, limit: int | None, backward: bool, consistent: bool) -> Range:
    """All items of one partition key."""
    keys = keys_of(partition_key)
    values = {":key": {"S": partition_key}}
    return Range("pk = :key", values, keys[::-1] if backward else keys, limit, backward, consistent)


def some_range(rng: Random, partition_key: str) -> Range:
    """Any range of the items of one partition key, of any direction, consistency and length of its pages."""
    limit = rng.choice((None, None, 1, 2, 3, 4, 5, 7))
    whole = whole_range(partition_key, limit, rng.random() < 0.4, rng.random() < 0.7)
    if rng.random() < 0.4:
        return whole
    text, holds = rng.choice(_CONDITIONS)
    low, high = sorted((rng.choice(SORT_KEYS), rng.choice(SORT_KEYS)))
    bounds = {name: {"S": bound} for name, bound in ((":low", low), (":high", high)) if name in text}
    return whole._replace(
        condition=whole.condition + text,
        values=whole.values | bounds,
        keys=tuple(key for key in whole.keys if holds(key.partition("/")[2], low, high)),
    )
