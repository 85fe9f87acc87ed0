"""The six YCSB workloads on the embedded node, uniform and zipfian keys, closed loop; and what boto3 sees of two.

D keeps its own distribution (the latest). Each workload has a table of its own, loaded before it.
"""

from __future__ import annotations

import statistics
from typing import Final

import msgspec

from gramme.bench import endpoint_load, markdown, ycsb
from gramme.bench.endpoint_load import Options, Outcome
from gramme.bench.records import Record, Run, Section, short
from gramme.testing import server

_WORKLOADS: Final = ("a", "b", "c", "d", "e", "f")
_OF_BOTO3: Final = ("a", "c")


class Row(msgspec.Struct, frozen=True):
    """One workload by one client; an outcome for each round."""

    workload: str
    distribution: str
    runs: list[Outcome]


def measure(run: Run) -> list[Row]:
    """`rounds` times half of `seconds` each."""
    found = []
    with server(in_memory=False, data_dir=run.directory / "ycsb", test_controls=False) as node:
        common = {"endpoint": node.endpoint_url, "seconds": short(run.seconds), "rounds": run.rounds}
        for name in _WORKLOADS:
            own = ycsb.WORKLOADS[name].distribution
            for distribution in (own,) if own == "latest" else ("uniform", "zipfian"):
                given = {**common, "workload": name, "distribution": distribution}
                options = msgspec.convert(given, Options)
                found.append(Row(name, distribution, endpoint_load.measured(options, run.progress).runs))
        for name in _OF_BOTO3:
            options = msgspec.convert({**common, "workload": name, "sdk": True}, Options)
            found.append(Row(name, "zipfian", endpoint_load.measured(options, run.progress).runs))
    return found


def _told(taken: Record[list[Row]]) -> str:
    rows = [
        (
            f"{row.workload.upper()}: {ycsb.WORKLOADS[row.workload].about}",
            row.distribution,
            row.runs[0].client,
            markdown.spread([one.per_s for one in row.runs]),
            *(
                markdown.ms(statistics.median(getattr(one.latency, name) for one in row.runs))
                for name in ("p50", "p99", "p999")
            ),
            sum(one.latency.failed for one in row.runs),
        )
        for row in taken.found
    ]
    head = ("workload", "keys", "client", "operations/s", "p50 ms", "p99 ms", "p99.9 ms", "failed")
    return "\n\n".join(
        (
            "## YCSB",
            "`gramme bench ycsb` against the embedded node, every write fsynced: 10,000 items of 900 bytes in nine "
            f"fields, closed loop, 16 connections, {taken.rounds} rounds of {short(taken.seconds):.0f} s, signatures "
            "off. `generator` is Gramme's own client, for read-modify-writes; boto3 runs in four threads of a process "
            "and says more about boto3.",
            markdown.table(head, rows, words=3),
        )
    )


SECTION: Final = Section("ycsb", list[Row], measure, _told)
