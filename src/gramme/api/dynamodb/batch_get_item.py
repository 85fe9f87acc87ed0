"""BatchGetItem: up to 100 keys of any tables. Source: API reference, BatchGetItem.

Rule: what cannot be read by the deadline, or does not fit into 16 MB (1 MB from any one partition), comes back as
UnprocessedKeys; the call fails only if nothing at all was read. Reads go out in windows, so that the 16 MB bound holds
without reading far beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gramme.api.dynamodb.call import Call, TableGone
from gramme.api.dynamodb.capacity import Usage, read_halves
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Prepared, Rules, prepare
from gramme.api.dynamodb.large import Budget
from gramme.api.dynamodb.legacy import with_projection
from gramme.api.dynamodb.table_lookup import with_fresh_tables
from gramme.api.tasks import Gather
from gramme.kernel.ids import GroupId
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.item import encode_attributes
from gramme.tables.requests import Failed, FailureKind, Found, GetItem, Reply
from gramme.tables.rows import project_row
from gramme.tables.schema import request_key
from gramme.tables.values import normalise_item

MAX_KEYS: Final = 100
MAX_BYTES: Final = 16 << 20
MAX_PARTITION_BYTES: Final = 1 << 20
_WINDOW: Final = 25

_RULES: Final = Rules(("ProjectionExpression",), ("AttributesToGet",))

_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Read:
    """One key to read, and where its answer goes."""

    name: str  # of the table as the client wrote it
    attributes: dict[str, Any]
    key: bytes
    consistent: bool


@dataclass(slots=True)
class _Batch:
    """The answer as it grows."""

    responses: dict[str, list[bytes]]
    usages: dict[str, Usage]
    unprocessed: dict[str, list[dict[str, Any]]]
    size: int = 0
    by_partition: dict[GroupId, int] = field(default_factory=dict)  # bytes read
    read: int = 0
    failure: tuple[Failed, TableDescriptor] | None = None


def start(call: Call) -> None:
    """Begin BatchGetItem."""
    wanted = call.body["RequestItems"]
    if not wanted:
        raise validation("The requestItems parameter is required for BatchGetItem")
    total = 0
    for name, entry in wanted.items():
        total += len(entry["Keys"])
        if len(entry["Keys"]) > MAX_KEYS:
            raise validation(
                f"1 validation error detected: Value at 'RequestItems.{name}.member.Keys' failed to satisfy "
                f"constraint: Member must have length less than or equal to {MAX_KEYS}"
            )
    if total > MAX_KEYS:
        raise validation("Too many items requested for the BatchGetItem call")
    prepared: dict[str, Prepared | None] = {}
    for name, entry in wanted.items():
        expressions = prepare(entry, _RULES)
        for key in entry["Keys"]:
            normalise_item(key)
        prepared[name] = with_projection(entry, expressions)
    call.parsed = prepared
    call.run(with_fresh_tables(call, list(wanted), _run))


async def _run(call: Call, tables: dict[str, TableDescriptor]) -> None:
    wanted = call.body["RequestItems"]
    reads = [read for name, entry in wanted.items() for read in _reads_of(name, entry, tables[name])]
    batch = _Batch({name: [] for name in wanted}, {name: Usage(name, tables[name]) for name in wanted}, {})
    budget = Budget(call.env)
    for at in range(0, len(reads), _WINDOW):
        window = reads[at : at + _WINDOW]
        if batch.size >= MAX_BYTES:
            for read in window:
                batch.unprocessed.setdefault(read.name, []).append(read.attributes)
            continue
        for read, reply in zip(window, await _send(call, tables, window), strict=True):
            _take(call, batch, read, reply)
            if type(reply) is Found and budget.spent(reply.size):
                await call.env.breathe()
    if batch.failure is not None and not batch.read:
        raise call.failure(*batch.failure)
    _answer(call, batch)


def _reads_of(name: str, entry: dict[str, Any], table: TableDescriptor) -> list[_Read]:
    consistent = bool(entry.get("ConsistentRead"))
    reads: list[_Read] = []
    seen: dict[bytes, None] = {}
    for attributes in entry["Keys"]:
        key = request_key(table.key, attributes)
        if key in seen:
            raise validation("Provided list of item keys contains duplicates")
        seen[key] = None
        reads.append(_Read(name, attributes, key, consistent))
    return reads


async def _send(call: Call, tables: dict[str, TableDescriptor], window: list[_Read]) -> list[Reply]:
    backend = call.env.backend
    requests = [GetItem(read.key, read.consistent) for read in window]
    here = [
        backend.read_here(tables[read.name], read.key, request) for read, request in zip(window, requests, strict=True)
    ]
    replies = [reply for reply in here if reply is not None]
    if len(replies) == len(window):
        return replies
    answers: Gather[Reply] = Gather(len(window) - len(replies))
    elsewhere = [at for at, reply in enumerate(here) if reply is None]
    for slot, at in enumerate(elsewhere):
        read = window[at]
        backend.submit(tables[read.name], read.key, requests[at], None, call.deadline, answers.slot(slot))
    come = iter(await answers)
    return [next(come) if reply is None else reply for reply in here]


def _take(call: Call, batch: _Batch, read: _Read, reply: Reply) -> None:
    if isinstance(reply, Failed):
        if reply.kind is FailureKind.NO_TABLE:
            raise TableGone
        batch.failure = reply, batch.usages[read.name].table
        batch.unprocessed.setdefault(read.name, []).append(read.attributes)
        return
    assert isinstance(reply, Found)
    place = batch.usages[read.name].table.partition_of(read.key).group
    of_partition = batch.by_partition.get(place, 0) + reply.size
    full = batch.size + reply.size > MAX_BYTES
    if reply.item is not None and (full or of_partition > MAX_PARTITION_BYTES):
        batch.size = MAX_BYTES if full else batch.size
        batch.unprocessed.setdefault(read.name, []).append(read.attributes)
        return
    batch.read += 1
    batch.size += reply.size
    batch.by_partition[place] = of_partition
    batch.usages[read.name].add(read_halves(reply.size, read.consistent))
    if reply.item is not None:
        prepared = call.parsed[read.name]
        projection = None if prepared is None else prepared.parsed.projection
        batch.responses[read.name].append(reply.item if projection is None else project_row(reply.item, projection))


def _answer(call: Call, batch: _Batch) -> None:
    parts = [b'{"Responses":{']
    for at, (name, rows) in enumerate(batch.responses.items()):
        parts += [b"," if at else b"", _encode(name), b":[", b",".join(rows), b"]"]
    parts += [b'},"UnprocessedKeys":', encode_attributes(_unprocessed(call, batch))]
    parts += [Usage.members(call.body.get("ReturnConsumedCapacity"), batch.usages.values()), b"}"]
    call.answer(parts)


def _unprocessed(call: Call, batch: _Batch) -> dict[str, Any]:
    """The keys to ask for again, with the other members of their table's entry, ready to be sent back as they are."""
    wanted = call.body["RequestItems"]
    return {name: {**wanted[name], "Keys": keys} for name, keys in batch.unprocessed.items()}
