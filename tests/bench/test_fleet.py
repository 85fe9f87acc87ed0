"""A tiny fleet under load: what it is charged is what it is busy for, the same again from the same seed, and told."""

from __future__ import annotations

import statistics
from typing import Any

import msgspec
import pytest

from gramme.bench import fleet, records
from gramme.bench.fleet import Grown, Length, grown, growth
from gramme.bench.latency import Latency
from gramme.bench.machine import Machine
from gramme.bench.service_times import Compared, ServiceTimes
from gramme.bench.simulated import Fleet, Load, Outcome
from gramme.sim.loop import ANSWER, FRAME_IN, FRAME_OUT, LOG_JOB, REQUEST, Meter

pytestmark = pytest.mark.seconds(14)

EXTRA_US = {REQUEST: 60.0, ANSWER: 60.0, LOG_JOB: 100.0, FRAME_IN: 30.0, FRAME_OUT: 30.0}
TIMES = ServiceTimes(EXTRA_US, [400.0, 500.0], [Compared("a load", 100.0, 90.0)])


def still() -> int:
    """A clock by which code takes no time: what is left to be charged is what is added."""
    return 0


def three(log_job_ns: int = 400_000) -> Fleet:
    made = Fleet(3, 2, 50, Meter(still, TIMES.extra_ns), [log_job_ns])
    made.found()
    return made


def under_load(made: Fleet, **load: Any) -> Outcome:
    return made.run(Load(**{"shares": {"strong": 1.0}, "per_s": 600.0, "seconds": 1.0, **load}))


def test_nodes_are_busy_for_what_their_work_costs() -> None:
    made = three()
    found = under_load(made, entry="leader")
    per_operation_us = sum(found.busy) * 1e6 / found.operations
    own_us = sum(EXTRA_US.get(kind, 0.0) * many for kind, many in found.parts.items())
    assert found.parts[REQUEST] == found.parts[ANSWER] == 1.0
    assert per_operation_us == pytest.approx(own_us, rel=0.01)
    assert set(found.kinds) == {"strong", "strong, here"}
    # Two ways of 50 to 250 µs, and the service.
    assert 0.22 <= found.kinds["strong"].p50 <= 0.62


def test_what_comes_to_a_node_that_cannot_serve_it_is_sent_on_and_waits_at_three_places() -> None:
    found = under_load(three(), entry="follower")
    assert set(found.kinds) == {"strong", "strong, sent on"}
    assert found.parts["Forward of GetItem"] == found.parts["Forwarded of Found"] == 1.0
    # Four ways, of which two between nodes take 50 µs at least, a request, an answer, two frames out and two in.
    assert found.kinds["strong"].p50 >= 0.2 + 0.24


def test_an_update_waits_for_its_log_and_a_follower_s() -> None:
    found = under_load(three(log_job_ns=30_000_000), shares={"update": 1.0}, per_s=100.0)
    assert found.kinds["update"].failed == 0
    assert found.kinds["update"].p50 >= 30.0


def test_a_seed_gives_the_same_latencies_again() -> None:
    mixed = {"shares": {"strong": 0.4, "eventual": 0.3, "update": 0.3}}
    assert under_load(three(), **mixed) == under_load(three(), **mixed)


def test_more_load_makes_longer_queues() -> None:
    made = three()
    light, heavy = (under_load(made, per_s=per_s, entry="leader") for per_s in (300.0, 15_000.0))
    assert statistics.fmean(heavy.busy) > 0.5
    assert heavy.kinds["strong"].mean > light.kinds["strong"].mean + 0.03


def kept(found: Grown) -> str:
    """The text of a record that was written and read again."""
    machine = Machine("cpu", 2, 23.5, "6.1", "3.11", {}, "abc", 5_000, 0.4)
    encoded = msgspec.json.encode(records.Record("2026-11-21", "bench", 3, 4.0, machine, found))
    return fleet.SECTION.told(msgspec.json.decode(encoded, type=records.Record[Grown]))


def test_every_size_is_as_busy_as_it_should_be_and_is_told() -> None:
    found = grown(
        TIMES,
        lambda _line: None,
        sizes=(3, 4),
        length=Length(operations=500, seconds=0.0, pilot=500, change_s=3.0, idle_s=1.0),
    )
    for points in found.points.values():
        assert [point.nodes for point in points] == [3, 4]
        for point in points:
            assert not any(one.failed for one in point.outcome.kinds.values())
            assert statistics.fmean(point.outcome.busy) == pytest.approx(fleet.SHARE, abs=0.12)
            assert len(point.outcome.busy) == len(point.outcome.led) == point.nodes
    assert found.points["C"][1].sent_on > found.points["C"][0].sent_on
    for mix, point in found.same_rate.items():
        assert point.per_s / 4 == pytest.approx(found.points[mix][0].per_s / 3)
    assert [point.nodes for point in found.changed] == [3, 4]
    for point in found.changed:
        assert {"CreateGroups", "Reconciled"} <= set(point.outcome.parts)
        assert "Forward of DescribeTable" not in point.outcome.parts, "it is none of the tables that are used"
    text = kept(found)
    assert "3 to 4 nodes run the production code" in text
    assert "| updates |" in text
    assert set(fleet.SECTION.pictures(found)) == {"fleet-a.svg", "fleet-c.svg"}


def test_growth_is_that_of_the_99th_percentile_and_only_of_what_both_ends_have() -> None:
    def point(nodes: int, p99: float, *names: str, count: int = 1_000) -> fleet.Point:
        kinds = {name: Latency(count, 0, 1.0, 1.0, p99, 3.0, 3.0) for name in names}
        outcome = Outcome(operations=10, kinds=kinds, busy=[0.4] * nodes, parts={}, led=[4] * nodes)
        return fleet.Point(nodes=nodes, per_s=100.0, outcome=outcome)

    points = [point(3, 2.0, "strong"), point(30, 5.0, "strong", "strong, sent on")]
    assert growth(points, "strong") == 2.5
    assert growth(points, "strong, sent on") is None
    assert growth(points, "update") is None
    assert growth([points[0], point(30, 5.0, "strong", count=100)], "strong") is None
