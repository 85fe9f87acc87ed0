"""TCP links between nodes: opaque payloads, at most once, in order per connection, possibly lost, never corrupted.

Owns one outgoing connection per peer, on which this node sends, and the incoming ones, on which it receives; a link
that breaks is dialled again for ever. Rule: bytes that fail their CRC close the connection and are never handed on,
and nothing of another cluster gets past the greeting. Queues are bounded: past the bound a payload is dropped and
counted, because every protocol above repeats what matters. Implements `kernel.ports.Transport` beneath `node.wire`.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from gramme.kernel.errors import Corruption, Incompatible
from gramme.kernel.ids import BootId, ClusterId, NodeId
from gramme.runtime.frames import (
    MAX_GREETING_BYTES,
    MAX_PAYLOAD_BYTES,
    FrameReader,
    FrameType,
    Greeting,
    data_header,
    decode_greeting,
    frame,
    seed_of,
)

Address = tuple[str, int]
LogEvent = Callable[[str, Mapping[str, Any]], None]

SEND_BUFFER_BYTES: Final = 64 << 20
HANDSHAKE_TIMEOUT_S: Final = 5.0
FIRST_BACKOFF_S: Final = 0.05
LAST_BACKOFF_S: Final = 1.0
MAX_GREETING_CONNECTIONS: Final = 64
_JOIN_BELOW_BYTES: Final = 16_384
_DEAD_PEER_S: Final = 10


@dataclass(slots=True)
class NetworkStats:
    """Counters since the start of the process."""

    frames_sent: int = 0
    frames_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    dropped_unconnected: int = 0
    dropped_full: int = 0
    dropped_oversize: int = 0
    corrupt_frames: int = 0
    refused: int = 0


class PeerNetwork:
    """The links of one node. All calls and callbacks are made on the event loop that runs `start`.

    `on_frame(sender, payload)` gets each payload once its CRC has been checked; `on_connect(peer, boot)` says that
    payloads sent from now on leave, and which process of the peer will get them; `on_disconnect(peer)` that they do
    not. Payloads sent while a peer is not connected are dropped.
    """

    def __init__(
        self,
        me: NodeId,
        cluster_id: ClusterId,
        boot_id: BootId,
        addresses: Mapping[NodeId, Address],
        on_frame: Callable[[NodeId, bytes], None],
        on_connect: Callable[[NodeId, BootId], None] = lambda _node, _boot: None,
        on_disconnect: Callable[[NodeId], None] = lambda _node: None,
        *,
        log_event: LogEvent = lambda _name, _fields: None,
        rng: random.Random | None = None,
        send_buffer_bytes: int = SEND_BUFFER_BYTES,
        refuses: Callable[[NodeId], str] = lambda _node: "",
        on_refusal: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        """`refuses` says why a node is not to be heard, "" if it is; `on_refusal` hears why a peer refused this one."""
        self.me = me
        self.cluster_id = cluster_id
        self.boot_id = boot_id
        self.on_frame = on_frame
        self.on_connect = on_connect
        self.on_disconnect = on_disconnect
        self.log_event = log_event
        self._refuses = refuses
        self.on_refusal = on_refusal
        self.stats = NetworkStats()
        self._send_buffer_bytes = send_buffer_bytes
        self._rng = rng or random.Random()
        self._addresses = {node: address for node, address in addresses.items() if node != me}
        self._links: dict[NodeId, _Link] = {}
        self._incoming: dict[NodeId, _Incoming] = {}
        self._greeting: dict[_Incoming, None] = {}
        self._server: asyncio.Server | None = None
        self._closed = False

    async def start(self, host: str, port: int) -> int:
        """Listen on `host`:`port` (0: any free one), dial every peer, and return the port. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Incoming(self), host, port, backlog=128)
        for node in sorted(self._addresses):
            self._dial(node)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Close every connection; what has been written but not sent is lost."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for incoming in [*self._incoming.values(), *self._greeting]:
            incoming.abandon()
        links, self._links = self._links, {}
        for link in links.values():
            link.stop()
        await asyncio.gather(*(link.task for link in links.values()), return_exceptions=True)

    def send_bytes(self, node: NodeId, payload: bytes) -> bool:
        """Queue `payload` for `node`; False if it was dropped: no connection, more than the send buffer waits, or more
        than `MAX_PAYLOAD_BYTES`, at which the receiver would close the connection.
        """
        link = self._links.get(node)
        stats = self.stats
        if link is None or (transport := link.transport) is None:
            stats.dropped_unconnected += 1
            return False
        size = len(payload)
        if size > MAX_PAYLOAD_BYTES:
            stats.dropped_oversize += 1
            self.log_event("payload dropped", {"level": "error", "peer": node, "size_bytes": size})
            return False
        if transport.get_write_buffer_size() + size > self._send_buffer_bytes:
            stats.dropped_full += 1
            return False
        header = data_header(payload, link.seed)
        if size < _JOIN_BELOW_BYTES:
            transport.write(header + payload)
        else:
            transport.writelines((header, payload))
        stats.frames_sent += 1
        stats.bytes_sent += size
        return True

    def connected(self, node: NodeId) -> bool:
        """Whether payloads for `node` would leave now."""
        link = self._links.get(node)
        return link is not None and link.transport is not None

    def set_address(self, node: NodeId, address: Address) -> None:
        """`node` is at `address` from now on; a link to another address is dropped and dialled anew."""
        if node == self.me or self._addresses.get(node) == address:
            return
        self._addresses[node] = address
        if (link := self._links.pop(node, None)) is not None:
            link.stop()
        if self._server is not None:
            self._dial(node)

    def remove(self, node: NodeId) -> None:
        """Stop dialling `node` and close its connections."""
        self._addresses.pop(node, None)
        if (link := self._links.pop(node, None)) is not None:
            link.stop()
        if (incoming := self._incoming.get(node)) is not None:
            incoming.abandon()

    def _dial(self, node: NodeId) -> None:
        if not self._closed:
            self._links[node] = _Link(self, node, self._addresses[node], self._rng)

    # What follows is for the connections of this module.

    def greeting_to(self, target: NodeId) -> Greeting:
        """How this node introduces itself to `target`."""
        return Greeting(self.cluster_id, self.boot_id, self.me, target)

    def begin_greeting(self, incoming: _Incoming) -> bool:
        """Make room for a connection that has not said who it is; False if too many wait already."""
        if self._closed or len(self._greeting) >= MAX_GREETING_CONNECTIONS:
            return False
        self._greeting[incoming] = None
        return True

    def greeted(self, incoming: _Incoming, sender: NodeId) -> None:
        """`incoming` is `sender`'s link from now on; an older one of the same node is given up with what is in it."""
        self._greeting.pop(incoming, None)
        older = self._incoming.get(sender)
        self._incoming[sender] = incoming
        if older is not None:
            older.abandon()
        if (link := self._links.get(sender)) is not None:
            link.wake()

    def lost(self, incoming: _Incoming) -> None:
        """`incoming` is closed."""
        self._greeting.pop(incoming, None)
        if incoming.sender is not None and self._incoming.get(incoming.sender) is incoming:
            del self._incoming[incoming.sender]

    def reason_to_refuse(self, greeting: Greeting) -> str:
        """Why a node that greets like this is not listened to; empty if it is."""
        if greeting.cluster != self.cluster_id:
            return (
                f"node {greeting.sender} is of cluster {greeting.cluster.hex()}, "
                f"node {self.me} of cluster {self.cluster_id.hex()}"
            )
        if greeting.target != self.me:
            return f"node {greeting.sender} looks for node {greeting.target}; this is node {self.me}"
        if greeting.sender == self.me:
            return f"another process says that it is node {self.me}"
        return self._refuses(greeting.sender)


class _Link:
    """The outgoing side: dials one peer again and again; `transport` is set while payloads may be sent."""

    def __init__(self, network: PeerNetwork, node: NodeId, address: Address, rng: random.Random) -> None:
        self.transport: asyncio.Transport | None = None
        self.seed = 0
        self.node = node
        self.address = address
        self._network = network
        self._rng = rng
        self._stopped = False
        self._protocol: _Outgoing | None = None
        self._last_problem = ""
        self._woken = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"link to node {node}")

    def stop(self) -> None:
        """Give the link up for good."""
        self._stopped = True
        self.task.cancel()
        if self._protocol is not None:
            self._protocol.abandon()

    def wake(self) -> None:
        """The peer lives, for it has dialled us: dial it now. Left to the backoff, a node that restarts would be heard
        by its peers a second before it hears them, and be given work that it cannot do."""
        if self.transport is None:
            self._woken.set()

    def up(self, transport: asyncio.Transport, seed: int, boot: BootId) -> None:
        """The peer has welcomed us."""
        self.transport = transport
        self.seed = seed
        self._last_problem = ""
        self._woken.clear()
        self._network.log_event("peer connected", {"peer": self.node, "address": show_address(self.address)})
        self._network.on_connect(self.node, boot)

    def down(self, problem: str) -> None:
        """The connection is lost, or the peer refused it; each new problem is logged once, not at every attempt."""
        was_up, self.transport = self.transport is not None, None
        self._protocol = None
        if problem != self._last_problem and not self._stopped:
            self._last_problem = problem
            fields = {"peer": self.node, "address": show_address(self.address), "reason": problem}
            self._network.log_event("peer disconnected" if was_up else "peer not reached", fields)
        if was_up:
            self._network.on_disconnect(self.node)

    async def _run(self) -> None:
        backoff = FIRST_BACKOFF_S
        while not self._stopped:
            self._woken.clear()
            if await self._attempt():
                backoff = FIRST_BACKOFF_S
            try:
                # Jitter keeps the peers of a restarted node from dialling it in step.
                async with asyncio.timeout(backoff * (0.5 + self._rng.random())):
                    await self._woken.wait()
                backoff = FIRST_BACKOFF_S
            except TimeoutError:
                backoff = min(backoff * 2, LAST_BACKOFF_S)

    async def _attempt(self) -> bool:
        """Connect and stay until the connection is lost; True if the peer ever welcomed us."""
        loop = asyncio.get_running_loop()
        host, port = self.address
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                _, protocol = await loop.create_connection(lambda: _Outgoing(self._network, self), host, port)
        except (OSError, TimeoutError) as error:
            self.down(f"{type(error).__name__}: {error}".rstrip(": "))
            return False
        self._protocol = protocol
        await protocol.closed
        return protocol.welcomed


class _Outgoing(asyncio.Protocol):
    """One outgoing connection: greets, waits for the welcome, and after it expects to read nothing."""

    def __init__(self, network: PeerNetwork, link: _Link) -> None:
        self.welcomed = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._network = network
        self._link = link
        self._problem = ""
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(self._on_frame, 0, MAX_GREETING_BYTES)
        self._seed = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _prepare(self._transport)
        greeting = self._network.greeting_to(self._link.node).encode()
        self._seed = seed_of(greeting)
        self._transport.write(frame(FrameType.GREETING, greeting, 0))
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT_S, self._give_up, "no welcome in time")

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except (Corruption, Incompatible) as error:
            self._give_up(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._reader.stop()
        self._link.down(self._problem or str(exc or "closed by the peer"))
        if not self.closed.done():
            self.closed.set_result(None)

    def abandon(self) -> None:
        """Close at once; queued payloads are lost."""
        self._reader.stop()
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        self.abandon()

    def _on_frame(self, frame_type: int, payload: bytes) -> None:
        if frame_type == FrameType.REFUSAL:
            reason = payload.decode("utf-8", "replace")
            self._give_up("refused: " + reason)
            self._network.on_refusal(reason)
        elif frame_type != FrameType.WELCOME or self.welcomed:
            self._give_up("an unexpected frame from the peer")
        else:
            self._check_welcome(decode_greeting(payload))

    def _check_welcome(self, greeting: Greeting) -> None:
        expected = self._link.node
        if greeting.sender != expected:
            return self._give_up(f"{show_address(self._link.address)} is node {greeting.sender}, not node {expected}")
        if reason := self._network.reason_to_refuse(greeting):
            return self._give_up(reason)
        assert self._transport is not None
        self.welcomed = True
        if self._timer is not None:
            self._timer.cancel()
        self._link.up(self._transport, self._seed, greeting.boot)
        return None


class _Incoming(asyncio.Protocol):
    """One incoming connection: checks the greeting, then hands payloads on."""

    def __init__(self, network: PeerNetwork) -> None:
        self.sender: NodeId | None = None
        self._network = network
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(self._on_frame, 0, MAX_GREETING_BYTES)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _prepare(self._transport)
        if not self._network.begin_greeting(self):
            self.abandon()
            return
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT_S, self.abandon)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except Incompatible as error:
            self._refuse(str(error))
        except Corruption as error:
            self._network.stats.corrupt_frames += 1
            self._network.log_event("corrupt frame", {"peer": self.sender, "reason": str(error)})
            self.abandon()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._reader.stop()
        self._network.lost(self)

    def abandon(self) -> None:
        """Close at once; what was read but not handed on yet is dropped."""
        self._reader.stop()
        if self._transport is not None:
            self._transport.abort()

    def _on_frame(self, frame_type: int, payload: bytes) -> None:
        if self.sender is None:
            self._greet(frame_type, payload)
        elif frame_type != FrameType.DATA:
            raise Corruption(f"a frame of type {frame_type} after the greeting")
        else:
            stats = self._network.stats
            stats.frames_received += 1
            stats.bytes_received += len(payload)
            self._network.on_frame(self.sender, payload)

    def _greet(self, frame_type: int, payload: bytes) -> None:
        if frame_type != FrameType.GREETING:
            raise Corruption(f"a frame of type {frame_type} before the greeting")
        greeting = decode_greeting(payload)
        if reason := self._network.reason_to_refuse(greeting):
            self._refuse(reason)
            return
        assert self._transport is not None
        self.sender = greeting.sender
        if self._timer is not None:
            self._timer.cancel()
        self._reader.seed = seed_of(payload)
        self._reader.max_payload_bytes = MAX_PAYLOAD_BYTES
        self._network.greeted(self, greeting.sender)
        welcome = self._network.greeting_to(greeting.sender).encode()
        self._transport.write(frame(FrameType.WELCOME, welcome, 0))

    def _refuse(self, reason: str) -> None:
        self._network.stats.refused += 1
        self._network.log_event("peer refused", {"reason": reason})
        self._reader.stop()
        assert self._transport is not None
        self._transport.write(frame(FrameType.REFUSAL, reason.encode()[:MAX_GREETING_BYTES], 0))
        self._transport.close()


def _prepare(transport: asyncio.Transport) -> None:
    """No delay for small frames, and a peer whose machine is gone is noticed within about ten seconds."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 3), ("TCP_KEEPINTVL", 1), ("TCP_USER_TIMEOUT", _DEAD_PEER_S * 1_000)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def show_address(address: Address) -> str:
    """The inverse of `config.parse_address`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
