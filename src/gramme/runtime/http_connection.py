"""One HTTP/1.1 connection: requests to the handler, responses out in the order of their requests.

Owns the queues of a connection; `http_requests` makes requests of its bytes. Rules: a response leaves only after those
of all earlier requests; at most `max_pipelined` requests are with the handler at once, and while there are more, or the
peer does not read its answers, the connection is not read; a refused request gets its answer, then the connection
closes. Answers are handed to the transport at the end of the loop's turn, with those of all other connections
(`Unsent`). Everything runs in callbacks, no task is made. Source: RFC 9112 §9 (persistence, pipelining).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from functools import partial
from typing import Final, Protocol

from gramme.api.http import Handler, HttpResponse, StreamedResponse, text_response
from gramme.runtime.http_codec import CONTINUE, BadRequest, encode_head, encode_response
from gramme.runtime.http_requests import CLOSE, PIECE_BYTES, Exchange, ReaderOwner, RequestReader
from gramme.runtime.http_stream import CHUNKED, BodyStream

_FLUSH_BYTES: Final = 64 * 1024
"""Output is handed to the transport at this size even within a batch, so that its back-pressure is felt in time."""

_LINGER_S: Final = 10
"""How long the rest of a refused request is read and thrown away, so that the peer gets to see the answer."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class ConnectionOwner(ReaderOwner, Protocol):
    """What a connection needs of the server that accepted it."""

    handler: Handler
    tick: int  # seconds since the server started, coarse
    date: bytes  # the Server and Date lines
    unsent: Unsent

    def opened(self, connection: HttpConnection) -> bool:
        """Register; False if there are too many."""

    def closed(self, connection: HttpConnection) -> None: ...


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


class HttpConnection(asyncio.Protocol):
    """asyncio protocol of one connection."""

    __slots__ = (
        "_ended",
        "_exchanges",
        "_feeding",
        "_finished",
        "_input",
        "_limits",
        "_lingers",
        "_output",
        "_output_size",
        "_paused",
        "_reader",
        "_seen_tick",
        "_server",
        "_stream",
        "_transport",
        "_unsent",
        "_waiting",
        "_write_paused",
    )

    def __init__(self, server: ConnectionOwner) -> None:
        self._server = server
        self._limits = server.limits
        self._unsent = server.unsent
        self._transport: asyncio.Transport | None = None
        self._reader = RequestReader(server, self._take, self.answered, self._invite_body)
        self._exchanges: deque[Exchange] = deque()  # with the handler, or answered behind one that is
        self._waiting: deque[Exchange] = deque()  # parsed, not yet given to the handler
        self._input: deque[memoryview] = deque()  # read, not yet parsed
        self._output: list[bytes] = []
        self._output_size = 0
        self._feeding = False  # within a batch: output is collected
        self._paused = False  # reading is paused
        self._write_paused = False
        self._ended = False  # no further request is wanted: end of input, or the server drains
        self._finished = False  # the last response was emitted
        self._lingers = False  # closed for writing, input is thrown away
        self._seen_tick = server.tick
        self._stream: BodyStream | None = None  # the response that is being sent; all others wait for its end

    # --- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        if not self._server.opened(self):
            self._refuse(503, "Too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._stream is not None:
            self._stream.cancel()
        self._reader.closed = True
        self._input.clear()
        self._output.clear()
        self._exchanges.clear()
        for exchange in self._waiting:
            self._server.body_bytes -= exchange.body_cost
        self._waiting.clear()
        self._reader.drop()
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
        if self._reader.closed:
            return
        if self._paused or self._input or len(data) > PIECE_BYTES:
            view = memoryview(data)
            self._input.extend(view[i : i + PIECE_BYTES] for i in range(0, len(view), PIECE_BYTES))
            self._advance()
            return
        self._feeding = True
        self._feed(data)
        self._feeding = False
        if self._output or self._finished:
            self._unsent.add(self)
        if self._waiting:
            self._advance()

    # --- requests in

    def _feed(self, piece: bytes | memoryview) -> None:
        """Read one piece of at most `PIECE_BYTES`."""
        try:
            self._reader.feed(piece)
        except BadRequest as bad:
            self._refuse(bad.status, str(bad))

    def _invite_body(self) -> None:
        """A client waits for the word to send its body. With earlier answers still due it would come out of order: then
        the client's own time-out sends the body."""
        if not self._busy():
            self._emit_bytes([CONTINUE])

    def _take(self, exchange: Exchange) -> None:
        """A request has arrived."""
        if self._reader.closed:  # an earlier request of this connection was its last
            self._server.body_bytes -= exchange.body_cost
            return
        if self._ended:
            exchange.last = True
            exchange.line = CLOSE
        if exchange.last:
            self._reader.closed = True
        if self._waiting or self._write_paused or len(self._exchanges) >= self._limits.max_pipelined:
            self._waiting.append(exchange)
        else:
            self._dispatch(exchange)

    def _refuse(self, status: int, message: str) -> None:
        """Answer `message` behind all earlier answers, then close; nothing more is parsed."""
        if self._reader.closed:
            return
        self._reader.closed = True
        self._input.clear()
        self._reader.drop()
        exchange = Exchange(self.answered, "", "", "", {}, b"")
        exchange.last = True
        exchange.line = CLOSE
        exchange.response = text_response(status, message)
        exchange.response.close = True
        if self._waiting:
            self._waiting.append(exchange)
        else:
            self._exchanges.append(exchange)
            self.answered(exchange)

    def _dispatch(self, exchange: Exchange) -> None:
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

    def answered(self, exchange: Exchange) -> None:
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

    def _emit(self, exchange: Exchange, response: HttpResponse) -> None:
        if type(response) is StreamedResponse:
            self._begin_stream(exchange, response)
            return
        line = exchange.line
        if exchange.last or response.close or (self._ended and not self._busy()):
            line = CLOSE
            self._finished = self._reader.closed = True
            self._lingers = response.close
            self._exchanges.clear()
        parts = encode_response(response, self._server.date, exchange.accept_encoding, line, exchange.head_only)
        if len(parts) == 1 and not self._output_size:  # nearly always
            self._output_size = len(parts[0])
            self._output = parts
        else:
            self._collect(parts)

    def _begin_stream(self, exchange: Exchange, response: StreamedResponse) -> None:
        """Send a body as it is made: in chunks, or, to a peer of HTTP/1.0, up to the end of the connection."""
        chunked = self._reader.version() != "1.0"
        last = exchange.last or not chunked or (self._ended and not self._busy())
        framing = (CHUNKED if chunked else b"") + (CLOSE if last else b"")
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
            self._finished = self._reader.closed = True
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
            elif self._input and not self._reader.closed:
                self._feed(self._input.popleft())
            else:
                break
        self._feeding = False
        if self._output or self._finished:
            self._unsent.add(self)
        if self._waiting or self._write_paused or (self._input and not self._reader.closed):
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
        elif self._reader.begun:
            if quiet_s > self._limits.stalled_s:
                self._refuse(408, "The request did not arrive in time")
        elif quiet_s > self._limits.idle_s:
            transport.close()

    def drain(self) -> None:
        """Close now if idle, else after the answers that are due (they say `Connection: close`)."""
        self._ended = True
        self.flush()
        if not self._busy() and not self._reader.begun and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, losing what was not sent."""
        if self._transport is not None:
            self._transport.abort()
