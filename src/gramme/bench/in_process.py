"""An embedded node inside the measuring process: every layer that a request passes, but no socket and no client.

Owns the node, its connections, and the requests of each measured operation. Rule: everything between the bytes that
arrive and the bytes that leave is the production code on its real ports (RocksDB, the log writer's process, uvloop), so
that work counted or sampled here is the work of a server; what a kernel does for a socket is left out, because it
depends on the client. Data: items of 900 bytes, and collections of ten of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from gramme.kernel.errors import GrammeError
from gramme.runtime.config import Settings
from gramme.runtime.endpoints import tables_handler
from gramme.runtime.http import HttpServer
from gramme.runtime.http_connection import HttpConnection
from gramme.runtime.server import NodeProcess

ITEMS: Final = 1_000
CONNECTIONS: Final = 16
_COLLECTION: Final = 10
_BATCH: Final = 25
_DATA: Final = "x" * 880
_TABLES: Final = {"items": ("pk",), "collections": ("pk", "sk")}

_encode: Final = msgspec.json.Encoder().encode


class _Pipe(asyncio.Transport):
    """A transport to nowhere: keeps the last answer and tells that it came."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: bytes | None = None
        self.told: asyncio.Future[None] | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answer = bytes(data)
        if self.told is not None and not self.told.done():
            self.told.set_result(None)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """It never was open."""


class Connection:
    """One client's connection."""

    def __init__(self, server: HttpServer) -> None:
        self._pipe = _Pipe()
        self._protocol = HttpConnection(server)
        self._protocol.connection_made(self._pipe)

    def send(self, request: bytes) -> None:
        """Hand `request` over, as if it had just been received."""
        self._pipe.answer = None
        self._protocol.data_received(request)

    async def answer(self) -> bytes:
        """The answer to what was sent last. Raises `GrammeError` if it is no success."""
        if self._pipe.answer is None:
            self._pipe.told = asyncio.get_running_loop().create_future()
            await self._pipe.told
            self._pipe.told = None
        answer = self._pipe.answer
        if answer is None or not answer.startswith(b"HTTP/1.1 200 "):
            raise GrammeError(f"refused: {answer!r}")
        return answer


class EmbeddedNode:
    """The node and its server. Make it with `embedded_node`."""

    def __init__(self, process: NodeProcess, server: HttpServer) -> None:
        self.process = process
        self._server = server

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self._server)

    async def fill(self) -> None:
        """Make the tables that the operations of `requests` need."""
        connection = self.connect()
        for table, names in _TABLES.items():
            connection.send(request("CreateTable", _create(table, names)))
            await connection.answer()
            for first in range(0, ITEMS, _BATCH):
                puts = [{"PutRequest": {"Item": _item(names, number)}} for number in range(first, first + _BATCH)]
                connection.send(request("BatchWriteItem", {"RequestItems": {table: puts}}))
                await connection.answer()


@asynccontextmanager
async def embedded_node(directory: Path) -> AsyncIterator[EmbeddedNode]:
    """A node with its data in `directory`, which must not hold a node's yet, in this process and on this loop."""
    process = NodeProcess(Settings(data_dir=str(directory)))
    process.open_disk()
    loop = asyncio.get_running_loop()
    await process.start(loop)
    try:
        while not process.node.ready:
            await asyncio.sleep(0.001)
        yield EmbeddedNode(process, HttpServer(tables_handler(process)))
    finally:
        await process.stop()


# --- requests


def request(operation: str, body: dict[str, Any]) -> bytes:
    """A whole request, with the headers that a client's library sends."""
    encoded = _encode(body)
    head = (
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: application/x-amz-json-1.0\r\n"
        f"X-Amz-Target: DynamoDB_20120810.{operation}\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=bench/20261120/us-east-1/dynamodb/aws4_request\r\n"
        f"Content-Length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


def _key(number: int) -> dict[str, Any]:
    return {"pk": {"S": f"key-{number % ITEMS:06}"}}


def _item(names: Sequence[str], number: int) -> dict[str, Any]:
    if len(names) == 1:
        return {**_key(number), "data": {"S": _DATA}}
    return {**_key(number // _COLLECTION), "sk": {"N": str(number % _COLLECTION)}, "data": {"S": _DATA}}


def _create(table: str, names: Sequence[str]) -> dict[str, Any]:
    kinds = dict(zip(names, ("HASH", "RANGE"), strict=False))
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in kinds.items()],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "SN"[name == "sk"]} for name in names],
    }


def _get(number: int, consistent: bool) -> bytes:
    body: dict[str, Any] = {"TableName": "items", "Key": _key(number)}
    return request("GetItem", {**body, "ConsistentRead": True} if consistent else body)


def _query(number: int) -> bytes:
    body = {
        "TableName": "collections",
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": _key(number % (ITEMS // _COLLECTION))["pk"]},
        "ConsistentRead": True,
    }
    return request("Query", body)


def _batch_get(number: int) -> bytes:
    keys = [_key(7 * number + at) for at in range(_BATCH)]
    return request("BatchGetItem", {"RequestItems": {"items": {"Keys": keys, "ConsistentRead": True}}})


def _written(number: int) -> dict[str, Any]:
    """The key that write `number` goes to: each is written twice in `ITEMS` writes, so that none changes nothing."""
    return _key(number % (ITEMS // 2))


def _put(number: int) -> bytes:
    item = {**_written(number), "data": {"S": chr(97 + number % 26) * len(_DATA)}}
    return request("PutItem", {"TableName": "items", "Item": item})


def _update(number: int) -> bytes:
    body = {
        "TableName": "items",
        "Key": _written(number),
        "UpdateExpression": "SET f = :v",
        "ExpressionAttributeValues": {":v": {"N": str(number)}},
    }
    return request("UpdateItem", body)


OPERATIONS: Final[dict[str, Callable[[int], bytes]]] = {
    "GetItem, strong": lambda number: _get(number, consistent=True),
    "GetItem, eventual": lambda number: _get(number, consistent=False),
    "Query of 10 items": _query,
    "Query, of items read lately": lambda number: _query(number % 10),
    "BatchGetItem of 25": _batch_get,
    "PutItem": _put,
    "UpdateItem": _update,
}
"""The measured operations, in the order in which they are told: each makes its request with a number."""
