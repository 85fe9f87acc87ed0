"""Leases: which worker reads which shard, and how far it got, as rows of a DynamoDB table.

Every change is a conditional write, so two workers never both believe that they took, kept or advanced the same lease.
No clock is compared with another machine's: a lease has run out when its counter has not moved for `lease_s` of the
looker's own time. Rows: one for each shard (`lease` = stream label/shard id) and one for the subscription itself, which
says with which shards it began. Source: the Kinesis Client Library's lease table.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec

from gramme.client.endpoint import Endpoint
from gramme.client.errors import ServiceError, Unreachable
from gramme.client.streams.stream import Shard

SHARD_END: Final = "SHARD_END"
_BEGUN: Final = "#begun"
_READY_S: Final = 120.0
_PAUSE_S: Final = 0.2


class Lease(msgspec.Struct, frozen=True):
    """One shard's row. `checkpoint`: HORIZON, LATEST, SHARD_END, or the sequence number of the last record done with;
    `iterator`: while it is LATEST, where that is; `wanted`: the worker that asks for the lease."""

    name: str
    checkpoint: str
    counter: int
    owner: str | None = None
    wanted: str | None = None
    iterator: str | None = None

    @property
    def ended(self) -> bool:
        """All of the shard is done."""
        return self.checkpoint == SHARD_END


class Begun(msgspec.Struct, frozen=True):
    """How the subscription began: at `start`, without the shards (names) `skipped`, and with no stream older than
    `label`. Shards that are neither in `shards` nor skipped came later."""

    label: str
    start: str
    shards: frozenset[str]
    skipped: frozenset[str]


class LeaseTable:
    """The rows of one subscription, changed in the name of `worker`. All methods raise ServiceError, Unreachable."""

    def __init__(self, endpoint: Endpoint, table: str, worker: str) -> None:
        self._endpoint = endpoint
        self._table = table
        self._worker = worker

    # --- beginning

    def begun(self) -> Begun | None:
        """How the subscription began; None: it has not."""
        answer = self._endpoint.call(
            "GetItem", {"TableName": self._table, "Key": {"lease": {"S": _BEGUN}}, "ConsistentRead": True}
        )
        row = answer.get("Item")
        if row is None:
            return None
        names = (frozenset(name["S"] for name in row[member]["L"]) for member in ("shards", "skipped"))
        return Begun(row["label"]["S"], row["start"]["S"], *names)

    def begin(self, begun: Begun) -> Begun:
        """Fix how the subscription begins, unless another worker was first; says how it did."""
        row = {
            "lease": {"S": _BEGUN},
            "label": {"S": begun.label},
            "start": {"S": begun.start},
            "shards": {"L": [{"S": name} for name in sorted(begun.shards)]},
            "skipped": {"L": [{"S": name} for name in sorted(begun.skipped)]},
        }
        self._conditional("PutItem", {"Item": row, "ConditionExpression": "attribute_not_exists(lease)"})
        return self.begun() or begun

    def add(self, shard: Shard, checkpoint: str, iterator: str | None = None) -> None:
        """A row for a shard that has none."""
        row = {"lease": {"S": shard.name}, "counter": {"N": "0"}, "checkpoint": {"S": checkpoint}}
        if iterator is not None:
            row["iterator"] = {"S": iterator}
        self._conditional("PutItem", {"Item": row, "ConditionExpression": "attribute_not_exists(lease)"})

    def all(self) -> list[Lease]:
        """Every shard's row, read strongly."""
        rows: list[dict[str, Any]] = []
        body: dict[str, Any] = {"TableName": self._table, "ConsistentRead": True}
        while True:
            page = self._endpoint.call("Scan", body)
            rows += page["Items"]
            if "LastEvaluatedKey" not in page:
                return [_lease(row) for row in rows if row["lease"]["S"] != _BEGUN]
            body["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    # --- one lease

    def take(self, lease: Lease) -> Lease | None:
        """Own a lease that nobody owns, or whose owner stood still since `lease` was read; None if it moved."""
        owned = "attribute_not_exists(#owner)" if lease.owner is None else "#owner = :old"
        values = {":me": {"S": self._worker}, ":one": {"N": "1"}, ":seen": {"N": str(lease.counter)}}
        if lease.owner is not None:
            values[":old"] = {"S": lease.owner}
        return self._update(
            lease.name,
            "SET #owner = :me, #counter = #counter + :one REMOVE wanted",
            f"#counter = :seen AND {owned}",
            values,
        )

    def renew(self, name: str, iterator: str | None = None) -> Lease | None:
        """Show that this worker lives, keeping `iterator` where the checkpoint is still LATEST; None: not its any
        more."""
        values = {":me": {"S": self._worker}, ":one": {"N": "1"}}
        update = "SET #counter = #counter + :one"
        if iterator is not None:
            update += ", iterator = :iterator"
            values[":iterator"] = {"S": iterator}
        return self._update(name, update, "#owner = :me", values)

    def checkpoint(self, name: str, sequence: str) -> Lease | None:
        """Everything up to the record `sequence` (or SHARD_END) is done; None: the lease is not its any more."""
        values = {":me": {"S": self._worker}, ":one": {"N": "1"}, ":done": {"S": sequence}}
        update = "SET checkpoint = :done, #counter = #counter + :one REMOVE iterator"
        return self._update(name, update, "#owner = :me", values)

    def hand_over(self, name: str, to: str | None) -> None:
        """Give a lease up, to the worker `to` or to whoever comes."""
        values = {":me": {"S": self._worker}, ":one": {"N": "1"}}
        update = "SET #counter = #counter + :one REMOVE #owner, wanted"
        if to is not None:
            update = "SET #counter = #counter + :one, #owner = :to REMOVE wanted"
            values[":to"] = {"S": to}
        self._update(name, update, "#owner = :me", values)

    def ask_for(self, lease: Lease) -> None:
        """Ask the owner of `lease` to hand it over to this worker, unless somebody else asks already."""
        values = {":me": {"S": self._worker}, ":old": {"S": lease.owner}}
        self._update(lease.name, "SET wanted = :me", "#owner = :old AND attribute_not_exists(wanted)", values)

    def remove(self, lease: Lease) -> None:
        """Drop the row of a shard that is done and no longer described."""
        self._conditional(
            "DeleteItem",
            {
                "Key": {"lease": {"S": lease.name}},
                "ConditionExpression": "checkpoint = :end",
                "ExpressionAttributeValues": {":end": {"S": SHARD_END}},
            },
        )

    def _update(self, name: str, update: str, condition: str, values: dict[str, Any]) -> Lease | None:
        names = {"#owner": "owner", "#counter": "counter"}
        used = update + condition
        answer = self._conditional(
            "UpdateItem",
            {
                "Key": {"lease": {"S": name}},
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeNames": {name: real for name, real in names.items() if name in used},
                "ExpressionAttributeValues": values,
                "ReturnValues": "ALL_NEW",
            },
        )
        return None if answer is None else _lease(answer["Attributes"])

    def _conditional(self, operation: str, body: dict[str, Any]) -> Any:
        try:
            return self._endpoint.call(operation, {"TableName": self._table, **body})
        except ServiceError as error:
            if error.name == "ConditionalCheckFailedException":
                return None
            raise


def _lease(row: dict[str, Any]) -> Lease:
    texts = {name: row[name]["S"] if name in row else None for name in ("owner", "wanted", "iterator")}
    return Lease(row["lease"]["S"], row["checkpoint"]["S"], int(row["counter"]["N"]), **texts)


def ensure_table(endpoint: Endpoint, table: str, key: str) -> None:
    """Create `table` with the string key `key`, on demand, unless it exists, and wait until it is ACTIVE.

    Raises ServiceError, Unreachable.
    """
    try:
        endpoint.call(
            "CreateTable",
            {
                "TableName": table,
                "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        )
    except ServiceError as error:
        if error.name != "ResourceInUseException":
            raise
    deadline = time.monotonic() + _READY_S
    while endpoint.call("DescribeTable", {"TableName": table})["Table"]["TableStatus"] == "CREATING":
        if time.monotonic() > deadline:
            raise Unreachable(f"table {table} is still being created after {_READY_S:.0f} s")
        time.sleep(_PAUSE_S)
