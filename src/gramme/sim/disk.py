"""A node's log disk under virtual time, with the faults that disks have.

Owns what is durable and what only was written. The rule: a crash decides for every 512-byte sector on its own which of
the images it had since the last completed fsync survives, so an unfinished fsync may have persisted anything in any
order; nothing that a completed fsync covered is ever lost, unless a fault is asked for. Everything random comes from
the generator that is passed in. Source: REPLICATION.md §5, §10; fault model of protocol-aware recovery (FAST 2018,
section 2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from gramme.kernel.ports import Randomness, SegmentWrite
from gramme.kernel.time import MICROSECOND
from gramme.storage.log.layout import IDENTIFIERS_AT

SECTOR_BYTES: Final = 512


class _Job(NamedTuple):
    writes: list[SegmentWrite]
    deletes: list[int]
    on_durable: Callable[[], None] | None


class SimLogDisk:
    """`LogDisk` of one simulated node. It outlives the node's processes: `crash` ends one, `reopen` begins the next.

    `schedule(delay_ns, callback)` runs a callback in virtual time. One fsync takes `least_ns` to four times that, or
    any of `times_ns` where there are such; jobs that wait meanwhile share the next one, as with the real writer. Half
    of those of a disk with `swift_ns` take less than that: the callbacks of one turn of a loop see them end.
    `on_failure(reason)` is called when a write cannot be carried out: the node must stop. `free` is the free space in
    bytes, for a test to set: writes do not use it up, but an fsync that needs more fails.
    """

    def __init__(
        self,
        rng: Randomness,
        schedule: Callable[[int, Callable[[], None]], object],
        on_failure: Callable[[str], None] = lambda _reason: None,
        *,
        free: int = 1 << 40,
        least_ns: int = 150 * MICROSECOND,
        times_ns: Sequence[int] = (),
        swift_ns: int = 0,
    ) -> None:
        self.on_failure = on_failure
        self.least_ns = least_ns
        self._times_ns = times_ns
        self._swift_ns = swift_ns
        self.free = free
        self.fsyncs = 0
        self._rng = rng
        self._schedule = schedule
        self._durable: dict[int, bytearray] = {}
        self._waiting: deque[_Job] = deque()
        self._syncing: list[_Job] = []
        self._life = 0
        self._failed = False
        self._fail_next = False
        self._hangs = self._withheld = False
        self._submitted = False
        self._newest = (0, 0)
        self._first: dict[int, int] = {}

    # -- the port ---------------------------------------------------------------------------------------------------

    def segments(self) -> list[int]:
        """Numbers of the segments that exist, ascending. Only before the first `submit`."""
        assert not self._submitted, "segments are read before the log is written"
        return sorted(self._durable)

    def read(self, segment: int) -> bytes:
        """The whole segment. Only before the first `submit`. Raises FileNotFoundError."""
        assert not self._submitted, "segments are read before the log is written"
        if segment not in self._durable:
            raise FileNotFoundError(f"log segment {segment}")
        return bytes(self._durable[segment])

    def submit(self, writes: Iterable[SegmentWrite], on_durable: Callable[[], None]) -> None:
        """Carry `writes` out and make them durable in virtual time; see `LogDisk.submit`."""
        self._submitted = True
        self._enqueue(_Job(list(writes), [], on_durable))

    def delete(self, segment: int) -> None:
        """Remove a segment with the next fsync; before that a crash may bring it back."""
        self._enqueue(_Job([], [segment], None))

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return self.free

    # -- virtual time -----------------------------------------------------------------------------------------------

    def _enqueue(self, job: _Job) -> None:
        if self._failed:
            return  # a disk that failed answers nothing any more
        self._waiting.append(job)
        if not self._syncing:
            self._begin()

    def _begin(self) -> None:
        self._syncing = list(self._waiting)
        self._waiting.clear()
        life = self._life
        self._schedule(self._draw_ns(), lambda: self._done(life))

    def _draw_ns(self) -> int:
        if self._times_ns:
            return self._times_ns[self._rng.randrange(len(self._times_ns))]
        if self._swift_ns and self._rng.randrange(2):
            return self._rng.randrange(self._swift_ns)
        return self.least_ns + self._rng.randrange(3 * self.least_ns)

    def _done(self, life: int) -> None:
        if life != self._life:
            return  # the process that waited for this fsync is gone
        self._withheld = self._hangs
        if self._hangs:
            return
        refused = self._refused()
        if refused:
            self._failed = True
            self.on_failure(refused)
            return
        jobs, self._syncing = self._syncing, []
        self.sync_jobs([(job.writes, job.deletes) for job in jobs])
        self.fsyncs += 1
        if self._waiting:
            self._begin()
        for job in jobs:
            if job.on_durable is not None and life == self._life:
                job.on_durable()

    def _refused(self) -> str:
        if self._fail_next:
            return "writing the log failed: Input/output error"
        growth = sum(map(self._growth, (write for job in self._syncing for write in job.writes)))
        if growth > self.free:
            return "writing the log failed: No space left on device"
        return ""

    def _growth(self, write: SegmentWrite) -> int:
        return max(0, write.offset + len(write.data) - len(self._durable.get(write.segment, b"")))

    def sync_jobs(self, jobs: list[tuple[list[SegmentWrite], list[int]]]) -> None:
        """Make jobs, (writes, deletes) each, durable. A lying disk is a subclass that leaves some of it out."""
        for writes, deletes in jobs:
            for write in writes:
                _put(self._durable.setdefault(write.segment, bytearray()), write.offset, write.data)
            if any(write.offset >= IDENTIFIERS_AT for write in writes):
                # The records stand behind everything else that a job writes.
                segment = min(write.segment for write in writes)
                offset = max(write.offset for write in writes if write.segment == segment)
                self._newest = segment, offset
                self._first.setdefault(segment, offset)
            for segment in deletes:
                self._durable.pop(segment, None)

    # -- faults -----------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """The node and its machine stop. Unsynced writes are lost, kept, or torn sector by sector."""
        pending = [*self._syncing, *self._waiting]
        self._syncing, self._failed, self._fail_next, self._withheld = [], False, False, False
        self._waiting.clear()
        self._life += 1
        keep = self._rng.randrange(4)  # 0: nothing, 1: all, else: each sector by itself
        if keep == 0:
            return
        self._tear([write for job in pending for write in job.writes], all_kept=keep == 1)
        self._delete_some([segment for job in pending for segment in job.deletes], all_kept=keep == 1)

    def kill(self) -> None:
        """Only the process stops (`kill -9`): its log writer still finishes all that was submitted."""
        pending = [*self._syncing, *self._waiting]
        refused = self._failed or bool(self._refused())
        self._syncing, self._failed, self._fail_next, self._withheld = [], False, False, False
        self._waiting.clear()
        self._life += 1
        if not refused:
            self.sync_jobs([(job.writes, job.deletes) for job in pending])

    def reopen(self) -> None:
        """A new process begins: it may read the log until it submits."""
        assert not self._syncing, "crash() or kill() comes first"
        assert not self._waiting, "crash() or kill() comes first"
        self._submitted = False

    def flip(self, segment: int, offset: int, bit: int = 0) -> None:
        """Bit rot: turn one bit of what is durable. Raises KeyError, IndexError where nothing is."""
        self._durable[segment][offset] ^= 1 << bit

    def truncate(self, segment: int, size_bytes: int) -> None:
        """A planted fault: what was synced behind `size_bytes` is gone."""
        del self._durable[segment][size_bytes:]

    def wipe(self, segment: int, offset: int) -> None:
        """A sector that reads as zeros: the one of `offset`. Raises KeyError where there is no such segment."""
        content = self._durable[segment]
        start = offset - offset % SECTOR_BYTES
        content[start : start + SECTOR_BYTES] = bytes(min(SECTOR_BYTES, len(content) - start))

    def marked_records(self, segment: int) -> range:
        """Offsets of the records of a segment that stand before the newest job that was synced, and so have a later
        mark to testify for them: what of the newest job is lost cannot be told from a torn write (decision 0002)."""
        newest, offset = self._newest
        start = self._first.get(segment, 0)
        if not start or segment > newest:
            return range(0)
        return range(start, offset if segment == newest else self.size_bytes(segment))

    def size_bytes(self, segment: int) -> int:
        """How long a segment is on the disk; 0 where there is none."""
        return len(self._durable.get(segment, b""))

    def contents(self) -> dict[int, bytes]:
        """A copy of what is on the disk now."""
        return {segment: bytes(content) for segment, content in sorted(self._durable.items())}

    def restore(self, contents: dict[int, bytes]) -> None:
        """Take back what was done to the disk since `contents`."""
        self._durable = {segment: bytearray(content) for segment, content in contents.items()}

    def stored(self) -> list[int]:
        """Numbers of the segments on the disk now, ascending; for faults and checks."""
        return sorted(self._durable)

    def hang(self, hangs: bool) -> None:
        """No fsync comes back from now on, or all go on. A process that is killed meanwhile has written what it gave to
        the disk: what hung was the answer."""
        self._hangs = hangs
        if self._withheld and not hangs:
            self._withheld = False
            life = self._life
            self._schedule(self.least_ns, lambda: self._done(life))

    def fail_next(self) -> None:
        """The fsync under way, or the next one, fails."""
        self._fail_next = True

    def _tear(self, writes: list[SegmentWrite], *, all_kept: bool) -> None:
        """Every sector survives as one of the images that it had: the durable one, or after any of the writes."""
        images: dict[tuple[int, int], list[bytes]] = {}
        written: dict[int, bytearray] = {}
        for write in writes:
            content = written.get(write.segment)
            if content is None:
                content = written[write.segment] = bytearray(self._durable.get(write.segment, b""))
            _put(content, write.offset, write.data)
            first, last = write.offset // SECTOR_BYTES, (write.offset + len(write.data) - 1) // SECTOR_BYTES
            for sector in range(first, last + 1):
                image = bytes(content[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES])
                images.setdefault((write.segment, sector), []).append(image)
        for segment in written:
            if segment not in self._durable and (all_kept or self._rng.randrange(4)):
                self._durable[segment] = bytearray()  # the name survived; else the whole new file is gone
        for (segment, sector), versions in images.items():
            chosen = len(versions) if all_kept else self._rng.randrange(len(versions) + 1)
            if chosen and segment in self._durable:
                _put(self._durable[segment], sector * SECTOR_BYTES, versions[chosen - 1])

    def _delete_some(self, segments: list[int], *, all_kept: bool) -> None:
        """Deletions survive in order: any number of the last ones is undone."""
        kept = len(segments) if all_kept else self._rng.randrange(len(segments) + 1)
        for segment in segments[:kept]:
            self._durable.pop(segment, None)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    """Write into a file that is zeros wherever nothing was written."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
