"""An HTTP server on a loop in a thread of its own, for tests that speak to it over raw sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from gramme.api.http import HttpRequest, HttpResponse, Respond
from gramme.runtime.http import HttpLimits, HttpServer

TIMEOUT_S = 10.0


class ServerThread:
    """Serves `handler` on 127.0.0.1 until `stop`; `errors` collects what escaped it."""

    def __init__(self, handler: Callable[[HttpRequest, Respond], None], limits: HttpLimits | None = None) -> None:
        self.errors: list[Exception] = []
        self.server = HttpServer(handler, limits, self.errors.append)
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self.run(self.server.listen("127.0.0.1", 0))

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT_S)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run `function` on the loop and wait for it."""

        async def act() -> Any:
            return function()

        return self.run(act())

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds()` on the loop; the loop's progress, not a clock, bounds it."""
        for _ in range(200_000):
            if self.call(holds):
                return
        raise AssertionError("it never came true")

    def connect(self) -> Client:
        return Client(socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S))

    def stop(self) -> None:
        self.run(self.server.drain(1.0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(TIMEOUT_S)
        self.loop.close()


class Answer:
    """A response as read from the wire."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def crc_holds(self) -> bool:
        return int(self.headers["x-amz-crc32"]) == zlib.crc32(self.body)


class Client:
    """A raw connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self, head_only: bool = False) -> Answer:
        """The next response; raises EOFError if the server closed instead."""
        head, _, _ = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = 0 if head_only else int(headers.get("content-length", "0"))
        while len(self._buffer) < size:
            self._more()
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return Answer(int(status_line.split()[1]), headers, body)

    def ended(self) -> bool:
        """Whether the server closes without another byte."""
        return not self._buffer and self.sock.recv(65536) == b""

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset: the peer learns that its answers are not wanted either."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        end = self._buffer.index(mark) + len(mark)
        head, self._buffer = self._buffer[:end], self._buffer[end:]
        return head

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data


def echo(request: HttpRequest, respond: Respond) -> None:
    """Answers method, path, query and body, joined by `|`."""
    line = f"{request.method}|{request.path}|{request.query}|".encode()
    respond(HttpResponse(200, [(b"Content-Type", b"text/plain")], line + request.body, crc=True))


def post(body: bytes, *headers: bytes, path: bytes = b"/") -> bytes:
    """A POST request with a Content-Length."""
    lines = [b"POST %b HTTP/1.1" % path, b"Host: h", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
