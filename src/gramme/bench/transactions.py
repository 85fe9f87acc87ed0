"""What transactions cost beside plain operations of as many items, and how many are canceled when keys are hot.

Rules: one transactional and one plain request in turn, on one connection, so that both meet the same machine; the
figure of a round is the ratio of their medians. Three nodes, shared endpoint, distinct items over four partitions.
Source: issue 4; USENIX ATC 2023, section 6 (single reads just under 2×, writes about 4×).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from gramme.bench import loading, markdown
from gramme.bench.bars import Panel, bar, draw
from gramme.bench.dataset import Shape
from gramme.bench.errors import CannotMeasure
from gramme.bench.records import Record, Run, Section
from gramme.testing import cluster

SIZES: Final = (1, 3, 10, 100)
CLIENTS: Final = 8
HOT_ITEMS: Final = 3
KEYS: Final = (10, 100, 1_000, 10_000)
_TABLE: Final = "transacted"
_SHAPE: Final = Shape()
_BATCH: Final = 25  # the most that a BatchWriteItem takes
_BALANCE: Final = "SET n = if_not_exists(n, :none) + :one"
_ONE: Final = {":one": {"N": "1"}, ":none": {"N": "0"}}
Request = tuple[str, dict[str, Any]]


class Pair(msgspec.Struct, frozen=True):
    """Median latencies of one round, in milliseconds."""

    transaction_ms: float
    plain_ms: float

    @property
    def ratio(self) -> float:
        """How many times as long the transaction takes."""
        return self.transaction_ms / self.plain_ms


class Cost(msgspec.Struct, frozen=True):
    """One kind of transaction of so many items, a pair for each round."""

    kind: str  # "read" or "write"
    items: int
    pairs: list[Pair]


class Contention(msgspec.Struct, frozen=True):
    """`CLIENTS` clients that update `HOT_ITEMS` items of `keys` in each transaction; one entry for each round."""

    keys: int
    committed_per_s: list[float]
    canceled: list[float]  # share of attempts


class Transactions(msgspec.Struct, frozen=True):
    """All that was found."""

    costs: list[Cost]
    contention: list[Contention]


def measure(run: Run) -> Transactions:
    """Every size and kind `rounds` times, then contention for `seconds` each."""
    rounds, seconds, progress = run.rounds, run.seconds, run.progress
    pairs: dict[tuple[str, int], list[Pair]] = {}
    hot: dict[int, list[tuple[float, float]]] = {}
    with cluster(3, directory=run.directory / "transactions", test_controls=False) as three:
        loading.make(three.endpoint_url, _TABLE, _SHAPE)
        with _connected(three.port) as connection:
            client = _Client(connection, random.Random(1))
            client.pairs("read", 3, 50)
            client.pairs("write", 3, 50)
            for round_ in range(rounds):
                for kind in ("read", "write"):
                    for items in SIZES:
                        pair = client.pairs(kind, items, 30 if items >= _BATCH else 150)
                        pairs.setdefault((kind, items), []).append(pair)
                        progress(f"{kind} of {items}, round {round_ + 1}: {pair.ratio:.2f} times the plain one")
        for round_ in range(rounds):
            for keys in KEYS:
                hot.setdefault(keys, []).append(_contend(three.port, keys, seconds))
                progress(f"contention for {keys} keys, round {round_ + 1}: {hot[keys][-1][1]:.1%} canceled")
    costs = [Cost(kind, items, found) for (kind, items), found in pairs.items()]
    contention = [
        Contention(keys, [done for done, _ in found], [canceled for _, canceled in found])
        for keys, found in hot.items()
    ]
    return Transactions(costs, contention)


@contextlib.contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        yield connection


class _Client:
    """One connection and its choice of items."""

    def __init__(self, connection: http.client.HTTPConnection, rng: random.Random) -> None:
        self._connection = connection
        self._rng = rng

    def pairs(self, kind: str, items: int, count: int) -> Pair:
        """`count` transactions of `items` items and as many plain requests, in turn."""
        took: tuple[list[float], list[float]] = ([], [])
        for _ in range(count):
            keys = [_key(number) for number in self._rng.sample(range(_SHAPE.records), items)]
            for requests, times in zip((_transaction(kind, keys), _plain(kind, keys)), took, strict=True):
                started = time.perf_counter()
                for operation, body in requests:
                    status, answer = self.send(operation, body)
                    if status != 200:
                        raise CannotMeasure(f"{operation}: {status} {answer[:500]!r}")
                times.append((time.perf_counter() - started) * 1e3)
        return Pair(statistics.median(took[0]), statistics.median(took[1]))

    def send(self, operation: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """One request; status and body of its answer."""
        headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        self._connection.request("POST", "/", json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()


def _key(number: int) -> str:
    return _SHAPE.key(number)["pk"]["S"]


def _place(key: str) -> dict[str, Any]:
    return {"TableName": _TABLE, "Key": {"pk": {"S": key}}}


def _item(key: str) -> dict[str, Any]:
    return {"pk": {"S": key}, "data": {"S": f"{time.perf_counter():f}" * 60}}


def _token() -> str:
    return f"{random.getrandbits(128):032x}"


def _transaction(kind: str, keys: Sequence[str]) -> list[Request]:
    """As SDKs send it: a write carries a token."""
    if kind == "read":
        return [("TransactGetItems", {"TransactItems": [{"Get": _place(key)} for key in keys]})]
    puts = [{"Put": {"TableName": _TABLE, "Item": _item(key)}} for key in keys]
    return [("TransactWriteItems", {"TransactItems": puts, "ClientRequestToken": _token()})]


def _plain(kind: str, keys: Sequence[str]) -> list[Request]:
    """The plain requests for the same items: one item by itself, several in a batch, more than 25 puts in several."""
    if kind == "read":
        if len(keys) == 1:
            return [("GetItem", {**_place(keys[0]), "ConsistentRead": True})]
        wanted = {"ConsistentRead": True, "Keys": [{"pk": {"S": key}} for key in keys]}
        return [("BatchGetItem", {"RequestItems": {_TABLE: wanted}})]
    if len(keys) == 1:
        return [("PutItem", {"TableName": _TABLE, "Item": _item(keys[0])})]
    batches = [keys[first : first + _BATCH] for first in range(0, len(keys), _BATCH)]
    return [
        ("BatchWriteItem", {"RequestItems": {_TABLE: [{"PutRequest": {"Item": _item(key)}} for key in batch]}})
        for batch in batches
    ]


def _contend(port: int, keys: int, seconds: float) -> tuple[float, float]:
    """Committed transactions in a second and the share that was canceled."""
    committed, canceled = [0] * CLIENTS, [0] * CLIENTS
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        with _connected(port) as connection:
            rng = random.Random(number)
            client = _Client(connection, rng)
            while time.perf_counter() < end:
                chosen = [_key(key) for key in rng.sample(range(keys), HOT_ITEMS)]
                update = {"UpdateExpression": _BALANCE, "ExpressionAttributeValues": _ONE}
                updates = [{"Update": {**_place(key), **update}} for key in chosen]
                body = {"TransactItems": updates, "ClientRequestToken": _token()}
                status, answer = client.send("TransactWriteItems", body)
                if status == 200:
                    committed[number] += 1
                elif b"TransactionConflict" in answer:
                    canceled[number] += 1
                else:
                    raise CannotMeasure(f"TransactWriteItems: {status} {answer[:500]!r}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    attempts = sum(committed) + sum(canceled)
    return sum(committed) / seconds, sum(canceled) / max(1, attempts)


def _told(taken: Record[Transactions]) -> str:
    found = taken.found
    costs = []
    for cost in found.costs:
        transaction = statistics.median(pair.transaction_ms for pair in cost.pairs)
        plain = statistics.median(pair.plain_ms for pair in cost.pairs)
        ratio = markdown.spread([pair.ratio for pair in cost.pairs], ".1f")
        costs.append((cost.kind, cost.items, markdown.ms(transaction), markdown.ms(plain), ratio))
    contention = [
        (f"{one.keys:,}", f"{statistics.median(one.committed_per_s):,.0f}", f"{statistics.median(one.canceled):.1%}")
        for one in found.contention
    ]
    return "\n\n".join(
        (
            "## Transactions",
            "Three nodes, shared endpoint, items of 900 bytes over four partitions. One connection sends a transaction "
            "and the plain requests for the same items in turn: GetItem and PutItem of one item, else BatchGetItem and "
            "BatchWriteItem (four of them for 100 puts). Medians of the rounds, in brackets the lowest and highest "
            "ratio. The paper has just under 2 for reads of one item and about 4 for writes; here, items of one "
            "partition need no second round and no prepare.",
            markdown.table(("", "items", "transaction ms", "plain ms", "ratio"), costs),
            f"{CLIENTS} clients each update {HOT_ITEMS} items, drawn from so many, in one transaction after the other, "
            "and never wait before the next one:",
            markdown.table(("keys", "committed/s", "canceled"), contention, words=0),
            "![Transactions](benchmarks/transactions.svg)",
        )
    )


def _pictures(found: Transactions) -> dict[str, str]:
    ratios = [bar(f"{cost.kind} of {cost.items}", [pair.ratio for pair in cost.pairs]) for cost in found.costs]
    canceled = [
        bar(f"{HOT_ITEMS} of {one.keys:,} keys", [100 * share for share in one.canceled]) for one in found.contention
    ]
    panels = [
        Panel("Latency of a transaction, in times of the plain requests for its items", ratios),
        Panel(f"Transactions canceled by conflicts among {CLIENTS} clients, in percent", canceled),
    ]
    return {"transactions.svg": draw(panels)}


SECTION: Final = Section("transactions", Transactions, measure, _told, _pictures)
