"""`gramme data check DIR`: reads log and engine of a stopped node as recovery would, and says what they hold.

Owns the walk over the files; what a log holds is `storage.log.inspect`'s to say. Rule: nothing in the directory is
changed, so that a damaged disk can be looked at before anything is decided. Source: REPLICATION.md §5, §6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rocksdict import AccessType, Options, Rdict

from gramme.kernel.errors import Corruption, InvalidInput
from gramme.kernel.ids import ExtentId
from gramme.node.applied_rows import applied_row
from gramme.runtime.disk.directory import DataDirectory
from gramme.storage.engine.rows import NODE_EXTENT, Space, split_row_key
from gramme.storage.log.inspect import inspect

_GROUP_BITS_BELOW = 16


@dataclass(slots=True)
class ExtentReport:
    """Rows and bytes of one extent by space."""

    rows: dict[Space, int] = field(default_factory=dict)
    size_bytes: int = 0


def check_directory(directory: Path, show: Callable[[str], None] = print) -> int:
    """Print what a stopped node's directory holds; 0 if it is sound, 1 if something is damaged.

    Raises `InvalidInput` for what is no data directory, `DirectoryInUse` while a node runs in it, `Incompatible` for a
    newer format.
    """
    if not (directory / "log").is_dir() or not (directory / "format").is_file():
        raise InvalidInput(f"{directory} is not the data directory of a node: it has no log")
    with closing(DataDirectory(directory)) as held:
        log = inspect(_segments(held.log))
        for line in log.lines():
            show(line)
        engine_sound = _check_engine(directory / "engine", show)
    return 0 if log.sound and engine_sound else 1


def _segments(log: Path) -> Iterator[tuple[int, bytes]]:
    for file in sorted(log.glob("*.seg")):
        if file.stem.isdigit():
            yield int(file.stem), file.read_bytes()


def _check_engine(path: Path, show: Callable[[str], None]) -> bool:
    if not path.is_dir():
        show("engine: none")
        return True
    try:
        with closing(_Rows(path)) as rows:
            extents = _read_rows(rows)
            for extent, report in sorted(extents.items()):
                show(_line(extent, report, rows))
    except Corruption as error:
        show(f"  DAMAGED {error}")
        show("  NOT SOUND: what the log still holds can be replayed, the rest comes from the other replicas")
        return False
    show("  sound")
    return True


def _read_rows(rows: _Rows) -> dict[ExtentId, ExtentReport]:
    """Reads every block, so that every checksum is verified."""
    extents: dict[ExtentId, ExtentReport] = {}
    for key, value in rows:
        try:
            extent, space, _ = split_row_key(key)
        except ValueError as error:
            raise Corruption(f"row {key.hex()}: {error}") from None
        report = extents.setdefault(extent, ExtentReport())
        report.rows[space] = report.rows.get(space, 0) + 1
        report.size_bytes += len(key) + len(value)
    return extents


def _line(extent: ExtentId, report: ExtentReport, rows: _Rows) -> str:
    counts = ", ".join(f"{count} {space.name.lower()}" for space, count in sorted(report.rows.items()))
    if extent == NODE_EXTENT:
        return f"  the node's own rows: {counts}, {report.size_bytes} bytes"
    applied = int.from_bytes((rows.get(applied_row(extent)) or b"")[:8], "big")  # the row begins with the slot
    group = extent >> _GROUP_BITS_BELOW
    return f"  extent {extent} (group {group}): applied slot {applied}, {counts}, {report.size_bytes} bytes"


class _Rows:
    """A RocksDB opened for reading only: no log is replayed, nothing compacted, nothing written."""

    def __init__(self, path: Path) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(False)
        self._path = path
        try:
            self._db = Rdict(str(path), options, access_type=AccessType.read_only())
        except Exception as error:  # noqa: BLE001  (rocksdict raises nothing narrower)
            raise Corruption(f"{path}: {error}") from None

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`. Raises `Corruption`."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:  # noqa: BLE001
            raise Corruption(f"{self._path}: {error}") from None
        return value

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        rows = self._db.iter()
        rows.seek_to_first()
        while rows.valid():
            yield rows.key(), rows.value()
            rows.next()
        try:
            rows.status()
        except Exception as error:  # noqa: BLE001
            raise Corruption(f"{self._path}: {error}") from None

    def close(self) -> None:
        """Release the files."""
        self._db.close()
