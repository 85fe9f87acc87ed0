"""What it costs when nothing happens: three nodes with 1,000 replication groups, and an embedded node's start.

Processor time is counted by the kernel, so a busy machine changes it little. Source: issue 7, "Idle costs little" (rows
B19, C15): under 5 % of one core together; an embedded node starts in 0.5 s and idles under 80 MB.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from gramme.bench import loading, markdown, usage
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.outages import wait_until
from gramme.bench.records import Record, Run, Section
from gramme.testing import Cluster, cluster, server

GROUPS: Final = 1_000
_TABLES: Final = 25
_UNITS: Final = 1_000  # write units that one partition takes
_SETTLE_S: Final = 10.0
_LIMIT_S: Final = 300.0
_WINDOW_S: Final = 30.0


class Idle(msgspec.Struct, frozen=True):
    """Parts of one core that three nodes use together, with as many groups; seconds from the start of an embedded
    node's process to its ready line, with an empty directory, and its memory (MB) then and later."""

    groups: int
    share: float
    empty_groups: int
    empty_share: float
    node_memory_mb: list[float]
    starts_s: list[float]
    started_mb: float
    idle_mb: float
    embedded_share: float


def measure(run: Run) -> Idle:
    """The windows are `_WINDOW_S` long whatever `seconds` is; `rounds` starts after one that compiles to bytecode."""
    starts: list[float] = []
    for round_ in range(-1, run.rounds):
        started = time.monotonic()
        with server(in_memory=False, data_dir=run.directory / f"embedded-{round_}", test_controls=False) as node:
            starts.append(time.monotonic() - started)
            at_first = usage.resident_mb(node.pid)
            if round_ == run.rounds - 1:
                embedded = usage.core_share([node.pid], _SETTLE_S)
                later = usage.resident_mb(node.pid)
    del starts[0]
    run.progress(f"embedded: starts in {', '.join(f'{one:.2f}' for one in starts)} s, {later:.0f} MB")
    with cluster(3, directory=run.directory / "idle", test_controls=False) as three:
        pids = _pids(three)
        time.sleep(_SETTLE_S)
        empty, empty_share = _groups(three), usage.core_share(pids, _WINDOW_S)
        run.progress(f"{empty} groups: {empty_share:.1%} of a core")
        _make(three)
        time.sleep(_SETTLE_S)
        groups, share = _groups(three), usage.core_share(pids, _WINDOW_S)
        run.progress(f"{groups} groups: {share:.1%} of a core")
        memory = [usage.resident_mb(pid) for pid in pids]
    return Idle(groups, share, empty, empty_share, memory, starts, at_first, later, embedded)


def _pids(three: Cluster) -> list[int]:
    return [node.pid for node in three.status().nodes if node.pid is not None]


def _groups(three: Cluster) -> int:
    return sum(len(entry.partitions) for entry in three.status().tables)


def _make(three: Cluster) -> None:
    """Tables of many partitions, until there are `GROUPS` groups that are led."""
    units = {"ReadCapacityUnits": 1, "WriteCapacityUnits": _UNITS * (GROUPS // _TABLES)}
    for number in range(_TABLES):
        requests = TableRequests(three.endpoint_url, f"idle-{number}", Shape())
        loading.create(three.endpoint_url, requests.definition({"ProvisionedThroughput": units}))
    wait_until(lambda: _all_led(three), f"all of {GROUPS} groups have a leader", _LIMIT_S, 1)


def _all_led(three: Cluster) -> bool:
    return all(partition.leader is not None for table in three.status().tables for partition in table.partitions)


def _told(taken: Record[Idle]) -> str:
    found = taken.found
    rows = [
        (f"three nodes, {found.empty_groups} groups", f"{found.empty_share:.1%}", "", ""),
        (
            f"three nodes, {found.groups:,} groups",
            f"{found.share:.1%}",
            ", ".join(f"{one:,.0f}" for one in found.node_memory_mb),
            "",
        ),
        (
            "embedded node",
            f"{found.embedded_share:.1%}",
            f"{found.started_mb:,.0f}, later {found.idle_mb:,.0f}",
            markdown.spread(found.starts_s, ".2f"),
        ),
    ]
    return "\n\n".join(
        (
            "## Idle",
            "Nobody asks for anything: processor time of all processes together over "
            f"{_WINDOW_S:.0f} s ({_SETTLE_S:.0f} s for the embedded node), memory, and seconds until an embedded node "
            "with an empty directory is ready, the Python interpreter's start included, sources compiled to "
            "bytecode by an earlier start. Goals: 5 % with 1,000 groups; 0.5 s and 80 MB.",
            markdown.table(("", "of one core", "memory MB", "start s"), rows),
        )
    )


SECTION: Final = Section("idle", Idle, measure, _told)
