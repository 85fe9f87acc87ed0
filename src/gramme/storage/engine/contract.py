"""The engine's contract (REPLICATION.md §6): an ordered map with atomic batches and no log of its own.

The node's shared log is the write-ahead log. A crash loses every batch that no completed flush covers, but what
remains is always a *prefix* of the batches, no older than the last flush that completed. One suite
(`tests/storage/test_engine_contract.py`) runs over every implementation, crashes included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gramme.storage.engine.kept import Kept


class Batch:
    """Writes that become visible, and survive, together. Operations apply in the order they were added."""

    __slots__ = ("clears", "ops", "size_bytes")

    def __init__(self) -> None:
        self.ops: list[tuple[bytes, bytes | None, bytes | None]] = []  # (key, value | None, range end | None)
        self.size_bytes = 0
        self.clears = False
        """Whether a range of keys is deleted: then the order of operations on different keys matters."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        self.ops.append((key, value, None))
        self.size_bytes += len(key) + len(value)

    def delete(self, key: bytes) -> None:
        """Remove `key`, whether it exists or not."""
        self.ops.append((key, None, None))
        self.size_bytes += len(key)

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Remove every key in [start, end)."""
        self.ops.append((start, None, end))
        self.clears = True
        self.size_bytes += len(start) + len(end)


class View(Protocol):
    """Reads of one consistent state."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in key order, or from the highest down. The rows are those of the moment of
        the call: writes during the iteration are not seen."""


class Engine(View, Protocol):
    """A node's one engine. All calls are made from the node's loop."""

    kept: Kept
    """What readers have kept of the rows as they are now. The engine tells it of each batch as it becomes visible."""

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False, skip: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """As `View.scan`; the keys come without their first `skip` bytes."""

    def write(self, batch: Batch) -> None:
        """Apply `batch` atomically. Raises `Stalled` (and writes nothing) when the engine asks for back-pressure."""

    def view(self) -> View:
        """The rows as they are now, whatever is written later; old rows are kept as long as it is. A scan of a view
        ends where its next scan begins."""

    def flush(self, on_done: Callable[[], None]) -> None:
        """Make everything written before this call durable, then call `on_done` on the loop. Does not block."""

    def close(self) -> None:
        """Release files without flushing: what is not flushed is recovered from the log."""
