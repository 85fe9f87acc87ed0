"""The coordinator of one TransactWriteItems.

Items of several partitions: Begin at the ledger, Prepare at each partition, Decide at the ledger, Finish at each
partition, then the answer: so whoever hears it sees all of it. Items of one partition: one replicated write there; with
a token, Begin at the ledger claims the token first, and the partition keeps the outcome until the ledger's sweep has
fetched it.

Rules. (1) Nothing is prepared before the ledger's row is there, and nothing is made final before the row says so.
(2) Only this coordinator asks to commit `tx`; when it cannot tell whether the ledger has heard it, it touches nothing
any more, and recovery (`gramme.node.transactions.recovery`) goes on. (3) A refused timestamp costs a new attempt with
a new `tx`, never a second use of the old one. Source: USENIX ATC 2023, sections 4.1, 4.2 and 5 (Algorithm 1);
docs/decisions/0040.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from gramme.kernel.errors import Invariant
from gramme.kernel.ids import GroupId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.transactions.desk import Desk, participant_of, place_of, unserved
from gramme.node.transactions.holding import STEP_BYTES
from gramme.tables.descriptor import Partition
from gramme.tables.requests import Conflict, Failed, FailureKind, PutItem, Written
from gramme.tables.transaction_commands import (
    Begin,
    Begun,
    Decide,
    Decided,
    Inquire,
    Inquired,
    NotPrepared,
    Prepare,
    Prepared,
    Replay,
    Running,
    Settled,
    WriteAll,
)
from gramme.tables.transactions import (
    Action,
    Reason,
    TokenMismatch,
    TransactionCanceled,
    TransactionDone,
    TransactionInProgress,
    WriteOutcome,
    WriteTransaction,
    oversized,
)

PATIENCE_NS: Final = 5 * SECOND
"""A token's transaction that runs for longer is recovered by the next one who comes with it (row B12)."""

_ATTEMPTS: Final = 6
_RETRY_NS: Final = 10 * MILLISECOND
_CONFLICT: Final = Conflict()
_UNFINISHED: Final = Failed(FailureKind.UNKNOWN, "the transaction is committed, and not finished everywhere yet")


class Recoverer(Protocol):
    """Drives a transaction to its end (see `gramme.node.transactions.recovery`)."""

    def recover(self, id_: bytes, tx: bytes, on_done: Callable[[bool], None]) -> None: ...


class _Part:
    """What the transaction does in one partition, in one step; `at`: the places of its actions in the request."""

    __slots__ = ("actions", "at", "place", "reply", "size")

    def __init__(self, place: Partition) -> None:
        self.place = place
        self.size = 0
        self.at: list[int] = []
        self.actions: list[Action] = []
        self.reply: Any = None


class WriteCoordinator:
    """Coordinates one transaction; calls `on_reply` once."""

    def __init__(
        self,
        desk: Desk,
        recoverer: Recoverer,
        request: WriteTransaction,
        deadline: Instant,
        on_reply: Callable[[WriteOutcome], None],
    ) -> None:
        self._desk = desk
        self._recoverer = recoverer
        self._token = request.token
        self._deadline = deadline
        self._on_reply: Callable[[WriteOutcome], None] | None = on_reply
        self._count = len(request.actions)
        self._parts = _split(request)
        self._places = list({part.place.group: part.place for part in self._parts}.values())
        self._id = desk.draw() if request.token is None else request.token.id
        self._tx = b""
        self._stamp = 0
        self._attempts = 0
        self._waiting = 0

    def start(self) -> None:
        """Take the first step."""
        self._attempts += 1
        if self._one_phase and self._token is None:
            self._write_all()
        else:
            self._begin()

    @property
    def _one_phase(self) -> bool:
        return len(self._parts) == 1

    def _answer(self, outcome: WriteOutcome) -> None:
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is not None:
            on_reply(outcome)

    def _again(self) -> None:
        """Another attempt, if there is time."""
        if self._attempts < _ATTEMPTS and self._desk.now() + _RETRY_NS < self._deadline:
            self._desk.later(_RETRY_NS * self._attempts, self.start)
        else:
            self._answer(self._canceled([_CONFLICT] * self._count))

    # --- the ledger's row ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._tx, self._stamp = self._desk.draw(), self._desk.next_stamp()
        digest = b"" if self._token is None else self._token.digest
        participants = tuple(participant_of(place) for place in self._places)
        begin = Begin(self._id, self._tx, digest, self._stamp, self._one_phase, participants)
        self._desk.to_ledger(self._id, begin, self._deadline, self._begun)

    def _begun(self, reply: Any) -> None:
        match reply:
            case Begun():
                if self._one_phase:
                    self._write_all()
                else:
                    self._prepare()
            case TokenMismatch():
                self._answer(reply)
            case Replay():
                self._replay(reply)
            case Running():
                self._meet(reply)
            case _:  # nothing is prepared, and nobody but this coordinator would go on
                failed = unserved(reply)
                kind = FailureKind.NO_QUORUM if failed.kind is FailureKind.UNKNOWN else failed.kind
                self._answer(Failed(kind, failed.detail))

    def _replay(self, replay: Replay) -> None:
        """An earlier attempt was committed. Before anybody hears it, all of it must be there to be read."""

        def finished(whole: bool) -> None:
            if whole:
                self._answer(TransactionDone(replay.done.parts, replayed=True))
            else:
                self._answer(_UNFINISHED)

        if replay.participants:
            self._recoverer.recover(self._id, replay.tx, finished)
        else:
            finished(True)

    def _meet(self, running: Running) -> None:
        """Another attempt under this token runs, or its coordinator is gone."""
        stale = running.age_ns >= PATIENCE_NS
        if running.one_phase:
            inquire = Inquire([(running.tx, running.stamp)], fence=stale)
            place = place_of(running.participants[0])
            self._desk.send(place, inquire, self._deadline, partial(self._inquired, running.tx))
        elif stale:
            self._recoverer.recover(self._id, running.tx, lambda _whole: self._again())
        else:
            self._answer(TransactionInProgress())

    def _inquired(self, tx: bytes, reply: Any) -> None:
        """The partition of a one-phase transaction knows whether that was committed."""
        outcome = reply.outcomes[0] if isinstance(reply, Inquired) else None
        gone = outcome is None and unserved(reply).kind is FailureKind.NO_TABLE
        if outcome is not None and outcome.done is not None:
            self._answer(TransactionDone(outcome.done.parts, replayed=True))
        elif gone or (outcome is not None and outcome.fenced):
            self._desk.to_ledger(self._id, Decide(self._id, tx, None), self._deadline, lambda _reply: self._again())
        else:
            self._answer(TransactionInProgress())

    # --- one partition ------------------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        part = self._parts[0]
        request = WriteAll(part.actions, self._tx, self._stamp)
        self._desk.send(part.place, request, self._deadline, self._written)

    def _written(self, reply: Any) -> None:
        match reply:
            case TransactionDone():
                self._answer(reply)
            case Failed(FailureKind.UNKNOWN):
                self._answer(reply)
            case NotPrepared() if not reply.reasons:
                self._desk.saw_stamp(reply.stamp)
                self._release(self._again)
            case NotPrepared():
                canceled = self._canceled(list(reply.reasons))
                self._release(lambda: self._answer(canceled))
            case _:
                failed = unserved(reply)
                self._release(lambda: self._fail([failed] * self._count))

    def _release(self, then: Callable[[], None]) -> None:
        """Nothing was done: a token, if there is one, is free again before the client hears of it."""
        if self._token is None:
            then()
        else:
            self._desk.to_ledger(self._id, Decide(self._id, self._tx, None), self._deadline, lambda _reply: then())

    # --- several partitions: prepare ----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Partitions in parallel; large parts of one partition one after the other, so that none takes long."""
        self._waiting = len(self._parts)
        for place in self._places:
            self._prepare_next([part for part in self._parts if part.place is place])

    def _prepare_next(self, parts: list[_Part]) -> None:
        request = Prepare(self._tx, self._stamp, self._id, parts[0].actions)
        self._desk.send(parts[0].place, request, self._deadline, partial(self._prepared, parts))

    def _prepared(self, parts: list[_Part], reply: Any) -> None:
        parts[0].reply = reply
        self._waiting -= 1
        if len(parts) > 1:
            self._desk.soon(partial(self._prepare_next, parts[1:]))
        if self._waiting:
            return
        if all(isinstance(part.reply, Prepared) for part in self._parts):
            refused = oversized(written for part in self._parts for written in part.reply.parts)
            if refused is None:
                self._decide()
            else:
                self._let_go(self._places, lambda: self._answer(self._canceled([refused] * self._count)))
        else:
            self._cancel()

    def _done(self) -> TransactionDone:
        parts: list[Written | None] = [None] * self._count
        for part in self._parts:
            for at, written in zip(part.at, part.reply.parts, strict=True):
                parts[at] = written
        return TransactionDone(tuple(written for written in parts if written is not None))

    def _cancel(self) -> None:
        """Somebody refuses: let go everywhere and of the token, then say why. A prepare without an answer may still
        arrive; recovery, which finds no row, lets go of it then."""
        reasons: list[Reason | None] = [None] * self._count
        newest = 0
        for part in self._parts:
            if isinstance(part.reply, NotPrepared):
                newest = max(newest, part.reply.stamp)
                for at, reason in zip(part.at, part.reply.reasons, strict=False):
                    reasons[at] = reason
            elif not isinstance(part.reply, Prepared):
                for at in part.at:
                    reasons[at] = unserved(part.reply)
        touched = {part.place.group for part in self._parts if not isinstance(part.reply, NotPrepared)}
        held = [place for place in self._places if place.group in touched]
        if newest and all(reason is None for reason in reasons):
            self._desk.saw_stamp(newest)
            self._let_go(held, self._again)
        else:
            self._let_go(held, lambda: self._fail(reasons))

    def _let_go(self, held: list[Partition], then: Callable[[], None]) -> None:
        """Presumed abort: the row goes and the partitions let go, in any order, since nobody else could commit."""
        if self._desk.now() >= self._deadline:
            then()
            then = _nothing
        self._waiting = len(held) + 1
        deadline = max(self._deadline, Instant(self._desk.now() + SECOND))

        def gone(_reply: Any) -> None:
            self._waiting -= 1
            if not self._waiting:
                then()

        self._desk.to_ledger(self._id, Decide(self._id, self._tx, None), deadline, gone)
        for place in held:
            self._desk.finish(place, self._tx, False, deadline, gone)

    # --- several partitions: decide and finish ------------------------------------------------------------------------

    def _decide(self) -> None:
        decide = Decide(self._id, self._tx, self._done())
        self._desk.to_ledger(self._id, decide, self._deadline, self._decided)

    def _decided(self, reply: Any) -> None:
        match reply:
            case Decided(True):
                self._finish()
            case Decided(False):  # recovery was faster
                conflicts: list[Reason | None] = [_CONFLICT] * self._count
                self._let_go(self._places, lambda: self._answer(self._canceled(conflicts)))
            case Failed():
                self._answer(Failed(FailureKind.UNKNOWN, "the ledger could not tell whether it is committed"))
            case _:
                raise Invariant(f"unexpected answer of the ledger: {type(reply).__name__}")

    def _finish(self) -> None:
        """Also after the deadline, for what it holds up."""
        self._waiting = len(self._places)
        whole = True
        done = self._done()
        deadline = self._deadline
        if self._desk.now() >= deadline:
            self._answer(_UNFINISHED)
            deadline = Instant(self._desk.now() + SECOND)

        def finished(reply: Any) -> None:
            nonlocal whole
            self._waiting -= 1
            # A table that was deleted meanwhile has nothing left to be finished.
            whole = whole and (isinstance(reply, Settled) or unserved(reply).kind is FailureKind.NO_TABLE)
            if self._waiting:
                return
            if whole:
                self._desk.close(self._id, self._tx)
                self._answer(done)
            else:
                self._answer(_UNFINISHED)

        for place in self._places:
            self._desk.finish(place, self._tx, True, deadline, finished)

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _fail(self, reasons: list[Reason | None]) -> None:
        """Nothing was done. Throttling and refusals are reasons of actions; other failures are the transaction's."""
        for reason in reasons:
            if isinstance(reason, Failed) and reason.kind is not FailureKind.THROTTLED:
                kind = FailureKind.NO_QUORUM if reason.kind is FailureKind.UNKNOWN else reason.kind
                self._answer(Failed(kind, reason.detail))
                return
        self._answer(self._canceled(reasons))

    def _canceled(self, reasons: list[Reason | None]) -> TransactionCanceled:
        return TransactionCanceled(tuple(reasons))


def _split(request: WriteTransaction) -> list[_Part]:
    """The parts by partition, in the order in which the request names them first; none much larger than a step."""
    parts: list[_Part] = []
    filling: dict[GroupId, _Part] = {}
    for at, (table, action) in enumerate(request.actions):
        place = table.partition_of(action.key)
        size = action.size if isinstance(action, PutItem) else 0
        part = filling.get(place.group)
        if part is None or part.size + size > STEP_BYTES:
            part = filling[place.group] = _Part(place if part is None else part.place)
            parts.append(part)
        part.at.append(at)
        part.actions.append(action)
        part.size += size
    return parts


def _nothing() -> None:
    """Whoever was to be told has been."""
