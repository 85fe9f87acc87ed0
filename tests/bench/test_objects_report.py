"""`gramme bench objects`: one scenario against real nodes, and what is written about all of them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from gramme.bench.gossip import Cost
from gramme.bench.latency import Latency
from gramme.bench.objects import Buffered, Capacity, Driven, Failover, Session, Sla, driven
from gramme.bench.objects_report import Objects, pictures, section
from gramme.runtime.cli import app

pytestmark = pytest.mark.seconds(10)


def _latency(mean: float, failed: int = 0) -> Latency:
    return Latency(1_000, failed, mean, mean, 2 * mean, 3 * mean, 4 * mean)


def _everything(failed: int = 0) -> Objects:
    return Objects(
        sla=Sla(500, 30, _latency(2), _latency(3, failed), _latency(4), 1.5),
        capacity=Capacity(1_000, 999, 2.5),
        driven=[Driven([_latency(4), _latency(6)], [_latency(2), _latency(3)])],
        sessions=[Session(True, 1.0, _latency(2)), Session(False, 0.99, _latency(2))],
        buffered=[
            Buffered("dw=quorum", [_latency(6)], [1_000], [1.5], [10, 12, 300]),
            Buffered("buffered, dw=0", [_latency(2)], [2_000], [0.5], [5, 6, 7]),
        ],
        failover=Failover(100, 1, 2, [0, 0, 0, 0], [0, 0, 90, 40]),
        gossip=[Cost(5, 283, 2.8, 64, 334)],
    )


def test_every_part_is_told_and_drawn() -> None:
    found = _everything()
    text = section(found)
    for row in ("A40", "A18", "A16", "A42", "A39", "A46"):
        assert f"(row {row}" in text
    assert "(row A40): met" in text
    assert "| reads, mean | 4.0 | 2.0 | 2.00 (2.00 to 2.00) | 3.9 → 1.55 (2.5) |" in text
    assert "| buffered, dw=0 | 2.0 | 3.00 (3.00 to 3.00) | 6.0 | 3.00 (3.00 to 3.00) | 2,000 | 0.50 |" in text
    assert "0 writes of objects, 130 of the table" in text
    drawn = pictures(found)
    assert len(drawn) == 2
    for name, document in drawn.items():
        assert f"(benchmarks/{name})" in text
        ElementTree.fromstring(document)


def test_failed_requests_miss_the_promise_however_fast_the_others_are() -> None:
    assert "(row A40): missed" in section(_everything(failed=1))


def test_what_was_not_measured_is_not_told() -> None:
    assert "row" not in section(Objects())


def test_a_scenario_that_does_not_exist_is_refused() -> None:
    assert CliRunner().invoke(app, ["bench", "objects", "--only", "everything"]).exit_code == 2


def test_both_ways_to_coordinate_answer_everything(tmp_path: Path) -> None:
    """Five real nodes, for a second."""
    (one,) = driven(1, 1.0, tmp_path, lambda _line: None)
    for latency in (*one.server, *one.client):
        assert latency.failed == 0
        assert latency.count > 20
