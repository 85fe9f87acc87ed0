"""Throughput and latency of GetItem and PutItem, on the embedded node and on a cluster of three, beside the ceiling.

Rule: machines are noisy, so every scenario is measured several times, all scenarios of a round in turn, and the report
shows the median and the spread. Sources: DESIGN.md §10; issue 2, "How it is known to be right".
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from gramme.bench import loading, markdown, wrk, ycsb
from gramme.bench.bars import Panel, bar, draw
from gramme.bench.ceiling import ceiling
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.errors import CannotMeasure
from gramme.bench.prepared import Prepared
from gramme.bench.records import Record, Run, Section
from gramme.bench.wrk import Load
from gramme.testing import cluster, server

_CEILING: Final = "ceiling: a bare uvloop and httptools server"
_FLOORS: Final = {"embedded: GetItem": 10_000, "embedded: PutItem": 3_000}
_WARM_UP_S: Final = 2.0
_REQUESTS: Final = 40_000
_SHAPE: Final = Shape()


class Scenario(msgspec.Struct, frozen=True):
    """One kind of load on one endpoint."""

    name: str
    url: str
    load: Prepared


class Measured(msgspec.Struct, frozen=True):
    """A scenario's name and what each round found."""

    name: str
    loads: list[Load]


def measure(run: Run) -> list[Measured]:
    """All scenarios, `rounds` times `seconds` each. The embedded node and the cluster never run at the same time."""
    found: dict[str, list[Load]] = {}
    for setup in (_bare, _embedded, _cluster):
        with setup(run.directory) as scenarios:
            for scenario in scenarios:
                wrk.run(scenario.url, scenario.load, _WARM_UP_S)
            for round_ in range(run.rounds):
                for scenario in scenarios:
                    load = wrk.run(scenario.url, scenario.load, run.seconds)
                    found.setdefault(scenario.name, []).append(load)
                    run.progress(
                        f"{scenario.name}, round {round_ + 1}: {load.per_s:,.0f}/s, p99 {load.p99_us / 1e3:.2f} ms"
                    )
                    if load.failed:
                        raise CannotMeasure(f"{scenario.name}: {load.failed} requests failed")
    return [Measured(name, loads) for name, loads in found.items()]


@contextlib.contextmanager
def _bare(_directory: Path) -> Iterator[list[Scenario]]:
    with ceiling() as url:
        yield [Scenario(_CEILING, url, _load("get", TableRequests(url, "none", _SHAPE)))]


@contextlib.contextmanager
def _embedded(directory: Path) -> Iterator[list[Scenario]]:
    with server(in_memory=False, data_dir=directory / "embedded", test_controls=False) as node:
        url = node.endpoint_url
        many = loading.make(url, "many", _SHAPE)
        yield [
            Scenario("embedded: GetItem", url, _load("get", many)),
            Scenario("embedded: PutItem", url, _load("put", many)),
        ]


@contextlib.contextmanager
def _cluster(directory: Path) -> Iterator[list[Scenario]]:
    with cluster(3, directory=directory / "cluster", test_controls=False) as three:
        shared = three.endpoint_url
        many = loading.make(shared, "many", _SHAPE)
        one = loading.make(shared, "one", _SHAPE, loading.ONE_PARTITION)
        leader = three.leaders("one")[0]
        assert leader is not None, "a table whose items were just written has a leader"
        at_leader = three.node_url(leader)
        yield [
            Scenario("three nodes, shared endpoint: GetItem, strong", shared, _load("get", many)),
            Scenario("three nodes, shared endpoint: GetItem, eventual", shared, _load("get-eventual", many)),
            Scenario("three nodes, shared endpoint: PutItem", shared, _load("put", many)),
            Scenario("three nodes, at the leader: GetItem, strong", at_leader, _load("get", one)),
            Scenario("three nodes, at the leader: PutItem", at_leader, _load("put", one)),
        ]


def _load(workload: str, requests: TableRequests) -> Prepared:
    return ycsb.prepare(ycsb.WORKLOADS[workload], requests, 1, _REQUESTS)


_LATENCIES: Final[tuple[Callable[[Load], float], ...]] = (
    lambda load: load.p50_us,
    lambda load: load.p99_us,
    lambda load: load.p999_us,
)


def _median(loads: list[Load], pick: Callable[[Load], float]) -> float:
    return statistics.median(pick(load) for load in loads)


def _per_s(load: Load) -> float:
    return load.per_s


def _told(taken: Record[list[Measured]]) -> str:
    bare = next((_median(one.loads, _per_s) for one in taken.found if one.name == _CEILING), 0.0)
    rows = [
        (
            one.name,
            markdown.spread([load.per_s for load in one.loads]),
            f"{_median(one.loads, _per_s) / bare:.0%}" if bare else "",
            *(f"{_median(one.loads, pick) / 1e3:.2f}" for pick in _LATENCIES),
        )
        for one in taken.found
    ]
    return "\n\n".join(
        (
            "## Throughput and latency",
            f"`wrk` with one thread and {wrk.CONNECTIONS} connections; {_SHAPE.records:,} items of "
            f"{_SHAPE.item_bytes} bytes; every PutItem is fsynced (on a majority of the nodes, where there are three) "
            f"before it is acknowledged. {taken.rounds} rounds of {taken.seconds:.0f} s, scenarios in turn; medians, "
            "and in brackets the lowest and highest round. Load generator and all node processes share the machine's "
            "cores. The ceiling is a server that parses HTTP and answers the same bytes every time, nothing else.",
            markdown.table(("scenario", "requests/s", "of the ceiling", "p50 ms", "p99 ms", "p99.9 ms"), rows),
            "![Requests per second](benchmarks/throughput.svg)",
        )
    )


def _pictures(found: list[Measured]) -> dict[str, str]:
    bars = [bar(one.name, [load.per_s for load in one.loads]) for one in found if one.name != _CEILING]
    return {"throughput.svg": draw([Panel("Requests per second", bars)])}


def _missed(found: list[Measured]) -> list[str]:
    """Floors of issue 2 that the medians do not reach."""
    missed = []
    for one in found:
        floor, median = _FLOORS.get(one.name), _median(one.loads, _per_s)
        if floor is not None and median < floor:
            missed.append(f"{one.name}: {median:,.0f}/s is below the floor of {floor:,}/s")
    return missed


SECTION: Final = Section("throughput", list[Measured], measure, _told, _pictures, _missed)
