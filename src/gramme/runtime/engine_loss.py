"""A damaged engine is put aside, and the node goes on with an empty one: the other nodes have its rows.

Owns `engine.lost` in the data directory: why the engine cannot be relied on. Rule: written before the process that
found the damage ends, and removed only when the log says durably which replicas are to be made anew
(docs/design/reconfiguration.md): a start in between puts the engine aside once more, which costs nothing that is not
copied again. A cluster of one has nobody to copy from, and keeps what it has.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from gramme.runtime.disk.directory import sync_directory, write_durably

ENGINE: Final = "engine"
DAMAGED: Final = "engine.damaged"
_NOTE: Final = "engine.lost"


class EngineLoss:
    """Of one data directory, whose lock is held."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._note = directory / _NOTE

    @property
    def reason(self) -> str:
        """Why the engine is, or is to be, an empty one; "" if it is sound as far as is known."""
        return self._note.read_text(encoding="utf-8") if self._note.exists() else ""

    def note(self, reason: str) -> None:
        """The engine must not be opened again. Durable on return."""
        if not self._note.exists():
            write_durably(self._note, reason)

    def put_aside(self) -> None:
        """Make room for an empty engine; the last damaged one is kept for whoever wants to look at it."""
        engine, damaged = self._directory / ENGINE, self._directory / DAMAGED
        if engine.exists():
            shutil.rmtree(damaged, ignore_errors=True)
            engine.rename(damaged)
            sync_directory(self._directory)

    def settled(self) -> None:
        """The log says what is to be made anew: the engine that is here now may be kept."""
        self._note.unlink(missing_ok=True)
        sync_directory(self._directory)
