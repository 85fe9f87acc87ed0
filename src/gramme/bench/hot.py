"""A hot key: conditional updates of one item by 64 connections, against the same updates of 10,000 items.

Each update is evaluated against those still in flight to the log, so one item need not wait for its fsyncs one by one.
Source: issue 7, "A hot key" (at least half of the uniform rate).
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.bench import loading, markdown
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.endpoint_load import Outcome, closed
from gramme.bench.prepared import Preparation, Prepared
from gramme.bench.records import Record, Run, Section
from gramme.testing import server

CONNECTIONS: Final = 64
_STEP: Final = 7_919
_VARIANTS: Final = 9  # of the value that is set: what is stored changes each time
_REQUESTS: Final = 40_000


class Pair(msgspec.Struct, frozen=True):
    """One round."""

    uniform: Outcome
    hot: Outcome


def measure(run: Run) -> list[Pair]:
    """In turn, `rounds` times."""
    found = []
    with server(in_memory=False, data_dir=run.directory / "hot", test_controls=False) as node:
        requests = loading.make(node.endpoint_url, "hot", Shape())
        uniform, hot = _updates(requests, requests.shape.records), _updates(requests, 1)
        for load in (uniform, hot):
            closed(node.endpoint_url, load, 1.0, CONNECTIONS)
        for round_ in range(run.rounds):
            pair = Pair(*(closed(node.endpoint_url, load, run.seconds, CONNECTIONS) for load in (uniform, hot)))
            found.append(pair)
            run.progress(f"hot key, round {round_ + 1}: {pair.hot.per_s / pair.uniform.per_s:.2f} of the uniform rate")
    return found


def _updates(requests: TableRequests, items: int) -> Prepared:
    preparation = Preparation()
    for at in range(_REQUESTS if items > 1 else _VARIANTS):
        number, variant = at * _STEP % items, 1 + at % _VARIANTS
        index = preparation.add(
            "update",
            (number, variant),
            lambda n=number, v=variant: requests.update(n, v, conditional=True),  # type: ignore[misc]
        )
        preparation.send(index)
    return preparation.prepared()


def _told(taken: Record[list[Pair]]) -> str:
    rows = [
        (
            name,
            markdown.spread([getattr(pair, what).per_s for pair in taken.found]),
            markdown.spread([getattr(pair, what).latency.p99 for pair in taken.found], ".1f"),
        )
        for name, what in (("10,000 items in turn", "uniform"), ("one item", "hot"))
    ]
    ratio = markdown.spread([pair.hot.per_s / pair.uniform.per_s for pair in taken.found], ".2f")
    return "\n\n".join(
        (
            "## A hot key",
            f"Embedded node, UpdateItem (SET one field) on condition that the item exists, {CONNECTIONS} connections; "
            f"{taken.rounds} rounds of {taken.seconds:.0f} s in turn.",
            markdown.table(("", "updates/s", "p99 ms"), rows),
            f"One item reaches {ratio} of the uniform rate (goal 0.5).",
        )
    )


SECTION: Final = Section("hot", list[Pair], measure, _told)
