"""The bytes of a log segment: header, marks, identifiers, records. Every field is little-endian.

A segment has this shape (offsets in bytes)::

    0        header                       4096     mark A
    12288    header, second copy          8192     mark B
    16384    identifiers, 64 bytes each, `capacity` of them
    16384 + 64 * capacity                 records, back to back: identifier (64 bytes) + body

The rule: nothing is believed without its CRC-32C, and every CRC but a body's is seeded with the segment's number, so
bytes that were written for another segment never pass. A record's identifier stands in front of its body and again,
bit for bit the same, in the identifier area, in 64-byte places that no sector boundary cuts.
Source: REPLICATION.md §5; protocol-aware recovery (Alagappan et al., FAST 2018, section 3.3).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from gramme.kernel.crc import crc32c
from gramme.kernel.errors import Incompatible
from gramme.kernel.ids import Ballot, ClusterId, GroupId, Lsn, Slot
from gramme.kernel.ports import SegmentWrite
from gramme.kernel.record import Record, RecordKind

FORMAT_VERSION: Final = 1
HEADER_AT: Final = (0, 12288)
MARK_AT: Final = (4096, 8192)
IDENTIFIERS_AT: Final = 16384
IDENTIFIER_BYTES: Final = 64
MAX_BODY_BYTES: Final = 32 << 20

_MAGIC: Final = b"GRAMMLOG"
_HEADER: Final = struct.Struct("<8sI16sQQQQI")
_MARK: Final = struct.Struct("<QQ")
_IDENTIFIER: Final = struct.Struct("<QQQQIIIIIIB3x")
_CHECKED_IDENTIFIER: Final = struct.Struct("<QQQQIIIIIIB3xI")
_CRC: Final = struct.Struct("<I")
_HEADER_BYTES: Final = _HEADER.size + _CRC.size
_MARK_BYTES: Final = _MARK.size + _CRC.size
KINDS: Final = {int(kind): kind for kind in RecordKind}
MAX_DISTANCE: Final = 0xFFFFFFFF

pack_identifier = _IDENTIFIER.pack
"""Packs (LSN, group, slot, ballot, configuration, key id, bytes of the body, CRC of the body, offset, distance from a
durable LSN, kind); `pack_crc` of these 60 bytes, seeded with the segment's seed, makes them 64."""

pack_crc = _CRC.pack

unpack_identifier = _CHECKED_IDENTIFIER.unpack_from
"""What `pack_identifier` packed, and the CRC behind it, from 64 bytes at an offset."""


class Header(NamedTuple):
    """What a segment says of itself.

    `previous_last` is the last LSN that counts before `first_lsn`: whatever older segments hold past it is the
    leftover of a torn job. `mark` is what was known durable when the header was made.
    """

    cluster: ClusterId
    segment: int
    first_lsn: Lsn
    previous_last: Lsn
    mark: Lsn
    capacity: int

    @property
    def records_at(self) -> int:
        """Offset of the first record."""
        return IDENTIFIERS_AT + IDENTIFIER_BYTES * self.capacity


class Identifier(NamedTuple):
    """All of a record but its body. `offset` is where the record begins in its segment.

    `mark` is an LSN that was known durable when the record was appended: a true statement whatever happened to the
    record itself, which is what lets recovery tell a torn job from a damaged one.
    """

    lsn: Lsn
    group: GroupId
    slot: Slot
    ballot: Ballot
    configuration: int
    key_id: int
    body_bytes: int
    body_crc: int
    offset: int
    mark: Lsn
    kind: RecordKind

    def record(self, body: bytes) -> Record:
        """The record that this identifier and `body` (already checked) make."""
        return Record(self.kind, self.group, self.slot, self.ballot, self.configuration, self.key_id, body)


def segment_seed(segment: int) -> int:
    """Where the CRCs of a segment's header, marks and identifiers begin."""
    return crc32c(segment.to_bytes(8, "little"))


def header_writes(header: Header) -> list[SegmentWrite]:
    """Both copies of the header, each in a block of its own, so that one bad block loses neither."""
    fields = _HEADER.pack(
        _MAGIC,
        FORMAT_VERSION,
        header.cluster,
        header.segment,
        header.first_lsn,
        header.previous_last,
        header.mark,
        header.capacity,
    )
    data = fields + _CRC.pack(crc32c(fields, segment_seed(header.segment)))
    return [SegmentWrite(header.segment, at, data) for at in HEADER_AT]


def read_header(segment: int, data: bytes) -> tuple[Header | None, int | None]:
    """The header of segment `segment`, or None when both copies are bad; and the offset of a copy that is bad.

    Raises `Incompatible` for a format that this release does not read.
    """
    copies = [_read_header_at(segment, data, at) for at in HEADER_AT]
    bad = next((at for at, copy in zip(HEADER_AT, copies, strict=True) if copy is None), None)
    return copies[0] or copies[1], bad


def _read_header_at(segment: int, data: bytes, at: int) -> Header | None:
    raw = data[at : at + _HEADER_BYTES]
    if len(raw) < _HEADER_BYTES or raw[: len(_MAGIC)] != _MAGIC:
        return None
    fields, (crc,) = raw[: _HEADER.size], _CRC.unpack_from(raw, _HEADER.size)
    if crc32c(fields, segment_seed(segment)) != crc:
        return None
    _, version, cluster, number, first_lsn, previous_last, mark, capacity = _HEADER.unpack(fields)
    if version != FORMAT_VERSION:
        raise Incompatible(
            f"log segment {segment} has format {version}; this release reads format {FORMAT_VERSION} only"
        )
    return Header(ClusterId(cluster), number, Lsn(first_lsn), Lsn(previous_last), Lsn(mark), capacity)


def mark_write(segment: int, sequence: int, durable: Lsn) -> SegmentWrite:
    """Durable mark number `sequence` of a segment. Marks take turns in two places: a torn one spares the last."""
    fields = _MARK.pack(sequence, durable)
    crc = _CRC.pack(crc32c(fields, segment_seed(segment)))
    return SegmentWrite(segment, MARK_AT[sequence % len(MARK_AT)], fields + crc)


def read_marks(segment: int, data: bytes) -> tuple[Lsn, list[int]]:
    """The highest durable mark in the segment's two places (0: none), and the offsets of places that are bad."""
    highest, bad = 0, []
    for at in MARK_AT:
        raw = data[at : at + _MARK_BYTES]
        if not any(raw):
            continue  # never written
        if len(raw) < _MARK_BYTES or crc32c(raw[: _MARK.size], segment_seed(segment)) != _CRC.unpack(raw[-4:])[0]:
            bad.append(at)
        else:
            highest = max(highest, _MARK.unpack_from(raw)[1])
    return Lsn(highest), bad


def read_identifier(raw: bytes, seed: int) -> Identifier | None:
    """The identifier in 64 bytes, or None if they fail their check.

    Raises `Incompatible` for a kind of record that this release does not know: its check held, so it is no damage.
    """
    if len(raw) != IDENTIFIER_BYTES or crc32c(raw[: _IDENTIFIER.size], seed) != _CRC.unpack_from(raw, 60)[0]:
        return None
    *fields, distance, kind, _ = unpack_identifier(raw, 0)
    if kind not in KINDS:
        raise Incompatible(f"the log holds a record of kind {kind} (LSN {fields[0]}), written by a newer release")
    return Identifier._make((*fields, fields[0] - distance, KINDS[kind]))
