"""What a generator sends: every request once, and the order in which they are sent.

Drawing and encoding happen before the clock starts, in one place for all generators.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import msgspec


class Request(msgspec.Struct, frozen=True, array_like=True):
    """`kind`: what its latency is counted under. `then`: index of the request that the same connection sends once this
    one is answered, as one operation; -1: none."""

    kind: str
    data: bytes
    then: int = -1


class Prepared(msgspec.Struct, frozen=True, array_like=True):
    """`order` has indices of `requests` and starts again at its end."""

    requests: list[Request]
    order: list[int]


class Preparation:
    """Collects requests; equal ones are kept once."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._order: list[int] = []
        self._known: dict[Hashable, int] = {}

    def add(self, kind: str, name: Hashable, encode: Callable[[], bytes], then: int = -1) -> int:
        """The index of the request that `kind` and `name` say; `encode` is asked where it is new."""
        known = self._known.get((kind, name))
        if known is None:
            known = self._known[kind, name] = len(self._requests)
            self._requests.append(Request(kind, encode(), then))
        return known

    def send(self, index: int) -> None:
        """It comes next."""
        self._order.append(index)

    def prepared(self) -> Prepared:
        """All of it."""
        return Prepared(self._requests, self._order)
