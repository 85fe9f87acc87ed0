# ruff: noqa: E501
"""How long large requests hold the event loop of a real node: `python -m tests.runtime.loop_gaps` prints the longest gaps.

A heartbeat in the node's own loop notes the work done between its beats, while another process sends requests.
The node keeps its data in memory or, with `--disk`, in RocksDB and the log. No assertion: figures
belong into docs/benchmarks.md, the bound of about 15 ms is DESIGN.md §10.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

from gramme.api.dynamodb.operations import STREAM_OPERATIONS
from gramme.runtime import cli
from gramme.runtime.server import NodeProcess
from gramme.testing.processes import free_port

_BEAT_S = 0.0005
_ROUNDS = 3


class Heartbeat:
    """The most processor time that the loop spent without coming round, since the last look.

    Processor time of the loop's thread, because on a busy machine the wall clock measures the neighbours.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(_BEAT_S)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            last = now

    def take(self) -> float:
        longest, self.longest = self.longest, 0.0
        return longest * 1000


def _call(port: int, operation: str, body: bytes) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    prefix = "DynamoDBStreams_20120810" if operation in STREAM_OPERATIONS else "DynamoDB_20120810"
    headers = {"X-Amz-Target": f"{prefix}.{operation}", "Content-Type": "application/x-amz-json-1.0"}
    connection.request("POST", "/", body, headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, answer


def _item(i: int, **attributes: Any) -> dict[str, Any]:
    return {"pk": {"S": "p"}, "sk": {"N": str(i)}, **attributes}


def _puts(items: list[dict[str, Any]], table: str = "gaps") -> dict[str, Any]:
    return {"RequestItems": {table: [{"PutRequest": {"Item": item}} for item in items]}}


def _transaction(operation: str, *actions: dict[str, Any]) -> dict[str, Any]:
    return {"TransactItems": [{operation: {"TableName": "gaps", **action}} for action in actions]}


def _spread(i: int, **attributes: Any) -> dict[str, Any]:
    """An item with a partition key of its own, so that a transaction has several partitions."""
    return {"pk": {"S": f"t{i}"}, "sk": {"N": "1"}, **attributes}


def _transactions() -> list[tuple[str, str, dict[str, Any]]]:
    some = {f"a{j}": {"N": str(j)} for j in range(2_000)}
    long = "SET " + ", ".join(f"attribute{j} = :v" for j in range(200))
    large = [{"Item": item} for i in range(10) for item in [_item(i, x={"S": "x" * 390_000})]]
    return [
        ("transaction, 10 items of 390 KB, one partition", "TransactWriteItems", _transaction("Put", *large)),
        ("transaction, 10 items of 390 KB", "TransactWriteItems", _transaction("Put", *({"Item": _spread(i, x={"S": "x" * 390_000})} for i in range(10)))),
        ("transaction, 100 items of 2,000 numbers", "TransactWriteItems", _transaction("Put", *({"Item": _spread(i, **some)} for i in range(100)))),
        ("transaction, 100 items of 2,000 numbers, one partition", "TransactWriteItems", _transaction("Put", *({"Item": _item(100 + i, **some)} for i in range(100)))),
        ("transaction, 100 updates of 4 KB of text", "TransactWriteItems", _transaction("Update", *({"Key": _spread(1000 + i), "UpdateExpression": f"{long}, b{i} = :v", "ExpressionAttributeValues": {":v": {"N": "1"}}} for i in range(100)))),
        ("transaction, 100 updates of 4 KB of text, one partition", "TransactWriteItems", _transaction("Update", *({"Key": _item(1000 + i), "UpdateExpression": f"{long}, b{i} = :v", "ExpressionAttributeValues": {":v": {"N": "1"}}} for i in range(100)))),
        ("read transaction, 10 items of 390 KB", "TransactGetItems", _transaction("Get", *({"Key": _spread(i)} for i in range(10)))),
        ("read transaction, 100 items of 2,000 numbers, projected", "TransactGetItems", _transaction("Get", *({"Key": _item(100 + i), "ProjectionExpression": "a7"} for i in range(100)))),
    ]  # fmt: skip


def _records(port: int, behind: int) -> dict[str, Any]:
    """A GetRecords that begins `behind` records after the oldest of the table `streamed`, which has one shard."""
    stream = json.loads(_call(port, "ListStreams", b'{"TableName":"streamed"}')[1])["Streams"][0]["StreamArn"]
    described = json.loads(_call(port, "DescribeStream", json.dumps({"StreamArn": stream}).encode())[1])
    shard = described["StreamDescription"]["Shards"][0]["ShardId"]
    wanted = {"StreamArn": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
    token = json.loads(_call(port, "GetShardIterator", json.dumps(wanted).encode())[1])["ShardIterator"]
    while behind:
        page = json.loads(_call(port, "GetRecords", json.dumps({"ShardIterator": token, "Limit": behind}).encode())[1])
        behind -= len(page["Records"])
        token = page["NextShardIterator"]
    return {"ShardIterator": token}


def _requests() -> list[tuple[str, str, dict[str, Any] | Callable[[int], dict[str, Any]]]]:
    """(what it is, operation, body or what makes it when its turn has come), in the order of sending."""
    many = {f"a{j}": {"N": str(j)} for j in range(20_000)}
    nested = {f"a{j}": {"S": "x"} for j in range(30_000)}
    small = [
        ("load", "BatchWriteItem", _puts([_item(1000 + 25 * n + i, x={"S": "y" * 40}) for i in range(25)]))
        for n in range(600)
    ]
    deep: dict[str, Any] = {"NULL": True}
    for _ in range(25):
        deep = {"L": [deep, deep]} if len(json.dumps(deep)) < 100_000 else {"L": [deep]}
    return [
        ("25 items of 390 KB, one string each", "BatchWriteItem", _puts([_item(i, x={"S": "x" * 390_000}) for i in range(25)])),
        ("25 items of 20,000 numbers", "BatchWriteItem", _puts([_item(30 + i, **many) for i in range(25)])),
        ("one item of 30,000 attributes", "PutItem", {"TableName": "gaps", "Item": _item(60, **nested)}),
        ("one item, one map of 30,000", "PutItem", {"TableName": "gaps", "Item": _item(61, m={"M": nested})}),
        ("one item of nested lists", "PutItem", {"TableName": "gaps", "Item": _item(62, d=deep)}),
        ("read 25 items of 390 KB", "BatchGetItem", {"RequestItems": {"gaps": {"Keys": [_item(i) for i in range(25)]}}}),
        ("read 25 of 20,000 numbers, projected", "BatchGetItem", {"RequestItems": {"gaps": {"Keys": [_item(30 + i) for i in range(25)], "ProjectionExpression": "a7"}}}),
        *_transactions(),
        *small,
        ("scan 1 MB of small rows", "Query", {"TableName": "gaps", "KeyConditionExpression": "pk = :p AND sk > :n", "ExpressionAttributeValues": {":p": {"S": "p"}, ":n": {"N": "999"}}}),
        ("scan 1 MB of small rows, filtered", "Query", {"TableName": "gaps", "KeyConditionExpression": "pk = :p AND sk > :n", "FilterExpression": "contains(x, :z)", "ExpressionAttributeValues": {":p": {"S": "p"}, ":n": {"N": "999"}, ":z": {"S": "z"}}}),
        ("scan of large items, filtered", "Scan", {"TableName": "gaps", "FilterExpression": "a7 = :z", "ExpressionAttributeValues": {":z": {"S": "z"}}}),
        ("load", "PutItem", {"TableName": "streamed", "Item": _item(0, **nested)}),
        ("load", "PutItem", {"TableName": "streamed", "Item": _item(0, b={"BOOL": True}, **nested)}),
        *(("load", "BatchWriteItem", _puts([_item(1 + i, x={"S": "x" * 390_000})], "streamed")) for i in range(3)),
        *(("load", "BatchWriteItem", _puts([_item(100 + 25 * n + i, x={"S": "y" * 40}) for i in range(25)], "streamed")) for n in range(100)),
        ("stream records of 30,000 attributes", "GetRecords", lambda port: _records(port, 0)),
        ("stream records of 390 KB", "GetRecords", lambda port: _records(port, 2)),
        ("1,000 small stream records", "GetRecords", lambda port: _records(port, 5)),
        ("16 MB of a flat list", "PutItem", {"TableName": "gaps", "Item": [{"NULL": True}] * 1_000_000}),
    ]  # fmt: skip


def _client(port: int, pipe: Any) -> None:
    table = {
        "TableName": "gaps", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"}
        ],
    }  # fmt: skip
    _call(port, "CreateTable", json.dumps(table).encode())
    one_shard = {
        **table, "TableName": "streamed", "BillingMode": "PROVISIONED",
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    }  # fmt: skip
    _call(port, "CreateTable", json.dumps(one_shard).encode())
    for what, operation, made in _requests():
        body = json.dumps(made(port) if callable(made) else made).encode()
        time.sleep(0 if what == "load" else 0.2)
        pipe.send(None)
        pipe.recv()
        for _ in range(1 if what == "load" else _ROUNDS):
            started = time.perf_counter()
            status, answer = _call(port, operation, body)
            took = time.perf_counter() - started
        if status != 200:
            what += f" {answer[:200]!r}"
        pipe.send((what, status, len(body), len(answer), took))
        pipe.recv()
    pipe.send("done")


async def _serve(process: NodeProcess, pipe: Any) -> None:
    loop = asyncio.get_running_loop()
    heartbeat = Heartbeat()
    beating = loop.create_task(heartbeat.run())
    while (message := await loop.run_in_executor(None, pipe.recv)) != "done":
        if message is not None and message[0] != "load":
            what, status, sent, received, took = message
            print(
                f"{heartbeat.take():7.1f} ms  {what} (HTTP {status}, {sent / 1e6:.1f} MB in, {received / 1e6:.1f} MB "
                f"out, {took * 1000:.0f} ms)",
                flush=True,
            )
        heartbeat.take()
        pipe.send(None)
    beating.cancel()
    assert process._stopping is not None
    process._stopping.set()


def main() -> None:
    """Run everything once."""
    port = free_port((0, 100, 200, 300))
    with tempfile.TemporaryDirectory() as directory:
        place: dict[str, Any] = {"in_memory": True} if "--disk" not in sys.argv else {"data_dir": directory}
        process = NodeProcess(cli._dev_settings({"tables_port": port, **place}))
        process.open_disk()
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        client = multiprocessing.get_context("spawn").Process(target=_client, args=(port, theirs))

        async def run() -> None:
            loop = asyncio.get_running_loop()
            running = loop.create_task(process.run())
            while not hasattr(process, "node") or not process.node.ready:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            client.start()
            await _serve(process, ours)
            await running

        import uvloop

        print(
            f"longest gaps of the loop, {'RocksDB and log' if '--disk' in sys.argv else 'in memory'}, of {os.cpu_count()} CPUs"
        )
        uvloop.run(run())
        client.join()


if __name__ == "__main__":
    main()
