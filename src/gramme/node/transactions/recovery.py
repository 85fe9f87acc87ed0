"""Recovery: transactions whose coordinator is gone are driven to their end by whoever meets what they left behind.

Two watch for that. The leader of a partition, whose items are held: when one has been held for too long, by its own
monotonic clock. The leader of a ledger partition, whose rows are open: it drives what runs for too long and what is
committed and not finished, fetches the outcomes of one-phase transactions, and forgets tokens after their time.

Rule: the ledger's row decides, and every step may be done by several at once. Who recovers a running transaction
deletes its row first: from then on its coordinator cannot commit it. Patience is what spares the living; it is measured
by the watcher, never by comparing two nodes' clocks. Source: USENIX ATC 2023, section 4.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gramme.kernel.ids import GroupId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.partition import PartitionReplica
from gramme.node.table_evaluator import TableEvaluator
from gramme.node.transactions.desk import Desk, place_of
from gramme.node.transactions.ledger import (
    CLOSED,
    CLOSED_END,
    OPEN,
    OPEN_END,
    TOKEN_NS,
    LedgerEvaluator,
    LedgerRow,
    closed_row,
    ledger_row,
)
from gramme.tables.descriptor import Partition
from gramme.tables.requests import Failed, FailureKind
from gramme.tables.transaction_commands import (
    Close,
    DropMarkers,
    Forget,
    Inquire,
    Inquired,
    Participant,
    Recover,
    Settle,
    Settled,
    Verdict,
)

STALE_NS: Final = 2 * SECOND
"""How long a transaction may hold an item, or be open in the ledger, before others see to it."""

MARKER_NS: Final = 30 * SECOND
"""How long the marker of a one-phase transaction stays after its outcome is in the ledger. Dropping it raises the floor
of its partition, below which one-phase transactions are refused, so it is longer than any of them is under way."""

_TICK_NS: Final = 500 * MILLISECOND
_PATIENCE_NS: Final = 3 * SECOND
_LIMIT: Final = 64  # transactions that this node recovers at a time
_SWEEP_ROWS: Final = 1_000
_BATCH_ROWS: Final = 500

OnDone = Callable[[bool], None]


class _Seen(NamedTuple):
    """An open row as the sweep knows it, and since when it is so."""

    tx: bytes
    state: str
    since: Instant


class _Open(NamedTuple):
    """An open row of the ledger."""

    id: bytes
    row: LedgerRow


class Recovery:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._watched: dict[GroupId, PartitionReplica] = {}
        self._seen: dict[tuple[GroupId, bytes], tuple[bytes, Instant]] = {}
        self._driving: dict[tuple[bytes, bytes], list[OnDone]] = {}
        self._sweeps: dict[GroupId, _Sweep] = {}
        self._armed = False
        self.recovered = 0

    # --- what is watched ----------------------------------------------------------------------------------------------

    def role_changed(self, partition: PartitionReplica) -> None:
        """A partition's leadership came or went."""
        group = partition.spec.group
        self._sweeps.pop(group, None)
        evaluator = partition.evaluator
        if not partition.leading:
            return
        if isinstance(evaluator, LedgerEvaluator):
            self._sweeps[group] = _Sweep(self._desk, self, partition)
            self._arm()
        elif isinstance(evaluator, TableEvaluator) and evaluator.holds.by_key:
            self.watch(partition)

    def watch(self, partition: PartitionReplica) -> None:
        """Items of a led partition are held, or about to be."""
        self._watched[partition.spec.group] = partition
        self._arm()

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            self._desk.later(_TICK_NS, self._tick)

    def _tick(self) -> None:
        self._armed = False
        now = self._desk.now()
        seen: dict[tuple[GroupId, bytes], tuple[bytes, Instant]] = {}
        for group, partition in list(self._watched.items()):
            evaluator = partition.evaluator
            assert isinstance(evaluator, TableEvaluator)
            held = evaluator.holds.transactions() if partition.leading else {}
            if not held:
                del self._watched[group]
            for tx, id_ in held.items():
                _, since = seen[group, tx] = self._seen.get((group, tx), (id_, now))
                if now - since >= STALE_NS:
                    self.recover(id_, tx, _nothing, partition)
        self._seen = seen
        for sweep in list(self._sweeps.values()):
            sweep.step(now)
        if self._watched or self._sweeps:
            self._arm()

    # --- one transaction ----------------------------------------------------------------------------------------------

    def recover(self, id_: bytes, tx: bytes, on_done: OnDone, holder: PartitionReplica | None = None) -> None:
        """Drive `tx` to its end and tell whether it is finished everywhere. `holder`: a partition that holds items for
        it, of which the ledger may know nothing any more."""
        waiters = self._driving.get((id_, tx))
        if waiters is not None:
            waiters.append(on_done)
        elif len(self._driving) >= _LIMIT:
            on_done(False)
        else:
            self._driving[id_, tx] = [on_done]
            self.recovered += 1
            deadline = Instant(self._desk.now() + _PATIENCE_NS)
            self._desk.to_ledger(
                id_, Recover(id_, tx), deadline, lambda reply: self._judged(id_, tx, holder, reply), create=False
            )

    def _ended(self, id_: bytes, tx: bytes, whole: bool) -> None:
        for on_done in self._driving.pop((id_, tx)):
            on_done(whole)

    def _judged(self, id_: bytes, tx: bytes, holder: PartitionReplica | None, reply: Any) -> None:
        if isinstance(reply, Failed) and reply.kind is FailureKind.NO_TABLE:
            reply = Verdict(False, ())  # there is no ledger: it was dropped with every table
        if not isinstance(reply, Verdict) or reply.later:
            self._ended(id_, tx, False)
        else:
            places = [place_of(participant) for participant in reply.participants]
            if holder is not None and all(place.group != holder.spec.group for place in places):
                places.append(_place(holder))
            self._finish(id_, tx, reply.commit, places)

    def _finish(self, id_: bytes, tx: bytes, commit: bool, places: list[Partition]) -> None:
        waiting = len(places)
        whole = True

        def finished(reply: Any) -> None:
            nonlocal waiting, whole
            waiting -= 1
            whole = whole and (isinstance(reply, Settled) or _is_gone(reply))
            if waiting:
                return
            if whole and commit:
                self._desk.close(id_, tx)
            self._ended(id_, tx, whole)

        if not places:
            self._ended(id_, tx, True)
        deadline = Instant(self._desk.now() + _PATIENCE_NS)
        for place in places:
            self._desk.finish(place, tx, commit, deadline, finished)


class _Sweep:
    """Looks through the rows of one ledger partition that this node leads."""

    def __init__(self, desk: Desk, recovery: Recovery, partition: PartitionReplica) -> None:
        self._desk = desk
        self._recovery = recovery
        self._partition = partition
        self._next = OPEN
        self._seen: dict[bytes, _Seen] = {}  # by id: the rows of the last pass
        self._passed: dict[bytes, _Seen] = {}
        self._busy: dict[object, None] = {}  # one command at a time for each purpose

    def step(self, now: Instant) -> None:
        """A page of open rows, and of those whose time is over."""
        if not self._partition.leading:
            return
        one_phase: dict[tuple[str, Participant], list[_Open]] = {}
        for id_, row in self._page():
            seen = self._seen.get(id_)
            if seen is None or (seen.tx, seen.state) != (row.tx, row.state):
                seen = _Seen(row.tx, row.state, now)
            self._passed[id_] = seen
            age_ns = now - seen.since
            if not row.one_phase:
                if age_ns >= STALE_NS:
                    self._recovery.recover(id_, row.tx, _nothing)
            elif age_ns >= (STALE_NS if row.state == "RUNNING" else MARKER_NS):
                one_phase.setdefault((row.state, row.participants[0]), []).append(_Open(id_, row))
        for (state, participant), rows in one_phase.items():
            if state == "RUNNING":
                self._ask(participant, rows[:_BATCH_ROWS])
            else:
                self._drop(participant, rows[:_BATCH_ROWS])
        self._forget()

    def _page(self) -> list[tuple[bytes, LedgerRow]]:
        """The next open rows. At the end of a pass, what was not seen in it is forgotten."""
        get = self._partition.rows.get
        page: list[tuple[bytes, LedgerRow]] = []
        for count, (key, _) in enumerate(self._partition.rows.scan(self._next, OPEN_END, False)):
            if count == _SWEEP_ROWS:
                self._next = key
                return page
            row = ledger_row(get, key[len(OPEN) :])
            assert row is not None  # both are written and deleted together
            page.append((key[len(OPEN) :], row))
        self._next = OPEN
        self._seen, self._passed = self._passed, {}
        return page

    def _ask(self, participant: Participant, rows: list[_Open]) -> None:
        """The partition knows of each whether it was committed; what has not arrived there never takes effect."""

        def asked(reply: Any) -> None:
            if isinstance(reply, Inquired):
                outcomes = [outcome.done for outcome in reply.outcomes]
            elif _is_gone(reply):
                outcomes = [None] * len(rows)
            else:
                self._idle(purpose)
                return
            settled = tuple((open_.id, open_.row.tx, done) for open_, done in zip(rows, outcomes, strict=True))
            self._here(Settle(settled), purpose)

        purpose = ("ask", participant.group)
        if self._begin(purpose):
            inquire = Inquire([(open_.row.tx, open_.row.stamp) for open_ in rows], fence=True)
            self._desk.insist(place_of(participant), inquire, self._deadline(), asked)

    def _drop(self, participant: Participant, rows: list[_Open]) -> None:
        """The ledger has the outcomes, so the partition needs no markers."""

        def dropped(reply: Any) -> None:
            if isinstance(reply, Settled) or _is_gone(reply):
                self._here(Close(tuple((open_.id, open_.row.tx) for open_ in rows)), purpose)
            else:
                self._idle(purpose)

        purpose = ("drop", participant.group)
        if self._begin(purpose):
            drop = DropMarkers([open_.row.tx for open_ in rows], max(open_.row.stamp for open_ in rows))
            self._desk.insist(place_of(participant), drop, self._deadline(), dropped)

    def _forget(self) -> None:
        """Rows are in the order of their closing."""
        before = self._desk.wall() - TOKEN_NS
        rows: list[tuple[bytes, int]] = []
        for key, _ in self._partition.rows.scan(CLOSED, CLOSED_END, False):
            id_, closed = closed_row(key)
            if closed > before or len(rows) == _BATCH_ROWS:
                break
            rows.append((id_, closed))
        if rows and self._begin("forget"):
            self._here(Forget(tuple(rows)), "forget")

    def _begin(self, purpose: object) -> bool:
        if purpose in self._busy:
            return False
        self._busy[purpose] = None
        return True

    def _here(self, command: Any, purpose: object) -> None:
        """A command to the swept partition itself."""
        self._desk.send(_place(self._partition), command, self._deadline(), lambda _reply: self._idle(purpose))

    def _idle(self, purpose: object) -> None:
        del self._busy[purpose]

    def _deadline(self) -> Instant:
        return Instant(self._desk.now() + _PATIENCE_NS)


def _place(partition: PartitionReplica) -> Partition:
    spec = partition.spec
    return Partition(spec.group, spec.start, spec.end, partition.replica.configuration.eligible)


def _is_gone(reply: Any) -> bool:
    """A participant whose table was deleted has nothing left to be finished."""
    return isinstance(reply, Failed) and reply.kind is FailureKind.NO_TABLE


def _nothing(_whole: bool) -> None:
    """Watchers look again at their next tick."""
