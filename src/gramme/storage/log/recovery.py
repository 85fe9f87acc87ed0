"""What a log holds after a crash: whole records in order, and the difference between a torn tail and damage.

The rule: every LSN up to the highest durable mark must be there, and what is not is damage; above it the longest whole
stretch counts, and the rest is the torn tail of jobs that were never acknowledged (docs/decisions/0002-torn-tail.md).
A record counts when its body passes the check of its identifier, read from either of the identifier's two places.
Source: REPLICATION.md §5; protocol-aware recovery (Alagappan et al., FAST 2018, section 3.3).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gramme.kernel.errors import Incompatible
from gramme.kernel.ids import ClusterId, Lsn
from gramme.kernel.record import Record
from gramme.storage.log.layout import Header, Identifier
from gramme.storage.log.retention import SegmentStats
from gramme.storage.log.scan import Gap, SegmentScan, scan_segment


class Damage(NamedTuple):
    """Records `lsn` … `lsn + records - 1` are lost, or (in `Recovery.healed`) were served from their other copy.

    `identifier` says which group and slot the record was of; None: unknown, it may have been of any group.
    `offset` is where it stands, or should, in its segment; `segment` 0: a segment that is not there at all.
    """

    segment: int
    offset: int
    lsn: Lsn
    records: int
    identifier: Identifier | None
    reason: str

    def __str__(self) -> str:
        lsns = f", {self.records} records from LSN {self.lsn}" if self.records else ""
        who = self.identifier
        owner = f", {who.kind.name} of group {who.group}, slot {who.slot}" if who else ""
        return f"segment {self.segment}, offset {self.offset}{lsns}{owner}: {self.reason}"


class Torn(NamedTuple):
    """The tail from `lsn` on was cut: part of jobs that no mark calls durable."""

    segment: int
    offset: int
    lsn: Lsn


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a node's log holds.

    `records` are in order. The log goes on at `next_lsn` in segment `next_segment`; neither was ever used before.
    `last_lsn` is the last LSN that counts (below `next_lsn - 1` when a torn tail was cut).
    """

    cluster: ClusterId | None
    records: list[tuple[Lsn, Record]]
    last_lsn: Lsn
    next_lsn: Lsn
    next_segment: int
    damaged: list[Damage]
    healed: list[Damage]
    torn: Torn | None
    segments: list[SegmentStats]

    def located(self) -> Iterator[tuple[int, Lsn, Record]]:
        """(segment, LSN, record) in order."""
        position = 0
        for stats in self.segments:
            while position < len(self.records) and self.records[position][0] <= stats.last_lsn:
                lsn, record = self.records[position]
                yield stats.number, lsn, record
                position += 1


def recover(segments: Iterable[tuple[int, bytes]], cluster: ClusterId | None = None) -> Recovery:
    """Read `segments`, (number, whole content) in ascending order, which are taken one at a time.

    The disk must have made durable what it returns: what recovery counts is built upon without another fsync.
    Raises `Incompatible` for segments of another cluster than `cluster` (None: than the first one's) or of an unknown
    format. Damage raises nothing: the caller decides what it means for each group.
    """
    scans = [scan_segment(number, data) for number, data in segments]
    for header in [scan.header for scan in scans if scan.header]:
        cluster = cluster or header.cluster
        if header.cluster != cluster:
            raise Incompatible(
                f"log segment {header.segment} is of cluster {header.cluster.hex()}, this node is of {cluster.hex()}"
            )
    return _Assembly(scans).recovery(cluster)


class _Assembly:
    """Puts the segments' scans together along the LSNs."""

    def __init__(self, scans: list[SegmentScan]) -> None:
        self.scans = scans
        self.mark = max((scan.mark for scan in scans), default=0)
        self.records: list[tuple[Lsn, Record]] = []
        self.damaged: list[Damage] = []
        self.healed: list[Damage] = []
        self.segments: list[SegmentStats] = []
        self.torn: Torn | None = None
        self.last = 0
        self.started = False
        self.before: SegmentScan | None = None  # where records that are missing altogether should have stood

    def recovery(self, cluster: ClusterId | None) -> Recovery:
        for scan, limit in zip(self.scans, _limits(self.scans), strict=True):
            first = self.last + 1
            if scan.header is None:
                self.before = scan
            elif self.torn is None and scan.header.first_lsn <= limit:  # else a leftover of an earlier torn job
                first = scan.header.first_lsn
                self._segment(scan, scan.header, limit)
                self.before = scan
            self.segments.append(SegmentStats(scan.number, Lsn(first), Lsn(max(self.last, first - 1)), scan.end))
            self._heal(scan)
        if self.torn is None:
            self._tail()
        highest = max([self.last, self.mark, *(scan.highest_lsn for scan in self.scans)])
        return Recovery(
            cluster=cluster,
            records=self.records,
            last_lsn=Lsn(self.last),
            next_lsn=Lsn(highest + 1),
            next_segment=max((scan.number for scan in self.scans), default=0) + 1,
            damaged=self.damaged,
            healed=self.healed,
            torn=self.torn,
            segments=self.segments,
        )

    def _segment(self, scan: SegmentScan, header: Header, limit: int) -> None:
        """Take the records of one segment up to `limit`, the last LSN that counts before a later segment."""
        if not self.started:
            self.started = True
            self.last = self._beginning(scan, header)
        if self.last < header.previous_last:
            self._missing(header.previous_last)
            if self.torn is not None:
                return
        whole = 0
        for gap in [*scan.gaps, None]:
            start = whole
            whole = len(scan.whole) if gap is None else bisect_left(scan.whole, (gap.lsn,))
            self._take(scan.whole[start:whole], limit)
            if gap is not None and gap.lsn <= limit:
                self._gap(scan.number, gap, limit)
            if self.torn is not None:
                return

    def _take(self, whole: list[tuple[Lsn, Record]], limit: int) -> None:
        """Count records that are whole, as far as `limit`."""
        if whole and whole[-1][0] > limit:
            whole = whole[: bisect_left(whole, (limit + 1,))]
        if whole:
            self.records += whole
            self.last = whole[-1][0]

    def _beginning(self, scan: SegmentScan, header: Header) -> int:
        """The LSN before which the log was deleted, oldest first: all that precedes the first segment, unless an
        older one, whose header is lost, says that it held records which count, or held something and cannot say what.
        """
        older = [
            other.lowest_lsn
            for other in self.scans
            if other.number < scan.number and 0 < other.lowest_lsn <= header.previous_last
        ]
        mute = any(
            other.trailing and not other.lowest_lsn
            for other in self.scans
            if other.number < scan.number and header.previous_last
        )
        return min([header.previous_last - mute, *(lowest - 1 for lowest in older)])

    def _tail(self) -> None:
        """What stands, or lacks, behind the last record that counts."""
        before = self.before
        if self.last < self.mark:
            self._missing(self.mark)
        elif before is not None and (before.trailing or before.header is None):
            self.torn = Torn(before.number, before.end if before.header else 0, Lsn(self.last + 1))

    def _gap(self, segment: int, gap: Gap, limit: int) -> None:
        """Damage as far as the marks reach, a torn tail from there on."""
        last = min(gap.lsn + gap.records - 1, limit)
        durable = min(last, self.mark)
        if gap.lsn <= durable:
            count = durable - gap.lsn + 1
            self.damaged.append(Damage(segment, gap.offset, gap.lsn, count, gap.identifier, gap.reason))
            self.last = durable
        if last > durable:
            self.torn = Torn(segment, gap.offset, Lsn(max(gap.lsn, durable + 1)))

    def _missing(self, last: int) -> None:
        """Nothing is left of the records after `self.last` up to `last`."""
        first, before = Lsn(self.last + 1), self.before
        if before is None:
            number, offset, reason = 0, 0, "the segment that held it is not there"
        elif before.header is None:
            number, offset, reason = before.number, 0, "both copies of the segment's header are bad"
        else:
            number, offset, reason = before.number, before.end, "nothing is left of what was durable here"
        self._gap(number, Gap(first, last - self.last, None, offset, reason), last)

    def _heal(self, scan: SegmentScan) -> None:
        for blemish in scan.blemishes:
            if blemish.lsn <= self.last:
                self.healed.append(
                    Damage(scan.number, blemish.offset, blemish.lsn, blemish.records, None, blemish.reason)
                )


_NO_LIMIT = 1 << 64


def _limits(scans: list[SegmentScan]) -> list[int]:
    """For each segment, the last LSN that counts before a later segment begins. A later header is what a recovery or
    a roll wrote when it knew where the log went on, so it overrules what older segments hold past that point."""
    limits: list[int] = []
    limit = _NO_LIMIT
    for scan in reversed(scans):
        limits.append(limit)
        if scan.header is not None:
            limit = min(limit, scan.header.previous_last)
    return limits[::-1]
