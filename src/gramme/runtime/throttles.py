"""Throttling on purpose, for tests: a share of a table's requests, or of the parts of its batches, is refused.

Owns the rules that the test controls `throttle` and `unprocessed` set, and the backend that obeys them, which stands
between the API and the node's router only where test controls are on. Rule: which requests are refused follows from
their number alone (of a rate of 0.25 every fourth), so that a test repeats. What is refused was not applied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from gramme.api.backend import Backend, ControlRefused
from gramme.kernel.ids import CommandId
from gramme.kernel.time import Instant
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import DeleteItem, Failed, FailureKind, PutItem, ReadRequest, Reply, Request, UpdateItem
from gramme.tables.transactions import (
    ReadOutcome,
    ReadTransaction,
    TransactionCanceled,
    WriteOutcome,
    WriteTransaction,
)

_Key = TypeVar("_Key")

_WRITES: Final = (PutItem, DeleteItem, UpdateItem)
_LIMITS: Final = (
    "ProvisionedThroughputExceeded",
    "KeyRangeThroughputExceeded",
    "MaxOnDemandThroughputExceeded",
    "AccountLimitExceeded",
)
REASONS: Final = tuple(
    what + way + limit for what in ("Table", "Index") for way in ("Read", "Write") for limit in _LIMITS
)
"""The reasons of the service: what was throttled, which way, and by which limit."""


class _Rule:
    """Refuses a `rate` of the requests it is asked about."""

    def __init__(self, rate: float, reason: str, index: str) -> None:
        self._rate = rate
        self._due = 0.0
        self.failure = Failed(FailureKind.THROTTLED, "a test control throttles this table", reason, index)

    def strikes(self) -> bool:
        """Whether this one is refused."""
        self._due += self._rate
        if self._due < 1:
            return False
        self._due -= 1
        return True


class Throttles:
    """The rules by table: `requests` for all of its reads or writes, `parts` for those of batches."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, bool], _Rule] = {}  # by table and whether it is about writes
        self._parts: dict[str, _Rule] = {}

    def throttle(self, table: str, rate: float, reason: str, index: str) -> None:
        """Refuse a share `rate` (0 to 1; 0 ends it) of the reads or writes of `table`, as `reason` says.

        Raises ControlRefused.
        """
        if reason not in REASONS:
            raise ControlRefused(f"there is no reason {reason!r}; there are: {', '.join(REASONS)}")
        if reason.startswith("Index") != bool(index):
            raise ControlRefused("a reason that begins with Index needs the index's name, and no other takes one")
        writes = "Write" in reason
        _set(self._requests, (table, writes), rate, _Rule(rate, reason, index))

    def unprocessed(self, table: str, rate: float) -> None:
        """Leave a share `rate` (0 to 1; 0 ends it) of the parts of batches on `table` undone. Raises ControlRefused."""
        _set(self._parts, table, rate, _Rule(rate, "", ""))

    def clear(self) -> None:
        """No rule any more."""
        self._requests.clear()
        self._parts.clear()

    def refusal(self, table: str, request: Request, in_batch: bool) -> Failed | None:
        """The failure that a request gets instead of being sent."""
        refused = self.struck(table, isinstance(request, _WRITES))
        if refused is not None or not in_batch:
            return refused
        rule = self._parts.get(table)
        return rule.failure if rule is not None and rule.strikes() else None

    def struck(self, table: str, writes: bool) -> Failed | None:
        """The failure that one more read or write of `table` gets, or one item of a transaction."""
        rule = self._requests.get((table, writes))
        return rule.failure if rule is not None and rule.strikes() else None


def _set(rules: dict[_Key, _Rule], key: _Key, rate: float, rule: _Rule) -> None:
    if not 0 <= rate <= 1:
        raise ControlRefused(f"rate is {rate}: it must be between 0 and 1")
    if rate:
        rules[key] = rule
    else:
        rules.pop(key, None)


class ThrottledBackend:
    """A `Backend` that refuses what the rules say, and hands everything else on."""

    def __init__(self, backend: Backend, throttles: Throttles, batches: bool) -> None:
        """`batches`: what is submitted here are parts of batches."""
        self._throttles = throttles
        self._batches = batches
        self._submit = backend.submit
        self._transact_write = backend.transact_write
        self._transact_get = backend.transact_get
        self.table = backend.table
        self.lookup = backend.lookup
        self.catalog = backend.catalog
        self.read_changes = backend.read_changes
        self.addresses = backend.addresses

    def read_here(self, table: TableDescriptor, key: bytes, request: ReadRequest) -> Reply | None:
        """None: a request is counted once, when it is submitted."""
        return None

    def submit(
        self,
        table: TableDescriptor,
        key: bytes,
        request: Request,
        command_id: CommandId | None,
        deadline: Instant,
        on_reply: Callable[[Reply], None],
        repeated: bool = False,
    ) -> None:
        """See `gramme.api.backend.Backend`."""
        refusal = self._throttles.refusal(table.name, request, self._batches)
        if refusal is not None:
            on_reply(refusal)
        else:
            self._submit(table, key, request, command_id, deadline, on_reply, repeated)

    def transact_write(
        self, request: WriteTransaction, deadline: Instant, on_reply: Callable[[WriteOutcome], None]
    ) -> None:
        """See `gramme.api.backend.Backend`."""
        canceled = self._canceled([table for table, _ in request.actions], writes=True)
        if canceled is not None:
            on_reply(canceled)
        else:
            self._transact_write(request, deadline, on_reply)

    def transact_get(
        self, request: ReadTransaction, deadline: Instant, on_reply: Callable[[ReadOutcome], None]
    ) -> None:
        """See `gramme.api.backend.Backend`."""
        canceled = self._canceled([table for table, _ in request.keys], writes=False)
        if canceled is not None:
            on_reply(canceled)
        else:
            self._transact_get(request, deadline, on_reply)

    def _canceled(self, tables: list[TableDescriptor], writes: bool) -> TransactionCanceled | None:
        """Why a transaction over items of `tables` is not sent."""
        reasons = tuple(self._throttles.struck(table.name, writes) for table in tables)
        return None if all(reason is None for reason in reasons) else TransactionCanceled(reasons)
