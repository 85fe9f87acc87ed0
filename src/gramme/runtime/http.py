"""The HTTP/1.1 server: listeners, connections and their common clock.

Owns the set of connections of one endpoint and the memory of their bodies. Rule: bounded in everything (connections,
header, body, pipelined requests), and a drain answers what was asked before it closes. Runs on any asyncio loop, meant
for uvloop. Source: issue 2 "api/dynamodb"; RFC 9112.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate

from gramme.api.http import Handler
from gramme.runtime.http_connection import HttpConnection, Unsent
from gramme.runtime.http_requests import HttpLimits

__all__ = ["HttpLimits", "HttpServer"]


def _ignore(error: Exception) -> None:
    """Used where nobody wants to hear of a handler's bug."""


class HttpServer:
    """Serves `handler` on any number of listening addresses. All methods belong to the loop's thread."""

    def __init__(
        self, handler: Handler, limits: HttpLimits | None = None, on_error: Callable[[Exception], None] = _ignore
    ) -> None:
        """`on_error` is told of every exception that escapes `handler`; the client sees only a bare 500."""
        self.handler = handler
        self.limits = limits or HttpLimits()
        self.tick = 0
        self.date = b""
        self.body_bytes = 0
        self.accepted = 0  # connections, since the start
        self.refused_connections = 0
        self._on_error = on_error
        self._connections: dict[HttpConnection, None] = {}
        self.unsent = Unsent()
        self._listeners: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event | None = None

    async def listen(self, host: str, port: int, *, reuse_port: bool = False, backlog: int = 1024) -> int:
        """Accept on `host:port` (0: any free port) from now on; returns the port. Raises OSError if it is taken.

        With `reuse_port` several processes share the port, and the kernel spreads new connections over them; one
        that dies drops out by itself.
        """
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: HttpConnection(self), host, port, reuse_port=reuse_port or None, backlog=backlog
        )
        self._listeners.append(listener)
        if self._timer is None:
            self._on_tick(loop)
        bound: int = listener.sockets[0].getsockname()[1]
        return bound

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def drain(self, timeout_s: float = 5.0) -> None:
        """Stop accepting, answer what has been asked, close; after `timeout_s` cut what is left."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._drained = asyncio.Event()
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            try:
                await asyncio.wait_for(self._drained.wait(), timeout_s)
            except TimeoutError:
                for connection in list(self._connections):
                    connection.abort()
                await asyncio.sleep(0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- what connections need (ConnectionOwner)

    def opened(self, connection: HttpConnection) -> bool:
        self._connections[connection] = None
        self.accepted += 1
        if self._drained is not None or len(self._connections) > self.limits.max_connections:
            self.refused_connections += 1
            return False
        return True

    def closed(self, connection: HttpConnection) -> None:
        self._connections.pop(connection, None)
        if self._drained is not None and not self._connections:
            self._drained.set()

    def failed(self, error: Exception) -> None:
        self._on_error(error)

    def _on_tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.tick += 1
        self.date = b"Server: Gramme\r\nDate: %b\r\n" % formatdate(usegmt=True).encode()
        if self.tick % 4 == 0:
            for connection in list(self._connections):
                connection.check_time(self.tick)
        self._timer = loop.call_later(1.0, self._on_tick, loop)
