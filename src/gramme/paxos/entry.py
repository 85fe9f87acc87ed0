"""Commands and log entries: the bytes that a replication group agrees on.

An entry's encoding is the CRC, then everything that the CRC covers. The CRC is *chained*: it continues from the CRC
of the previous entry, so two replicas with the same CRC at a slot hold the same log up to it, and one that differs
stops and says so (REPLICATION.md §1). Entries travel and are stored as these bytes; nobody encodes one twice.

An entry is created once, by one leader, behind one predecessor, with a stamp that no other entry of the group has: so
whoever holds the entry of a `Mark` holds the whole log before it (Raft calls this the log matching property).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import msgspec

from gramme.kernel.ids import CommandId, Slot
from gramme.kernel.time import Stamp
from gramme.storage.log.layout import MAX_BODY_BYTES

HEAD: Final = struct.Struct(">QQIIB16s")  # slot, stamp, configuration, key id, kind, command id
CRC_BYTES: Final = 4
HEADER_BYTES: Final = CRC_BYTES + HEAD.size
"""Bytes of an encoded entry before its body: CRC (u32), slot (u64), stamp (u64), configuration (u32), key id (u32),
kind (u8), command id (16 bytes); integers are big-endian."""

MAX_COMMAND_BYTES: Final = MAX_BODY_BYTES - (1 << 16)
"""Of a command's body: with what stands around it, it must fit into one record of the log."""


class CommandKind(IntEnum):
    """What a command is. Numbers are on disk: append, never renumber. All but the first two belong to later releases
    (REPLICATION.md §7); a replica that would apply a kind it does not know stops."""

    NOOP = 0
    MUTATIONS = 1
    CONFIG = 2
    SPLIT = 3
    PREPARE = 4
    COMMIT = 5
    CANCEL = 6
    SEAL = 7


class Command(msgspec.Struct, frozen=True, gc=False):
    """What is proposed: `body` is opaque here, encrypted with the key that `key_id` names (0: not encrypted).

    `kind` is a plain integer when it is of a release that this one does not know.
    """

    kind: int
    command_id: CommandId
    body: bytes
    key_id: int = 0


class Mark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A position in a log with the proof of what stands there: chained CRC and stamp of the entry at `slot`."""

    slot: Slot
    crc: int
    stamp: Stamp


ORIGIN: Final = Mark(Slot(0), 0, Stamp(0))
"""The mark before the first entry of every group."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One slot of the log. `stamp` is the hybrid logical time of the command in wall nanoseconds, strictly growing.

    Of its command it has all but the body, which is kept once, in `encoded`: a leader applies what it proposed, and
    there may be a hundred thousand entries in memory.
    """

    slot: Slot
    stamp: Stamp
    configuration: int
    kind: int
    command_id: CommandId
    key_id: int
    crc: int
    encoded: bytes

    @property
    def body(self) -> bytes:
        """The body of this entry's command, cut out at each call."""
        return self.encoded[HEADER_BYTES:]

    @property
    def mark(self) -> Mark:
        """This entry's position and proof."""
        return Mark(self.slot, self.crc, self.stamp)
