"""A response body on its way from a source that makes it to a peer that reads it, piece by piece.

Rule: the next piece is asked for only while the peer reads what it has got, so that a slow peer holds one piece in
memory, not a body. Source: RFC 9112 §7.1 (chunked transfer coding).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gramme.api.http import BodySource

CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class BodyStream:
    """See the module. `emit` takes bytes for the peer, `paused` says whether it lags behind; `done` is called once,
    with False if the body broke off."""

    __slots__ = ("_asked", "_chunked", "_done", "_emit", "_looping", "_paused", "_source")

    def __init__(
        self,
        source: BodySource,
        emit: Callable[[list[bytes]], None],
        paused: Callable[[], bool],
        done: Callable[[bool], None],
        chunked: bool,
    ) -> None:
        self._source: BodySource | None = source
        self._emit = emit
        self._paused = paused
        self._done = done
        self._chunked = chunked
        self._asked = False  # for a piece that has not come
        self._looping = False

    def go_on(self) -> None:
        """Ask for pieces while the peer takes them. A loop, because a source may answer at once."""
        if self._looping:
            return
        self._looping = True
        while self._source is not None and not self._asked and not self._paused():
            self._asked = True
            self._source.pull(self._piece)
        self._looping = False

    def cancel(self) -> None:
        """The peer is gone: what still comes is dropped."""
        self._source = None

    def _piece(self, piece: bytes | None) -> None:
        self._asked = False
        if self._source is None:
            return
        if piece:
            self._emit([b"%x\r\n" % len(piece), piece, b"\r\n"] if self._chunked else [piece])
            self.go_on()
            return
        self._source = None
        if piece is not None and self._chunked:
            self._emit([_LAST_CHUNK])
        self._done(piece is not None)
