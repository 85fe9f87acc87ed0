"""BatchWriteItem: up to 25 puts and deletes of any tables, each on its own. Source: API reference, BatchWriteItem.

Rule: a write that was not applied, or whose outcome is unknown, comes back as UnprocessedItems (sending a put or delete
again is harmless); the call fails only if nothing at all was done, and never because a transaction holds an item.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call, TableGone, is_repeated
from gramme.api.dynamodb.capacity import Usage, collection
from gramme.api.dynamodb.errors import collection_full, validation
from gramme.api.dynamodb.large import Budget, free
from gramme.api.dynamodb.models import WRITE_REQUEST
from gramme.api.dynamodb.shapes import ListShape, MapShape, echo
from gramme.api.dynamodb.table_lookup import with_fresh_tables
from gramme.api.tasks import Gather, Waiter
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.indexes import check_index_keys
from gramme.tables.item import encode_item
from gramme.tables.requests import (
    CollectionFull,
    DeleteItem,
    Failed,
    FailureKind,
    Item,
    PutItem,
    Refused,
    Reply,
    WriteRequest,
    Written,
)
from gramme.tables.schema import InvalidItem, check_item_size, item_key, request_key
from gramme.tables.values import TWO_TYPES, normalise_item

MAX_ITEMS: Final = 25
_COST_DIVISOR: Final = 4  # encoding and sending an item cost less than decoding its JSON (`large.Budget`)

# An outcome that nobody knows comes first: every other error would say that nothing was applied.
_GRAVITY: Final = (
    FailureKind.UNKNOWN,
    FailureKind.INTERNAL,
    FailureKind.NO_QUORUM,
    FailureKind.THROTTLED,
    FailureKind.NO_TABLE,
)

_SHOWN: Final = MapShape(ListShape(WRITE_REQUEST), "")

_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Write:
    """One put or delete: as the client sent it (`element`), and as the partition gets it."""

    name: str
    element: dict[str, Any]
    request: WriteRequest
    size: int


def start(call: Call) -> None:
    """Begin BatchWriteItem."""
    wanted = call.body["RequestItems"]
    if not wanted:
        raise validation("The requestItems parameter is required for BatchWriteItem")
    if any(not 1 <= len(elements) <= MAX_ITEMS for elements in wanted.values()):
        raise validation(
            f"1 validation error detected: Value '{echo(_SHOWN.show(wanted))}' at 'requestItems' failed to satisfy "
            "constraint: Map value must satisfy constraint: [Member must have length less than or equal to "
            f"{MAX_ITEMS}, Member must have length greater than or equal to 1]"
        )
    if sum(map(len, wanted.values())) > MAX_ITEMS:
        raise validation("Too many items requested for the BatchWriteItem call")
    sizes = {name: [_normalise(element) for element in elements] for name, elements in wanted.items()}
    call.parsed = sizes
    call.run(with_fresh_tables(call, list(wanted), _run))


def _normalise(element: dict[str, Any]) -> int:
    """Normalise one element in place; returns the size of its item."""
    put, delete = element.get("PutRequest"), element.get("DeleteRequest")
    if (put is None) == (delete is None):
        raise validation(TWO_TYPES)
    if put is None:
        assert delete is not None
        return normalise_item(delete["Key"])[1]
    size = normalise_item(put["Item"])[1]
    check_item_size(size)
    return size


async def _run(call: Call, tables: dict[str, TableDescriptor]) -> None:
    wanted = call.body["RequestItems"]
    budget = Budget(call.env)
    writes: list[_Write] = []
    for name in wanted:
        writes += await _writes_of(call, name, tables[name], budget)
    replies: Gather[Reply] = Gather(len(writes))
    for index, write in enumerate(writes):
        _send(call, tables[write.name], write, index, replies.slot(index))
        await budget.spend(write.size // _COST_DIVISOR)
    _answer(call, writes, await replies, tables)
    writes.clear()
    for elements in wanted.values():
        await free(elements, budget)


async def _writes_of(call: Call, name: str, table: TableDescriptor, budget: Budget) -> list[_Write]:
    writes: list[_Write] = []
    seen: dict[bytes, None] = {}
    for element, size in zip(call.body["RequestItems"][name], call.parsed[name], strict=True):
        write = _Write(name, element, _request(table, element, size), size)
        if write.request.key in seen:
            raise validation("Provided list of item keys contains duplicates")
        seen[write.request.key] = None
        writes.append(write)
        if table.indexes and "PutRequest" in element:
            await _check_index_keys(call, table, element["PutRequest"]["Item"])
        await budget.spend(size // _COST_DIVISOR)
    return writes


async def _check_index_keys(call: Call, table: TableDescriptor, item: Item) -> None:
    """Refuse the batch whole for a wrong key of an index, which the partition would find too late. The cached
    descriptor may know an index that is gone: then the catalog's word counts."""
    try:
        check_index_keys(table.indexes, item)
    except InvalidItem:
        waiter: Waiter[TableDescriptor | Failed] = Waiter()
        call.env.backend.lookup(table.name, call.deadline, waiter)
        newest = await waiter
        if isinstance(newest, Failed):
            raise call.failure(newest) from None
        check_index_keys(newest.indexes, item)


def _request(table: TableDescriptor, element: dict[str, Any], size: int) -> WriteRequest:
    put = element.get("PutRequest")
    if put is None:
        return DeleteItem(request_key(table.key, element["DeleteRequest"]["Key"]))
    key = item_key(table.key, put["Item"])
    return PutItem(key, encode_item(put["Item"], table.key.names), size)


def _send(call: Call, table: TableDescriptor, write: _Write, index: int, on_reply: Callable[[Reply], None]) -> None:
    request = write.request
    content = request.item if isinstance(request, PutItem) else request.key
    command_id = call.command_id(content, index + 1)
    repeated = is_repeated(call.request.headers)
    call.env.backend.submit(table, request.key, request, command_id, call.deadline, on_reply, repeated)


def _answer(call: Call, writes: list[_Write], replies: list[Reply], tables: dict[str, TableDescriptor]) -> None:
    unprocessed: dict[str, list[dict[str, Any]]] = {}
    usages = {name: Usage(name, table) for name, table in tables.items()}
    sizes: dict[tuple[str, str], dict[str, Any]] = {}  # the newest of each collection, by table and collection
    undone: list[tuple[Reply, TableDescriptor]] = []
    for write, reply in zip(writes, replies, strict=True):
        if isinstance(reply, Written):
            usages[write.name].add_write(reply)
            if reply.collection_bytes is not None:
                _note_collection(sizes, write, tables[write.name], reply.collection_bytes)
        else:
            undone.append((reply, tables[write.name]))
            unprocessed.setdefault(write.name, []).append(write.element)
    if len(undone) == len(writes):
        _fail(call, undone)
    members = Usage.members(call.body.get("ReturnConsumedCapacity"), usages.values())
    if sizes and call.body.get("ReturnItemCollectionMetrics") == "SIZE":
        metrics: dict[str, list[dict[str, Any]]] = {}
        for (name, _), size in sizes.items():
            metrics.setdefault(name, []).append(size)
        members += b',"ItemCollectionMetrics":' + _encode(metrics)
    call.answer([b'{"UnprocessedItems":', _encode(unprocessed), members, b"}"])


def _fail(call: Call, undone: list[tuple[Reply, TableDescriptor]]) -> None:
    """Of a batch of which nothing was done for sure: raise its gravest error, if there is one. Raises ApiError,
    TableGone."""
    failures = [(reply, table) for reply, table in undone if isinstance(reply, Failed)]
    if failures:
        reply, table = min(failures, key=lambda failure: _GRAVITY.index(failure[0].kind))
        raise TableGone if reply.kind is FailureKind.NO_TABLE else call.failure(reply, table)
    for other, _ in undone:
        if isinstance(other, Refused):
            raise validation(other.message)
        if isinstance(other, CollectionFull):
            raise collection_full()


def _note_collection(
    sizes: dict[tuple[str, str], dict[str, Any]], write: _Write, table: TableDescriptor, size_bytes: int
) -> None:
    put = write.element.get("PutRequest")
    attributes = write.element["DeleteRequest"]["Key"] if put is None else put["Item"]
    metrics = collection(table, attributes, size_bytes)
    sizes[write.name, str(attributes[table.key.hash_name])] = metrics
