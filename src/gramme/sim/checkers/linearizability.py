"""Is a history linearizable? Every key is an object of its own, so keys are checked one by one.

Method: just-in-time linearization (Lowe, "Testing for linearizability", 2017, after Wing and Gong, 1993), breadth
first. Events are read in the order of time. A *configuration* is a state plus the set of open operations that have
already taken effect; when an operation returns, every configuration in which it has not taken effect is extended by
open operations, in all orders, until it has; those that cannot are dropped. No configuration left: a violation, and
the operation at which that happened is its witness.

What keeps it small, each without losing an answer:
- nothing takes effect before a return demands it;
- an operation may be *free* in a configuration: it may count as done, or still be used. Free are reads (and failed
  conditions) of a state that the configuration has had while they were open, and writes without an answer to check
  which were open when a blind write overwrote whatever they wrote;
- an operation of unknown outcome never returns and may never take effect, so it is never an advantage to have used it;
- so of two configurations with one state, the one whose done operations are fewer, and whose other operations are at
  least as free, can do all that the other can (dominance);
- values that no answer and no condition names are one value: nothing can tell them apart, and so writes of unknown
  outcome are equal that otherwise differ;
- equal unknown operations are used in the order of their invocation (symmetry).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from gramme.sim.checkers.history import ABSENT, Item, Kind, Operation, Outcome, effect

DEFAULT_LIMIT = 2_000_000
_UNNAMED = "(a value that nobody saw)"


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
    search = _Search(_with_unnamed_values_alike(relevant), limit)
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


def _with_unnamed_values_alike(operations: Sequence[Operation]) -> list[Operation]:
    """The same operations, at the same positions; see the module."""
    named = {operation.expected for operation in operations}
    named |= {operation.seen.value for operation in operations if operation.seen is not None}
    return [
        operation if operation.value is None or operation.value in named else replace(operation, value=_UNNAMED)
        for operation in operations
    ]


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
    """The set of possible configurations, see the module. Masks are over positions of operations."""

    def __init__(self, operations: Sequence[Operation], limit: int) -> None:
        self.operations = operations
        self.open_known: list[int] = []
        self.open_unknown: list[int] = []
        self.configurations = _Front(0)
        self.configurations.add(_Configuration(ABSENT, 0, 0))
        self.states_before: tuple[Item | None, ...] = ()
        self._known = 0  # the open operations of known outcome,
        self._passive: list[int] = []  # those of them that change nothing,
        self._hideable = 0  # and those that a blind write hides
        self._twin: dict[int, int] = {}  # unknown operation → the equal unknown one invoked just before it
        self._last_equal: dict[tuple[object, ...], int] = {}
        self._left = limit

    def open(self, position: int) -> None:
        """The operation may take effect from now on."""
        operation = self.operations[position]
        if operation.outcome is Outcome.UNKNOWN:
            self.open_unknown.append(position)
            signature = (operation.kind, operation.value, operation.expected, operation.amount)
            if signature in self._last_equal:
                self._twin[position] = self._last_equal[signature]
            self._last_equal[signature] = position
            return
        bit = 1 << position
        self.open_known.append(position)
        self._known |= bit
        if _is_passive(operation):
            self._passive.append(position)
            self.configurations.free_where(bit, lambda state: effect(operation, state).consistent)
        elif _always_fits(operation):
            self._hideable |= bit

    def close(self, position: int) -> bool:
        """The operation has returned: keep the configurations in which it took effect; False if there is none."""
        self.states_before = self.configurations.states()
        bit = 1 << position
        survivors = _Front(self._known & ~bit)
        todo = _Front(self._known)
        pending: list[_Configuration] = []
        passive = position in self._passive

        def sort_out(configuration: _Configuration) -> None:
            if (configuration.done | configuration.free) & bit:
                survivors.add(configuration.without(bit))
            # One that is free may still take effect, now or after others, instead of having been hidden.
            counted = configuration.done | configuration.free if passive else configuration.done
            if not counted & bit and todo.add(configuration):
                pending.append(configuration)

        for configuration in self.configurations:
            sort_out(configuration)
        while pending:
            self._spend()
            for following in self._steps(pending.pop()):
                sort_out(following)
        self._forget(position)
        self.configurations = survivors
        return bool(survivors)

    def _forget(self, position: int) -> None:
        self.open_known.remove(position)
        if position in self._passive:
            self._passive.remove(position)
        self._known &= ~(1 << position)
        self._hideable &= ~(1 << position)

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Undecided("the linearizability search exceeded its limit")

    def _steps(self, before: _Configuration) -> Iterator[_Configuration]:
        """Every configuration that one more effective open operation leads to."""
        for position in self.open_known:
            if not before.done >> position & 1 and position not in self._passive:
                after, consistent = effect(self.operations[position], before.state)
                if consistent:
                    yield self._reach(before, position, after)
        for position in self.open_unknown:
            if before.done >> position & 1:
                continue
            twin = self._twin.get(position)
            if twin is not None and not before.done >> twin & 1:
                continue
            after, _ = effect(self.operations[position], before.state)
            if after != before.state:
                yield self._reach(before, position, after)

    def _reach(self, before: _Configuration, position: int, after: Item | None) -> _Configuration:
        bit = 1 << position
        done = before.done | bit
        free = before.free
        if _is_blind(self.operations[position]):
            free |= self._hideable
        for passive in self._passive:
            if effect(self.operations[passive], after).consistent:
                free |= 1 << passive
        return _Configuration(after, done, free & ~done)


class _Configuration(NamedTuple):
    """A possible present. `done` have taken effect, `free` may count as if they had."""

    state: Item | None
    done: int
    free: int

    def without(self, bit: int) -> _Configuration:
        """The same, once the operation of `bit` has returned."""
        return _Configuration(self.state, self.done & ~bit, self.free & ~bit)


def _is_passive(operation: Operation) -> bool:
    """It changes nothing."""
    return operation.kind is Kind.GET or operation.outcome is Outcome.FAILED


def _always_fits(operation: Operation) -> bool:
    """There is no answer that the state before could contradict."""
    return operation.kind in (Kind.PUT, Kind.DELETE, Kind.ADD) and not operation.reports


def _is_blind(operation: Operation) -> bool:
    """What it leaves does not depend on the state before, nor does its answer."""
    unchecked = operation.outcome is Outcome.UNKNOWN or not operation.reports
    return operation.kind in (Kind.PUT, Kind.DELETE) and unchecked


class _Front:
    """Configurations without those that another one dominates. `known` masks the operations that must yet return."""

    def __init__(self, known: int) -> None:
        self._known = known
        self._by_state: dict[Item | None, list[_Configuration]] = {}

    def add(self, new: _Configuration) -> bool:
        """Add one; False if a configuration that is here already can do all that it can."""
        kept = self._by_state.setdefault(new.state, [])
        for old in kept:
            if self._dominates(old, new):
                return False
        kept[:] = [old for old in kept if not self._dominates(new, old)]
        kept.append(new)
        return True

    def _dominates(self, one: _Configuration, other: _Configuration) -> bool:
        if one.done & ~other.done:
            return False
        return not (other.done | other.free) & ~(one.done | one.free) & self._known

    def free_where(self, bit: int, fits: Callable[[Item | None], bool]) -> None:
        """Make the operation of `bit` free in every configuration whose state `fits`."""
        self._known |= bit
        for state, kept in self._by_state.items():
            if fits(state):
                kept[:] = [_Configuration(state, old.done, old.free | bit) for old in kept]

    def states(self) -> tuple[Item | None, ...]:
        return tuple(self._by_state)

    def __iter__(self) -> Iterator[_Configuration]:
        for kept in self._by_state.values():
            yield from kept

    def __bool__(self) -> bool:
        return bool(self._by_state)


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
