"""A simulated loop that takes time queues as the theory says, and what it serves leaves when it has been served."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from gramme.kernel.ids import NodeId
from gramme.kernel.time import Instant
from gramme.sim.loop import BusyProcess, Meter
from gramme.sim.world import MachineClock, World

SERVICE_NS = 100_000


def busy(world: World) -> BusyProcess:
    """A loop for which a job costs `SERVICE_NS`."""
    meter = Meter(lambda: 0, {"a job": SERVICE_NS})
    return BusyProcess(meter, world, NodeId(0), 1, MachineClock(world, 0, 0, 0))


def job(process: BusyProcess, served: Callable[[], None]) -> Callable[[], None]:
    """One piece of work; `served` is called when it leaves."""
    return lambda: process.work("a job", lambda: process.emit(served))


@pytest.mark.parametrize("share", [0.3, 0.4, 0.7])
def test_waits_are_those_of_a_queue_with_poisson_arrivals_and_equal_services(share: float) -> None:
    world, rng, waits = World(1), Random(7), list[int]()
    process = busy(world)
    at_ns, count = 0, 60_000
    for _ in range(count):
        at_ns += int(rng.expovariate(share / SERVICE_NS))

        def arrive(due_ns: int = at_ns) -> None:
            process.post(job(process, lambda: waits.append(world.now_ns - due_ns - SERVICE_NS)))

        world.after(at_ns, arrive)
    world.run(2 * at_ns)
    assert len(waits) == count
    assert process.busy_ns == count * SERVICE_NS
    mean_ns = share * SERVICE_NS / (2 * (1 - share))  # Pollaczek and Khinchine, M/D/1
    assert sum(waits) / count == pytest.approx(mean_ns, rel=0.05)


def test_what_is_called_soon_stands_behind_what_was_ready_and_before_what_comes_later() -> None:
    world, order = World(1), list[str]()
    process = busy(world)

    def first() -> None:
        job(process, lambda: order.append("first"))()
        process.call_soon(job(process, lambda: order.append("soon")))

    process.post(first)
    process.post(job(process, lambda: order.append("ready")))
    world.after(SERVICE_NS // 2, lambda: process.post(job(process, lambda: order.append("later"))))
    world.run(10 * SERVICE_NS)
    assert order == ["first", "ready", "soon", "later"]


def test_a_timer_that_falls_due_meanwhile_waits_and_one_that_was_cancelled_costs_nothing() -> None:
    world, at_ns = World(1), list[int]()
    process = busy(world)
    process.post(job(process, lambda: None))
    process.call_at(Instant(SERVICE_NS // 4), lambda: at_ns.append(world.now_ns))
    cancelled = process.call_at(Instant(SERVICE_NS // 4), job(process, lambda: at_ns.append(-1)))
    world.after(SERVICE_NS // 2, cancelled.cancel)
    world.run(10 * SERVICE_NS)
    assert at_ns == [SERVICE_NS]
    assert process.busy_ns == SERVICE_NS


def test_a_process_that_is_killed_while_it_serves_leaves_nothing() -> None:
    world, left = World(1), list[str]()
    process = busy(world)
    for name in ("served", "waiting"):
        process.post(job(process, lambda name=name: left.append(name)))  # type: ignore[misc]
    world.after(SERVICE_NS // 2, process.kill)
    world.run(10 * SERVICE_NS)
    assert left == []


def test_a_process_that_sleeps_goes_on_where_it_was() -> None:
    world, left = World(1), list[tuple[str, int]]()
    process = busy(world)
    for name in ("served", "waiting"):
        process.post(job(process, lambda name=name: left.append((name, world.now_ns))))  # type: ignore[misc]
    world.after(SERVICE_NS // 2, process.pause)
    world.after(5 * SERVICE_NS, process.resume)
    world.run(10 * SERVICE_NS)
    assert left == [("served", SERVICE_NS), ("waiting", 6 * SERVICE_NS)]


def test_parts_are_charged_once_and_by_their_price_if_they_have_one() -> None:
    ticks = iter(range(0, 1_000_000, 10))
    meter = Meter(lambda: next(ticks), {"outer": 1_000}, None)
    world = World(1)
    process = BusyProcess(meter, world, NodeId(0), 1, MachineClock(world, 0, 0, 0))
    nested = lambda: process.work("outer", lambda: process.work("inner", lambda: process.work("", lambda: None)))  # noqa: E731
    process.post(nested)
    world.run(1_000_000)
    # Readings of the clock are 10 apart: the simulator's own part takes 10, which nobody pays; the others take 20 each.
    assert meter.took_ns == {"outer": 20, "inner": 20, nested.__qualname__.partition(".<locals>")[0]: 20}
    assert process.busy_ns == 1_060
    meter.prices = {"inner": 500, "outer": 0}
    process.post(nested)
    world.run(2_000_000)
    assert process.busy_ns == 1_060 + 1_520
