"""Histories in which every item holds a list and a write appends to it: what the lists say of those who wrote them.

Every appended value is unique and nothing is ever taken away, so a list names the transactions that wrote the item, in
their order. All lists read of a key are therefore prefixes of the longest one, and none may hold a value twice, a value
of a transaction that did not happen, or a part of what one transaction appended. Source: Kingsbury and Alvaro, "Elle:
Inferring Isolation Anomalies from Experimental Observations" (VLDB 2020), section 3. DynamoDB's transactions either
read or write; what the conditions of a write demanded counts as what it read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from gramme.sim.checkers.history import Outcome

List = tuple[str, ...]


class Recency(StrEnum):
    """What a read must have seen of those who had returned before it was invoked."""

    ALL = "all"  # everything: transactions and whatever writes
    OWN_KEY = "own key"  # what was done to the item itself: a plain strong read, see `serializability`
    NOTHING = "nothing"  # an eventual read shows some past moment, so it says nothing of order


class Transaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One operation on one or more items, plain or transactional; times in ns of one clock that all clients share.

    `reads`: lists as they were before its own appends, which it returned or its conditions demanded; the latter count
    for an unknown outcome too, once somebody has seen what it wrote. FAILED and REFUSED did not happen.
    """

    client: int
    invoke_ns: int
    return_ns: int | None = None  # None: never answered
    outcome: Outcome = Outcome.UNKNOWN
    reads: dict[str, List] = {}
    appends: dict[str, List] = {}
    recency: Recency = Recency.ALL

    def __str__(self) -> str:
        until = "…" if self.return_ns is None else f"{self.return_ns / 1e9:.6f}"
        parts = [f"read {key} {show(seen)}" for key, seen in self.reads.items()]
        parts += [f"appended {' '.join(values)} to {key}" for key, values in self.appends.items()]
        return f"[{self.invoke_ns / 1e9:.6f}, {until}] client {self.client} {self.outcome}: {', '.join(parts)}"


class Anomaly(Exception):
    """What is wrong with a history: `name` as in the literature, if it has one there; the message tells the story."""

    def __init__(self, name: str, story: str) -> None:
        super().__init__(f"{name}: {story}")
        self.name = name


def show(values: Sequence[str]) -> str:
    """A list, without its beginning when it is long."""
    return f"[{'… ' if len(values) > 6 else ''}{' '.join(values[-6:])}]"


class Versions:
    """The versions of one key: `writers` in their order, of whom the last ones may be unseen and thus in any order.

    `seen` of them appear in the longest list that was read; a list of n values is the version after `upto[n]` writers.
    """

    def __init__(self, longest: List) -> None:
        self.longest = longest
        self.writers: list[int] = []
        self.upto: dict[int, int] = {0: 0}
        self.seen = 0


class Facts:
    """What a history says before any order in time is looked at: who happened, and each key's versions."""

    def __init__(self, history: Sequence[Transaction]) -> None:
        """Raises `Anomaly` for a list that no order of transactions explains, and `ValueError` if two transactions
        append the same value to a key: such a history says nothing."""
        self.history = history
        self._writer: dict[str, dict[str, int]] = {}
        for number, transaction in enumerate(history):
            for key, values in transaction.appends.items():
                self._add_writer(key, values, number)
        self.happened = self._find_happened()
        self.versions: dict[str, Versions] = {}
        for number in self.those_that_happened():
            for key, seen in history[number].reads.items():
                if key not in self.versions or len(seen) > len(self.versions[key].longest):
                    self.versions[key] = Versions(seen)
        for key, versions in self.versions.items():
            self._name_writers(key, versions)
        for number in self.those_that_happened():
            for key, seen in history[number].reads.items():
                self._check_list(key, seen, number)
        self._add_unseen_writers()

    def those_that_happened(self) -> Iterable[int]:
        """The numbers of the transactions that certainly took effect."""
        return (number for number, happened in enumerate(self.happened) if happened)

    def _add_writer(self, key: str, values: List, number: int) -> None:
        writer = self._writer.setdefault(key, {})
        for value in values:
            if value in writer:
                raise ValueError(f"{value} is appended to {key} twice")
            writer[value] = number

    def _find_happened(self) -> list[bool]:
        """An unknown outcome is known once a value of it was read, be it by another unknown one that happened."""
        happened = [transaction.outcome is Outcome.OK for transaction in self.history]
        todo = [number for number, known in enumerate(happened) if known]
        while todo:
            for key, seen in self.history[todo.pop()].reads.items():
                writer = self._writer.get(key, {})
                for value in seen:
                    number = writer.get(value)
                    if number is not None and not happened[number]:
                        happened[number] = True
                        todo.append(number)
        return happened

    def _name_writers(self, key: str, versions: Versions) -> None:
        """Read the longest list, in which each writer's values must stand together and complete."""
        writer, position, longest = self._writer.get(key, {}), 0, versions.longest
        while position < len(longest):
            number = writer.get(longest[position])
            if number is None:
                raise Anomaly("read of nothing", f"nobody appended {longest[position]} to {key}, which was read")
            transaction = self.history[number]
            if transaction.outcome in (Outcome.FAILED, Outcome.REFUSED):
                raise Anomaly("G1a", f"{longest[position]} was read of {key}, but did not happen: {transaction}")
            if number in versions.writers:
                raise Anomaly("duplicate", f"{longest[position]} is in {key} more than once: {show(longest)}")
            values = transaction.appends[key]
            found = longest[position : position + len(values)]
            if found != values:
                raise Anomaly("G1b", f"{show(found)} was read of {key}, a part of what was written by {transaction}")
            position += len(values)
            versions.writers.append(number)
            versions.upto[position] = len(versions.writers)
        versions.seen = len(versions.writers)

    def _check_list(self, key: str, seen: List, reader: int) -> None:
        versions = self.versions[key]
        if any(value in seen for value in self.history[reader].appends.get(key, ())):
            raise Anomaly("duplicate", f"{key} held beforehand what was then appended by {self.history[reader]}")
        if versions.longest[: len(seen)] != seen:
            raise Anomaly(
                "incompatible orders",
                f"{key} was read as {show(versions.longest)} and as {show(seen)} by {self.history[reader]}",
            )
        if len(seen) not in versions.upto:
            raise Anomaly(
                "G1b", f"the last of {show(seen)} is half of a write of {key}, read by {self.history[reader]}"
            )

    def _add_unseen_writers(self) -> None:
        """Whoever appended and was never seen comes after every version that was."""
        for number in self.those_that_happened():
            for key, values in self.history[number].appends.items():
                versions = self.versions.setdefault(key, Versions(()))
                if values[-1] not in versions.longest:
                    versions.writers.append(number)
