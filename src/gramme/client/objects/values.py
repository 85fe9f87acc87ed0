"""Values as clients hold them, and ways to make one of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from gramme.kernel.errors import GrammeError

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Value:
    """One sibling. `modified` (epoch seconds, whole, by the clock of the node that took the write) and `deleted` are
    what a read has found; a write does not send them, and values that differ in `modified` alone are equal."""

    body: bytes
    content_type: str = "application/octet-stream"
    meta: Mapping[str, str] = field(default_factory=dict)
    modified: float = field(default=0.0, compare=False)
    deleted: bool = False


class Found(NamedTuple):
    """What a read found: no value (never written, or deleted), one, or siblings.

    `context` says what the reader has seen: a write that brings it replaces just that; "" if nobody knows the key.
    `coordinator` is the node that had better take that write (None: not known). `deletions` are siblings too: who
    deleted had not seen the values.
    """

    values: tuple[Value, ...]
    context: str
    coordinator: int | None = None
    deletions: tuple[Value, ...] = ()


class Typed(NamedTuple):
    """A value of a merge type (None: never written), and the context that removals need."""

    value: Any
    context: str | None


class Siblings(GrammeError):
    """Several values, and nobody who says what they are together."""


Resolve = Callable[[Sequence[Value]], Value]
"""Makes one value of two or more siblings. Any order of them must give the same."""


def union(siblings: Sequence[Value]) -> Value:
    """Siblings that are JSON arrays, as one array of all their elements, each once (the cart of SOSP 2007, §4.4: what
    was put in is never lost, what was taken out may come back)."""
    elements = {_encode(element): element for value in siblings for element in _decode(value.body)}
    return Value(_encode([elements[key] for key in sorted(elements)]), "application/json")


def last_write_wins(siblings: Sequence[Value]) -> Value:
    """The sibling that was modified last; of several in the same second the greatest. All others are lost: a bucket
    with the property last_write_wins decides the same more finely, and keeps no siblings at all."""
    return max(siblings, key=lambda value: (value.modified, value.deleted, value.body, value.content_type))
