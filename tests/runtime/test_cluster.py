"""The local cluster with real node processes, driven through the command line as a user drives it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.environment import without_settings

from gramme.kernel.errors import InvalidInput
from gramme.runtime.cluster import MAX_LOCAL_NODES, ClusterFailed, LocalCluster, is_ready, node_settings
from gramme.runtime.cluster_status import ClusterStatus
from gramme.storage.log.layout import IDENTIFIERS_AT
from gramme.testing.processes import free_port

pytestmark = pytest.mark.seconds(20)

ROOT = Path(__file__).parents[2]


def free_base() -> int:
    """A port such that it and those that a cluster of three derives from it are free."""
    return free_port((0, 1, 2, 3, *(base + i for base in (100, 200, 300) for i in range(3))))


def gramme(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(
        [sys.executable, "-m", "gramme.runtime.cli", *arguments],
        cwd=cwd, env=without_settings(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert not check or run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    return run


class Running:
    """A cluster that `gramme cluster up --detach` has started."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.cluster = LocalCluster(directory)
        self.printed = self("up", "--nodes", "3", "--port", str(port), "--detach").stdout

    def __call__(self, command: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return gramme("cluster", command, *arguments, "--data", str(self.directory), cwd=ROOT, check=check)

    def status(self) -> ClusterStatus:
        return msgspec.json.decode(self("status", "--json").stdout, type=ClusterStatus)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    cluster = Running(tmp_path_factory.mktemp("cluster"), free_base())
    yield cluster
    cluster("down")
    assert [cluster.cluster.process_state(node) for node in range(3)] == ["stopped"] * 3


def test_up_prints_a_program_that_runs_as_pasted(running: Running) -> None:
    assert f"http://127.0.0.1:{running.port}" in running.printed
    for node in range(3):
        assert f"tables http://127.0.0.1:{running.port + 1 + node}" in running.printed
    program = re.search(r"^\S+ - <<'END'\n.*^END$", running.printed, re.DOTALL | re.MULTILINE)
    assert program is not None
    run = subprocess.run(["bash", "-c", program[0]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0].startswith("strong read:")
    assert run.stdout.count("Miriam Makeba") == 2
    assert run.stdout.splitlines()[-1] == "table deleted"


def test_status_shows_every_node_and_the_catalogs_leader(running: Running) -> None:
    status = running.status()
    assert status.schema == "gramme.cluster-status/1"
    assert [(node.process, node.ready, node.zone) for node in status.nodes] == [
        ("running", True, "us-east-1a"), ("running", True, "us-east-1b"), ("running", True, "us-east-1c"),
    ]  # fmt: skip
    catalog = status.tables[0].partitions[0]
    assert catalog.leader in (0, 1, 2)
    assert catalog.members == (0, 1, 2)
    assert sum(node.leads for node in status.nodes) >= 1
    shown = running("status").stdout
    assert "node-2" in shown
    assert "(catalog)" in shown


def test_a_killed_node_is_seen_and_comes_back(running: Running) -> None:
    running("kill", "1")
    assert [node.process for node in running.status().nodes] == ["running", "stopped", "running"]
    assert "does not run" in running("kill", "1", check=False).stderr
    assert not is_ready("127.0.0.1", running.port + 201)
    running("start", "1")
    assert is_ready("127.0.0.1", running.port + 201)
    assert "runs already" in running("start", "1").stdout
    assert all(node.process == "running" for node in running.status().nodes)


def test_a_paused_node_is_seen_and_goes_on(running: Running) -> None:
    running("pause", "2")
    node = running.status().nodes[2]
    assert (node.process, node.answers) == ("paused", False)
    running("resume", "2")
    assert running.cluster.process_state(2) == "running"
    running.cluster.wait_ready([2])


def test_up_again_starts_only_what_does_not_run(running: Running) -> None:
    before = running.cluster.state.processes
    running("kill", "0")
    again = running("up", "--detach").stdout
    assert f"http://127.0.0.1:{running.port}" in again
    after = running.cluster.state.processes
    assert after[1:] == before[1:]
    assert after[0] != before[0]


def test_a_founded_cluster_keeps_its_shape(running: Running) -> None:
    refused = running("up", "--nodes", "5", "--detach", check=False)
    assert refused.returncode == 1
    assert "holds a cluster of 3 nodes" in refused.stderr
    assert "there is no node 3: nodes count from 0 to 2" in running("kill", "3", check=False).stderr


def test_two_clusters_cannot_share_ports(running: Running, tmp_path: Path) -> None:
    refused = gramme(
        "cluster",
        "up",
        "--port",
        str(running.port),
        "--detach",
        "--data",
        str(tmp_path / "other"),
        cwd=ROOT,
        check=False,
    )
    assert refused.returncode == 1
    assert f"port {running.port} (shared_port of node 0) is in use" in refused.stderr


def test_a_stopped_node_can_be_checked_a_running_one_cannot(running: Running) -> None:
    data = running.directory / "nodes" / "1" / "data"
    assert "in use" in gramme("data", "check", str(data), cwd=ROOT, check=False).stderr
    assert running.cluster.stop(1)
    running("start", "1")  # each process begins a segment; only that of the last one is surely still there
    assert running.cluster.stop(1)
    checked = gramme("data", "check", str(data), cwd=ROOT)
    assert "sound" in checked.stdout
    assert "group 1:" in checked.stdout
    segments = sorted((data / "log").glob("*.seg"))
    segment = segments[-2]
    bytes_before = segment.read_bytes()
    damaged = bytearray(bytes_before)
    for offset in range(IDENTIFIERS_AT, len(damaged), 16):  # in every record and both its identifiers
        damaged[offset] ^= 0x10
    segment.write_bytes(damaged)
    broken = gramme("data", "check", str(data), cwd=ROOT, check=False)
    segment.write_bytes(bytes_before)
    assert broken.returncode == 1
    assert "NOT SOUND" in broken.stdout
    running("start", "1")


def test_foreground_supervisor_stops_its_nodes_on_sigterm(tmp_path: Path) -> None:
    base = free_base()
    supervisor = subprocess.Popen(
        [
            sys.executable, "-m", "gramme.runtime.cli", "cluster", "up", "--nodes", "1", "--port", str(base),
            "--data", str(tmp_path / "c"),
        ],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert supervisor.stdout is not None
        for line in supervisor.stdout:
            if line.startswith("Ctrl-C"):
                break
        cluster = LocalCluster(tmp_path / "c")
        assert cluster.process_state(0) == "running"
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0
        assert cluster.process_state(0) == "stopped"
    finally:
        supervisor.kill()
        supervisor.wait()


def test_a_node_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "c")
    cluster.found(1, free_base())
    data = tmp_path / "c" / "nodes" / "0" / "data"
    data.mkdir()
    (data / "format").write_text("99\n")
    cluster.start_all()
    with pytest.raises(ClusterFailed, match="data format 99"):
        cluster.wait_ready()


def test_ports_and_places_are_those_of_the_design() -> None:
    settings = node_settings(2, 3, 9_000, "a" * 32, Path("d"))
    ports = (settings.shared_port, settings.tables_port, settings.objects_port, settings.admin_port, settings.peer_port)
    assert ports == (9_000, 9_003, 9_102, 9_202, 9_302)
    places = {(member.host, member.zone) for member in settings.initial_catalog}
    assert len({host for host, _ in places}) == len({zone for _, zone in places}) == 3
    zones = [member.zone for member in node_settings(0, MAX_LOCAL_NODES, 9_000, "a" * 32, Path("d")).initial_catalog]
    assert len(set(zones)) == MAX_LOCAL_NODES


@pytest.mark.parametrize(("nodes", "port"), [(0, 8_000), (MAX_LOCAL_NODES + 1, 8_000), (3, 0), (3, 65_400)])
def test_limits_of_a_local_cluster(tmp_path: Path, nodes: int, port: int) -> None:
    with pytest.raises(InvalidInput, match="not "):
        LocalCluster(tmp_path / "c").found(nodes, port)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("variable", ["GRAMME_TABLES_PORT", "GRAMME_NODE_ID", "GRAMME_DATA_DIR"])
def test_a_setting_of_one_node_cannot_be_given_to_all(tmp_path: Path, variable: str) -> None:
    cluster = LocalCluster(tmp_path)
    cluster.found(1, 9_000)
    with pytest.raises(InvalidInput, match=variable):
        cluster.start(0, {variable: "1"})


def test_settings_of_the_environment_are_checked_before_anything_starts(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    cluster.found(1, 9_000)
    with pytest.raises(InvalidInput, match="did you mean GRAMME_GRANT_MS"):
        cluster.start(0, {"GRAMME_GRANT_MSS": "1"})


def test_a_directory_without_a_cluster_is_left_alone(tmp_path: Path) -> None:
    for command in (["status"], ["down"], ["kill", "0"], ["start", "0"], ["pause", "0"]):
        run = gramme("cluster", *command, "--data", str(tmp_path / "none"), cwd=tmp_path, check=False)
        assert run.returncode == 1
        assert "there is no local cluster" in run.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "contents", ["", "{}", '{"version": 2, "cluster_id": "", "nodes": 0, "port": 1, "processes": []}']
)
def test_a_damaged_or_foreign_record_is_refused(tmp_path: Path, contents: str) -> None:
    (tmp_path / "cluster.json").write_text(contents)
    with pytest.raises(InvalidInput, match=r"damaged|another release"):
        _ = LocalCluster(tmp_path).state


def test_the_record_is_replaced_whole(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path)
    state: Any = cluster.found(2, 9_000)
    assert json.loads((tmp_path / "cluster.json").read_text())["cluster_id"] == state.cluster_id
    assert cluster.found(2, 9_000) == state
    assert not list(tmp_path.glob("*.new"))
