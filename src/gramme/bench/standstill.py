"""When the machine itself stood still: a process of the highest priority that notes when it was not woken in time.

A virtual machine stops now and then, all cores at once, because its host has other guests or holds it to a quota; no
counter of the guest tells (stolen time stays 0). Latencies over such a stop say nothing of a server. Rule: only what
a real-time process saw is called a stop, for nothing else on the machine can make that one wait; where none may be
made, nothing is known and nothing is left out. It wakes so rarely that nothing else is felt to be slower: woken 2,000
times a second it took a tenth of the writes from a node on two cores. So a stop that is hardly longer than the
shortest may pass unseen. Times are those of `time.perf_counter`, one clock for all processes.
Prints the stops (JSON) when its input ends.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

_WAKES_EVERY_S: Final = 0.004
_SHORTEST_S: Final = 0.002
_PRIORITY: Final = 50
WINDOW_S: Final = 0.1


class Stops(msgspec.Struct):
    """What was seen, once the watch has ended. `known` is False where no real-time process may be made."""

    known: bool = False
    intervals: list[tuple[float, float]] = []

    @property
    def total_ms(self) -> float:
        """How long the machine stood still."""
        return 1e3 * sum(end - begin for begin, end in self.intervals)


@contextmanager
def watched() -> Iterator[Stops]:
    """What is yielded is filled in at the end."""
    stops = Stops()
    command = [sys.executable, "-m", __spec__.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        try:
            yield stops
        finally:
            told, _ = process.communicate()
    if told:
        seen = msgspec.json.decode(told, type=Stops)
        stops.known, stops.intervals = seen.known, seen.intervals


def undisturbed(
    moments: Sequence[float], values: Sequence[float], start: float, intervals: Sequence[tuple[float, float]]
) -> list[float]:
    """The values whose moment lies in no window of `WINDOW_S`, counted from `start`, in which the machine stood still,
    nor in the next: what queued up meanwhile is worked off there."""
    spoiled: set[int] = set()
    for begin, end in intervals:
        spoiled.update(range(int((begin - start) / WINDOW_S), int((end - start) / WINDOW_S) + 2))
    return [
        value for moment, value in zip(moments, values, strict=True) if int((moment - start) / WINDOW_S) not in spoiled
    ]


def _watch() -> Stops:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except OSError:
        known = False
    else:
        known = True
    sys.stdout.write("\n")
    sys.stdout.flush()
    clock, stops = time.perf_counter, []
    before, ended = clock(), False
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], _WAKES_EVERY_S)[0])
        now = clock()
        if now - before > _SHORTEST_S + _WAKES_EVERY_S:
            stops.append((before + _WAKES_EVERY_S, now))
        before = now
    return Stops(known, stops)


def main() -> None:
    """The watching process."""
    sys.stdout.buffer.write(msgspec.json.encode(_watch()))


if __name__ == "__main__":
    main()
