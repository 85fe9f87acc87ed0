"""HTTP connections of client programs: one for each thread and host, kept open (decision 0054)."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from gramme.kernel.errors import InvalidInput

TIMEOUT_S: Final = 30.0


class Reply(NamedTuple):
    """An answer: headers by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Host:
    """Connections to one host, one for each thread that uses it."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """Raises InvalidInput if `url` names more or less than a host."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise InvalidInput(f"not the URL of an endpoint: {url}")
        self.url = url
        self.name = parts.netloc
        self._parts = parts
        self._timeout_s = timeout_s
        self._local = threading.local()

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer. Raises OSError, HTTPException; the next request opens a new connection."""
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except BaseException:
            self._close(connection)
            raise
        if response.will_close:
            self._close(connection)
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, answer)

    def _close(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        self._local.connection = None

    def _connect(self) -> http.client.HTTPConnection:
        assert self._parts.hostname is not None
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname, self._parts.port, timeout=self._timeout_s)
        connection.connect()
        # The head and the body of a request go out in two writes: without this, the second waits for an ACK.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
