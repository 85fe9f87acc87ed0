"""One read at its coordinator, as a pure core: whom to ask, when it is enough, what to answer, whom to repair.

All N replicas are asked, those that are down replaced by fallbacks; the read answers as soon as R have answered, PR of
them primaries, with the merge of what they know. Then it lingers for the stragglers: once all have answered, or time is
up, whoever knows less than the merge is sent it (read repair). Source: SOSP 2007, §5 (the state machine of a request:
send, await R, fail on deadline, gather, reconcile, build the context, linger, repair); rows A17, A19, A20.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gramme.kernel.ids import NO_NODE, NodeId
from gramme.objects.quorums import ReadQuorum
from gramme.objects.state import State, is_news, joined
from gramme.objects.writing import Unsatisfied


class Read(NamedTuple):
    """What the replicas that answered know together, None if nothing; `fastest` of those that know anything, the best
    coordinator of the next write."""

    state: State | None
    fastest: NodeId


class ReadCore:
    """See the module. `preference` is the whole list: N primaries, then fallbacks."""

    def __init__(self, quorum: ReadQuorum, preference: Sequence[NodeId], reachable: Callable[[NodeId], bool]) -> None:
        n = quorum.n
        self._quorum = quorum
        self._primaries = tuple(preference[:n])
        up = [node for node in preference if reachable(node)]
        asked = up[:n]
        # Where fewer than N are thought to be up, the others are asked all the same: it is a guess (row A28).
        asked += [node for node in preference if node not in up][: n - len(asked)]
        self._first = asked
        self._spare = [node for node in preference if node not in asked]
        self._waiting: dict[NodeId, None] = {}
        self._failed: dict[NodeId, None] = {}
        self._answers: dict[NodeId, State | None] = {}
        self._lacking = 0
        self._fastest = NO_NODE

    def begin(self) -> list[NodeId]:
        """The nodes to ask."""
        self._waiting = dict.fromkeys(self._first)
        return list(self._first)

    def add_result(self, node: NodeId, state: State | None) -> None:
        """What `node` knows: None if it never heard of the key."""
        if self._waiting.pop(node, False) is False:
            return
        if state is None:
            self._lacking += 1
        elif self._fastest == NO_NODE and node in self._primaries:
            self._fastest = node
        self._answers[node] = state

    def add_failure(self, node: NodeId) -> list[NodeId]:
        """`node` cannot be reached, or is slow: who is asked in its place. A late answer of a slow one still counts."""
        if node not in self._waiting or node in self._failed:
            return []
        self._failed[node] = None
        if not self._spare:
            return []
        spare = self._spare.pop(0)
        self._waiting[spare] = None
        return [spare]

    def gone(self, node: NodeId) -> None:
        """Nothing more will come from `node`."""
        self._waiting.pop(node, None)

    def enough(self) -> bool:
        """Whether the answer is known, good or bad."""
        return self._missing() is None or not self._waiting or self._given_up()

    def response(self) -> Read | Unsatisfied:
        """What to answer now."""
        missing = self._missing()
        if missing is not None and not self._given_up():
            return missing
        return Read(self._together(), self._fastest)

    def settled(self) -> bool:
        """Whether there is nobody left to linger for."""
        return not self._waiting

    def final_action(self) -> tuple[State | None, list[NodeId]]:
        """Everything that was heard, and the primaries that know less: they are sent it."""
        newest = self._together()
        if newest is None:
            return None, []
        answers = self._answers
        behind = [node for node in self._primaries if node in answers and is_news(answers[node], newest)]
        return newest, behind

    def _together(self) -> State | None:
        state: State | None = None
        for answer in self._answers.values():
            if answer is not None:
                state = joined(state, answer)
        return state

    def _missing(self) -> Unsatisfied | None:
        quorum = self._quorum
        counted = [n for n, known in self._answers.items() if quorum.notfound_ok or known is not None]
        primaries = sum(node in self._primaries for node in counted)
        if primaries < quorum.pr:
            return Unsatisfied("PR", primaries, quorum.pr)
        if len(counted) < quorum.r:
            return Unsatisfied("R", len(counted), quorum.r)
        return None

    def _given_up(self) -> bool:
        """Whether it is known that R replicas with the key cannot be found: all that were asked lack it, or a majority
        does and the client asked for no more than that."""
        quorum = self._quorum
        if quorum.notfound_ok or self._lacking < len(self._answers):
            return False
        majority = quorum.n // 2 + 1
        return (quorum.basic_quorum and self._lacking >= majority) or (not self._waiting and self._lacking > 0)
