"""The tables endpoint: from an HTTP request to its operation, and everything around operations.

Owns which operations there are, answers to preflights, health and node list; a call of the protocol is `dispatch`'s.
Sources: AWS developer guide, low-level API; Alternator's `/localnodes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs

import msgspec

from gramme.api.backend import Backend
from gramme.api.dynamodb import errors
from gramme.api.dynamodb.call import Environment
from gramme.api.dynamodb.dispatch import Dispatcher
from gramme.api.dynamodb.operations import OPERATIONS, STREAM_OPERATIONS, UNSERVED
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.http import Handler, HttpRequest, HttpResponse, Respond, json_response, text_response
from gramme.kernel.ports import Clock, Randomness

_TARGET_PREFIX: Final = "DynamoDB_20120810."
_STREAMS_PREFIX: Final = "DynamoDBStreams_20120810."
_PREFLIGHT_SECONDS: Final = b"172800"
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
        self._backend = backend
        environment = Environment(backend, clock, rng, self._settings, log, defer)
        operations = {
            (prefix + name).encode(): operation
            for prefix, served in ((_TARGET_PREFIX, OPERATIONS), (_STREAMS_PREFIX, STREAM_OPERATIONS))
            for name, operation in served.items()
        }
        self._dispatcher = Dispatcher(environment, operations, _unknown, self._serve_other, rng)
        self.handle: Handler = self._dispatcher.handle
        """Serves one request of the tables port."""

    def _serve_other(self, request: HttpRequest, respond: Respond) -> None:
        """What is no POST, hence no operation."""
        method = request.method
        if method in ("GET", "HEAD"):
            respond(self._serve_get(request))
        elif method == "OPTIONS":
            respond(self._serve_preflight(request))
        else:
            respond(self._dispatcher.not_an_operation(request))

    def _serve_get(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/localnodes":
            return self._local_nodes(request.query)
        if request.path != "/":
            return self._dispatcher.not_an_operation(request)
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
        headers = self._dispatcher.cors(sent.get(b"origin", b""))
        if headers:
            for asked, granted in (
                (b"access-control-request-headers", b"Access-Control-Allow-Headers"),
                (b"access-control-request-method", b"Access-Control-Allow-Methods"),
            ):
                if asked in sent:
                    headers.append((granted, sent[asked]))
            headers.append((b"Access-Control-Max-Age", _PREFLIGHT_SECONDS))
        return HttpResponse(200, headers)


def _unknown(target: bytes) -> errors.ApiError:
    name = target.decode("latin-1")
    operation = name.removeprefix(_TARGET_PREFIX)
    if operation != name and operation in UNSERVED:
        return errors.unknown_operation(f"The operation {operation} is not supported yet")
    return errors.unknown_operation()
