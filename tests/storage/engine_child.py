"""A process that writes to a RocksEngine until it is killed: `python engine_child.py DIR SEED FIRST`.

Writes batch FIRST, FIRST + 1, … and reports on stdout `write N`, `flush N` (begins) and `done N` (a flush completed
that covers batch N), each before anything that follows it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from time import sleep

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.storage.engine_model import batch_of

from gramme.kernel.errors import Stalled
from gramme.runtime.rocks import RocksEngine, RocksSettings


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def fail(error: Exception) -> None:
    say(f"failure {error}")
    os._exit(1)


def main() -> None:
    directory, seed, number = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    loop: SimpleQueue[Callable[[], None]] = SimpleQueue()
    # small buffers: RocksDB flushes by itself too, at moments of its own choice
    engine = RocksEngine(directory, loop.put, fail, RocksSettings(write_buffer_bytes=64 << 10))
    rng = Random(number)
    while True:
        try:
            engine.write(batch_of(seed, number))
        except Stalled:
            sleep(0.001)
            continue
        say(f"write {number}")
        if rng.randrange(30) == 0:
            say(f"flush {number}")
            engine.flush(partial(say, f"done {number}"))
        while True:
            try:
                loop.get_nowait()()
            except Empty:
                break
        number += 1


if __name__ == "__main__":
    main()
