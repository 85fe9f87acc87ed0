"""Versions of an object: dotted version vectors, which tell replaced values from concurrent ones.

Owns the order of versions. Every value carries the *dot* of the write that made it: (actor, counter). An actor is a
node in one epoch of what it knows of the key; its counter never repeats (`gramme.objects.dots`, REPLICATION.md §9), so
a dot names one write in the history of the cluster. A replica keeps, for each key, its siblings with their dots and a
version vector `seen` that says which dots it has ever had; a dot that is seen and has no sibling was replaced. That is
all that merging needs: a sibling survives if both sides have it, or if the other side has not seen it.

So a client's write replaces exactly what its context has seen, never a value that came in between, and many writes
through one stale context leave one sibling each, not one for every pair (row A30, "sibling explosion").

Sources: DeCandia et al., SOSP 2007, §4.4 (vector clocks); Preguiça et al., "Dotted Version Vectors" (2010); Almeida et
al., "Scalable and Accurate Causality Tracking" (DAIS 2014).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, NewType

import msgspec

from gramme.kernel.ids import NodeId
from gramme.kernel.time import Timestamp

Actor = NewType("Actor", int)
"""A node in one epoch: node (16 bits), whether it stands in for another (1 bit), epoch (47 bits)."""

MAX_ACTORS: Final = 10
"""Entries that a version vector keeps (SOSP 2007, §4.4: the oldest goes when the threshold, say 10, is passed)."""

_EPOCH_BITS: Final = 48
STAND_IN: Final = 1 << (_EPOCH_BITS - 1)
_EPOCH_MASK: Final = STAND_IN - 1


def make_actor(node: NodeId, epoch: int) -> Actor:
    """The actor of `node` in `epoch` (1 …), with `STAND_IN` added that of a stand-in."""
    return Actor(node << _EPOCH_BITS | epoch)


def actor_node(actor: Actor) -> NodeId:
    """The node of an actor."""
    return NodeId(actor >> _EPOCH_BITS)


def stands_in(actor: Actor) -> bool:
    """Whether the actor is that of a stand-in."""
    return bool(actor & STAND_IN)


def actor_epoch(actor: Actor) -> int:
    """The epoch of an actor."""
    return actor & _EPOCH_MASK


class Dot(NamedTuple):
    """One write: the `counter`-th of `actor`."""

    actor: Actor
    counter: int


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry of a version vector: of `actor`, every dot up to `counter` that concerns the key. `at`: when the entry
    last rose, by the clock of the coordinator; it only chooses what truncation drops."""

    actor: Actor
    counter: int
    at: Timestamp


Vector = tuple[Seen, ...]
"""A version vector, ascending by actor, each actor once."""

NO_VECTOR: Final[Vector] = ()


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a client stored: bytes, their type and its own metadata; or, `deleted`, the trace of a deletion, which, if
    it has an `expires`, is what is left of a value whose time is over (`gramme.objects.expiry`)."""

    body: bytes
    content_type: str = "application/octet-stream"
    meta: tuple[tuple[str, str], ...] = ()
    modified: Timestamp = Timestamp(0)
    deleted: bool = False
    expires: Timestamp = Timestamp(0)  # 0: never


class Sibling(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A value that no other has replaced, and the write that made it."""

    dot: Dot
    value: Value


class Versions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that a replica knows of one key. Siblings ascend by dot, so equal knowledge has equal bytes."""

    seen: Vector = NO_VECTOR
    siblings: tuple[Sibling, ...] = ()

    @property
    def deleted(self) -> bool:
        """Whether nothing but deletions is left: readers are told that there is no such key."""
        return all(sibling.value.deleted for sibling in self.siblings)

    @property
    def bare(self) -> bool:
        """Whether only the vector is left: all that was ever written here is replaced, by nothing
        (`gramme.objects.reaping`). To know that of a key, and to know nothing of it, counts as the same."""
        return not self.siblings


NOTHING: Final = Versions()
"""Of a key that was never written here."""


# --- version vectors


def covers(vector: Vector, dot: Dot) -> bool:
    """Whether `vector` has seen `dot`."""
    return any(entry.actor == dot.actor and entry.counter >= dot.counter for entry in vector)


def descends(later: Vector, earlier: Vector) -> bool:
    """Whether `later` has seen all that `earlier` has (SOSP 2007, §4.4: every counter is less or equal)."""
    counters = {entry.actor: entry.counter for entry in later}
    return all(counters.get(entry.actor, 0) >= entry.counter for entry in earlier)


def union(one: Vector, other: Vector) -> Vector:
    """What either has seen."""
    if not one or one == other:
        return other
    entries = {entry.actor: entry for entry in one}
    for entry in other:
        known = entries.get(entry.actor)
        if known is None or (known.counter, known.at) < (entry.counter, entry.at):
            entries[entry.actor] = entry
    return tuple(entries[actor] for actor in sorted(entries))


# --- objects


def merge(one: Versions, other: Versions) -> Versions:
    """What a replica knows that knew `one` and hears `other`: commutative, associative, idempotent (as long as no
    vector is truncated; after that, replicas that hear of each other still come to know the same)."""
    if one == other or not other.seen:
        return one
    if not one.seen:
        return other
    kept = {sibling.dot: sibling for sibling in _surviving(one, other)}
    for sibling in _surviving(other, one):
        if sibling.value.deleted or sibling.dot not in kept:  # of one write, what is left of it when its time is over
            kept[sibling.dot] = sibling
    return bounded(union(one.seen, other.seen), tuple(kept[dot] for dot in sorted(kept)))


def bounded(seen: Vector, siblings: tuple[Sibling, ...], limit: int = MAX_ACTORS) -> Versions:
    """At most `limit` entries of the vector, those that rose last, and those of the siblings' actors.

    What is dropped may let a replaced value come back as a false sibling, it never loses one (row A31). Which entries
    stay is a function of what is known, so replicas that know the same drop the same.
    """
    if len(seen) <= limit:
        return Versions(seen, siblings)
    newest = sorted(seen, key=lambda entry: (entry.at, entry.actor))[-limit:]
    keep = {entry.actor for entry in newest} | {sibling.dot.actor for sibling in siblings}
    return Versions(tuple(entry for entry in seen if entry.actor in keep), siblings)


def truncated(after: Vector, *before: Vector) -> bool:
    """Whether `after`, made of `before`, lacks an entry of them: what may bring a replaced value back (row A31)."""
    if len(after) < MAX_ACTORS:
        return False
    kept = {entry.actor for entry in after}
    return any(entry.actor not in kept for vector in before for entry in vector)


def merge_all(versions: Iterable[Versions]) -> Versions:
    """The merge of any number of replicas' knowledge."""
    merged = NOTHING
    for each in versions:
        merged = merge(merged, each)
    return merged


def _surviving(mine: Versions, theirs: Versions) -> list[Sibling]:
    """My siblings that they have too, or have not seen."""
    have = {sibling.dot for sibling in theirs.siblings}
    return [s for s in mine.siblings if s.dot in have or not covers(theirs.seen, s.dot)]


def write(known: Versions, context: Vector, dot: Dot, value: Value, now: Timestamp) -> Versions:
    """A client's write at a coordinator that knows `known`: `value` replaces what `context` has seen.

    `dot` is the coordinator's next one, never given before; it stands above everything that its actor has written.
    """
    event = (Seen(dot.actor, dot.counter, now),)
    kept = tuple(sibling for sibling in known.siblings if not covers(context, sibling.dot))
    seen = union(union(known.seen, context), event)
    return bounded(seen, tuple(sorted((*kept, Sibling(dot, value)), key=lambda sibling: sibling.dot)))


def without_context(known: Versions, dot: Dot, value: Value, now: Timestamp) -> Versions:
    """A write of a bucket where the last write wins: it replaces whatever is known here (row A34).

    It counts as modified after what it replaces, however far its writer's clock is behind: else two replicas could each
    drop what the other keeps (x is later than y, y than w, and w has replaced x), and all three would be gone. So what
    is left anywhere is the latest of all that is seen there.
    """
    latest = max((sibling.value.modified + 1 for sibling in known.siblings), default=value.modified)
    if latest > value.modified:
        value = msgspec.structs.replace(value, modified=Timestamp(latest))
    return last_write(write(known, known.seen, dot, value, now))


def last_write(versions: Versions) -> Versions:
    """The same knowledge with one sibling: that modified last, by the writers' clocks; a tie goes to the higher dot, so
    that replicas agree (row A34)."""
    if len(versions.siblings) < 2:
        return versions
    winner = max(versions.siblings, key=lambda sibling: (sibling.value.modified, sibling.dot))
    return Versions(versions.seen, (winner,))


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Versions).decode


def encode_versions(versions: Versions) -> bytes:
    """As it is stored and sent. Equal knowledge encodes equally, so replicas may be compared by hash."""
    return _encode(versions)


def decode_versions(stored: bytes) -> Versions:
    """The inverse of `encode_versions`. Raises `msgspec.DecodeError`."""
    return _decode(stored)
