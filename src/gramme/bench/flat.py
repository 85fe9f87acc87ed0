"""How latency grows with the offered load: an embedded node, open loop from 10 % to 70 % of the most it can take.

The most is what the same generator gets answered in a closed loop of 64 connections; operations arrive as a Poisson
process, latency counts from their intended start. The generator is first shown to sustain twice the highest rate.
Source: issue 7, "Flat" (p99 of reads under 2 ms and at most 5 times as long at 70 % as at 10 %, of writes under 5 ms
and 2.5 times).
"""

from __future__ import annotations

import statistics
from typing import Final

import msgspec
from msgspec.structs import replace

from gramme.bench import generator, loading, markdown, ycsb
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.endpoint_load import Check, Outcome, checked, opened
from gramme.bench.lines import Axis, Line, chart, ticks
from gramme.bench.records import Record, Run, Section, short
from gramme.bench.svg import COLOURS
from gramme.testing import server

SHARES: Final = (10, 20, 30, 40, 50, 60, 70)
CONNECTIONS: Final = 64
_KINDS: Final = {"get": "reads (GetItem)", "put": "writes (PutItem)"}
_GOALS: Final = {"get": (2.0, 5.0), "put": (5.0, 2.5)}
_REQUESTS: Final = 40_000


class Curve(msgspec.Struct, frozen=True):
    """One kind of request. `most_per_s` of each round; `rounds`: an outcome for each of `SHARES`, per cent of it."""

    workload: str
    most_per_s: list[float]
    rounds: list[list[Outcome]]
    check: Check


def measure(run: Run) -> list[Curve]:
    """Half of `seconds` at each rate, `rounds` times from the lowest to the highest."""
    run = replace(run, seconds=short(run.seconds))
    with server(in_memory=False, data_dir=run.directory / "flat", test_controls=False) as node:
        requests = loading.make(node.endpoint_url, "flat", Shape())
        return [_curve(workload, node.endpoint_url, requests, run) for workload in _KINDS]


def _curve(workload: str, url: str, requests: TableRequests, run: Run) -> Curve:
    most, rounds, check = [], [], None
    for round_ in range(run.rounds):
        prepared = ycsb.prepare(ycsb.WORKLOADS[workload], requests, 1 + round_, _REQUESTS)
        full = generator.run(url, prepared, seconds=run.seconds, connections=CONNECTIONS)
        most.append(full.per_s)
        if check is None:
            check = checked(prepared, 2 * max(SHARES) / 100 * full.per_s)
        outcomes = [
            opened(
                url, prepared, share / 100 * full.per_s, run.seconds,
                arrivals="poisson", connections=CONNECTIONS, seed=1 + round_,
            )
            for share in SHARES
        ]  # fmt: skip
        rounds.append(outcomes)
        run.progress(
            f"{_KINDS[workload]}, round {round_ + 1}: at most {full.per_s:,.0f}/s; p99 in ms from {SHARES[0]} to "
            f"{SHARES[-1]} %: {', '.join(f'{one.latency.p99:.2f}' for one in outcomes)}"
        )
    assert check is not None
    return Curve(workload, most, rounds, check)


def _median(curve: Curve, at: int, percentile: str) -> float:
    values: list[float] = [getattr(outcomes[at].latency, percentile) for outcomes in curve.rounds]
    return statistics.median(values)


def _typical(curve: Curve, at: int) -> float:
    return _median(curve, at, "p50")


def _known(curve: Curve) -> bool:
    """Whether it was watched when the machine stood still."""
    return all(one.steady for outcomes in curve.rounds for one in outcomes)


def _steady(curve: Curve, at: int) -> float:
    """p99 without the moments in which the machine stood still; all of it where these are not known."""
    return statistics.median((one.steady or one.latency).p99 for one in (outcomes[at] for outcomes in curve.rounds))


def _beside(curve: Curve, at: int, seconds: float) -> tuple[str, str]:
    """The steady p99 and the share of the time in which the machine stood still, if these are known."""
    if not _known(curve):
        return "not known", "not known"
    stopped_ms = statistics.median(outcomes[at].stopped_ms or 0.0 for outcomes in curve.rounds)
    return markdown.ms(_steady(curve, at)), f"{stopped_ms / 1e3 / seconds:.1%}"


def _told(taken: Record[list[Curve]]) -> str:
    parts = [
        "## Latency under a growing load",
        f"Embedded node, 10,000 items of 900 bytes, every write fsynced; open loop (Poisson arrivals, {CONNECTIONS} "
        f"connections, latency from the intended start) at {SHARES[0]} to {SHARES[-1]} % of what a closed loop of as "
        f"many connections gets answered. {taken.rounds} rounds of {short(taken.seconds):.0f} s at each rate, "
        "medians, ms. *Steady* is the p99 without the tenths of a second in which the machine itself stood still for "
        "2 ms or more (a real-time process that only sleeps was not woken: its host stopped it), nor the next ones. "
        "What that process cost before it slept longer: decision 0111.",
    ]
    for curve in taken.found:
        kind, (longest, growth) = _KINDS[curve.workload], _GOALS[curve.workload]
        rows = [
            (f"{share} %", f"{share / 100 * statistics.median(curve.most_per_s):,.0f}",
             *(markdown.ms(_median(curve, at, name)) for name in ("p50", "p99", "p999")),
             *_beside(curve, at, short(taken.seconds)))
            for at, share in enumerate(SHARES)
        ]  # fmt: skip
        p99 = [_steady(curve, at) for at in range(len(SHARES))]
        name = "Steady p99" if _known(curve) else "p99"
        kept = "which it sustained" if curve.check.sustained else "which it did **not** sustain"
        parts += [
            f"**{kind[:1].upper()}{kind[1:]}**, at most {markdown.spread(curve.most_per_s)}/s:",
            markdown.table(("load", "offered/s", "p50", "p99", "p99.9", "steady p99", "stood still"), rows),
            f"{name} grows {p99[-1] / max(1e-9, p99[0]):.1f} times (goal {growth:g}) to {markdown.ms(p99[-1])} ms "
            f"(goal {longest:g}). The generator was offered {curve.check.offered_per_s:,.0f}/s against a server that "
            f"does nothing, {kept} ({curve.check.answered_per_s:,.0f}/s answered, 99.9 % sent within "
            f"{markdown.ms(curve.check.late_ms)} ms).",
        ]
    return "\n\n".join([*parts, "![Latency by load](benchmarks/flat.svg)"])


def _pictures(found: list[Curve]) -> dict[str, str]:
    lines = [
        Line(
            f"{_KINDS[curve.workload]}, {name}",
            [(share, of(curve, at)) for at, share in enumerate(SHARES)],
            COLOURS[2 * number + place],
        )
        for number, curve in enumerate(found)
        for place, (name, of) in enumerate((("median", _typical), ("99th percentile, steady", _steady)))
    ]
    highest = ticks(max(y for line in lines for _, y in line.points))
    x = Axis("offered load, % of the most", 0, 80, SHARES)
    return {"flat.svg": chart("Latency under a growing load", x, Axis("ms", 0, highest[-1], highest), lines)}


SECTION: Final = Section("flat", list[Curve], measure, _told, _pictures)
