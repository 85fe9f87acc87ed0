"""What simulated clients did to objects, and whether what is left of it in the end is what they were promised.

Owns the rules of always-writeable storage. They are told from values alone, without a look at dots or vectors, so that
these cannot deceive the checker:

- Siblings: every acknowledged value is there, or one is that has it in its past (a write's past is what its client had
  read when it took its context, and the past of that); no value is there that an acknowledged write had seen, unless
  it may have been written twice (a request that is sent on may be) or the vector may have been cut.
- Last write wins: one value, and one that was tried. Counters: each acknowledged increment once, any other once or not
  at all. Sets: an acknowledged element is there unless a removal had seen it, and then it is not.

Deletions carry no value: whoever sees one may have seen any that was tried by then, which weakens the first rule around
deletions and never makes it wrong. Source: SOSP 2007, §4.4; Shapiro et al., INRIA 7506 (add-wins set).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gramme.objects.merge_types import Typed, value_of
from gramme.objects.state import State
from gramme.objects.versions import MAX_ACTORS, Versions


@dataclass(slots=True)
class Write:
    """One attempt of a client. `id` names its value; `seen`: the writes whose values its context is known to cover,
    `maybe_seen`: deletions that it may cover; `once`: it cannot have been done twice; `forgettable`: a deletion
    that all may have forgotten by the end."""

    bucket: str
    key: str
    id: str
    kind: str  # put, delete, add, remove, increment
    seen: tuple[str, ...] = ()
    maybe_seen: tuple[str, ...] = ()
    once: bool = False
    acknowledged: bool = False
    forgettable: bool = False


@dataclass(slots=True)
class ObjectHistory:
    """All writes of a run, in the order of their invocation."""

    writes: list[Write] = field(default_factory=list)
    reads: int = 0

    def deletions(self, bucket: str, key: str) -> tuple[str, ...]:
        """Those tried so far."""
        return tuple(w.id for w in self.writes if (w.bucket, w.key, w.kind) == (bucket, key, "delete"))

    def by_key(self) -> dict[tuple[str, str], list[Write]]:
        """The writes of each object."""
        found: dict[tuple[str, str], list[Write]] = {}
        for write in self.writes:
            found.setdefault((write.bucket, write.key), []).append(write)
        return found


def wrong_object(history: ObjectHistory, final: Mapping[tuple[str, str], State]) -> str | None:
    """What is wrong with `final`, the states that all replicas have agreed on; None if nothing is."""
    for place, writes in history.by_key().items():
        wrong = _RULES[place[0]](writes, final.get(place))
        if wrong is not None:
            return f"{place[0]}/{place[1]}: {wrong}"
    unknown = [place for place in final if place not in history.by_key()]
    return f"nobody wrote {unknown[0]}" if unknown else None


def _siblings(writes: list[Write], state: State | None) -> str | None:
    known = {write.id: write for write in writes}
    left = _values(state)
    if any(value not in known for value in left):
        return f"nobody wrote one of {left}"
    stands = isinstance(state, Versions) and any(sibling.value.deleted for sibling in state.siblings)
    there = [*left, *(write.id for write in writes if write.kind == "delete" and (stands or write.forgettable))]
    past = _past(there, known)
    for write in writes:
        if write.acknowledged and write.kind == "put" and write.id not in past:
            return f"{write.id} was acknowledged and is lost; left are {left}"
    if isinstance(state, Versions) and len(state.seen) < MAX_ACTORS:
        for write in writes:
            back = [value for value in write.seen if value in left and known[value].once]
            if write.acknowledged and back:
                return f"{back[0]} is back, which {write.id} had seen and replaced"
    return None


def _past(ids: Iterable[str], known: Mapping[str, Write]) -> dict[str, None]:
    """`ids`, and all that they may have replaced."""
    past: dict[str, None] = {}
    waiting = list(ids)
    while waiting:
        id_ = waiting.pop()
        if id_ not in past:
            past[id_] = None
            waiting += (*known[id_].seen, *known[id_].maybe_seen)
    return past


def _values(state: State | None) -> list[str]:
    """The values that are left."""
    if not isinstance(state, Versions):
        return []
    return [sibling.value.body.decode()[1:-1] for sibling in state.siblings if not sibling.value.deleted]


def _last_write(writes: list[Write], state: State | None) -> str | None:
    left = _values(state)
    if isinstance(state, Versions) and len(state.siblings) > 1:
        return f"the last write wins, and {len(state.siblings)} are left"
    if any(value not in {write.id: None for write in writes} for value in left):
        return f"nobody wrote {left}"
    if not left and any(write.acknowledged for write in writes):
        return "values were acknowledged, and none is left"
    return None


def _counter(writes: list[Write], state: State | None) -> str | None:
    value = value_of(state.store) if isinstance(state, Typed) else 0
    least = sum(write.acknowledged for write in writes)
    most = len(writes)
    return None if least <= value <= most else f"the counter is {value}, not {least} to {most}"


def _set(writes: list[Write], state: State | None) -> str | None:
    elements = [e.decode() for e in value_of(state.store)] if isinstance(state, Typed) else []
    added = {write.id: write for write in writes if write.kind == "add"}
    removed = {value: None for write in writes if write.kind == "remove" for value in write.seen}
    if any(element not in added for element in elements):
        return f"nobody added one of {elements}"
    for write in added.values():
        if write.acknowledged and write.id not in removed and write.id not in elements:
            return f"{write.id} was added, nobody removed it, and it is lost"
    for write in writes:
        left = [value for value in write.seen if value in elements and value in added and added[value].once]
        if write.kind == "remove" and write.acknowledged and left:
            return f"{left[0]} is there, which {write.id} had seen and removed"
    return None


SIBLINGS: Final = "carts"
LAST_WRITE: Final = "latest"
COUNTERS: Final = "counts"
SETS: Final = "sets"
_RULES: Final = {SIBLINGS: _siblings, LAST_WRITE: _last_write, COUNTERS: _counter, SETS: _set}
