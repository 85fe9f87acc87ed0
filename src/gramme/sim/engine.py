"""The engine of a simulated machine: production's engine in memory, and what a run wants to know of it.

Rule: to be looked at changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gramme.storage.engine.contract import Batch
from gramme.storage.engine.memory import MemoryEngine


class SimEngine(MemoryEngine):
    """See the module. `walks` counts the scans; `note` is told of marks of coverage."""

    def __init__(
        self, schedule: Callable[[Callable[[], None]], None], kept_bytes: int, note: Callable[[str], None]
    ) -> None:
        super().__init__(schedule, crashable=True, kept_bytes=kept_bytes)
        self.walks = 0
        self._note = note

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False, skip: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """See `Engine`."""
        self.walks += 1
        return super().scan(start, end, reverse=reverse, skip=skip)

    def write(self, batch: Batch) -> None:
        """See `Engine`."""
        before = self.kept.size_bytes
        super().write(batch)
        if self.kept.size_bytes < before:
            self._note("rows that were kept are forgotten because one is written")
