"""Is a history linearizable? Every key is an object of its own, so keys are checked one by one.

Method: just-in-time linearization (Lowe, "Testing for linearizability", 2017, after Wing and Gong, 1993), breadth
first. Events are read in the order of time. A *configuration* is a state plus the set of open operations that have
already taken effect; when an operation returns, every configuration in which it has not taken effect is extended by
open operations, in all orders, until it has; those that cannot are dropped. No configuration left: a violation, and
the operation at which that happened is its witness.

What keeps it small, each without losing an answer:
- nothing takes effect before a return demands it;
- an operation of unknown outcome never returns and may never take effect, so of two configurations with one state
  and the same known operations, the one that used fewer unknown ones can do all that the other can (dominance);
- equal unknown operations are used in the order of their invocation (symmetry).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gramme.sim.checkers.history import ABSENT, Item, Kind, Operation, Outcome, effect

DEFAULT_LIMIT = 2_000_000


class Undecided(Exception):
    """The search exceeded its limit; says nothing about the history."""


class Violation(msgspec.Struct, frozen=True):
    """`operation` has no place in any order of `key`'s history; `states` are those that were possible before it."""

    key: str
    operation: Operation
    states: tuple[Item | None, ...]
    around: tuple[Operation, ...]  # what was open with it, and the last operations before it

    def __str__(self) -> str:
        lines = [f"key {self.key} is not linearizable at {_show(self.operation)}"]
        lines.append("  possible states: " + ", ".join(_show_item(state) for state in self.states[:8]))
        lines += [f"  near: {_show(operation)}" for operation in self.around]
        return "\n".join(lines)


def check(history: Iterable[Operation], limit: int = DEFAULT_LIMIT) -> Violation | None:
    """The first violation, keys in the order of their first operation; None if the history is linearizable.

    Raises `Undecided` when one key needs more than `limit` steps of search.
    """
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        if operation.kind is not Kind.PEEK:
            by_key.setdefault(operation.key, []).append(operation)
    for operations in by_key.values():
        violation = check_key(operations, limit)
        if violation is not None:
            return violation
    return None


def check_key(operations: Sequence[Operation], limit: int = DEFAULT_LIMIT) -> Violation | None:
    """As `check`, for the operations of one key, which starts absent."""
    relevant = [operation for operation in operations if _counts(operation)]
    search = _Search(relevant, limit)
    for position, returns in _events(relevant):
        if not returns:
            search.open(position)
        elif not search.close(position):
            return _violation(relevant, position, search)
    return None


def _counts(operation: Operation) -> bool:
    """Refused operations did not happen; reads and failed conditions of unknown outcome tell nothing."""
    if operation.outcome is Outcome.REFUSED:
        return False
    return not (operation.kind is Kind.GET and operation.outcome is Outcome.UNKNOWN)


def _events(operations: Sequence[Operation]) -> Iterator[tuple[int, bool]]:
    """(position, returns?) in the order of time; at one instant invocations come first: they overlap."""
    events = []
    for position, operation in enumerate(operations):
        events.append((operation.invoke_ns, False, position))
        if operation.outcome is not Outcome.UNKNOWN:
            assert operation.return_ns is not None, "an operation with an outcome has returned"
            events.append((operation.return_ns, True, position))
    for _, returns, position in sorted(events):
        yield position, returns


class _Search:
    """The set of possible configurations: state → known mask → minimal unknown masks.

    Masks are over positions of operations; a bit says that the open operation has taken effect.
    """

    def __init__(self, operations: Sequence[Operation], limit: int) -> None:
        self.operations = operations
        self.open_known: list[int] = []
        self.open_unknown: list[int] = []
        self.configurations = _Front()
        self.configurations.add(ABSENT, 0, 0)
        self.states_before: tuple[Item | None, ...] = ()
        self._twin: dict[int, int] = {}  # unknown operation → the equal unknown one invoked just before it
        self._last_equal: dict[tuple[object, ...], int] = {}
        self._left = limit

    def open(self, position: int) -> None:
        """The operation may take effect from now on."""
        operation = self.operations[position]
        if operation.outcome is not Outcome.UNKNOWN:
            self.open_known.append(position)
            return
        self.open_unknown.append(position)
        signature = (operation.kind, operation.value, operation.expected, operation.amount)
        if signature in self._last_equal:
            self._twin[position] = self._last_equal[signature]
        self._last_equal[signature] = position

    def close(self, position: int) -> bool:
        """The operation has returned: keep the configurations in which it took effect; False if there is none."""
        self.states_before = self.configurations.states()
        bit = 1 << position
        survivors = _Front()
        todo = _Front()
        pending = []
        for state, known, unknown in self.configurations:
            if known & bit:
                survivors.add(state, known & ~bit, unknown)
            elif todo.add(state, known, unknown):
                pending.append((state, known, unknown))
        while pending:
            self._spend()
            state, known, unknown = pending.pop()
            for next_state, next_known, next_unknown in self._steps(state, known, unknown):
                if next_known & bit:
                    survivors.add(next_state, next_known & ~bit, next_unknown)
                elif todo.add(next_state, next_known, next_unknown):
                    pending.append((next_state, next_known, next_unknown))
        self.open_known.remove(position)
        self.configurations = survivors
        return bool(survivors)

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Undecided("the linearizability search exceeded its limit")

    def _steps(self, state: Item | None, known: int, unknown: int) -> Iterator[tuple[Item | None, int, int]]:
        """Every configuration that one more open operation leads to."""
        for position in self.open_known:
            if not known >> position & 1:
                after, consistent = effect(self.operations[position], state)
                if consistent:
                    yield after, known | 1 << position, unknown
        for position in self.open_unknown:
            if unknown >> position & 1:
                continue
            twin = self._twin.get(position)
            if twin is not None and not unknown >> twin & 1:
                continue
            after, _ = effect(self.operations[position], state)
            if after != state:
                yield after, known, unknown | 1 << position


class _Front:
    """Configurations without those that another one dominates."""

    def __init__(self) -> None:
        self._minimal: dict[tuple[Item | None, int], list[int]] = {}

    def add(self, state: Item | None, known: int, unknown: int) -> bool:
        """Add one; False if a configuration that is here already can do all that it can."""
        masks = self._minimal.setdefault((state, known), [])
        for mask in masks:
            if mask & unknown == mask:
                return False
        masks[:] = [mask for mask in masks if mask & unknown != unknown]
        masks.append(unknown)
        return True

    def states(self) -> tuple[Item | None, ...]:
        return tuple(dict.fromkeys(state for state, _ in self._minimal))

    def __iter__(self) -> Iterator[tuple[Item | None, int, int]]:
        for (state, known), masks in self._minimal.items():
            for mask in masks:
                yield state, known, mask

    def __bool__(self) -> bool:
        return bool(self._minimal)


def _violation(operations: Sequence[Operation], position: int, search: _Search) -> Violation:
    witness = operations[position]
    open_now = [operations[p] for p in (*search.open_known, *search.open_unknown)]
    before = [o for o in operations if o.return_ns is not None and o.return_ns < witness.invoke_ns and o is not witness]
    before.sort(key=lambda o: o.return_ns or 0)
    return Violation(witness.key, witness, search.states_before, (*before[-8:], *open_now[-8:]))


def _show_item(item: Item | None) -> str:
    return "absent" if item is None else f"(v={item.value}, n={item.count})"


def _show(operation: Operation) -> str:
    until = "…" if operation.return_ns is None else f"{operation.return_ns / 1e9:.6f}"
    what = f"{operation.kind}({operation.value or operation.amount or ''}"
    what += f" if {operation.expected})" if operation.expected else ")"
    seen = f" saw {_show_item(operation.seen)}" if operation.kind is Kind.GET or operation.reports else ""
    return f"[{operation.invoke_ns / 1e9:.6f}, {until}] client {operation.client} {what} {operation.outcome}{seen}"
