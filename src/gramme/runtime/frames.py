"""Frames between nodes: what stands on the wire of a peer connection, without the connection.

A frame is a 9-byte header (payload length u32, CRC-32C u32, type u8; big-endian) and the payload. The CRC covers type
and payload and is *seeded with the dialler's greeting*, which holds cluster id, node and boot: a frame that strays in
from another cluster or connection fails its check, so every frame carries the cluster id without spending bytes on it
(REPLICATION.md §8). A frame with a bad CRC is never handed on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

from gramme.kernel.crc import crc32c
from gramme.kernel.errors import Corruption, Incompatible
from gramme.kernel.ids import BootId, ClusterId, NodeId

PROTOCOL_VERSION: Final = 1
"""The newest version of this protocol that this release speaks."""

OLDEST_VERSION: Final = 1
"""The oldest version that it still understands: that of the release before."""

MAX_PAYLOAD_BYTES: Final = 64 << 20
MAX_GREETING_BYTES: Final = 1_024
"""Room for a greeting of a later release, and for the reason of a refusal."""

_HEADER: Final = struct.Struct(">IIB")
_GREETING: Final = struct.Struct(">4sHH16s16sHH")
_MAGIC: Final = b"GRMM"
HEADER_BYTES: Final = _HEADER.size


class FrameType(IntEnum):
    """Numbers are on the wire: append, never renumber."""

    GREETING = 1
    WELCOME = 2
    REFUSAL = 3
    DATA = 4


_TYPE_CRC: Final[dict[int, bytes]] = {frame_type: bytes([frame_type]) for frame_type in FrameType}
_DATA: Final = _TYPE_CRC[FrameType.DATA]


class Greeting(NamedTuple):
    """Who speaks, and to whom: the first frame in each direction. `target` is the node that the dialler means."""

    cluster: ClusterId
    boot: BootId
    sender: NodeId
    target: NodeId
    newest_version: int = PROTOCOL_VERSION
    oldest_version: int = OLDEST_VERSION

    def encode(self) -> bytes:
        """44 bytes; the layout up to the versions is fixed for ever, so that any release can refuse any other."""
        return _GREETING.pack(
            _MAGIC, self.newest_version, self.oldest_version, self.cluster, self.boot, self.sender, self.target
        )


def decode_greeting(payload: bytes) -> Greeting:
    """Raises `Incompatible` for what is no greeting, or one of a release too far from this one."""
    if len(payload) < _GREETING.size or payload[:4] != _MAGIC:
        raise Incompatible("the other side does not speak the peer protocol of Gramme")
    _, newest, oldest, cluster, boot, sender, target = _GREETING.unpack_from(payload)
    if newest < OLDEST_VERSION or oldest > PROTOCOL_VERSION:
        raise Incompatible(
            f"the other side speaks versions {oldest} to {newest} of the peer protocol, "
            f"this node {OLDEST_VERSION} to {PROTOCOL_VERSION}"
        )
    return Greeting(ClusterId(cluster), BootId(boot), NodeId(sender), NodeId(target), newest, oldest)


def seed_of(greeting: bytes) -> int:
    """The CRC seed of a connection whose dialler sent `greeting`."""
    return crc32c(greeting)


def data_header(payload: bytes, seed: int) -> bytes:
    """The header of a data frame: what must be written before `payload`."""
    return _HEADER.pack(len(payload), crc32c(payload, crc32c(_DATA, seed)), FrameType.DATA)


def frame(frame_type: FrameType, payload: bytes, seed: int) -> bytes:
    """A whole frame."""
    return _HEADER.pack(len(payload), crc32c(payload, crc32c(_TYPE_CRC[frame_type], seed)), frame_type) + payload


class FrameReader:
    """Cuts a byte stream into frames and hands each on, in order.

    `feed` raises `Corruption` at a bad CRC, type or length; after that the connection must be closed, since there is
    no way to find the next frame. `seed` may be changed by the callback: it counts from the next frame on.
    """

    __slots__ = ("_buffer", "_on_frame", "_stopped", "max_payload_bytes", "seed")

    def __init__(self, on_frame: Callable[[int, bytes], None], seed: int, max_payload_bytes: int) -> None:
        self.seed = seed
        self.max_payload_bytes = max_payload_bytes
        self._on_frame = on_frame
        self._buffer = bytearray()
        self._stopped = False

    def stop(self) -> None:
        """Hand on nothing more, not even what was read already: called when the connection is given up."""
        self._stopped = True
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream; calls `on_frame(type, payload)` for each frame that is complete."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < HEADER_BYTES + int.from_bytes(self._buffer[:4], "big") <= self._frame_limit():
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        offset, size = 0, len(data)
        while size - offset >= HEADER_BYTES and not self._stopped:
            length, crc, frame_type = _HEADER.unpack_from(data, offset)
            if length > self.max_payload_bytes:
                raise Corruption(f"a frame of {length} bytes; at most {self.max_payload_bytes} are allowed")
            end = offset + HEADER_BYTES + length
            if end > size:
                break
            self._hand_on(frame_type, crc, data[offset + HEADER_BYTES : end])
            offset = end
        if offset < size and not self._stopped:
            self._buffer += memoryview(data)[offset:]

    def _frame_limit(self) -> int:
        return HEADER_BYTES + self.max_payload_bytes

    def _hand_on(self, frame_type: int, crc: int, payload: bytes) -> None:
        prefix = _TYPE_CRC.get(frame_type)
        if prefix is None:
            raise Corruption(f"a frame of unknown type {frame_type}")
        if crc32c(payload, crc32c(prefix, self.seed)) != crc:
            raise Corruption("a frame whose CRC-32C does not match")
        self._on_frame(frame_type, payload)
