"""HTTP connections of client programs: one for each thread and host, kept open (decision 0054).

Rule: a kept connection that its peer has closed is noticed before a request goes out on it, so that whatever may not be
done twice is not lost between a node's restart and the first request after it.
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from gramme.kernel.errors import InvalidInput

TIMEOUT_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 3.0


class Reply(NamedTuple):
    """An answer: headers by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotConnected(OSError):
    """No connection could be opened: the request certainly was not carried out."""


def endpoint_parts(url: str) -> SplitResult:
    """The parts of an endpoint's URL. Raises InvalidInput if it names more or less than a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise InvalidInput(f"not the URL of an endpoint: {url}")
    return parts


class Host:
    """Connections to one host, one for each thread that uses it."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """Raises InvalidInput if `url` names more or less than a host."""
        self._parts = endpoint_parts(url)
        self.url = url
        self.name = self._parts.netloc
        self._timeout_s = timeout_s
        self._local = threading.local()

    def request(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float | None = None
    ) -> Reply:
        """The answer. Raises NotConnected, OSError, HTTPException; the next request opens a new connection.
        `timeout_s`: of this request, if it is another than the host's."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        connection = self._connection(timeout_s)
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

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if kept is not None and _has_input(kept.sock):
            self._close(kept)
            kept = None
        if kept is None:
            kept = self._local.connection = self._connect(timeout_s)
        kept.sock.settimeout(timeout_s)
        return kept

    def _close(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        self._local.connection = None

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        assert self._parts.hostname is not None
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname, self._parts.port, timeout=min(timeout_s, CONNECT_TIMEOUT_S))
        try:
            connection.connect()
        except OSError as error:
            raise NotConnected(*error.args) from error
        # The head and the body of a request go out in two writes: without this, the second waits for an ACK.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _has_input(sock: socket.socket) -> bool:
    """Between requests, a connection has something to be read only where its peer has closed it."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
