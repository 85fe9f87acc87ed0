"""How entries are made, read and checked: the functions of `paxos.entry`, whose Structs must not be compiled
(docs/decisions/0105), as these are: each write makes an entry."""

from __future__ import annotations

from typing import Final

from gramme.kernel.crc import crc32c
from gramme.kernel.errors import Corruption, Invariant
from gramme.kernel.ids import NO_COMMAND_ID, Ballot, CommandId, Slot
from gramme.kernel.time import Stamp
from gramme.paxos.entry import CRC_BYTES, HEAD, HEADER_BYTES, Command, CommandKind, Entry, Mark


def make_entry(previous_crc: int, slot: Slot, stamp: Stamp, configuration: int, command: Command) -> Entry:
    """The entry that puts `command` into `slot` behind an entry whose CRC is `previous_crc` (0 before the first)."""
    head = HEAD.pack(slot, stamp, configuration, command.key_id, command.kind, command.command_id)
    crc = crc32c(command.body, crc32c(head, previous_crc))
    encoded = b"".join((crc.to_bytes(4, "big"), head, command.body))
    return Entry(slot, stamp, configuration, command.kind, command.command_id, command.key_id, crc, encoded)


def decode_entry(encoded: bytes) -> Entry:
    """Parse without checking the chain (`check_chain` does). Raises Corruption if it is too short to be an entry."""
    if len(encoded) < HEADER_BYTES:
        raise Corruption(f"a log entry of {len(encoded)} bytes is shorter than its header of {HEADER_BYTES}")
    slot, stamp, configuration, key_id, kind, command_id = HEAD.unpack_from(encoded, CRC_BYTES)
    crc = int.from_bytes(encoded[:CRC_BYTES], "big")
    return Entry(Slot(slot), Stamp(stamp), configuration, _kind(kind), CommandId(command_id), key_id, crc, encoded)


def check_chain(previous: Mark, entry: Entry) -> None:
    """Raise Invariant unless `entry` is what follows `previous`: next slot, later stamp, chained CRC."""
    if entry.slot != previous.slot + 1 or entry.stamp <= previous.stamp:
        raise Invariant(
            f"log entry with slot {entry.slot}, stamp {entry.stamp} cannot follow slot {previous.slot}, "
            f"stamp {previous.stamp}"
        )
    if crc32c(memoryview(entry.encoded)[CRC_BYTES:], previous.crc) != entry.crc:
        raise Invariant(f"log entry at slot {entry.slot} does not continue the log: its chained checksum differs")


def barrier(ballot: Ballot) -> Command:
    """The no-op that a new leader has chosen before it serves. The ballot in its body makes it like no other."""
    return Command(CommandKind.NOOP, NO_COMMAND_ID, ballot.to_bytes(8, "big"))


_KINDS: Final = {int(kind): kind for kind in CommandKind}


def _kind(number: int) -> int:
    return _KINDS.get(number, number)
