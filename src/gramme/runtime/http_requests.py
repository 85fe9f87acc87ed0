"""Bytes of one HTTP/1.1 connection in, its requests out.

Owns the parser, and what has arrived of the next request. Rules: a request is handed on when its body is whole,
unchunked and decompressed; what is past a limit is refused as soon as that is known, not when all of it has arrived;
what the parser itself holds of an endless line is bounded by what was fed to it since it last delivered something.
Source: RFC 9112 §2 to §7, RFC 9110 §7.8 (Upgrade), §10.1.1 (Expect).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import httptools

from gramme.api.http import HttpRequest, HttpResponse
from gramme.runtime.http_codec import BadRequest, Inflater

PIECE_BYTES: Final = 16 * 1024
"""Input is parsed in pieces of this size, so that one read cannot queue thousands of pipelined requests."""

CLOSE: Final = b"Connection: close\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of a server. Sizes in bytes, times in seconds.

    `buffered_body_bytes` is for all bodies together that came in more than one piece: past it, they get a 503.
    """

    max_connections: int = 2_000
    header_bytes: int = 16 * 1024
    body_bytes: int = 16 * 1024 * 1024
    buffered_body_bytes: int = 256 * 1024 * 1024
    max_pipelined: int = 64
    idle_s: int = 600
    stalled_s: int = 60


class ReaderOwner(Protocol):
    """What reading requests needs of the server."""

    limits: HttpLimits
    body_bytes: int  # of bodies that came in more than one piece, now held

    def failed(self, error: Exception) -> None:
        """Log a bug."""


class Exchange(HttpRequest):
    """One request, and its response when that is there: `on_answer` is told."""

    __slots__ = ("_on_answer", "accept_encoding", "body_cost", "head_only", "last", "line", "response")

    def __init__(
        self, on_answer: Callable[[Exchange], None], method: str, path: str, query: str, headers: dict[bytes, bytes],
        body: bytes, body_cost: int = 0,
    ) -> None:  # fmt: skip
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self._on_answer = on_answer
        self.body_cost = body_cost
        self.accept_encoding = headers.get(b"accept-encoding")
        self.head_only = method == "HEAD"
        self.line = b""  # the Connection line of the response
        self.last = False  # the connection closes after this response
        self.response: HttpResponse | None = None

    def respond(self, response: HttpResponse) -> None:
        """The response; what comes after the first is dropped."""
        if self.response is None:
            self.response = response
            self._on_answer(self)


class RequestReader:
    """httptools callbacks of one connection. `on_request` takes each request, `on_answer` hears of its response,
    `on_expect` is called where a client waits for the word to send its body."""

    __slots__ = (
        "_body", "_body_cost", "_body_size", "_headers", "_in_body", "_inflater", "_limits", "_on_answer", "_on_expect",
        "_on_request", "_parser", "_piece", "_pieces", "_server", "_silent", "_url", "begun", "closed",
    )  # fmt: skip

    def __init__(
        self,
        server: ReaderOwner,
        on_request: Callable[[Exchange], None],
        on_answer: Callable[[Exchange], None],
        on_expect: Callable[[], None],
    ) -> None:
        self.begun = False  # a request has begun to arrive
        self.closed = False  # no further request is taken: the connection sets it
        self._server = server
        self._limits = server.limits
        self._on_request = on_request
        self._on_answer = on_answer
        self._on_expect = on_expect
        self._parser = httptools.HttpRequestParser(self)
        self._piece = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._in_body = False
        self._silent = 0
        self._body_cost = 0
        self._body_size = 0
        self._body = b""
        self._pieces: list[bytes] = []  # of a body that comes in several, all but the first
        self._inflater: Inflater | None = None

    def feed(self, piece: bytes | memoryview) -> None:
        """Read a piece of at most `PIECE_BYTES`. Raises BadRequest for what cannot be served: behind that nothing can
        be read any more."""
        self._piece = len(piece)
        self._silent += self._piece
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_without_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, BadRequest):
                raise cause from None
            self._server.failed(cause if isinstance(cause, Exception) else error)
            raise BadRequest(500, "Internal error") from None
        except httptools.HttpParserError:
            raise BadRequest(400, "Malformed HTTP request") from None
        else:
            if self._silent > self._limits.header_bytes + 2 * PIECE_BYTES and self.begun:
                raise self._head_too_large()

    def _feed_without_upgrade(self, rest: bytes | memoryview) -> None:
        """Offers like `Upgrade: h2c` are ignored, as RFC 9110 §7.8 allows: parse the request again without the offer.

        The parser stops behind the headers of such a request and cannot be told to go on with its body.
        """
        method, headers = self._parser.get_method(), self._headers
        if method == b"CONNECT":
            raise BadRequest(400, "CONNECT is not served here")
        kept = [name + b": " + value for name, value in headers.items() if name not in (b"upgrade", b"connection")]
        head = b"\r\n".join([b"%b %b HTTP/1.1" % (method, self._url), *kept, b"", b""])
        self._parser = httptools.HttpRequestParser(self)
        self._begin()
        self.feed(head)
        if len(rest) and not self.closed:
            self.feed(rest)

    def drop(self) -> None:
        """Forget what has arrived of a request."""
        self._server.body_bytes -= self._body_cost
        self._body_cost = 0
        self._begin()

    def version(self) -> str:
        """The HTTP version of the last request."""
        version: str = self._parser.get_http_version()
        return version

    def _begin(self) -> None:
        """Nothing has arrived of the next request."""
        self.begun = False
        self._url = b""
        self._headers = {}
        if self._body_size:
            self._body = b""
            self._body_size = 0
            if self._pieces:
                self._pieces = []
        self._inflater = None
        self._in_body = False
        # Bytes parsed since anything was delivered: bounds what the parser itself holds of an endless line. Starts at
        # the size of the present piece, which may hold the beginning of the next message already.
        self._silent = self._piece

    # --- parser callbacks

    def on_message_begin(self) -> None:
        self.begun = True

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # trailers are thrown away
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._silent > self._limits.header_bytes:
            self._check_header_size()
        self._silent = 0
        self._in_body = True
        headers = self._headers
        length = headers.get(b"content-length")
        if length is not None and len(length) > 6 and int(length) > self._limits.body_bytes:
            raise self._body_too_large()
        coding = headers.get(b"content-encoding")
        if coding is not None and coding.lower() not in (b"", b"identity"):
            self._inflater = Inflater(coding.strip().lower(), self._limits.body_bytes)
        if b"expect" in headers and headers[b"expect"].lower() == b"100-continue":
            self._on_expect()

    def on_body(self, data: bytes) -> None:
        self._silent = 0
        if self._inflater is not None:
            data = self._inflater.feed(data)
        if not self._body_size:
            self._body = data
            self._body_size = len(data)
            return
        self._pieces.append(data)
        self._body_size += len(data)
        if self._body_size > self._limits.body_bytes:
            raise self._body_too_large()
        self._body_cost += len(data)
        self._server.body_bytes += len(data)
        if self._server.body_bytes > self._limits.buffered_body_bytes:
            raise BadRequest(503, "Too many large request bodies at once")

    def on_message_complete(self) -> None:
        if b"upgrade" in self._headers and self._parser.should_upgrade():
            return  # the parser has not looked at the body: see `_feed_without_upgrade`
        if self._inflater is not None:
            self._inflater.finish()
        exchange = self._make_exchange()
        self._body_cost = 0  # the exchange holds it now
        self._begin()
        self._on_request(exchange)

    def _make_exchange(self) -> Exchange:
        parser, headers, url = self._parser, self._headers, self._url
        method = parser.get_method()
        path, query = ("/", "") if url == b"/" else _split_target(url)
        body = b"".join((self._body, *self._pieces)) if self._pieces else self._body
        name = "POST" if method == b"POST" else method.decode("latin-1")
        exchange = Exchange(self._on_answer, name, path, query, headers, body, self._body_cost)
        if not parser.should_keep_alive():
            exchange.last = True
            exchange.line = CLOSE
        elif b"connection" in headers and parser.get_http_version() == "1.0":  # which only keeps it if it is asked to
            exchange.line = _KEEP_ALIVE
        return exchange

    # --- bounds

    def _check_header_size(self) -> None:
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())
        if size > self._limits.header_bytes:
            raise self._head_too_large()

    def _head_too_large(self) -> BadRequest:
        return BadRequest(400, f"Request line and headers exceed {self._limits.header_bytes} bytes")

    def _body_too_large(self) -> BadRequest:
        return BadRequest(413, f"The request body exceeds {self._limits.body_bytes} bytes")


def _split_target(target: bytes) -> tuple[str, str]:
    """Path and query of a request's target; of an absolute form (RFC 9112 §3.2.2) the path alone, and `*` and the like
    stay as they are."""
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        _, separator, rest = path.partition(b"://")
        if separator:
            _, slash, rest = rest.partition(b"/")
            path = slash + rest or b"/"
    return path.decode("latin-1"), query.decode("latin-1")
