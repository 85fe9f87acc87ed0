"""What a growing table costs: throughput, memory and disk of an embedded node from 10,000 items on.

At each size, items are added up to it; then, once the engine has come to rest (it is restarted, so that everything is
flushed, and uses next to no processor), GetItem and PutItem over all keys. What is measured right after the load, with
compactions going on, is reported apart, as is the time until they end. Rule: a list of requests is longer than its
run, so that no key comes again because the list does, and no two lists that follow one another are the same. Source:
issue 7, "Flat" (at most 30 % less from 10,000 to 5,000,000 items; under 1 GB of memory).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from gramme.bench import loading, markdown, usage, ycsb
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.endpoint_load import Outcome, closed
from gramme.bench.lines import Axis, Line, chart, ticks
from gramme.bench.prepared import Prepared
from gramme.bench.records import Record, Run, Section
from gramme.bench.svg import COLOURS
from gramme.testing import Server, server

SIZES: Final = (10_000, 100_000, 1_000_000, 5_000_000)
_READS_PER_S: Final = 80_000  # of what is prepared; more than a node answers
_WRITES_PER_S: Final = 20_000
_WARM_UP_S: Final = 3.0
_QUIET_LIMIT_S: Final = 600.0
_START_LIMIT_S: Final = 120.0
_READ_BYTES: Final = 1 << 20


class Size(msgspec.Struct, frozen=True):
    """With so many items. `busy_get` and `busy_put`: right after the load, with what it left to be compacted, which
    ended `settled_s` after the load (`quiet`: it did). Memory in megabytes, the log writer's process included: the most
    that was ever resident before the restart, and what is after the measurements behind it."""

    items: int
    loaded_per_s: float
    busy_get: Outcome
    busy_put: Outcome
    settled_s: float
    quiet: bool
    highest_mb: float
    get: Outcome
    put: Outcome
    restarted_mb: float
    restart_s: float
    disk_mb: float


def measure(run: Run) -> list[Size]:
    """`seconds` for each figure, at every size up to `run.items`, once: a table grows only once."""
    data = run.directory / "growth"
    found: list[Size] = []
    with server(in_memory=False, data_dir=data, test_controls=False) as node:
        requests = TableRequests(node.endpoint_url, "grown", Shape(records=0))
        loading.create(node.endpoint_url, requests.definition(loading.ON_DEMAND))
        there = 0
        for items in [size for size in SIZES if size <= run.items]:
            found.append(_size(node, data, range(there, items), run))
            there = items
            one = found[-1]
            run.progress(
                f"{items:,} items: {one.get.per_s:,.0f} GetItem/s, {one.put.per_s:,.0f} PutItem/s, at most "
                f"{one.highest_mb:,.0f} MB; loaded at {one.loaded_per_s:,.0f}/s, at rest {one.settled_s:.0f} s later"
            )
    return found


def _size(node: Server, data: Path, new: range, run: Run) -> Size:
    requests = TableRequests(node.endpoint_url, "grown", Shape(records=new.stop))
    reads, writes = (_list(requests, name, 1, run.seconds) for name in ("get", "put"))
    started = time.monotonic()
    loading.fill(node.endpoint_url, requests, new)
    loaded = time.monotonic()
    busy_get = closed(node.endpoint_url, reads, run.seconds)
    busy_put = closed(node.endpoint_url, writes, run.seconds)
    quiet = usage.await_quiet([node.pid], _QUIET_LIMIT_S)
    settled = time.monotonic()
    highest = usage.highest_mb(node.pid)
    node.stop()
    stopped = time.monotonic()
    node.start(_START_LIMIT_S)
    restarted = time.monotonic()
    usage.await_quiet([node.pid], _QUIET_LIMIT_S)
    _read_through(data)
    closed(node.endpoint_url, reads, _WARM_UP_S)
    get = closed(node.endpoint_url, _list(requests, "get", 2, run.seconds), run.seconds)
    put = closed(node.endpoint_url, _list(requests, "put", 2, run.seconds), run.seconds)
    return Size(
        items=new.stop,
        loaded_per_s=len(new) / (loaded - started),
        busy_get=busy_get,
        busy_put=busy_put,
        settled_s=settled - loaded,
        quiet=quiet,
        highest_mb=highest,
        get=get,
        put=put,
        restarted_mb=usage.resident_mb(node.pid),
        restart_s=restarted - stopped,
        disk_mb=sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) / 1e6,
    )


def _read_through(directory: Path) -> None:
    """So that the files are in the page cache, whatever the machine has taken back while the node was loaded."""
    for path in directory.rglob("*.sst"):
        with path.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass


def _list(requests: TableRequests, name: str, seed: int, seconds: float) -> Prepared:
    per_s = _READS_PER_S if name == "get" else _WRITES_PER_S
    return ycsb.prepare(ycsb.WORKLOADS[name], requests, seed, int(per_s * max(seconds, _WARM_UP_S)))


def _told(taken: Record[list[Size]]) -> str:
    first = taken.found[0]
    rows = [
        (
            f"{one.items:,}",
            *(
                f"{mine.per_s:,.0f} ({mine.per_s / base.per_s:.2f})"
                for mine, base in ((one.get, first.get), (one.put, first.put))
            ),
            f"{one.restart_s:.1f} s",
            f"{one.highest_mb:,.0f} → {one.restarted_mb:,.0f}",
            f"{one.disk_mb:,.0f}",
        )
        for one in taken.found
    ]
    head = ("items", "GetItem/s", "PutItem/s", "restart", "memory MB: at most → after a restart", "disk MB")
    busy = [
        (
            f"{one.items:,}",
            f"{one.loaded_per_s:,.0f}",
            *map(_busy, (one.busy_get, one.busy_put)),
            f"{one.settled_s:.0f} s" if one.quiet else f"not within {one.settled_s:.0f} s",
        )
        for one in taken.found
    ]
    busy_head = ("items", "loaded/s", "GetItem/s", "PutItem/s", "compactions ended after")
    return "\n\n".join(
        (
            "## A growing table",
            f"Embedded node on disk, items of 900 bytes, 16 connections, keys drawn uniformly from all; "
            f"{taken.seconds:.0f} s for each figure. GetItem and PutItem flushed and quiet: after a restart, once no "
            "compaction runs any more and the files were read once (some machines take back page cache that nobody "
            "used for a minute); in brackets the part of what the smallest table gives (goal 0.7; memory: goal 1,000 "
            "MB). One run.",
            markdown.table(head, rows, words=0),
            "While it is loaded (BatchWriteItem) and right after that, with what the load left to be compacted; in "
            "brackets p99 and the longest in ms, which a stalled engine would show:",
            markdown.table(busy_head, busy, words=0),
            "![Throughput by size](benchmarks/growth.svg)",
        )
    )


def _busy(outcome: Outcome) -> str:
    latency = outcome.latency
    failed = f"; {latency.failed:,} failed" if latency.failed else ""
    return f"{outcome.per_s:,.0f} ({markdown.ms(latency.p99)}, {markdown.ms(latency.longest)}{failed})"


def _pictures(found: list[Size]) -> dict[str, str]:
    lines = [
        Line("GetItem", [(one.items, one.get.per_s) for one in found], COLOURS[0]),
        Line("PutItem", [(one.items, one.put.per_s) for one in found], COLOURS[4]),
    ]
    highest = ticks(max(y for line in lines for _, y in line.points))
    sizes = [one.items for one in found]
    x = Axis("items (logarithmic)", sizes[0], max(sizes[-1], sizes[0] + 1), sizes, logarithmic=True)
    return {"growth.svg": chart("A growing table", x, Axis("requests/s", 0, highest[-1], highest), lines)}


SECTION: Final = Section("growth", list[Size], measure, _told, _pictures)
