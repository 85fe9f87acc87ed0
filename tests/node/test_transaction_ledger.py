"""The ledger's rows: every message in every state, and the life of a token."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node.rows_of_one import Rows

from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import SECOND
from gramme.node.transactions.ledger import CLOSED, CLOSED_END, TOKEN_NS, LedgerEvaluator, closed_row
from gramme.storage.engine.rows import Space
from gramme.tables.requests import Written
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

ID, TX, OTHER = b"hash of a token ", b"the attempt     ", b"another attempt "
DIGEST = b"what it asks for"
WHO = (Participant(GroupId(20), (NodeId(0), NodeId(1))), Participant(GroupId(21), (NodeId(1),)))
DONE = TransactionDone((Written(None, 0, 5), Written(None, 7, 0)))
BEGIN = Begin(ID, TX, DIGEST, 50, False, WHO)
AGAIN = Begin(ID, OTHER, DIGEST, 60, False, WHO)
ONE_PHASE = Begin(ID, TX, DIGEST, 50, True, WHO[:1])

STATES: dict[str, list[Any]] = {
    "absent": [],
    "running": [BEGIN],
    "committed": [BEGIN, Decide(ID, TX, DONE)],
    "closed": [BEGIN, Decide(ID, TX, DONE), Close(((ID, TX),))],
    "canceled": [BEGIN, Decide(ID, TX, None)],
    "recovered": [BEGIN, Recover(ID, TX)],
    "of another attempt": [AGAIN],
    "running in one phase": [ONE_PHASE],
    "committed in one phase": [ONE_PHASE, Settle(((ID, TX, DONE),))],
}
_RUNNING = Running(TX, SECOND, 50, False, WHO)

# state, late message, its answer, and whether it changes nothing
CASES: list[tuple[str, Any, Any, bool]] = [
    ("absent", BEGIN, Begun(), False),
    ("absent", Decide(ID, TX, DONE), Decided(False), True),
    ("absent", Decide(ID, TX, None), Decided(False), True),
    ("absent", Recover(ID, TX), Verdict(False, ()), True),
    ("absent", Close(((ID, TX),)), Settled(), True),
    ("absent", Settle(((ID, TX, DONE),)), Settled(), True),
    ("running", BEGIN, Begun(), True),
    ("running", AGAIN, _RUNNING, True),
    ("running", Begin(ID, OTHER, b"of another kind!", 60, False, WHO), TokenMismatch(), True),
    ("running", Decide(ID, TX, DONE), Decided(True), False),
    ("running", Decide(ID, TX, None), Decided(False), False),
    ("running", Decide(ID, OTHER, DONE), Decided(False), True),
    ("running", Decide(ID, OTHER, None), Decided(False), True),
    ("running", Recover(ID, TX), Verdict(False, WHO), False),
    ("running", Recover(ID, OTHER), Verdict(False, ()), True),
    ("running", Close(((ID, TX),)), Settled(), True),
    ("committed", BEGIN, Replay(TX, DONE, WHO), True),
    ("committed", AGAIN, Replay(TX, DONE, WHO), True),
    ("committed", Begin(ID, OTHER, b"of another kind!", 60, False, WHO), TokenMismatch(), True),
    ("committed", Decide(ID, TX, DONE), Decided(True), True),
    ("committed", Decide(ID, TX, None), Decided(True), True),
    ("committed", Decide(ID, OTHER, DONE), Decided(False), True),
    ("committed", Recover(ID, TX), Verdict(True, WHO), True),
    ("committed", Close(((ID, OTHER),)), Settled(), True),
    ("committed", Close(((ID, TX),)), Settled(), False),
    ("committed", Settle(((ID, TX, None),)), Settled(), True),
    ("closed", AGAIN, Replay(TX, DONE, ()), True),
    ("closed", Decide(ID, TX, None), Decided(True), True),
    ("closed", Close(((ID, TX),)), Settled(), True),
    ("canceled", Decide(ID, TX, DONE), Decided(False), True),
    ("canceled", Recover(ID, TX), Verdict(False, ()), True),
    ("canceled", AGAIN, Begun(), False),
    ("recovered", Decide(ID, TX, DONE), Decided(False), True),
    ("recovered", Recover(ID, TX), Verdict(False, ()), True),
    ("of another attempt", Decide(ID, TX, DONE), Decided(False), True),
    ("of another attempt", Decide(ID, TX, None), Decided(False), True),
    ("of another attempt", Recover(ID, TX), Verdict(False, ()), True),
    ("of another attempt", Close(((ID, TX),)), Settled(), True),
    ("running in one phase", AGAIN, Running(TX, SECOND, 50, True, WHO[:1]), True),
    ("running in one phase", Recover(ID, TX), Verdict(False, (), later=True), True),
    ("running in one phase", Settle(((ID, OTHER, DONE),)), Settled(), True),
    ("running in one phase", Settle(((ID, TX, None),)), Settled(), False),
    ("committed in one phase", AGAIN, Replay(TX, DONE, ()), True),
    ("committed in one phase", Recover(ID, TX), Verdict(True, ()), True),
]


@pytest.mark.parametrize(("state", "message", "answer", "unchanged"), CASES)
def test_every_message_in_every_state(state: str, message: Any, answer: Any, unchanged: bool) -> None:
    rows = Rows(LedgerEvaluator())
    rows.wall = 1000 * SECOND
    for earlier in STATES[state]:
        rows.write(earlier)
    rows.wall += SECOND
    before = dict(rows.rows)
    assert rows.write(message) == answer
    assert (rows.rows == before) == unchanged
    after = dict(rows.rows)
    again = rows.write(message)  # what arrives twice does nothing the second time
    assert rows.rows == after
    if not isinstance(message, Recover):
        assert again == answer


def test_a_token_is_remembered_for_ten_minutes_after_its_transaction_is_closed() -> None:
    rows = Rows(LedgerEvaluator())
    rows.wall = 1000 * SECOND
    for step in (BEGIN, Decide(ID, TX, DONE)):
        rows.write(step)
    rows.wall += 2 * TOKEN_NS
    assert rows.write(AGAIN) == Replay(TX, DONE, WHO)  # not finished yet: its time has not begun
    rows.write(Close(((ID, TX),)))
    rows.wall += TOKEN_NS - 1
    assert rows.write(AGAIN) == Replay(TX, DONE, ())
    rows.wall += 1
    other = Begin(ID, OTHER, b"of another kind!", 60, False, WHO)
    assert rows.write(other) == Begun()
    assert rows.write(Decide(ID, TX, None)) == Decided(False)
    assert list(rows.scan(CLOSED, CLOSED_END, False)) == []


def test_forgetting_takes_the_row_that_was_closed_then_and_no_newer_one() -> None:
    rows = Rows(LedgerEvaluator())
    rows.wall = 1000 * SECOND
    for step in (BEGIN, Decide(ID, TX, DONE), Close(((ID, TX),))):
        rows.write(step)
    (due,) = [closed_row(key) for key, _ in rows.scan(CLOSED, CLOSED_END, False)]
    assert due == (ID, 1000 * SECOND)
    rows.wall += TOKEN_NS
    rows.write(AGAIN)
    rows.write(Forget((due,)))
    assert rows.write(Decide(ID, OTHER, DONE)) == Decided(True)
    rows.write(Close(((ID, OTHER),)))
    (due,) = [closed_row(key) for key, _ in rows.scan(CLOSED, CLOSED_END, False)]
    rows.write(Forget((due,)))
    assert rows.space(Space.TRANSACTIONS) == {}


def test_a_one_phase_tokens_time_begins_when_its_outcome_is_known_and_its_marker_is_not_forgotten() -> None:
    """The token is free again although the partition has not dropped the marker: the row goes on without it."""
    for command in (Begin(ID, OTHER, b"of another kind!", 60, False, WHO), Forget(((ID, 1000 * SECOND),))):
        rows = Rows(LedgerEvaluator())
        rows.wall = 1000 * SECOND
        for step in (ONE_PHASE, Settle(((ID, TX, DONE),))):
            rows.write(step)
        rows.wall += TOKEN_NS
        rows.write(command)
        assert list(rows.scan(CLOSED, CLOSED_END, False)) == []
        assert rows.write(Recover(TX, TX)) == Verdict(True, ())
        rows.write(Decide(ID, OTHER, None))
        assert list(rows.space(Space.TRANSACTIONS, b"o/")) == [b"o/" + TX]
        rows.write(Close(((TX, TX),)))
        assert rows.rows == {}


def test_without_a_token_nothing_is_left_of_a_finished_transaction() -> None:
    rows = Rows(LedgerEvaluator())
    for step in (Begin(ID, TX, b"", 50, False, WHO), Decide(ID, TX, DONE), Close(((ID, TX),))):
        rows.write(step)
    assert rows.rows == {}


def test_a_clock_that_was_set_back_does_not_keep_a_dead_transaction_young() -> None:
    rows = Rows(LedgerEvaluator())
    rows.wall = 1000 * SECOND
    rows.write(BEGIN)
    rows.wall = 500 * SECOND
    reply = rows.write(AGAIN)
    assert isinstance(reply, Running)
    assert reply.age_ns == 500 * SECOND
