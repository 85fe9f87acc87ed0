"""Throughput and latency of GetItem and PutItem, on the embedded node and on a cluster of three.

Rule: machines are noisy, so every scenario is measured several times, all scenarios of a round in turn, and the report
shows the median and the spread. Sources: DESIGN.md §10; issue 2, "How it is known to be right".
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import wrk
from bench.wrk import Load
from gramme.testing import cluster, server
from gramme.testing.processes import free_port

CEILING: Final = "ceiling: a bare uvloop and httptools server"
_WARM_UP_S: Final = 2.0
_MANY: Final = "many"  # on demand: four partitions, whose leaders are spread
_ONE: Final = "one"  # a single partition, so that one node leads all of it
Progress = Callable[[str], None]


class Scenario(msgspec.Struct, frozen=True):
    """One kind of load on one endpoint."""

    name: str
    url: str
    lua: str


class Measured(msgspec.Struct, frozen=True):
    """A scenario's name and what each round found."""

    name: str
    loads: list[Load]


def measure(rounds: int, seconds: float, directory: Path, progress: Progress) -> list[Measured]:
    """All scenarios, `rounds` times `seconds` each. The embedded node and the cluster never run at the same time."""
    found: dict[str, list[Load]] = {}
    for setup in (_ceiling, _embedded, _cluster):
        with setup(directory) as scenarios:
            for scenario in scenarios:
                wrk.run(scenario.url, scenario.lua, _WARM_UP_S)
            for round_ in range(rounds):
                for scenario in scenarios:
                    load = wrk.run(scenario.url, scenario.lua, seconds)
                    found.setdefault(scenario.name, []).append(load)
                    progress(
                        f"{scenario.name}, round {round_ + 1}: {load.per_s:,.0f}/s, p99 {load.p99_us / 1e3:.2f} ms"
                    )
                    if load.failed:
                        raise RuntimeError(f"{scenario.name}: {load.failed} requests failed")
    return [Measured(name, loads) for name, loads in found.items()]


@contextlib.contextmanager
def _ceiling(_directory: Path) -> Iterator[list[Scenario]]:
    port = free_port((0,))
    command = [sys.executable, "-m", "bench.ceiling", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        yield [Scenario(CEILING, f"http://127.0.0.1:{port}/", _get(_ONE))]
        process.stdin.close()
        process.terminate()


@contextlib.contextmanager
def _embedded(directory: Path) -> Iterator[list[Scenario]]:
    with server(in_memory=False, data_dir=directory / "embedded", test_controls=False) as node:
        fill(node.client(), node.port, _MANY, {"BillingMode": "PAY_PER_REQUEST"})
        url = node.endpoint_url + "/"
        yield [
            Scenario("embedded: GetItem", url, _get(_MANY)),
            Scenario("embedded: PutItem", url, wrk.script("PutItem", _MANY)),
        ]


@contextlib.contextmanager
def _cluster(directory: Path) -> Iterator[list[Scenario]]:
    with ExitStack() as stack:
        three = stack.enter_context(cluster(3, directory=directory / "cluster", test_controls=False))
        fill(three.client(), three.port, _MANY, {"BillingMode": "PAY_PER_REQUEST"})
        provisioned = {"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}
        fill(three.client(), three.port, _ONE, provisioned)
        leader = three.leaders(_ONE)[0]
        assert leader is not None, "a table whose items were just written has a leader"
        shared, at_leader = three.endpoint_url + "/", three.node_url(leader) + "/"
        yield [
            Scenario("three nodes, shared endpoint: GetItem, strong", shared, _get(_MANY)),
            Scenario("three nodes, shared endpoint: GetItem, eventual", shared, _get(_MANY, consistent=False)),
            Scenario("three nodes, shared endpoint: PutItem", shared, wrk.script("PutItem", _MANY)),
            Scenario("three nodes, at the leader: GetItem, strong", at_leader, _get(_ONE)),
            Scenario("three nodes, at the leader: PutItem", at_leader, wrk.script("PutItem", _ONE)),
        ]


def _get(table: str, *, consistent: bool = True) -> str:
    return wrk.script("GetItem", table, consistent=consistent)


def fill(client: Any, port: int, table: str, billing: dict[str, Any]) -> None:
    """Create `table` and put all items into it."""
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        **billing,
    )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"X-Amz-Target": "DynamoDB_20120810.BatchWriteItem", "Content-Type": "application/x-amz-json-1.0"}
    with contextlib.closing(connection):
        for first in range(0, wrk.ITEMS, 25):
            puts = [{"PutRequest": {"Item": wrk.item(number)}} for number in range(first, first + 25)]
            connection.request("POST", "/", json.dumps({"RequestItems": {table: puts}}), headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or json.loads(body)["UnprocessedItems"]:
                raise RuntimeError(f"filling {table}: {answer.status} {body[:500]!r}")
