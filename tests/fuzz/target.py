"""What the fuzzer shoots at: the API over the in-memory backend, and what must hold of every answer."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable

from tests.api.caller import Caller, headers_of
from tests.api.memory_backend import MemoryBackend
from tests.fuzz.corpus import REQUESTS
from tests.fuzz.mutations import mutated

from gramme.api.dynamodb.service import DynamoDbApi
from gramme.api.http import HttpResponse
from gramme.tables.catalog import CatalogReply, CatalogRequest, DescribeTable, TableReply
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import Reply, Request
from gramme.tables.transactions import WriteOutcome, WriteTransaction

_FRESH_EVERY = 500  # requests: what earlier ones stored shall not pile up


class CountingBackend(MemoryBackend):
    """Counts what has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0

    def _serve(self, table: TableDescriptor, key: bytes, request: Request) -> Reply:
        self.requests.clear()
        self.command_ids.clear()
        rows = self.rows.get(table.table_id, {})
        before = rows.get(key)
        reply = super()._serve(table, key, request)
        self.changes += rows.get(key) != before
        return reply

    def _transact(self, request: WriteTransaction) -> WriteOutcome:
        self.transactions.clear()
        self.tokens.clear()
        before = {table: dict(rows) for table, rows in self.rows.items()}
        outcome = super()._transact(request)
        self.changes += self.rows != before
        return outcome

    def _catalog(self, request: CatalogRequest) -> CatalogReply:
        reply = super()._catalog(request)
        self.changes += isinstance(reply, TableReply) and not isinstance(request, DescribeTable)
        return reply


class Target(Caller):
    """An endpoint with two tables and a few items."""

    def __init__(self) -> None:
        super().__init__()
        self.counting = CountingBackend()
        self.backend = self.counting
        log = lambda *line: self.log.append(line)  # noqa: E731
        self.api = DynamoDbApi(self.backend, self.backend.clock, random.Random(7), None, log)
        self.create_tables()
        for operation, body in REQUESTS[:2]:
            self.call(operation, body)

    def judge(self, operation: str, raw: bytes) -> int:
        """Send one request. Raises AssertionError if the answer is not one that a client may get; gives its status."""
        changes = self.counting.changes
        answer = self.answer = self.http(body=raw, headers=headers_of(operation))
        shown = f"{operation} {raw[:2000]!r}: {answer.status} {answer.whole_body()[:500]!r} {self.log}"
        assert answer.status in (200, 400), shown
        assert not self.log, shown
        body = json.loads(answer.whole_body())
        if answer.status == 400:
            assert "#" in body["__type"], shown
            assert self.counting.changes == changes, f"written by a refused request: {shown}"
        return answer.status


def fuzz(seed: int, count: int, witness: Callable[[HttpResponse], object] = lambda _: None) -> Counter[int]:
    """Send `count` requests that follow from `seed`; gives how many answers had which status, and each to `witness`."""
    statuses: Counter[int] = Counter()
    for start in range(0, count, _FRESH_EVERY):
        rng = random.Random(f"{seed}/{start}")
        target = Target()
        for number in range(min(_FRESH_EVERY, count - start)):
            operation, body = rng.choice(REQUESTS)
            raw = mutated(body, rng)
            try:
                statuses[target.judge(operation, raw)] += 1
                witness(target.answer)
            except BaseException as error:
                error.add_note(f"seed {seed}, request {start + number}")
                raise
    return statuses
