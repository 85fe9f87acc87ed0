"""What only the RocksDB engine has: files that may be damaged, in use or gone."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from random import Random

import pytest
from tests.storage.engine_model import one

from gramme.kernel.errors import Corruption, GrammeError
from gramme.runtime.rocks import EngineFailure, RocksEngine, RocksSettings
from gramme.storage.engine.contract import Batch

TOP = b"\xff"
ROWS = {b"k%03d" % number: b"value %d " % number * 20 for number in range(300)}


class Loop:
    """Where callbacks land, and what failed."""

    def __init__(self) -> None:
        self.callbacks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.failures: list[GrammeError] = []

    def open(self, path: Path) -> RocksEngine:
        return RocksEngine(path, self.callbacks.put, self.failures.append)

    def run_one(self) -> None:
        self.callbacks.get(timeout=60)()


def write_rows(engine: RocksEngine) -> None:
    batch = Batch()
    for key, value in ROWS.items():
        batch.put(key, value)
    engine.write(batch)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """The directory of a closed engine that holds ROWS in one table file."""
    loop = Loop()
    engine = loop.open(tmp_path / "engine")
    write_rows(engine)
    engine.flush(lambda: None)
    loop.run_one()
    engine.close()
    return tmp_path / "engine"


def test_rows_are_there_after_a_clean_close(closed: Path) -> None:
    engine = Loop().open(closed)
    assert dict(engine.scan(b"", TOP)) == ROWS
    assert 0 < engine.disk_usage() < 1 << 20
    assert engine.memory_usage() > 0
    engine.close()
    engine.close()


def test_rocksdbs_own_log_stays_empty(tmp_path: Path) -> None:
    engine = Loop().open(tmp_path)
    write_rows(engine)
    logs = [file.stat().st_size for file in tmp_path.glob("*.log")]
    assert logs
    assert not any(logs)
    engine.close()


def test_a_damaged_block_is_told_by_get_and_by_scans_of_both_directions(closed: Path) -> None:
    (table,) = closed.glob("*.sst")
    content = bytearray(table.read_bytes())
    content[100] ^= 1
    table.write_bytes(content)
    engine = Loop().open(closed)
    with pytest.raises(Corruption, match="checksum"):
        engine.get(b"k000")
    for reverse in (False, True):
        with pytest.raises(Corruption, match="checksum"):
            list(engine.scan(b"", TOP, reverse=reverse))
    engine.close()


def test_a_flipped_bit_anywhere_never_yields_a_wrong_row(closed: Path, tmp_path: Path) -> None:
    """Where it is not refused, the bit was in what rows do not depend on, and all of them are right."""
    rng, refused = Random(5), 0
    files = [file for file in closed.iterdir() if file.suffix == ".sst" or file.name.startswith(("MANIFEST", "CURR"))]
    assert len(files) == 3
    for trial in range(90):
        copy = tmp_path / f"copy{trial}"
        shutil.copytree(closed, copy)
        target = copy / files[trial % 3].name
        content = bytearray(target.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        target.write_bytes(content)
        try:
            engine = Loop().open(copy)
            try:
                assert dict(engine.scan(b"", TOP)) == ROWS
                assert {key: engine.get(key) for key in ROWS} == ROWS
                assert engine.get(b"absent") is None
            finally:
                engine.close()
        except (Corruption, EngineFailure):
            refused += 1
        shutil.rmtree(copy)
    assert refused > 60


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    engine = Loop().open(tmp_path)
    with pytest.raises(EngineFailure, match="lock"):
        Loop().open(tmp_path)
    engine.close()
    Loop().open(tmp_path).close()


def test_a_scan_left_half_way_releases_the_directory_when_dropped(tmp_path: Path) -> None:
    engine = Loop().open(tmp_path)
    write_rows(engine)
    for reverse in (False, True):
        rows = engine.scan(b"k1", b"k2", reverse=reverse)
        next(rows)
        del rows
    engine.close()
    Loop().open(tmp_path).close()


def test_a_scan_stays_whole_over_flush_and_range_delete(tmp_path: Path) -> None:
    loop = Loop()
    engine = loop.open(tmp_path)
    write_rows(engine)
    rows = engine.scan(b"", TOP)
    wipe = Batch()
    wipe.delete_range(b"", TOP)
    engine.write(wipe)
    engine.flush(lambda: None)
    loop.run_one()
    assert dict(rows) == ROWS
    assert list(engine.scan(b"", TOP)) == []
    engine.close()


def test_a_flush_that_fails_is_told_once_and_never_as_done(tmp_path: Path) -> None:
    loop, done = Loop(), list[int]()
    engine = loop.open(tmp_path / "engine")
    write_rows(engine)
    shutil.rmtree(tmp_path / "engine")
    engine.flush(lambda: done.append(1))
    loop.run_one()
    assert [type(failure) for failure in loop.failures] == [EngineFailure]
    assert "cannot flush" in str(loop.failures[0])
    assert done == []
    batch = Batch()
    batch.put(b"a", b"1")
    with pytest.raises(EngineFailure, match="cannot write"):
        engine.write(batch)  # RocksDB takes no write after a failed flush
    engine.flush(lambda: done.append(2))  # and none is tried again
    engine.close()
    assert loop.callbacks.empty()
    assert done == []


def test_use_after_close_is_a_clear_error(tmp_path: Path) -> None:
    engine = Loop().open(tmp_path)
    engine.close()
    with pytest.raises(EngineFailure, match="closed"):
        engine.get(b"a")
    with pytest.raises(EngineFailure, match="closed"):
        engine.write(Batch())


@pytest.mark.parametrize("row_cache_bytes", [0, 4_000, 1 << 20])
def test_rows_that_are_kept_are_those_of_the_store(tmp_path: Path, row_cache_bytes: int) -> None:
    """Whatever is read, written and deleted in which order, and however few rows there is room for."""
    settings = RocksSettings(row_cache_bytes=row_cache_bytes)
    engine = RocksEngine(tmp_path / "engine", print, print, settings)
    rng, rows = Random(7), dict[bytes, bytes]()
    keys = [b"k%02d" % number for number in range(40)]
    for step in range(3_000):
        batch = Batch()
        for key in rng.choices(keys, k=rng.randrange(4)):
            kind = rng.randrange(10)
            if kind < 6:
                rows[key] = b"%d " % step * rng.choice((1, 60, 6_000))
                batch.put(key, rows[key])
            elif kind < 9:
                rows.pop(key, None)
                batch.delete(key)
            else:
                end = rng.choice(keys)
                rows = {other: value for other, value in rows.items() if not key <= other < end}
                batch.delete_range(key, end)
        engine.write(batch)
        for key in rng.choices(keys, k=3):
            assert engine.get(key) == rows.get(key), (step, key)
    assert engine.memory_usage() < 64 << 20
    engine.close()


def test_an_older_kept_row_is_renewed_when_no_younger_one_is_left(tmp_path: Path) -> None:
    """Once the only row of the younger generation was deleted, writes passed over the older one, and reads found what
    had been there before."""
    engine = RocksEngine(tmp_path / "engine", print, print, RocksSettings(row_cache_bytes=0))
    engine.write(one(b"a", b"1"))
    engine.write(one(b"b", b"1"))
    for key in (b"b", b"b", b"a", b"a"):  # what is read again is kept, and makes what was kept before it older
        assert engine.get(key) == b"1"
    engine.write(one(b"a", None))
    engine.write(one(b"b", b"2"))
    assert engine.get(b"b") == b"2"
    engine.close()


def test_flushes_give_way_to_whatever_somebody_waits_for(tmp_path: Path) -> None:
    loop = Loop()
    engine = loop.open(tmp_path)
    write_rows(engine)
    done: list[bool] = []
    engine.flush(lambda: done.append(True))
    while not done:
        loop.run_one()
    threads = {int(thread.name): (thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir()}
    flushing = [thread for thread, name in threads.items() if name == "rocksdb:high"]
    assert flushing
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert all(mine < os.getpriority(os.PRIO_PROCESS, thread) for thread in flushing) or mine == 19
    engine.close()


def test_a_store_that_is_opened_again_has_its_filters_and_its_cache(closed: Path) -> None:
    """rocksdict opens a store that exists with the options it was closed with, but for the filters and the cache."""
    settings = RocksSettings(block_cache_bytes=16 << 20)
    engine = RocksEngine(closed, print, print, settings)
    assert engine._property("rocksdb.block-cache-capacity") == 16 << 20
    before = engine._property("rocksdb.block-cache-usage")
    for _ in range(2):  # a block that is read for a row that was asked for before is kept
        for key in ROWS:
            assert engine.get(key + b"x") is None
    assert engine._property("rocksdb.block-cache-usage") <= before + (8 << 10), "filters say that there is no such row"
    for _ in range(2):
        assert {key: engine.get(key) for key in ROWS} == ROWS
    assert engine._property("rocksdb.block-cache-usage") > before + (16 << 10)
    engine.close()


def test_rows_that_are_read_once_leave_no_trace_and_those_read_again_are_kept(closed: Path) -> None:
    engine = Loop().open(closed)
    usage = [engine.memory_usage()]
    for _ in range(3):
        assert {key: engine.get(key) for key in ROWS} == ROWS
        usage.append(engine.memory_usage())
    once, again, more = (later - earlier for earlier, later in itertools.pairwise(usage))
    size = sum(len(key) + len(value) for key, value in ROWS.items())
    assert once < size / 4  # a key in 256 has the mark that its slot begins with, or was left by another
    assert again > size
    assert more < size / 4
    engine.close()


def test_a_row_that_is_written_again_and_again_is_counted_once(tmp_path: Path) -> None:
    """Else the rows that are read as well would have no room beside it."""
    settings = RocksSettings(row_cache_bytes=16_000, gathered_bytes=0)
    engine = RocksEngine(tmp_path / "engine", print, print, settings)
    engine.write(one(b"a", b"1"))
    engine.write(one(b"b", b"1"))
    for _ in range(2):  # a row is kept once it is read again
        assert (engine.get(b"a"), engine.get(b"b")) == (b"1", b"1")
    for number in range(100):
        engine.write(one(b"a", b"%d" % number * 1_000))
    engine._db.close()
    assert engine.get(b"b") == b"1"
