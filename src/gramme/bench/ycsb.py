"""The YCSB core workloads and a few of one operation, drawn from a seed: `workload` to `prepared.Prepared`.

Rules: the same seed draws the same requests; keys are drawn as YCSB draws them (uniformly, by Zipf's law with constant
0.99 over keys that are then scattered, or by Zipf's law from the newest backwards); what is inserted is new, also in
the next round (`first_insert`). Differences: an update is UpdateItem with SET of one field of nine; a read-modify-write
of F is GetItem and, once it is answered, an UpdateItem on condition that the item is still there; a scan of E is a
strong Query of 1 to 100 items in order of one partition key. Source: Cooper et al., Benchmarking Cloud Serving Systems
with YCSB (SoCC 2010), and its CoreWorkload.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable
from random import Random
from typing import Final, Literal, NamedTuple

from gramme.bench.dataset import ObjectRequests, TableRequests
from gramme.bench.prepared import Preparation, Prepared

Distribution = Literal["uniform", "zipfian", "latest"]
Operation = Literal["read", "read-eventually", "put", "update", "insert", "scan", "read-modify-write"]

ZIPFIAN_CONSTANT: Final = 0.99
_SCATTER_SEED: Final = 2010
_VARIANTS: Final = 500
"""Values that a write is drawn from. An update that changes nothing need not be logged, and is not here: so what an
update sets has to differ from what is stored, also when the list starts again (`prepare`)."""
_UNANSWERED: Final = 64
"""Reads of the latest keep so far behind the newest insert: what is still under way may not be there."""


class Workload(NamedTuple):
    """Shares of operations (they add up to 1), the distribution that YCSB gives it, and the items it is made for."""

    about: str
    shares: dict[Operation, float]
    distribution: Distribution = "zipfian"
    group: int = 1
    scan_length: tuple[int, int] = (1, 100)

    @property
    def writes(self) -> bool:
        """Whether anything is written."""
        return any(operation not in ("read", "read-eventually", "scan") for operation in self.shares)


WORKLOADS: Final[dict[str, Workload]] = {
    "a": Workload("50 % reads, 50 % updates", {"read": 0.5, "update": 0.5}),
    "b": Workload("95 % reads, 5 % updates", {"read": 0.95, "update": 0.05}),
    "c": Workload("reads", {"read": 1.0}),
    "d": Workload("95 % reads of the latest, 5 % inserts", {"read": 0.95, "insert": 0.05}, "latest"),
    "e": Workload("95 % short scans, 5 % inserts", {"scan": 0.95, "insert": 0.05}, group=100),
    "f": Workload("50 % reads, 50 % read-modify-writes", {"read": 0.5, "read-modify-write": 0.5}),
    "get": Workload("GetItem", {"read": 1.0}, "uniform"),
    "get-eventual": Workload("GetItem, eventually consistent", {"read-eventually": 1.0}, "uniform"),
    "put": Workload("PutItem", {"put": 1.0}, "uniform"),
    "update": Workload("UpdateItem", {"update": 1.0}, "uniform"),
    "half": Workload("50 % GetItem, 50 % UpdateItem", {"read": 0.5, "update": 0.5}, "uniform"),
    "query": Workload("Query of 10 items", {"scan": 1.0}, "uniform", 10, (10, 10)),
}
"""The first six are YCSB's; the others are the columns by which endpoints are compared."""


class _Keys:
    """Draws numbers of items; see the module."""

    def __init__(self, distribution: Distribution, records: int, rng: Random) -> None:
        self._distribution = distribution
        self._rng = rng
        self._newest = records
        self._records = records
        if distribution != "uniform":
            self._weights = list(itertools.accumulate((at + 1) ** -ZIPFIAN_CONSTANT for at in range(records)))
        if distribution == "zipfian":
            self._scattered = Random(_SCATTER_SEED).sample(range(records), records)

    def draw(self, inserted: int = 0) -> int:
        """One number, after so many inserts."""
        if self._distribution == "uniform":
            return self._rng.randrange(self._records)
        rank = bisect.bisect_left(self._weights, self._rng.random() * self._weights[-1])
        if self._distribution == "zipfian":
            return self._scattered[rank]
        newest = self._records + max(0, inserted - _UNANSWERED)
        return max(0, newest - 1 - rank)


def keys(distribution: Distribution, records: int, seed: int) -> Callable[[int], int]:
    """A function that draws the number of an item, after so many inserts."""
    return _Keys(distribution, records, Random(f"keys-{seed}")).draw


def prepare(
    workload: Workload,
    requests: TableRequests | ObjectRequests,
    seed: int,
    count: int,
    *,
    distribution: Distribution | None = None,
    first_insert: int = 0,
) -> Prepared:
    """`count` operations. Raises ValueError for one that the endpoint does not have: objects know reads and puts.

    The second half has the operations of the first again with other values (and other inserts), so that an item which
    is written once in the list is written with another value the next time.
    """
    operations, shares = list(workload.shares), list(itertools.accumulate(workload.shares.values()))
    encoder = _Encoder(workload, requests, first_insert)
    for half in range(2):
        draw = keys(distribution or workload.distribution, requests.shape.records, seed)
        rng = Random(f"operations-{seed}")
        for _ in range((count + half) // 2):
            operation = operations[bisect.bisect_left(shares, rng.random() * shares[-1])]
            encoder.add(operation, draw(first_insert + encoder.inserted), half * _VARIANTS, rng)
    return encoder.preparation.prepared()


class _Encoder:
    """Puts requests for operations together."""

    def __init__(self, workload: Workload, requests: TableRequests | ObjectRequests, first_insert: int) -> None:
        self.preparation = Preparation()
        self.inserted = 0
        self._workload = workload
        self._requests = requests
        self._first_insert = first_insert

    def add(self, operation: Operation, number: int, variants: int, rng: Random) -> None:
        """One operation on item `number`; what it writes is one of the `_VARIANTS` behind `variants`."""
        self.preparation.send(self._request(operation, number, variants, rng))

    def _request(self, operation: Operation, number: int, variants: int, rng: Random) -> int:
        add, to, variant = self.preparation.add, self._requests, variants + rng.randrange(1, 1 + _VARIANTS)
        if operation == "read":
            return add("read", number, lambda: to.read(number))
        if operation == "put" or (operation == "update" and isinstance(to, ObjectRequests)):
            return add("put", (number, variant), lambda: to.put(number, variant))
        if operation == "insert":
            new = to.shape.records + self._first_insert + self.inserted
            self.inserted += 1
            return add("insert", new, lambda: to.put(new, 0))
        if isinstance(to, ObjectRequests):
            raise ValueError(f"objects have no {operation}")
        if operation == "read-eventually":
            return add("read", number, lambda: to.read_eventually(number))
        if operation == "update":
            return add("update", (number, variant), lambda: to.update(number, variant))
        if operation == "scan":
            length = rng.randint(*self._workload.scan_length)
            start = number - number % to.shape.group if length == to.shape.group else number
            return add("scan", (start, length), lambda: to.scan(start, length))
        write = add("modify", (number, variant), lambda: to.update(number, variant, conditional=True))
        return add("read-modify-write", (number, variant), lambda: to.read(number), write)


def in_order(requests: ObjectRequests) -> Prepared:
    """A put of every record, one after the other."""
    preparation = Preparation()
    for number in range(requests.shape.records):
        preparation.send(preparation.add("put", number, functools.partial(requests.put, number, 0)))
    return preparation.prepared()
