"""Merge types: counters, add-wins sets, registers, flags, and maps of these, which never show a sibling (row A35).

Owns their states, what an operation makes of a state, and how two states join. All are *dot stores* under one version
vector: whatever a client put in carries the dot of its write, and in a join something survives if both sides have it,
or if the other side's vector has not seen its dot. So a removal takes away exactly what its client had seen, and an
addition at the same time elsewhere survives it ("add wins"); a field removed from a map while another client changes it
keeps only that change. A join is commutative, associative and idempotent: replicas that have heard the same writes are
identical, in whatever order (strong eventual consistency).

The vectors of merge types are never truncated: what they forget would come back.

Sources: Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated Data Types" (INRIA 7506);
Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (JPDC 2018), causal CRDTs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from gramme.kernel.errors import InvalidInput
from gramme.kernel.time import Timestamp
from gramme.objects.versions import NO_VECTOR, Dot, Seen, Vector, covers, union

Kind = Literal["counter", "set", "register", "flag", "map"]
KINDS: Final[tuple[Kind, ...]] = ("counter", "set", "register", "flag", "map")
MAX_DEPTH: Final = 8
MAX_COUNT: Final = (1 << 63) - 1


class Field(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A field of a map. The same name with another kind is another field."""

    name: str
    kind: Kind


class Counter(msgspec.Struct, frozen=True, array_like=True, tag="counter"):
    """Each actor's sum so far, under the dot of its last change."""

    sums: dict[Dot, int] = {}


class Set(msgspec.Struct, frozen=True, array_like=True, tag="set"):
    """Each element with the dots of the additions that hold it."""

    elements: dict[bytes, tuple[Dot, ...]] = {}


class Register(msgspec.Struct, frozen=True, array_like=True, tag="register"):
    """Values that no write has replaced; readers see the one written last, by the writers' clocks."""

    values: dict[Dot, tuple[Timestamp, bytes]] = {}


class Flag(msgspec.Struct, frozen=True, array_like=True, tag="flag"):
    """The dots that hold it up; it is down without any."""

    dots: tuple[Dot, ...] = ()


class Map(msgspec.Struct, frozen=True, array_like=True, tag="map"):
    """Fields that hold anything."""

    fields: dict[Field, Store] = {}


Store = Counter | Set | Register | Flag | Map

_EMPTY: Final[Mapping[Kind, Store]] = {
    "counter": Counter(), "set": Set(), "register": Register(), "flag": Flag(), "map": Map()
}  # fmt: skip


class Typed(msgspec.Struct, frozen=True, array_like=True):
    """What a replica knows of one key of a merge type."""

    seen: Vector
    store: Store


def nothing(kind: Kind) -> Typed:
    """The state of a key that was never written."""
    return Typed(NO_VECTOR, _EMPTY[kind])


# --- operations


class Increment(msgspec.Struct, frozen=True, array_like=True, tag="Increment"):
    """Add `by` (negative: subtract) to a counter."""

    by: int


class ChangeSet(msgspec.Struct, frozen=True, array_like=True, tag="ChangeSet"):
    """Add elements to a set, and remove others as far as the client has seen them."""

    add: tuple[bytes, ...] = ()
    remove: tuple[bytes, ...] = ()


class Assign(msgspec.Struct, frozen=True, array_like=True, tag="Assign"):
    """Give a register a value."""

    value: bytes


class Raise(msgspec.Struct, frozen=True, array_like=True, tag="Raise"):
    """Put a flag up, or down as far as the client has seen it up."""

    up: bool


class ChangeMap(msgspec.Struct, frozen=True, array_like=True, tag="ChangeMap"):
    """Change fields of a map, making those that it lacks, after removing others as far as the client has seen them."""

    update: dict[Field, Operation] = {}
    remove: tuple[Field, ...] = ()


Operation = Increment | ChangeSet | Assign | Raise | ChangeMap

_FITS: Final[Mapping[type, Kind]] = {
    Increment: "counter", ChangeSet: "set", Assign: "register", Raise: "flag", ChangeMap: "map"
}  # fmt: skip


def needs_context(operation: Operation) -> bool:
    """Whether the operation removes something: then it needs to know what its client has seen."""
    match operation:
        case ChangeSet(remove=removed):
            return bool(removed)
        case Raise(up=up):
            return not up
        case ChangeMap(update=update, remove=fields):
            return bool(fields) or any(needs_context(inner) for inner in update.values())
    return False


def counts(operation: Operation) -> bool:
    """Whether doing it twice is not the same as doing it once."""
    match operation:
        case Increment():
            return True
        case ChangeMap(update=update):
            return any(counts(inner) for inner in update.values())
    return False


def check(operation: Operation, kind: Kind, depth: int = 1) -> None:
    """Raise InvalidInput unless `operation` suits a value of `kind`, fields of maps included."""
    fits = _FITS[type(operation)]
    if fits != kind:
        raise InvalidInput(f"an operation on a {fits} cannot be applied to a {kind}")
    if isinstance(operation, ChangeMap):
        if depth > MAX_DEPTH:
            raise InvalidInput(f"maps are nested more than {MAX_DEPTH} deep")
        for field, inner in operation.update.items():
            check(inner, field.kind, depth + 1)


def apply(known: Typed, operation: Operation, context: Vector, dot: Dot, now: Timestamp) -> Typed:
    """`operation` of a client that has seen `context`, at a coordinator that knows `known`; `dot` is its next one.

    What `context` has seen must be in `known`, or a removal would pass it by: the coordinator of an operation that
    `needs_context` reads first. Raises InvalidInput where `check` would, and for a counter that would leave 64 bits.
    """
    seen = union(known.seen, (Seen(dot.actor, dot.counter, now),))
    return Typed(seen, _applied(known.store, operation, context, dot, now))


def _applied(store: Store, operation: Operation, context: Vector, dot: Dot, now: Timestamp) -> Store:
    match store, operation:
        case Counter(sums), Increment(by):
            return _incremented(sums, by, dot)
        case Set(elements), ChangeSet(add, remove):
            kept = {
                element: _unseen(dots, context) if element in remove else dots for element, dots in elements.items()
            }
            kept |= dict.fromkeys(add, (dot,))  # the new dot alone: all that is known here is replaced by it
            return Set({element: kept[element] for element in sorted(kept) if kept[element]})
        case Register(), Assign(value):
            return Register({dot: (now, value)})
        case Flag(dots), Raise(up):
            return Flag((dot,) if up else _unseen(dots, context))
        case Map(), ChangeMap():
            return _changed(store, operation, context, dot, now)
    raise InvalidInput(f"an operation on a {_FITS[type(operation)]} cannot be applied to this value")


def _incremented(sums: dict[Dot, int], by: int, dot: Dot) -> Counter:
    mine = sum(value for old, value in sums.items() if old.actor == dot.actor)
    others = {old: value for old, value in sums.items() if old.actor != dot.actor}
    if abs(mine + by) > MAX_COUNT or abs(mine + by + sum(others.values())) > MAX_COUNT:
        raise InvalidInput("the counter would leave the range of 64 bits")
    return Counter(_sorted({**others, dot: mine + by}))


def _changed(store: Map, operation: ChangeMap, context: Vector, dot: Dot, now: Timestamp) -> Map:
    fields = dict(store.fields)
    for field in operation.remove:
        if field in fields:
            fields[field] = _without(fields[field], context)
    for field, inner in operation.update.items():
        fields[field] = _applied(fields.get(field, _EMPTY[field.kind]), inner, context, dot, now)
    return Map({field: fields[field] for field in sorted(fields) if not is_empty(fields[field])})


def _without(store: Store, context: Vector) -> Store:
    """What is left when all that `context` has seen is removed."""
    match store:
        case Counter(sums):
            return Counter({dot: value for dot, value in sums.items() if not covers(context, dot)})
        case Set(elements):
            left = {element: _unseen(dots, context) for element, dots in elements.items()}
            return Set({element: dots for element, dots in left.items() if dots})
        case Register(values):
            return Register({dot: value for dot, value in values.items() if not covers(context, dot)})
        case Flag(dots):
            return Flag(_unseen(dots, context))
        case Map(fields):
            inner = {field: _without(value, context) for field, value in fields.items()}
            return Map({field: value for field, value in inner.items() if not is_empty(value)})


def is_empty(store: Store) -> bool:
    """Whether nothing holds this value in a map."""
    match store:
        case Counter(content) | Set(content) | Register(content) | Flag(content) | Map(content):
            return not content


# --- joining


def join(one: Typed, other: Typed) -> Typed:
    """What a replica knows that knew `one` and hears `other`. Raises InvalidInput if they are of different kinds."""
    if one == other or other.seen == NO_VECTOR:
        return one
    if one.seen == NO_VECTOR:
        return other
    return Typed(union(one.seen, other.seen), _joined(one.store, one.seen, other.store, other.seen))


def _joined(one: Store, seen: Vector, other: Store, other_seen: Vector) -> Store:
    match one, other:
        case (Counter(mine), Counter(theirs)):
            return Counter(_surviving(mine, seen, theirs, other_seen))
        case (Register(values), Register(their_values)):
            return Register(_surviving(values, seen, their_values, other_seen))
        case (Flag(dots), Flag(their_dots)):
            return Flag(_dots(dots, seen, their_dots, other_seen))
        case (Set(elements), Set(their_elements)):
            both = {
                element: _dots(elements.get(element, ()), seen, their_elements.get(element, ()), other_seen)
                for element in sorted({**elements, **their_elements})
            }
            return Set({element: kept for element, kept in both.items() if kept})
        case (Map(fields), Map(their_fields)):
            joined = {
                field: _joined(
                    fields.get(field, _EMPTY[field.kind]), seen, their_fields.get(field, _EMPTY[field.kind]), other_seen
                )
                for field in sorted({**fields, **their_fields})
            }
            return Map({field: value for field, value in joined.items() if not is_empty(value)})
    raise InvalidInput("values of different kinds cannot be joined")


def _surviving(mine: dict[Dot, Any], seen: Vector, theirs: dict[Dot, Any], other_seen: Vector) -> dict[Dot, Any]:
    kept = {dot: value for dot, value in mine.items() if dot in theirs or not covers(other_seen, dot)}
    kept |= {dot: value for dot, value in theirs.items() if dot in mine or not covers(seen, dot)}
    return _sorted(kept)


def _dots(mine: tuple[Dot, ...], seen: Vector, theirs: tuple[Dot, ...], other_seen: Vector) -> tuple[Dot, ...]:
    return tuple(_surviving(dict.fromkeys(mine), seen, dict.fromkeys(theirs), other_seen))


def _unseen(dots: tuple[Dot, ...], context: Vector) -> tuple[Dot, ...]:
    return tuple(dot for dot in dots if not covers(context, dot))


def _sorted(by_dot: dict[Dot, Any]) -> dict[Dot, Any]:
    """In the order of the dots, so that equal knowledge has equal bytes."""
    return {dot: by_dot[dot] for dot in sorted(by_dot)}


# --- reading


def value_of(store: Store) -> Any:
    """What a reader sees: int, sorted list of bytes, bytes or None, bool, dict of `Field`."""
    match store:
        case Counter(sums):
            return sum(sums.values())
        case Set(elements):
            return sorted(elements)
        case Register(values):
            latest = max(((at, dot, value) for dot, (at, value) in values.items()), default=None)
            return None if latest is None else latest[2]
        case Flag(dots):
            return bool(dots)
        case Map(fields):
            return {field: value_of(inner) for field, inner in fields.items()}
