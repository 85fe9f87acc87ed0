"""Bytes of HTTP/1.1 responses, and content codings of bodies in both directions.

Owns framing of a response (status line, Content-Length, `X-Amz-Crc32` over the bytes as sent) and bounded
decompression of a request. Rule: no input makes more than `limit` bytes of output. Source: RFC 9112, RFC 9110 §8.4.
"""

from __future__ import annotations

import zlib
from typing import Final
from zlib import crc32

from gramme.api.http import REASONS, HttpResponse

COMPRESS_OVER_BYTES: Final = 4096
"""Responses with a longer body are compressed if the client accepts it."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_GZIP_OR_ZLIB_WBITS: Final = 32 + zlib.MAX_WBITS  # tells gzip from zlib by the header
_RAW_DEFLATE_WBITS: Final = -zlib.MAX_WBITS
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
_COMPRESSION_LEVEL: Final = 1  # 1 MB in about 10 ms; higher levels hold the loop for little gain
_NO_BODY: Final = (204, 304)
_COPIED_BYTES: Final = 65536  # up to here one buffer is cheaper than several: copying costs less than a call


class BadRequest(Exception):
    """A request that is refused with this HTTP `status` before any handler sees it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Inflater:
    """Decompresses one request body piece by piece; the sum of its output never exceeds `limit` bytes."""

    __slots__ = ("_decoder", "_gzip", "_left", "_limit", "_started")

    def __init__(self, coding: bytes, limit: int) -> None:
        """`coding` is gzip, x-gzip or deflate. Raises BadRequest (415) for any other."""
        if coding not in (b"gzip", b"x-gzip", b"deflate"):
            raise BadRequest(415, "Unsupported Content-Encoding; use gzip, deflate or identity")
        self._gzip = coding != b"deflate"
        self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB_WBITS)
        self._limit = limit
        self._left = limit
        self._started = False

    def feed(self, data: bytes) -> bytes:
        """Decode the next piece. Raises BadRequest: 400 if it is damaged, 413 past the limit."""
        if not self._started:
            self._start(data)
        output: list[bytes] = []
        while data:
            output.append(self._step(data))
            data = self._decoder.unused_data
            if data:  # another gzip member follows (RFC 1952 §2.2)
                if not self._gzip:
                    raise BadRequest(400, "Bytes follow the end of the compressed request body")
                self._decoder = zlib.decompressobj(_GZIP_WBITS)
        return output[0] if len(output) == 1 else b"".join(output)

    def finish(self) -> None:
        """The body has ended. Raises BadRequest (400) if the compressed stream has not."""
        if not self._decoder.eof:
            raise BadRequest(400, "The compressed request body is truncated")

    def _start(self, data: bytes) -> None:
        self._started = True
        # 'deflate' means zlib, whose first low nibble is 8, but some clients send it raw (RFC 9110 §8.4.1.2).
        if not self._gzip and data and data[0] & 0x0F != 8:
            self._decoder = zlib.decompressobj(_RAW_DEFLATE_WBITS)

    def _step(self, data: bytes) -> bytes:
        try:
            output = self._decoder.decompress(data, self._left + 1)
        except zlib.error:
            raise BadRequest(400, "The compressed request body is damaged") from None
        self._left -= len(output)
        if self._left < 0:
            raise BadRequest(413, f"The request body exceeds {self._limit} bytes after decompression")
        return output


def accepted_coding(accept_encoding: bytes) -> bytes | None:
    """The coding to answer in, gzip before deflate; None if the header accepts neither."""
    accepted: list[bytes] = []
    for part in accept_encoding.lower().split(b","):
        coding, _, parameters = part.partition(b";")
        weight = parameters.strip().removeprefix(b"q=").strip()
        if weight.rstrip(b"0").rstrip(b".") in (b"", b"0") and weight.startswith(b"0"):
            continue
        accepted.append(coding.strip())
    for coding in (b"gzip", b"deflate"):
        if coding in accepted or (coding == b"gzip" and b"*" in accepted):
            return coding
    return None


def compress(parts: list[bytes], coding: bytes) -> bytes:
    """The parts as one compressed body, `coding` being gzip or deflate."""
    encoder = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP_WBITS if coding == b"gzip" else zlib.MAX_WBITS)
    pieces = [encoder.compress(part) for part in parts]
    pieces.append(encoder.flush())
    return b"".join(pieces)


def encode_response(
    response: HttpResponse, date: bytes, accept_encoding: bytes | None, connection: bytes, head_only: bool
) -> list[bytes]:
    """The response as bytes to write: the head, then the parts of the body.

    `connection` is a whole Connection line or empty; with `head_only` (the request was HEAD) the body is left out
    but counted.
    """
    body = response.body
    if isinstance(body, bytes):
        parts = [body]
        size = len(body)
    else:
        parts = body
        size = sum(map(len, parts))
    lines = response.lines
    if size > COMPRESS_OVER_BYTES and accept_encoding is not None:
        coding = accepted_coding(accept_encoding)
        if coding is not None:
            parts = [compress(parts, coding)]
            size = len(parts[0])
            lines = b"Content-Encoding: %b\r\nVary: Accept-Encoding\r\n%b" % (coding, lines)
    status = response.status
    start = _STATUS_LINES.get(status) or _status_line(status)
    crc = b""
    if response.crc:
        crc = b"x-amz-crc32: %d\r\n" % (crc32(parts[0]) if len(parts) == 1 else _crc32(parts))
    if status in _NO_BODY:
        return [b"%b%b%b%b%b\r\n" % (start, date, lines, crc, connection)]
    if head_only or not size:
        parts = []
    framing = b"Content-Length: %d\r\n\r\n" % size
    if size < _COPIED_BYTES:
        return [b"".join((start, date, lines, crc, connection, framing, *parts))]
    return [b"".join((start, date, lines, crc, connection, framing)), *parts]


def encode_head(response: HttpResponse, date: bytes, framing: bytes) -> bytes:
    """The head of a response whose body is yet to come; `framing` says how its end is told."""
    return b"".join((_status_line(response.status), date, response.lines, framing, b"\r\n"))


def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Unknown"))


_STATUS_LINES: Final = {status: _status_line(status) for status in REASONS}


def _crc32(parts: list[bytes]) -> int:
    crc = 0
    for part in parts:
        crc = crc32(part, crc)
    return crc
