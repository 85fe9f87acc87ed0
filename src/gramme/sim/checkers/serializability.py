"""Is a history of list-append transactions strictly serializable?

Method: Elle's (see `list_append`). Each key's lists give the order of its versions, hence who must come before whom:
- *ww*: the writer of a version before the writer of the next one;
- *wr*: the writer of a version before whoever read it;
- *rw*: whoever read a version before the writer of the next one;
- *time*: whoever had returned before another one was invoked.
The order of every version that was read is known, so the history is strictly serializable if and only if no transaction
must come before itself. A cycle is named as by Adya ("Weak Consistency", 1999): G0 of ww alone, G1c with wr, G-single
with one rw, G2 with several; `-realtime` where time is needed too. G1b within one key shows as part of a list.

Plain strong reads never wait for a transaction (issue 4; USENIX ATC 2023, section 4.3): what holds an item may be
committed elsewhere already, and be seen there. Such a read comes before that transaction, which is serializable, but
time then orders it only after what was done to its own item. Whatever writes, and every transaction, is ordered by time
without exception.

Times cost O(n): invocations and returns hang on chains of moments instead of being joined pairwise.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gramme.sim.checkers.list_append import Anomaly, Facts, Recency, Transaction, show


class _Edge(NamedTuple):
    """`kind` orders its source before `target`; `key` is the item that says so ("" for time)."""

    target: int
    kind: str
    key: str


_SEARCHES: Final = (
    ("G0", "ww", ("ww",)),
    ("G1c", "wr", ("ww", "wr")),
    ("G-single", "rw", ("ww", "wr")),
    ("G2", "rw", ("ww", "wr", "rw")),
    ("G0-realtime", "ww", ("ww", "time")),
    ("G1c-realtime", "wr", ("ww", "wr", "time")),
    ("G-single-realtime", "rw", ("ww", "wr", "time")),
    ("G2-realtime", "rw", ("ww", "wr", "rw", "time")),
)
"""Name, the kind of one edge of the cycle, and the kinds of the rest: the weakest anomaly that a cycle shows first."""


def check(history: Sequence[Transaction]) -> Anomaly | None:
    """The first anomaly found, or None if the history is strictly serializable. Raises `ValueError` as `Facts` does."""
    try:
        facts = Facts(history)
    except Anomaly as anomaly:
        return anomaly
    graph = _Graph(facts)
    return None if graph.is_acyclic() else graph.cycle()


class _Graph:
    """Transactions by number; the moments of time have the numbers after them."""

    def __init__(self, facts: Facts) -> None:
        self._history = facts.history
        self._edges: list[list[_Edge]] = [[] for _ in facts.history]
        self._add_writes(facts)
        self._add_reads(facts)
        self._add_time(facts)

    def _add(self, source: int, target: int, kind: str, key: str = "") -> None:
        if source != target:
            self._edges[source].append(_Edge(target, kind, key))

    def _add_writes(self, facts: Facts) -> None:
        for key, versions in facts.versions.items():
            for later in range(1, len(versions.writers)):
                earlier = min(later, versions.seen) - 1
                if earlier >= 0:
                    self._add(versions.writers[earlier], versions.writers[later], "ww", key)

    def _add_reads(self, facts: Facts) -> None:
        for reader in facts.those_that_happened():
            transaction = facts.history[reader]
            for key, seen in () if transaction.recency is Recency.NOTHING else transaction.reads.items():
                versions = facts.versions[key]
                position = versions.upto[len(seen)]
                if position:
                    self._add(versions.writers[position - 1], reader, "wr", key)
                following = versions.writers[position:] if position == versions.seen else [versions.writers[position]]
                for writer in following:
                    self._add(reader, writer, "rw", key)

    def _add_time(self, facts: Facts) -> None:
        ordered = [n for n in facts.those_that_happened() if facts.history[n].recency is not Recency.NOTHING]
        self._add_moments(ordered, [n for n in ordered if facts.history[n].recency is Recency.ALL])
        touching: dict[str, list[int]] = {}
        for number in ordered:
            for key in {**facts.history[number].reads, **facts.history[number].appends}:
                touching.setdefault(key, []).append(number)
        for numbers in touching.values():
            self._add_moments(numbers, [n for n in numbers if facts.history[n].recency is Recency.OWN_KEY])

    def _add_moments(self, earlier: Sequence[int], later: Sequence[int]) -> None:
        """A chain of the moments at which `earlier` returned; `later` hang on the last one before their invocation."""
        ends = ((self._history[number].return_ns, number) for number in earlier)
        returns = sorted((return_ns, number) for return_ns, number in ends if return_ns is not None)
        times = [return_ns for return_ns, _ in returns]
        hanging = [(bisect_left(times, self._history[number].invoke_ns), number) for number in later]
        if not any(before for before, _ in hanging):
            return
        first = len(self._edges)
        self._edges += [[] for _ in returns]
        for moment, (_, number) in enumerate(returns):
            self._add(number, first + moment, "time")
            if moment:
                self._add(first + moment - 1, first + moment, "time")
        for before, number in hanging:
            if before:
                self._add(first + before - 1, number, "time")

    def is_acyclic(self) -> bool:
        """Whether there is an order of everybody (Kahn's algorithm, from both ends). What is in no cycle, nor between
        two, is left out from then on."""
        self._drop_ends()
        self._turn_round()
        self._drop_ends()
        self._turn_round()
        return not any(self._edges)

    def _drop_ends(self) -> None:
        """Take away the edges of whoever waits for nobody, again and again."""
        waits_for = [0] * len(self._edges)
        for edges in self._edges:
            for edge in edges:
                waits_for[edge.target] += 1
        ready = [node for node, count in enumerate(waits_for) if not count]
        while ready:
            edges = self._edges[ready.pop()]
            for edge in edges:
                waits_for[edge.target] -= 1
                if not waits_for[edge.target]:
                    ready.append(edge.target)
            edges.clear()

    def _turn_round(self) -> None:
        turned: list[list[_Edge]] = [[] for _ in self._edges]
        for source, edges in enumerate(self._edges):
            for edge in edges:
                turned[edge.target].append(edge._replace(target=source))
        self._edges = turned

    def cycle(self) -> Anomaly:
        """The weakest and shortest cycle, told step by step; there must be one."""
        for name, kind, rest in _SEARCHES:
            found: list[tuple[int, _Edge]] | None = None
            for source, edge in self._of_kind(kind):
                path = self._path(edge.target, source, rest)
                if path is not None and (found is None or self._size(path) + 1 < self._size(found)):
                    found = [(source, edge), *path]
            if found is not None:
                return Anomaly(name, self._tell(found))
        raise AssertionError("time alone has no cycles")

    def _of_kind(self, kind: str) -> Iterator[tuple[int, _Edge]]:
        for source, edges in enumerate(self._edges):
            for edge in edges:
                if edge.kind == kind:
                    yield source, edge

    def _path(self, start: int, goal: int, kinds: tuple[str, ...]) -> list[tuple[int, _Edge]] | None:
        """The way by edges of these kinds that has the fewest transactions, as (node, edge out of it); None if there is
        none. A step to a moment costs nothing, so those are taken first."""
        came: dict[int, tuple[int, _Edge] | None] = {}
        queue = deque[tuple[int, tuple[int, _Edge] | None]](((start, None),))
        while queue and goal not in came:
            node, step = queue.popleft()
            if node in came:
                continue
            came[node] = step
            for edge in self._edges[node]:
                if edge.kind in kinds and edge.target not in came:
                    add = queue.append if edge.target < len(self._history) else queue.appendleft
                    add((edge.target, (node, edge)))
        return self._trace(came, goal) if goal in came else None

    def _trace(self, came: dict[int, tuple[int, _Edge] | None], goal: int) -> list[tuple[int, _Edge]]:
        path: list[tuple[int, _Edge]] = []
        step = came[goal]
        while step is not None:
            path.append(step)
            step = came[step[0]]
        return path[::-1]

    def _size(self, cycle: list[tuple[int, _Edge]]) -> int:
        return sum(node < len(self._history) for node, _ in cycle)

    def _tell(self, cycle: list[tuple[int, _Edge]]) -> str:
        """Each transaction of the cycle, and why it comes before the next one; moments of time are passed over."""
        names: dict[int, str] = {}
        for node, _ in cycle:
            if node < len(self._history):
                names.setdefault(node, f"T{len(names) + 1}")
        lines = ["these transactions must each come before the next, and the last before the first:"]
        lines += [f"  {name} {self._history[node]}" for node, name in names.items()]
        steps = [(node, edge) for node, edge in cycle if node < len(self._history)]
        for (node, edge), (following, _) in zip(steps, [*steps[1:], steps[0]], strict=True):
            lines.append(f"  {names[node]} before {names[following]}: {self._why(node, edge, following)}")
        return "\n".join(lines)

    def _why(self, node: int, edge: _Edge, following: int) -> str:
        match edge.kind:
            case "ww":
                return f"its append to {edge.key} precedes the other's (ww)"
            case "wr":
                return f"the other read what it appended to {edge.key} (wr)"
            case "rw":
                seen = show(self._history[node].reads[edge.key])
                return f"it read {edge.key} as {seen}, without what the other appended (rw)"
            case _:
                return (
                    f"it had returned at {(self._history[node].return_ns or 0) / 1e9:.6f}, before the other was invoked"
                )
