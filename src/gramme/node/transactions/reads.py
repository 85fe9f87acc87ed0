"""The coordinator of one TransactGetItems: no locks, nothing written, two rounds.

Rule: each round reads every item at its partition's leader, and finds none of them held; in the second round no version
has changed. Then all items were as read at the moment between the rounds. An item that is held may already be committed
elsewhere, so in either round it counts as a conflict. Items of one partition are read in one step, which is a moment
already. What conflicts is read again a few times, because transactions are short. Source: USENIX ATC 2023, section 4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from gramme.kernel.ids import GroupId
from gramme.kernel.time import MILLISECOND, Instant
from gramme.node.transactions.desk import Desk, unserved
from gramme.tables.descriptor import Partition
from gramme.tables.requests import Conflict, Failed, FailureKind, ReadVersions, Version, VersionsRead
from gramme.tables.transactions import ItemsRead, ReadOutcome, ReadTransaction, Reason, TransactionCanceled

_BACKOFF_NS: Final = (5 * MILLISECOND, 10 * MILLISECOND, 20 * MILLISECOND, 40 * MILLISECOND, 80 * MILLISECOND)
_CONFLICT: Final = Conflict()


class _Part:
    """What is read in one partition; `at`: the places of its keys in the request."""

    __slots__ = ("at", "keys", "place")

    def __init__(self, place: Partition) -> None:
        self.place = place
        self.at: list[int] = []
        self.keys: list[bytes] = []


class ReadCoordinator:
    """Coordinates one transaction; calls `on_reply` once."""

    def __init__(
        self, desk: Desk, request: ReadTransaction, deadline: Instant, on_reply: Callable[[ReadOutcome], None]
    ) -> None:
        self._desk = desk
        self._deadline = deadline
        self._on_reply = on_reply
        self._parts = _split(request)
        self._count = len(request.keys)
        self._attempts = 0
        self._waiting = 0
        self._failure: Failed | None = None
        self._first: list[Version | None] = []
        self._newest: list[Version | None] = []

    def start(self) -> None:
        """Take the first step."""
        self._round(bodies=True, then=self._read_once)

    def _round(self, bodies: bool, then: Callable[[], None]) -> None:
        self._waiting = len(self._parts)
        self._failure = None
        self._newest = [None] * self._count

        def answered(part: _Part, reply: Any) -> None:
            if isinstance(reply, VersionsRead):
                for at, version in zip(part.at, reply.items, strict=True):
                    self._newest[at] = version
            else:
                self._failure = unserved(reply)
            self._waiting -= 1
            if self._waiting:
                return
            if self._failure is None:
                then()
            else:
                self._fail(self._failure)

        for part in self._parts:
            request = ReadVersions(part.keys, bodies)
            self._desk.send(part.place, request, self._deadline, partial(answered, part))

    def _read_once(self) -> None:
        self._first = self._newest
        conflicts = [version is not None and version.held for version in self._first]
        if any(conflicts):
            self._again(conflicts)
        elif len(self._parts) == 1:
            self._done()
        else:
            self._round(bodies=False, then=self._read_twice)

    def _read_twice(self) -> None:
        conflicts = [
            first is None or second is None or second.held or second.stamp != first.stamp
            for first, second in zip(self._first, self._newest, strict=True)
        ]
        if any(conflicts):
            self._again(conflicts)
        else:
            self._done()

    def _done(self) -> None:
        self._on_reply(ItemsRead(tuple(version.found for version in self._first if version is not None)))

    def _again(self, conflicts: list[bool]) -> None:
        delay = _BACKOFF_NS[min(self._attempts, len(_BACKOFF_NS) - 1)]
        self._attempts += 1
        if self._attempts <= len(_BACKOFF_NS) and self._desk.now() + delay < self._deadline:
            self._desk.later(delay, self.start)
        else:
            self._on_reply(TransactionCanceled(tuple(_CONFLICT if conflict else None for conflict in conflicts)))

    def _fail(self, failed: Failed) -> None:
        if failed.kind is FailureKind.THROTTLED:
            reasons: list[Reason | None] = [failed if version is None else None for version in self._newest]
            self._on_reply(TransactionCanceled(tuple(reasons)))
        else:
            self._on_reply(failed)


def _split(request: ReadTransaction) -> list[_Part]:
    """The keys by partition."""
    parts: dict[GroupId, _Part] = {}
    for at, (table, key) in enumerate(request.keys):
        place = table.partition_of(key)
        part = parts.get(place.group)
        if part is None:
            part = parts[place.group] = _Part(place)
        part.at.append(at)
        part.keys.append(key)
    return list(parts.values())
