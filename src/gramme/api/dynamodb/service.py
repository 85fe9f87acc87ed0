"""The tables endpoint: from an HTTP request to its operation, and everything around operations.

Owns dispatch, request ids, CORS, health and node list. Rule: the order of checks is the service's own: content type,
JSON, target, then the operation's input. Sources: AWS developer guide, low-level API; Alternator's `/localnodes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from gramme.api import tasks
from gramme.api.backend import Backend
from gramme.api.dynamodb import errors
from gramme.api.dynamodb.call import Call, Environment
from gramme.api.dynamodb.large import LARGE_BYTES, Budget, check_types, decode
from gramme.api.dynamodb.operations import OPERATIONS, STREAM_OPERATIONS, UNSERVED, Operation
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.http import HttpRequest, HttpResponse, Respond, header_lines, json_response, text_response
from gramme.kernel.ports import Clock, Randomness

_JSON_1_0: Final = b"application/x-amz-json-1.0"
_JSON: Final = b"application/json"
_TARGET_PREFIX: Final = "DynamoDB_20120810."
_STREAMS_PREFIX: Final = "DynamoDBStreams_20120810."
_PREFLIGHT_SECONDS: Final = b"172800"
_EXPOSED: Final = b"x-amzn-RequestId, x-amz-crc32, x-amzn-ErrorType, Date"
_REQUEST_ID_BYTES: Final = 26  # 52 characters in hexadecimal
_IDS_AT_ONCE: Final = 64
_CONTENT_LINES: Final = {
    content_type: b"Content-Type: %b\r\nx-amzn-RequestId: " % content_type for content_type in (_JSON_1_0, _JSON)
}

_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def _no_log(text: str, error: Exception | None) -> None:
    """Used where nobody wants the log."""


class DynamoDbApi:
    """The DynamoDB wire protocol over a node's router. `handle` is the HTTP handler of the tables port."""

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        rng: Randomness,
        settings: ApiSettings | None = None,
        log: Callable[[str, Exception | None], None] = _no_log,
        defer: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """`log` takes one line, and the exception where there is one, for every answer of status 500.

        `defer` runs a callback after the events that are ready now; with it, large requests are served in steps that
        let others in between. Without it they are served in one go.
        """
        self._settings = settings or ApiSettings()
        self._environment = Environment(backend, clock, rng, self._settings, log, defer)
        self._backend = backend
        self._random = rng.randbytes
        self._request_ids: list[bytes] = []  # drawn and not yet used
        self._any_origin = "*" in self._settings.cors_origins
        self._targets: dict[bytes, Operation] = {
            (prefix + name).encode(): operation
            for prefix, served in ((_TARGET_PREFIX, OPERATIONS), (_STREAMS_PREFIX, STREAM_OPERATIONS))
            for name, operation in served.items()
        }

    def handle(self, request: HttpRequest, respond: Respond) -> None:
        """Serve one request of the tables port (`gramme.api.http.Handler`)."""
        method = request.method
        if method == "POST":
            self._serve_operation(request, respond)
        elif method in ("GET", "HEAD"):
            respond(self._serve_get(request))
        elif method == "OPTIONS":
            respond(self._serve_preflight(request))
        else:
            respond(self._not_an_operation(request))

    # --- operations

    def _serve_operation(self, request: HttpRequest, respond: Respond) -> None:
        headers = request.headers
        content_type = headers.get(b"content-type", b"")
        if content_type != _JSON_1_0:
            content_type = content_type.partition(b";")[0].strip().lower()
            if content_type not in (_JSON_1_0, _JSON) and request.body:
                respond(self._not_an_operation(request))
                return
            if content_type != _JSON:
                content_type = _JSON_1_0
        answer_headers = self._headers(content_type, headers)
        operation = self._targets.get(headers.get(b"x-amz-target", b""))
        if len(request.body) > LARGE_BYTES:
            tasks.run(self._serve_large(operation, request, answer_headers, respond), _refuse(respond, answer_headers))
            return
        body: Any = None
        try:
            if request.body:
                body = _decode(request.body)
        except _NOT_JSON:
            _fail(respond, answer_headers, errors.serialization())
            return
        if operation is not None and type(body) is dict:
            Call(self._environment, operation.shape, request, body, answer_headers, respond).start(operation.start)
        else:
            self._refuse_call(operation, request, answer_headers, respond)

    async def _serve_large(
        self, operation: Operation | None, request: HttpRequest, answer_headers: bytes, respond: Respond
    ) -> None:
        """As `_serve_operation`, in steps."""
        budget = Budget(self._environment)
        body = await decode(request.body, budget)
        if operation is None or type(body) is not dict:
            self._refuse_call(operation, request, answer_headers, respond)
            return
        call = Call(self._environment, operation.shape, request, body, answer_headers, respond)
        try:
            await check_types(operation.shape, call.body, budget)
        except Exception as error:  # noqa: BLE001 - as in `Call.start`
            call.raised(error)
        else:
            call.start(operation.start, typed=True)

    def _refuse_call(
        self, operation: Operation | None, request: HttpRequest, answer_headers: bytes, respond: Respond
    ) -> None:
        """Answer a request for no operation of this release, or one whose body is JSON, but no structure."""
        unknown = operation is None
        error = _unknown(request.headers.get(b"x-amz-target", b"")) if unknown else errors.serialization()
        _fail(respond, answer_headers, error)

    def _headers(self, content_type: bytes, request_headers: dict[bytes, bytes]) -> bytes:
        """The header lines of an answer."""
        if not self._request_ids:
            self._request_ids = self._draw_ids()
        lines = b"%b%b\r\n" % (_CONTENT_LINES[content_type], self._request_ids.pop())
        if b"origin" in request_headers:
            lines += header_lines(
                [*self._cors(request_headers[b"origin"]), (b"Access-Control-Expose-Headers", _EXPOSED)]
            )
        return lines

    def _draw_ids(self) -> list[bytes]:
        drawn = self._random(_IDS_AT_ONCE * _REQUEST_ID_BYTES).hex().upper().encode()
        width = 2 * _REQUEST_ID_BYTES
        return [drawn[at : at + width] for at in range(0, len(drawn), width)]

    def _not_an_operation(self, request: HttpRequest) -> HttpResponse:
        """What the service answers to a request that is no call of its protocol at all."""
        lines = self._headers(_JSON_1_0, request.headers)
        untyped = lines[lines.index(b"\r\n") + 2 :]
        return HttpResponse(404, untyped, b"<UnknownOperationException/>\n", crc=True)

    # --- around operations

    def _serve_get(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/localnodes":
            return self._local_nodes(request.query)
        if request.path != "/":
            return self._not_an_operation(request)
        host = request.headers.get(b"host", b"").decode("latin-1")
        return text_response(200, f"healthy: {host}")

    def _local_nodes(self, query: str) -> HttpResponse:
        """Live nodes, for client-side load balancing; an unknown `dc` or `rack` has none."""
        wanted = parse_qs(query)
        region = wanted.get("dc", [self._settings.region])[0]
        zone = wanted.get("rack", [None])[0]
        nodes = self._backend.addresses(zone) if region == self._settings.region else []
        return json_response(200, _encode(nodes))

    def _serve_preflight(self, request: HttpRequest) -> HttpResponse:
        sent = request.headers
        headers = self._cors(sent.get(b"origin", b""))
        if headers:
            for asked, granted in (
                (b"access-control-request-headers", b"Access-Control-Allow-Headers"),
                (b"access-control-request-method", b"Access-Control-Allow-Methods"),
            ):
                if asked in sent:
                    headers.append((granted, sent[asked]))
            headers.append((b"Access-Control-Max-Age", _PREFLIGHT_SECONDS))
        return HttpResponse(200, headers)

    def _cors(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        """Headers that let pages of `origin` read the answer; none if it is not allowed to."""
        if not origin:
            return []
        if self._any_origin:
            return [(b"Access-Control-Allow-Origin", b"*")]
        if origin.decode("latin-1") in self._settings.cors_origins:
            return [(b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin")]
        return []


def _unknown(target: bytes) -> errors.ApiError:
    name = target.decode("latin-1")
    operation = name.removeprefix(_TARGET_PREFIX)
    if operation != name and operation in UNSERVED:
        return errors.unknown_operation(f"The operation {operation} is not supported yet")
    return errors.unknown_operation()


def _refuse(respond: Respond, headers: bytes) -> Callable[[Exception], None]:
    """Answers a body that is not JSON; whatever else is raised is a bug of the caller's."""

    def refuse(error: Exception) -> None:
        if not isinstance(error, _NOT_JSON):
            raise error
        _fail(respond, headers, errors.serialization())

    return refuse


def _fail(respond: Respond, headers: bytes, error: errors.ApiError) -> None:
    respond(HttpResponse(error.status, headers, error.body(), crc=True))
