"""What a test records of each client operation, and the one-item model that it is checked against.

A history is a list of `Operation`, plain JSON-able values with times in nanoseconds of one clock that all clients
share (virtual in the simulator, monotonic of the one machine in tests with real processes).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec


class Kind(StrEnum):
    """What an operation asked for. `value` is the attribute `v`, `count` the attribute `n` of the item."""

    GET = "get"  # strong read
    PEEK = "peek"  # eventual read: judged by `staleness`, not part of a linearization
    PUT = "put"  # the item becomes (value, no count)
    INSERT = "insert"  # the same, if there is no item
    REPLACE = "replace"  # the same, if the item's value is `expected`
    DELETE = "delete"
    ADD = "add"  # count += amount, creating the item


class Outcome(StrEnum):
    """What the client knows."""

    OK = "ok"
    FAILED = "failed"  # the condition did not hold
    REFUSED = "refused"  # every attempt was answered 'not applied'
    UNKNOWN = "unknown"  # may have happened, may happen later, at most once


class Item(msgspec.Struct, frozen=True, array_like=True):
    """The part of an item that tests write: a unique value and a counter, both optional."""

    value: str | None = None
    count: int | None = None


ABSENT: Final = None


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One client operation. `key` names the item for good: a re-created table has new keys."""

    client: int
    key: str
    kind: Kind
    invoke_ns: int
    return_ns: int | None = None  # None: never answered
    outcome: Outcome = Outcome.UNKNOWN
    value: str | None = None  # of PUT, INSERT, REPLACE
    expected: str | None = None  # of REPLACE
    amount: int = 0  # of ADD
    seen: Item | None = None  # GET, PEEK: the item; see `reports`
    reports: bool = False  # whether a write returned the item: the old one (PUT, DELETE), the new one (ADD) in `seen`


class Effect(NamedTuple):
    """What an operation does to a state, if it takes effect there."""

    after: Item | None
    consistent: bool  # whether the recorded answer is what this state gives


def effect(operation: Operation, state: Item | None) -> Effect:
    """The state after `operation` on `state`, and whether its recorded answer fits. Unknown outcomes fit always."""
    match operation.kind:
        case Kind.GET:
            return Effect(state, operation.seen == state)
        case Kind.PUT:
            return _write(operation, state, Item(operation.value), returned=state)
        case Kind.DELETE:
            return _write(operation, state, ABSENT, returned=state)
        case Kind.INSERT:
            return _conditional(operation, state, state is ABSENT)
        case Kind.REPLACE:
            return _conditional(operation, state, state is not ABSENT and state.value == operation.expected)
        case Kind.ADD:
            before = state if state is not None else Item()
            after = Item(before.value, (before.count or 0) + operation.amount)
            return _write(operation, state, after, returned=after)
        case Kind.PEEK:
            raise ValueError("an eventual read has no place in a linearization")


def _write(operation: Operation, state: Item | None, after: Item | None, returned: Item | None) -> Effect:
    if operation.outcome is Outcome.UNKNOWN:
        return Effect(after, True)
    fits = operation.outcome is Outcome.OK and (not operation.reports or operation.seen == returned)
    return Effect(after, fits)


def _conditional(operation: Operation, state: Item | None, holds: bool) -> Effect:
    after = Item(operation.value) if holds else state
    if operation.outcome is Outcome.UNKNOWN:
        return Effect(after, True)
    return Effect(after, holds == (operation.outcome is Outcome.OK))
