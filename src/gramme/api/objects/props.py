"""Properties of buckets, as JSON: what is shown, what may be set.

Owns the mapping between Riak's names and `BucketSettings`. A bucket type is made by setting its
properties, once: Riak has a tool on the server for that, and nothing in its HTTP. Rule: a property that this release
does not know is refused by name, not dropped; those that Riak shows and nobody can change here may be sent back as they
were shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from gramme.api.http import HttpResponse
from gramme.api.objects import answers
from gramme.api.objects.backend import ObjectBackend
from gramme.api.objects.exchange import Exchange
from gramme.kernel.errors import InvalidInput
from gramme.objects.config import DEFAULTS, BucketSettings, check_settings
from gramme.objects.quorums import Count, parse_count

_COUNTS: Final = ("r", "w", "pr", "pw", "dw")
_FLAGS: Final = ("allow_mult", "last_write_wins", "notfound_ok", "basic_quorum")
_OURS: Final = "buffered"
"""Riak has no such property: it is shown where it is set."""

_EXPIRY: Final = "default_time_to_live"
"""In seconds; shown where it is set. Riak expires by settings of a node's whole store."""

_SHOWN_ONLY: Final = (
    "name",
    "rw",
    "active",
    "claimant",
    "precommit",
    "postcommit",
    "chash_keyfun",
    "linkfun",
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def shown(bucket: bytes, settings: BucketSettings) -> dict[str, Any]:
    """The properties as clients read them."""
    props: dict[str, Any] = {"name": bucket.decode("utf-8", "replace"), "n_val": settings.n}
    props |= {name: getattr(settings, name) for name in (*_FLAGS, *_COUNTS)}
    props["rw"] = settings.w
    if settings.buffered is True:
        props[_OURS] = True
    if settings.lifetime_s:
        props[_EXPIRY] = settings.lifetime_s
    if settings.datatype is not None:
        props["datatype"] = settings.datatype
    return props


def changed(settings: BucketSettings, given: dict[str, Any]) -> BucketSettings:
    """The settings after a client's changes. Raises InvalidInput and names the property."""
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name == "n_val":
            if type(value) is not int:
                raise InvalidInput("n_val must be an integer")
            changes["n"] = value
        elif name in _COUNTS:
            changes[name] = _count(name, value)
        elif name in _FLAGS or name == _OURS:
            if type(value) is not bool:
                raise InvalidInput(f"{name} must be true or false")
            changes[name] = value
        elif name == _EXPIRY:
            if type(value) is not int:
                raise InvalidInput(f"{name} must be an integer: seconds, or 0 for never")
            changes["expiry_s"] = value
        elif name == "datatype":
            if type(value) is not str:
                raise InvalidInput("datatype must be a string")
            changes[name] = value[:80]
        elif name not in _SHOWN_ONLY:
            raise InvalidInput(f"the property {name[:80]} is not supported")
    after = msgspec.structs.replace(settings, **changes)
    if "rw" in given and _count("rw", given["rw"]) != after.w:
        raise InvalidInput("rw, of old clients, is what w is: set w")
    check_settings(after)
    return after


def _count(name: str, value: Any) -> Count:
    if type(value) is int:
        return value
    if type(value) is str:
        return parse_count(name, value)
    raise InvalidInput(f"{name} must be an integer or one of one, quorum, all")


class Props:
    """Serves `…/props`."""

    def __init__(self, backend: ObjectBackend) -> None:
        self._backend = backend

    def handle(self, exchange: Exchange) -> None:
        """GET, PUT `{"props": {…}}`, DELETE."""
        match exchange.request.method:
            case "GET" | "HEAD":
                self.show(exchange)
            case "PUT" | "POST":
                settings = changed(self._backend.config.settings(exchange.name), _given(exchange.request.body))
                self._set(exchange, settings)
            case "DELETE":
                self._set(exchange, None)
            case _:
                exchange.respond(answers.text(405, "method not allowed", [(b"Allow", b"GET, HEAD, PUT, DELETE")]))

    def handle_type(self, exchange: Exchange) -> None:
        """GET the properties of a bucket type, PUT them to make it."""
        config = self._backend.config
        type_ = exchange.name.type
        match exchange.request.method:
            case "GET" | "HEAD":
                if not config.knows(type_):
                    exchange.respond(answers.unknown_type(type_))
                    return
                props = shown(b"", config.types.get(type_, DEFAULTS))
                del props["name"]
                exchange.respond(answers.json(200, _encode({"props": props})))
            case "PUT" | "POST":
                settings = changed(DEFAULTS, _given(exchange.request.body))
                self._backend.configuration.make_type(type_, settings, exchange.deadline, _answering(exchange))
            case _:
                exchange.respond(answers.text(405, "method not allowed", [(b"Allow", b"GET, HEAD, PUT")]))

    def show(self, exchange: Exchange) -> None:
        """Answer with the bucket's properties."""
        settings = self._backend.config.settings(exchange.name)
        exchange.respond(answers.json(200, _encode({"props": shown(exchange.name.bucket, settings)})))

    def _set(self, exchange: Exchange, settings: BucketSettings | None) -> None:
        self._backend.configuration.set_bucket(exchange.name, settings, exchange.deadline, _answering(exchange))


def _answering(exchange: Exchange) -> Callable[[str | None], None]:
    def done(failure: str | None) -> None:
        exchange.respond(HttpResponse(204, []) if failure is None else answers.text(503, failure))

    return done


def _given(body: bytes) -> dict[str, Any]:
    try:
        props = _decode(body).get("props")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput('the body must be {"props": {…}} in JSON') from None
    if type(props) is not dict:
        raise InvalidInput('the body must be {"props": {…}} in JSON')
    return props
