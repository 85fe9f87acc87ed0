"""Latency while a fleet grows with its load: 3 to 30 production nodes in virtual time, each as busy as the others.

Rule: nothing about time is invented. Nodes' loops are busy for as long as real ones are (`service_times`), jobs of the
log take as long as they took on this machine's disk, the network's delays are stated. Every fleet has tables, items and
arrivals in proportion to its nodes; the rate is what keeps its loops busy for `SHARE` of the time. What a kind of work
costs on the way of a request was measured in the smallest fleet: a larger one has colder caches only because all its
nodes share this machine's. What nodes do by themselves (leases, gossip, looking after groups) was measured in the fleet
itself, for that may grow. Source: Elhemali et al., ATC 2022, §7 (YCSB A and C, uniform keys, items of 900 bytes).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from gramme.bench import markdown, service_times
from gramme.bench.latency import Latency
from gramme.bench.lines import Axis, Line, chart, ticks
from gramme.bench.records import Progress, Record, Run, Section
from gramme.bench.service_times import CLOCK, ServiceTimes, collected
from gramme.bench.simulated import NETWORK, Fleet, Kind, Load, Outcome
from gramme.bench.svg import COLOURS
from gramme.kernel.time import MICROSECOND
from gramme.sim.guard import forbid_ambient
from gramme.sim.loop import Meter

SIZES: Final = (3, 6, 12, 30)
SHARE: Final = 0.4
GOAL: Final = 1.3
MIXES: Final[dict[str, dict[Kind, float]]] = {
    "A": {"strong": 0.25, "eventual": 0.25, "update": 0.5},
    "C": {"strong": 0.5, "eventual": 0.5},
}
"""YCSB's, half of the reads strong."""

_KINDS: Final = {"strong": "strong reads", "eventual": "eventual reads", "update": "updates"}
_PATHS: Final = ("here", "sent on")
_ITEMS: Final = 400
_GUESS_PER_S: Final = 300.0
_ENOUGH: Final = 1_000
_ASKED: Final = ("GetItem", "UpdateItem", "Forward", "Accept", "Commit", "frame", "log job", "Host._flush", "Router.")
"""How the names of kinds begin that are on the way of a request."""

Prices = Mapping[str, int]


class Length(msgspec.Struct, frozen=True, kw_only=True):
    """How much is simulated of each fleet and mix: at least so many operations and virtual seconds, before that `pilot`
    operations to find what they cost and as many to find the rate; at the end `idle_s` without load, and `change_s` of
    C while a table is made."""

    operations: int = 24_000
    seconds: float = 1.2
    pilot: int = 4_000
    change_s: float = 3.0
    idle_s: float = 10.0


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet of so many nodes under one mix, at `per_s` operations in a second."""

    nodes: int
    per_s: float
    outcome: Outcome

    @property
    def sent_on(self) -> float:
        """The share of operations that came to a node which could not serve them."""
        many = sum(one.count for name, one in self.outcome.kinds.items() if name.endswith(_PATHS[1]))
        return many / self.outcome.operations


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """`points` by mix, and `idle` (the share of a loop that is busy without load), from the smallest fleet to the
    largest. `same_rate`: by mix, the largest fleet at the smallest's rate for each node. `changed`: the smallest and
    the largest under C, while one table is made. `prices_us`: by mix, what each kind of work took in the smallest
    fleet, without what is added to it."""

    times: ServiceTimes
    prices_us: dict[str, dict[str, float]]
    points: dict[str, list[Point]]
    same_rate: dict[str, Point]
    changed: list[Point]
    idle: list[float]


def measure(run: Run) -> Grown:
    """Real processes for `seconds` under each load, then the fleets, once: with the same service times they say nearly
    the same again."""
    return grown(service_times.measured(run), run.progress)


def grown(times: ServiceTimes, progress: Progress, sizes: Sequence[int] = SIZES, length: Length | None = None) -> Grown:
    """Every size under every mix, with these service times."""
    length = length or Length()
    asked: dict[str, Prices] = {}
    per_node = dict.fromkeys(MIXES, _GUESS_PER_S)
    points: dict[str, list[Point]] = {mix: [] for mix in MIXES}
    same_rate: dict[str, Point] = {}
    idle, changed = [], []
    for nodes in sizes:
        with forbid_ambient():
            fleet = Fleet(nodes, nodes, _ITEMS, Meter(CLOCK, times.extra_ns), times.log_job_ns)
            fleet.found()
            for mix, shares in MIXES.items():
                per_s = _prepared(fleet, shares, per_node[mix] * nodes, asked.get(mix), length.pilot)
                assert fleet.meter.prices is not None
                asked.setdefault(mix, {k: ns for k, ns in fleet.meter.prices.items() if k.startswith(_ASKED)})
                per_node[mix] = per_s / nodes
                points[mix].append(_point(fleet, _load(shares, per_s, length.operations, length.seconds)))
                if nodes == sizes[-1]:
                    first = points[mix][0]
                    load = _load(shares, first.per_s / first.nodes * nodes, length.operations, length.seconds)
                    same_rate[mix] = _point(fleet, load)
            idle.append(fleet.idle(length.idle_s))
            if nodes in (sizes[0], sizes[-1]):
                fleet.make_later(length.change_s / 10)
                changed.append(_point(fleet, Load(shares=MIXES["C"], per_s=per_s, seconds=length.change_s)))
        for mix in MIXES:
            progress(f"{nodes} nodes, mix {mix}: {_line(points[mix][-1])}")
    prices_us = {mix: {kind: ns / 1e3 for kind, ns in prices.items()} for mix, prices in asked.items()}
    return Grown(
        times=times, prices_us=prices_us, points=points, same_rate=same_rate, changed=changed, idle=idle
    )  # fmt: skip


def _point(fleet: Fleet, load: Load) -> Point:
    with collected():
        return Point(nodes=fleet.nodes, per_s=load.per_s, outcome=fleet.run(load))


def _prepared(fleet: Fleet, shares: Mapping[Kind, float], per_s: float, asked: Prices | None, operations: int) -> float:
    """Give the fleet its prices, and return the rate at which its loops are busy for `SHARE` of the time. The first
    fleet (`asked` of None) begins with a guess and looks twice."""
    meter = fleet.meter
    for _ in range(2 if asked is None else 1):
        meter.prices = None
        with collected():
            fleet.run(_load(shares, per_s, operations))
            here = {kind: took_ns // meter.counts[kind] for kind, took_ns in meter.took_ns.items()}
            meter.prices = {**here, **(asked or {})}
            busy = statistics.fmean(fleet.run(_load(shares, per_s, operations)).busy)
        per_s *= SHARE / busy
    return per_s


def _load(shares: Mapping[Kind, float], per_s: float, operations: int, shortest_s: float = 0.0) -> Load:
    return Load(shares=shares, per_s=per_s, seconds=max(shortest_s, operations / per_s))


# --- telling ----------------------------------------------------------------------------------------------------------


def growth(points: Sequence[Point], name: str) -> float | None:
    """How many times as long the 99th percentile of `name` is in the largest fleet as in the smallest; None where one
    of them has too few to have one."""
    first, last = (point.outcome.kinds.get(name) for point in (points[0], points[-1]))
    if first is None or last is None or min(first.count, last.count) < _ENOUGH:
        return None
    return last.p99 / first.p99


def _line(point: Point) -> str:
    low, middle, high = _busy(point)
    p99 = ", ".join(f"{kind} {point.outcome.kinds[kind].p99:.2f}" for kind in _KINDS if kind in point.outcome.kinds)
    return f"{point.per_s:,.0f}/s, busy {low:.0%}, {middle:.0%}, {high:.0%}; p99 in ms: {p99}"


def _busy(point: Point) -> tuple[float, float, float]:
    busy = point.outcome.busy
    return min(busy), statistics.median(busy), max(busy)


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _told(taken: Record[Grown]) -> str:
    found = taken.found
    sizes = [point.nodes for point in found.points["C"]]
    parts = [_premises(found, sizes)]
    for mix, points in found.points.items():
        shares = ", ".join(f"{share:.0%} {_KINDS[kind]}" for kind, share in MIXES[mix].items())
        parts += [
            f"**Mix {mix}** ({shares}):",
            _fleets(points, found.idle),
            _latencies(points),
            f"![Latency in a growing fleet, mix {mix}](benchmarks/fleet-{mix.lower()}.svg)",
        ]
    return "\n\n".join(
        [*parts, _verdict(found), _at_the_same_rate(found), _own_work(found), _while_changing(found), _costs(found)]
    )


def _premises(found: Grown, sizes: Sequence[int]) -> str:
    jobs = sorted(found.times.log_job_us)
    job_p50, job_p99 = jobs[len(jobs) // 2] / 1e3, jobs[len(jobs) * 99 // 100] / 1e3
    low, high = NETWORK.delay_ns // MICROSECOND, (NETWORK.delay_ns + NETWORK.jitter_ns) // MICROSECOND
    return (
        "## A growing fleet\n\n"
        f"As in the figure of DynamoDB's paper (ATC 2022, §7) the fleet grows with its load. {sizes[0]} to "
        f"{sizes[-1]} nodes run the production code in virtual time (`gramme.sim`); for each node there is a table of "
        f"four partitions with {_ITEMS} items of 900 bytes, drawn uniformly. Operations arrive as a Poisson process, "
        "each at a node drawn evenly (the shared endpoint), at the rate that keeps loops busy for "
        f"{SHARE:.0%} of the time.\n\n"
        "*Simulated*: time, the network (uniformly "
        f"{low} to {high} µs one way between nodes, 50 to 250 µs between a client and a node), the order of things, "
        "and that a node is one loop which does one thing at a time: what comes meanwhile waits. Clients, and the log "
        "writers' processes, have processors of their own. *Measured* on this machine, in the same run: how long each "
        "kind of work holds a loop (production code, by its processor time in the simulator; sockets, HTTP, engine and "
        "the log writer's pipe, by the difference to real processes, see below; of each kind the mean), and how long "
        f"jobs of the log take ({len(jobs):,} times, drawn from: median {job_p50:.2f} ms, p99 {job_p99:.1f} ms). "
        "Nodes keep no objects. Latency is what a client sees, network included."
    )


def _fleets(points: Sequence[Point], idle: Sequence[float]) -> str:
    rows = [
        (
            point.nodes,
            f"{point.per_s:,.0f}",
            f"{point.per_s / point.nodes:,.0f}",
            f"{point.sent_on:.0%}",
            *(f"{share:.1%}" for share in _busy(point)),
            f"{own:.2%}",
            sum(point.outcome.kinds[kind].failed for kind in _KINDS if kind in point.outcome.kinds),
        )
        for point, own in zip(points, idle, strict=True)
    ]
    head = ("nodes", "operations/s", "a node", "sent on", "busy: least", "median", "most", "busy when idle", "failed")
    return markdown.table(head, rows, words=0)


def _latencies(points: Sequence[Point]) -> str:
    """A row for each kind, and for both of its ways; a cell has three percentiles."""
    rows = []
    for kind, said in _KINDS.items():
        for path in ("", *_PATHS):
            name = f"{kind}, {path}" if path else kind
            cells = [point.outcome.kinds.get(name) for point in points]
            if any(cells):
                told = f"- {path}" if path else said
                rows.append((told, *(_percentiles(cell) for cell in cells), _times(growth(points, name))))
    head = ("p50 / p99 / p99.9 in ms", *(f"{point.nodes} nodes" for point in points), "p99 grows")
    return markdown.table(head, rows)


def _percentiles(latency: Latency | None) -> str:
    if latency is None:
        return ""
    return " / ".join(map(markdown.ms, (latency.p50, latency.p99, latency.p999)))


def _verdict(found: Grown) -> str:
    """Which kinds keep to the goal, and why the others do not."""
    whole = {(mix, kind): growth(points, kind) for mix, points in found.points.items() for kind in _KINDS}
    kept = [f"{_KINDS[kind]} of {mix}" for (mix, kind), times in whole.items() if times and times <= GOAL]
    missed = [f"{_KINDS[kind]} of {mix}" for (mix, kind), times in whole.items() if times and times > GOAL]
    first, last = found.points["C"][0], found.points["C"][-1]
    return (
        f"Goal: from {first.nodes} to {last.nodes} nodes p99 grows at most {GOAL:g} times (told where there are "
        f"{_ENOUGH:,} operations). Kept by "
        f"{', '.join(kept) or 'none'}; missed by {', '.join(missed) or 'none'}. What grows with the fleet is the share "
        f"of operations that come to a node which cannot serve them (C: {first.sent_on:.0%} to {last.sent_on:.0%}; "
        "three nodes have every item each, so that no eventual read is sent on there). Those wait at two nodes, twice "
        "at the first, and cost both: hence the rows by way, and hence a node carries "
        f"{last.per_s / last.nodes / (first.per_s / first.nodes):.2f} of the operations of C that it carries in the "
        "smallest fleet. Updates wait for two of three disks, whose jobs of the log are drawn from the same times in "
        "every fleet: where those have a long tail, p99 of updates is theirs and says little of queues."
    )


def _at_the_same_rate(found: Grown) -> str:
    """The load in exact proportion to the nodes, which makes them busier."""
    told = []
    for mix, point in found.same_rate.items():
        points = [found.points[mix][0], point]
        grows = ", ".join(
            f"{_KINDS[kind]} {times:.2f}" for kind in _KINDS if (times := growth(points, kind)) is not None
        )
        borne, exact = (one.per_s / points[0].per_s for one in (found.points[mix][-1], point))
        told.append(
            f"{mix}: {borne:.1f} times the load above; at {exact:.0f} times loops are "
            f"busy for {_busy(point)[1]:.0%} of the time, and p99 grows: {grows}"
        )
    return f"So the load of equally busy nodes grows by less than their number. {'. '.join(told)}."


def _own_work(found: Grown) -> str:
    """What nodes do without being asked, and why it grows."""
    first, last = found.points["C"][0].nodes, found.points["C"][-1].nodes
    a_peer = (found.idle[-1] - found.idle[0]) / (last - first)
    return (
        f"A node that nobody asks for anything is busy for {found.idle[0]:.2%} of the time among {first} and for "
        f"{found.idle[-1]:.2%} among {last}: {a_peer:.3%} for each peer, nearly all of it leases, which any two nodes "
        "give each other. Renewals for all peers fall due together and leave in one turn, a frame for each: what waits "
        "behind them is in the highest percentiles of the largest fleet ([bench](design/bench.md))."
    )


def _while_changing(found: Grown) -> str:
    """What a change of the catalog does to everybody."""
    told = []
    for point in found.changed:
        calm = next(one for one in found.points["C"] if one.nodes == point.nodes)
        asked = point.outcome.parts.get("Forward of DescribeTable", 0.0) * point.outcome.operations
        p99s = (calm.outcome.kinds["strong"].p99, point.outcome.kinds["strong"].p99)
        told.append(
            f"{markdown.ms(p99s[0])} to {markdown.ms(p99s[1])} ms among {point.nodes} nodes, the longest one "
            f"{markdown.ms(point.outcome.kinds['strong'].longest)} ms ({asked:,.0f} DescribeTable)"
        )
    return (
        "**A change of the catalog** is to concern those who use the table that changed, and nobody else (decision "
        "[0108](decisions/0108-which-tables-changed.md), with what it was before and after). In "
        f"{found.changed[-1].outcome.operations / found.changed[-1].per_s:.0f} seconds of C in which one table is "
        f"made that nobody uses, p99 of strong reads goes from {'; from '.join(told)}."
    )


def _costs(found: Grown) -> str:
    loads = [(one.name, f"{one.real_us:.0f}", f"{one.simulated_us:.0f}") for one in found.times.compared]
    extra = ", ".join(f"{kind} {us:.0f}" for kind, us in found.times.extra_us.items())
    prices = sorted(found.prices_us["A"].items(), key=lambda entry: -entry[1])
    check = found.times.compared[-1]
    return "\n\n".join(
        (
            "Where the service times come from: µs of processor time for an operation, of all loops together. Each of "
            "the first loads says what the simulated nodes lack; the last one is the check, of which nothing was taken "
            f"(simulated {check.simulated_us / check.real_us - 1:+.0%}).",
            markdown.table(("load", "real nodes", "simulated, before it says anything"), loads),
            f"Added, µs each: {extra}. Measured in the simulator under A, µs each: "
            f"{', '.join(f'{kind} {us:.0f}' for kind, us in prices if us >= 1)}.",
        )
    )


def _pictures(found: Grown) -> dict[str, str]:
    return {f"fleet-{mix.lower()}.svg": _picture(mix, points) for mix, points in found.points.items()}


def _picture(mix: str, points: Sequence[Point]) -> str:
    kinds = [kind for kind in _KINDS if kind in points[0].outcome.kinds]
    lines = [
        Line(
            f"{_KINDS[kind]}, {said}",
            [(point.nodes, getattr(point.outcome.kinds[kind], percentile)) for point in points],
            COLOURS[2 * number + (percentile == "p99")],
        )
        for number, kind in enumerate(kinds)
        for percentile, said in (("p50", "median"), ("p99", "99th percentile"))
    ]
    highest = ticks(max(y for line in lines for _, y in line.points))
    sizes = [point.nodes for point in points]
    x = Axis("nodes; the load grows with them", sizes[0], sizes[-1], sizes, logarithmic=True)
    return chart(f"Latency in a growing fleet, mix {mix}", x, Axis("ms", 0, highest[-1], highest), lines)


SECTION: Final = Section("fleet", Grown, measure, _told, _pictures)
