"""The page of results: made of records and of what people wrote, again and again without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from bench.contest import Contest
from bench.contest import Pair as Neighbours
from bench.sections import SECTIONS, SPEED

from bench import etcd, page, peer_runs
from gramme.bench import flat, fleet, growth, hot, idle, records, ycsb_runs
from gramme.bench.endpoint_load import Check, Outcome
from gramme.bench.errors import CannotMeasure
from gramme.bench.latency import latency_of
from gramme.bench.machine import Machine
from gramme.bench.records import Record
from gramme.bench.service_times import Compared, ServiceTimes
from gramme.bench.simulated import Outcome as SimulatedOutcome

_MACHINE = Machine("a processor", 2, 8.0, "Linux", "3.11", {"uvloop": "1"}, "abc1234", 5_000, 0.1)


def _outcome(per_s: float) -> Outcome:
    return Outcome(client="wrk", per_s=per_s, latency=latency_of([1.0, 2.0, 3.0]))


def _contests() -> list[Contest]:
    peers = {peer_runs.SHARED: 5_000.0, peer_runs.AT_LEADER: 8_000.0, "DynamoDB Local, in memory": 1_000.0,
             "dynoxide, in memory": 20_000.0}  # fmt: skip
    return [
        Contest(name, "1.0", "memory", workload, [Neighbours(_outcome(10_000), _outcome(per_s)) for _ in range(3)])
        for workload in peer_runs.COLUMNS
        for name, per_s in peers.items()
    ]


def _found() -> dict[str, Any]:
    size = growth.Size(
        items=10_000, loaded_per_s=1, busy_get=_outcome(2), busy_put=_outcome(1), settled_s=3, quiet=False,
        highest_mb=4, get=_outcome(1_000), put=_outcome(500), restarted_mb=5, restart_s=6, disk_mb=7,
    )  # fmt: skip
    larger = msgspec.structs.replace(size, items=100_000, get=_outcome(700))
    curve = flat.Curve("get", [1_000.0], [[_outcome(100.0 * share) for share in flat.SHARES]], Check(1_400, 1_000, 0.1))
    return {
        "peers": peer_runs.Found(_contests(), [_outcome(40_000)], {"moto": "not installed (make peers)"}),
        "etcd": [Contest("etcd", "3.4", "fsync on a majority", "any node", _contests()[0].pairs)],
        "ycsb": [ycsb_runs.Row("a", "zipfian", [_outcome(1), _outcome(3)])],
        "flat": [curve, msgspec.structs.replace(curve, workload="put", check=Check(100, 100, 0.1))],
        "fleet": _fleet(),
        "growth": [size, larger],
        "hot": [hot.Pair(_outcome(100), _outcome(60))],
        "idle": idle.Idle(1_001, 0.04, 1, 0.01, [60.0, 61.0, 62.0], [0.4, 0.5], 50.0, 51.0, 0.001),
    }


def _fleet() -> fleet.Grown:
    kinds = {"strong": latency_of([1.0] * 1_000), "strong, sent on": latency_of([1.0] * 500)}
    outcome = SimulatedOutcome(operations=1_000, kinds=kinds, busy=[0.3, 0.4], parts={}, led=[1, 1])
    points = [fleet.Point(nodes=nodes, per_s=500.0, outcome=outcome) for nodes in (3, 30)]
    times = ServiceTimes({"request": 40.0}, [250.0, 300.0], [Compared("GetItem", 95.0, 13.0)])
    return fleet.Grown(
        times=times, prices_us={"A": {"Accept": 28.0}, "C": {}}, points={"A": points, "C": points},
        same_rate={"A": points[1], "C": points[1]}, changed=points, idle=[0.001, 0.01],
    )  # fmt: skip


def _record(found: Any) -> Record[Any]:
    return Record("2026-11-21", "python -m bench", 3, 4.0, _MACHINE, found)


@pytest.mark.parametrize("name", SPEED)
def test_a_section_is_kept_told_and_drawn(name: str, tmp_path: Path) -> None:
    section, record = SECTIONS[name], _record(_found()[name])
    records.write(section, record, tmp_path)
    assert records.read(section, tmp_path) == record
    text = records.told(section, record)
    assert text.startswith("## ")
    assert "commit abc1234 by `python -m bench`, load average before 0.1" in text
    for picture in section.pictures(record.found):
        assert f"(benchmarks/{picture})" in text
        ElementTree.parse(tmp_path / picture)


def test_ratios_are_told_beside_their_goals() -> None:
    text = records.told(peer_runs.SECTION, _record(_found()["peers"]))
    assert "GetItem 10.00 (goal 3.5; best: DynamoDB Local, in memory)" in text
    assert "GetItem reaches 25% of the bare server's 40,000/s" in text
    assert "reach 0.50 of the embedded node's PutItem (goal 0.5) and 0.80 of its GetItem" in text
    assert "In times of dynoxide: GetItem 0.50, PutItem 0.50 (goal 1)." in text
    assert "Three nodes in times of DynamoDB Local in memory: GetItem 5.00" in text
    assert "Not measured: moto: not installed" in text
    assert "| any node | 10,000 (3) | 5,000 (3) | 2.00 (2.00 to 2.00) |" in records.told(
        etcd.SECTION, _record(_found()["etcd"])
    )
    assert "which it did **not** sustain" in records.told(flat.SECTION, _record(_found()["flat"]))
    assert "700 (0.70)" in records.told(growth.SECTION, _record(_found()["growth"]))


def test_what_people_wrote_survives_and_measured_sections_stand_in_order(tmp_path: Path) -> None:
    directory = tmp_path / "results"
    for name in ("idle", "peers"):
        records.write(SECTIONS[name], _record(_found()[name]), directory)
    (directory / "idle.md").write_text("By hand, below the figures.\n")
    (directory / "simulation.md").write_text("## Simulation\n\nBy hand alone.\n")
    for _ in range(2):
        page.write(tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text()
    places = [
        text.index(part) for part in ("## Beside", "## Idle", "below the figures", "## Simulation", "## Measured on")
    ]
    assert places == sorted(places)
    assert text.count("By hand alone.") == text.count("a processor, 2 cores") == 1


def test_a_record_without_a_section_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "unheard-of.json").write_text("{}")
    with pytest.raises(CannotMeasure, match="unheard-of"):
        page.write(tmp_path / "results.md")


def test_the_page_that_is_there_is_the_one_that_is_written(tmp_path: Path) -> None:
    """docs/benchmarks.md was generated, and from the files beside it."""
    docs = Path(__file__).resolve().parent.parent.parent / "docs"
    (tmp_path / "benchmarks").symlink_to(docs / "benchmarks")
    page.write(tmp_path / "benchmarks.md")
    assert (tmp_path / "benchmarks.md").read_text() == (docs / "benchmarks.md").read_text()
