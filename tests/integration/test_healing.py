"""Five real processes: log replicas within seconds, a second failure, a node that comes back, one that does not.

Source: issue 6 (rows C11, C14, E4, F4). Nothing here is timed: the limits are patience only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.support import create_table, eventually

from gramme.runtime.cluster_status import PartitionStatus
from gramme.testing import Cluster, cluster

pytestmark = pytest.mark.seconds(20)

TABLE = "orders"


@pytest.fixture(scope="module")
def five() -> Iterator[Cluster]:
    """Five nodes that wait one second before a log replica, and eight before a copy."""
    with cluster(5, settings={"log_replica_after_ms": 1_000, "replace_after_ms": 8_000}) as running:
        yield running


def partition(five: Cluster) -> PartitionStatus | None:
    """The table's one partition, while somebody leads it."""
    tables = five.status().tables
    found = next((p for table in tables if table.name == TABLE for p in table.partitions), None)
    return found if found is not None and found.leader is not None else None


def whole_without(five: Cluster, *nodes: int) -> PartitionStatus | None:
    found = partition(five)
    if found is None or found.health != "healthy" or any(node in found.members for node in nodes):
        return None
    return found if len(found.members) == 3 else None


def voted_for(five: Cluster, node: int) -> bool:
    """Whether a log replica votes in the place of `node`, which only learns."""
    found = partition(five)
    return found is not None and node in found.learners and any(log in found.members for log in found.logs)


def put(client: Any, key: str) -> None:
    client.put_item(TableName=TABLE, Item={"pk": {"S": key}, "text": {"S": key * 20}})


def test_failures_one_after_the_other_are_healed_and_nothing_is_lost(five: Cluster) -> None:
    client = five.client()
    create_table(client, TABLE, units=1)
    eventually(
        "the table is active", lambda: client.describe_table(TableName=TABLE)["Table"]["TableStatus"] == "ACTIVE"
    )
    founded = eventually("somebody leads", lambda: partition(five))
    first, second = [node for node in founded.members if node != founded.leader]
    written = [f"item {number}" for number in range(40)]
    for key in written[:10]:
        put(client, key)

    five.kill(first)
    eventually("a log replica votes in its place", lambda: voted_for(five, first))
    for key in written[10:20]:
        put(client, key)

    five.kill(second)
    for key in written[20:30]:
        put(client, key)  # by one storage replica and a log replica

    five.start(first)
    five.start(second)
    whole = eventually("three storage replicas vote, log replicas are gone", lambda: whole_without(five), 60)
    assert not whole.logs
    assert not whole.learners

    gone = next(node for node in whole.members if node != whole.leader)
    five.kill(gone)
    moved = eventually("it is rebuilt elsewhere", lambda: whole_without(five, gone), 60)
    for key in written[30:]:
        put(client, key)
    for key in written:
        answer = client.get_item(TableName=TABLE, Key={"pk": {"S": key}}, ConsistentRead=True)
        assert answer["Item"]["text"]["S"] == key * 20
    five.start(gone)
    eventually("its former replica is dropped", lambda: _hosts(five, moved.group) == sorted(moved.members) or None, 60)


def _hosts(five: Cluster, group: int) -> list[int]:
    found = partition(five)
    return sorted(replica.node for replica in found.replicas) if found is not None and found.group == group else []
