"""boto3 clients that write down what they did, for the linearizability checker.

Each client has one operation open at a time. All of them read one monotonic clock, so the history needs no bound on
clock skew. What a client does not learn stays unknown: the checker then allows it at any later time, or never.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from gramme.sim.checkers.history import Item, Kind, Operation, Outcome

TABLE: Final = "history"
_KINDS: Final = (Kind.GET,) * 5 + (Kind.PUT,) * 3 + (Kind.ADD,) * 3 + (Kind.REPLACE,) * 2 + (Kind.INSERT, Kind.DELETE)
_PAUSE_S: Final = 0.03
"""At most, before an operation: without it clients and nodes keep all cores busy, and nodes restart slowly."""
_CONDITION_FAILED: Final = "ConditionalCheckFailedException"


class Recorder:
    """Runs clients in threads against a moving set of keys until `stop`; `history` is what they did.

    Keys are used for `key_life_s`, so that each has a few hundred operations, and some for the whole run, so that
    reads also go back to what was written before the last few crashes.
    """

    def __init__(self, connect: Callable[[int], Any], clients: int, keys: int, key_life_s: float, seed: int) -> None:
        self.history: list[Operation] = []
        self.errors: list[str] = []
        self._keys = keys
        self._key_life_s = key_life_s
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._threads = [
            threading.Thread(target=self._work, args=(client, connect(client), random.Random(f"{seed}/{client}")))
            for client in range(clients)
        ]

    def start(self) -> None:
        """Let the clients go."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every client finish its operation."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def key(self, rng: random.Random) -> str:
        """A key of the present generation, or now and then one that lives through the whole run."""
        number = rng.randrange(self._keys)
        if rng.random() < 0.04:
            return f"lasting-{number}"
        return f"{int((time.monotonic() - self._started) / self._key_life_s)}-{number}"

    def _work(self, client: int, boto: Any, rng: random.Random) -> None:
        seen: dict[str, str] = {}  # the last value of each key that this client saw: what REPLACE expects
        number = 0
        while not self._stop.wait(_PAUSE_S * rng.random()):
            number += 1
            key, kind = self.key(rng), rng.choice(_KINDS)
            self._one(client, boto, rng, key, kind, f"{client}.{number}", seen)

    def _one(
        self, client: int, boto: Any, rng: random.Random, key: str, kind: Kind, value: str, seen: dict[str, str]
    ) -> None:
        expected = seen.get(key) if kind is Kind.REPLACE else None
        if kind is Kind.REPLACE and expected is None:
            kind = Kind.GET
        writes_value = kind in (Kind.PUT, Kind.INSERT, Kind.REPLACE)
        reports = kind in (Kind.PUT, Kind.DELETE, Kind.ADD) and rng.random() < 0.5
        operation = Operation(
            client=client,
            key=key,
            kind=kind,
            invoke_ns=time.monotonic_ns(),
            value=value if writes_value else None,
            expected=expected,
            amount=rng.randrange(1, 4) if kind is Kind.ADD else 0,
        )
        outcome, item = self._call(boto, operation, reports)
        if outcome is Outcome.UNKNOWN:
            # Nobody listens: asking on and on would only leave thousands of open ends for the checker to try.
            self._stop.wait(1.0)
        returned_ns = None if outcome is Outcome.UNKNOWN else time.monotonic_ns()
        if item is not None and item.value is not None and not (reports and kind is not Kind.ADD):
            seen[key] = item.value
        self.history.append(
            Operation(
                client=client,
                key=key,
                kind=kind,
                invoke_ns=operation.invoke_ns,
                return_ns=returned_ns,
                outcome=outcome,
                value=operation.value,
                expected=expected,
                amount=operation.amount,
                seen=item if kind is Kind.GET or reports else None,
                reports=reports and outcome is Outcome.OK,
            )
        )

    def _call(self, boto: Any, operation: Operation, reports: bool) -> tuple[Outcome, Item | None]:
        try:
            answer = perform(boto, operation, reports)
        except ClientError as error:
            if error.response["Error"]["Code"] == _CONDITION_FAILED:
                return Outcome.FAILED, None
            self.errors.append(f"{operation.kind}: {error}")
        except BotoCoreError as error:
            self.errors.append(f"{operation.kind}: {error}")
        else:
            return Outcome.OK, item_of(answer.get("Item") or answer.get("Attributes"))
        return Outcome.UNKNOWN, None


def perform(boto: Any, operation: Operation, reports: bool = False) -> dict[str, Any]:
    """Carry `operation` out; the client's answer. Raises what boto3 raises."""
    key = {"pk": {"S": operation.key}}
    arguments: dict[str, Any] = {"TableName": TABLE}
    match operation.kind:
        case Kind.GET:
            return dict(boto.get_item(**arguments, Key=key, ConsistentRead=True))
        case Kind.PUT | Kind.INSERT | Kind.REPLACE:
            arguments["Item"] = {**key, "v": {"S": operation.value}}
            if operation.kind is Kind.INSERT:
                arguments["ConditionExpression"] = "attribute_not_exists(pk)"
            elif operation.kind is Kind.REPLACE:
                arguments["ConditionExpression"] = "v = :expected"
                arguments["ExpressionAttributeValues"] = {":expected": {"S": operation.expected}}
            elif reports:
                arguments["ReturnValues"] = "ALL_OLD"
            return dict(boto.put_item(**arguments))
        case Kind.DELETE:
            return dict(boto.delete_item(**arguments, Key=key, ReturnValues="ALL_OLD" if reports else "NONE"))
        case Kind.ADD:
            return dict(
                boto.update_item(
                    **arguments,
                    Key=key,
                    UpdateExpression="ADD n :amount",
                    ExpressionAttributeValues={":amount": {"N": str(operation.amount)}},
                    ReturnValues="ALL_NEW" if reports else "NONE",
                )
            )
        case Kind.PEEK:
            raise ValueError("eventual reads are not recorded here")


def item_of(attributes: dict[str, Any] | None) -> Item | None:
    """The part of an item that the checker knows; None if there was none."""
    if attributes is None:
        return None
    value, count = attributes.get("v"), attributes.get("n")
    return Item(None if value is None else value["S"], None if count is None else int(count["N"]))
