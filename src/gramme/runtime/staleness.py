"""Eventual reads that lag on purpose, for tests: the test control `stale`, where it is about a table or a local index.

Replicas of this node answer such reads from a view of the engine that is as old as asked for. Rule: nothing of it is
there until somebody asks for it (`PartitionReplica.read_now` is replaced, and views are taken, only while some rule
lasts), and memory is bounded: a few views for each of a few different lags, which share the rows that did not change.
Strong reads and streams are never touched. A global index lags by its feeder
(`gramme.node.changes.feeders.Feeders.delay`).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gramme.api.backend import ControlRefused
from gramme.kernel.ids import GroupId
from gramme.kernel.time import MILLISECOND, Instant
from gramme.tables.requests import ScanRange
from gramme.tables.streams import ReadChanges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gramme.kernel.ports import Timer
    from gramme.node.node import Node
    from gramme.node.partition import PartitionReplica
    from gramme.storage.engine.contract import View

MAX_LAGS: Final = 16
_VIEWS: Final = 16  # within a lag: what is read is up to a sixteenth of it older than asked for
_LEAST_PERIOD_NS: Final = 5 * MILLISECOND
_WHOLE_TABLE: Final = 0  # beside the numbers of local indexes, which count from 1


class _Past:
    """Views of the engine from now until one lag ago, taken one after the other until `stop`."""

    def __init__(self, node: Node, lag_ns: int) -> None:
        self._host = node.host
        self._ports = node.ports
        self._lag_ns = lag_ns
        self._views: deque[tuple[Instant, View]] = deque()  # oldest first
        self._timer: Timer | None = None
        self._tick()

    def view(self) -> View:
        """The newest view that is old enough; the oldest if none is yet."""
        self._forget()
        return self._views[0][1]

    def stop(self) -> None:
        """Let the views go."""
        if self._timer is not None:
            self._timer.cancel()
        self._views.clear()

    def _tick(self) -> None:
        if self._host.stopped:
            self._views.clear()  # a view would keep the engine's directory locked
            return
        now = self._host.now()
        self._views.append((now, self._ports.engine.view()))
        self._forget()
        period_ns = max(_LEAST_PERIOD_NS, self._lag_ns // _VIEWS)
        self._timer = self._ports.scheduler.call_at(Instant(now + period_ns), self._tick)

    def _forget(self) -> None:
        wanted = self._host.now() - self._lag_ns
        while len(self._views) > 1 and self._views[1][0] <= wanted:
            self._views.popleft()


class Staleness:
    """Which reads lag, and by how much."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._rules: dict[GroupId, dict[int, int]] = {}  # number of a local index or `_WHOLE_TABLE` -> lag
        self._pasts: dict[int, _Past] = {}  # by lag

    def lag(self, groups: Iterable[GroupId], lag_ns: int, index: int = _WHOLE_TABLE) -> None:
        """Have eventual reads of these partitions (of one local index, by its number) answered as of `lag_ns` ago, but
        not of before this call; 0 ends it. Partitions that this node does not host are passed over.

        Raises ControlRefused.
        """
        if lag_ns and lag_ns not in self._pasts and len(self._pasts) >= MAX_LAGS:
            raise ControlRefused(f"at most {MAX_LAGS} different lags at a time")
        for group in groups:
            rules = self._rules.setdefault(group, {})
            rules.pop(index, None)
            if lag_ns:
                rules[index] = lag_ns
        self._settle()

    def clear(self) -> None:
        """No read lags any more."""
        for rules in self._rules.values():
            rules.clear()
        self._settle()

    def _settle(self) -> None:
        """Put the rules into effect, and forget what no rule needs, or whose table is gone."""
        hosted = self._node.groups.partitions
        for group, rules in list(self._rules.items()):
            partition = hosted.get(group)
            if partition is not None:
                partition.read_now = partial(self._read, partition, rules) if rules else partition.read_applied
            if partition is None or not rules:
                del self._rules[group]
        wanted = {lag_ns: None for rules in self._rules.values() for lag_ns in rules.values()}
        for lag_ns in [lag_ns for lag_ns in self._pasts if lag_ns not in wanted]:
            self._pasts.pop(lag_ns).stop()
        for lag_ns in wanted:
            if lag_ns not in self._pasts:
                self._pasts[lag_ns] = _Past(self._node, lag_ns)

    def _read(self, partition: PartitionReplica, rules: dict[int, int], request: Any) -> Any:
        index = request.index if type(request) is ScanRange else _WHOLE_TABLE
        lag_ns = max(rules.get(_WHOLE_TABLE, 0), rules.get(index, 0))
        if request.consistent or not lag_ns or type(request) is ReadChanges:
            return partition.read_applied(request)
        return partition.read_as_of(request, self._pasts[lag_ns].view())
