"""What simulated clients do, and what they write down: a history for the checkers.

Few keys and unique values: each read names the write it saw. Each client has one operation open at a time, so a history
of `clients` columns; batches count as one operation per item.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND
from gramme.sim.checkers.history import Item, Kind, Operation, Outcome
from gramme.sim.client import Answer, Client, UnexpectedAnswer
from gramme.sim.client_loop import ClientLoop
from gramme.sim.configs import SimConfig
from gramme.sim.ranges import keys_of, primary_of
from gramme.sim.world import World

_OPERATION: Final = {
    Kind.GET: "GetItem",
    Kind.PEEK: "GetItem",
    Kind.PUT: "PutItem",
    Kind.INSERT: "PutItem",
    Kind.REPLACE: "PutItem",
    Kind.DELETE: "DeleteItem",
    Kind.ADD: "UpdateItem",
}
_ACTION: Final = {
    Kind.PUT: "Put",
    Kind.INSERT: "Put",
    Kind.REPLACE: "Put",
    Kind.DELETE: "Delete",
    Kind.ADD: "Update",
}


def names_of(config: SimConfig) -> tuple[str, ...]:
    """What clients call the items of a table: by partition key, and by sort key where ranges are read."""
    partition_keys = tuple(f"k{number}" for number in range(config.keys))
    return tuple(chain(*map(keys_of, partition_keys))) if config.ranges else partition_keys


class Asked:
    """An operation that has been invoked; becomes an `Operation` when it ends."""

    __slots__ = ("amount", "client", "expected", "invoke_ns", "key", "kind", "reports", "value")

    def __init__(self, client: int, key: str, kind: Kind, invoke_ns: int) -> None:
        self.client = client
        self.key = key
        self.kind = kind
        self.invoke_ns = invoke_ns
        self.value: str | None = None
        self.expected: str | None = None
        self.amount = 0
        self.reports = False

    def end(self, return_ns: int | None, outcome: Outcome, seen: Item | None = None) -> Operation:
        """The finished operation."""
        return Operation(
            client=self.client,
            key=self.key,
            kind=self.kind,
            invoke_ns=self.invoke_ns,
            return_ns=return_ns,
            outcome=outcome,
            value=self.value,
            expected=self.expected,
            amount=self.amount,
            seen=seen,
            reports=self.reports and outcome is Outcome.OK,
        )


class Recorder:
    """The history of a run, with what is still open."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._operations: list[Operation] = []
        self._open: dict[int, Asked] = {}
        self.count = 0
        self.written_ns: dict[str, int] = {}  # when a client heard last that a write of the key was done

    def begin(self, asked: Asked) -> int:
        """An operation is invoked; returns its handle."""
        self.count += 1
        self._open[self.count] = asked
        return self.count

    def end(self, handle: int, outcome: Outcome, seen: Item | None = None) -> None:
        """It has ended as far as its client will ever know."""
        asked = self._open.pop(handle)
        return_ns = None if outcome is Outcome.UNKNOWN else self._world.now_ns
        if outcome is Outcome.OK and asked.kind not in (Kind.GET, Kind.PEEK):
            self.written_ns[asked.key] = self._world.now_ns
        self._operations.append(asked.end(return_ns, outcome, seen))

    def history(self) -> list[Operation]:
        """Everything so far; what is open has an unknown outcome."""
        return self._operations + [asked.end(None, Outcome.UNKNOWN) for asked in self._open.values()]


class Worker(ClientLoop):
    """One client's endless loop of operations on one table."""

    def __init__(
        self, world: World, client: Client, config: SimConfig, recorder: Recorder, table: str, key_prefix: str
    ) -> None:
        super().__init__(world, client.rng, config.think_ns)
        self._client = client
        self._config = config
        self._recorder = recorder
        self._table = table
        self._key_prefix = key_prefix
        self.keys = names_of(config)
        self._values = 0
        self._last_seen: dict[str, str] = {}

    def _operate(self) -> None:
        if self._config.transacted and self._rng.random() < self._config.transacted:
            self._transact()
            return
        if self._rng.random() < 0.04:
            self._batch()
            return
        key = self._some_key()
        if self._rng.random() < self._config.reads:
            kind = Kind.PEEK if self._rng.random() < 0.25 else Kind.GET
            self.read(key, kind, None, lambda _ok: self._rest())
        else:
            self._write(key)

    def _some_key(self) -> str:
        # The square makes the first keys hot.
        return self.keys[int(self._rng.random() ** 2 * len(self.keys))]

    def read(self, key: str, kind: Kind, node: NodeId | None, on_done: Callable[[bool], None]) -> None:
        """Read `key`, at `node` if one is given; tells whether there was an answer."""
        handle = self._recorder.begin(self._asked(key, kind))
        body = {"TableName": self._table, "Key": self._primary(key), "ConsistentRead": kind is Kind.GET}

        def done(answer: Answer) -> None:
            self._check_table(answer)
            if answer.body is None:
                self._recorder.end(handle, Outcome.UNKNOWN)
            else:
                seen = item_of(answer.body.get("Item"))
                if seen is not None and seen.value is not None:
                    self._last_seen[key] = seen.value
                self._recorder.end(handle, Outcome.OK, seen)
            on_done(answer.body is not None)

        self._client.call("GetItem", body, done, node)

    def put(self, key: str, node: NodeId, on_done: Callable[[bool], None]) -> None:
        """Write a new value to `key` at `node`; tells whether it was acknowledged. While a transaction whose
        coordinator fell still holds the item, it is tried again."""
        asked = self._asked(key, Kind.PUT)
        asked.value = self._new_value()
        handle = self._recorder.begin(asked)
        body = {"TableName": self._table, "Item": self._new_item(key, asked.value)}

        def done(answer: Answer) -> None:
            if answer.error == "TransactionConflictException":
                self._recorder.end(handle, Outcome.REFUSED if answer.refused else Outcome.UNKNOWN)
                self._world.after(100 * MILLISECOND, lambda: self.put(key, node, on_done))
            else:
                self._recorder.end(handle, Outcome.OK if answer.body is not None else Outcome.UNKNOWN)
                on_done(answer.body is not None)

        self._client.call("PutItem", body, done, node)

    def _check_table(self, answer: Answer) -> None:
        """A table that nobody deletes is never missing (issue 2: a router asks the catalog before it says so)."""
        if answer.error == "ResourceNotFoundException" and not self._config.table_churn:
            raise UnexpectedAnswer(f"table {self._table} was said not to exist")

    def _asked(self, key: str, kind: Kind) -> Asked:
        return Asked(self._client.number, f"{self._key_prefix}{key}", kind, self._world.now_ns)

    def _new_value(self) -> str:
        self._values += 1
        return f"c{self._client.number}.{self._values}"

    def _new_item(self, key: str, value: str) -> dict[str, Any]:
        padding = "p" * self._rng.randrange(2 * self._config.padding_bytes)
        item = {**self._primary(key), "v": {"S": value}, "p": {"S": padding}}
        if self._config.indexes and self._rng.random() < 0.8:
            item["g"] = {"S": f"g{self._rng.randrange(3)}"}  # without it the item is not in the sparse index
        return item

    def _primary(self, key: str) -> dict[str, Any]:
        if self._config.ranges:
            return primary_of(key)
        return {"pk": {"S": key}, "sk": {"S": "0"}} if self._config.indexes else {"pk": {"S": key}}

    def _write(self, key: str) -> None:
        kind = self._some_kind_of_write()
        asked = self._asked(key, kind)
        body = self._body(key, asked, alone=True)
        handle = self._recorder.begin(asked)
        self._client.call(_OPERATION[kind], body, lambda answer: self._written(handle, asked, answer))

    def _body(self, key: str, asked: Asked, *, alone: bool) -> dict[str, Any]:
        """What a write of `asked.kind` says, alone or as an action of a transaction, which returns nothing."""
        kind = asked.kind
        body: dict[str, Any] = {"TableName": self._table}
        if kind in (Kind.PUT, Kind.INSERT, Kind.REPLACE):
            asked.value = self._new_value()
            body["Item"] = self._new_item(key, asked.value)
        else:
            body["Key"] = self._primary(key)
        asked.reports = alone and kind in (Kind.PUT, Kind.DELETE, Kind.ADD) and self._rng.random() < 0.4
        if asked.reports:
            body["ReturnValues"] = "ALL_NEW" if kind is Kind.ADD else "ALL_OLD"
        if kind is Kind.INSERT:
            body["ConditionExpression"] = "attribute_not_exists(pk)"
        elif kind is Kind.REPLACE:
            asked.expected = self._last_seen.get(key, "never")
            body["ConditionExpression"] = "v = :expected"
            body["ExpressionAttributeValues"] = {":expected": {"S": asked.expected}}
        elif kind is Kind.ADD:
            asked.amount = 1
            body["UpdateExpression"] = "ADD n :amount"
            body["ExpressionAttributeValues"] = {":amount": {"N": "1"}}
        return body

    def _some_kind_of_write(self) -> Kind:
        if self._rng.random() < self._config.conditional:
            return Kind.INSERT if self._rng.random() < 0.5 else Kind.REPLACE
        return (Kind.PUT, Kind.PUT, Kind.ADD, Kind.ADD, Kind.DELETE)[self._rng.randrange(5)]

    def _written(self, handle: int, asked: Asked, answer: Answer) -> None:
        self._check_table(answer)
        if answer.body is not None:
            self._recorder.end(handle, Outcome.OK, item_of(answer.body.get("Attributes")) if asked.reports else None)
            if asked.value is not None:
                self._last_seen[asked.key.removeprefix(self._key_prefix)] = asked.value
        elif not answer.refused:
            # A condition may fail on the last attempt and hold when a delayed earlier attempt arrives.
            self._recorder.end(handle, Outcome.UNKNOWN)
        else:
            failed = answer.error == "ConditionalCheckFailedException"
            self._recorder.end(handle, Outcome.FAILED if failed else Outcome.REFUSED)
        self._rest()

    def _transact(self) -> None:
        """A transaction over a few keys. Each key alone must be linearizable, so each part is an operation of its own;
        that they happen at one moment is for the bank to show (`tellers`)."""
        keys = list(dict.fromkeys(self._some_key() for _ in range(3)))
        if self._rng.random() < 0.3:
            self._read_together(keys)
        else:
            self._write_together(keys)

    def _read_together(self, keys: list[str]) -> None:
        handles = [self._recorder.begin(self._asked(key, Kind.GET)) for key in keys]
        gets = [{"Get": {"TableName": self._table, "Key": self._primary(key)}} for key in keys]

        def done(answer: Answer) -> None:
            self._check_table(answer)
            found = [{}] * len(keys) if answer.body is None else answer.body["Responses"]
            outcome = Outcome.UNKNOWN if answer.body is None else Outcome.OK
            for handle, response in zip(handles, found, strict=True):
                self._recorder.end(handle, outcome, item_of(response.get("Item")))
            self._rest()

        self._client.call("TransactGetItems", {"TransactItems": gets}, done)

    def _write_together(self, keys: list[str]) -> None:
        parts = [(key, self._asked(key, self._some_kind_of_write())) for key in keys]
        actions = [{_ACTION[asked.kind]: self._body(key, asked, alone=False)} for key, asked in parts]
        handles = [self._recorder.begin(asked) for _, asked in parts]
        token = f"{self._client.number}-{self._recorder.count}"

        def done(answer: Answer) -> None:
            self._check_table(answer)
            codes = [reason["Code"] for reason in answer.reasons] or [""] * len(parts)
            for handle, (key, asked), code in zip(handles, parts, codes, strict=True):
                if answer.body is not None:
                    self._recorder.end(handle, Outcome.OK)
                    if asked.value is not None:
                        self._last_seen[key] = asked.value
                elif not answer.refused:
                    self._recorder.end(handle, Outcome.UNKNOWN)
                else:
                    failed = code == "ConditionalCheckFailed"
                    self._recorder.end(handle, Outcome.FAILED if failed else Outcome.REFUSED)
            self._rest()

        self._client.call("TransactWriteItems", {"TransactItems": actions, "ClientRequestToken": token}, done)

    def _batch(self) -> None:
        """A BatchWriteItem of two puts: each item is an operation of its own."""
        handles: dict[str, int] = {}
        requests = []
        for key in dict.fromkeys((self._some_key(), self._some_key())):
            asked = self._asked(key, Kind.PUT)
            asked.value = self._new_value()
            handles[key] = self._recorder.begin(asked)
            requests.append({"PutRequest": {"Item": self._new_item(key, asked.value)}})

        def done(answer: Answer) -> None:
            self._check_table(answer)
            if answer.body is None:
                outcome = Outcome.REFUSED if answer.refused else Outcome.UNKNOWN
                for handle in handles.values():
                    self._recorder.end(handle, outcome)
            else:
                unprocessed = answer.body.get("UnprocessedItems", {}).get(self._table, [])
                left = [request["PutRequest"]["Item"] for request in unprocessed]
                for key, handle in handles.items():
                    is_left = any(item.items() >= self._primary(key).items() for item in left)
                    self._recorder.end(handle, Outcome.UNKNOWN if is_left else Outcome.OK)
            self._rest()

        self._client.call("BatchWriteItem", {"RequestItems": {self._table: requests}}, done)


def item_of(attributes: dict[str, Any] | None) -> Item | None:
    """The model's view of a wire item; an empty answer is an absent item."""
    if not attributes:
        return None
    count = attributes.get("n")
    value = attributes.get("v")
    return Item(None if value is None else value["S"], None if count is None else int(count["N"]))
