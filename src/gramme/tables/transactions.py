"""What a transaction asks for, and what comes of it: the terms in which the API speaks with a transaction coordinator.

Owns the values only. The coordinator (`gramme.node`) splits a transaction by partition, has it prepared, decided and
committed; the API builds it and words the outcome. Order matters throughout: the n-th reason, reply or item belongs to
the n-th action. Source: USENIX ATC 2023 ("Distributed Transactions at Scale in Amazon DynamoDB"), sections 3 and 4;
API reference, TransactWriteItems and TransactGetItems.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import (
    CollectionFull,
    Condition,
    ConditionFailed,
    Conflict,
    DeleteItem,
    Failed,
    Found,
    PutItem,
    Refused,
    UpdateItem,
    Written,
)

MAX_BYTES: Final = 4 << 20
"""Of a request, and of all items that a transaction writes, checks or reads (DynamoDB item sizes)."""

OVERSIZED: Final = "Transaction payload size cannot exceed 4MB. Payload Size: "
"""Begins the text of a refusal by `MAX_BYTES`, which is one of the whole transaction."""


class ConditionCheck(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="ConditionCheck"):
    """The item under `key` must fulfil `condition` when the transaction commits; it is not changed."""

    key: bytes
    condition: Condition
    return_on_failure: bool = False


Action = PutItem | DeleteItem | UpdateItem | ConditionCheck


class Token(NamedTuple):
    """A client's ClientRequestToken. `id`: hash of account and token (16 bytes). `digest`: hash of what the request
    asks for, so that the same token with another request is told apart (16 bytes)."""

    id: bytes
    digest: bytes


class WriteTransaction(NamedTuple):
    """All of `actions` or none. No two of them touch the same item (the API has checked)."""

    actions: tuple[tuple[TableDescriptor, Action], ...]
    token: Token | None


class ReadTransaction(NamedTuple):
    """The items under these keys, as of one moment."""

    keys: tuple[tuple[TableDescriptor, bytes], ...]


Reason = ConditionFailed | Refused | CollectionFull | Conflict | Failed
"""Why one action cannot be done; `Failed` only with THROTTLED."""


class TransactionDone(msgspec.Struct, frozen=True, array_like=True, tag="TransactionDone"):
    """Committed. `parts`: for each action its sizes and index units (for a check: the size of what was checked).
    `replayed`: by an earlier request with this token; nothing was done now."""

    parts: tuple[Written, ...]
    replayed: bool = False


class TransactionCanceled(msgspec.Struct, frozen=True, array_like=True, tag="TransactionCanceled"):
    """Nothing was done. For each action its reason, None where it could have been done."""

    reasons: tuple[Reason | None, ...]


class TokenMismatch(msgspec.Struct, frozen=True, array_like=True, tag="TokenMismatch"):
    """The token belongs to another request of the last ten minutes: IdempotentParameterMismatchException."""


class TransactionInProgress(msgspec.Struct, frozen=True, array_like=True, tag="TransactionInProgress"):
    """A transaction with this token is still running: TransactionInProgressException."""


class ItemsRead(msgspec.Struct, frozen=True, array_like=True, tag="ItemsRead"):
    """Answer to a `ReadTransaction`: the items in the order of its keys."""

    items: tuple[Found, ...]


WriteOutcome = TransactionDone | TransactionCanceled | TokenMismatch | TransactionInProgress | Failed
ReadOutcome = ItemsRead | TransactionCanceled | Failed


def oversized(parts: Iterable[Written]) -> Refused | None:
    """Why the items that `parts` tell of cannot be in one transaction."""
    size = sum(part.new_size for part in parts)
    return Refused(f"{OVERSIZED}{size}") if size > MAX_BYTES else None
