"""The admin port: health, metrics, the state of the cluster, a page that shows it, and the hooks of test controls.

Owns the paths and their formats; what they show is injected; `/ring` is `gramme.api.ring_admin`, `/members`
`gramme.api.members_admin`. Rule: reading never changes anything; only POST to `/ring/…` and `/members/…` does, and to
`/test-controls/…` where test controls were switched on. Source: DESIGN.md §6, issue 2 items 5 and 6.

Test controls take a JSON object and answer `{}`, or 400 with `{"message": …}`:
`clock` {"advance_ms": n}, `fail-over` {"table": t, "groups": only these},
`throttle` {"table": t, "rate": 0 to 1, "reason": r, "index": i}, `unprocessed` {"table": t, "rate": 0 to 1},
`stale` {"table": t, "index": i, "lag_ms": n}, `reset` {}, `snapshot` {"name": s}, `restore` {"name": s}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from gramme.api.backend import ControlRefused, TestControls
from gramme.api.console import CONSOLE_HTML
from gramme.api.http import HttpRequest, HttpResponse, Respond, json_response, text_response
from gramme.api.members_admin import MembersAdmin
from gramme.api.ring_admin import RingAdmin, RingBackend

_HTML_HEADERS: Final = [
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Content-Security-Policy", b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; "
     b"connect-src 'self'"),
]  # fmt: skip
_MAX_NAME_CHARS: Final = 255

_encode: Final = msgspec.json.Encoder().encode

Done = Callable[[str | None], None]


class _Clock(msgspec.Struct, forbid_unknown_fields=True):
    advance_ms: int


class _FailOver(msgspec.Struct, forbid_unknown_fields=True):
    table: str
    groups: list[int] | None = None


class _Throttle(msgspec.Struct, forbid_unknown_fields=True):
    table: str
    rate: float
    reason: str
    index: str = ""


class _Unprocessed(msgspec.Struct, forbid_unknown_fields=True):
    table: str
    rate: float


class _Stale(msgspec.Struct, forbid_unknown_fields=True):
    table: str
    lag_ms: int
    index: str = ""


class _Name(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class AdminApi:
    """`handle` is the HTTP handler of the admin port (`gramme.api.http.Handler`)."""

    def __init__(
        self,
        *,
        ready: Callable[[], str | None],
        metrics: Callable[[], bytes],
        cluster: Callable[[], bytes],
        sections: Callable[[], bytes],
        metrics_type: bytes = b"text/plain; version=0.0.4; charset=utf-8",
        controls: TestControls | None = None,
        ring: RingBackend | None = None,
        members: MembersAdmin | None = None,
        log: Callable[[str, Exception | None], None] = lambda _text, _error: None,
    ) -> None:
        """`ready` gives None, or why nobody should rely on the node now (starting, draining); `metrics` the Prometheus
        text, of content type `metrics_type`; `cluster` the JSON of `gramme cluster status`,
        `sections` that of what this node keeps of the objects, as hashes. Without `controls`, their
        paths do not exist, nor `/ring` without a `ring`, `/members` without `members`. `log` is told of what a
        provider raised."""
        self._ready = ready
        self._metrics = metrics
        self._metrics_headers = [(b"Content-Type", metrics_type)]
        self._cluster = cluster
        self._sections = sections
        self._controls = controls
        self._ring = None if ring is None else RingAdmin(ring)
        self._members = members
        self._log = log

    def handle(self, request: HttpRequest, respond: Respond) -> None:
        """Serve one request of the admin port."""
        try:
            if request.path.startswith("/test-controls/") and self._controls is not None:
                self._control(self._controls, request, respond)
            elif self._ring is not None and (request.path + "/").startswith("/ring/"):
                self._ring.handle(request, respond)
            elif self._members is not None and (request.path + "/").startswith("/members/"):
                self._members.handle(request, respond)
            elif request.method in ("GET", "HEAD"):
                respond(self._show(request.path))
            else:
                respond(text_response(405, "Only GET is served here"))
        except Exception as error:  # noqa: BLE001 - the boundary: a provider's bug must not leave the client waiting
            self._log(f"admin {request.path} failed", error)
            respond(text_response(500, "Internal error"))

    def _show(self, path: str) -> HttpResponse:
        if path == "/health/live":
            return text_response(200, "live")
        if path == "/health/ready":
            reason = self._ready()
            return text_response(200, "ready") if reason is None else text_response(503, reason)
        if path == "/metrics":
            return HttpResponse(200, self._metrics_headers, self._metrics())
        if path == "/cluster":
            return json_response(200, self._cluster())
        if path == "/objects/sections":
            return json_response(200, self._sections())
        if path in ("/console", "/console/"):
            return HttpResponse(200, _HTML_HEADERS, CONSOLE_HTML)
        return text_response(404, "There is nothing here; try /health/ready, /metrics, /cluster or /console/")

    def _control(self, controls: TestControls, request: HttpRequest, respond: Respond) -> None:
        name = request.path.removeprefix("/test-controls/")
        if name not in _CONTROLS:
            respond(text_response(404, f"There is no test control {name}; there are {', '.join(_CONTROLS)}"))
            return
        if request.method != "POST":
            respond(text_response(405, "Test controls are used with POST"))
            return
        shape, act = _CONTROLS[name]
        try:
            parameters = msgspec.json.decode(request.body or b"{}", type=shape)
            act(controls, parameters, lambda refusal: respond(_outcome(refusal)))
        except (msgspec.MsgspecError, UnicodeDecodeError, ControlRefused) as error:
            respond(_outcome(str(error)))


def _outcome(refusal: str | None) -> HttpResponse:
    return json_response(200, b"{}") if refusal is None else json_response(400, _encode({"message": refusal}))


def _clock(controls: TestControls, parameters: _Clock, done: Done) -> None:
    if parameters.advance_ms < 0:
        raise ControlRefused("advance_ms must not be negative: wall time only moves forward")
    controls.clock(parameters.advance_ms, done)


def _fail_over(controls: TestControls, parameters: _FailOver, done: Done) -> None:
    controls.fail_over(parameters.table, parameters.groups, done)


def _throttle(controls: TestControls, parameters: _Throttle, done: Done) -> None:
    controls.throttle(parameters.table, parameters.rate, parameters.reason, parameters.index, done)


def _unprocessed(controls: TestControls, parameters: _Unprocessed, done: Done) -> None:
    controls.unprocessed(parameters.table, parameters.rate, done)


def _stale(controls: TestControls, parameters: _Stale, done: Done) -> None:
    controls.stale(parameters.table, parameters.index, parameters.lag_ms, done)


def _reset(controls: TestControls, _parameters: _Nothing, done: Done) -> None:
    controls.reset(done)


def _snapshot(controls: TestControls, parameters: _Name, done: Done) -> None:
    controls.snapshot(_snapshot_name(parameters), done)


def _restore(controls: TestControls, parameters: _Name, done: Done) -> None:
    controls.restore(_snapshot_name(parameters), done)


def _snapshot_name(parameters: _Name) -> str:
    name = parameters.name
    if not 1 <= len(name) <= _MAX_NAME_CHARS or not name.replace("-", "").replace("_", "").isalnum():
        raise ControlRefused("name must be 1 to 255 letters, digits, - or _")
    return name


_CONTROLS: Final[dict[str, tuple[type[msgspec.Struct], Callable[[TestControls, Any, Done], None]]]] = {
    "clock": (_Clock, _clock),
    "fail-over": (_FailOver, _fail_over),
    "throttle": (_Throttle, _throttle),
    "unprocessed": (_Unprocessed, _unprocessed),
    "stale": (_Stale, _stale),
    "reset": (_Nothing, _reset),
    "snapshot": (_Name, _snapshot),
    "restore": (_Name, _restore),
}
