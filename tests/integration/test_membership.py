"""Nodes join and leave a real cluster of processes: the command line does it, and the tables go on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.support import create_table, eventually

from gramme.runtime.cluster import LocalCluster, http_ask
from gramme.runtime.cluster_status import ClusterStatus
from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(26)

ITEMS = 60


@pytest.fixture
def three() -> Iterator[Cluster]:
    with cluster(3, settings={"log_replica_after_ms": 1_000}) as running:
        yield running


def gramme(three: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gramme.runtime.cli", "cluster", *arguments, "--data", str(three.directory)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=three._node_environment()
    )


def done(three: Cluster, *arguments: str) -> str:
    answer = gramme(three, *arguments)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def fill(three: Cluster, table: str) -> None:
    client = three.client()
    create_table(client, table)
    client.get_waiter("table_exists").wait(TableName=table)
    for number in range(ITEMS):
        client.put_item(TableName=table, Item={"pk": {"S": str(number)}})


def check(three: Cluster, table: str) -> None:
    client = three.client()
    for number in range(ITEMS):
        assert "Item" in client.get_item(TableName=table, Key={"pk": {"S": str(number)}}, ConsistentRead=True)


def replicas(status: ClusterStatus, table: str) -> set[int]:
    """The nodes with a replica of the table, as its partitions' newest configurations have them."""
    return {node for t in status.tables if t.name == table for p in t.partitions for node in p.members}


def asked(three: Cluster, method: str, path: str, body: Any = None) -> Any:
    """What the admin port of node 0 answers."""
    content = None if body is None else json.dumps(body).encode()
    status, answer = http_ask("127.0.0.1", three.admin_port(0), method, path, content, 10.0)
    assert status == 200, answer
    return json.loads(answer)


def test_a_node_joins_takes_new_tables_and_the_cluster_restarts_as_four(three: Cluster) -> None:
    local = LocalCluster(three.directory)
    done(three, "add", "--zone", "us-east-1b")
    assert local.settings(3).zone == "us-east-1b"
    assert local.members == [0, 1, 2, 3]
    fill(three, "after")
    assert 3 in replicas(three.status(), "after")
    assert local.down()
    for node in local.members:
        local.start(node, three._node_environment())
    local.wait_ready()
    check(three, "after")
    assert [node.state for node in three.status().nodes] == ["active"] * 4

    # Whoever comes back with an empty directory is not the node that joined.
    local.kill(3)
    shutil.rmtree(three.directory / "nodes" / "3" / "data")
    local.start(3, three._node_environment())
    eventually("the emptied node has ended", lambda: local.process_state(3) == "stopped")
    assert "gramme cluster remove 3" in three.log(3)
    check(three, "after")


def test_a_dead_node_is_removed_and_never_comes_back(three: Cluster) -> None:
    local = LocalCluster(three.directory)
    fill(three, "before")
    refused = gramme(three, "remove", "2", "--yes")
    assert refused.returncode == 1
    assert "add a node first" in refused.stderr

    done(three, "add")
    plan = asked(three, "POST", "/members/plan-removal", {"node": 2})
    assert sorted(move["table"] for move in plan["moves"]) == ["", *["before"] * 4]
    counted = [move for move in plan["moves"] if move["table"]]
    assert {move["to"] for move in plan["moves"]} == {3}
    assert sum(move["rows"] for move in counted) == ITEMS
    assert sum(move["bytes"] for move in counted) == sum(len(f"pk{number}") for number in range(ITEMS))
    declined = gramme(three, "remove", "2")
    assert declined.returncode == 1
    assert "5 replicas to rebuild" in declined.stdout
    assert "it leaves the objects' ring" in declined.stdout
    assert {node.state for node in three.status().nodes} == {"active"}

    local.kill(2)
    said = done(three, "remove", "2", "--yes")
    assert "of 5 replicas rebuilt" in said
    assert "node 2 is removed" in said
    assert local.members == [0, 1, 3]
    assert [member["node"] for member in asked(three, "GET", "/ring")["members"]] == [0, 1]
    eventually("nothing names it", lambda: replicas(three.status(), "before") == {0, 1, 3})
    eventually("nor does the catalog's group", lambda: 2 not in replicas(three.status(), ""))
    check(three, "before")
    assert "removed for good" in gramme(three, "start", "2").stderr

    # Nor when somebody starts its process by hand.
    home = three.directory / "nodes" / "2"
    command = [sys.executable, "-m", "gramme.runtime.cli", "node", "--config", str(home / "node.toml")]
    by_hand = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert by_hand.returncode == 1
    assert "node 2 was removed from the cluster for good" in by_hand.stderr
    check(three, "before")
