"""What TransactWriteItems, TransactGetItems and ExecuteTransaction share: from parts to a transaction and its outcome.

Each operation turns its request into parts, one for each action, as far as that is possible without the tables; `write`
and `read` do the rest. Rules: nothing is sent before every part has been checked; reasons are in the order of the
parts. What is wrong with the request itself, with an empty value of a key, or with two parts for one item fails the
call as a ValidationException; a part that does not fit its table cancels the transaction with a ValidationError, as
what the partition finds does. Sources: API reference, TransactWriteItems; developer guide, "Amazon DynamoDB
Transactions: How it works"; docs/decisions/0044-errors-of-transactions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from gramme.api.dynamodb.call import Call, TableGone
from gramme.api.dynamodb.capacity import Usage, collection, read_halves
from gramme.api.dynamodb.errors import (
    COLLECTION_FULL,
    CONFLICT,
    NOT_THE_CAUSE,
    Cancellation,
    token_mismatch,
    transaction_canceled,
    transaction_in_progress,
    validation,
)
from gramme.api.dynamodb.large import Budget
from gramme.api.dynamodb.table_lookup import with_fresh_tables
from gramme.api.tasks import Waiter
from gramme.kernel.errors import InvalidInput
from gramme.kernel.md5 import md5
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import CollectionFull, ConditionFailed, Conflict, Failed, FailureKind, Found, Item, Refused
from gramme.tables.schema import EMPTY_KEY
from gramme.tables.transactions import (
    MAX_BYTES,
    OVERSIZED,
    Action,
    ItemsRead,
    ReadOutcome,
    ReadTransaction,
    Reason,
    Token,
    TokenMismatch,
    TransactionCanceled,
    TransactionDone,
    TransactionInProgress,
    WriteOutcome,
    WriteTransaction,
)

CONDITION_FAILED: Final = ("ConditionalCheckFailed", "The conditional request failed")

_TIMES: Final = 2  # a transaction touches each item twice: to prepare, and to commit
_SENDING_DIVISOR: Final = 4  # encoding and sending an item cost less than decoding its JSON (`large.Budget`)
_THROTTLED: Final = {
    "ProvisionedThroughputExceededException": "ProvisionedThroughputExceeded",
    "ThrottlingException": "ThrottlingError",
}

_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode

_Part = TypeVar("_Part", "WritePart", "ReadPart")
_Built = TypeVar("_Built")
_Pairs = tuple[tuple[TableDescriptor, _Built], ...]


class WritePart(NamedTuple):
    """One action to take. `name`: its table as the client wrote it; `attributes`: the item to put, or the key."""

    name: str
    attributes: Item
    size: int  # bytes that count towards MAX_BYTES
    build: Callable[[TableDescriptor], Action]  # raises InvalidInput where the part does not fit the table
    failed: tuple[str, str] = CONDITION_FAILED  # code and message of a condition that does not hold


class ReadPart(NamedTuple):
    """One item to read: its table as the client wrote it, and the encoded key that it has there."""

    name: str
    build: Callable[[TableDescriptor], bytes]  # raises InvalidInput where the key does not fit the table


class Committed(NamedTuple):
    """A write transaction that succeeded: its parts, the table of each, and what each of them did."""

    parts: Sequence[WritePart]
    tables: list[TableDescriptor]
    done: TransactionDone

    def capacity(self, level: str | None) -> bytes:
        """`,"ConsumedCapacity":[…]` in the order in which the tables come up. A replay has only read the items."""
        replayed = self.done.replayed
        usages: dict[str, Usage] = {}
        for part, table, reply in zip(self.parts, self.tables, self.done.parts, strict=True):
            kind = "ReadCapacityUnits" if replayed else "WriteCapacityUnits"
            usage = usages.setdefault(table.table_id, Usage(part.name, table, kind))
            if replayed:
                usage.add(_TIMES * read_halves(max(reply.old_size, reply.new_size), consistent=True))
            else:
                usage.add_write(reply, _TIMES)
        return Usage.members(level, usages.values())

    def collections(self) -> bytes:
        """`,"ItemCollectionMetrics":{…}` with the newest of each collection; nothing without local indexes."""
        newest: dict[str, dict[str, Any]] = {}
        for part, table, reply in zip(self.parts, self.tables, self.done.parts, strict=True):
            if reply.collection_bytes is not None:
                described = collection(table, part.attributes, reply.collection_bytes)
                name = str(part.attributes[table.key.hash_name])
                newest.setdefault(part.name, {})[name] = described
        if not newest:
            return b""
        return b',"ItemCollectionMetrics":' + _encode({name: list(of.values()) for name, of in newest.items()})


async def token_of(call: Call, client_token: str | None, elements: Iterable[Any], budget: Budget) -> Token | None:
    """The identity of a write: `elements` are what it asks for, normalised. The order of members makes no difference,
    and each operation has tokens of its own."""
    if client_token is None:
        return None
    scope = f"{call.env.settings.account_id}\0{call.shape.operation}\0{client_token}"
    digest = md5()
    for element in elements:
        encoded = _encode_sorted(element)
        digest.update(encoded)
        await budget.spend(len(encoded) // _SENDING_DIVISOR)
    return Token(md5(scope.encode()).digest(), digest.digest())


async def write(call: Call, parts: Sequence[WritePart], token: Token | None, budget: Budget) -> Committed:
    """Do all of `parts` or nothing. Raises ApiError for every other end than success."""
    size = sum(part.size for part in parts)
    if size > MAX_BYTES:
        raise validation(f"{OVERSIZED}{size}")

    async def act(call: Call, tables: dict[str, TableDescriptor]) -> Committed:
        actions = await _built(parts, tables, lambda part, table: part.build(table), lambda action: action.key, budget)
        waiter: Waiter[WriteOutcome] = Waiter()
        call.env.backend.transact_write(WriteTransaction(actions, token), call.deadline, waiter)
        found = [table for table, _ in actions]
        outcome = await waiter
        if isinstance(outcome, TransactionDone):
            return Committed(parts, found, outcome)
        if isinstance(outcome, TokenMismatch):
            raise token_mismatch()
        if isinstance(outcome, TransactionInProgress):
            raise transaction_in_progress()
        raise _undone(call, outcome, found, [part.failed for part in parts])

    return await with_fresh_tables(call, list(dict.fromkeys(part.name for part in parts)), act)


async def _read(call: Call, parts: Sequence[ReadPart], budget: Budget) -> tuple[list[TableDescriptor], list[Found]]:
    """The items of `parts` as of one moment, each with its table. Raises ApiError."""

    async def act(call: Call, tables: dict[str, TableDescriptor]) -> tuple[list[TableDescriptor], list[Found]]:
        keys = await _built(parts, tables, lambda part, table: part.build(table), lambda key: key, budget)
        waiter: Waiter[ReadOutcome] = Waiter()
        call.env.backend.transact_get(ReadTransaction(keys), call.deadline, waiter)
        found = [table for table, _ in keys]
        outcome = await waiter
        if not isinstance(outcome, ItemsRead):
            raise _undone(call, outcome, found, [CONDITION_FAILED] * len(parts))
        size = sum(item.size for item in outcome.items)
        if size > MAX_BYTES:
            raise validation(f"Payload in response is too large.{size}")
        return found, list(outcome.items)

    return await with_fresh_tables(call, list(dict.fromkeys(part.name for part in parts)), act)


async def answer_reads(
    call: Call, parts: Sequence[ReadPart], show: Callable[[int, Found], bytes], budget: Budget
) -> None:
    """Read `parts` as of one moment and answer with what `show` makes of each, by its place. Raises ApiError."""
    tables, items = await _read(call, parts, budget)
    entries: list[bytes] = []
    for at, item in enumerate(items):
        entries.append(show(at, item))
        await budget.spend(item.size)
    capacity = _consumed_by_reads(call.body.get("ReturnConsumedCapacity"), parts, tables, items)
    call.answer([b'{"Responses":[', b",".join(entries), b"]", capacity, b"}"])


def _consumed_by_reads(
    level: str | None, parts: Sequence[ReadPart], tables: list[TableDescriptor], items: list[Found]
) -> bytes:
    """`,"ConsumedCapacity":[…]` of a read transaction, in the order in which the tables come up."""
    usages: dict[str, Usage] = {}
    for part, table, item in zip(parts, tables, items, strict=True):
        usage = usages.setdefault(table.table_id, Usage(part.name, table, "ReadCapacityUnits"))
        usage.add(_TIMES * read_halves(item.size, consistent=True))
    return Usage.members(level, usages.values())


# --- before it is sent


async def _built(
    parts: Sequence[_Part],
    tables: dict[str, TableDescriptor],
    build: Callable[[_Part, TableDescriptor], _Built],
    key_of: Callable[[_Built], bytes],
    budget: Budget,
) -> _Pairs[_Built]:
    """What is sent for `parts`. Raises ApiError, or InvalidInput for an empty value of a key."""
    pairs: list[tuple[TableDescriptor, _Built]] = []
    reasons: list[Cancellation] = []
    seen: dict[tuple[str, bytes], None] = {}
    for part in parts:
        table = tables[part.name]
        try:
            built = build(part, table)
        except InvalidInput as error:
            if str(error).startswith(EMPTY_KEY):
                raise
            reasons.append(Cancellation("ValidationError", str(error)))
            continue
        place = (table.table_id, key_of(built))
        if place in seen:
            raise validation("Transaction request cannot include multiple operations on one item")
        seen[place] = None
        pairs.append((table, built))
        reasons.append(NOT_THE_CAUSE)
        await budget.spend(part.size // _SENDING_DIVISOR if isinstance(part, WritePart) else 0)
    if len(pairs) < len(parts):
        raise transaction_canceled(reasons)
    return tuple(pairs)


# --- its outcome


def _undone(
    call: Call,
    outcome: TransactionCanceled | Failed,
    tables: list[TableDescriptor],
    conditions: list[tuple[str, str]],
) -> Exception:
    """The error for a transaction of which nothing was done, or that nobody can tell of."""
    if isinstance(outcome, Failed):
        return TableGone() if outcome.kind is FailureKind.NO_TABLE else call.failure(outcome, tables[0])
    for reason in outcome.reasons:
        if isinstance(reason, Refused) and reason.message.startswith((EMPTY_KEY, OVERSIZED)):
            return validation(reason.message)
    return transaction_canceled(_reasons(call, outcome.reasons, tables, conditions))


def _reasons(
    call: Call, reasons: tuple[Reason | None, ...], tables: list[TableDescriptor], conditions: list[tuple[str, str]]
) -> Iterator[Cancellation]:
    for reason, table, failed in zip(reasons, tables, conditions, strict=True):
        if reason is None:
            yield NOT_THE_CAUSE
        elif isinstance(reason, ConditionFailed):
            yield Cancellation(*failed, reason.item)
        elif isinstance(reason, Refused):
            yield Cancellation("ValidationError", reason.message)
        elif isinstance(reason, CollectionFull):
            yield Cancellation("ItemCollectionSizeLimitExceeded", COLLECTION_FULL)
        elif isinstance(reason, Conflict):
            yield Cancellation("TransactionConflict", CONFLICT)
        else:
            error = call.failure(reason, table)
            yield Cancellation(_THROTTLED[error.name], error.message)
