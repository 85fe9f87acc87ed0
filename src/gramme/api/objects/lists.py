"""Lists of keys and buckets: whole, or as they are found.

Owns `keys=` and `buckets=`. `true` answers one document, in order, or not at all; `stream` answers documents of some
names each, one behind the other as Riak does, while the walk goes on: neither end keeps more than a page of keys. Rule:
a list that cannot be finished breaks off, it never ends as if it were whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gramme.api.http import StreamedResponse
from gramme.api.objects import answers
from gramme.api.objects.backend import ObjectBackend
from gramme.api.objects.exchange import Exchange
from gramme.api.objects.parameters import DEFAULT_TIMEOUT_MS
from gramme.api.objects.props import Props
from gramme.kernel.errors import InvalidInput
from gramme.kernel.ports import Clock
from gramme.kernel.time import MILLISECOND, Instant
from gramme.objects.listing import NamesAt, Page

ATTEMPTS: Final = 3
"""A page that one node does not give is asked of another: it is known by then that the first one is gone."""

_encode: Final = msgspec.json.Encoder().encode


class Lists:
    """See the module."""

    def __init__(self, backend: ObjectBackend, clock: Clock, props: Props) -> None:
        self._backend = backend
        self._clock = clock
        self._props = props

    def show(self, exchange: Exchange, what: str) -> None:
        """Answer `what` (keys, buckets) as the query wants it."""
        match exchange.query.get(what):
            case "true":
                self._whole(exchange, what)
            case "stream":
                self._stream(exchange, what)
            case _ if what == "keys":  # as Riak answers without `keys=`: the bucket's properties
                self._props.show(exchange)
            case _:
                raise InvalidInput(f"{what}=true or {what}=stream says that everything stored is to be walked through")

    def _whole(self, exchange: Exchange, what: str) -> None:
        def listed(names: list[bytes] | None) -> None:
            if names is None:
                exchange.respond(answers.text(503, _UNREACHABLE))
            else:
                exchange.respond(answers.json(200, _document(what, names)))

        self._backend.names.every(exchange.name.type, exchange.name.bucket or None, exchange.deadline, listed)

    def _stream(self, exchange: Exchange, what: str) -> None:
        """The first names are fetched before the answer begins, so that a part of the ring that is away is a 503."""
        names = _Names(self._backend, self._clock, exchange, what)

        def begun(piece: bytes | None) -> None:
            if piece is None:
                exchange.respond(answers.text(503, _UNREACHABLE))
            else:
                names.first = piece
                exchange.respond(StreamedResponse(200, [answers.JSON], names))

        names.pull(begun)


class _Names:
    """The `BodySource` of one list."""

    def __init__(self, backend: ObjectBackend, clock: Clock, exchange: Exchange, what: str) -> None:
        self._backend = backend
        self._clock = clock
        self._name = exchange.name
        self._what = what
        self._patience_ns = exchange.query.timeout_ms(DEFAULT_TIMEOUT_MS) * MILLISECOND  # for each page
        self._at: NamesAt | None = NamesAt()
        self._empty = True
        self._buckets: dict[bytes, None] = {}  # each is in many sections
        self.first: bytes | None = None

    def pull(self, on_piece: Callable[[bytes | None], None]) -> None:
        """See `BodySource`."""
        if self.first is not None:
            piece, self.first = self.first, None
            on_piece(piece)
        else:
            self._ask(on_piece, ATTEMPTS)

    def _ask(self, on_piece: Callable[[bytes | None], None], attempts: int) -> None:
        if self._at is None:
            last = _document(self._what, []) if self._empty else b""  # a list of nothing is a document too
            self._empty = False
            on_piece(last)
            return
        deadline = Instant(self._clock.instant() + self._patience_ns)
        bucket = self._name.bucket or None
        self._backend.names.page(
            self._name.type, bucket, self._at, deadline, lambda page: self._got(page, on_piece, attempts)
        )

    def _got(self, page: Page | None, on_piece: Callable[[bytes | None], None], attempts: int) -> None:
        if page is None:
            if attempts > 1:
                self._ask(on_piece, attempts - 1)
            else:
                on_piece(None)
            return
        names, self._at = page
        if self._what == "buckets":
            names = [name for name in names if name not in self._buckets]
            self._buckets |= dict.fromkeys(names)
        if names:
            self._empty = False
            on_piece(_document(self._what, names))
        else:
            self._ask(on_piece, ATTEMPTS)


_UNREACHABLE: Final = "a part of the ring cannot be reached"


def _document(what: str, names: list[bytes]) -> bytes:
    shown = [name.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode() for name in names]
    return _encode({what: shown})
