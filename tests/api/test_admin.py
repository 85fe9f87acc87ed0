"""The admin port: what it shows, and test controls only where they were switched on."""

from __future__ import annotations

import json
from collections.abc import Callable

from gramme.api.admin import AdminApi
from gramme.api.backend import ControlRefused
from gramme.api.http import HttpRequest, HttpResponse

Done = Callable[[str | None], None]


class _Controls:
    """Records what it is asked; `waiting` answers come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.waiting: list[Done] = []

    def clock(self, advance_ms: int, done: Done) -> None:
        self.asked.append(("clock", advance_ms))
        done(None)

    def fail_over(self, table: str, groups: list[int] | None, done: Done) -> None:
        self.asked.append(("fail_over", (table, groups)))
        done(f"there is no table {table}")

    def reset(self, done: Done) -> None:
        self.asked.append(("reset", None))
        self.waiting.append(done)

    def snapshot(self, name: str, done: Done) -> None:
        self.asked.append(("snapshot", name))
        done(None)

    def throttle(self, table: str, rate: float, reason: str, index: str, done: Done) -> None:
        self.asked.append(("throttle", (table, rate, reason, index)))
        done(None)

    def unprocessed(self, table: str, rate: float, done: Done) -> None:
        self.asked.append(("unprocessed", (table, rate)))
        done(None)

    def stale(self, table: str, index: str, lag_ms: int, done: Done) -> None:
        self.asked.append(("stale", (table, index, lag_ms)))
        done(None)

    def restore(self, name: str, done: Done) -> None:
        raise ControlRefused(f"there is no snapshot {name}")


class _Admin:
    def __init__(self, controls: _Controls | None = None) -> None:
        self.reason: str | None = "starting"
        self.errors: list[str] = []
        self.api = AdminApi(
            ready=lambda: self.reason,
            metrics=lambda: b"gramme_up 1\n",
            cluster=lambda: b'{"version":1}',
            sections=lambda: b'{"version":1,"roots":{}}',
            controls=controls,
            log=lambda text, _error: self.errors.append(text),
        )

    def get(self, path: str, method: str = "GET", body: bytes = b"") -> HttpResponse:
        (answer,) = self.ask(path, method, body)
        return answer

    def ask(self, path: str, method: str, body: bytes) -> list[HttpResponse]:
        answers: list[HttpResponse] = []
        self.api.handle(HttpRequest(method, path, "", {}, body), answers.append)
        return answers


def test_health() -> None:
    admin = _Admin()
    assert admin.get("/health/live").status == 200
    answer = admin.get("/health/ready")
    assert (answer.status, answer.body) == (503, b"starting")
    admin.reason = None
    assert admin.get("/health/ready").status == 200
    admin.reason = "draining"
    assert admin.get("/health/ready").body == b"draining"


def test_metrics_cluster_and_console() -> None:
    admin = _Admin()
    metrics = admin.get("/metrics")
    assert metrics.body == b"gramme_up 1\n"
    assert dict(metrics.headers)[b"Content-Type"].startswith(b"text/plain; version=0.0.4")
    assert json.loads(admin.get("/cluster").whole_body()) == {"version": 1}
    assert json.loads(admin.get("/objects/sections").whole_body()) == {"version": 1, "roots": {}}
    console = admin.get("/console/")
    assert b'fetch("/cluster")' in console.whole_body()
    assert b"innerHTML" not in console.whole_body()  # names come from outside: text only


def test_other_paths_and_methods() -> None:
    admin = _Admin()
    assert admin.get("/nothing").status == 404
    assert admin.get("/metrics", "POST").status == 405
    assert admin.get("/test-controls/reset", "POST").status == 405
    assert admin.get("/test-controls/reset").status == 404


def test_a_provider_that_fails_gives_a_bare_500() -> None:
    def broken() -> bytes:
        raise ValueError("secret")

    admin = _Admin()
    admin.api = AdminApi(
        ready=lambda: None,
        metrics=broken,
        cluster=broken,
        sections=broken,
        log=lambda text, _error: admin.errors.append(text),
    )
    assert (admin.get("/metrics").status, admin.get("/metrics").body) == (500, b"Internal error")
    assert admin.errors == ["admin /metrics failed"] * 2


def test_controls_are_carried_out() -> None:
    controls = _Controls()
    admin = _Admin(controls)
    assert admin.get("/test-controls/clock", "POST", b'{"advance_ms": 5}').body == b"{}"
    assert admin.get("/test-controls/snapshot", "POST", b'{"name": "a-b_1"}').status == 200
    assert admin.get("/test-controls/stale", "POST", b'{"table": "t", "lag_ms": 7}').status == 200
    refused = admin.get("/test-controls/fail-over", "POST", b'{"table": "t"}')
    assert (refused.status, json.loads(refused.whole_body())) == (400, {"message": "there is no table t"})
    missing = admin.get("/test-controls/restore", "POST", b'{"name": "s"}')
    assert (missing.status, json.loads(missing.whole_body())) == (400, {"message": "there is no snapshot s"})
    answers = admin.ask("/test-controls/reset", "POST", b"")
    assert answers == []
    controls.waiting[0](None)
    assert [answer.status for answer in answers] == [200]
    assert controls.asked == [
        ("clock", 5),
        ("snapshot", "a-b_1"),
        ("stale", ("t", "", 7)),
        ("fail_over", ("t", None)),
        ("reset", None),
    ]


def test_bad_controls_change_nothing() -> None:
    controls = _Controls()
    admin = _Admin(controls)
    for name, body in (
        ("clock", b'{"advance_ms": -1}'),
        ("clock", b'{"advance_ms": "5"}'),
        ("clock", b"{}"),
        ("clock", b"{"),
        ("clock", b"\xff"),
        ("reset", b'{"extra": 1}'),
        ("snapshot", b'{"name": "../etc"}'),
        ("snapshot", b'{"name": ""}'),
    ):
        answer = admin.get(f"/test-controls/{name}", "POST", body)
        assert answer.status == 400
        assert json.loads(answer.whole_body())["message"]
    assert admin.get("/test-controls/explode", "POST").status == 404
    assert admin.get("/test-controls/reset", "GET").status == 405
    assert controls.asked == []
