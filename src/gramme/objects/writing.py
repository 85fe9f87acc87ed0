"""One write at its coordinator, as a pure core: whom to ask, when it is enough, what to answer.

The first N nodes of the preference list that are thought reachable are asked; when one fails, or does not answer in
time, the next node of the list is asked instead, and keeps the write with a *hint* of whom it is for (sloppy quorum and
hinted handoff, SOSP 2007, §4.6). An answer counts once per node. The write succeeds when W have it, PW primaries have
it, and DW have it fsynced; it fails when nobody is left who could make it so. What was written stays written either
way: a failed write may still be read, later.

While the ring changes the primaries of a second ring are asked as well, and success waits until W of those have it too,
the ones that fail excepted: they get a hint, and a change refuses nobody's write (decision 0071). What only they have
counts for W where a primary is lost and nobody stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from gramme.kernel.ids import NO_NODE, NodeId
from gramme.objects.quorums import WriteQuorum


class Target(NamedTuple):
    """A node to be asked; `stands_for` is the primary it keeps the write for, `NO_NODE` if it is one itself."""

    node: NodeId
    stands_for: NodeId = NO_NODE


class Unsatisfied(NamedTuple):
    """A quorum was not reached: of `needed` answers of this kind ("W", "PW", "DW", "R", "PR") `have` came."""

    kind: str
    have: int
    needed: int

    def __str__(self) -> str:
        return f"{self.kind}-value unsatisfied: {self.have}/{self.needed}"


class WriteCore:
    """See the module. `preference` is the whole list: N primaries, then fallbacks; `beside` the primaries of the second
    ring, those that are none of the first not among the fallbacks."""

    def __init__(
        self,
        quorum: WriteQuorum,
        preference: Sequence[NodeId],
        reachable: Callable[[NodeId], bool],
        beside: Sequence[NodeId] = (),
    ) -> None:
        n = quorum.n
        self._quorum = quorum
        self._primaries = tuple(preference[:n])
        self._waiting: dict[NodeId, Target] = {}
        self._written: dict[NodeId, Target] = {}
        self._durable: dict[NodeId, None] = {}
        self._failed: dict[NodeId, None] = {}
        down = [node for node in self._primaries if not reachable(node)]
        self._first = [Target(node) for node in self._primaries if node not in down]
        self._orphans = down  # primaries for which nobody has been asked
        self._up = [node for node in preference[n:] if reachable(node)]
        # Who is thought to be down is asked in the end all the same: failure detection is a guess (row A28).
        self._untried = list(down)
        self._last = [node for node in preference[n:] if not reachable(node)]
        self._beside = tuple(beside)
        self._extra = {node: reachable(node) for node in beside if node not in preference}

    def begin(self) -> list[Target]:
        """The first nodes to ask: N of them if there are so many, and those of the second ring."""
        first = self._first
        if self._extra:
            first = [*first, *(Target(node) for node, up in self._extra.items() if up)]
        for target in first:
            self._waiting[target.node] = target
        return [*first, *self._stand_in()]

    def add_result(self, node: NodeId, durable: bool) -> None:
        """`node` has the write, `durable` if it is fsynced there. It may say both, one after the other."""
        target = self._waiting.pop(node, None) or self._written.get(node)
        if target is None:
            return
        self._written[node] = target
        if durable:
            self._durable[node] = None

    def add_failure(self, node: NodeId) -> list[Target]:
        """`node` has refused, cannot be reached, or is slow: who is to be asked in its place. A late answer of a slow
        node still counts."""
        target = self._waiting.get(node)
        if target is None or node in self._failed:
            return []
        self._failed[node] = None
        if node in self._extra:
            return []
        self._orphans.append(node if target.stands_for == NO_NODE else target.stands_for)
        return self._stand_in()

    def gone(self, node: NodeId) -> None:
        """Nothing more will come from `node`."""
        self._waiting.pop(node, None)

    def enough(self) -> bool:
        """Whether the answer is known, good or bad."""
        return (self._missing() is None and not (self._beside and self._owing())) or not self._hope()

    def response(self) -> Unsatisfied | None:
        """What to answer now: None is success."""
        return self._missing()

    def final_action(self) -> list[NodeId]:
        """Primaries, of either ring, that have not confirmed and for which no fallback keeps the write: the coordinator
        keeps a hint for each, so that all copies come about in the end."""
        kept = {target.stands_for for target in self._written.values()}
        wanted = (*self._primaries, *self._extra)
        return [node for node in wanted if node not in self._written and node not in kept]

    def _stand_in(self) -> list[Target]:
        targets = []
        while self._orphans and (target := self._next()) is not None:
            self._waiting[target.node] = target
            targets.append(target)
        return targets

    def _next(self) -> Target | None:
        if self._up:
            return Target(self._up.pop(0), self._orphans.pop(0))
        if self._untried:
            node = next((node for node in self._untried if node in self._orphans), self._untried[0])
            self._untried.remove(node)
            self._orphans.remove(node if node in self._orphans else self._orphans[0])
            return Target(node)
        return Target(self._last.pop(0), self._orphans.pop(0)) if self._last else None

    def _missing(self) -> Unsatisfied | None:
        quorum = self._quorum
        written, durable = len(self._written), len(self._durable)
        primaries = sum(target.stands_for == NO_NODE for target in self._written.values())
        if self._extra:
            primaries -= sum(node in self._extra for node in self._written)
            written, durable = self._counted(self._written), self._counted(self._durable)
        for kind, have, needed in (("PW", primaries, quorum.pw), ("W", written, quorum.w), ("DW", durable, quorum.dw)):
            if have < needed:
                return Unsatisfied(kind, have, needed)
        return None

    def _counted(self, nodes: Collection[NodeId]) -> int:
        """How many copies of the first ring `nodes` have; those of the second stand in where nobody else does."""
        extra = sum(node in self._extra for node in nodes)
        return len(nodes) - extra + min(extra, len(self._orphans))

    def _owing(self) -> bool:
        """Whether fewer than W of the second ring's primaries have the write, or will by a hint."""
        late = sum(node in self._waiting and node not in self._failed for node in self._beside)
        return len(self._beside) - late < min(self._quorum.w, len(self._beside))

    def _hope(self) -> bool:
        """Whether answers that may still come could be enough."""
        return bool(self._waiting) or any(node not in self._durable for node in self._written)
