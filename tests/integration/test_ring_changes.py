"""Five real processes: nodes leave the ring and join it under load, planned and committed from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.integration.support import RawAnswer, eventually
from tests.integration.test_objects import Bucket, call

from gramme.bench.outages import Clients
from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(36)

_NODES = range(5)


@pytest.fixture(scope="module")
def five() -> Iterator[Cluster]:
    with cluster(5) as running:
        yield running


class Load(Clients):
    """Clients that write new keys with w=1 and read them back, each at any node, until they are told to stop."""

    def __init__(self, cluster: Cluster, threads: int) -> None:
        self._urls = [cluster.objects_url(node) for node in _NODES]
        self.refused: list[str] = []
        self.missing: list[str] = []
        self.keys: list[str] = []
        super().__init__([partial(self._run, number) for number in range(threads)])

    def _run(self, number: int) -> None:
        count = 0
        while not self.over.wait(0.02):
            key, count = f"t{number}-{count}", count + 1
            put = Bucket(self._urls[count % 5], "carts").put(key, b"x" * 300, "?w=1")
            if put.status != 204:
                self.refused.append(f"{key}: {put.status} {put.body!r}")
                continue
            self.keys.append(key)
            for read in (key, f"t{number}-{count // 2}"):
                got = Bucket(self._urls[(count + 2) % 5], "carts").get(read)
                if got.status not in (200, 300):  # two siblings: a slow write was sent to a second coordinator
                    self.missing.append(f"{read}: {got.status} {got.body!r}")


def admin(cluster: Cluster, method: str, path: str, body: Any = None, node: int = 0) -> RawAnswer:
    url = f"http://127.0.0.1:{cluster.admin_port(node)}"
    return call(url, method, path, b"" if body is None else json.dumps(body).encode())


def gramme(cluster: Cluster, *arguments: str) -> str:
    """Standard output of a command that must succeed."""
    command = [sys.executable, "-m", "gramme.runtime.cli", *arguments, "--data", str(cluster.directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def _settled(cluster: Cluster, version: int, up: list[int]) -> bool:
    """Whether all nodes read the ring of this version, alone, and nobody keeps what is not his."""
    for node in up:
        ring = admin(cluster, "GET", "/ring", node=node).json
        spare = sum(each["spare_sections"] for each in ring["transfers"] if each["node"] in up)
        if (ring["version"], ring["step"], spare) != (version, "settled", 0):
            return False
    return True


def test_two_nodes_leave_and_join_under_load_and_nobody_notices(five: Cluster) -> None:
    assert admin(five, "GET", "/ring").json["members"][4]["partitions"] in (12, 13)
    with Load(five, 2) as load:
        eventually("some keys are written", lambda: len(load.keys) > 100)
        gramme(five, "cluster", "leave", "3", "4")
        assert admin(five, "GET", "/ring", node=2).json["version"] == 1  # staged: nothing moves
        plan = json.loads(gramme(five, "cluster", "plan", "--json"))
        assert plan["leave"] == [3, 4]
        assert {move["from"] for move in plan["moves"]} == {3, 4}
        assert plan["bytes"] > 100 * 300 / 5
        gramme(five, "cluster", "commit", plan["plan"])
        eventually("the ring is that of three nodes", lambda: _settled(five, 2, list(_NODES)))
        stale = admin(five, "POST", "/ring/commit", {"plan": plan["plan"]})
        assert (stale.status, stale.json["message"][:8]) == (409, "node 3 i")
        joined = admin(five, "POST", "/ring/plan", {"join": [3, 4]}, node=4).json
        assert admin(five, "POST", "/ring/commit", {"plan": joined["plan"]}, node=1).status == 200
        eventually("the ring is that of five nodes", lambda: _settled(five, 3, list(_NODES)))
    assert (load.refused, load.missing) == ([], [])
    for key in load.keys:
        assert Bucket(five.objects_url(0), "carts").get(key, "?r=3&pr=3").status in (200, 300)
    shown = gramme(five, "ring")
    assert "ring 3: 64 partitions" in shown


def test_a_dead_node_leaves_and_its_share_is_made_up_from_the_others(five: Cluster) -> None:
    bucket = Bucket(five.objects_url(0), "left")
    for n in range(60):
        assert bucket.put(f"k{n}", b"v").status == 204
    five.kill(4)
    eventually("node 4 is known to be down", lambda: admin(five, "POST", "/ring/plan", {"join": [4]}).status == 400)
    plan = admin(five, "POST", "/ring/plan", {"leave": [4]}).json
    assert admin(five, "POST", "/ring/commit", {"plan": plan["plan"]}).status == 200
    version = plan["ring_version"]
    eventually("the ring is that of four nodes", lambda: _settled(five, version, [0, 1, 2, 3]))
    for n in range(60):
        assert bucket.get(f"k{n}", "?r=3&pr=3&notfound_ok=false").status == 200
    five.start(4)
    eventually("node 4 has given its own away", lambda: _settled(five, version, list(_NODES)))


def test_what_cannot_be_planned_is_refused_and_changes_nothing(five: Cluster) -> None:
    before = admin(five, "GET", "/ring").json
    for path, body, status, text in (
        ("plan", {"join": [0]}, 400, "node 0 is in the ring already"),
        ("plan", {"join": [17]}, 400, "node 17 is not in the cluster"),
        ("plan", {"leave": [4]}, 400, "node 4 is not in the ring"),
        ("plan", {"leave": [0, 1, 2, 3]}, 400, "a ring has at least one node"),
        ("plan", {"leaves": [0]}, 400, "unknown field `leaves`"),
        ("stage", {"leave": [17]}, 400, "node 17 is not in the cluster"),
        ("commit", {"plan": "x"}, 400, "'x' is not the name of a plan"),
        ("commit", {"plan": f"{before['version'] + 1}..3.0123456789abcdef"}, 409, "not what it was"),
        ("nothing", {}, 404, "There is GET /ring"),
    ):
        answer = admin(five, "POST", f"/ring/{path}", body)
        assert answer.status == status
        assert text in answer.json["message"]
    after = admin(five, "GET", "/ring").json
    assert (after["version"], after["staged"]) == (before["version"], {"join": [], "leave": []})
