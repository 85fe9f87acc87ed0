"""Virtual time: order, clocks, and what crash and pause do to a process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.sim.guard import AmbientAccess, forbid_ambient
from gramme.sim.network import QUIET, Network, NetworkProfile, SimTransport
from gramme.sim.world import TURN_NS, MachineClock, Process, World


def make_process(world: World, rate_ppm: int = 0, boot_offset_ns: int = 0) -> Process:
    return Process(world, NodeId(0), 1, MachineClock(world, rate_ppm, boot_offset_ns, 0))


def test_events_run_in_the_order_of_time_and_then_of_scheduling() -> None:
    world, seen = World(1), list[str]()
    world.after(5, lambda: seen.append("c"))
    world.after(3, lambda: seen.append("a"))
    world.after(3, lambda: seen.append("b"))
    cancelled = world.after(4, lambda: seen.append("cancelled"))
    cancelled.cancel()
    world.after(6, lambda: seen.append("late"))
    world.run(5)
    assert seen == ["a", "b", "c"]
    assert world.now_ns == 5


@given(st.integers(-5_000, 5_000), st.integers(0, 10**12), st.integers(0, 10**11), st.integers(-(10**9), 10**11))
def test_a_timer_never_fires_before_the_machines_own_clock_shows_its_time(
    rate_ppm: int, offset_ns: int, start_ns: int, ahead_ns: int
) -> None:
    world = World(1)
    world.run(start_ns)
    process = make_process(world, rate_ppm, offset_ns)
    when = Instant(process.clock.instant() + ahead_ns)
    fired: list[tuple[int, int]] = []
    process.call_at(when, lambda: fired.append((process.clock.instant(), world.now_ns)))
    world.run(start_ns + 2 * 10**11)
    ((instant, at_ns),) = fired
    assert instant >= when
    if ahead_ns > 0 and at_ns > start_ns:
        world_before = World(1)
        world_before.now_ns = at_ns - 1
        assert MachineClock(world_before, rate_ppm, offset_ns, 0).instant() < when


def test_a_dead_process_runs_nothing_more() -> None:
    world, seen = World(1), list[str]()
    process = make_process(world)
    process.call_soon(lambda: seen.append("soon"))
    process.post(lambda: seen.append("posted"))
    process.kill()
    process.post(lambda: seen.append("posted late"))
    world.run(SECOND)
    assert seen == []


def test_a_paused_process_runs_what_waited_in_order_when_it_wakes_and_its_clock_has_gone_on() -> None:
    world, seen = World(1), list[tuple[str, int]]()
    process = make_process(world)

    def note(name: str) -> Callable[[], None]:
        return lambda: seen.append((name, process.clock.instant()))

    process.call_at(Instant(10), note("timer"))
    cancelled = process.call_at(Instant(11), note("cancelled"))
    world.after(12, lambda: process.post(note("message")))
    process.pause()
    world.run(100)
    assert seen == []
    cancelled.cancel()
    process.resume()
    world.run(200)
    assert seen == [("timer", 100), ("message", 100)]


def test_call_soon_keeps_order_and_ends_within_a_turn() -> None:
    world, seen = World(3), list[tuple[int, int]]()
    process = make_process(world)
    for number in range(20):
        process.call_soon(lambda number=number: seen.append((number, world.now_ns)))  # type: ignore[misc]
    world.run(SECOND)
    assert [number for number, _ in seen] == list(range(20))
    assert seen[-1][1] < TURN_NS


def test_the_trace_hash_tells_runs_apart() -> None:
    def run(seed: int, extra: bool) -> str:
        world = World(seed)
        rng = world.randomness("x")
        for _ in range(10):
            world.after(rng.randrange(100), lambda: None)
        if extra:
            world.after(50, lambda: world.note("answer", 200, b"{}"))
        world.run(100)
        return world.trace_hash()

    assert run(1, False) == run(1, False)
    assert len({run(1, False), run(2, False), run(1, True)}) == 3


def test_randomness_of_different_names_is_independent_of_how_much_the_others_drew() -> None:
    one, two = World(7), World(7)
    one.randomness("a").random()
    assert one.randomness("b").random() == two.randomness("b").random()
    assert one.randomness("a").random() != one.randomness("b").random()


def make_network(profile: NetworkProfile) -> tuple[World, Network, list[tuple[NodeId, NodeId, bytes]]]:
    world, arrived = World(5), list[tuple[NodeId, NodeId, bytes]]()
    return world, Network(world, profile, lambda s, t, frame: arrived.append((s, t, frame))), arrived


def test_a_network_without_trouble_delivers_each_frame_once_and_in_order() -> None:
    world, network, arrived = make_network(QUIET)
    for number in range(50):
        network.send(NodeId(0), NodeId(1), bytes([number]))
    world.run(SECOND)
    assert arrived == [(0, 1, bytes([number])) for number in range(50)]


def test_a_troubled_network_loses_doubles_and_reorders() -> None:
    world, network, arrived = make_network(NetworkProfile(loss=0.1, duplication=0.1, reordering=0.3))
    for number in range(200):
        network.send(NodeId(0), NodeId(1), bytes([number]))
    world.run(SECOND)
    frames = [frame for _, _, frame in arrived]
    assert len(set(frames)) < 200
    assert len(frames) > len(set(frames))
    assert sorted(frames) != frames


def test_a_cut_is_one_way_counts_its_causes_and_takes_what_is_on_the_way() -> None:
    world, network, arrived = make_network(QUIET)
    a, b = NodeId(0), NodeId(1)
    network.send(a, b, b"on the way")
    network.cut(a, b)
    network.cut(a, b)
    network.heal(a, b)
    network.send(b, a, b"back")
    world.run(SECOND)
    assert arrived == [(b, a, b"back")]
    network.heal(a, b)
    network.send(a, b, b"healed")
    world.run(2 * SECOND)
    assert arrived[1:] == [(a, b, b"healed")]


def test_a_dead_process_sends_nothing() -> None:
    world, network, arrived = make_network(QUIET)
    process = make_process(world)
    transport = SimTransport(network, process, lambda messages: b"".join(messages), lambda _node, _messages: True)
    transport.send(NodeId(1), [b"a", b"b"])
    process.kill()
    transport.send(NodeId(1), [b"c"])
    world.run(SECOND)
    assert arrived == [(0, 1, b"ab")]


@pytest.mark.parametrize(
    "reach",
    [
        lambda: time.time(),
        lambda: time.monotonic(),
        lambda: random.random(),
        lambda: uuid.uuid4(),
        lambda: os.urandom(1),
        lambda: random.randrange(2),
        lambda: threading.Thread(target=print).start(),
    ],
)
def test_reaching_past_the_ports_raises_while_a_run_lasts(reach: Callable[[], object]) -> None:
    with forbid_ambient(), pytest.raises(AmbientAccess, match="through ports"):
        reach()
    assert time.time() > 0
    assert Random(1).random() == Random(1).random()


def test_the_guard_restores_what_it_replaced_and_leaves_other_threads_alone() -> None:
    before = time.monotonic
    seen: list[float] = []
    started = threading.Event()
    leave = threading.Event()

    def beside() -> None:
        started.wait(10)
        seen.append(time.monotonic())
        leave.set()

    thread = threading.Thread(target=beside)
    thread.start()
    with forbid_ambient():
        started.set()
        assert leave.wait(10)
    thread.join()
    assert len(seen) == 1
    assert time.monotonic is before


def test_seeded_generators_do_not_depend_on_the_hash_seed() -> None:
    code = "from gramme.sim.world import World; print(World(3).randomness('a', 1).random())"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(answers) == 1
