"""The embedded node as a process: ready line, stops, crashes, its directory, its limits.

Sources: issue 2, "What a user can do" 1 and 3; DESIGN.md §6; REPLICATION.md §5.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.support import create_table, eventually

from gramme.testing import Server, server
from gramme.testing.controls import get

pytestmark = pytest.mark.seconds(25)


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Server]:
    with server(in_memory=False, data_dir=tmp_path / "data", settings={"segment_bytes": 1 << 20}) as running:
        yield running


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For the tests that leave it as it is."""
    with server(in_memory=False, data_dir=tmp_path_factory.mktemp("one") / "data") as running:
        yield running


def _count(client: Any, table: str = "table") -> int:
    pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return sum(page["Count"] for page in pages)


def _gramme(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gramme.runtime.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_one_line_says_that_it_is_ready(one: Server) -> None:
    lines = [line for line in one.log.splitlines() if line.startswith("ready")]
    objects_port = one.admin_port - 100
    assert lines == [f"ready tables={one.endpoint_url} objects={objects_port} admin={one.admin_port}"]


def test_health_metrics_and_cluster_answer_on_the_admin_port(one: Server) -> None:
    one.reset()
    create_table(one.client(), "table")
    assert get(one.admin_port, "/health/live")[0] == 200
    assert get(one.admin_port, "/health/ready")[0] == 200
    status, metrics = get(one.admin_port, "/metrics")
    assert status == 200
    assert re.search(rb'^gramme_request_seconds_bucket\{.*le="[^"]+".*\} \d', metrics, re.MULTILINE)
    assert re.search(rb"^gramme_groups_led 5(\.0)?$", metrics, re.MULTILINE)  # four partitions and the catalog
    status, document = get(one.admin_port, "/cluster")
    assert status == 200
    assert document.startswith(b"{")


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_nothing_acknowledged_is_lost(on_disk: Server, how: str) -> None:
    client = on_disk.client()
    create_table(client, "table")
    acknowledged: list[int] = []

    def write(worker: int) -> None:
        mine = on_disk.client()
        for i in range(10_000):
            try:
                mine.put_item(TableName="table", Item={"pk": {"S": f"{worker}-{i}"}, "data": {"S": "x" * 8_000}})
            except Exception:  # noqa: BLE001 - the node is being taken away from under it
                return
            acknowledged.append(worker)

    # Half through, so that segments of the log were closed and the engine is behind the log.
    workers = [threading.Thread(target=write, args=(worker,), daemon=True) for worker in range(3)]
    for worker in workers:
        worker.start()
    eventually("400 writes", lambda: len(acknowledged) >= 400 or None, timeout_s=60)
    if how == "kill":
        on_disk.kill()
    else:
        assert on_disk.stop() == 0
    on_disk.start()
    for worker in workers:
        worker.join()
    # Writers may have gone on after the restart (SDKs retry); every acknowledged write is there, and at most one more
    # of each writer, whose answer was lost.
    found = _count(client)
    assert len(acknowledged) <= found <= len(acknowledged) + len(workers)


def test_crash_after_crash(on_disk: Server) -> None:
    client = on_disk.client()
    create_table(client, "table")
    for i in range(4):
        client.put_item(TableName="table", Item={"pk": {"S": str(i)}})
        on_disk.kill()
        on_disk.start()
        assert _count(client) == i + 1


def test_sigterm_answers_what_was_asked_and_ends_with_0(on_disk: Server) -> None:
    client = on_disk.client()
    create_table(client, "table")
    client.put_item(TableName="table", Item={"pk": {"S": "x"}})
    assert on_disk.stop() == 0
    assert "Traceback" not in on_disk.log
    on_disk.start()
    assert _count(client) == 1


def test_a_second_process_on_the_directory_is_refused(one: Server) -> None:
    second = Server(in_memory=False, data_dir=one.data_dir, settings={}, test_controls=False)
    try:
        with pytest.raises(Exception, match="in use") as refused:
            second.start()
    finally:
        second.close()
    assert str(one.data_dir) in str(refused.value)
    assert "Traceback" not in str(refused.value)
    one.reset()
    create_table(one.client(), "table")


def test_a_port_that_is_taken_is_named(one: Server) -> None:
    second = _gramme("dev", "--in-memory", "--port", str(one.port))
    assert second.returncode == 1
    assert str(one.admin_port) in second.stderr
    assert "address already in use" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_second_process_starts_once_the_first_is_gone(on_disk: Server) -> None:
    create_table(on_disk.client(), "table")
    on_disk.kill()
    second = Server(in_memory=False, data_dir=on_disk.data_dir, settings={}, test_controls=False)
    try:
        second.start()
        assert second.client().list_tables()["TableNames"] == ["table"]
    finally:
        second.close()


def test_data_check_of_a_stopped_node(on_disk: Server) -> None:
    client = on_disk.client()
    create_table(client, "table")
    for i in range(20):
        client.put_item(TableName="table", Item={"pk": {"S": str(i)}})
    running = _gramme("data", "check", str(on_disk.data_dir))
    assert running.returncode == 1
    assert "in use" in running.stderr
    on_disk.stop()
    stopped = _gramme("data", "check", str(on_disk.data_dir))
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "sound" in stopped.stdout


def test_data_check_names_a_flipped_bit_and_the_node_refuses_it(on_disk: Server) -> None:
    assert on_disk.data_dir is not None
    client = on_disk.client()
    create_table(client, "table")
    for i in range(50):
        client.put_item(TableName="table", Item={"pk": {"S": str(i)}, "data": {"S": "findme" * 50}})
    on_disk.kill()
    segment = max((on_disk.data_dir / "log").glob("*.seg"), key=lambda file: file.read_bytes().count(b"findme"))
    damaged = bytearray(segment.read_bytes())
    position = damaged.index(b"findme", len(damaged) and damaged.index(b"findme") + 2_000)
    damaged[position] ^= 1
    segment.write_bytes(damaged)
    checked = _gramme("data", "check", str(on_disk.data_dir))
    assert checked.returncode == 1
    assert "DAMAGED" in checked.stdout
    with pytest.raises(Exception, match="damaged"):
        on_disk.start()


def test_in_memory_starts_empty_every_time() -> None:
    with server() as running:
        create_table(running.client(), "table")
        running.stop()
        running.start()
        assert running.client().list_tables()["TableNames"] == []


def test_an_unknown_setting_is_refused_by_name() -> None:
    with (
        pytest.raises(Exception, match="unknown setting grant_mss; did you mean grant_ms"),
        server(settings={"grant_mss": 5}),
    ):
        pass


def test_transitional_states_on_purpose() -> None:
    with server(settings={"control_plane_delay_ms": 600}) as running:
        client = running.client()
        create_table(client, "table")

        def status() -> str:
            described: str = client.describe_table(TableName="table")["Table"]["TableStatus"]
            return described

        assert status() == "CREATING"
        eventually("ACTIVE", lambda: status() == "ACTIVE")
        client.delete_table(TableName="table")
        assert status() == "DELETING"
        eventually("gone", lambda: not client.list_tables()["TableNames"])


def test_sigint_stops_it_too(on_disk: Server) -> None:
    os.kill(on_disk.pid, signal.SIGINT)
    eventually("the end", lambda: on_disk.returncode is not None)
    assert on_disk.returncode == 0
