"""One segment, read record by record, with both copies of each identifier.

Owns the judgement of single records and says nothing of torn or damaged: that needs the whole log (`recovery`).
Source: REPLICATION.md §5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gramme.kernel.crc import crc32c
from gramme.kernel.ids import Lsn
from gramme.kernel.record import Record
from gramme.storage.log.layout import (
    IDENTIFIER_BYTES,
    IDENTIFIERS_AT,
    KINDS,
    Header,
    Identifier,
    read_header,
    read_identifier,
    read_marks,
    segment_seed,
    unpack_identifier,
)


class Gap(NamedTuple):
    """`records` records from `lsn` on that are not whole. `identifier` is that of a single record, if it is left."""

    lsn: Lsn
    records: int
    identifier: Identifier | None
    offset: int
    reason: str


class Blemish(NamedTuple):
    """A bad copy whose other copy is good: of `records` records at `lsn`, or of the segment's own fields."""

    lsn: Lsn
    records: int
    offset: int
    reason: str


@dataclass(slots=True)
class SegmentScan:
    """What one segment holds: `whole` records and `gaps`, together every LSN up to where nothing can be located.

    `mark` is the highest LSN that anything valid in it calls durable. `highest_lsn` and `lowest_lsn` are those that
    any valid identifier names (0: none). `end` is the offset behind the last record; `trailing`: bytes stand there
    that belong to no record.
    """

    number: int
    header: Header | None
    mark: int = 0
    lowest_lsn: int = 0
    highest_lsn: int = 0
    end: int = 0
    trailing: bool = False
    whole: list[tuple[Lsn, Record]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    blemishes: list[Blemish] = field(default_factory=list)

    def note(self, lowest: int, highest: int, mark: int) -> None:
        """Valid identifiers are evidence of their LSNs and their marks, whatever became of the records."""
        self.mark = max(self.mark, mark)
        self.highest_lsn = max(self.highest_lsn, highest)
        self.lowest_lsn = min(self.lowest_lsn or lowest, lowest)


def scan_segment(number: int, data: bytes) -> SegmentScan:
    """Judge every record of segment `number`. Raises `Incompatible` for a format or a kind that is unknown."""
    header, bad_copy = read_header(number, data)
    scan = SegmentScan(number, header, end=len(data))
    marked, bad_marks = read_marks(number, data)
    scan.mark = max(marked, header.mark if header else 0)
    for at in bad_marks:
        scan.blemishes.append(Blemish(Lsn(0), 0, at, "a durable mark is bad"))
    if header is None:
        _scan_headless(scan, data)
        return scan
    if bad_copy is not None:
        scan.blemishes.append(Blemish(Lsn(0), 0, bad_copy, "a copy of the segment's header is bad"))
    _Reader(scan, header, data).read()
    return scan


def _scan_headless(scan: SegmentScan, data: bytes) -> None:
    """Without its header nothing in a segment is served, but its identifiers still testify."""
    seed = segment_seed(scan.number)
    zero = bytes(IDENTIFIER_BYTES)
    for at in range(IDENTIFIERS_AT, len(data) - IDENTIFIER_BYTES + 1, IDENTIFIER_BYTES):
        raw = data[at : at + IDENTIFIER_BYTES]
        if raw != zero and (identifier := read_identifier(raw, seed)) is not None:
            scan.note(identifier.lsn, identifier.lsn, identifier.mark)
    scan.trailing = data.count(0) != len(data)


class _Reader:
    """Walks the identifier area and the records in step: place i of the one is record i of the other."""

    def __init__(self, scan: SegmentScan, header: Header, data: bytes) -> None:
        self.scan = scan
        self.data = data
        self.first = header.first_lsn
        self.capacity = header.capacity
        self.records_at = header.records_at
        self.seed = segment_seed(scan.number)
        self.index = 0
        self.position = header.records_at

    def read(self) -> None:
        """Fill the scan."""
        while self.index < self.capacity:
            self._sound_records()
            if not self._record() and not self._skip():
                break
        self.scan.end = self.position
        self.scan.trailing = any(self.data[self.position : self.position + IDENTIFIER_BYTES]) or any(
            self._place(self.index)
        )

    def _sound_records(self) -> None:
        """Take records as long as nothing is wrong: what nearly all of a log is. `_record` judges what stops it."""
        data, seed, capacity, whole = self.data, self.seed, self.capacity, self.scan.whole
        index, position, lsn, mark = self.index, self.position, Lsn(self.first + self.index), self.scan.mark
        place = IDENTIFIERS_AT + IDENTIFIER_BYTES * index
        while index < capacity and place + IDENTIFIER_BYTES <= len(data):
            begin = position + IDENTIFIER_BYTES
            raw = data[place : place + IDENTIFIER_BYTES]
            number, group, slot, ballot, configuration, key_id, size, body_crc, offset, distance, kind, crc = (
                unpack_identifier(raw, 0)
            )
            if raw != data[position:begin] or crc32c(raw[:60], seed) != crc or number != lsn or offset != position:
                break
            end = begin + size
            body = data[begin:end]
            if len(body) != size or crc32c(body) != body_crc or kind not in KINDS:
                break
            whole.append((lsn, Record(KINDS[kind], group, slot, ballot, configuration, key_id, body)))
            if number - distance > mark:
                mark = number - distance
            index, position, place, lsn = index + 1, end, place + IDENTIFIER_BYTES, Lsn(lsn + 1)
        if index > self.index:
            self.scan.note(self.first + self.index, lsn - 1, mark)
            self.index, self.position = index, position

    def _place(self, index: int) -> bytes:
        at = IDENTIFIERS_AT + IDENTIFIER_BYTES * index
        return self.data[at : at + IDENTIFIER_BYTES] if index < self.capacity else b""

    def _identifier(self, raw: bytes, index: int) -> Identifier | None:
        identifier = read_identifier(raw, self.seed)
        if identifier is None or identifier.lsn != self.first + index or identifier.offset < self.records_at:
            return None
        return identifier

    def _record(self) -> bool:
        """Judge the record at the current place; False if neither copy of its identifier is good."""
        place, front = self._place(self.index), self.data[self.position : self.position + IDENTIFIER_BYTES]
        copy = self._identifier(place, self.index)
        original = copy if front == place else self._identifier(front, self.index)
        if original is not None and original.offset != self.position:
            original = None
        identifier = copy or original
        if identifier is None:
            return False
        self.scan.note(identifier.lsn, identifier.lsn, identifier.mark)
        begin = identifier.offset + IDENTIFIER_BYTES
        body = self.data[begin : begin + identifier.body_bytes]
        if len(body) == identifier.body_bytes and crc32c(body) == identifier.body_crc:
            self._whole(identifier, body, copy, original)
        else:
            reason = "the record is cut short" if len(body) < identifier.body_bytes else "the record fails its CRC-32C"
            self.scan.gaps.append(Gap(identifier.lsn, 1, identifier, identifier.offset, reason))
        self.position = begin + identifier.body_bytes
        self.index += 1
        return True

    def _whole(self, identifier: Identifier, body: bytes, copy: Identifier | None, original: Identifier | None) -> None:
        lsn = identifier.lsn
        self.scan.whole.append((lsn, identifier.record(body)))
        if copy is None:
            at = IDENTIFIERS_AT + IDENTIFIER_BYTES * self.index
            self.scan.blemishes.append(Blemish(lsn, 1, at, "the identifier's copy is bad"))
        elif original is None:
            self.scan.blemishes.append(Blemish(lsn, 1, identifier.offset, "the identifier before the record is bad"))

    def _skip(self) -> bool:
        """Go to the next place with a good identifier, leaving a gap; False if there is none: the segment ends."""
        start = IDENTIFIERS_AT + IDENTIFIER_BYTES * self.index
        area = self.data[start : self.records_at]
        if area.count(0) == len(area):
            return False
        for index in range(self.index + 1, self.capacity):
            identifier = self._identifier(self._place(index), index)
            if identifier is not None:
                lsn = Lsn(self.first + self.index)
                reason = "record and identifier are both bad, valid data follows"
                self.scan.gaps.append(Gap(lsn, index - self.index, None, self.position, reason))
                self.position, self.index = identifier.offset, index
                return True
        return False
