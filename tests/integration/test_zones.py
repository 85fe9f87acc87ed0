"""A zone is lost: all partitions stay readable and writable; nothing is to be done by hand when it is back (row F1).

Six real processes, two in each of three zones. (Three nodes in three zones lose one each time in `test_kills.py`.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.support import create_table, eventually

from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(12)

TABLES = ("carts", "orders")
KEYS = [f"k{number}" for number in range(24)]
ZONES = 3


@pytest.fixture(scope="module")
def six() -> Iterator[Cluster]:
    with cluster(6, zones=ZONES, test_controls=False) as running:
        yield running


def _nodes_of(zone: int) -> list[int]:
    return [node for node in range(6) if node % ZONES == zone]


def _write(client: Any, value: int) -> None:
    for table in TABLES:
        for key in KEYS:
            client.put_item(TableName=table, Item={"pk": {"S": key}, "n": {"N": str(value)}})


def _read(client: Any, *, consistent: bool = True) -> set[int]:
    """The values that reads find in every partition of both tables."""
    found: list[dict[str, Any]] = []
    for table in TABLES:
        items = client.scan(TableName=table, ConsistentRead=consistent)["Items"]
        assert sorted(item["pk"]["S"] for item in items) == sorted(KEYS)
        found += items
    return {int(item["n"]["N"]) for item in found}


def _whole(six: Cluster) -> bool:
    """Every partition has a leader and voters in three zones, which have applied what is chosen: the log replicas that
    stood in for the lost zone, in one of the two others, are gone."""
    status = six.status()
    return all(
        partition.leader is not None
        and {status.nodes[node].zone for node in partition.members} == {f"us-east-1{letter}" for letter in "abc"}
        and {replica.node for replica in partition.replicas} == set(partition.members)
        and not any(replica.lag_slots for replica in partition.replicas)
        for table in status.tables
        for partition in table.partitions
    )


def test_replicas_of_every_partition_stand_in_three_zones(six: Cluster) -> None:
    for name in TABLES:
        create_table(six.client(), name)
    nodes = six.status().nodes
    assert [node.zone for node in nodes] == [f"us-east-1{letter}" for letter in "abcabc"]
    for table in six.status().tables:
        for partition in table.partitions:
            assert len({nodes[member].zone for member in partition.members}) == 3


@pytest.mark.parametrize("zone", [0, 1])
def test_a_lost_zone_costs_no_partition_and_comes_back_by_itself(six: Cluster, zone: int) -> None:
    client = six.client()
    _write(client, 10 * zone + 1)
    six.kill(*_nodes_of(zone))
    lost = time.monotonic()
    _write(client, 10 * zone + 2)
    print(f"zone {zone}: every key was written again {time.monotonic() - lost:.1f} s after its loss")
    assert _read(client) == {10 * zone + 2}
    eventually("eventual reads follow", lambda: _read(client, consistent=False) == {10 * zone + 2})
    for node in _nodes_of(zone):
        six.start(node, wait=False)
    six.wait_ready()
    _write(client, 10 * zone + 3)
    back = time.monotonic()
    eventually("every partition is whole again", lambda: _whole(six), 60)
    print(f"zone {zone}: whole {time.monotonic() - back:.1f} s after its nodes were ready")
    assert _read(client) == {10 * zone + 3}
