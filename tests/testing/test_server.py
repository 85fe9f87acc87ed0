"""`gramme.testing`: what users write in their own tests, run as they would write it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gramme.testing
from gramme.testing import Cluster, ControlRefused, Server, ServerFailed

pytestmark = pytest.mark.seconds(12)

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def g() -> Iterator[Server]:
    with gramme.testing.server() as running:
        yield running


def _create(client: Any, name: str) -> Any:
    return client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )["TableDescription"]


def _names(server: Server | Cluster, table: str) -> list[str]:
    return sorted(item["pk"]["S"] for item in server.client().scan(TableName=table, ConsistentRead=True)["Items"])


def test_client_and_resource_reach_the_same_server(g: Server) -> None:
    g.reset()
    _create(g.client(), "both")
    g.resource().Table("both").put_item(Item={"pk": "x"})
    assert _names(g, "both") == ["x"]


def test_reset_leaves_no_table(g: Server) -> None:
    client = g.client()
    for name in ("first", "second"):
        _create(client, name)
    g.reset()
    assert client.list_tables()["TableNames"] == []
    g.reset()  # an empty one too
    _create(client, "first")
    assert _names(g, "first") == []


def test_restore_returns_to_the_snapshot(g: Server) -> None:
    g.reset()
    client = g.client()
    _create(client, "kept")
    _create(client, "dropped-later")
    items = [{"pk": {"S": f"{i:03}"}, "n": {"N": str(i)}, "b": {"B": bytes([i])}} for i in range(100)]
    for item in items:
        client.put_item(TableName="kept", Item=item)
    g.snapshot("before")
    client.delete_item(TableName="kept", Key={"pk": {"S": "007"}})
    client.put_item(TableName="kept", Item={"pk": {"S": "extra"}})
    client.delete_table(TableName="dropped-later")
    _create(client, "made-later")
    for _ in range(2):  # a snapshot can be restored again
        g.restore("before")
        assert client.list_tables()["TableNames"] == ["dropped-later", "kept"]
        found = client.scan(TableName="kept", ConsistentRead=True)["Items"]
        assert sorted(found, key=lambda item: item["pk"]["S"]) == items
        client.delete_table(TableName="kept")


def test_an_unknown_snapshot_is_refused_and_nothing_changes(g: Server) -> None:
    g.reset()
    _create(g.client(), "stays")
    with pytest.raises(ControlRefused, match="no snapshot 'missing'"):
        g.restore("missing")
    assert g.client().list_tables()["TableNames"] == ["stays"]


def test_the_clock_moves_forward_only(g: Server) -> None:
    g.reset()
    client = g.client()
    before = _create(client, "before")["CreationDateTime"]
    g.advance_clock(DAY_MS)
    after = _create(client, "after")["CreationDateTime"]
    assert (after - before).total_seconds() >= DAY_MS / 1_000
    with pytest.raises(ControlRefused, match="forward"):
        g.advance_clock(-1)
    client.put_item(TableName="before", Item={"pk": {"S": "x"}})
    assert _names(g, "before") == ["x"]


def test_a_cluster_of_one_cannot_fail_over(g: Server) -> None:
    with pytest.raises(ControlRefused, match="fail over"):
        g.fail_over("any")


def test_settings_reach_the_server_and_unknown_ones_are_refused() -> None:
    with gramme.testing.server(settings={"account_id": "210987654321"}) as custom:
        assert ":210987654321:table/" in _create(custom.client(), "arn")["TableArn"]
    with pytest.raises(ServerFailed, match="unknown setting acount_id; did you mean account_id"):
        gramme.testing.server(settings={"acount_id": "1"}).__enter__()


def test_without_test_controls_there_are_none() -> None:
    with gramme.testing.server(test_controls=False) as plain, pytest.raises(ControlRefused):
        plain.reset()


def test_a_directory_keeps_the_data_and_none_is_left_otherwise(tmp_path: Path) -> None:
    for expected in ([], ["kept"]):
        with gramme.testing.server(in_memory=False, data_dir=tmp_path / "data") as running:
            client = running.client()
            assert client.list_tables()["TableNames"] == expected
            if not expected:
                _create(client, "kept")
    with gramme.testing.server(in_memory=False) as running:
        assert running.data_dir is not None
        directory = running.data_dir
        assert directory.is_dir()
    assert not directory.exists()
    with pytest.raises(ValueError, match="exclude each other"):
        gramme.testing.server(in_memory=True, data_dir=tmp_path)


def test_a_cluster_fails_over_and_keeps_everything() -> None:
    with gramme.testing.cluster(3) as three:
        client = three.client()
        _create(client, "table")
        client.put_item(TableName="table", Item={"pk": {"S": "x"}})
        before = three.leaders("table")
        three.fail_over("table")
        client.put_item(TableName="table", Item={"pk": {"S": "y"}})
        assert _names(three, "table") == ["x", "y"]
        after = three.leaders("table")
        assert all(old != new for old, new in zip(before, after, strict=True)), (before, after)
        three.snapshot("two")
        client.put_item(TableName="table", Item={"pk": {"S": "z"}})
        three.restore("two")
        assert _names(three, "table") == ["x", "y"]
        three.reset()
        assert client.list_tables()["TableNames"] == []


def test_the_fixtures_of_the_plugin(tmp_path: Path) -> None:
    """In a pytest of its own, as an application's tests would run: each test starts without tables."""
    (tmp_path / "test_application.py").write_text(
        textwrap.dedent(
            """
            import pytest

            @pytest.mark.parametrize("round", [1, 2])
            def test_starts_empty(gramme, round):
                client = gramme.client()
                assert client.list_tables()["TableNames"] == []
                client.create_table(
                    TableName="table", BillingMode="PAY_PER_REQUEST",
                    KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])

            def test_same_server(gramme, gramme_server):
                assert gramme.endpoint_url == gramme_server.endpoint_url
            """
        )
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout
