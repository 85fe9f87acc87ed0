"""The engine's contract, one suite over both implementations, crashes included (REPLICATION.md §6, row C10)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from random import Random
from time import sleep

import pytest
from tests.storage.engine_model import (
    APPLIED,
    TOP,
    apply,
    assert_prefix,
    batch_of,
    random_key,
    random_operation,
    state_after,
)

from gramme.kernel.errors import Stalled
from gramme.runtime.rocks import RocksEngine, RocksSettings
from gramme.storage.engine.contract import Batch, Engine
from gramme.storage.engine.memory import MemoryEngine


def fatal(error: Exception) -> None:
    raise error


class Host:
    """An engine with the loop that its callbacks come on."""

    def __init__(self) -> None:
        self.loop: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.engine: Engine

    def run_one(self) -> None:
        """Wait for one callback and run it."""
        self.loop.get(timeout=60)()

    def stall_after(self, writes: int) -> None:
        """Let the engine stall sooner or later, after `writes` writes where that can be told."""


class MemoryHost(Host):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.engine = self.memory = MemoryEngine(self.loop.put, crashable=True)

    def stall_after(self, writes: int) -> None:
        self.memory.stalled = writes == 0


class PlainMemoryHost(MemoryHost):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.engine = self.memory = MemoryEngine(self.loop.put)


class RocksHost(Host):
    """Two small write buffers: they are full before RocksDB can write them out."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        settings = RocksSettings(write_buffer_bytes=64 << 10, write_buffers=2)
        self.engine = RocksEngine(path, self.loop.put, fatal, settings)


@pytest.fixture(params=[MemoryHost, PlainMemoryHost, RocksHost], ids=["memory-crashable", "memory", "rocks"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    host: Host = request.param(tmp_path / "engine")
    yield host
    host.engine.close()


def put(engine: Engine, *rows: tuple[bytes, bytes]) -> None:
    batch = Batch()
    for key, value in rows:
        batch.put(key, value)
    write_patiently(engine, batch)


@pytest.mark.parametrize("seed", range(4))
def test_reads_and_scans_agree_with_a_plain_dict(host: Host, seed: int) -> None:
    rng, model, engine = Random(seed), dict[bytes, bytes](), host.engine
    for step in range(400):
        batch = Batch()
        for _ in range(rng.randrange(4)):
            random_operation(rng, batch)
        write_patiently(engine, batch)
        apply(model, batch)
        if step % 50 == 49:
            engine.flush(lambda: None)
            host.run_one()
        key, start, end, reverse = random_key(rng), random_key(rng), random_key(rng), rng.random() < 0.5
        assert engine.get(key) == model.get(key)
        wanted = sorted(((k, v) for k, v in model.items() if start <= k < end), reverse=reverse)
        assert list(engine.scan(start, end, reverse=reverse)) == wanted
    assert dict(engine.scan(b"", TOP)) == model


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_shows_the_rows_of_the_moment_of_the_call(host: Host, reverse: bool) -> None:
    rng, engine = Random(7), host.engine
    model = {b"k%04d" % number: b"old %d" % number for number in range(3000)}
    for row in model.items():
        put(engine, row)
    untouched = engine.scan(b"k0100", b"k2900", reverse=reverse)  # not advanced before the writes
    begun = engine.scan(b"k0100", b"k2900", reverse=reverse)
    wanted = sorted(((k, v) for k, v in model.items() if b"k0100" <= k < b"k2900"), reverse=reverse)
    found = [next(begun) for _ in range(700)]
    for _ in range(2000):
        batch = Batch()
        key = b"k%04d" % rng.randrange(3000)
        batch.put(key, b"new")
        batch.put(key + b"+", b"added")
        batch.delete(b"k%04d" % rng.randrange(3000))
        write_patiently(engine, batch)
    wipe = Batch()
    wipe.delete_range(b"k1000", b"k2000")
    write_patiently(engine, wipe)
    engine.flush(lambda: None)
    host.run_one()
    assert found + list(begun) == wanted
    assert list(untouched) == wanted
    assert list(engine.scan(b"k1000", b"k2000")) == []


def test_a_view_stays_as_it_was(host: Host) -> None:
    engine = host.engine
    for row in {b"a": b"1", b"b": b"2", b"d": b"4"}.items():
        put(engine, row)
    view = engine.view()
    batch = Batch()
    batch.put(b"a", b"new")
    batch.put(b"c", b"added")
    batch.delete(b"b")
    batch.delete_range(b"d", b"e")
    write_patiently(engine, batch)
    engine.flush(lambda: None)
    host.run_one()
    assert [view.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"1", b"2", None, b"4"]
    assert list(view.scan(b"a", b"z")) == [(b"a", b"1"), (b"b", b"2"), (b"d", b"4")]
    assert list(view.scan(b"b", b"z", reverse=True)) == [(b"d", b"4"), (b"b", b"2")]
    assert list(engine.scan(b"a", b"z")) == [(b"a", b"new"), (b"c", b"added")]


def test_bounds_are_from_start_inclusive_to_end_exclusive(host: Host) -> None:
    engine = host.engine
    rows = [(b"a", b"1"), (b"a\x00", b"2"), (b"b", b""), (b"c", b"4")]
    put(engine, *rows)
    assert list(engine.scan(b"a", b"c")) == rows[:3]
    assert list(engine.scan(b"a", b"c", reverse=True)) == rows[2::-1]
    assert list(engine.scan(b"a\x00", b"b")) == rows[1:2]
    assert list(engine.scan(b"a\x00", b"b", reverse=True)) == rows[1:2]
    for start, end in [(b"b", b"b"), (b"c", b"a"), (b"bb", b"bc"), (b"d", b"e"), (b"", b"a"), (b"b", b"")]:
        assert list(engine.scan(start, end)) == []
        assert list(engine.scan(start, end, reverse=True)) == []
    assert engine.get(b"b") == b""  # an empty value is not an absent one
    assert engine.get(b"") is None


def test_operations_of_a_batch_apply_in_their_order(host: Host) -> None:
    engine = host.engine
    put(engine, (b"a", b"0"), (b"b", b"0"), (b"c", b"0"))
    batch = Batch()
    batch.put(b"a", b"1")
    batch.delete(b"a")
    batch.put(b"b", b"1")
    batch.delete_range(b"b", b"d")
    batch.put(b"c", b"1")
    batch.delete(b"missing")
    batch.delete_range(b"z", b"y")  # empty
    engine.write(batch)
    assert list(engine.scan(b"", TOP)) == [(b"c", b"1")]
    engine.write(Batch())  # an empty batch is one too
    assert list(engine.scan(b"", TOP)) == [(b"c", b"1")]


def large_batch(number: int) -> Batch:
    batch = Batch()
    batch.put(APPLIED, b"%d" % number)
    batch.delete_range(b"k", b"l")
    batch.put(b"k%d" % number, bytes(40_000))
    return batch


def test_a_stalled_write_changes_nothing_and_succeeds_later(host: Host) -> None:
    stalls = number = 0
    while stalls < 3:
        number += 1
        assert number < 100_000, "the engine never stalled"
        host.stall_after(number % 5)
        try:
            host.engine.write(large_batch(number))
        except Stalled:
            stalls += 1
            number -= 1
            assert host.engine.get(APPLIED) == (b"%d" % number if number else None)
            assert [key for key, _ in host.engine.scan(b"k", b"l")] == ([b"k%d" % number] if number else [])
            host.stall_after(1)
            write_patiently(host.engine, large_batch(number + 1))
            number += 1
            assert host.engine.get(APPLIED) == b"%d" % number


def write_patiently(engine: Engine, batch: Batch) -> None:
    while True:
        try:
            return engine.write(batch)
        except Stalled:
            sleep(0.001)


def test_flushes_call_back_once_each_in_order_and_never_inside_the_call(host: Host) -> None:
    done: list[int] = []
    for number in range(5):
        put(host.engine, (b"a", b"%d" % number))
        host.engine.flush(partial(done.append, number))
        assert number not in done
    while len(done) < 5:
        host.run_one()
    assert done == [0, 1, 2, 3, 4]


def test_a_flush_may_be_asked_for_from_the_callback_of_another(host: Host) -> None:
    done: list[str] = []

    def again() -> None:
        done.append("first")
        host.engine.flush(lambda: done.append("second"))

    host.engine.flush(again)
    while len(done) < 2:
        host.run_one()
    assert done == ["first", "second"]


def test_nothing_calls_back_after_close(host: Host) -> None:
    done: list[int] = []
    put(host.engine, (b"a", b"1"))
    host.engine.flush(lambda: done.append(1))
    host.engine.close()
    while not host.loop.empty():
        host.run_one()
    assert done == []


# Crashes


def test_memory_loses_a_suffix_at_a_crash_but_nothing_that_was_flushed() -> None:
    losses = 0
    for seed in range(60):
        rng, host = Random(seed), MemoryHost(Path())
        number = 0
        for _ in range(4):  # lives
            durable = [number]
            for _ in range(rng.randrange(40)):
                number += 1
                host.engine.write(batch_of(seed, number))
                if rng.random() < 0.1:
                    host.engine.flush(partial(durable.append, number))
                if rng.random() < 0.1 and not host.loop.empty():
                    host.run_one()
            written = number
            host.memory.crash(rng)
            number = assert_prefix(host.engine, seed, max(durable))
            losses += number < written
            while not host.loop.empty():
                host.run_one()  # flushes of the life before
            assert max(durable) <= number
    assert losses > 50  # the crash does lose something


def test_flushes_that_complete_out_of_order_never_take_back_what_is_durable() -> None:
    host = MemoryHost(Path())
    for number in (1, 2):
        host.engine.write(batch_of(3, number))
        host.engine.flush(lambda: None)
    earlier, later = host.loop.get(), host.loop.get()
    later()
    earlier()
    host.memory.crash(Random(0))
    assert assert_prefix(host.engine, 3, 2) == 2


def test_the_check_catches_an_engine_that_tells_of_a_flush_it_never_made() -> None:
    class Forgetful(MemoryEngine):
        def _flushed(self, rows: object, position: int, on_done: Callable[[], None]) -> None:
            on_done()

    host = MemoryHost(Path())
    host.engine = engine = Forgetful(host.loop.put, crashable=True)
    durable = [0]
    for number in range(1, 20):
        engine.write(batch_of(1, number))
    engine.flush(lambda: durable.append(19))
    host.run_one()
    engine.crash(Random(1))
    with pytest.raises(AssertionError, match="was flushed"):
        assert_prefix(engine, 1, max(durable))


def test_the_check_catches_rows_lost_from_the_middle() -> None:
    host = MemoryHost(Path())
    rows = state_after(1, 20)
    rows.pop(next(key for key in rows if key != APPLIED))
    put(host.engine, *rows.items())
    with pytest.raises(AssertionError, match="not the first 20"):
        assert_prefix(host.engine, 1, 0)


def run_and_kill(path: Path, seed: int, first: int, rng: Random) -> tuple[int, int]:
    """Let a process write from batch `first` on, kill it, and tell what it said: last flushed, last written batch."""
    command = [sys.executable, str(Path(__file__).with_name("engine_child.py")), str(path), str(seed), str(first)]
    durable, written, flushes = 0, first - 1, rng.randrange(6)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        extra = rng.randrange(40)
        for line in child.stdout:
            word, number = line.split()
            if word == b"done":
                durable = max(durable, int(number))
            elif word == b"write":
                written = int(number)
            else:
                assert word == b"flush", line
                flushes -= 1
            extra -= flushes < 0
            if extra < 0:
                break
        child.kill()
        for line in child.stdout:  # said before the kill
            word, number = line.split() if line.endswith(b"\n") else (b"", b"0")
            durable = max(durable, int(number)) if word == b"done" else durable
            written = int(number) if word == b"write" else written
    assert child.returncode == -9
    return durable, written


@pytest.mark.parametrize("seed", range(4))
def test_rocksdb_holds_a_prefix_not_older_than_the_last_flush_after_kill_9(tmp_path: Path, seed: int) -> None:
    rng, applied, losses = Random(seed), 0, 0
    for _ in range(4):
        durable, written = run_and_kill(tmp_path, seed, applied + 1, rng)
        host = RocksHost(tmp_path)
        applied = assert_prefix(host.engine, seed, max(durable, applied))
        host.engine.close()
        losses += applied < written
    assert losses  # else the kill came after all was flushed, and the test shows nothing
