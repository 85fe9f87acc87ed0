"""The embedded node, every write fsynced, against every peer that is installed and against three nodes of its own.

One table of 10,000 items and one of collections of ten, the same requests by `wrk -t1 -c16`. All servers are up at the
same time, one is under load: theirs, ours, the next one's, theirs, ours … so that each run of a peer has one of ours as
its neighbour. Source: issue 7, "The figures to reach".
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from bench import peers
from bench.contest import Contest, Pair, described
from gramme.bench import loading, markdown, ycsb
from gramme.bench.bars import Panel, bar, draw
from gramme.bench.ceiling import ceiling
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.endpoint_load import Outcome, closed
from gramme.bench.errors import CannotMeasure
from gramme.bench.prepared import Prepared
from gramme.bench.records import Progress, Record, Run, Section, short
from gramme.kernel.errors import GrammeError
from gramme.runtime.cluster_status import fetch_report
from gramme.testing import cluster, server

COLUMNS: Final = {
    "get": "GetItem",
    "put": "PutItem",
    "update": "UpdateItem (SET one field)",
    "half": "50/50 get/update",
    "query": "Query of 10 items",
}
_GROUPS: Final = tuple(sorted({ycsb.WORKLOADS[workload].group for workload in COLUMNS}))
_ONE: Final = "one-partition-"
_GOALS: Final = {"get": 3.5, "put": 2.5, "update": 2.0, "half": 2.5, "query": 4.0}
OURS: Final = "Gramme, embedded, every write fsynced"
SHARED: Final = "Gramme, three nodes, shared endpoint"
AT_LEADER: Final = "Gramme, three nodes, at the leader"
_LOCAL: Final = "DynamoDB Local, in memory"
_HOST: Final = "http://localhost"  # in the requests of all, so that all are sent the same bytes
_REQUESTS: Final = 20_000
_WARM_UP_S: Final = 1.0
_CEILING_PART: Final = 0.3


class Endpoint(NamedTuple):
    """Something under load."""

    name: str
    version: str
    says: str
    urls: dict[int, str]  # by the group of the table
    loads: dict[str, Prepared]

    def run(self, workload: str, seconds: float) -> Outcome:
        """A closed loop. Raises CannotMeasure if a request fails, or none is answered."""
        outcome = closed(self.urls[ycsb.WORKLOADS[workload].group], self.loads[workload], seconds)
        if outcome.latency.failed:
            raise CannotMeasure(f"{self.name}: {outcome.latency.failed} of {outcome.latency.count} requests failed")
        if not outcome.latency.count:
            raise CannotMeasure(f"{self.name}: no request was answered within {seconds:g} s")
        return outcome


class Found(msgspec.Struct, frozen=True):
    """`ceiling`: of the bare server, once a round. `missing`: peers that took no part, and why. `compiled`: whether
    Gramme's nodes ran compiled modules (decision 0104)."""

    contests: list[Contest]
    ceiling: list[Outcome]
    missing: dict[str, str]
    compiled: bool = False


def measure(run: Run) -> Found:
    """Half of `seconds` for each run: there are many."""
    seconds = short(run.seconds)
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        ours, compiled = stack.enter_context(_embedded(run.directory, run.progress))
        others = list(_others(stack, run.directory, run.progress, missing))
        trial = _Trial(ours, others, missing, run.progress)
        trial.warm_up()
        contests = [contest for workload in COLUMNS for contest in trial.column(workload, run.rounds, seconds)]
        bare = []
        with ceiling() as url:
            for _ in range(run.rounds):
                bare.append(closed(url, ours.loads["get"], seconds))
    return Found([one for one in contests if one.peer not in missing], bare, missing, compiled)


def _loads(prefix: str = "") -> dict[str, Prepared]:
    """Of the tables whose names begin with `prefix`."""
    found = {}
    for workload in COLUMNS:
        definition = ycsb.WORKLOADS[workload]
        requests = TableRequests(_HOST, prefix + _table(definition.group), Shape(group=definition.group))
        found[workload] = ycsb.prepare(definition, requests, 1, _REQUESTS)
    return found


def _everywhere(url: str) -> dict[int, str]:
    return dict.fromkeys(_GROUPS, url)


def _table(group: int) -> str:
    return f"collections-of-{group}"


def _fill(
    url: str, name: str, progress: Progress, prefix: str = "", settings: Mapping[str, Any] = loading.ON_DEMAND
) -> None:
    for group in _GROUPS:
        loading.make(url, prefix + _table(group), Shape(group=group), settings)
    progress(f"{name}: loaded")


@contextmanager
def _embedded(directory: Path, progress: Progress) -> Iterator[tuple[Endpoint, bool]]:
    """The node, and whether it runs compiled modules."""
    with server(in_memory=False, data_dir=directory / "embedded", test_controls=False) as node:
        _fill(node.endpoint_url, OURS, progress)
        report = fetch_report("127.0.0.1", node.admin_port)
        compiled = report is not None and report.compiled
        yield Endpoint(OURS, "", "fsync", _everywhere(node.endpoint_url), _loads()), compiled


def _others(stack: ExitStack, directory: Path, progress: Progress, missing: dict[str, str]) -> Iterator[Endpoint]:
    yield from _three(stack, directory, progress)
    loads = _loads()
    for peer in peers.PEERS:
        reason = peers.why_not(peer)
        if reason is None:
            try:
                url = stack.enter_context(peers.started(peer, directory))
                _fill(url, peer.name, progress)
            except GrammeError as error:
                reason = str(error)
            else:
                yield Endpoint(peer.name, peer.version(), peer.says, _everywhere(url), loads)
        if reason is not None:
            missing[peer.name] = reason
            progress(f"{peer.name}: {reason}")


def _three(stack: ExitStack, directory: Path, progress: Progress) -> Iterator[Endpoint]:
    """Twice: tables with partitions everywhere, and tables of a single one, asked for at the leader."""
    three = stack.enter_context(cluster(3, directory=directory / "three", test_controls=False))
    _fill(three.endpoint_url, SHARED, progress)
    yield Endpoint(SHARED, "", "fsync on a majority", _everywhere(three.endpoint_url), _loads())
    _fill(three.endpoint_url, AT_LEADER, progress, _ONE, loading.ONE_PARTITION)
    urls = {}
    for group in _GROUPS:
        leader = three.leaders(_ONE + _table(group))[0]
        if leader is None:
            raise CannotMeasure("a table whose items were just written has no leader")
        urls[group] = three.node_url(leader)
    yield Endpoint(AT_LEADER, "", "fsync on a majority", urls, _loads(_ONE))


class _Trial:
    """One endpoint of ours and all the others. One that fails is left out from then on."""

    def __init__(self, ours: Endpoint, others: Sequence[Endpoint], missing: dict[str, str], progress: Progress) -> None:
        self._ours = ours
        self._others = others
        self._missing = missing
        self._progress = progress

    def warm_up(self) -> None:
        """Every workload at every endpoint."""
        for endpoint in (self._ours, *self._others):
            for workload in COLUMNS:
                self._run(endpoint, workload, _WARM_UP_S)

    def column(self, workload: str, rounds: int, seconds: float) -> list[Contest]:
        """One workload: theirs, ours, the next one's, theirs, ours …"""
        pairs: dict[str, list[Pair]] = {other.name: [] for other in self._others}
        for round_ in range(rounds):
            left = [other for other in self._others if other.name not in self._missing]
            for first in range(0, len(left), 2):
                self._neighbours(workload, left[first : first + 2], seconds, pairs)
            told = ", ".join(f"{name} {found[-1].ratio:.2f}" for name, found in pairs.items() if found)
            self._progress(f"{COLUMNS[workload]}, round {round_ + 1}, times as many requests as: {told}")
        return [Contest(one.name, one.version, one.says, workload, pairs[one.name]) for one in self._others]

    def _neighbours(self, workload: str, two: Sequence[Endpoint], seconds: float, pairs: dict[str, list[Pair]]) -> None:
        before = self._run(two[0], workload, seconds)
        ours = self._run(self._ours, workload, seconds)
        after = self._run(two[1], workload, seconds) if len(two) > 1 else None
        for endpoint, theirs in zip(two, (before, after), strict=False):
            if theirs is not None and ours is not None:
                pairs[endpoint.name].append(Pair(ours, theirs))

    def _run(self, endpoint: Endpoint, workload: str, seconds: float) -> Outcome | None:
        if endpoint.name in self._missing:
            return None
        try:
            return endpoint.run(workload, seconds)
        except CannotMeasure as error:
            if endpoint is self._ours or endpoint.name in (SHARED, AT_LEADER):
                raise
            self._missing[endpoint.name] = f"{COLUMNS[workload]}: {error}"
            self._progress(f"left out: {error}")
            return None


# --- telling


def _told(taken: Record[Found]) -> str:
    found = taken.found
    names = list(dict.fromkeys(contest.peer for contest in found.contests))
    head = ("", "a write is answered after", *COLUMNS.values())
    own = (f"**{OURS}**", "fsync", *(described(*_own(found, workload)) for workload in COLUMNS))
    rates = [own, *((_named(found, name), _says(found, name), *_cells(found, name)) for name in names)]
    ratios = [(name, *(_ratio(found, name, workload) for workload in COLUMNS)) for name in names]
    parts = [
        "## Beside other servers of the same API",
        "One table of 10,000 items of 900 bytes (nine fields), `wrk -t1 -c16` with the same prepared requests for all, "
        "GetItem and Query strongly consistent, all processes on this machine; runs of "
        f"{short(taken.seconds):.0f} s in turn (theirs, ours, the next one's …), {taken.rounds} rounds. "
        "Requests/s, in brackets p99 in ms; medians. "
        + (
            "Gramme's nodes run compiled modules (`make compile`)."
            if found.compiled
            else "Gramme runs its plain sources."
        ),
        markdown.table(head, rates, words=2),
        "Requests/s of the embedded node in times of theirs: median of neighbouring runs, lowest and highest.",
        markdown.table(("", *COLUMNS.values()), ratios),
        _goals(found),
    ]
    if found.missing:
        absent = "; ".join(f"{name}: {reason}" for name, reason in found.missing.items())
        parts.append(f"Not measured: {absent}.")
    return "\n\n".join([*parts, "![Requests per second](benchmarks/peers.svg)"])


def _of(found: Found, name: str, workload: str) -> Contest:
    return next(one for one in found.contests if (one.peer, one.workload) == (name, workload))


def _named(found: Found, name: str) -> str:
    version = _of(found, name, "get").version
    return f"{name} ({version})" if version else name


def _says(found: Found, name: str) -> str:
    return _of(found, name, "get").says


def _cells(found: Found, name: str) -> list[str]:
    return [described(one.per_s, one.p99_ms) for one in (_of(found, name, workload) for workload in COLUMNS)]


def _ratio(found: Found, name: str, workload: str) -> str:
    return markdown.spread([pair.ratio for pair in _of(found, name, workload).pairs], ".2f")


def _own(found: Found, workload: str) -> tuple[float, float]:
    runs = [pair.ours for one in found.contests if one.workload == workload for pair in one.pairs]
    return statistics.median(run.per_s for run in runs), statistics.median(run.latency.p99 for run in runs)


def _goals(found: Found) -> str:
    """Against the best of each column that is no Gramme, Dynoxide apart; and what replication costs."""
    others = [one for one in found.contests if one.peer not in (SHARED, AT_LEADER)]
    lines = []
    for workload, goal in _GOALS.items():
        column = [one for one in others if one.workload == workload and not one.peer.startswith("dynoxide")]
        if column:
            best = max(column, key=lambda one: one.per_s)
            lines.append(f"{COLUMNS[workload]} {best.ratio:.2f} (goal {goal:g}; best: {best.peer})")
    told = ["In times of the best peer of the column: " + ", ".join(lines) + "."] if lines else []
    told += _against_dynoxide(found) + _three_against_local(found)
    bare = statistics.median(run.per_s for run in found.ceiling)
    share = _own(found, "get")[0] / bare
    told.append(f"GetItem reaches {share:.0%} of the bare server's {bare:,.0f}/s (goal {_CEILING_PART:.0%}).")
    three = f"{1 / _of(found, SHARED, 'put').ratio:.2f} of the embedded node's PutItem (goal 0.5)"
    leader = f"{1 / _of(found, AT_LEADER, 'get').ratio:.2f} of its GetItem at the leader (goal 0.8)"
    told.append(f"Three nodes on the same cores reach {three} and {leader}.")
    return " ".join(told)


def _against_dynoxide(found: Found) -> list[str]:
    columns = ("get", "put")
    fastest = [
        max((one for one in found.contests if one.workload == column and one.peer.startswith("dynoxide")),
            key=lambda one: one.per_s, default=None)
        for column in columns
    ]  # fmt: skip
    told = [
        f"{COLUMNS[column]} {one.ratio:.2f}" for column, one in zip(columns, fastest, strict=True) if one is not None
    ]
    return [f"In times of dynoxide: {', '.join(told)} (goal 1)."] if told else []


def _three_against_local(found: Found) -> list[str]:
    if not any(one.peer == _LOCAL for one in found.contests):
        return []
    told = [
        f"{title} {_of(found, SHARED, column).per_s / max(1e-9, _of(found, _LOCAL, column).per_s):.2f}"
        for column, title in COLUMNS.items()
    ]
    return [f"Three nodes in times of DynamoDB Local in memory: {', '.join(told)} (goal 1)."]


def _pictures(found: Found) -> dict[str, str]:
    panels = []
    for workload, title in COLUMNS.items():
        contests = [one for one in found.contests if one.workload == workload]
        own = bar(OURS, [pair.ours.per_s for one in contests for pair in one.pairs])
        rows = [own, *(bar(one.peer, [pair.theirs.per_s for pair in one.pairs]) for one in contests)]
        panels.append(Panel(f"{title}: requests per second", rows))
    return {"peers.svg": draw(panels)}


SECTION: Final = Section("peers", Found, measure, _told, _pictures)
