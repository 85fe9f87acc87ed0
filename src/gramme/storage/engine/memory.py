"""The engine in memory: `gramme dev --in-memory` and simulation.

It keeps the contract of `gramme.storage.engine.contract`, crashes included: `crash` loses a random suffix of the
batches that no completed flush covers, which is exactly what a RocksDB without its own log may lose when its process is
killed (REPLICATION.md §6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from gramme.kernel.errors import Stalled
from gramme.kernel.ports import Randomness
from gramme.storage.engine.contract import Batch, View
from gramme.storage.engine.kept import Kept
from gramme.storage.engine.sorted_map import Snapshot, SortedMap

_KEPT_BYTES: Final = 8 << 20


class MemoryEngine:
    """An ordered map in memory with the engine's contract.

    `schedule` runs a callback later on the loop: it completes flushes (at once after the current event in production,
    after a virtual delay in simulation). With `crashable` the engine keeps the batches since the last completed
    flush, for `crash`; without, they cost nothing. At most `kept_bytes` of what reads have made of rows are kept.
    """

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], None],
        *,
        crashable: bool = False,
        kept_bytes: int = _KEPT_BYTES,
    ) -> None:
        self.kept = Kept(kept_bytes)
        self._schedule = schedule
        self._crashable = crashable
        self._rows = SortedMap()
        self._durable: Snapshot = self._rows.snapshot()
        self._journal: deque[Batch] = deque()  # applied since `_durable`, oldest first
        self._dropped = 0  # batches that left the journal, so that positions in it can be named
        self._life = 0  # grows at a crash and at close: flushes of an earlier life never complete
        self.stalled = False
        """Fault injection: while set, `write` asks for back-pressure."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if it is absent."""
        return self._rows.get(key)

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False, skip: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end as they are at this call; descending if `reverse`, keys without their first
        `skip` bytes."""
        rows = self._rows.snapshot().scan(start, end, reverse=reverse)
        return ((key[skip:], value) for key, value in rows) if skip else rows

    def view(self) -> View:
        """See `Engine`. Constant time."""
        return self._rows.snapshot()

    def write(self, batch: Batch) -> None:
        """Apply `batch`. Raises `Stalled`, and writes nothing, while `stalled` is set."""
        if self.stalled:
            raise Stalled("the engine cannot take a write now")
        self._apply(batch)
        self.kept.wrote(batch)
        if self._crashable:
            kept = Batch()  # the caller may reuse its batch
            kept.ops = batch.ops.copy()
            self._journal.append(kept)

    def _apply(self, batch: Batch) -> None:
        rows = self._rows
        for key, value, end in batch.ops:
            if value is not None:
                rows.put(key, value)
            elif end is None:
                rows.delete(key)
            else:
                rows.delete_range(key, end)

    def flush(self, on_done: Callable[[], None]) -> None:
        """Make durable what was written before this call, then call `on_done` from `schedule`."""
        if not self._crashable:
            life = self._life
            self._schedule(lambda: on_done() if life == self._life else None)
            return
        rows, position, life = self._rows.snapshot(), self._dropped + len(self._journal), self._life
        self._schedule(lambda: self._flushed(rows, position, on_done) if life == self._life else None)

    def _flushed(self, rows: Snapshot, position: int, on_done: Callable[[], None]) -> None:
        if position > self._dropped:  # else a flush that began later has completed already
            self._durable = rows
            while self._dropped < position:
                self._journal.popleft()
                self._dropped += 1
        on_done()

    def crash(self, rng: Randomness) -> None:
        """Lose a random suffix of the batches since the last completed flush, as a killed process would.

        Flushes under way never complete. The engine is then as if it had been opened again.
        """
        assert self._crashable, "only a crashable engine keeps what a crash needs"
        survivors = list(self._journal)[: rng.randrange(len(self._journal) + 1)]
        self._rows = self._durable.thaw()
        for batch in survivors:
            self._apply(batch)
        self._durable = self._rows.snapshot()  # what a reopened store holds is on its disk
        self._journal.clear()
        self._dropped = 0
        self._life += 1
        self.stalled = False
        self.kept.clear()

    def disk_usage(self) -> int:
        """Bytes of all keys and values: what stands in for the disk here."""
        return self._rows.size_bytes

    def close(self) -> None:
        """Flushes under way never complete. The rows stay, for a restart in simulation."""
        self._life += 1
