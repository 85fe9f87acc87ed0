"""Segments as a dictionary of bytes, for tests of the log that need no disk."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from gramme.kernel.ids import Ballot, ClusterId, GroupId, Slot
from gramme.kernel.ports import SegmentWrite
from gramme.kernel.record import Record, RecordKind
from gramme.storage.log.recovery import Recovery, recover
from gramme.storage.log.shared import LogJob, LogSettings, SharedLog

CLUSTER = ClusterId(b"0123456789abcdef")
SMALL = LogSettings(segment_bytes=32768, identifiers_per_segment=32)
SECTOR = 512


def entry(slot: int, body: bytes = b"body", group: int = 7, kind: RecordKind = RecordKind.ACCEPT) -> Record:
    """A record with every field set."""
    return Record(kind, GroupId(group), Slot(slot), Ballot(3 << 16 | 1), 2, 9, body)


def checkpoint() -> list[Record]:
    """What a node with nothing to say repeats."""
    return [Record(RecordKind.NODE_CHECKPOINT, GroupId(0), Slot(0), Ballot(0), 0, 0, b"node")]


class Files:
    """The content of segments after the writes given to it."""

    def __init__(self, content: dict[int, bytearray] | None = None) -> None:
        self.content: dict[int, bytearray] = content or {}

    def put(self, writes: Iterable[SegmentWrite]) -> None:
        """Carry `writes` out."""
        for segment, offset, data in writes:
            file = self.content.setdefault(segment, bytearray())
            if len(file) < offset:
                file.extend(bytes(offset - len(file)))
            file[offset : offset + len(data)] = data

    def copy(self) -> Files:
        """Another one with the same bytes."""
        return Files({number: bytearray(data) for number, data in self.content.items()})

    def recover(self) -> Recovery:
        """Read them."""
        return recover([(number, bytes(data)) for number, data in sorted(self.content.items())], CLUSTER)


class Bench:
    """A log whose jobs are durable at once in `files`, and all records that it was given."""

    def __init__(self, settings: LogSettings = SMALL, recovery: Recovery | None = None) -> None:
        self.files = Files()
        self.log = SharedLog(CLUSTER, settings, checkpoint, recovery)

    def job(self, *records: Record) -> LogJob:
        """Append and take, without writing."""
        self.log.append(records)
        job = self.log.take()
        assert job is not None
        return job

    def write(self, *records: Record) -> LogJob:
        """Append `records` and make them durable."""
        job = self.job(*records)
        self.files.put(job.writes)
        self.log.on_durable(job)
        return job

    def mark(self) -> None:
        """The log goes idle."""
        mark = self.log.take_mark()
        assert mark is not None
        self.files.put([mark])


def sectors(writes: Iterable[SegmentWrite]) -> list[tuple[int, int]]:
    """The (segment, sector) pairs that `writes` touch, in order."""
    found: dict[tuple[int, int], None] = {}
    for segment, offset, data in writes:
        for sector in range(offset // SECTOR, (offset + len(data) - 1) // SECTOR + 1):
            found[segment, sector] = None
    return list(found)


def keep_sectors(before: Files, after: Files, kept: Iterable[tuple[int, int]]) -> Files:
    """`before` with the sectors `kept` as they are in `after`."""
    mixed = before.copy()
    for segment, sector in kept:
        at = sector * SECTOR
        mixed.put([SegmentWrite(segment, at, bytes(after.content[segment][at : at + SECTOR]))])
    return mixed


def random_records(rng: Random, count: int, longest: int = 700) -> list[Record]:
    """Accepted entries of a few groups, bodies of up to `longest` bytes."""
    return [entry(n + 1, rng.randbytes(rng.randrange(longest)), 1 + rng.randrange(3)) for n in range(count)]
