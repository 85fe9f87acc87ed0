"""A bit turns in the rows of a stopped node: it is noticed, never served, and the others supply the rows."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.integration.support import create_table, eventually

from gramme.runtime.cluster_status import PartitionStatus
from gramme.runtime.engine_loss import DAMAGED
from gramme.testing import Cluster, cluster

TABLE = "orders"
ITEMS = 400


@pytest.fixture
def three() -> Iterator[Cluster]:
    with cluster(3, settings={"flush_interval_ms": 300, "log_replica_after_ms": 1_000}) as running:
        yield running


def text(number: int) -> str:
    return random.Random(number).randbytes(1_000).hex()


def partition(three: Cluster) -> PartitionStatus | None:
    found = next((p for table in three.status().tables if table.name == TABLE for p in table.partitions), None)
    return found if found is not None and found.leader is not None else None


def largest_table(directory: Path) -> Path | None:
    """The engine's largest file of rows, once it holds most of them."""
    files = sorted(directory.glob("*.sst"), key=lambda file: file.stat().st_size)
    return files[-1] if files and files[-1].stat().st_size > ITEMS * 500 else None


def turn_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0x10
    file.write_bytes(data)


def at_node(three: Cluster, node: int) -> Any:
    """A client of that node alone, which asks once."""
    return boto3.client(
        "dynamodb", endpoint_url=three.node_url(node), region_name="us-east-1", aws_access_key_id="a",
        aws_secret_access_key="a", config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip


def test_a_node_with_a_damaged_engine_ends_and_comes_back_with_rows_from_the_others(three: Cluster) -> None:
    client = three.client()
    create_table(client, TABLE, units=1)
    client.get_waiter("table_exists").wait(TableName=TABLE)
    for number in range(ITEMS):
        client.put_item(TableName=TABLE, Item={"pk": {"S": str(number)}, "text": {"S": text(number)}})
    founded = eventually("somebody leads", lambda: partition(three))
    hurt = next(node for node in founded.members if node != founded.leader)
    home = three.directory / "nodes" / str(hurt) / "data"
    file = eventually("the rows are flushed", lambda: largest_table(home / "engine"))
    three.kill(hurt)
    turn_a_bit(file)
    three.start(hurt, wait=False)

    alone = at_node(three, hurt)

    def found_out() -> bool:
        for number in range(ITEMS):
            if hurt not in three.running():
                return True
            with contextlib.suppress(BotoCoreError, ClientError):
                item = alone.get_item(TableName=TABLE, Key={"pk": {"S": str(number)}}).get("Item")
                assert item is None or item["text"]["S"] == text(number), "nothing damaged is served"
        return False

    eventually("the node has ended", found_out, 60)
    assert "block checksum mismatch" in three.log(hurt)
    client.put_item(TableName=TABLE, Item={"pk": {"S": "0"}, "text": {"S": text(0)}})

    three.start(hurt)
    assert '"event": "engine replaced"' in three.log(hurt)
    assert (home / DAMAGED / file.name).exists()

    def whole() -> bool:
        found = partition(three)
        return found is not None and found.health == "healthy" and len(found.replicas) == 3

    eventually("it has its replica again", whole, 60)
    eventually("the note is gone", lambda: not (home / "engine.lost").exists())
    for number in range(ITEMS):
        assert alone.get_item(TableName=TABLE, Key={"pk": {"S": str(number)}})["Item"]["text"]["S"] == text(number)
