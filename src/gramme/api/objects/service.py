"""The objects endpoint: from an HTTP request to what it asks of the node.

Owns the paths. `/buckets/B/keys/K` and `/types/T/buckets/B/keys/K` (objects), the same with `props` and `datatypes`,
`/types/T/props` and `/ring` (our own), `/buckets/B/counters/K`, lists, `/ping`, `/stats`, and `/`, where clients find
the rest. Rule: a handler answers exactly once and never raises; bad input is 400 with what was wrong and changes
nothing. Source: Riak KV, HTTP API.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from gramme.api.http import HttpRequest, HttpResponse, Respond
from gramme.api.objects import answers, conditions
from gramme.api.objects.backend import ObjectBackend
from gramme.api.objects.datatypes import Datatypes
from gramme.api.objects.exchange import Exchange
from gramme.api.objects.lists import Lists
from gramme.api.objects.parameters import (
    DEFAULT_TIMEOUT_MS,
    Query,
    expires_in,
    location,
    metadata,
    read_quorum,
    segments,
    write_quorum,
)
from gramme.api.objects.props import Props
from gramme.api.objects.ring import RingApi, coordinator
from gramme.api.objects.statistics import NoObservers, Observers, Statistics
from gramme.kernel.errors import InvalidInput
from gramme.kernel.ports import Clock, Randomness
from gramme.kernel.time import MILLISECOND, Instant
from gramme.objects.context import NO_CONTEXT, Context, seal, unseal
from gramme.objects.expiry import expiry, shown
from gramme.objects.messages import Get, Got, Outcome, Put, Stored
from gramme.objects.state import DEFAULT_TYPE, Name, check_name, decode_state
from gramme.objects.versions import Value, Versions

MAX_OBJECT_BYTES: Final = 8 << 20
_ANSWER_FLAGS: Final = ("returnbody", "returnvalue", "include_context")

_RESOURCES: Final = {
    "riak_kv_wm_bucket_type": "/types", "riak_kv_wm_buckets": "/buckets", "riak_kv_wm_counter": "/buckets",
    "riak_kv_wm_crdt": "/types", "riak_kv_wm_keylist": "/buckets", "riak_kv_wm_object": "/buckets",
    "riak_kv_wm_ping": "/ping", "riak_kv_wm_preflist": "/buckets", "riak_kv_wm_props": "/buckets",
    "riak_kv_wm_stats": "/stats",
}  # fmt: skip
_READ_ONLY: Final = (b"", b"ping", b"stats", b"ring", b"buckets")
_encode: Final = msgspec.json.Encoder().encode


class ObjectsApi:
    """See the module. `handle` is the HTTP handler of the objects port."""

    def __init__(
        self,
        backend: ObjectBackend,
        clock: Clock,
        rng: Randomness,
        log: Callable[[str, Exception | None], None],
        observers: Observers = NoObservers(),  # noqa: B008 - it holds nothing
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._rng = rng
        self._log = log
        self._props = Props(backend)
        self._lists = Lists(backend, clock, self._props)
        self._datatypes = Datatypes(backend, clock)
        self._ring = RingApi(backend)
        self._statistics = Statistics(backend, clock, observers)

    def handle(self, request: HttpRequest, respond: Respond) -> None:
        """Serve one request (`gramme.api.http.Handler`)."""
        started = self._clock.instant()
        parts = segments(request.path)
        operation = _operation(request.method, parts)

        def answer(response: HttpResponse) -> None:
            self._ring.stamp(response)
            self._statistics.answered(operation, response.status, self._clock.instant() - started)
            respond(response)

        try:
            self._route(request, parts, answer)
        except InvalidInput as error:
            answer(answers.text(400, str(error)))
        except Exception as error:  # noqa: BLE001 - the boundary of a request: every error gets an answer
            self._log(f"{request.method} {request.path} failed", error)
            answer(answers.text(500, "internal error"))

    def _route(self, request: HttpRequest, parts: list[bytes], respond: Respond) -> None:
        query = Query(request.query)
        type_ = DEFAULT_TYPE
        if len(parts) >= 3 and parts[0] == b"types" and parts[2] in (b"buckets", b"props"):
            type_, parts = parts[1], parts[2:]
            if parts == [b"props"]:
                self._props.handle_type(self._exchange(request, respond, query, Name(type_, b"-", b"-")))
                return
            if not self._backend.config.knows(type_):
                respond(answers.unknown_type(type_))
                return
        if len(parts) == 1 and parts[0] in _READ_ONLY and request.method not in ("GET", "HEAD"):
            respond(answers.text(405, "method not allowed", [(b"Allow", b"GET, HEAD")]))
            return
        match parts:
            case [b""]:
                respond(answers.json(200, _encode(_RESOURCES)))
            case [b"ping"]:
                respond(HttpResponse(200, [answers.TEXT], b"OK"))
            case [b"stats"]:
                respond(answers.json(200, _encode(self._statistics.document())))
            case [b"ring"]:
                self._ring.show(self._exchange(request, respond, query, Name(type_, b"", b"")))
            case [b"buckets"]:
                self._lists.show(self._exchange(request, respond, query, Name(type_, b"", b"")), "buckets")
            case [b"buckets", bucket, b"keys"] if request.method in ("GET", "HEAD"):
                self._lists.show(self._exchange(request, respond, query, Name(type_, bucket, b"")), "keys")
            case [b"buckets", bucket, b"keys"] if request.method == "POST":
                self._put(self._exchange(request, respond, query, Name(type_, bucket, self._draw_key())), made=True)
            case [b"buckets", bucket, b"keys", key] if key:
                self._object(self._exchange(request, respond, query, Name(type_, bucket, key)))
            case [b"buckets", bucket, b"keys", key, b"preflist"] if key and request.method in ("GET", "HEAD"):
                self._ring.preference(self._exchange(request, respond, query, Name(type_, bucket, key)))
            case [b"buckets", bucket] if bucket and query.get("keys") is not None:
                self._lists.show(self._exchange(request, respond, query, Name(type_, bucket, b"")), "keys")
            case [b"buckets", bucket, b"props"]:
                self._props.handle(self._exchange(request, respond, query, Name(type_, bucket, b"-")))
            case [b"buckets", bucket, b"counters", key] if key:
                self._datatypes.counter(self._exchange(request, respond, query, Name(type_, bucket, key)))
            case [b"buckets", bucket, b"datatypes"] if request.method == "POST":
                exchange = self._exchange(request, respond, query, Name(type_, bucket, self._draw_key()))
                self._datatypes.update(exchange, made=True)
            case [b"buckets", bucket, b"datatypes", key] if key:
                self._datatypes.handle(self._exchange(request, respond, query, Name(type_, bucket, key)))
            case _:
                respond(answers.text(404, "not found"))

    def _exchange(self, request: HttpRequest, respond: Respond, query: Query, name: Name) -> Exchange:
        if name.bucket:
            check_name(name if name.key else Name(name.type, name.bucket, b"-"))
            respond = self._ring.correcting(name, request, respond)
        for flag in _ANSWER_FLAGS:
            query.flag(flag, False)  # before anything is written
        timeout_ms = query.timeout_ms(DEFAULT_TIMEOUT_MS)
        deadline = Instant(self._clock.instant() + timeout_ms * MILLISECOND)
        return Exchange(request, respond, query, name, deadline)

    @property
    def _members(self) -> int:
        return len(self._backend.config.ring.members)

    def _draw_key(self) -> bytes:
        return answers.base62(self._rng.randbytes(16)).encode()

    # --- objects ------------------------------------------------------------------------------------------------------

    def _object(self, exchange: Exchange) -> None:
        match exchange.request.method:
            case "GET" | "HEAD":
                self._get(exchange)
            case "PUT" | "POST":
                self._put(exchange)
            case "DELETE":
                self._delete(exchange)
            case _:
                exchange.respond(answers.text(405, "method not allowed", [(b"Allow", b"GET, HEAD, PUT, POST, DELETE")]))

    def _get(self, exchange: Exchange) -> None:
        settings = self._backend.config.settings(exchange.name)
        request = Get(exchange.name, read_quorum(exchange.query, settings, self._members))
        self._backend.submit(request, exchange.deadline, self._guarded(exchange, self._got))

    def _got(self, exchange: Exchange, outcome: Outcome) -> None:
        if not isinstance(outcome, Got):
            exchange.respond(answers.failed(outcome))
            return
        versions = self._versions(outcome.state)
        if versions is not None:
            self._statistics.found(len(versions.siblings))
        status = conditions.refused(exchange.request.headers, versions, reading=True)
        if status is not None:
            exchange.respond(HttpResponse(status, []))
        elif versions is None:
            exchange.respond(answers.text(404, "not found"))
        else:
            answer = self._found(exchange, versions, Context(versions.seen, outcome.fastest))
            answer.add(coordinator(exchange.request, outcome.fastest))
            exchange.respond(answer)

    def _versions(self, state: bytes | None) -> Versions | None:
        """An object as readers are shown it. Raises InvalidInput for a value of a merge type."""
        if state is None:
            return None
        decoded = decode_state(state)
        if not isinstance(decoded, Versions):
            raise InvalidInput("the key holds a value of a merge type; use /datatypes/")
        return shown(decoded, self._clock.timestamp())

    def _found(self, exchange: Exchange, versions: Versions, context: Context) -> HttpResponse:
        name = exchange.name
        sealed = seal(context, self._backend.cluster_key, name.place, name.key)
        accept = exchange.request.headers.get(b"accept", b"")
        return answers.found(versions, sealed, exchange.query.get("vtag"), accept, self._rng.randbytes(16).hex())

    def _put(self, exchange: Exchange, made: bool = False) -> None:
        request = exchange.request
        kind = request.headers.get(b"content-type")
        if not kind:
            raise InvalidInput("a Content-Type header is required")
        if len(request.body) > MAX_OBJECT_BYTES:
            message = f"the object has {len(request.body)} bytes, the limit is {MAX_OBJECT_BYTES}"
            exchange.respond(answers.text(413, message))
            return
        now = self._clock.timestamp()
        lives = expires_in(request.headers, self._backend.config.settings(exchange.name).lifetime_s)
        meta = metadata(request.headers)
        value = Value(request.body, kind.decode("latin-1"), meta, now, expires=expiry(now, lives))
        put = self._write(exchange, value)
        self._if_conditions_hold(exchange, partial(self._send, exchange, put, partial(self._stored, made=made)))

    def _delete(self, exchange: Exchange) -> None:
        """A deletion is a write of nothing: it replaces what the client has seen, or, without a context, what is read
        now; a write at the same time survives it as a sibling."""
        value = Value(b"", deleted=True, modified=self._clock.timestamp())
        put = self._write(exchange, value)
        if exchange.request.headers.get(b"x-riak-vclock") is not None:
            self._if_conditions_hold(exchange, partial(self._send, exchange, put, self._deleted))
            return

        def read(_: Exchange, outcome: Outcome) -> None:
            versions = self._versions(outcome.state) if isinstance(outcome, Got) else None
            if not isinstance(outcome, Got):
                exchange.respond(answers.failed(outcome))
            elif versions is None or versions.deleted:
                exchange.respond(answers.text(404, "not found"))
            elif (status := conditions.refused(exchange.request.headers, versions, reading=False)) is not None:
                exchange.respond(HttpResponse(status, []))
            else:
                seen = msgspec.structs.replace(put, context=versions.seen, prefer=outcome.fastest)
                self._send(exchange, seen, self._deleted)

        self._read_first(exchange, read)

    def _write(self, exchange: Exchange, value: Value) -> Put:
        settings = self._backend.config.settings(exchange.name)
        if settings.datatype is not None:
            raise InvalidInput(f"the bucket holds values of type {settings.datatype}; use /datatypes/")
        context = NO_CONTEXT
        vclock = exchange.request.headers.get(b"x-riak-vclock")
        if vclock is not None:
            name = exchange.name
            context = unseal(vclock.decode("latin-1"), self._backend.cluster_key, name.place, name.key)
        blind = settings.last_write_wins or not settings.allow_mult
        quorum = write_quorum(exchange.query, settings, self._members)
        return Put(exchange.name, quorum, value, context=context.seen, blind=blind, prefer=context.fastest)

    def _if_conditions_hold(self, exchange: Exchange, then: Callable[[], None]) -> None:
        if not conditions.are_given(exchange.request.headers):
            then()
            return

        def read(_: Exchange, outcome: Outcome) -> None:
            if not isinstance(outcome, Got):
                exchange.respond(answers.failed(outcome))
                return
            status = conditions.refused(exchange.request.headers, self._versions(outcome.state), reading=False)
            if status is None:
                then()
            else:
                exchange.respond(HttpResponse(status, []))

        self._read_first(exchange, read)

    def _read_first(self, exchange: Exchange, then: Callable[[Exchange, Outcome], None]) -> None:
        settings = self._backend.config.settings(exchange.name)
        get = Get(exchange.name, read_quorum(Query(""), settings, self._members))
        self._backend.submit(get, exchange.deadline, self._guarded(exchange, then))

    def _send(self, exchange: Exchange, put: Put, then: Callable[[Exchange, Outcome], None]) -> None:
        self._backend.submit(put, exchange.deadline, self._guarded(exchange, then))

    def _stored(self, exchange: Exchange, outcome: Outcome, made: bool) -> None:
        if not isinstance(outcome, Stored):
            exchange.respond(answers.failed(outcome))
            return
        headers = [(b"Location", location(exchange.name, "keys"))] if made else []
        if not exchange.query.flag("returnbody", False):
            exchange.respond(HttpResponse(201 if made else 204, headers))
            return
        versions = self._versions(outcome.state)
        assert versions is not None
        answer = self._found(exchange, versions, Context(versions.seen))
        answer.add(headers)
        if made and answer.status == 200:
            answer.status = 201
        exchange.respond(answer)

    def _deleted(self, exchange: Exchange, outcome: Outcome) -> None:
        exchange.respond(HttpResponse(204, []) if isinstance(outcome, Stored) else answers.failed(outcome))

    def _guarded(self, exchange: Exchange, then: Callable[[Exchange, Outcome], None]) -> Callable[[Outcome], None]:
        """`then`, with whatever it raises answered."""

        def run(outcome: Outcome) -> None:
            try:
                then(exchange, outcome)
            except InvalidInput as error:
                exchange.respond(answers.text(400, str(error)))
            except Exception as error:  # noqa: BLE001 - as in `handle`
                self._log(f"{exchange.request.method} {exchange.request.path} failed", error)
                exchange.respond(answers.text(500, "internal error"))

        return run


def _operation(method: str, parts: list[bytes]) -> str:
    """What a request is counted as: of the paths below a bucket's kind of thing and the method, else `other`."""
    below = parts[2:] if len(parts) > 4 and parts[0] == b"types" else parts
    if len(below) < 3 or below[0] != b"buckets":
        return "list" if parts[-1] == b"buckets" else "other"
    reads = method in ("GET", "HEAD")
    match below[2]:
        case b"keys" if len(below) == 3 and reads:
            return "list"
        case b"keys":
            return "get" if reads else "delete" if method == "DELETE" else "put"
        case b"datatypes" | b"counters":
            return "get_type" if reads else "change"
        case b"props":
            return "props"
    return "other"
