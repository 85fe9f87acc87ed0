"""The log's disk of `--in-memory`: it keeps nothing, since nothing of such a node outlives its process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gramme.kernel.ports import SegmentWrite

_FREE_BYTES: Final = 1 << 50


class MemoryLogDisk:
    """`LogDisk` without a disk. `call_soon` is the loop's: answers come in later turns, as from a real disk."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon

    def segments(self) -> list[int]:
        """There never are any."""
        return []

    def read(self, segment: int) -> bytes:
        """Raises FileNotFoundError."""
        raise FileNotFoundError(f"log segment {segment} of a node in memory")

    def submit(self, writes: Iterable[SegmentWrite], on_durable: Callable[[], None]) -> None:
        """Forget `writes` and call `on_durable` in a later turn of the loop."""
        self._call_soon(on_durable)

    def delete(self, segment: int) -> None:
        """Nothing is kept that could go."""

    def free_bytes(self) -> int:
        """Never short of space: the engine's limits hold."""
        return _FREE_BYTES
