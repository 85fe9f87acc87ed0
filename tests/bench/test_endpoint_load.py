"""`gramme bench ycsb` against a real node: every workload by the client that it is measured with, for a second."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gramme.bench import loading, wrk
from gramme.bench.dataset import Shape
from gramme.bench.endpoint_load import Options, closed, measured, text
from gramme.bench.errors import CannotMeasure
from gramme.bench.prepared import Prepared, Request
from gramme.runtime.cli import app
from gramme.testing import Server, server

pytestmark = pytest.mark.seconds(12)

_RECORDS = 500


@pytest.fixture(scope="module")
def node() -> Iterator[Server]:
    with server() as started:
        yield started


def _silent(_line: str) -> None:
    pass


def test_the_table_has_what_was_loaded(node: Server) -> None:
    shape = Shape(records=103, group=10)
    loading.make(node.endpoint_url, "loaded", shape)
    loading.make(node.endpoint_url, "loaded", shape)  # the old one is replaced
    items = node.client().scan(TableName="loaded")["Items"]
    assert sorted(items, key=str) == sorted((shape.item(number) for number in range(103)), key=str)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
@pytest.mark.parametrize("name", ["d", "e"])
def test_wrk_sends_what_was_prepared(node: Server, name: str) -> None:
    found = measured(Options(endpoint=node.endpoint_url, workload=name, records=_RECORDS, seconds=1), _silent)
    (run,) = found.runs
    assert run.client == "wrk"
    assert run.latency.count > 20
    assert run.latency.failed == 0
    assert "boto3" not in text(found)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_counts_refusals(node: Server) -> None:
    refused = Prepared([Request("read", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")], [0])
    found = closed(node.endpoint_url, refused, 1)
    assert found.latency.failed > 0


def test_read_modify_writes_change_the_items(node: Server) -> None:
    options = Options(endpoint=node.endpoint_url, workload="f", records=_RECORDS, seconds=1, rate=100, name="modified")
    found = measured(options, _silent)
    (run,) = found.runs
    assert found.check is not None
    assert found.check.offered_per_s == 200
    assert run.kinds.keys() == {"read", "read-modify-write"}
    assert run.latency.count + run.latency.failed == 100
    assert run.latency.failed == 0
    loaded = {str(item["pk"]): item for item in map(Shape(records=_RECORDS).item, range(_RECORDS))}
    items = node.client().scan(TableName="modified")["Items"]
    assert len(items) == _RECORDS
    assert any(item != loaded[str(item["pk"])] for item in items)


def test_boto3_sends_the_same_requests(node: Server) -> None:
    options = Options(endpoint=node.endpoint_url, workload="a", records=_RECORDS, seconds=1, sdk=True)
    (run,) = measured(options, _silent).runs
    assert run.client == "boto3"
    assert run.latency.count > 10
    assert run.latency.failed == 0


def test_objects_are_put_and_got(node: Server, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    command = ["bench", "ycsb", "--endpoint", node.objects_url, "--workload", "a", "--objects"]
    result = CliRunner().invoke(
        app, [*command, "--records", "200", "--seconds", "1", "--rate", "100", "--json", str(file)]
    )
    assert result.exit_code == 0, result.output
    (run,) = json.loads(file.read_bytes())["runs"]
    assert run["latency"]["failed"] == 0
    assert run["kinds"].keys() == {"read", "put"}
    assert "signatures off" in result.output


@pytest.mark.parametrize(
    "wrong", [["--workload", "z"], ["--workload", "a", "--distribution", "normal"], ["--workload", "e", "--objects"]]
)
def test_what_does_not_exist_is_refused(node: Server, wrong: list[str]) -> None:
    url = node.objects_url if "--objects" in wrong else node.endpoint_url
    assert CliRunner().invoke(app, ["bench", "ycsb", "--endpoint", url, "--records", "100", *wrong]).exit_code == 2


def test_a_table_that_refuses_items_is_not_measured(node: Server) -> None:
    requests = loading.make(node.endpoint_url, "other", Shape(records=25))
    node.client().delete_table(TableName="other")
    with pytest.raises(CannotMeasure, match="refused"):
        loading.fill(node.endpoint_url, requests, range(25))


def test_wrk_is_not_given_what_waits() -> None:
    waiting = Prepared([Request("a", b"x"), Request("b", b"y", then=0)], [1])
    with pytest.raises(ValueError, match="wrk"):
        wrk.run("http://127.0.0.1:1", waiting, 1)
