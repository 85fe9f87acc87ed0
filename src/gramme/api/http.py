"""One HTTP request and its response, as values: what `runtime.http` reads from and writes to a connection.

Owns nothing; handlers of the API and the admin port are functions from `HttpRequest` to a call of `Respond`, so that
they run unchanged in simulation, where there are no sockets. Rule: a handler calls `respond` exactly once, at once or
from a later callback of the loop, and never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol


class HttpRequest:
    """A whole request: the body is complete, unchunked and decompressed.

    `method` is upper-case ASCII; `path` is the target without its query, not percent-decoded; `query` is what follows
    the first `?`, or empty; header names are lower-case bytes, and of a repeated header the last value stands.
    """

    __slots__ = ("body", "headers", "method", "path", "query")

    def __init__(self, method: str, path: str, query: str, headers: dict[bytes, bytes], body: bytes) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body

    def header(self, name: bytes) -> bytes | None:
        """The value of a header, whatever the case of `name`; None if it was not sent."""
        return self.headers.get(name.lower())


class HttpResponse:
    """A response before framing: the server adds Content-Length, Date-less and with Connection where needed.

    Headers are given as (name, value) pairs, or as the lines that they become, each with its CRLF. `body` may come in
    parts, so that a long answer is not copied. With `crc`, the server adds `X-Amz-Crc32`: the CRC-32 (zlib) of the
    body's bytes as sent, hence after compression, which only the server knows to have happened. With `close`, the
    connection ends after this response.
    """

    __slots__ = ("body", "close", "crc", "lines", "status")

    def __init__(
        self,
        status: int,
        headers: bytes | list[tuple[bytes, bytes]],
        body: bytes | list[bytes] = b"",
        crc: bool = False,
        close: bool = False,
    ) -> None:
        self.status = status
        self.lines = headers if isinstance(headers, bytes) else header_lines(headers)
        self.body = body
        self.crc = crc
        self.close = close

    def add(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Append (name, value) pairs to the headers."""
        self.lines += header_lines(headers)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as (name, value) pairs, in the order given."""
        lines = [line.partition(b": ") for line in self.lines.split(b"\r\n")[:-1]]
        return [(name, value) for name, _, value in lines]

    def whole_body(self) -> bytes:
        """The body in one piece."""
        body = self.body
        return body if isinstance(body, bytes) else b"".join(body)


class BodySource(Protocol):
    """A body that is made while it is sent, so that only a piece of it is in memory."""

    def pull(self, on_piece: Callable[[bytes | None], None]) -> None:
        """Have `on_piece` called once, at once or later, with the next piece: b"" behind the last one, None if there is
        more that cannot be had. It is called again only when that piece is on its way."""


class StreamedResponse(HttpResponse):
    """A response whose body comes from `source`, in chunks. If it breaks off, the connection does: no peer takes a part
    for the whole."""

    __slots__ = ("source",)

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], source: BodySource) -> None:
        super().__init__(status, headers)
        self.source = source


Respond = Callable[[HttpResponse], None]
"""Takes the response of one request, exactly once."""

Handler = Callable[[HttpRequest, Respond], None]
"""Serves one request: calls `Respond` now or later, never raises."""

JSON_HEADERS: Final = [(b"Content-Type", b"application/json")]
TEXT_HEADERS: Final = [(b"Content-Type", b"text/plain; charset=utf-8")]

REASONS: Final[dict[int, bytes]] = {status.value: status.phrase.encode() for status in HTTPStatus}
"""Reason phrase of each status."""


def header_lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """(name, value) pairs as they stand in a response, each with its CRLF."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def text_response(status: int, text: str) -> HttpResponse:
    """A plain-text response."""
    return HttpResponse(status, TEXT_HEADERS, text.encode())


def json_response(status: int, body: bytes) -> HttpResponse:
    """A response whose body is already JSON."""
    return HttpResponse(status, JSON_HEADERS, body)
