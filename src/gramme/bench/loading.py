"""A table that is made and filled, at any endpoint, in one way.

Batches of 25 puts on several connections (`generator`, closed loop), prepared a chunk at a time; what an endpoint
leaves unprocessed is an error here.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from gramme.bench import generator
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.errors import CannotMeasure
from gramme.bench.prepared import Preparation, Prepared
from gramme.client.endpoint import Endpoint
from gramme.client.errors import ServiceError
from gramme.client.signing import Credentials

ON_DEMAND: Final = {"BillingMode": "PAY_PER_REQUEST"}
"""Several partitions, whose leaders are spread over the nodes of a cluster."""

ONE_PARTITION: Final = {"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}
"""So that one node leads all of it. (Gramme does not refuse what exceeds the units unless it is told to.)"""

CREDENTIALS: Final = Credentials("bench", "bench")
_BATCH: Final = 25
_CHUNK: Final = 50_000
_CONNECTIONS: Final = 8
_LIMIT_S: Final = 60.0
_UNPROCESSED: Final = b"PutRequest"


def make(url: str, table: str, shape: Shape, settings: Mapping[str, Any] = ON_DEMAND) -> TableRequests:
    """A new table with all items of `shape`; one of that name is deleted first. Returns its requests."""
    requests = TableRequests(url, table, shape)
    create(url, requests.definition(settings))
    fill(url, requests, range(shape.records))
    return requests


def create(url: str, definition: dict[str, Any]) -> None:
    """Returns once the table is active. Raises ServiceError, Unreachable, CannotMeasure."""
    endpoint = Endpoint(url, credentials=CREDENTIALS)
    name = definition["TableName"]
    if _status(endpoint, name):
        endpoint.call("DeleteTable", {"TableName": name})
        _await(endpoint, name, None)
    endpoint.call("CreateTable", definition)
    _await(endpoint, name, "ACTIVE")


def fill(url: str, requests: TableRequests, numbers: range) -> None:
    """Put the items of these numbers; the next chunk is prepared while one is sent. Raises CannotMeasure if one is
    refused."""
    send = functools.partial(generator.run, url, once=True, connections=_CONNECTIONS, unwanted=_UNPROCESSED)
    with ThreadPoolExecutor(1) as sender:
        sent: Future[generator.Found] | None = None
        for first in range(numbers.start, numbers.stop, _CHUNK):
            chunk = _batches(requests, range(first, min(first + _CHUNK, numbers.stop)))
            _check(sent, url, requests.table)
            sent = sender.submit(send, chunk)
        _check(sent, url, requests.table)


def _batches(requests: TableRequests, numbers: range) -> Prepared:
    preparation = Preparation()
    for start in range(numbers.start, numbers.stop, _BATCH):
        batch = range(start, min(start + _BATCH, numbers.stop))
        preparation.send(preparation.add("batch", start, functools.partial(requests.batch, batch)))
    return preparation.prepared()


def _check(sent: Future[generator.Found] | None, url: str, table: str) -> None:
    if sent is not None and (failed := sent.result().all.failed):
        raise CannotMeasure(f"filling {table} at {url}: {failed} batches were refused")


def _status(endpoint: Endpoint, table: str) -> str | None:
    try:
        status: str = endpoint.call("DescribeTable", {"TableName": table})["Table"]["TableStatus"]
    except ServiceError as error:
        if error.name == "ResourceNotFoundException":
            return None
        raise
    return status


def _await(endpoint: Endpoint, table: str, wanted: str | None) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while (status := _status(endpoint, table)) != wanted:
        if time.monotonic() > deadline:
            raise CannotMeasure(f"table {table} at {endpoint} is {status}, not {wanted}, after {_LIMIT_S:.0f} s")
        time.sleep(0.05)
