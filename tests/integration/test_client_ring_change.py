"""A client goes on through a change of the ring, and follows it."""

from __future__ import annotations

import json

import pytest
from tests.integration.support import eventually
from tests.integration.test_object_ring import everybody_known
from tests.integration.test_ring_changes import admin

from gramme.client.objects import Bucket, ObjectClient, Value
from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(9)

KEYS = 50


def test_a_client_follows_a_node_that_leaves() -> None:
    with cluster(4) as four:
        url = four.objects_url(0)
        eventually("gossip has brought all addresses", lambda: everybody_known(url))
        bucket = ObjectClient(url).bucket("b")
        for n in range(KEYS):
            bucket.put(f"k{n}", Value(json.dumps([n]).encode()))
        leave(four, 3)
        eventually("the ring is settled, no request refused meanwhile", lambda: rewritten(bucket) and settled(four, 2))
        rewritten(bucket)  # hears of the last version, if it has not
        before = forwarded(four)
        rewritten(bucket)
        assert forwarded(four) == before  # all writes went to a coordinator of the new ring


def leave(four: Cluster, node: int) -> None:
    """Plan and commit a ring without `node`."""
    change = {"join": [], "leave": [node]}
    assert admin(four, "POST", "/ring/stage", change).status == 200
    plan = admin(four, "POST", "/ring/plan", change).json["plan"]
    assert admin(four, "POST", "/ring/commit", {"plan": plan}).status == 200


def settled(four: Cluster, version: int) -> bool:
    rings = [admin(four, "GET", "/ring", node=node).json for node in range(4)]
    return all((ring["version"], ring["step"]) == (version, "settled") for ring in rings)


def rewritten(bucket: Bucket) -> bool:
    """Every value is read and written again; true."""
    for n in range(KEYS):
        found = bucket.get(f"k{n}")
        assert {value.body for value in found.values} == {json.dumps([n]).encode()}
        bucket.put(f"k{n}", found.values[0], found)
    return True


def forwarded(four: Cluster) -> int:
    return sum(int(admin(four, "GET", "/cluster", node=node).json["objects"]["forwarded"]) for node in range(4))
