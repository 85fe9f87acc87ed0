"""Pages cut out of what was read lately, against walks over the rows: the same whatever was read and written before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gramme.node.changes.item_changes import ITEMS
from gramme.node.item_pages import STRETCH_BYTES, read_page
from gramme.runtime.rocks import RocksEngine
from gramme.storage.engine.contract import Batch, Engine
from gramme.storage.engine.kept import SHARED_BYTES, Kept
from gramme.storage.engine.memory import MemoryEngine
from gramme.tables.item import encode_stored
from gramme.tables.keys import HASH_BYTES
from gramme.tables.requests import Page, ScanRange

EXTENT = b"\x00\x00\x00\x00\x00\x01\x00\x00"
HASHES = (b"a" * HASH_BYTES, b"b" * HASH_BYTES)


class Rows:
    """The items of two partition keys in one extent of an engine, and what reads of them keep."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.walks = 0

    def find(self, shared: bytes) -> Any:
        return self.engine.kept.find(EXTENT + shared)

    def keep(self, shared: bytes, thing: Any, size_bytes: int) -> None:
        self.engine.kept.keep(EXTENT + shared, thing, size_bytes)

    def scan(self, start: bytes, end: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        self.walks += 1
        return self.engine.scan(EXTENT + start, EXTENT + end, reverse=reverse, skip=len(EXTENT))

    def get(self, key: bytes) -> bytes | None:
        return self.engine.get(EXTENT + key)

    def read(self, request: ScanRange) -> Page:
        return read_page(request, self.get, self.scan, self)

    def walk(self, request: ScanRange) -> Page:
        return read_page(request, self.get, self.scan, None)

    def put(self, key: bytes, size: int = 900) -> None:
        batch = Batch()
        batch.put(row(key), stored(key, size))
        self.engine.write(batch)


def row(key: bytes) -> bytes:
    return EXTENT + ITEMS + key


def stored(content: bytes, size: int) -> bytes:
    return encode_stored(b'{"pk":"%s"}' % content.hex().encode(), size, 1)


@pytest.fixture(params=["memory", "rocks"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rows]:
    engine: MemoryEngine | RocksEngine
    if request.param == "memory":
        engine = MemoryEngine(lambda done: done())
    else:
        engine = RocksEngine(tmp_path / "engine", lambda done: done(), lambda _error: None)
    yield Rows(engine)
    engine.close()


def some_key(rng: Random) -> bytes:
    return rng.choice(HASHES) + b"%02d" % rng.randrange(40)


def some_write(rng: Random) -> Batch:
    batch = Batch()
    for _ in range(rng.randrange(1, 4)):
        key = some_key(rng)
        if rng.random() < 0.7:
            batch.put(row(key), stored(key + rng.randbytes(2), rng.choice([1, 30, 900, 5_000])))
        elif rng.random() < 0.8:
            batch.delete(row(key))
        else:
            batch.delete_range(row(key), row(key + b"\xff"))
    if rng.random() < 0.3:
        batch.put(EXTENT + b"\x00applied", rng.randbytes(4))
    return batch


def some_request(rng: Random) -> ScanRange:
    shared = rng.choice(HASHES)
    low, high = sorted((shared + b"%02d" % rng.randrange(41), shared + b"%02d" % rng.randrange(41)))
    if rng.random() < 0.4:
        low, high = shared, shared + b"\xff"
    limit = rng.choice([None, None, 1, 2, 10, 60])
    return ScanRange(low, high, limit, rng.choice([1, 900, 8_000, 1 << 16]), rng.random() < 0.4, True)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_kept_is_never_seen(rows: Rows, seed: int) -> None:
    rng = Random(seed)
    for _ in range(700):
        if rng.random() < 0.15:
            rows.engine.write(some_write(rng))
        request = some_request(rng)
        assert rows.read(request) == rows.walk(request)
    asked = rows.walks - 700
    assert asked < 600, "hardly anything was kept"


def test_the_check_above_finds_a_write_that_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "wrote", lambda self, batch: None)
    engine = MemoryEngine(lambda done: done())
    with pytest.raises(AssertionError):
        test_what_is_kept_is_never_seen(Rows(engine), 0)


def test_pages_of_one_partition_key_meet(rows: Rows) -> None:
    """A page that begins where another ended, then any part of both without the engine, in either direction."""
    shared = HASHES[0]
    for number in range(20):
        rows.put(shared + b"%02d" % number)
    first = rows.read(ScanRange(shared, shared + b"\xff", 10))
    assert first.last_key == shared + b"09"
    rows.read(ScanRange(shared + b"09\x00", shared + b"\xff"))
    read = rows.walks
    assert len(rows.read(ScanRange(shared, shared + b"\xff")).items) == 20
    assert len(rows.read(ScanRange(shared + b"05", shared + b"15", None, 1 << 20, True)).items) == 10
    assert rows.read(ScanRange(shared + b"19\x00", shared + b"\xff")).items == []
    assert rows.walks == read


def test_a_write_of_another_partition_key_or_space_lets_it_be(rows: Rows) -> None:
    shared, other = HASHES
    rows.put(shared + b"1")
    request = ScanRange(shared, shared + b"\xff")
    rows.read(request)
    rows.put(other + b"1")
    batch = Batch()
    batch.put(EXTENT + b"\x00applied", b"2")
    batch.put(EXTENT + b"\x02" + shared + b"1", b"of another space")
    rows.engine.write(batch)
    read = rows.walks
    assert len(rows.read(request).items) == 1
    assert rows.walks == read
    rows.put(shared + b"2")
    assert len(rows.read(request).items) == 2
    assert rows.walks == read + 1


def test_ranges_of_several_partition_keys_are_not_kept(rows: Rows) -> None:
    rows.put(HASHES[0] + b"1")
    rows.put(HASHES[1] + b"1")
    for request in (ScanRange(b"", b""), ScanRange(HASHES[0], HASHES[1] + b"\xff"), ScanRange(HASHES[0], b"")):
        read = rows.walks
        assert rows.read(request) == rows.read(request)
        assert rows.walks == read + 2


def test_a_long_stretch_is_not_kept_and_does_not_drive_out_a_short_one(rows: Rows) -> None:
    shared = HASHES[0]
    for number in range(60):
        rows.engine.write(one(shared + b"%02d" % number, b"x" * 5_000))
    assert STRETCH_BYTES < 60 * 5_000
    short = ScanRange(shared, shared + b"05")
    rows.read(short)
    rows.read(ScanRange(shared + b"05", shared + b"\xff", None, 1 << 20))
    read = rows.walks
    assert len(rows.read(short).items) == 5
    assert rows.walks == read


def one(key: bytes, content: bytes) -> Batch:
    batch = Batch()
    batch.put(row(key), encode_stored(content, len(content), 1))
    return batch


# --- what is kept, by itself


def shared_of(number: int) -> bytes:
    return b"%0*d" % (SHARED_BYTES, number)


def test_what_is_kept_is_bounded_and_what_is_asked_for_stays() -> None:
    kept = Kept(20_000)
    kept.keep(shared_of(0), "asked for", 800)
    for number in range(1, 200):
        kept.keep(shared_of(number), number, 800)
        assert kept.find(shared_of(0)) == "asked for"
        assert kept.size_bytes <= 20_000
    assert kept.find(shared_of(1)) is None
    assert kept.find(shared_of(199)) == 199


def test_what_is_larger_than_the_bound_is_not_kept_nor_what_was_there_before() -> None:
    kept = Kept(2_000)
    kept.keep(shared_of(1), "small", 10)
    kept.keep(shared_of(1), "large", 2_000)
    assert kept.find(shared_of(1)) is None
    assert kept.size_bytes == 0


def test_what_has_become_old_is_forgotten_when_it_is_written_too() -> None:
    kept = Kept(4_000)
    kept.keep(shared_of(1), "old", 1_000)
    kept.keep(shared_of(2), "young", 1_000)  # the first goes to the older generation
    batch = Batch()
    batch.put(shared_of(1) + b"any row", b"")
    kept.wrote(batch)
    assert kept.find(shared_of(1)) is None
    assert kept.find(shared_of(2)) == "young"
