"""Streams with real processes and unmodified boto3: their life on one node, and every change exactly once on three,
under kills, at whichever node one reads. Source: issue 4, "Streams" and "How it is known to be right".
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.integration.support import create_table, eventually

from gramme.bench.outages import Clients
from gramme.testing import Cluster, Server, cluster

pytestmark = pytest.mark.seconds(30)

TABLE = "counted"
BOTH = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
KEYS = 24
_QUARTER_MS = 16 * 60 * 1_000
_DAY_MS = 25 * 3600 * 1_000


def switch(client: Any, specification: dict[str, Any]) -> None:
    client.update_table(TableName=TABLE, StreamSpecification=specification)
    eventually("ACTIVE", lambda: client.describe_table(TableName=TABLE)["Table"]["TableStatus"] == "ACTIVE")


def arn_of(client: Any) -> str:
    arn: str = client.describe_table(TableName=TABLE)["Table"]["LatestStreamArn"]
    return arn


def increment(client: Any, key: str) -> int:
    answer = client.update_item(
        TableName=TABLE,
        Key={"pk": {"S": key}},
        UpdateExpression="ADD n :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues="UPDATED_NEW",
    )
    return int(answer["Attributes"]["n"]["N"])


class Reader:
    """Reads all shards of one stream at one endpoint from their beginning, as an application would."""

    def __init__(self, streams: Any, arn: str) -> None:
        self.streams = streams
        self.arn = arn
        self.numbers: dict[str, list[int]] = {}  # NewImage.n by key, in the order met
        self.events: list[str] = []
        self.sequences: dict[str, list[str]] = {}  # by shard
        self.ended: set[str] = set()
        self._iterators: dict[str, str] = {}

    def shards(self) -> list[str]:
        description = self.streams.describe_stream(StreamArn=self.arn)["StreamDescription"]
        return [shard["ShardId"] for shard in description["Shards"]]

    def start(self) -> None:
        for shard in self.shards():
            iterator = self.streams.get_shard_iterator(
                StreamArn=self.arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
            )
            self._iterators[shard] = iterator["ShardIterator"]

    def read(self) -> int:
        """One GetRecords for each shard that is not at its end; how many records that gave."""
        found = 0
        for shard, iterator in list(self._iterators.items()):
            page = self.streams.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                self._take(shard, record)
            found += len(page["Records"])
            if "NextShardIterator" in page:
                self._iterators[shard] = page["NextShardIterator"]
            else:
                del self._iterators[shard]
                self.ended.add(shard)
        return found

    def _take(self, shard: str, record: dict[str, Any]) -> None:
        change = record["dynamodb"]
        self.events.append(record["eventID"])
        self.sequences.setdefault(shard, []).append(change["SequenceNumber"])
        if "NewImage" in change:
            self.numbers.setdefault(change["Keys"]["pk"]["S"], []).append(int(change["NewImage"]["n"]["N"]))
            expected = {"n": {"N": str(int(change["NewImage"]["n"]["N"]) - 1)}}
            old = change.get("OldImage")
            assert (old is None) == (record["eventName"] == "INSERT")
            assert old is None or {"n": old["n"]} == expected


# --- one node


@pytest.fixture
def streams(node: Server, client: Any) -> Any:
    return node.client("dynamodbstreams")


def test_the_life_of_a_stream(node: Server, client: Any, streams: Any) -> None:
    create_table(client, TABLE)
    increment(client, "before")
    switch(client, BOTH)
    first = Reader(streams, arn_of(client))
    for _ in range(3):
        increment(client, "a")
    client.delete_item(TableName=TABLE, Key={"pk": {"S": "a"}})
    with pytest.raises(ClientError, match="already has an enabled stream"):
        client.update_table(TableName=TABLE, StreamSpecification=BOTH)
    switch(client, {"StreamEnabled": False})
    increment(client, "between")
    switch(client, {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    increment(client, "b")
    second = Reader(streams, arn_of(client))
    assert [stream["StreamArn"] for stream in streams.list_streams(TableName=TABLE)["Streams"]] == [
        first.arn,
        second.arn,
    ]
    for reader in (first, second):
        reader.start()
        while reader.read():
            pass
    assert first.numbers == {"a": [1, 2, 3]}
    assert second.numbers == {"b": [1]}
    assert len(first.events) == 4
    assert first.ended == set(first.shards())
    description = streams.describe_stream(StreamArn=first.arn)["StreamDescription"]
    assert description["StreamStatus"] == "DISABLED"
    assert second.ended == set()


def test_what_is_kept_is_there_after_a_restart_and_when_the_table_is_gone(
    node: Server, client: Any, streams: Any
) -> None:
    create_table(client, TABLE)
    switch(client, BOTH)
    for key in range(KEYS):
        increment(client, f"k{key}")
    reader = Reader(streams, arn_of(client))
    reader.start()
    node.kill()
    node.start()
    eventually("the stream is read", lambda: reader.read() == 0 and len(reader.events) == KEYS)
    client.delete_table(TableName=TABLE)
    again = Reader(streams, reader.arn)
    eventually("its table is gone", lambda: TABLE not in client.list_tables()["TableNames"])
    again.start()
    eventually("the shards end", lambda: again.read() == 0 and again.ended == set(again.shards()))
    assert sorted(again.events) == sorted(reader.events)
    node.advance_clock(_DAY_MS)
    eventually("it is forgotten", lambda: streams.list_streams()["Streams"] == [])
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        streams.describe_stream(StreamArn=reader.arn)


def test_iterators_and_records_grow_old(node: Server, client: Any, streams: Any) -> None:
    create_table(client, TABLE, units=5)  # one partition
    switch(client, BOTH)
    increment(client, "a")
    reader = Reader(streams, arn_of(client))
    reader.start()
    shard = reader.shards()[0]
    node.advance_clock(_QUARTER_MS)
    with pytest.raises(ClientError, match="ExpiredIteratorException"):
        reader.read()
    reader.start()
    assert reader.read() == 1
    number = reader.sequences[shard][0]

    def trimmed() -> bool:
        with contextlib.suppress(ClientError):
            streams.get_shard_iterator(
                StreamArn=reader.arn, ShardId=shard, ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber=number
            )
            return False
        return True

    assert not trimmed()
    node.advance_clock(_DAY_MS)
    eventually("the record is trimmed", trimmed)
    increment(client, "a")
    reader.start()
    assert reader.read() == 1
    assert reader.numbers == {"a": [1, 2]}


def test_transactions_and_places_within_a_slot(node: Server, client: Any, streams: Any) -> None:
    create_table(client, TABLE, units=5)  # one partition: a transaction takes one slot
    switch(client, BOTH)
    increment(client, "k0")
    node.advance_clock(60_000)
    update = {
        "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
        "TableName": TABLE,
    }
    items = [{"Update": {"Key": {"pk": {"S": f"k{key}"}}, **update}} for key in range(5)]
    client.transact_write_items(TransactItems=items)
    reader = Reader(streams, arn_of(client))
    reader.start()
    assert reader.read() == 6
    assert reader.numbers == {"k0": [1, 2], **{f"k{key}": [1] for key in range(1, 5)}}
    shard = reader.shards()[0]
    sequences = reader.sequences[shard]
    assert sequences == sorted(set(sequences))

    def behind(kind: str, **more: Any) -> list[str]:
        place = {"StreamArn": reader.arn, "ShardId": shard, "ShardIteratorType": kind, **more}
        page = streams.get_records(ShardIterator=streams.get_shard_iterator(**place)["ShardIterator"])
        return [record["dynamodb"]["SequenceNumber"] for record in page["Records"]]

    for index, number in enumerate(sequences):
        assert behind("AT_SEQUENCE_NUMBER", SequenceNumber=number) == sequences[index:]
        assert behind("AFTER_SEQUENCE_NUMBER", SequenceNumber=number) == sequences[index + 1 :]
    assert behind("LATEST") == []
    between = node_time(client) - 30  # a minute lies between the two writes
    assert behind("AT_TIMESTAMP", Timestamp=between) == sequences[1:]
    assert behind("AT_TIMESTAMP", Timestamp=between - 3600) == sequences
    kinds: list[dict[str, Any]] = [
        {"ShardIteratorType": "LATEST"},
        {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": node_time(client) - 1e-3},
        {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": sequences[-1]},
    ]
    ends = [streams.get_shard_iterator(StreamArn=reader.arn, ShardId=shard, **kind) for kind in kinds]
    increment(client, "k0")
    assert [len(streams.get_records(ShardIterator=end["ShardIterator"])["Records"]) for end in ends] == [1, 1, 1]


def node_time(client: Any) -> float:
    """Wall time at the node, in epoch seconds: when a table that is made now says that it was made."""
    made: float = create_table(client, f"clock-{uuid.uuid4()}")["CreationDateTime"].timestamp()
    return made


# --- three nodes


class Writers(Clients):
    """Threads that increment counters of their own, through the shared endpoint, as default SDK clients."""

    def __init__(self, three: Cluster, count: int) -> None:
        self.acknowledged: dict[str, int] = {}
        self.errors: list[BaseException] = []
        self._client = three.client()
        keys = [[f"k{key}" for key in range(KEYS) if key % count == worker] for worker in range(count)]
        super().__init__([partial(self._work, mine) for mine in keys])

    def _work(self, keys: list[str]) -> None:
        try:
            while not self.over.is_set():
                for key in keys:
                    self.acknowledged[key] = increment(self._client, key)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.errors.append(error)

    @property
    def total(self) -> int:
        return sum(dict(self.acknowledged).values())


def until_written(writers: Writers, more: int) -> None:
    wanted = writers.total + more
    eventually("writes go on", lambda: bool(writers.errors) or writers.total >= wanted)
    assert not writers.errors, repr(writers.errors[0])


@pytest.fixture
def three() -> Iterator[Cluster]:
    """Of one test: its nodes are killed."""
    with cluster(3) as running:
        create_table(running.client(), TABLE)
        switch(running.client(), BOTH)
        yield running


def test_every_change_once_and_in_order_at_every_node_while_leaders_are_killed(three: Cluster) -> None:
    arn = arn_of(three.client())
    readers = [Reader(three.client("dynamodbstreams", endpoint_url=three.node_url(n)), arn) for n in range(3)]
    for reader in readers:
        reader.start()
    with Writers(three, 3) as writers:
        until_written(writers, 100)
        for _ in range(2):
            leaders = eventually(
                "there are leaders", lambda: [n for n in three.leaders(TABLE) if n is not None] or None
            )
            victim = leaders[0]
            three.kill(victim)
            until_written(writers, 60)
            for node in three.running():
                readers[node].read()
            three.start(victim)
            until_written(writers, 30)
    assert not writers.errors, repr(writers.errors[0])
    expected = {key: list(range(1, count + 1)) for key, count in writers.acknowledged.items()}
    for node, reader in enumerate(readers):
        eventually(f"node {node} tells all", lambda: reader.read() == 0 and len(reader.events) >= writers.total)  # noqa: B023
        assert reader.numbers == expected, f"node {node}"
        for numbers in reader.sequences.values():
            assert numbers == sorted(set(numbers))
    assert sorted(readers[0].events) == sorted(readers[1].events) == sorted(readers[2].events)
    assert len(set(readers[0].events)) == writers.total


HANDLER = """
import json, os

OUT = os.open(os.environ["OUT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def handle(records):
    lines = [
        [os.getpid(), record["dynamodb"]["Keys"]["pk"]["S"], int(record["dynamodb"]["NewImage"]["n"]["N"])]
        for record in records
    ]
    os.write(OUT, "".join(json.dumps(line) + "\\n" for line in lines).encode())
"""


def test_subscribers_share_the_shards_and_outlive_one_of_them(three: Cluster, tmp_path: Path) -> None:
    (tmp_path / "handling.py").write_text(HANDLER)
    out = tmp_path / "handled"
    out.touch()
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OUT": str(out), "PYTHONPATH": paths}
    command = [sys.executable, "-m", "gramme.runtime.cli", "streams", "subscribe", TABLE]
    command += ["--endpoint", three.endpoint_url, "--call", "handling:handle", "--from", "horizon", "--lease-s", "3"]
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(_process(command, environment)) for _ in range(2))
        writers = stack.enter_context(Writers(three, 2))
        eventually("both have leases", lambda: len(_owners(three)) == 2)
        eventually("both handle", lambda: {pid for pid, _, _ in _handled(out)} == {one.pid, two.pid})
        one.kill()
        until_written(writers, 50)
        eventually("all leases are the other's", lambda: len(_owners(three)) == 1)
        three.kill(1)  # a node too: consumers wait as SDKs do
        until_written(writers, 50)
        three.start(1)
        writers.__exit__()
        eventually("all is handled", lambda: len({line[1:] for line in _handled(out)}) >= writers.total)
        two.terminate()
        assert two.wait(30) == 0
        assert _owners(three) == {}
    # What is handled twice was handled by both; no change is handled before the ones in front of it were.
    first = list(dict.fromkeys(line[1:] for line in _handled(out)))
    for key, count in writers.acknowledged.items():
        assert [n for name, n in first if name == key] == list(range(1, count + 1))
    assert len(first) == writers.total


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def _handled(out: Path) -> list[tuple[int, str, int]]:
    return [tuple(json.loads(line)) for line in out.read_text().splitlines()]


def _owners(three: Cluster) -> dict[str, int]:
    try:
        rows = three.client().scan(TableName=f"{TABLE}.default.leases", ConsistentRead=True)["Items"]
    except ClientError:
        return {}
    owners = [row["owner"]["S"] for row in rows if "owner" in row]
    return {owner: owners.count(owner) for owner in owners}
