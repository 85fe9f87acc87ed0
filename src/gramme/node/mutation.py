"""The body of a MUTATIONS command: physical puts and deletes, decided by the leader, applied blindly by every replica.

Keys here are a space byte and a key (`gramme.storage.engine.rows`), without the extent, which is local to a node.
The first answer of the write travels along, so that a write which is sent again gets it from any later leader.
Source: DESIGN.md §4 "Write", REPLICATION.md §2 and §7.
"""

from __future__ import annotations

import msgspec


class ChangeRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Old and new image of one item (canonical JSON, None where there is none). Its place in the slot identifies it:
    (partition, slot, index in the slot). Written only when a stream, an index or a global table consumes it."""

    key: bytes
    old: bytes | None
    new: bytes | None
    service: bool = False  # made by the service itself (expiry), not by a client


class Mutation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One evaluated write. `reply` is the encoded answer (`gramme.node.wire.encode_reply`)."""

    puts: list[tuple[bytes, bytes]]
    deletes: list[bytes]
    reply: bytes
    changes: list[ChangeRecord] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Mutation)

encode_mutation = _encoder.encode
decode_mutation = _decoder.decode
