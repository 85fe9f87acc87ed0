"""The ledger: one replicated row for each transaction in progress, and for each token of the last ten minutes.

Owns the data model of the ledger's partitions (see `gramme.node.evaluator.Evaluator`). Rule: the row is the decision. A
transaction is committed when its row says COMMITTED, and whoever finds no row of it (by `tx`) may take it as canceled
(presumed abort), because a partition is asked to prepare only after the row was there, and the row goes only when
every participant has finished. So only success is remembered.

Rows of space TRANSACTIONS: `r/ID` → LedgerRow; `o/ID` → while participants may not have finished (open); `x/TIME/ID` →
closed then (wall time, 8 bytes), in the order in which the sweep forgets them. A token's time runs from when its
transaction is closed: when all participants have finished, or, of one phase, when its outcome is here; such a row stays
open until its partition needs no marker any more. Source: USENIX ATC 2023, section 4.1
(transaction ledger) and 4.4 (recovery); API reference, TransactWriteItems (a token is valid for ten minutes after the
request is done).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from gramme.kernel.errors import Invariant
from gramme.kernel.time import SECOND, Timestamp
from gramme.node.evaluator import Answer, Change, Context, Read, ReadLately, Scan
from gramme.storage.engine.rows import Space
from gramme.tables.transaction_commands import (
    Begin,
    Begun,
    Close,
    Decide,
    Decided,
    Forget,
    Participant,
    Recover,
    Replay,
    Running,
    Settle,
    Settled,
    Verdict,
)
from gramme.tables.transactions import TokenMismatch, TransactionDone

TOKEN_NS: Final = 600 * SECOND
"""How long a token is remembered after its transaction is closed."""

_SPACE: Final = bytes((Space.TRANSACTIONS,))
_ROW: Final = _SPACE + b"r/"
OPEN: Final = _SPACE + b"o/"
OPEN_END: Final = _SPACE + b"o0"
CLOSED: Final = _SPACE + b"x/"
CLOSED_END: Final = _SPACE + b"x0"
_TIME_BYTES: Final = 8

_BEGUN: Final = Begun()
_SETTLED: Final = Settled()


class LedgerRow(msgspec.Struct, frozen=True, array_like=True):
    """One transaction. `begun` and `closed` are wall time at the ledger's leader; `closed` 0: its token's time has not
    begun. `digest` b"": it has no token. No `participants`: all have finished."""

    tx: bytes
    digest: bytes
    state: Literal["RUNNING", "COMMITTED"]
    stamp: int
    one_phase: bool
    participants: tuple[Participant, ...]
    begun: Timestamp
    closed: Timestamp = Timestamp(0)
    done: TransactionDone | None = None


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(LedgerRow).decode
_replace: Final = msgspec.structs.replace


def ledger_row(read: Read, id_: bytes) -> LedgerRow | None:
    """The row of the transaction with the key `id_`."""
    stored = read(_ROW + id_)
    return None if stored is None else _unpack(stored)


def closed_row(key: bytes) -> tuple[bytes, int]:
    """Id and time of a row `x/TIME/ID`."""
    at = len(CLOSED) + _TIME_BYTES
    return key[at:], int.from_bytes(key[len(CLOSED) : at], "big")


class LedgerEvaluator:
    """Evaluates commands to one partition of the ledger."""

    def reset(self, scan: Scan) -> None:
        """Nothing is remembered between commands."""

    def settled(self, get: Read) -> LedgerEvaluator:
        """The ledger is never sealed."""
        return self

    def proposed(self, change: Change) -> None:
        """Only partitions of tables have other kinds of changes."""

    def write(self, request: Any, read: Read, context: Context) -> Change | Answer:
        """One command."""
        match request:
            case Begin():
                return _begin(request, read, context)
            case Decide():
                return _decide(request, read)
            case Recover():
                return _recover(request, read)
            case Settle():
                return _settle(request, read, context)
            case Close():
                return _close(request, read, context)
            case Forget():
                return _forget(request, read)
        raise Invariant(f"not a command to the ledger: {type(request).__name__}")

    def read(self, request: Any, get: Read, scan: Scan, lately: ReadLately | None = None) -> Any:
        """The ledger is only written to: its answers depend on what is in flight."""
        raise Invariant(f"not a read of the ledger: {type(request).__name__}")


def _begin(request: Begin, read: Read, context: Context) -> Change | Answer:
    key = _ROW + request.id
    row = ledger_row(read, request.id)
    puts: list[tuple[bytes, bytes]] = []
    deletes: list[bytes] = []
    if row is not None:
        if row.closed and context.wall - row.closed >= TOKEN_NS:  # the sweep has not come by yet
            puts, deletes = _without_token(row), [_closed(row.closed, request.id)]
        elif row.digest != request.digest:
            return Answer(TokenMismatch(), (key,))
        elif row.done is not None:
            return Answer(Replay(row.tx, row.done, () if row.one_phase else row.participants), (key,))
        elif row.tx == request.tx:
            return Answer(_BEGUN, (key,))
        else:
            age_ns = abs(context.wall - row.begun)  # a clock that was set back must not make it young for ever
            return Answer(Running(row.tx, age_ns, row.stamp, row.one_phase, row.participants), (key,))
    new = LedgerRow(
        request.tx, request.digest, "RUNNING", request.stamp, request.one_phase, request.participants, context.wall
    )
    return Change([(key, _pack(new)), (OPEN + request.id, b""), *puts], deletes, _BEGUN)


def _without_token(row: LedgerRow) -> list[tuple[bytes, bytes]]:
    """A row whose token is free again and whose partition still keeps a marker goes on under its own name."""
    if not row.participants:
        return []
    return [(_ROW + row.tx, _pack(row)), (OPEN + row.tx, b"")]


def _decide(request: Decide, read: Read) -> Change | Answer:
    key = _ROW + request.id
    row = ledger_row(read, request.id)
    if row is None or row.tx != request.tx:
        return Answer(Decided(False), (key,))
    if row.state == "COMMITTED":
        return Answer(Decided(True), (key,))
    if request.done is None:
        return Change([], [key, OPEN + request.id], Decided(False))
    committed = _replace(row, state="COMMITTED", done=request.done)
    return Change([(key, _pack(committed))], [], Decided(True))


def _recover(request: Recover, read: Read) -> Change | Answer:
    key = _ROW + request.id
    row = ledger_row(read, request.id)
    if row is None or row.tx != request.tx:
        return Answer(Verdict(False, ()), (key,))
    if row.one_phase:
        return Answer(Verdict(row.state == "COMMITTED", (), later=row.state == "RUNNING"), (key,))
    if row.state == "COMMITTED":
        return Answer(Verdict(True, row.participants), (key,))
    return Change([], [key, OPEN + request.id], Verdict(False, row.participants))


def _settle(request: Settle, read: Read, context: Context) -> Change:
    puts: list[tuple[bytes, bytes]] = []
    deletes: list[bytes] = []
    for id_, (tx, done) in {id_: (tx, done) for id_, tx, done in request.rows}.items():
        row = ledger_row(read, id_)
        if row is None or row.tx != tx or row.state == "COMMITTED":
            continue
        if done is None:
            deletes += (_ROW + id_, OPEN + id_)
        else:
            committed = _replace(row, state="COMMITTED", done=done, closed=context.wall)
            puts += ((_ROW + id_, _pack(committed)), (_closed(context.wall, id_), b""))
    return Change(puts, deletes, _SETTLED)


def _close(request: Close, read: Read, context: Context) -> Change | Answer:
    puts: list[tuple[bytes, bytes]] = []
    deletes: list[bytes] = []
    for id_, tx in dict(request.rows).items():
        row = ledger_row(read, id_)
        if row is None or row.tx != tx or not row.participants or row.state != "COMMITTED":
            continue
        deletes.append(OPEN + id_)
        if not row.digest or id_ == tx:
            deletes.append(_ROW + id_)
            continue
        puts.append((_ROW + id_, _pack(_replace(row, closed=row.closed or context.wall, participants=()))))
        if not row.closed:
            puts.append((_closed(context.wall, id_), b""))
    return Change(puts, deletes, _SETTLED)


def _forget(request: Forget, read: Read) -> Change | Answer:
    puts: list[tuple[bytes, bytes]] = []
    deletes: list[bytes] = []
    for id_, closed in dict(request.rows).items():
        row = ledger_row(read, id_)
        if row is not None and row.closed == closed and id_ != row.tx:
            puts += _without_token(row)
            deletes += (_ROW + id_, OPEN + id_)
        deletes.append(_closed(closed, id_))
    return Change(puts, deletes, _SETTLED)


def _closed(at: int, id_: bytes) -> bytes:
    return CLOSED + at.to_bytes(_TIME_BYTES, "big") + id_
