"""RocksEngine gathers batches before RocksDB gets them: nobody may see that, whatever RocksDB takes or refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from random import Random
from time import sleep

import pytest
from tests.storage.engine_model import APPLIED, TOP, apply, assert_prefix, batch_of, one, random_key, random_operation

from gramme.kernel.errors import GrammeError, Stalled
from gramme.runtime.rocks import EngineFailure, RocksEngine, RocksSettings
from gramme.storage.engine.contract import Batch, View


class Host:
    """An engine whose RocksDB refuses writes when it is told to."""

    def __init__(self, path: Path, gathered_bytes: int) -> None:
        self.path = path
        self.settings = RocksSettings(gathered_bytes=gathered_bytes, write_buffer_bytes=64 << 10)
        self.loop: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.failures: list[GrammeError] = []
        self.open()

    def open(self) -> None:
        self.refusing = False
        self.engine = RocksEngine(self.path, self.loop.put, self.failures.append, self.settings)

    def refuse(self, on: bool) -> None:
        """RocksDB's own stall, for as long as one wants: by the number of files that are not compacted."""
        if on and not self.engine.disk_usage():
            self.flush()
            if not self.engine.disk_usage():
                return  # without any file there is no such stall
        writes, compaction = ("1", "50") if on else ("30", "4")
        self.engine._db.set_options({
            "level0_slowdown_writes_trigger": writes,
            "level0_stop_writes_trigger": writes,
            "level0_file_num_compaction_trigger": compaction,
        })  # fmt: skip
        self.refusing = on

    def flush(self) -> None:
        done: list[int] = []
        self.engine.flush(lambda: done.append(1))
        while not done:
            self.loop.get(timeout=60)()

    def reopen(self) -> None:
        """As an engine that was closed while it stalls may lose what was not flushed, it is flushed."""
        self.refuse(False)
        self.flush()
        self.engine.close()
        while not self.loop.empty():
            self.loop.get()
        self.open()


def write_patiently(host: Host, batch: Batch) -> None:
    for attempt in range(2_000):
        try:
            return host.engine.write(batch)
        except Stalled:
            if host.refusing and attempt > 3:
                host.refuse(False)
            sleep(0.001)
    raise AssertionError("stalled for ever")


def check(view: View, model: dict[bytes, bytes], rng: Random) -> None:
    key, start, end, reverse = random_key(rng), random_key(rng), random_key(rng), rng.random() < 0.5
    assert view.get(key) == model.get(key)
    wanted = sorted(((k, v) for k, v in model.items() if start <= k < end), reverse=reverse)
    assert list(view.scan(start, end, reverse=reverse)) == wanted


def check_all(views: list[tuple[View, dict[bytes, bytes]]], rng: Random) -> None:
    """Apart, so that no variable keeps a view: it would keep the directory locked."""
    for view, rows in views:
        check(view, rows, rng)


@pytest.mark.parametrize("gathered_bytes", [0, 3_000, 64 << 10])
@pytest.mark.parametrize("seed", range(3))
def test_nobody_sees_what_is_gathered(tmp_path: Path, gathered_bytes: int, seed: int) -> None:
    """Random batches, reads, scans, views, flushes, stalls and restarts agree with a plain dict."""
    rng, model = Random(seed), dict[bytes, bytes]()
    host = Host(tmp_path, gathered_bytes)
    views: list[tuple[View, dict[bytes, bytes]]] = []
    stalls = 0
    for _ in range(1_000):
        batch = Batch()
        for _ in range(rng.randrange(4)):
            random_operation(rng, batch)
        if rng.random() < 0.9:  # most runs of batches have no range in them
            batch.ops = [operation for operation in batch.ops if operation[2] is None]
            batch.clears = False
        try:
            host.engine.write(batch)
        except Stalled:
            stalls += 1
            check(host.engine, model, rng)
            write_patiently(host, batch)
        apply(model, batch)
        event = rng.randrange(150)
        if event < 40:
            check(host.engine, model, rng)
        elif event < 50:
            skipped = rng.randrange(3)
            wanted = sorted((key[skipped:], value) for key, value in model.items())
            assert sorted(host.engine.scan(b"", TOP, skip=skipped)) == wanted
        elif event < 55:
            views = [*views[-2:], (host.engine.view(), model.copy())]
        elif event < 60:
            host.refuse(not host.refusing)
        elif event < 62:
            host.refuse(False)
            host.flush()
        elif event < 63:
            views.clear()
            host.reopen()
        check_all(views, rng)
    assert dict(host.engine.scan(b"", TOP)) == model
    assert stalls
    views.clear()
    host.reopen()
    assert dict(host.engine.scan(b"", TOP)) == model
    host.engine.close()


def test_what_is_gathered_is_there_after_an_orderly_close(tmp_path: Path) -> None:
    host = Host(tmp_path, 64 << 10)
    host.engine.write(one(b"k", b"1"))
    host.engine.close()
    host.open()
    assert host.engine.get(b"k") == b"1"
    host.engine.close()


def test_what_is_gathered_is_read_while_rocksdb_takes_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path, 64 << 10)
    rows = {b"k%d" % number: b"old" for number in range(6)}
    for key, value in rows.items():
        host.engine.write(one(key, value))
    host.flush()
    host.refuse(True)
    newer: dict[bytes, bytes | None] = {b"k1": b"new", b"k3": None, b"k4+": b"added", b"other": b"out of range"}
    for key, change in newer.items():
        host.engine.write(one(key, change))
    now = [(b"k0", b"old"), (b"k1", b"new"), (b"k2", b"old"), (b"k4", b"old"), (b"k4+", b"added"), (b"k5", b"old")]
    view, begun = host.engine.view(), host.engine.scan(b"k", b"l")
    host.engine.write(one(b"k0", None))  # after both
    for _ in range(2):
        assert [view.get(key) for key in (b"k0", b"k1", b"k3", b"k9")] == [b"old", b"new", None, None]
        assert list(view.scan(b"k", b"l")) == now
        assert list(view.scan(b"k", b"l", reverse=True)) == now[::-1]
        assert list(host.engine.scan(b"k", b"l")) == now[1:]
        assert list(host.engine.scan(b"k", b"l", reverse=True, skip=1)) == [(k[1:], v) for k, v in now[:0:-1]]
        host.refuse(False)
    assert list(begun) == now
    del view
    host.engine.close()


def put_until_stalled(engine: RocksEngine) -> int:
    """How many rows it took."""
    for number in range(1_000):
        try:
            engine.write(one(b"k%d" % number, bytes(500)))
        except Stalled:
            return number
    raise AssertionError("never stalled")


def test_a_full_engine_refuses_and_takes_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path, 4_000)
    host.engine.write(one(b"k", b"0"))
    host.flush()
    host.refuse(True)
    taken = put_until_stalled(host.engine)
    assert 2 <= taken <= 8  # what is gathered is bounded
    assert host.engine.get(b"k%d" % taken) is None
    wipe = Batch()
    wipe.put(b"a", b"1")
    wipe.delete_range(b"k", b"l")
    with pytest.raises(Stalled):
        host.engine.write(wipe)
    assert len(list(host.engine.scan(b"", TOP))) == taken + 1
    host.refuse(False)
    host.engine.write(wipe)
    assert list(host.engine.scan(b"", TOP)) == [(b"a", b"1")]
    host.engine.close()


def test_a_flush_is_done_when_rocksdb_has_taken_what_it_is_about(tmp_path: Path) -> None:
    host = Host(tmp_path, 64 << 10)
    host.engine.write(one(b"a", b"1"))
    host.flush()
    host.refuse(True)
    host.engine.write(one(b"b", b"2"))
    done: list[bytes] = []
    host.engine.flush(lambda: done.append(b"b"))
    for _ in range(3):
        host.loop.get(timeout=60)()  # rounds of the flush, which RocksDB gives nothing to do
        assert done == []
    before = host.engine.disk_usage()
    host.refuse(False)
    while not done:
        host.loop.get(timeout=60)()
    assert host.engine.disk_usage() > before
    host.engine.close()


def test_a_crash_leaves_whole_batches_only(tmp_path: Path) -> None:
    """What a power cut leaves of a directory is what RocksDB had flushed: a copy of its files at any moment."""
    from shutil import copytree

    host, rng, found = Host(tmp_path / "engine", 2_000), Random(3), set[int]()
    host.engine._db.set_options({"disable_auto_compactions": "true"})  # or files go away while they are copied
    for number in range(1, 600):
        write_patiently(host, batch_of(9, number))
        if rng.randrange(40) == 0:
            host.flush()
            write_patiently(host, batch_of(9, number))  # gathered, or in RocksDB's buffers: not in the copy
            copy = copytree(host.path, tmp_path / f"copy{number}", ignore=lambda *_: ["LOCK"])
            reopened = Host(copy, 2_000)
            found.add(assert_prefix(reopened.engine, 9, number))
            reopened.engine.close()
    assert len(found) > 5
    assert host.engine.get(APPLIED) == b"599"
    host.engine.close()


def test_an_overwritten_row_reaches_rocksdb_once(tmp_path: Path) -> None:
    host = Host(tmp_path, 64 << 10)
    for number in range(100):
        host.engine.write(one(b"k", b"%d" % number))
    assert list(host.engine.scan(b"", TOP)) == [(b"k", b"99")]
    assert host.engine._db.property_int_value("rocksdb.num-entries-active-mem-table") == 1
    host.engine.close()


def test_a_hand_over_that_fails_is_told_by_the_flush_and_by_writes(tmp_path: Path) -> None:
    host = Host(tmp_path, 64 << 10)
    host.engine.write(one(b"a", b"1"))
    host.engine._db.close()  # RocksDB takes nothing more, and it is no stall
    assert host.engine.get(b"a") == b"1"
    done: list[int] = []
    host.engine.flush(lambda: done.append(1))
    assert host.failures == []  # never inside the call
    host.loop.get(timeout=60)()
    assert [type(failure) for failure in host.failures] == [EngineFailure]
    with pytest.raises(EngineFailure, match="cannot write"):
        host.engine.write(one(b"b", b"1"))
    assert done == []
    host.engine.close()
