"""Logs: one JSON document a line for programs, text for people."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from gramme.runtime.config import Settings
from gramme.runtime.logging import configure, event_logger


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_facts() -> None:
    stream = io.StringIO()
    log_event = event_logger(configure(Settings(node_id=2, log_format="json"), stream))
    log_event("peer connected", {"peer": 1, "boot": b"\x01\xff", "text": "two\nlines"})
    (line,) = lines(stream)
    timestamp = line.pop("timestamp")
    assert str(timestamp).endswith("Z")
    assert line == {
        "event": "peer connected", "level": "info", "node": 2, "peer": 1, "boot": "01ff", "text": "two\nlines",
    }  # fmt: skip


def test_levels_are_filtered() -> None:
    stream = io.StringIO()
    log_event = event_logger(configure(Settings(log_level="warning", log_format="json"), stream))
    log_event("quiet", {})
    log_event("loud", {"level": "warning"})
    log_event("odd", {"level": "error", "event": "not the name"})
    assert [(line["event"], line["level"]) for line in lines(stream)] == [("loud", "warning"), ("odd", "error")]


def test_an_exception_comes_with_its_trace_in_one_line() -> None:
    stream = io.StringIO()
    log_event = event_logger(configure(Settings(log_format="json"), stream))
    try:
        raise ValueError("broken")
    except ValueError as error:
        log_event("request failed", {"level": "error", "exc_info": error})
    (line,) = lines(stream)
    assert "ValueError: broken" in str(line["exception"])


@pytest.mark.parametrize(("log_format", "is_json"), [("auto", True), ("json", True), ("console", False)])
def test_only_a_terminal_or_the_setting_gives_text(log_format: str, is_json: bool) -> None:
    stream = io.StringIO()
    settings = Settings(log_format=log_format)  # type: ignore[arg-type]
    event_logger(configure(settings, stream))("hello", {"a": 1})
    assert stream.getvalue().startswith("{") == is_json
    assert "hello" in stream.getvalue()
