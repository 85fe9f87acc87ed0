"""One HTTP/1.1 connection: bytes in, requests to the handler, responses out in the order of their requests.

Owns the parser and the queues of a connection. Rules: a response leaves only after those of all earlier requests; at
most `max_pipelined` requests are with the handler at once, and while there are more, or the peer does not read its
answers, the connection is not read; a request past a limit gets an answer that says so, then the connection closes.
Answers are handed to the transport at the end of the loop's turn, with those of all other connections
(`Unsent`). Everything runs in callbacks, no task is made. Source: RFC 9112 §9 (persistence,
pipelining), RFC 9110 §10.1.1 (Expect).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import httptools

from gramme.api.http import Handler, HttpRequest, HttpResponse, StreamedResponse, text_response
from gramme.runtime.http_codec import CONTINUE, BadRequest, Inflater, encode_head, encode_response
from gramme.runtime.http_stream import CHUNKED, BodyStream

_PIECE_BYTES: Final = 16 * 1024
"""Input is parsed in pieces of this size, so that one read cannot queue thousands of pipelined requests."""

_FLUSH_BYTES: Final = 64 * 1024
"""Output is handed to the transport at this size even within a batch, so that its back-pressure is felt in time."""

_LINGER_S: Final = 10
"""How long the rest of a refused request is read and thrown away, so that the peer gets to see the answer."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)
_CLOSE: Final = b"Connection: close\r\n"
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


class ConnectionOwner(Protocol):
    """What a connection needs of the server that accepted it."""

    limits: HttpLimits
    handler: Handler
    tick: int  # seconds since the server started, coarse
    date: bytes  # the Server and Date lines
    body_bytes: int  # of bodies that came in more than one piece, now held
    unsent: Unsent

    def opened(self, connection: HttpConnection) -> bool:
        """Register; False if there are too many."""

    def closed(self, connection: HttpConnection) -> None: ...

    def failed(self, error: Exception) -> None:
        """Log a bug."""


class Unsent:
    """Connections of one server that have answers to send: all of them leave in one go, when this turn of the loop has
    been worked off. A write wakes the client if it sleeps, which costs the writer as much as a small request; a client
    that is still busy with the answer before needs no waking (decision 0102)."""

    __slots__ = ("_connections",)

    def __init__(self) -> None:
        self._connections: list[HttpConnection] = []

    def add(self, connection: HttpConnection) -> None:
        """Have `connection.flush` called."""
        if not self._connections:
            asyncio.get_running_loop().call_soon(self._flush)
        self._connections.append(connection)

    def _flush(self) -> None:
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.flush()


class _Exchange(HttpRequest):
    """One request, and the place of its response in the order of the connection."""

    __slots__ = ("accept_encoding", "body_cost", "connection", "head_only", "last", "line", "response")

    def __init__(
        self, connection: HttpConnection, method: str, path: str, query: str, headers: dict[bytes, bytes], body: bytes,
        body_cost: int = 0,
    ) -> None:  # fmt: skip
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.connection = connection
        self.body_cost = body_cost
        self.accept_encoding = headers.get(b"accept-encoding")
        self.head_only = method == "HEAD"
        self.line = b""  # the Connection line of the response
        self.last = False  # the connection closes after this response
        self.response: HttpResponse | None = None

    def respond(self, response: HttpResponse) -> None:
        if self.response is None:
            self.response = response
            self.connection.answered(self)


class HttpConnection(asyncio.Protocol):
    """asyncio protocol and httptools callbacks of one connection."""

    __slots__ = (
        "_begun",
        "_body",
        "_body_cost",
        "_body_size",
        "_ended",
        "_exchanges",
        "_feeding",
        "_finished",
        "_headers",
        "_in_body",
        "_inflater",
        "_input",
        "_limits",
        "_lingers",
        "_output",
        "_output_size",
        "_parser",
        "_paused",
        "_piece",
        "_pieces",
        "_refused",
        "_seen_tick",
        "_server",
        "_silent",
        "_stream",
        "_transport",
        "_unsent",
        "_url",
        "_waiting",
        "_write_paused",
    )

    def __init__(self, server: ConnectionOwner) -> None:
        self._server = server
        self._limits = server.limits
        self._unsent = server.unsent
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._exchanges: deque[_Exchange] = deque()  # with the handler, or answered behind one that is
        self._waiting: deque[_Exchange] = deque()  # parsed, not yet given to the handler
        self._input: deque[memoryview] = deque()  # read, not yet parsed
        self._output: list[bytes] = []
        self._output_size = 0
        self._feeding = False  # within a batch: output is collected
        self._paused = False  # reading is paused
        self._write_paused = False
        self._refused = False  # nothing more is parsed
        self._ended = False  # no further request is wanted: end of input, or the server drains
        self._finished = False  # the last response was emitted
        self._lingers = False  # closed for writing, input is thrown away
        self._seen_tick = server.tick
        self._piece = 0
        self._body_cost = 0
        self._begun = False  # a request has begun to arrive
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._in_body = False
        self._silent = 0
        self._stream: BodyStream | None = None  # the response that is being sent; all others wait for its end
        self._body_size = 0
        self._body = b""
        self._pieces: list[bytes] = []  # of a body that comes in several, all but the first
        self._inflater: Inflater | None = None
        self._start_message()

    # --- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        if not self._server.opened(self):
            self._refuse(503, "Too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._stream is not None:
            self._stream.cancel()
        self._refused = True
        self._input.clear()
        self._output.clear()
        self._exchanges.clear()
        for exchange in self._waiting:
            self._server.body_bytes -= exchange.body_cost
        self._waiting.clear()
        self._drop_body()
        self._server.closed(self)

    def eof_received(self) -> bool:
        """The peer sends no more; it may still want its answers (half-close)."""
        self._ended = True
        self.flush()
        return self._busy()

    def pause_writing(self) -> None:
        self._write_paused = True
        self._throttle()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._seen_tick = self._server.tick
        if self._stream is not None:
            self._stream.go_on()
        self._advance()

    def data_received(self, data: bytes) -> None:
        self._seen_tick = self._server.tick
        if self._refused:
            return
        if self._paused or self._input or len(data) > _PIECE_BYTES:
            view = memoryview(data)
            self._input.extend(view[i : i + _PIECE_BYTES] for i in range(0, len(view), _PIECE_BYTES))
            self._advance()
            return
        self._feeding = True
        self._feed(data)
        self._feeding = False
        if self._output or self._finished:
            self._unsent.add(self)
        if self._waiting:
            self._advance()

    # --- parser callbacks

    def on_message_begin(self) -> None:
        self._begun = True

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
            raise BadRequest(413, f"The request body exceeds {self._limits.body_bytes} bytes")
        coding = headers.get(b"content-encoding")
        if coding is not None and coding.lower() not in (b"", b"identity"):
            self._inflater = Inflater(coding.strip().lower(), self._limits.body_bytes)
        if b"expect" in headers and headers[b"expect"].lower() == b"100-continue" and not self._busy():
            # With earlier answers still due it would come out of order: then the client's own time-out sends the body.
            self._emit_bytes([CONTINUE])

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
            raise BadRequest(413, f"The request body exceeds {self._limits.body_bytes} bytes")
        self._body_cost += len(data)
        self._server.body_bytes += len(data)
        if self._server.body_bytes > self._limits.buffered_body_bytes:
            raise BadRequest(503, "Too many large request bodies at once")

    def on_message_complete(self) -> None:
        if b"upgrade" in self._headers and self._parser.should_upgrade():
            return  # the parser has not looked at the body: see `_feed`
        if self._inflater is not None:
            self._inflater.finish()
        exchange = self._make_exchange()
        self._body_cost = 0  # the exchange holds it now
        self._start_message()
        if self._refused:  # an earlier request of this connection was its last
            self._server.body_bytes -= exchange.body_cost
            return
        if exchange.last:
            self._refused = True
        if self._waiting or self._write_paused or len(self._exchanges) >= self._limits.max_pipelined:
            self._waiting.append(exchange)
        else:
            self._dispatch(exchange)

    # --- requests in

    def _start_message(self) -> None:
        self._begun = False
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

    def _make_exchange(self) -> _Exchange:
        parser, headers, url = self._parser, self._headers, self._url
        method = parser.get_method()
        path, query = ("/", "") if url == b"/" else _split_target(url)
        body = b"".join((self._body, *self._pieces)) if self._pieces else self._body
        name = "POST" if method == b"POST" else method.decode("latin-1")
        exchange = _Exchange(self, name, path, query, headers, body, self._body_cost)
        if self._ended or not parser.should_keep_alive():
            exchange.last = True
            exchange.line = _CLOSE
        elif b"connection" in headers and parser.get_http_version() == "1.0":  # which only keeps it if it is asked to
            exchange.line = _KEEP_ALIVE
        return exchange

    def _feed(self, data: bytes | memoryview) -> None:
        """Parse one piece of at most `_PIECE_BYTES`."""
        self._piece = len(data)
        self._silent += self._piece
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, BadRequest):
                self._server.failed(cause if isinstance(cause, Exception) else error)
                cause = BadRequest(500, "Internal error")
            self._refuse(cause.status, str(cause))
        except httptools.HttpParserError:
            self._refuse(400, "Malformed HTTP request")
        else:
            if self._silent > self._limits.header_bytes + 2 * _PIECE_BYTES and self._begun:
                self._refuse(400, f"Request line and headers exceed {self._limits.header_bytes} bytes")

    def _feed_without_upgrade(self, rest: bytes | memoryview) -> None:
        """Offers like `Upgrade: h2c` are ignored, as RFC 9110 §7.8 allows: parse the request again without the offer.

        The parser stops behind the headers of such a request and cannot be told to go on with its body.
        """
        method, headers = self._parser.get_method(), self._headers
        if method == b"CONNECT":
            self._refuse(400, "CONNECT is not served here")
            return
        kept = [name + b": " + value for name, value in headers.items() if name not in (b"upgrade", b"connection")]
        head = b"\r\n".join([b"%b %b HTTP/1.1" % (method, self._url), *kept, b"", b""])
        self._parser = httptools.HttpRequestParser(self)
        self._start_message()
        self._feed(head)
        if len(rest) and not self._refused:
            self._feed(rest)

    def _check_header_size(self) -> None:
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())
        if size > self._limits.header_bytes:
            raise BadRequest(400, f"Request line and headers exceed {self._limits.header_bytes} bytes")

    def _refuse(self, status: int, message: str) -> None:
        """Answer `message` behind all earlier answers, then close; nothing more is parsed."""
        if self._refused:
            return
        self._refused = True
        self._input.clear()
        self._drop_body()
        exchange = _Exchange(self, "", "", "", {}, b"")
        exchange.last = True
        exchange.line = _CLOSE
        exchange.response = text_response(status, message)
        exchange.response.close = True
        if self._waiting:
            self._waiting.append(exchange)
        else:
            self._exchanges.append(exchange)
            self.answered(exchange)

    def _drop_body(self) -> None:
        self._server.body_bytes -= self._body_cost
        self._body_cost = 0
        self._start_message()

    def _dispatch(self, exchange: _Exchange) -> None:
        self._exchanges.append(exchange)
        if exchange.response is not None:  # it was refused
            self.answered(exchange)
            return
        try:
            self._server.handler(exchange, exchange.respond)
        except Exception as error:  # noqa: BLE001 - the boundary: a handler's bug must not leave the client waiting
            self._server.failed(error)
            exchange.respond(text_response(500, "Internal error"))

    # --- responses out

    def answered(self, exchange: _Exchange) -> None:
        """A response is there: emit all that are now in order. From any callback of the loop."""
        if exchange.body_cost:
            self._server.body_bytes -= exchange.body_cost
            exchange.body_cost = 0
        exchanges = self._exchanges
        if exchanges and exchanges[0] is exchange and self._transport is not None:
            self._emit_ready()

    def _emit_ready(self) -> None:
        exchanges = self._exchanges
        while exchanges and (response := exchanges[0].response) is not None and self._stream is None:
            self._emit(exchanges.popleft(), response)
        if not self._feeding:
            self._unsent.add(self)
            if self._paused or self._waiting:
                self._advance()

    def _emit(self, exchange: _Exchange, response: HttpResponse) -> None:
        if type(response) is StreamedResponse:
            self._begin_stream(exchange, response)
            return
        line = exchange.line
        if exchange.last or response.close or (self._ended and not self._busy()):
            line = _CLOSE
            self._finished = self._refused = True
            self._lingers = response.close
            self._exchanges.clear()
        parts = encode_response(response, self._server.date, exchange.accept_encoding, line, exchange.head_only)
        if len(parts) == 1 and not self._output_size:  # nearly always
            self._output_size = len(parts[0])
            self._output = parts
        else:
            self._collect(parts)

    def _begin_stream(self, exchange: _Exchange, response: StreamedResponse) -> None:
        """Send a body as it is made: in chunks, or, to a peer of HTTP/1.0, up to the end of the connection."""
        chunked = self._parser.get_http_version() != "1.0"
        last = exchange.last or not chunked or (self._ended and not self._busy())
        framing = (CHUNKED if chunked else b"") + (_CLOSE if last else b"")
        self._emit_bytes([encode_head(response, self._server.date, framing)])
        done = partial(self._end_stream, last)
        if exchange.head_only:
            done(True)
            return
        self._stream = BodyStream(response.source, self._stream_bytes, lambda: self._write_paused, done, chunked)
        self._stream.go_on()

    def _stream_bytes(self, parts: list[bytes]) -> None:
        self._seen_tick = self._server.tick
        self._emit_bytes(parts)

    def _end_stream(self, last: bool, whole: bool) -> None:
        self._stream = None
        if not whole:
            self._reset()
        elif last or (self._ended and not self._busy()):
            self._finished = self._refused = True
            self._exchanges.clear()
            if not self._feeding:
                self.flush()
        else:
            self._emit_ready()

    def _reset(self) -> None:
        """End the connection so that even a peer of HTTP/1.0 sees that it did not end well."""
        if self._transport is not None:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()

    def _emit_bytes(self, parts: list[bytes]) -> None:
        self._collect(parts)
        if not self._feeding:
            self.flush()

    def _collect(self, parts: list[bytes]) -> None:
        self._output += parts
        for part in parts:
            self._output_size += len(part)
        if self._output_size > _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what is answered to the transport, and close after the last answer."""
        transport = self._transport
        if transport is None:
            return
        if self._output:
            output = self._output
            self._output = []
            self._output_size = 0
            if len(output) == 1:
                transport.write(output[0])
            else:
                transport.writelines(output)
        if self._finished:
            if self._lingers and transport.can_write_eof() and not self._ended:
                self._resume_reading()
                transport.write_eof()
            else:
                transport.close()

    # --- flow control and time

    def _busy(self) -> bool:
        return bool(self._exchanges or self._waiting or self._input or self._stream)

    def _blocked(self) -> bool:
        return self._write_paused or len(self._exchanges) >= self._limits.max_pipelined

    def _throttle(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _advance(self) -> None:
        """Go on with what waits, parsed requests first, as far as the bounds allow."""
        if self._feeding or self._transport is None:
            return
        self._feeding = True
        while not self._blocked() and not self._finished:
            if self._waiting:
                self._dispatch(self._waiting.popleft())
            elif self._input and not self._refused:
                self._feed(self._input.popleft())
            else:
                break
        self._feeding = False
        if self._output or self._finished:
            self._unsent.add(self)
        if self._waiting or self._write_paused or (self._input and not self._refused):
            self._throttle()
        else:
            self._resume_reading()

    def check_time(self, tick: int) -> None:
        """Close what has been quiet for too long; called about once a second."""
        transport = self._transport
        quiet_s = tick - self._seen_tick
        if transport is None or quiet_s < _LINGER_S:
            return
        if self._lingers:
            transport.abort()
        elif self._write_paused:
            if quiet_s > self._limits.stalled_s:  # the peer does not read its answers
                transport.abort()
        elif self._busy():
            return
        elif self._begun:
            if quiet_s > self._limits.stalled_s:
                self._refuse(408, "The request did not arrive in time")
        elif quiet_s > self._limits.idle_s:
            transport.close()

    def drain(self) -> None:
        """Close now if idle, else after the answers that are due (they say `Connection: close`)."""
        self._ended = True
        self.flush()
        if not self._busy() and not self._begun and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, losing what was not sent."""
        if self._transport is not None:
            self._transport.abort()


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
