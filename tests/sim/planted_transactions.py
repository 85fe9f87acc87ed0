"""Faults planted in the protocol of transactions: each breaks one of its rules, and the bank must find it.

As `tests.sim.planted`, whose list these join. Sources: USENIX ATC 2023, section 4; docs/design/transactions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec
from tests.patched import patched

from gramme.kernel.time import Stamp
from gramme.node.changes.item_changes import ITEMS
from gramme.node.evaluator import Answer, Change, Context, Read
from gramme.node.table_evaluator import TableEvaluator
from gramme.node.transactions import holding, ledger
from gramme.node.transactions.holding import Holds
from gramme.node.transactions.ledger import LedgerEvaluator
from gramme.node.transactions.reads import ReadCoordinator
from gramme.node.transactions.writes import WriteCoordinator
from gramme.tables.item import stored_stamp
from gramme.tables.requests import ReadVersions, VersionsRead
from gramme.tables.transaction_commands import Begin, Decided, Finish, Recover, Verdict


def _in_the_ledger(command: type, replacement: Callable[..., Change | Answer]) -> AbstractContextManager[None]:
    """The ledger serves `command` by `replacement`, which is given the original first."""
    original = LedgerEvaluator.write

    def write(self: LedgerEvaluator, request: Any, read: Read, context: Context) -> Change | Answer:
        if not isinstance(request, command):
            return original(self, request, read, context)
        return replacement(lambda: original(self, request, read, context), request, read)

    return patched(LedgerEvaluator, "write", write)


# --- the coordinator of writes


def commit_before_the_decision_is_durable() -> AbstractContextManager[None]:
    """The partitions hear of the commit together with the ledger, whatever that says."""
    original = WriteCoordinator._decide

    def hasty(self: WriteCoordinator) -> None:
        done = self._done()
        for part in self._parts:
            self._desk.send(part.place, Finish(self._tx, commit=True), self._deadline, lambda _reply: None)
        original(self)
        assert done is not None

    return patched(WriteCoordinator, "_decide", hasty)


def answer_before_the_commit_is_applied() -> AbstractContextManager[None]:
    """The client is told as soon as the ledger has decided."""

    def hasty(self: WriteCoordinator, reply: Any, original: Any = WriteCoordinator._decided) -> None:
        if isinstance(reply, Decided) and reply.commit:
            self._answer(self._done())
        original(self, reply)

    return patched(WriteCoordinator, "_decided", hasty)


def finish_all_but_one() -> AbstractContextManager[None]:
    """The last participant is forgotten."""

    def short(self: WriteCoordinator, original: Any = WriteCoordinator._finish) -> None:
        done = self._done()
        self._places = self._places[:-1]
        self._done = lambda: done  # type: ignore[method-assign]
        original(self)

    return patched(WriteCoordinator, "_finish", short)


def claim_no_token_for_one_phase() -> AbstractContextManager[None]:
    """A transaction of one partition is written at once, token or not."""
    return patched(WriteCoordinator, "start", _start_without_a_claim)


def _start_without_a_claim(self: WriteCoordinator) -> None:
    self._attempts += 1
    if self._one_phase:
        self._token = None
        self._write_all()
    else:
        self._begin()


# --- the coordinator of reads


def read_in_one_round() -> AbstractContextManager[None]:
    """Items of several partitions are taken as they come."""

    def once(self: ReadCoordinator) -> None:
        self._first = self._newest
        self._done()

    return patched(ReadCoordinator, "_read_once", once)


def read_what_is_held() -> AbstractContextManager[None]:
    """Nobody looks whether an item is held: it may be committed elsewhere."""
    original = TableEvaluator.read

    def blind(self: TableEvaluator, request: Any, get: Read, scan: Any) -> Any:
        reply = original(self, request, get, scan)
        if isinstance(request, ReadVersions) and isinstance(reply, VersionsRead):
            return VersionsRead(tuple(msgspec.structs.replace(item, held=False) for item in reply.items))
        return reply

    return patched(TableEvaluator, "read", blind)


# --- partitions


def commit_under_the_old_stamp() -> AbstractContextManager[None]:
    """A committed item keeps the version that it had."""

    def old(read: Read, key: bytes) -> Stamp:
        stored = read(ITEMS + key)
        return Stamp(1) if stored is None else stored_stamp(stored)

    def commit(key: bytes, schema: Any, staged: Any, original: Any = holding._commit) -> None:
        row = holding.decode_pending(staged.read(holding.PENDING + key))
        stale = msgspec.structs.replace(row, stamp=old(staged.read, key))
        staged.put(holding.PENDING + key, holding._pack(stale))
        original(key, schema, staged)

    return patched(holding, "_commit", commit)


def forget_holds_at_a_new_leader() -> AbstractContextManager[None]:
    """A new leader does not look for what is held."""

    def empty(self: Holds, rows: Any) -> None:
        self.by_key.clear()
        self._keys.clear()

    return patched(Holds, "load", empty)


def write_what_is_held() -> AbstractContextManager[None]:
    """A plain write does not mind that a transaction holds the item."""
    original = TableEvaluator.write

    def careless(self: TableEvaluator, request: Any, read: Read, context: Context) -> Change | Answer:
        held, self._held = self._held, {}
        try:
            return original(self, request, read, context)
        finally:
            self._held = held

    return patched(TableEvaluator, "write", careless)


def prepare_what_is_held() -> AbstractContextManager[None]:
    """A prepare takes an item from the transaction that holds it."""

    def careless(action: Any, tx: bytes, schema: Any, holds: Holds, *rest: Any, original: Any = holding._judge) -> Any:
        return original(action, tx, schema, Holds(), *rest)

    return patched(holding, "_judge", careless)


# --- the ledger and recovery


def recovery_cancels_what_is_decided() -> AbstractContextManager[None]:
    """Recovery does not look whether the row says COMMITTED."""

    def cancel(original: Any, request: Recover, read: Read) -> Change | Answer:
        row = ledger.ledger_row(read, request.id)
        if row is None or row.tx != request.tx or row.one_phase:
            plan: Change | Answer = original()
            return plan
        return Change([], [ledger._ROW + request.id, ledger.OPEN + request.id], Verdict(False, row.participants))

    return _in_the_ledger(Recover, cancel)


def recovery_leaves_the_row() -> AbstractContextManager[None]:
    """Recovery cancels at the partitions, and the coordinator may still commit."""

    def leave(original: Any, request: Recover, read: Read) -> Change | Answer:
        plan: Change | Answer = original()
        return Answer(plan.reply, (ledger._ROW + request.id,)) if isinstance(plan, Change) else plan

    return _in_the_ledger(Recover, leave)


def begin_again_under_a_known_token() -> AbstractContextManager[None]:
    """The ledger begins anew although the token's transaction is committed."""

    def anew(original: Any, request: Begin, read: Read) -> Change | Answer:
        row = ledger.ledger_row(read, request.id)
        plan: Change | Answer = original()
        if row is None or row.done is None or isinstance(plan, Change):
            return plan
        fresh = ledger.LedgerRow(
            request.tx, request.digest, "RUNNING", request.stamp, request.one_phase, request.participants, row.begun
        )
        return Change(
            [(ledger._ROW + request.id, ledger._pack(fresh)), (ledger.OPEN + request.id, b"")], [], ledger._BEGUN
        )

    return _in_the_ledger(Begin, anew)
