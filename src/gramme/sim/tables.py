"""The administrator of a simulated cluster: creates the tables that clients use, and re-creates one again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gramme.kernel.time import MILLISECOND, SECOND
from gramme.sim.checkers.history import Kind, Outcome
from gramme.sim.client import Answer, Client
from gramme.sim.configs import SimConfig
from gramme.sim.workload import Asked, Recorder
from gramme.sim.world import World

_EXTRA = "extra"
_INDEXED: dict[str, Any] = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": kind}
        for name, kind in (("pk", "S"), ("sk", "S"), ("v", "S"), ("g", "S"), ("n", "N"))
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "by-value",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "v", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n"]},
        }
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-group",
            "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}, {"AttributeName": "v", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"},
        },
        {
            "IndexName": "by-count",
            "KeySchema": [{"AttributeName": "n", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        },
    ],
}

_RANGED: dict[str, Any] = {
    "KeySchema": _INDEXED["KeySchema"],
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
}


class Administrator:
    """Creates and deletes tables through the API, persistently: each step is repeated until it is known to be done."""

    def __init__(self, world: World, client: Client, config: SimConfig, recorder: Recorder) -> None:
        self._world = world
        self._client = client
        self._config = config
        self._recorder = recorder
        self._churning = False
        self.idle = True
        self.incarnations = 0

    def create(self, table: str, on_active: Callable[[], None], units: int | None = None) -> None:
        """Create `table` unless it exists, and wait until it is ACTIVE. `units`: of a table without indexes, whatever
        the configuration says of the others (0: on demand)."""
        body: dict[str, Any] = {
            "TableName": table,
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        }
        if self._config.indexes and units is None:
            body |= _INDEXED
        if self._config.ranges and units is None:
            body |= _RANGED
        if self._config.streams:
            body["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        write_units = self._config.write_units if units is None else units
        if write_units:
            body["ProvisionedThroughput"] = {
                "ReadCapacityUnits": max(1, self._config.read_units),
                "WriteCapacityUnits": write_units,
            }
        else:
            body["BillingMode"] = "PAY_PER_REQUEST"

        def created(answer: Answer) -> None:
            if answer.body is not None or answer.error == "ResourceInUseException":
                self._await_status(table, "ACTIVE", on_active)
            else:
                self._later(lambda: self.create(table, on_active, units))

        self._client.call("CreateTable", body, created)

    def delete(self, table: str, on_gone: Callable[[], None]) -> None:
        """Delete `table` unless it is gone, and wait until it is."""

        def deleted(answer: Answer) -> None:
            if answer.applied_before:
                # An attempt without an answer may still wait in a router for its deadline, and would then delete the
                # next table of that name: a name is all that it has.
                wait_ns = self._config.request_deadline_ns + SECOND
                self._world.after(wait_ns, lambda: self.delete(table, on_gone))
            elif answer.body is not None or answer.error == "ResourceNotFoundException":
                self._await_status(table, None, on_gone)
            else:
                self._later(lambda: self.delete(table, on_gone))

        self._client.call("DeleteTable", {"TableName": table}, deleted)

    def _await_status(self, table: str, status: str | None, on_done: Callable[[], None]) -> None:
        def described(answer: Answer) -> None:
            found = None if answer.body is None else answer.body["Table"]["TableStatus"]
            known = answer.body is not None or answer.error == "ResourceNotFoundException"
            if known and found == status:
                on_done()
            else:
                self._later(lambda: self._await_status(table, status, on_done))

        self._client.call("DescribeTable", {"TableName": table}, described)

    def _later(self, action: Callable[[], None]) -> None:
        self._world.after(20 * MILLISECOND + self._client.rng.randrange(100 * MILLISECOND), action)

    def churn(self, table: str, keys: Sequence[str]) -> None:
        """Delete and re-create `table`, whose items are called `keys` in histories, until `stop`.

        For its items that is one deletion each, some time between the call of DeleteTable and the end of CreateTable:
        an old group that still serves after that, or a forward that reaches one, breaks the history.
        """
        self._churning = True

        def delete() -> None:
            if not self._churning:
                return
            self.idle = False
            handles = [
                self._recorder.begin(Asked(self._client.number, key, Kind.DELETE, self._world.now_ns)) for key in keys
            ]
            self.delete(table, lambda: self.create(table, lambda: created(handles)))

        def created(handles: list[int]) -> None:
            self.incarnations += 1
            for handle in handles:
                self._recorder.end(handle, Outcome.OK)
            self.idle = True
            self._world.after(500 * MILLISECOND + self._client.rng.randrange(2 * SECOND), delete)

        self._world.after(self._client.rng.randrange(2 * SECOND), delete)

    def churn_index(self, table: str) -> None:
        """Add an index to `table` and drop it again, until `stop`; in the end it may be there or not."""
        self._churning = True
        add = {
            "Create": {
                "IndexName": _EXTRA,
                "KeySchema": [{"AttributeName": "v", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        }
        drop = {"Delete": {"IndexName": _EXTRA}}
        definitions = [{"AttributeName": "v", "AttributeType": "S"}, {"AttributeName": "n", "AttributeType": "N"}]

        def change(update: dict[str, Any], following: dict[str, Any]) -> None:
            if not self._churning:
                return
            self.idle = False
            body: dict[str, Any] = {"TableName": table, "GlobalSecondaryIndexUpdates": [update]}
            if update is add:
                body["AttributeDefinitions"] = definitions
            self._client.call("UpdateTable", body, lambda answer: changed(answer, update, following))

        def changed(answer: Answer, update: dict[str, Any], following: dict[str, Any]) -> None:
            # An answer that was lost is as good as one that came: adding what is there is refused, too.
            if answer.error in ("ServiceUnavailable", "ThrottlingException", "ResourceInUseException"):
                self._later(lambda: settled(update, following))
            else:
                self._await_status(table, "ACTIVE", lambda: settled(following, update))

        def settled(update: dict[str, Any], following: dict[str, Any]) -> None:
            self.incarnations += 1
            self.idle = True
            self._world.after(self._client.rng.randrange(300 * MILLISECOND), lambda: change(update, following))

        self._world.after(self._client.rng.randrange(SECOND), lambda: change(add, drop))

    def stop(self) -> None:
        """Begin no more re-creations; `idle` tells when the last one is done."""
        self._churning = False
