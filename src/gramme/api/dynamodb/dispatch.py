"""From a request's bytes to its operation, and the header lines of its answer.

Owns what every request of the protocol passes before its operation does: content type, JSON, target. Rule: the order of
these checks is the service's own. It is told which operations there are by `service`, which has to import them all, and
so can be compiled. Source: AWS developer guide, low-level API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from gramme.api import tasks
from gramme.api.dynamodb import errors
from gramme.api.dynamodb.call import Call, Environment
from gramme.api.dynamodb.large import LARGE_BYTES, Budget, check_types, decode
from gramme.api.dynamodb.shapes import InputShape
from gramme.api.http import Handler, HttpRequest, HttpResponse, Respond, header_lines
from gramme.kernel.ports import Randomness

JSON_1_0: Final = b"application/x-amz-json-1.0"
_JSON: Final = b"application/json"
_EXPOSED: Final = b"x-amzn-RequestId, x-amz-crc32, x-amzn-ErrorType, Date"
_REQUEST_ID_BYTES: Final = 26  # 52 characters in hexadecimal
_IDS_AT_ONCE: Final = 64
_CONTENT_LINES: Final = {
    content_type: b"Content-Type: %b\r\nx-amzn-RequestId: " % content_type for content_type in (JSON_1_0, _JSON)
}

_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode: Final = msgspec.json.Decoder().decode


class Operation(NamedTuple):
    """The input of an operation and the function that begins it, with an input that has been checked."""

    shape: InputShape
    start: Callable[[Call], None]


class Dispatcher:
    """See the module. `operations` by target; `unknown` makes the error for any other; `other` serves requests that are
    no POST, hence no call of the protocol."""

    __slots__ = (
        "_any_origin", "_environment", "_operations", "_origins", "_other", "_random", "_request_ids", "_unknown",
    )  # fmt: skip

    def __init__(
        self,
        environment: Environment,
        operations: dict[bytes, Operation],
        unknown: Callable[[bytes], errors.ApiError],
        other: Handler,
        rng: Randomness,
    ) -> None:
        self._environment = environment
        self._operations = operations
        self._unknown = unknown
        self._other = other
        self._origins = environment.settings.cors_origins
        self._any_origin = "*" in self._origins
        self._random = rng.randbytes
        self._request_ids: list[bytes] = []  # drawn and not yet used

    def handle(self, request: HttpRequest, respond: Respond) -> None:
        """Serve one request of the tables port (`gramme.api.http.Handler`)."""
        if request.method != "POST":
            self._other(request, respond)
            return
        headers = request.headers
        content_type = headers.get(b"content-type", b"")
        if content_type != JSON_1_0:
            content_type = content_type.partition(b";")[0].strip().lower()
            if content_type not in (JSON_1_0, _JSON) and request.body:
                respond(self.not_an_operation(request))
                return
            if content_type != _JSON:
                content_type = JSON_1_0
        answer_headers = self.headers(content_type, headers)
        operation = self._operations.get(headers.get(b"x-amz-target", b""))
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
        """As `handle`, in steps."""
        budget = Budget(self._environment)
        body = await decode(request.body, budget)
        if operation is None or type(body) is not dict:
            self._refuse_call(operation, request, answer_headers, respond)
            return
        call = Call(self._environment, operation.shape, request, body, answer_headers, respond)
        call.run(_begin_large(call, operation, budget))

    def _refuse_call(
        self, operation: Operation | None, request: HttpRequest, answer_headers: bytes, respond: Respond
    ) -> None:
        """Answer a request for no operation of this release, or one whose body is JSON, but no structure."""
        unknown = operation is None
        error = self._unknown(request.headers.get(b"x-amz-target", b"")) if unknown else errors.serialization()
        _fail(respond, answer_headers, error)

    def headers(self, content_type: bytes, request_headers: dict[bytes, bytes]) -> bytes:
        """The header lines of an answer."""
        if not self._request_ids:
            self._request_ids = self._draw_ids()
        lines = b"%b%b\r\n" % (_CONTENT_LINES[content_type], self._request_ids.pop())
        if b"origin" in request_headers:
            lines += header_lines(
                [*self.cors(request_headers[b"origin"]), (b"Access-Control-Expose-Headers", _EXPOSED)]
            )
        return lines

    def _draw_ids(self) -> list[bytes]:
        drawn = self._random(_IDS_AT_ONCE * _REQUEST_ID_BYTES).hex().upper().encode()
        width = 2 * _REQUEST_ID_BYTES
        return [drawn[at : at + width] for at in range(0, len(drawn), width)]

    def not_an_operation(self, request: HttpRequest) -> HttpResponse:
        """What the service answers to a request that is no call of its protocol at all."""
        lines = self.headers(JSON_1_0, request.headers)
        untyped = lines[lines.index(b"\r\n") + 2 :]
        return HttpResponse(404, untyped, b"<UnknownOperationException/>\n", crc=True)

    def cors(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        """Headers that let pages of `origin` read the answer; none if it is not allowed to."""
        if not origin:
            return []
        if self._any_origin:
            return [(b"Access-Control-Allow-Origin", b"*")]
        if origin.decode("latin-1") in self._origins:
            return [(b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin")]
        return []


async def _begin_large(call: Call, operation: Operation, budget: Budget) -> None:
    await check_types(operation.shape, call.body, budget)
    call.start(operation.start, typed=True)


def _refuse(respond: Respond, headers: bytes) -> Callable[[Exception], None]:
    """Answers a body that is not JSON; whatever else is raised is a bug of the caller's."""

    def refuse(error: Exception) -> None:
        if not isinstance(error, _NOT_JSON):
            raise error
        _fail(respond, headers, errors.serialization())

    return refuse


def _fail(respond: Respond, headers: bytes, error: errors.ApiError) -> None:
    respond(HttpResponse(error.status, headers, error.body(), crc=True))
