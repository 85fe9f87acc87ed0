"""What a client must know to send its requests straight to a coordinator: `GET /ring`, and headers that correct it.

Owns the document. An object's position is the MD5 of `place_of(type, bucket)`, its length in front (4 bytes, big
endian), and the key; its partition is `position * Q >> 128`; who keeps it follows from the owners by
`gramme.placement.ring`. Rule: every answer carries the version of the ring (`X-Gramme-Ring`), so a client with an older
one hears of it from whichever node it talks to. A client that names its own version in the same header also hears who
keeps the object, where this node does not (`X-Gramme-Primaries`: a bucket may have another n than the client thought),
and which primary answered a read fastest (`X-Gramme-Coordinator`, rows A16 and A18).
"""

from __future__ import annotations

from binascii import crc32
from typing import Final

import msgspec

from gramme.api.http import HttpRequest, HttpResponse, Respond
from gramme.api.objects import answers
from gramme.api.objects.backend import ObjectBackend
from gramme.api.objects.exchange import Exchange
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.objects.config import DEFAULTS
from gramme.objects.state import Name
from gramme.placement.ring import Ring, position_of

VERSION_HEADER: Final = b"X-Gramme-Ring"
PRIMARIES_HEADER: Final = b"X-Gramme-Primaries"
COORDINATOR_HEADER: Final = b"X-Gramme-Coordinator"
_ASKED: Final = VERSION_HEADER.lower()
_encode: Final = msgspec.json.Encoder().encode


class RingApi:
    """Serves `/ring` and the headers."""

    def __init__(self, backend: ObjectBackend) -> None:
        self._backend = backend
        self._version = -1
        self._header = (VERSION_HEADER, b"")

    def show(self, exchange: Exchange) -> None:
        """The ring as this node knows it; 304 where the client has just that. The tag covers addresses too: they change
        without the ring."""
        body = self._document()
        tag = b'"%d.%08x"' % (self._backend.config.ring.version, crc32(body))
        if exchange.request.headers.get(b"if-none-match") == tag:
            exchange.respond(HttpResponse(304, [(b"ETag", tag)]))
        else:
            exchange.respond(answers.json(200, body, [(b"ETag", tag)]))

    def _document(self) -> bytes:
        ring = self._backend.config.ring
        addresses = self._backend.addresses()
        nodes = [
            {"node": place.node, "host": place.host, "zone": place.zone, "objects": _url(addresses.get(place.node, ""))}
            for place in ring.members
        ]
        return _encode(
            {"version": ring.version, "hash": "md5", "n_val": DEFAULTS.n, "owners": ring.owners, "nodes": nodes}
        )

    def preference(self, exchange: Exchange) -> None:
        """Who keeps the key, in the order of its preference list, as Riak shows it."""
        ring, name = self._backend.config.ring, exchange.name
        partition = ring.partition_of(position_of(name.place, name.key))
        keepers = _primaries(ring, name, self._backend.config.settings(name).n)
        shown = [{"partition": partition, "node": str(node), "primary": True} for node in keepers]
        exchange.respond(answers.json(200, _encode({"preflist": shown})))

    def stamp(self, response: HttpResponse) -> None:
        """Say which ring this node works with."""
        version = self._backend.config.ring.version
        if version != self._version:
            self._version = version
            self._header = (VERSION_HEADER, b"%d" % version)
        response.add([self._header])

    def correcting(self, name: Name, request: HttpRequest, respond: Respond) -> Respond:
        """`respond`, for a client that works with the ring with word of where it should have asked."""
        if _ASKED not in request.headers:
            return respond

        def corrected(response: HttpResponse) -> None:
            config = self._backend.config
            primaries = _primaries(config.ring, name, config.settings(name).n)
            if self._backend.me not in primaries:
                shown = b",".join(b"%d" % node for node in primaries)
                response.add([(PRIMARIES_HEADER, shown)])
            respond(response)

        return corrected


def coordinator(request: HttpRequest, fastest: NodeId) -> answers.Headers:
    """Who should coordinate the next write, for a client that works with the ring."""
    return [(COORDINATOR_HEADER, b"%d" % fastest)] if fastest != NO_NODE and _ASKED in request.headers else []


def _primaries(ring: Ring, name: Name, n: int) -> tuple[NodeId, ...]:
    return ring.primaries(ring.partition_of(position_of(name.place, name.key)), n)


def _url(address: str) -> str:
    return f"http://{address}" if address else ""
