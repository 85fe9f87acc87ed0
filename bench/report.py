"""What is written about the figures: `docs/benchmarks.md`, its picture, and the numbers themselves as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench import stream_lag, wrk
from bench.failover import Gaps
from bench.machine import Machine
from bench.plot import Bar, Dots, Panel, draw
from bench.rolling import TABLES, Pauses
from bench.stream_lag import Lag
from bench.throughput import CEILING, Measured
from bench.transactions import CLIENTS, HOT_ITEMS, Pair, Transactions
from bench.wrk import Load
from gramme.bench import elections, report

_BUSY_LOAD: Final = 0.5
_BUSY: Final = " (other programs were competing for the cores and the disk: read the figures as lower bounds)"
_FLOORS: Final = {"embedded: GetItem": 10_000, "embedded: PutItem": 3_000}


_FIGURE_8: Final = (
    "**The paper's Figure 8** (`gramme bench ring`, nothing random but the seeded tokens; "
    "[how it was read](decisions/0080-figure-8-again.md)): every point within 0.02.\n\n"
    "![Load balance of three strategies](benchmarks-ring.svg)"
)


class Elections(msgspec.Struct, frozen=True):
    """What `gramme bench elections` found, `minutes` of virtual time with each of `seeds` seeds."""

    date: str
    commit: str
    minutes: float
    seeds: int
    rows: list[elections.Row]


class Results(msgspec.Struct, frozen=True):
    """Everything that one `make bench` found."""

    date: str
    command: str
    rounds: int
    seconds: float
    machine: Machine
    throughput: list[Measured]
    failover: Gaps | None
    stream_lag: Lag | None = None
    transactions: Transactions | None = None
    rolling: Pauses | None = None
    elections: Elections | None = None


def write(results: Results, file: Path) -> None:
    """Write the page, and beside it the picture (.svg) and the numbers (.json) under the same name."""
    objects = report.read(file.parent) if (file.parent / f"{report.NAME}.json").exists() else None
    file.write_text(page(results, file.stem, objects), encoding="utf-8")
    file.with_suffix(".svg").write_text(_picture(results), encoding="utf-8")
    numbers = msgspec.json.format(msgspec.json.encode(results), indent=1)
    file.with_suffix(".json").write_bytes(numbers + b"\n")


def read(file: Path) -> Results:
    """What `write` wrote there last."""
    return msgspec.json.decode(file.with_suffix(".json").read_bytes(), type=Results)


def floors_missed(results: Results) -> list[str]:
    """One line for each floor of issue 2 that the medians do not reach."""
    missed = []
    for measured in results.throughput:
        floor = _FLOORS.get(measured.name)
        median = _median(measured.loads, lambda load: load.per_s)
        if floor is not None and median < floor:
            missed.append(f"{measured.name}: {median:,.0f}/s is below the floor of {floor:,}/s")
    return missed


def page(results: Results, name: str, objects: report.Objects | None = None) -> str:
    """The Markdown page; `objects` is measured by itself (`--only objects`)."""
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"Written by `{results.command}` on {results.date}; do not edit. [Every round's numbers]({name}.json).",
            "",
            f"![Throughput, failover and transactions]({name}.svg)",
            "",
            *_throughput(results),
            *_failover(results.failover),
            *_rolling(results.rolling),
            *_elections(results.elections),
            *_stream_lag(results.stream_lag),
            *_transactions(results.transactions),
            *_objects(objects),
            *_machine(results.machine),
        ]
    )


def _throughput(results: Results) -> list[str]:
    if not results.throughput:
        return []
    ceiling = next((_median(m.loads, lambda load: load.per_s) for m in results.throughput if m.name == CEILING), 0.0)
    lines = [
        "## Throughput and latency",
        "",
        f"`wrk` with one thread and {wrk.CONNECTIONS} connections; {wrk.ITEMS:,} items of {wrk.ITEM_BYTES} bytes; "
        "every PutItem is fsynced (on a majority of the nodes, where there are three) before it is acknowledged. "
        f"{results.rounds} rounds of {results.seconds:.0f} s, scenarios in turn; medians, and in brackets the lowest "
        "and highest round. Load generator and all node processes share the machine's cores. The ceiling is a server "
        "that parses HTTP and answers the same bytes every time, nothing else.",
        "",
        "| scenario | requests/s | of the ceiling | p50 ms | p99 ms | p99.9 ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for measured in results.throughput:
        loads = measured.loads
        per_s = sorted(load.per_s for load in loads)
        ratio = f"{statistics.median(per_s) / ceiling:.0%}" if ceiling else ""
        spread = f"{statistics.median(per_s):,.0f} ({per_s[0]:,.0f} to {per_s[-1]:,.0f})"
        latencies = [f"{_median(loads, pick) / 1e3:.2f}" for pick in _LATENCIES]
        lines.append(f"| {measured.name} | {spread} | {ratio} | {' | '.join(latencies)} |")
    return [*lines, ""]


_LATENCIES: Final[tuple[Callable[[Load], float], ...]] = (
    lambda load: load.p50_us,
    lambda load: load.p99_us,
    lambda load: load.p999_us,
)


def _failover(gaps: Gaps | None) -> list[str]:
    if gaps is None:
        return []
    lines = [
        "## Failover",
        "",
        "Default settings (grants of 1.5 s). Four clients write to one partition through the shared endpoint; its "
        "leader is killed (`SIGKILL`) or told to stop (`SIGTERM`). The gap is the longest time without an acknowledged "
        "write.",
        "",
        "| leader is | times | median ms | lowest | highest |",
        "|---|---:|---:|---:|---:|",
    ]
    for what, values in (("killed", gaps.kills_s), ("told to stop", gaps.stops_s)):
        if values:
            figures = (statistics.median(values), min(values), max(values))
            lines.append(f"| {what} | {len(values)} | {' | '.join(f'{value * 1e3:,.0f}' for value in figures)} |")
    return [*lines, ""]


def _rolling(pauses: Pauses | None) -> list[str]:
    if pauses is None:
        return []
    lines = [
        "## Rolling restart",
        "",
        f"`gramme cluster restart --rolling` of three nodes under default boto3 clients: {len(TABLES)} tables of one "
        "partition, two threads writing and reading each, one doing transactions over all. The pause is the longest "
        "time between two acknowledged writes of a partition while one node goes and comes back. Measured on "
        f"{pauses.date} at commit {pauses.commit}, load average before {pauses.load:.1f}: "
        f"{pauses.requests:,} requests, {pauses.errors} errors; a node was back and ready after "
        f"{statistics.median(pauses.restarts_s):.1f} s (median).",
        "",
        "| partitions | times | median ms | p90 ms | longest ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for what, values in (("led by the node that is restarted", pauses.led_ms), ("the others", pauses.others_ms)):
        if values:
            p90 = statistics.quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]
            lines.append(
                f"| {what} | {len(values)} | {statistics.median(values):,.0f} | {p90:,.0f} | {max(values):,.0f} |"
            )
    return [*lines, ""]


def _elections(found: Elections | None) -> list[str]:
    if found is None:
        return []
    return [
        "## Elections",
        "",
        "`gramme bench elections`: three production nodes in virtual time, five groups, node 0 at one end of every "
        "fault; changes of leader and ballots per hour, all groups together, with the poll of peers before a campaign "
        "and without it; the longest time in which no write of some key succeeded by way of any node (writes are half "
        "a second apart at each node); requests that were refused. "
        f"{found.minutes:.0f} virtual minutes with each of {found.seeds} seeds, on {found.date} at commit "
        f"{found.commit}; the same seeds give the same figures.",
        "",
        elections.table(found.rows),
        "",
    ]


def _stream_lag(lag: Lag | None) -> list[str]:
    if lag is None:
        return []
    lines = [
        "## Stream lag",
        "",
        f"From sending a write (PutItem, {stream_lag.WRITES_PER_S} a second, through the shared endpoint of three "
        "nodes) to receiving its record from GetRecords, at the node that leads the item's partition and at the other "
        f"two; readers pause {stream_lag.POLL_S * 1e3:.0f} ms after an empty answer. Measured on {lag.date} at commit "
        f"{lag.commit}, load average before {lag.load:g}.",
        "",
        "| read at | records | p50 ms | p90 ms | p99 ms | longest ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for where, spread in (("the leader", lag.leader), ("a follower", lag.follower)):
        figures = [f"{spread.percentiles_ms[percent]:,.0f}" for percent in (50, 90, 99, 100)]
        lines.append(f"| {where} | {spread.count:,} | {' | '.join(figures)} |")
    return [*lines, ""]


def _transactions(found: Transactions | None) -> list[str]:
    if found is None:
        return []
    lines = [
        "## Transactions",
        "",
        f"Three nodes, shared endpoint, items of 900 bytes over four partitions; measured on {found.date} at commit "
        f"{found.commit}, load average {found.load:g}. One connection sends a transaction and the plain requests for "
        "the same items in turn: GetItem and PutItem of one item, else BatchGetItem and BatchWriteItem (four of them "
        "for 100 puts). Medians of the rounds, in brackets the lowest and highest ratio. The paper has just under 2 "
        "for reads of one item and about 4 for writes; here, items of one partition need no second round and no "
        "prepare.",
        "",
        "| | items | transaction ms | plain ms | ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    for cost in found.costs:
        transaction, plain = (statistics.median(figures) for figures in zip(*map(_pair_ms, cost.pairs), strict=True))
        ratios = sorted(pair.ratio for pair in cost.pairs)
        ratio = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
        lines.append(f"| {cost.kind} | {cost.items} | {transaction:.1f} | {plain:.1f} | {ratio} |")
    lines += [
        "",
        f"{CLIENTS} clients each update {HOT_ITEMS} items, drawn from so many, in one transaction after the other, "
        "and never wait before the next one:",
        "",
        "| keys | committed/s | canceled |",
        "|---:|---:|---:|",
    ]
    for one in found.contention:
        committed, canceled = statistics.median(one.committed_per_s), statistics.median(one.canceled)
        lines.append(f"| {one.keys:,} | {committed:,.0f} | {canceled:.1%} |")
    return [*lines, ""]


def _objects(found: report.Objects | None) -> list[str]:
    return [] if found is None else ["## Objects", "", _FIGURE_8, "", report.section(found)]


def _pair_ms(pair: Pair) -> tuple[float, float]:
    return pair.transaction_ms, pair.plain_ms


def _machine(machine: Machine) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return [
        "## Measured on",
        "",
        f"- {machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB of memory, {machine.kernel}",
        f"- disk: {machine.syncs_per_s:,} sequential writes of 1 KiB with fdatasync in a second",
        f"- Python {machine.python}, {packages}; commit {machine.commit}",
        f"- load average before the run: {machine.load:g}{_BUSY if machine.load > _BUSY_LOAD else ''}",
        "",
    ]


def _picture(results: Results) -> str:
    bars = []
    for measured in results.throughput:
        if measured.name != CEILING:
            bars.append(_bar(measured.name, [load.per_s for load in measured.loads]))
    dots = []
    if results.failover is not None:
        for what, values in (("killed", results.failover.kills_s), ("told to stop", results.failover.stops_s)):
            dots.append(Dots(f"leader {what}", [value * 1e3 for value in values]))
    ratios, canceled = [], []
    if results.transactions is not None:
        for cost in results.transactions.costs:
            ratios.append(_bar(f"{cost.kind} of {cost.items}", [pair.ratio for pair in cost.pairs]))
        for one in results.transactions.contention:
            canceled.append(_bar(f"{HOT_ITEMS} of {one.keys:,} keys", [100 * share for share in one.canceled]))
    return draw(
        [
            Panel("Requests per second", bars),
            Panel("Failover gap in milliseconds (the longest is written out)", dots),
            Panel("Latency of a transaction, in times of the plain requests for its items", ratios),
            Panel(f"Transactions canceled by conflicts among {CLIENTS} clients, in percent", canceled),
        ]
    )


def _bar(label: str, values: Sequence[float]) -> Bar:
    return Bar(label, min(values), statistics.median(values), max(values))


def _median(loads: Sequence[Load], pick: Callable[[Load], float]) -> float:
    return statistics.median(pick(load) for load in loads)
