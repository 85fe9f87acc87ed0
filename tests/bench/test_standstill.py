"""A stop of the machine is seen, and what was measured about then is left out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gramme.bench.standstill import WINDOW_S, Stops, undisturbed, watched


def test_a_process_that_was_not_woken_says_when() -> None:
    command = [sys.executable, "-m", "gramme.bench.standstill"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        begin = time.perf_counter()
        time.sleep(0.03)
        end = time.perf_counter()
        os.kill(process.pid, signal.SIGCONT)
        told, _ = process.communicate(timeout=10)
    stops = msgspec.json.decode(told, type=Stops)
    assert any(seen_begin < begin + 0.01 and seen_end >= end for seen_begin, seen_end in stops.intervals)
    assert stops.total_ms >= 20


def test_what_is_seen_is_known_when_the_watch_has_ended() -> None:
    before = time.perf_counter()
    with watched() as stops:
        assert stops.intervals == []
    assert all(before <= begin <= end <= time.perf_counter() for begin, end in stops.intervals)


def test_the_window_of_a_stop_and_the_next_are_left_out() -> None:
    moments = [5.05, 5.15, 5.25, 5.35, 5.45]
    assert undisturbed(moments, [1.0, 2.0, 3.0, 4.0, 5.0], 5.0, [(5.12, 5.13)]) == [1, 4, 5]
    assert undisturbed(moments, [1.0, 2.0, 3.0, 4.0, 5.0], 5.0, [(5.12, 5.22)]) == [1, 5]
    assert undisturbed(moments, [1.0, 2.0, 3.0, 4.0, 5.0], 5.0, []) == [1, 2, 3, 4, 5]


@given(
    moments=st.lists(st.floats(0, 10), max_size=50),
    intervals=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 0.5)).map(lambda one: (one[0], one[0] + one[1]))),
)
def test_nothing_is_left_that_was_due_in_a_stop_or_right_after(
    moments: list[float], intervals: list[tuple[float, float]]
) -> None:
    for left in undisturbed(moments, moments, 0.0, intervals):
        assert not any(begin <= left <= end + WINDOW_S / 2 for begin, end in intervals)
