"""The errors of the DynamoDB protocol: their types as the service writes them, HTTP status, and text.

Owns the mapping from what went wrong to `__type`, status and message (row B17). Rule: a client never sees anything
else; in particular, a failure of the cluster is one of three (throttled, no quorum, outcome unknown). Sources: AWS API
reference, common errors; issue 2, "Answers under trouble".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgspec

from gramme.tables.requests import Failed, FailureKind

_SERVICE: Final = "com.amazonaws.dynamodb.v20120810#"
_VALIDATE: Final = "com.amazon.coral.validate#"
_CORAL: Final = "com.amazon.coral.service#"

# The service spells the text member `message`, but `Message` in these.
_CAPITAL_MESSAGE: Final = (
    "TransactionCanceledException",
    "TransactionInProgressException",
    "IdempotentParameterMismatchException",
)

CONFLICT: Final = "Transaction is ongoing for the item"
DUPLICATE: Final = "Duplicate primary key exists in table"
COLLECTION_FULL: Final = "Collection size exceeded."

_encode: Final = msgspec.json.Encoder().encode


class ApiError(Exception):
    """An error answer. `extra` is JSON of further members with their leading comma, e.g. `,"Item":{…}`."""

    def __init__(self, name: str, message: str | None, prefix: str = _SERVICE, status: int = 400) -> None:
        super().__init__(message or name)
        self.name = name
        self.message = message
        self.prefix = prefix
        self.status = status
        self.extra = b""

    def body(self) -> bytes:
        """The answer's JSON."""
        parts = [b'{"__type":"', self.prefix.encode(), self.name.encode(), b'"']
        if self.message is not None:
            member = b',"Message":' if self.name in _CAPITAL_MESSAGE else b',"message":'
            parts += [member, _encode(self.message)]
        parts += [self.extra, b"}"]
        return b"".join(parts)


def validation(message: str) -> ApiError:
    """The request breaks a rule."""
    return ApiError("ValidationException", message, _VALIDATE)


def serialization(message: str | None = None) -> ApiError:
    """The body is not JSON, or a member has the wrong JSON type."""
    return ApiError("SerializationException", message, _CORAL)


def unknown_operation(message: str | None = None) -> ApiError:
    """The target names no operation, or one that this release does not serve."""
    return ApiError("UnknownOperationException", message, _CORAL)


def access_denied(message: str) -> ApiError:
    """The resource belongs to another account."""
    return ApiError("AccessDeniedException", message, _CORAL)


def table_not_found(name: str | None = None) -> ApiError:
    """No such table. Table operations name it, item operations do not."""
    text = "Requested resource not found" + ("" if name is None else f": Table: {name} not found")
    return ApiError("ResourceNotFoundException", text)


def table_in_use(name: str, status: str) -> ApiError:
    """CreateTable of a table that exists, or a change while it is being created or deleted."""
    if status == "ACTIVE":
        return ApiError("ResourceInUseException", f"Table already exists: {name}")
    doing = {"CREATING": "created", "DELETING": "deleted"}.get(status, "updated")
    text = f"Attempt to change a resource which is still in use: Table is being {doing}: {name}"
    return ApiError("ResourceInUseException", text)


def condition_failed(item: bytes | None) -> ApiError:
    """The condition did not hold; `item` is JSON of the present item where the client asked for it."""
    error = ApiError("ConditionalCheckFailedException", "The conditional request failed")
    if item is not None:
        error.extra = b',"Item":' + item
    return error


def duplicate_item() -> ApiError:
    """An INSERT of an item that is there already."""
    return ApiError("DuplicateItemException", DUPLICATE)


def collection_full() -> ApiError:
    """A collection of a table with local indexes would grow past 10 GB."""
    return ApiError("ItemCollectionSizeLimitExceededException", COLLECTION_FULL)


class Cancellation(NamedTuple):
    """Why one action of a transaction could not be done; `item` is JSON of the present item where it was asked for."""

    code: str
    message: str | None = None
    item: bytes | None = None


NOT_THE_CAUSE: Final = Cancellation("None")
"""The reason given for an action that could have been done: the word, and no message at all."""


def transaction_canceled(reasons: Iterable[Cancellation]) -> ApiError:
    """Nothing of a transaction was done; `reasons` in the order of its actions."""
    listed = list(reasons)
    codes = ", ".join(reason.code for reason in listed)
    error = ApiError(
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
    )
    error.extra = b',"CancellationReasons":' + _encode([_described(reason) for reason in listed])
    return error


def _described(reason: Cancellation) -> dict[str, Any]:
    described: dict[str, Any] = {"Code": reason.code}
    if reason.message is not None:
        described["Message"] = reason.message
    if reason.item is not None:
        described["Item"] = msgspec.Raw(reason.item)
    return described


def transaction_conflict() -> ApiError:
    """A transaction in progress holds the item of a plain write."""
    return ApiError("TransactionConflictException", CONFLICT)


def transaction_in_progress() -> ApiError:
    """A transaction with the client's token has not ended yet: SDKs try again."""
    return ApiError("TransactionInProgressException", "Transaction from previous request is still in progress")


def token_mismatch() -> ApiError:
    """The client's token belongs to another request."""
    text = "The ClientRequestToken was used within the last 10 minutes for a request with other parameters"
    return ApiError("IdempotentParameterMismatchException", text)


def throttled(provisioned: bool, reason: str, resource: str) -> ApiError:
    """A limit of throughput was met: `reason` says which, `resource` is the ARN of the table or index."""
    reasons = b":" + _encode([{"reason": reason, "resource": resource}])
    if provisioned:
        what = "one or more global secondary indexes of the table" if reason.startswith("Index") else "the table"
        error = ApiError(
            "ProvisionedThroughputExceededException",
            f"The level of configured provisioned throughput for {what} was exceeded. Consider increasing your "
            "provisioning level with the UpdateTable API.",
        )
        error.extra = b',"ThrottlingReasons"' + reasons
    else:
        error = ApiError(
            "ThrottlingException",
            "Throughput exceeds the current capacity of your table or index. Please try again shortly; if exceptions "
            "persist, check if you have a hot key.",
        )
        error.extra = b',"throttlingReasons"' + reasons
    return error


def overloaded() -> ApiError:
    """A bounded queue of this database is full, whatever the table's throughput."""
    return ApiError("ThrottlingException", "The request was denied because the system is overloaded; try again")


def internal_error() -> ApiError:
    """The outcome is unknown, or a bug: 500, so that SDKs try again."""
    return ApiError("InternalServerError", "The request failed because of an internal error", status=500)


def unreachable() -> ApiError:
    """Not applied, and nobody could serve it by the deadline."""
    text = "The service is temporarily unable to process the request; it was not applied"
    return ApiError("ServiceUnavailable", text, status=503)


def of_failure(failure: Failed) -> ApiError:
    """The answer for a partition's or the catalog's failure. Never reveals `detail`: that is for the log."""
    if failure.kind is FailureKind.THROTTLED:
        return overloaded()
    if failure.kind is FailureKind.NO_QUORUM:
        return unreachable()
    if failure.kind is FailureKind.NO_TABLE:
        return table_not_found()
    return internal_error()
