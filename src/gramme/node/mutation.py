"""The body of a MUTATIONS command: physical puts and deletes, decided by the leader, applied blindly by every replica.

Keys here are a space byte and a key (`gramme.storage.engine.rows`), without the extent, which is local to a node.
The first answer of the write travels along, so that a write which is sent again gets it from any later leader.
Source: DESIGN.md §4 "Write", REPLICATION.md §2 and §7.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.kernel.time import Stamp
from gramme.node.totals import Growth
from gramme.paxos.entry import CommandKind
from gramme.storage.engine.rows import Space


class ChangeRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Old and new image of one item (canonical JSON, None where there is none). Its place in the slot identifies it:
    (partition, slot, index in the slot). Written only when a stream, an index or a global table consumes it."""

    key: bytes
    old: bytes | None
    new: bytes | None
    service: bool = False  # made by the service itself (expiry), not by a client
    stamp: Stamp = Stamp(0)  # of its slot; 0 in the log, filled in by every replica when it applies the slot


class Mutation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One evaluated write. `reply` is the encoded answer (`gramme.node.wire.encode_reply`)."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]
    reply: bytes
    changes: list[ChangeRecord] = []
    grown: tuple[Growth, ...] = ()  # `gramme.node.totals`
    erased: tuple[tuple[bytes, bytes], ...] = ()  # ranges of rows, ends excluded, deleted before anything else


WITHOUT_OUTCOME: Final = (CommandKind.NOOP, CommandKind.CONFIG)
"""Kinds of commands that no request asked for."""

WRITES: Final = (CommandKind.MUTATIONS, CommandKind.PREPARE, CommandKind.COMMIT, CommandKind.CANCEL)
"""The commands whose body is a mutation that puts and deletes rows by key (a SEAL's erases ranges)."""

CHANGES: Final = bytes((Space.CHANGES,))
CHANGES_END: Final = bytes((Space.CHANGES + 1,))
_SLOT_BYTES: Final = 8
_INDEX_BYTES: Final = 2


def change_key(slot: int, index: int) -> bytes:
    """Key in space CHANGES (space byte included) of a change record: filled in when the slot is applied, because only
    then it is known for sure."""
    return CHANGES + slot.to_bytes(_SLOT_BYTES, "big") + index.to_bytes(_INDEX_BYTES, "big")


def slot_of_change(key: bytes) -> int:
    """The slot in such a key."""
    return int.from_bytes(key[1 : 1 + _SLOT_BYTES], "big")


def place_of_change(key: bytes) -> tuple[int, int]:
    """Slot and index in such a key."""
    return slot_of_change(key), int.from_bytes(key[1 + _SLOT_BYTES :], "big")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Mutation)

encode_mutation = _encoder.encode
decode_mutation = _decoder.decode

encode_change = _encoder.encode
decode_change = msgspec.msgpack.Decoder(ChangeRecord).decode
