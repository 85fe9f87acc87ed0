"""Frames: any cutting of the stream gives the same frames, and no flipped bit gets past the check."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.errors import Corruption, Incompatible
from gramme.kernel.ids import BootId, ClusterId, NodeId
from gramme.runtime.frames import (
    OLDEST_VERSION,
    PROTOCOL_VERSION,
    FrameReader,
    FrameType,
    Greeting,
    data_header,
    decode_greeting,
    frame,
    seed_of,
)

GREETING = Greeting(ClusterId(b"c" * 16), BootId(b"b" * 16), NodeId(1), NodeId(2))
SEED = seed_of(GREETING.encode())


def read(chunks: list[bytes], seed: int = SEED, limit: int = 1 << 20) -> list[tuple[int, bytes]]:
    frames: list[tuple[int, bytes]] = []
    reader = FrameReader(lambda kind, payload: frames.append((kind, payload)), seed, limit)
    for chunk in chunks:
        reader.feed(chunk)
    return frames


@given(payloads=st.lists(st.binary(max_size=200), max_size=8), cuts=st.lists(st.integers(0, 2_000), max_size=12))
def test_any_cutting_gives_the_same_frames(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(data_header(payload, SEED) + payload for payload in payloads)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    assert read(chunks) == [(FrameType.DATA, payload) for payload in payloads]


def test_byte_by_byte() -> None:
    stream = frame(FrameType.DATA, b"one", SEED) + frame(FrameType.DATA, b"", SEED) + frame(FrameType.DATA, b"x", SEED)
    assert [payload for _, payload in read([bytes([b]) for b in stream])] == [b"one", b"", b"x"]


def test_no_flipped_bit_is_handed_on() -> None:
    stream = frame(FrameType.DATA, b"payload of a frame", SEED)
    for bit in range(len(stream) * 8):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        # A length that became longer waits for bytes: what follows must not complete it into something that passes.
        try:
            frames = read([bytes(damaged), bytes(stream)], limit=1_000)
        except Corruption:
            frames = []
        assert frames == [], f"bit {bit}"


def test_a_frame_of_another_cluster_or_connection_fails_its_check() -> None:
    for other in (GREETING._replace(cluster=ClusterId(b"d" * 16)), GREETING._replace(boot=BootId(b"e" * 16))):
        with pytest.raises(Corruption, match="CRC"):
            read([frame(FrameType.DATA, b"stray", seed_of(other.encode()))])


def test_a_length_past_the_limit_is_refused_before_its_bytes_come() -> None:
    assert read([frame(FrameType.DATA, b"x" * 100, SEED)], limit=100)
    with pytest.raises(Corruption, match="101 bytes; at most 100"):
        read([frame(FrameType.DATA, b"x" * 101, SEED)[:9]], limit=100)


def test_nothing_is_handed_on_after_stop() -> None:
    frames: list[bytes] = []

    def on_frame(_kind: int, payload: bytes) -> None:
        frames.append(payload)
        reader.stop()

    reader = FrameReader(on_frame, SEED, 100)
    reader.feed(frame(FrameType.DATA, b"1", SEED) + frame(FrameType.DATA, b"2", SEED))
    reader.feed(frame(FrameType.DATA, b"3", SEED))
    assert frames == [b"1"]


def test_greeting_comes_back_and_one_release_apart_is_understood() -> None:
    assert decode_greeting(GREETING.encode()) == GREETING
    later = GREETING._replace(newest_version=PROTOCOL_VERSION + 1, oldest_version=PROTOCOL_VERSION)
    assert decode_greeting(later.encode() + b"fields of a later release") == later


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8300\r\nAccept: */*\r\n\r\n",
        GREETING.encode()[:-1],
        GREETING._replace(newest_version=PROTOCOL_VERSION + 2, oldest_version=PROTOCOL_VERSION + 1).encode(),
        GREETING._replace(newest_version=OLDEST_VERSION - 1, oldest_version=0).encode(),
    ],
)
def test_what_is_no_greeting_of_a_known_release_is_refused(payload: bytes) -> None:
    with pytest.raises(Incompatible):
        decode_greeting(payload)
