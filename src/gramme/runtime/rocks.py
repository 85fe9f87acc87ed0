"""The production engine: one RocksDB with one column family and its own log switched off (REPLICATION.md §6).

The node's shared log is the write-ahead log. One column family means one memtable sequence, so whatever flushes
survive a crash, the rest is a prefix of the batches (two families lose that: an applied mark survived its rows).
Batches are gathered, the newest value of each key, and reach RocksDB as one write of its own: whole batches in their
order, so what a crash leaves is still a prefix of them (docs/decisions/0106).
Writes never wait: where RocksDB would delay them, it refuses and the engine raises `Stalled`. A flush runs in a
thread: rocksdict releases the GIL in it and nobody's latency hangs on it.

Five things about rocksdict 0.3.29 that this file works round, each held by a test: `items()` ends silently at a
damaged block (so rows are read with the plain iterator, whose status is asked); `set_iterate_lower_bound` sets the
upper bound; an iterator that lives keeps a closed database locked; a `Snapshot` iterates over the rows of now; a
database that exists gets the options it was closed with, without its filters and with a block cache of 8 MB, unless its
column family is named with options of its own (docs/decisions/0113).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from heapq import merge
from operator import itemgetter
from pathlib import Path
from time import sleep
from typing import Any, NoReturn

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DataBlockIndexType,
    DBCompressionType,
    Env,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from gramme.kernel.errors import Corruption, GrammeError, Stalled
from gramme.storage.engine.contract import Batch, View
from gramme.storage.engine.kept import Kept

_STALL = "Write stall"  # of RocksDB's Status::Incomplete for a write with no_slowdown
_CORRUPTION = "Corruption"
_FAMILY = "default"
_ASKED_SLOTS = 1 << 16
_KEPT_ROW_BYTES = 16 << 10
_ROW_OVERHEAD_BYTES = 200
_GATHER_NOTHING = -1
_STALL_RETRY_S = 0.01


def _ignore(_damage: str) -> None:
    pass


class EngineFailure(GrammeError):
    """RocksDB could not open, write or flush. The node must stop: what it acknowledges would outgrow its disk."""


@dataclass(frozen=True, slots=True)
class RocksSettings:
    """Memory and shape of the store. The defaults hold it under 460 MB: four write buffers and the caches.

    The node flushes by itself, so a buffer is made large enough to be filled rarely in between.
    """

    write_buffer_bytes: int = 64 << 20
    write_buffers: int = 4
    block_cache_bytes: int = 128 << 20
    row_cache_bytes: int = 32 << 20
    kept_bytes: int = 32 << 20
    gathered_bytes: int = 64 << 10  # some 50 items of 900 bytes: more gives nothing and is felt as a pause
    compression: bool = True  # LZ4: measured as fast as none, and items in JSON shrink


class RocksEngine:
    """A node's engine in directory `path` (see `gramme.storage.engine.contract.Engine`).

    `call_soon_threadsafe` is the loop's: completed flushes are told through it. `on_failure` is called on the loop
    when a flush fails; it is not retried, the node must stop. `on_damage` hears of each damage that is found from then
    on, before whoever came upon it does. Raises `Corruption` for a damaged store and
    `EngineFailure` for one that does not open (in use, no permission, disk full).
    """

    def __init__(
        self,
        path: Path,
        call_soon_threadsafe: Callable[[Callable[[], None]], object],
        on_failure: Callable[[GrammeError], None],
        settings: RocksSettings | None = None,
        on_damage: Callable[[str], None] = _ignore,
    ) -> None:
        settings = settings or RocksSettings()
        self._path = path
        self._to_loop = call_soon_threadsafe
        self._on_failure = on_failure
        self._on_damage = on_damage
        self._cache = Cache(settings.block_cache_bytes)
        path.mkdir(parents=True, exist_ok=True)
        try:
            options = _options(settings, self._cache)
            self._db = Rdict(str(path), options, column_families={_FAMILY: options})
        except Exception as error:  # noqa: BLE001  (rocksdict raises nothing narrower)
            _fail(error, f"open {path}")
        self._write_options = _write_options()
        self._keeping = ReadOptions()  # those of a read whose block stays in the block cache
        self._db.set_read_options(_passing())
        self._asked = bytearray(_ASKED_SLOTS)  # a mark of the key that was last asked for in each slot; see `_get`
        self.kept = Kept(settings.kept_bytes)
        self._rows: dict[bytes, bytes] = {}  # read lately; see `_get`
        self._older: dict[bytes, bytes] = {}
        self._rows_bytes = 0
        self._rows_limit = settings.row_cache_bytes // 2
        self._gathered: dict[bytes, bytes | None] = {}  # what RocksDB does not have yet; None: deleted
        self._gathered_bytes = 0
        self._gathered_limit = settings.gathered_bytes
        self._waiting: list[Callable[[], None]] = []  # for a flush that has not begun
        self._flusher: threading.Thread | None = None
        self._flushing = False
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if it is absent. Raises `Corruption`."""
        value = self._rows.get(key)
        return self._get(key) if value is None else value

    def _get(self, key: bytes) -> bytes | None:
        """What was asked for twice within some 65,000 other rows stays in memory, and so does its block in RocksDB's
        cache; what was asked for once leaves no trace but a mark. In a table much larger than the caches nearly every
        read is of the second kind, and memory that is used again at once is warm (docs/decisions/0113).

        Rows stay in a dictionary, for RocksDB takes several times as long for one, wherever it has it. There are two
        generations; what is not read again before the younger one is full goes with the older."""
        if key in self._gathered:
            return self._gathered[key]
        value: bytes | None = self._older.pop(key, None)
        again = value is not None
        if value is None:
            sign = hash(key)
            slot, mark = sign & _ASKED_SLOTS - 1, sign >> 16 & 0xFF
            again = self._asked[slot] == mark
            try:
                value = self._db.get(key, None, self._keeping) if again else self._db.get(key)
            except Exception as error:  # noqa: BLE001
                self._fail(error, f"read {self._path}")
            self._asked[slot] = mark
        if again and value is not None and len(value) <= _KEPT_ROW_BYTES:
            self._keep(key, value)
        return value

    def _keep(self, key: bytes, value: bytes) -> None:
        size = len(key) + len(value) + _ROW_OVERHEAD_BYTES
        if self._rows_bytes + size > self._rows_limit:
            self._older, self._rows, self._rows_bytes = self._rows, {}, 0
        self._rows[key] = value
        self._rows_bytes += size

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False, skip: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end as they are at this call; descending if `reverse`, keys without their first
        `skip` bytes.

        The iteration raises `Corruption` at a damaged block. Drop the iterator when done: while it lives, it pins
        files and buffers, and a closed engine's directory stays locked.
        """
        if start >= end:
            return iter(())
        newer = self._gathered
        if newer:
            self._offer()
        options = ReadOptions()
        options.set_iterate_upper_bound(end)
        rows = self._db.iter(options)
        left = 0 if newer else skip
        if reverse:
            rows.seek_for_prev(end)
            found = self._descend(rows, start, options, left)
        else:
            rows.seek(start)
            found = self._ascend(rows, options, left)
        return _under(newer, start, end, found, reverse, skip) if newer else found

    def _offer(self) -> None:
        """Hand over what is gathered, so that RocksDB alone can answer a read. Reads do not fail because a write does:
        they find it gathered still, and whoever writes or flushes next hears of it."""
        with suppress(GrammeError):
            self._hand_over()

    def view(self) -> View:
        """See `Engine`. It pins files and buffers as an iterator does: drop it when done."""
        if self._gathered:
            self._offer()
        return _RocksView(self._db.iter(), self._db.iter(), self._check, self._gathered.copy())

    def _ascend(self, rows: RdictIter, options: ReadOptions, skip: int) -> Iterator[tuple[bytes, bytes]]:
        """`options` owns the memory of the upper bound, which rocksdict's iterator only points to: it must live as long
        as the iteration, or rows past the bound are returned."""
        key, value, step = rows.key, rows.value, rows.next
        while (found := value()) is not None:  # None: no longer valid
            yield key()[skip:], found
            step()
        self._check(rows)
        del options

    def _descend(self, rows: RdictIter, start: bytes, options: ReadOptions, skip: int) -> Iterator[tuple[bytes, bytes]]:
        """See `_ascend` for `options`."""
        key, value, step = rows.key, rows.value, rows.prev
        while (found := key()) is not None:
            if found < start:
                return
            yield found[skip:], value()
            step()
        self._check(rows)
        del options

    def _check(self, rows: RdictIter) -> None:
        """An iterator that is no longer valid has reached its end, or a damaged block: only its status tells."""
        try:
            rows.status()
        except Exception as error:  # noqa: BLE001
            self._fail(error, f"scan {self._path}")

    def write(self, batch: Batch) -> None:
        """Apply `batch` atomically. Raises `Stalled`, and writes nothing, when RocksDB asks for back-pressure.

        It is gathered with those before it. The one for which there is no room takes all of them to RocksDB with it, or
        is refused: what is gathered is bounded. A range is deleted at once, for what it deletes is in RocksDB.
        """
        size = self._gathered_bytes + batch.size_bytes + len(batch.ops) * _ROW_OVERHEAD_BYTES
        if batch.clears or size > self._gathered_limit:
            self._hand_over(batch.ops)
        else:
            self._gathered_bytes = size
            gathered = self._gathered
            for key, value, _ in batch.ops:
                gathered[key] = value
        if self._rows or self._older:
            self._renew(batch)
        self.kept.wrote(batch)

    def _hand_over(self, more: Iterable[tuple[bytes, bytes | None, bytes | None]] = ()) -> None:
        """Write to RocksDB what is gathered and then `more`, all of it or nothing. Raises `Stalled`, `Corruption`,
        `EngineFailure`."""
        rows = WriteBatch(raw_mode=True)
        put, delete = rows.put, rows.delete
        for key, value in self._gathered.items():
            if value is not None:
                put(key, value)
            else:
                delete(key)
        for key, value, end in more:
            if value is not None:
                put(key, value)
            elif end is None:
                delete(key)
            elif key < end:  # RocksDB refuses a range that ends before it begins
                rows.delete_range(key, end)
        try:
            self._db.write(rows, self._write_options)
        except Exception as error:  # noqa: BLE001
            self._fail(error, f"write {self._path}")
        self._gathered.clear()
        self._gathered_bytes = 0

    def _renew(self, batch: Batch) -> None:
        """What is kept of rows is what `batch` has just made of them."""
        rows, older = self._rows, self._older
        for key, value, end in batch.ops:
            if end is not None:
                rows.clear()
                older.clear()
                self._rows_bytes = 0
            elif key in rows:
                if value is None or len(value) > _KEPT_ROW_BYTES:
                    self._rows_bytes -= len(key) + len(rows.pop(key)) + _ROW_OVERHEAD_BYTES
                    continue
                self._rows_bytes += len(value) - len(rows[key])
                rows[key] = value
                if self._rows_bytes > self._rows_limit:
                    self._older, self._rows, self._rows_bytes = rows, {}, 0
                    rows, older = self._rows, self._older
            elif key in older:
                del older[key]

    def _fail(self, error: Exception, action: str) -> NoReturn:
        try:
            _fail(error, action)
        except Corruption as damage:
            self._on_damage(str(damage))
            raise

    def flush(self, on_done: Callable[[], None]) -> None:
        """Make durable what was written before this call, then call `on_done` on the loop. Does not block.

        Flushes asked for while one runs share the next one.
        """
        self._waiting.append(on_done)
        if not self._flushing:
            self._start_flush()

    def _start_flush(self) -> None:
        """Where RocksDB takes nothing now, the flush makes room, and those who asked for it wait for the next one."""
        self._flushing = True
        done: list[Callable[[], None]] = []
        try:
            if self._gathered:
                self._hand_over()
            done, self._waiting = self._waiting, []
        except Stalled:
            pass
        except GrammeError as failure:
            self._to_loop(partial(self._flushed, done, failure))
            return
        self._flusher = threading.Thread(target=self._run_flush, args=(done,), name="engine-flush", daemon=True)
        self._flusher.start()

    def _run_flush(self, done: list[Callable[[], None]]) -> None:
        """In the flush thread."""
        failure: BaseException | None = None
        try:
            self._db.flush(wait=True)
        except Exception as error:  # noqa: BLE001
            failure = error
        if not done:  # RocksDB took nothing, and a flush makes no room where it waits for compaction
            sleep(_STALL_RETRY_S)
        if not self._closed:
            self._to_loop(partial(self._flushed, done, failure))

    def _flushed(self, done: list[Callable[[], None]], failure: BaseException | None) -> None:
        if self._closed:
            return
        if failure is not None:  # `_flushing` stays set: no flush is tried again
            self._gathered_limit = _GATHER_NOTHING  # and every write is refused by RocksDB itself
            if str(failure).startswith(_CORRUPTION):
                self._on_damage(f"cannot flush {self._path}: {failure}")
            self._on_failure(EngineFailure(f"cannot flush {self._path}: {failure}"))
            return
        self._flushing = False
        for on_done in done:
            on_done()
        if self._waiting and not self._flushing:
            self._start_flush()

    def disk_usage(self) -> int:
        """Bytes of the table files on disk."""
        return self._property("rocksdb.total-sst-files-size")

    def memory_usage(self) -> int:
        """Bytes of the write buffers, the block cache and, at most, the rows kept and gathered beside it."""
        kept = self._rows_bytes + (self._rows_limit if self._older else 0) + self.kept.size_bytes
        return self._property("rocksdb.cur-size-all-mem-tables") + self._cache.get_usage() + kept + self._gathered_bytes

    def _property(self, name: str) -> int:
        return int(self._db.property_int_value(name) or 0)

    def close(self) -> None:
        """Release the files; flushes under way end, but no longer call back. Idempotent.

        rocksdict writes its buffers out when it closes: allowed by the contract (what is found at the next start is
        newer, still a prefix), and not relied upon. So its failure is no news: the log holds what it would have kept.
        """
        if self._closed:
            return
        self._closed = True
        self._rows.clear()
        self._older.clear()
        self.kept.clear()
        if self._flusher is not None:
            self._flusher.join()
        with suppress(Exception):
            self._hand_over()
        self._gathered.clear()
        self._gathered_limit = _GATHER_NOTHING  # so that a write after this is refused
        with suppress(Exception):
            self._db.close()


class _RocksView:
    """Iterators that were made at one moment, and so show it: one for `get`, one for `scan`. `newer` is over them."""

    def __init__(
        self, gets: RdictIter, scans: RdictIter, check: Callable[[RdictIter], None], newer: dict[bytes, bytes | None]
    ) -> None:
        self._gets = gets
        self._scans = scans
        self._check = check
        self._newer = newer

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if it is absent. Raises `Corruption`."""
        if key in self._newer:
            return self._newer[key]
        rows = self._gets
        rows.seek(key)
        if not rows.valid():
            self._check(rows)
            return None
        return rows.value() if rows.key() == key else None

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end. Raises `Corruption` at a damaged block. A scan ends where the next begins."""
        found = self._rocks_scan(start, end, reverse)
        return _under(self._newer, start, end, found, reverse) if self._newer else found

    def _rocks_scan(self, start: bytes, end: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        rows = self._scans
        if reverse:
            rows.seek_for_prev(end)
            if rows.valid() and rows.key() == end:
                rows.prev()
        else:
            rows.seek(start)
        while rows.valid():
            key = rows.key()
            if not start <= key < end:
                return
            yield key, rows.value()
            if reverse:
                rows.prev()
            else:
                rows.next()
        self._check(rows)


def _under(
    newer: dict[bytes, bytes | None],
    start: bytes,
    end: bytes,
    rows: Iterator[tuple[bytes, bytes]],
    reverse: bool,
    skip: int = 0,
) -> Iterator[tuple[bytes, bytes]]:
    """`rows` of [start, end) as they are once `newer`, as it is now, is written too; see `RocksEngine.scan`."""
    over = sorted(((key, value) for key, value in newer.items() if start <= key < end), reverse=reverse)
    return _merged(merge(over, rows, key=itemgetter(0), reverse=reverse), skip)


def _merged(rows: Iterator[tuple[bytes, bytes | None]], skip: int) -> Iterator[tuple[bytes, bytes]]:
    """Of rows of the same key only the first, and that unless it says that there is none."""
    last = None
    for key, value in rows:
        if key != last and value is not None:
            yield key[skip:], value
        last = key


def _passing() -> ReadOptions:
    options: Any = ReadOptions()
    options.fill_cache(False)  # the stubs forget the argument
    return options  # type: ignore[no-any-return]


def _write_options() -> WriteOptions:
    options: Any = WriteOptions()  # the stubs call the property `disable_wal` a method
    options.disable_wal = True
    options.no_slowdown = True
    assert options.disable_wal is True
    return options  # type: ignore[no-any-return]


def _options(settings: RocksSettings, cache: Cache) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_bloom_filter(10, False)
    table.set_format_version(5)
    table.set_data_block_index_type(DataBlockIndexType.binary_and_hash())
    table.set_block_restart_interval(1)  # so that the hash leads to the row itself (docs/decisions/0113)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(settings.write_buffer_bytes)
    options.set_max_write_buffer_number(settings.write_buffers)
    options.set_compression_type(DBCompressionType.lz4() if settings.compression else DBCompressionType.none())
    options.set_max_background_jobs(2)
    options.set_env(_environment())
    options.set_bytes_per_sync(1 << 20)  # spread the write-back of a flush
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(4 << 20)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options


def _environment() -> Env:
    """Flushes give way: nobody waits for one, and at equal priority it takes the loop's core for tens of milliseconds.
    Not compaction: with less than it needs, writes would be refused for want of it."""
    environment = Env()
    environment.lower_high_priority_thread_pool_cpu_priority()
    return environment


def _fail(error: Exception, action: str) -> NoReturn:
    """Raise rocksdict's error as one of ours: it tells kinds apart by text alone."""
    text = str(error)
    if _STALL in text:
        raise Stalled("the engine cannot take a write now") from error
    if text.startswith(_CORRUPTION):
        raise Corruption(f"cannot {action}: {text}") from error
    raise EngineFailure(f"cannot {action}: {text}") from error
