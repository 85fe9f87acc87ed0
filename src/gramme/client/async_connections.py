"""HTTP connections of asyncio programs: a few for each host, kept open, each for one request at a time.

Parses with httptools, as the server does. Rule: a connection goes back to the others only after a whole answer; one
whose request failed or was cancelled is closed. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import httptools

from gramme.client.connections import CONNECT_TIMEOUT_S, NotConnected, Reply, endpoint_parts

MOST_CONNECTIONS: Final = 100
"""To one host; further requests wait for one of them."""

_PIECE_BYTES: Final = 1 << 16


class BadAnswer(OSError):
    """What came is no answer in HTTP, or ends in its middle."""


class _Answer:
    """httptools' callbacks of one answer."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        if self.parser.get_status_code() < 200:  # an interim answer: the true one follows
            self.headers.clear()
        else:
            self.whole = True


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def usable(self) -> bool:
        """Whether the peer has not closed it."""
        return not (self._reader.at_eof() or self._writer.is_closing() or self._reader.exception())

    async def request(self, head: bytes, body: bytes) -> tuple[Reply, bool]:
        """The answer, and whether the connection may be kept."""
        self._writer.writelines((head, body))
        await self._writer.drain()
        answer = _Answer()
        while not answer.whole:
            data = await self._reader.read(_PIECE_BYTES)
            if not data:
                raise BadAnswer("the connection ended before the answer")
            try:
                answer.parser.feed_data(data)
            except httptools.HttpParserError as error:
                raise BadAnswer(f"not an answer in HTTP: {error}") from error
        reply = Reply(answer.parser.get_status_code(), answer.headers, b"".join(answer.body))
        return reply, answer.parser.should_keep_alive()

    def close(self) -> None:
        self._writer.close()


class AsyncHost:
    """Connections to one host; of one event loop."""

    def __init__(self, url: str) -> None:
        """Raises InvalidInput if `url` names more or less than a host."""
        self._parts = endpoint_parts(url)
        self._idle: list[_Connection] = []
        self._free = asyncio.Semaphore(MOST_CONNECTIONS)

    async def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """The answer. Raises NotConnected, OSError (a time-out is one)."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._parts.netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        async with self._free:
            connection = self._kept() or await self._connect(timeout_s)
            try:
                async with asyncio.timeout(timeout_s):
                    reply, keep = await connection.request(head, body)
            except BaseException:
                connection.close()
                raise
            if keep:
                self._idle.append(connection)
            else:
                connection.close()
            return reply

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def _connect(self, timeout_s: float) -> _Connection:
        tls = True if self._parts.scheme == "https" else None
        port = self._parts.port or (443 if tls else 80)
        try:
            async with asyncio.timeout(min(timeout_s, CONNECT_TIMEOUT_S)):
                return _Connection(*await asyncio.open_connection(self._parts.hostname, port, ssl=tls))
        except OSError as error:
            raise NotConnected(*error.args) from error
