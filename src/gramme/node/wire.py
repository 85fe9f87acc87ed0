"""Encoding of what goes between nodes: a frame is the sender's boot id and a list of messages, in MessagePack.

Framing, checksum, protocol version and cluster id belong to the transport (`gramme.runtime.network`). The decoder is
one tagged union over every room's messages, so an unknown tag or a wrong shape is a `Corruption` before any machine
sees it.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import msgspec

from gramme.kernel.errors import Corruption
from gramme.kernel.ids import BootId
from gramme.membership.messages import MESSAGES as MEMBERSHIP_MESSAGES
from gramme.node.catalog.commands import CatalogAnswer
from gramme.node.messages import MESSAGES as NODE_MESSAGES
from gramme.objects.messages import MESSAGES as OBJECT_MESSAGES
from gramme.paxos.messages import MESSAGES as PAXOS_MESSAGES
from gramme.tables.requests import Reply
from gramme.tables.transaction_commands import TransactionReply

_BOOT_BYTES = 16
_message: Any = reduce(or_, (*NODE_MESSAGES, *PAXOS_MESSAGES, *MEMBERSHIP_MESSAGES, *OBJECT_MESSAGES))
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[list[Any]] = msgspec.msgpack.Decoder(list[_message])
_reply_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Reply | CatalogAnswer | TransactionReply)

encode_reply = _encoder.encode
"""A reply as it is kept with a command's outcome."""

decode_reply = _reply_decoder.decode


def encode_frame(boot: BootId, messages: list[Any]) -> bytes:
    """The payload of one frame."""
    return boot + _encoder.encode(messages)


def decode_frame(payload: bytes) -> tuple[BootId, list[Any]]:
    """Boot id and messages of a frame. Raises Corruption if it is not one."""
    try:
        return BootId(bytes(payload[:_BOOT_BYTES])), _decoder.decode(memoryview(payload)[_BOOT_BYTES:])
    except msgspec.DecodeError as error:
        raise Corruption(f"a frame does not decode: {error}") from error
