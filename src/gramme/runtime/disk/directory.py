"""A node's data directory: who may use it, and in which format it is.

The rule: a directory belongs to one node at a time, and is free only when the node *and* its log writer are gone, for
a writer that outlives its node still finishes what it read. So there are two locks: `lock` is held by the node,
`log/lock` by node and writer; a new node is refused at once by the first and waits for the second.
Source: REPLICATION.md §3 (a group of one: the lock proves that the old holder is dead), DESIGN.md §6.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gramme.kernel.errors import GrammeError, Incompatible

DATA_FORMAT: Final = 1
_WRITER_WAIT_S: Final = 30.0


class DirectoryInUse(GrammeError):
    """Another node holds the data directory; nothing in it was touched."""


class DataDirectory:
    """A data directory, created where it is missing, locked until `close` (and, for the log, until the writer ends).

    Raises `DirectoryInUse` when another node is running there, `Incompatible` for a newer data format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"
        self.log.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._node_lock = _lock(path / "lock", path, wait_s=0.0)
        try:
            self.log_lock = _lock(self.log / "lock", path, wait_s=_WRITER_WAIT_S)
            try:
                self._check_format()
            except BaseException:
                os.close(self.log_lock)
                raise
        except BaseException:
            os.close(self._node_lock)
            raise

    def _check_format(self) -> None:
        file = self.path / "format"
        if not file.exists():
            if any(self.log.glob("*.seg")):
                raise Incompatible(f"{file} is missing, but the directory holds a log: its format cannot be told")
            write_durably(file, f"{DATA_FORMAT}\n")
            return
        text = file.read_text().strip()
        if not text.isdigit() or int(text) != DATA_FORMAT:
            raise Incompatible(
                f"{self.path} has data format {text[:40] or 'nothing'}; this release reads and writes format "
                f"{DATA_FORMAT}. Start the release that wrote it."
            )

    def close(self) -> None:
        """Give the locks up, as far as this process holds them."""
        os.close(self.log_lock)
        os.close(self._node_lock)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(file: Path, text: str) -> None:
    """Write a small file so that after a crash it is there whole or not at all."""
    draft = file.with_suffix(".tmp")
    with draft.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.rename(file)
    sync_directory(file.parent)
    sync_directory(file.parent.parent)


def _lock(file: Path, directory: Path, wait_s: float) -> int:
    """Take an flock; it belongs to the open file, so a child that inherits the descriptor holds it too."""
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                holder = os.pread(fd, 20, 0).decode(errors="replace").strip()
                os.close(fd)
                raise DirectoryInUse(
                    f"data directory {directory} is in use by process {holder or '(unknown)'}; "
                    f"one directory serves one node"
                ) from None
            time.sleep(0.005)
        else:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd


def read_segments(directory: Path) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the log segments of a data directory whose node is stopped, ascending; changes nothing.

    Raises FileNotFoundError where there is no log.
    """
    log = directory / "log"
    if not log.is_dir():
        raise FileNotFoundError(f"{directory} is no data directory: it has no log")
    for file in sorted(log.glob("*.seg"), key=lambda file: int(file.stem)):
        yield int(file.stem), file.read_bytes()
