"""Links between nodes over real sockets on the loopback, on asyncio's and on uvloop's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from gramme.kernel.ids import BootId, ClusterId, NodeId
from gramme.runtime import network
from gramme.runtime.frames import MAX_PAYLOAD_BYTES, FrameType, Greeting, frame, seed_of
from gramme.runtime.network import Address, PeerNetwork

HOST = "127.0.0.1"
CLUSTER = ClusterId(b"c" * 16)
A, B = NodeId(0), NodeId(1)

Scenario = Callable[[], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runner(scenario: Scenario) -> None:
        async def bounded() -> None:
            await asyncio.wait_for(scenario(), 30)

        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(bounded())

    return runner


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def closed(reader: asyncio.StreamReader) -> None:
    """Wait until the other side closes or resets the connection without having said anything."""
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


class Node:
    """A network and what it was called back with."""

    def __init__(self, me: NodeId, peers: Mapping[NodeId, Address], boot: bytes = b"boot", **options: Any) -> None:
        self.frames: list[tuple[NodeId, bytes]] = []
        self.links: list[tuple[str, NodeId, bytes]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.port = 0
        self.network = PeerNetwork(
            me,
            options.pop("cluster", CLUSTER),
            BootId(boot.ljust(16, b".")),
            peers,
            lambda node, payload: self.frames.append((node, payload)),
            lambda node, boot: self.links.append(("up", node, boot.rstrip(b"."))),
            lambda node: self.links.append(("down", node, b"")),
            log_event=lambda name, fields: self.events.append((name, dict(fields))),
            **options,
        )

    def reasons(self, name: str) -> str:
        return "; ".join(str(fields.get("reason")) for event, fields in self.events if event == name)

    async def start(self, port: int = 0) -> Node:
        self.port = await self.network.start(HOST, port)
        return self


@asynccontextmanager
async def pair(**options: Any) -> Any:
    a = await Node(A, {}, b"a", **options).start()
    b = await Node(B, {A: (HOST, a.port), B: (HOST, 1)}, b"b", **options).start()
    a.network.set_address(B, (HOST, b.port))
    try:
        await until(lambda: a.network.connected(B) and b.network.connected(A))
        yield a, b
    finally:
        await a.network.close()
        await b.network.close()


def test_payloads_arrive_in_order_both_ways(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            assert a.links == [("up", B, b"b")]
            assert b.links == [("up", A, b"a")]
            sent = [bytes([i % 256]) * (i * 37 % 30_000) for i in range(300)]
            for payload in sent:
                assert a.network.send_bytes(B, payload)
                assert b.network.send_bytes(A, payload)
            await until(lambda: len(a.frames) == len(b.frames) == len(sent))
            assert b.frames == [(A, payload) for payload in sent]
            assert a.frames == [(B, payload) for payload in sent]
            assert b.network.stats.bytes_received == a.network.stats.bytes_sent == sum(map(len, sent))

    run(scenario)


def test_a_large_payload_arrives_whole_and_one_past_the_limit_is_not_sent(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            large = bytes(range(256)) * (10 << 12)
            assert a.network.send_bytes(B, large)
            await until(lambda: b.frames)
            assert b.frames == [(A, large)]
            assert not a.network.send_bytes(B, bytes(MAX_PAYLOAD_BYTES + 1))
            assert a.network.stats.dropped_oversize == 1
            assert a.network.send_bytes(B, b"after")
            await until(lambda: len(b.frames) == 2)
            assert b.frames[1] == (A, b"after")

    run(scenario)


def test_a_restarted_peer_is_reached_again_under_its_new_boot(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            await b.network.close()
            await until(lambda: a.links[-1][0] == "down")
            assert not a.network.connected(B)
            assert not a.network.send_bytes(B, b"lost")
            assert a.network.stats.dropped_unconnected == 1
            again = await Node(B, {A: (HOST, a.port)}, b"b2").start(b.port)
            await until(lambda: a.links[-1] == ("up", B, b"b2"))
            assert a.network.send_bytes(B, b"kept")
            await until(lambda: again.frames)
            assert again.frames == [(A, b"kept")]
            await again.network.close()

    run(scenario)


def test_a_peer_that_dials_is_dialled_at_once(run: Callable[[Scenario], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that restarts is heard by the others a moment later; it has to hear them as soon, not when their patience
    with a port that was closed runs out."""
    monkeypatch.setattr(network, "FIRST_BACKOFF_S", 3_600.0)
    monkeypatch.setattr(network, "LAST_BACKOFF_S", 3_600.0)

    async def scenario() -> None:
        b = await Node(B, {}, b"b").start()
        port = b.port
        await b.network.close()
        a = await Node(A, {B: (HOST, port)}, b"a").start()
        await until(lambda: a.reasons("peer not reached"))
        b = await Node(B, {A: (HOST, a.port)}, b"b2").start(port)
        try:
            await until(lambda: a.network.connected(B) and b.network.connected(A))
        finally:
            await a.network.close()
            await b.network.close()

    run(scenario)


def test_a_foreign_cluster_is_refused_and_told_why(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        a = await Node(A, {}).start()
        stranger = await Node(B, {A: (HOST, a.port)}, cluster=ClusterId(b"x" * 16)).start()
        await until(lambda: stranger.reasons("peer not reached"))
        assert "is of cluster " + (b"x" * 16).hex() in stranger.reasons("peer not reached")
        assert "is of cluster " + (b"x" * 16).hex() in a.reasons("peer refused")
        assert not stranger.links
        assert not stranger.network.send_bytes(A, b"?")
        assert not a.frames
        await a.network.close()
        await stranger.network.close()

    run(scenario)


def test_an_address_that_is_another_node_is_not_mistaken_for_the_peer(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        a = await Node(A, {}).start()
        b = await Node(B, {NodeId(7): (HOST, a.port)}).start()
        await until(lambda: b.reasons("peer not reached"))
        assert "looks for node 7; this is node 0" in b.reasons("peer not reached")
        assert not b.links
        await a.network.close()
        await b.network.close()

    run(scenario)


def test_a_second_process_with_this_nodes_id_is_refused(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        a = await Node(A, {}).start()
        reader, writer = await asyncio.open_connection(HOST, a.port)
        writer.write(frame(FrameType.GREETING, Greeting(CLUSTER, BootId(b"t" * 16), A, A).encode(), 0))
        assert b"another process says that it is node 0" in await reader.read()
        writer.close()
        await a.network.close()

    run(scenario)


async def _greet(port: int, boot: bytes = b"r" * 16) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """A raw connection of node B, welcomed."""
    reader, writer = await asyncio.open_connection(HOST, port)
    greeting = Greeting(CLUSTER, BootId(boot), B, A).encode()
    writer.write(frame(FrameType.GREETING, greeting, 0))
    header = await reader.readexactly(9)
    assert header[8] == FrameType.WELCOME
    await reader.readexactly(int.from_bytes(header[:4], "big"))
    return reader, writer, seed_of(greeting)


def test_a_damaged_frame_closes_the_connection_and_is_never_handed_on(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        a = await Node(A, {}).start()
        reader, writer, seed = await _greet(a.port)
        damaged = bytearray(frame(FrameType.DATA, b"payload", seed))
        damaged[-1] ^= 1
        writer.write(frame(FrameType.DATA, b"good", seed) + damaged + frame(FrameType.DATA, b"after", seed))
        await closed(reader)
        assert a.frames == [(B, b"good")]
        assert a.network.stats.corrupt_frames == 1
        assert "CRC" in a.reasons("corrupt frame")
        writer.close()
        await a.network.close()

    run(scenario)


def test_what_does_not_greet_is_closed(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        a = await Node(A, {}).start()
        for noise in (b"GET / HTTP/1.1\r\n\r\n", frame(FrameType.DATA, b"x", 0), frame(FrameType.WELCOME, b"x", 0)):
            reader, writer = await asyncio.open_connection(HOST, a.port)
            writer.write(noise)
            await closed(reader)
            writer.close()
        assert not a.frames
        await a.network.close()

    run(scenario)


def test_connections_that_say_nothing_are_bounded(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        a = await Node(A, {}).start()
        silent = [await asyncio.open_connection(HOST, a.port) for _ in range(network.MAX_GREETING_CONNECTIONS)]
        await until(lambda: len(a.network._greeting) == len(silent))
        reader, writer = await asyncio.open_connection(HOST, a.port)
        await closed(reader)
        for _, other in [*silent, (reader, writer)]:
            other.close()
        await until(lambda: not a.network._greeting)
        (await _greet(a.port))[1].close()
        await a.network.close()

    run(scenario)


def test_a_newer_connection_of_a_node_replaces_the_older_one(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        a = await Node(A, {}).start()
        old_reader, old, old_seed = await _greet(a.port, b"1" * 16)
        _, new, new_seed = await _greet(a.port, b"2" * 16)
        await closed(old_reader)
        old.write(frame(FrameType.DATA, b"old", old_seed))
        new.write(frame(FrameType.DATA, b"new", new_seed))
        await until(lambda: a.frames)
        assert a.frames == [(B, b"new")]
        for writer in (old, new):
            writer.close()
        await a.network.close()

    run(scenario)


def test_a_peer_that_does_not_read_costs_a_bounded_buffer(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(9)
            writer.write(frame(FrameType.WELCOME, Greeting(CLUSTER, BootId(b"s" * 16), B, A).encode(), 0))
            writer.transport.pause_reading() if hasattr(writer.transport, "pause_reading") else None
            await asyncio.sleep(3_600)

        server = await asyncio.start_server(stuck, HOST, 0, limit=1_024)
        port = server.sockets[0].getsockname()[1]
        limit = 1 << 20
        a = await Node(A, {B: (HOST, port)}, send_buffer_bytes=limit).start()
        await until(lambda: a.network.connected(B))
        payload = bytes(100_000)
        for _ in range(400):
            a.network.send_bytes(B, payload)
            await asyncio.sleep(0)
        stats = a.network.stats
        assert stats.dropped_full > 0
        assert stats.frames_sent + stats.dropped_full == 400
        transport = a.network._links[B].transport
        assert transport is not None
        assert transport.get_write_buffer_size() <= limit + 4_096
        await a.network.close()
        server.close()

    run(scenario)


def test_a_peer_that_moves_is_followed_and_one_that_is_removed_is_left(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with pair() as (a, b):
            moved = await Node(B, {}, b"b3").start()
            a.network.set_address(B, (HOST, moved.port))
            await until(lambda: a.links[-1] == ("up", B, b"b3"))
            a.network.send_bytes(B, b"here")
            await until(lambda: moved.frames)
            assert not b.frames
            a.network.remove(B)
            await until(lambda: a.links[-1] == ("down", B, b""))
            assert not a.network.send_bytes(B, b"?")
            await moved.network.close()

    run(scenario)


def test_a_problem_is_logged_once_not_at_every_attempt(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        attempts = []

        async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            attempts.append(writer)
            writer.close()

        server = await asyncio.start_server(hang_up, HOST, 0)
        a = await Node(A, {B: (HOST, server.sockets[0].getsockname()[1])}).start()
        await until(lambda: len(attempts) >= 4)
        assert [name for name, _ in a.events] == ["peer not reached"]
        await a.network.close()
        server.close()

    run(scenario)
