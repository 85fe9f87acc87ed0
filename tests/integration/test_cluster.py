"""Three node processes as one database: any node, the shared endpoint, the catalog, what operators see.

Sources: issue 2, "What a user can do" 1, 2 and 5; DESIGN.md §6.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.integration.support import create_table, eventually, post

from gramme.testing import Cluster
from gramme.testing.controls import get
from gramme.testing.processes import free_port

pytestmark = pytest.mark.seconds(30)

KEY = {"pk": {"S": "key"}}


@pytest.fixture
def clients(three: Cluster) -> list[Any]:
    """A default client of each node; no tables. All nodes run."""
    three.start_all()
    three.reset()
    return [three.client(endpoint_url=three.node_url(node)) for node in range(3)]


def test_every_node_and_the_shared_endpoint_serve_the_same_table(three: Cluster, clients: list[Any]) -> None:
    create_table(three.client(), "everywhere")
    for writer, client in enumerate(clients):
        for i in range(10):
            client.put_item(TableName="everywhere", Item={"pk": {"S": f"{writer}-{i}"}})
    for reader in [*clients, three.client()]:
        for writer in range(3):
            for i in range(10):
                key = {"pk": {"S": f"{writer}-{i}"}}
                assert reader.get_item(TableName="everywhere", Key=key, ConsistentRead=True)["Item"] == key
        assert reader.scan(TableName="everywhere", ConsistentRead=True)["Count"] == 30


def test_an_eventual_read_at_every_node_sees_the_write_soon(clients: list[Any]) -> None:
    create_table(clients[0], "eventual")
    clients[0].put_item(TableName="eventual", Item=KEY)
    for client in clients:
        eventually("the write", lambda: client.get_item(TableName="eventual", Key=KEY).get("Item") == KEY)  # noqa: B023


def test_a_table_is_active_everywhere_when_create_table_answers(clients: list[Any]) -> None:
    for round_ in range(3):
        for creator in clients:
            assert create_table(creator, "fast")["TableStatus"] == "CREATING"
            for client in clients:
                assert client.describe_table(TableName="fast")["Table"]["TableStatus"] == "ACTIVE", round_
            creator.delete_table(TableName="fast")
            for client in clients:
                with pytest.raises(client.exceptions.ResourceNotFoundException):
                    client.describe_table(TableName="fast")


def test_provisioned_throughput_decides_the_partitions(three: Cluster, clients: list[Any]) -> None:
    create_table(clients[0], "one", units=5)
    create_table(clients[0], "six", units=4_500)  # 4,500 / 3,000 + 4,500 / 1,000
    create_table(clients[0], "on-demand")
    assert {entry.name: len(entry.partitions) for entry in three.status().tables} == {
        "": 1, "one": 1, "six": 6, "on-demand": 4,
    }  # fmt: skip


def test_a_table_made_again_never_shows_old_data(clients: list[Any]) -> None:
    """Every node has the old incarnation in its router's cache, and none may answer from it."""
    for round_ in range(5):
        creator = clients[round_ % 3]
        create_table(creator, "again", range_key=True)
        keys = [{"pk": {"S": str(i)}, "sk": {"S": "x"}} for i in range(12)]
        for client in clients:
            for key in keys:
                for consistent in (True, False):
                    answer = client.get_item(TableName="again", Key=key, ConsistentRead=consistent)
                    assert "Item" not in answer, f"round {round_}: old data of {key}"
            assert client.scan(TableName="again")["Items"] == []
        for key in keys:
            clients[(round_ + 1) % 3].put_item(TableName="again", Item=key)
        clients[(round_ + 2) % 3].delete_table(TableName="again")


def test_a_page_token_of_the_old_table_finds_nothing_of_it(clients: list[Any]) -> None:
    create_table(clients[0], "token", range_key=True)
    for i in range(6):
        clients[0].put_item(TableName="token", Item={"pk": {"S": "p"}, "sk": {"S": str(i)}})
    query: dict[str, Any] = {
        "TableName": "token",
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": "p"}},
    }
    page = clients[1].query(**query, Limit=2)
    clients[2].delete_table(TableName="token")
    create_table(clients[2], "token", range_key=True)
    again = clients[1].query(**query, ExclusiveStartKey=page["LastEvaluatedKey"])
    assert again["Items"] == []


def test_a_node_that_never_heard_of_a_table_asks_before_it_denies(clients: list[Any]) -> None:
    create_table(clients[0], "unheard")
    clients[1].put_item(TableName="unheard", Item=KEY)
    assert clients[2].get_item(TableName="unheard", Key=KEY, ConsistentRead=True)["Item"] == KEY
    with pytest.raises(ClientError, match="Requested resource not found"):
        clients[2].get_item(TableName="never", Key=KEY)


def test_batches_and_pages_reach_all_partitions_from_any_node(three: Cluster, clients: list[Any]) -> None:
    create_table(clients[0], "wide", range_key=True)
    table = three.resource(endpoint_url=three.node_url(1)).Table("wide")
    with table.batch_writer() as batch:
        for i in range(300):
            batch.put_item(Item={"pk": f"p{i}", "sk": "s", "n": i})
    for client in clients:
        pages = client.get_paginator("scan").paginate(
            TableName="wide", ConsistentRead=True, PaginationConfig={"PageSize": 41}
        )
        assert sorted(int(item["n"]["N"]) for page in pages for item in page["Items"]) == list(range(300))
    keys = [{"pk": {"S": f"p{i}"}, "sk": {"S": "s"}} for i in range(100)]
    answer = clients[2].batch_get_item(RequestItems={"wide": {"Keys": keys, "ConsistentRead": True}})
    assert len(answer["Responses"]["wide"]) == 100


def _lags(three: Cluster) -> list[int]:
    """How many chosen slots each replica of each table has not applied."""
    partitions = [partition for table in three.status().tables for partition in table.partitions]
    return [replica.lag_slots for partition in partitions for replica in partition.replicas]


def test_a_minority_serves_no_strong_read_and_acknowledges_nothing(three: Cluster, clients: list[Any]) -> None:
    create_table(clients[0], "minority")
    clients[0].put_item(TableName="minority", Item=KEY)
    # Not by an eventual read at node 0: one that knows that it is behind sends it on.
    eventually("all replicas have the write", lambda: not any(_lags(three)))
    three.kill(1, 2)
    url = three.node_url(0)
    strong = {"TableName": "minority", "Key": KEY, "ConsistentRead": True}
    # Once the leases are over: no quorum by the deadline is 503, not a hang and not old data.
    eventually("503", lambda: post(url, "GetItem", strong).status == 503)
    with ThreadPoolExecutor() as pool:  # both wait for their deadlines
        write = pool.submit(post, url, "PutItem", {"TableName": "minority", "Item": {"pk": {"S": "other"}}})
        # The last resort of an eventual read: stale, but there.
        assert post(url, "GetItem", {"TableName": "minority", "Key": KEY}).json == {"Item": KEY}
        answer = write.result()
    assert (answer.status, answer.json["__type"].partition("#")[2]) == (503, "ServiceUnavailable")
    three.start_all()
    assert clients[0].get_item(**strong)["Item"] == KEY
    assert clients[0].scan(TableName="minority", ConsistentRead=True)["Count"] == 1


def test_local_nodes_are_those_that_live(three: Cluster, clients: list[Any]) -> None:
    assert get(three.port, "/localnodes")[1] == b'["127.0.0.1","127.0.0.1","127.0.0.1"]'
    assert get(three.port + 1, "/localnodes?rack=us-east-1b")[1] == b'["127.0.0.1"]'
    three.kill(1)
    eventually("node 1 is gone", lambda: get(three.port + 1, "/localnodes?rack=us-east-1b")[1] == b"[]")
    assert get(three.port + 1, "/")[1] == f"healthy: 127.0.0.1:{three.port + 1}".encode()


# --- what operators see -----------------------------------------------------------------------------------------------


def _gramme(*arguments: str, cwd: Path | None = None) -> str:
    command = [sys.executable, "-m", "gramme.runtime.cli", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_status_as_json_is_of_the_documented_schema(three: Cluster, clients: list[Any]) -> None:
    create_table(clients[0], "shown")
    clients[0].put_item(TableName="shown", Item=KEY)
    status = json.loads(_gramme("cluster", "status", "--json", "--data", str(three.directory)))
    assert status["schema"] == "gramme.cluster-status/1"
    assert status["shared_endpoint"] == three.endpoint_url
    assert [(node["zone"], node["process"], node["ready"]) for node in status["nodes"]] == [
        ("us-east-1a", "running", True), ("us-east-1b", "running", True), ("us-east-1c", "running", True),
    ]  # fmt: skip
    assert [table["name"] for table in status["tables"]] == ["", "shown"]
    for table in status["tables"]:
        for partition in table["partitions"]:
            assert sorted(partition["members"]) == [0, 1, 2]
            assert partition["leader"] in (0, 1, 2)
            assert [replica["node"] for replica in partition["replicas"]] == [0, 1, 2]
            assert all(replica["lag_slots"] >= 0 for replica in partition["replicas"])
    assert sum(node["leads"] for node in status["nodes"]) == 5


def test_status_for_people_names_every_node_and_table(three: Cluster, clients: list[Any]) -> None:
    create_table(clients[0], "visible")
    three.kill(2)
    shown = _gramme("cluster", "status", "--data", str(three.directory))
    for text in ("node-0", "node-1", "node-2", "us-east-1c", "visible", "stopped"):
        assert text in shown


def test_health_and_metrics_of_each_node(three: Cluster, clients: list[Any]) -> None:
    create_table(clients[0], "measured")
    for node, client in enumerate(clients):
        client.put_item(TableName="measured", Item=KEY)
        assert get(three.admin_port(node), "/health/live")[0] == 200
        assert get(three.admin_port(node), "/health/ready")[0] == 200
        metrics = get(three.admin_port(node), "/metrics")[1].decode()
        assert re.search(r'^gramme_request_seconds_bucket\{.*operation="PutItem".*\} [1-9]', metrics, re.MULTILINE)
        assert re.search(r"^gramme_groups 5(\.0)?$", metrics, re.MULTILINE)


# --- make up ----------------------------------------------------------------------------------------------------------


def test_the_printed_program_runs_as_printed(tmp_path: Path) -> None:
    port = free_port(base + node for base in (0, 1, 100, 200, 300) for node in range(3))
    data = ("--data", str(tmp_path / "cluster"))
    try:
        printed = _gramme("cluster", "up", "--nodes", "3", "--port", str(port), "--detach", *data, cwd=tmp_path)
        assert f"http://127.0.0.1:{port}\n" in printed
        program = printed[printed.index("paste this into a shell.") :].partition("\n\n")[2]
        assert program.rstrip().endswith("END")
        for _ in range(2):  # it leaves nothing behind, so it runs again
            shell = subprocess.run(
                ["sh", "-e"], input=program, capture_output=True, text=True, timeout=60, check=False,
                cwd=tmp_path, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            )  # fmt: skip
            assert shell.returncode == 0, shell.stdout + shell.stderr
            assert shell.stderr == ""
            assert "Pata Pata" in shell.stdout
            assert shell.stdout.splitlines()[-1] == "table deleted"
        again = _gramme("cluster", "up", "--detach", *data)  # what runs already is left alone
        assert f"http://127.0.0.1:{port}\n" in again
    finally:
        _gramme("cluster", "down", *data)
    assert "stopped" in _gramme("cluster", "status", *data)
