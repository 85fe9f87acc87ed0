"""What coordinators of reads and recoverers make of the answers they get, whatever made the partitions give them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node.scripted_desk import ScriptedDesk

from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.node.transactions.reads import ReadCoordinator
from gramme.node.transactions.recovery import Recovery
from gramme.tables.descriptor import KeySchema, Partition, TableDescriptor
from gramme.tables.requests import Conflict, Failed, FailureKind, Found, ReadVersions, Version, VersionsRead
from gramme.tables.transaction_commands import Finish, Participant, Recover, Settled, Verdict
from gramme.tables.transactions import ItemsRead, ReadTransaction, TransactionCanceled

_A, _B = GroupId(20), GroupId(21)
_TABLE = TableDescriptor(
    name="T", table_id="t", version=1, status="ACTIVE", created=0, key=KeySchema("pk", "S"),  # type: ignore[arg-type]
    attribute_definitions=(), billing_mode="PAY_PER_REQUEST", read_units=0, write_units=0,
    partitions=(Partition(_A, b"", b"m", (NodeId(0),)), Partition(_B, b"m", b"", (NodeId(0),))),
)  # fmt: skip
_KEYS = (b"a", b"z")  # one in each partition


def _version(stamp: int, held: bool = False) -> Version:
    return Version(Found(b"version %d" % stamp, 9), stamp, held)


def _read(*rounds: tuple[Version | Failed, Version | Failed]) -> tuple[Any, int]:
    """The outcome, and how many rounds it took; the last of `rounds` repeats."""
    replies = {_A: [a for a, _ in rounds], _B: [b for _, b in rounds]}

    def answer(group: GroupId, request: Any) -> Any:
        assert isinstance(request, ReadVersions)
        assert request.consistent
        left = replies[group]
        reply = left.pop(0) if len(left) > 1 else left[0]
        return reply if isinstance(reply, Failed) else VersionsRead((reply,))

    outcomes: list[Any] = []
    desk = ScriptedDesk(answer)
    request = ReadTransaction(tuple((_TABLE, key) for key in _KEYS))
    ReadCoordinator(desk, request, Instant(SECOND), outcomes.append).start()
    (outcome,) = outcomes
    return outcome, len(desk.asked) // 2


def _items(a: int, b: int) -> ItemsRead:
    return ItemsRead((_version(a).found, _version(b).found))


def test_two_rounds_that_agree_are_enough() -> None:
    same = (_version(1), _version(2))
    assert _read(same, same) == (_items(1, 2), 2)


def test_a_version_that_moves_between_the_rounds_is_read_again() -> None:
    old, new = (_version(1), _version(2)), (_version(3), _version(2))
    assert _read(old, new, new, new) == (_items(3, 2), 4)


def test_an_item_held_in_the_first_round_is_read_again() -> None:
    held, free = (_version(1), _version(2, held=True)), (_version(3), _version(4))
    assert _read(held, free, free) == (_items(3, 4), 3)


def test_an_item_held_in_the_second_round_only_is_a_conflict_too() -> None:
    """Its new value is decided, and the other item's is new already: the pair never was."""
    first, second = (_version(1), _version(4)), (_version(1, held=True), _version(4))
    after = (_version(3), _version(4))
    assert _read(first, second, after, after) == (_items(3, 4), 4)


def test_what_keeps_conflicting_is_told_item_by_item() -> None:
    outcome, rounds = _read((_version(1), _version(2, held=True)))
    assert outcome == TransactionCanceled((None, Conflict()))
    assert 3 <= rounds <= 10


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failed(FailureKind.NO_TABLE), Failed(FailureKind.NO_TABLE)),
        (Failed(FailureKind.NO_QUORUM), Failed(FailureKind.NO_QUORUM)),
        (Failed(FailureKind.THROTTLED), TransactionCanceled((None, Failed(FailureKind.THROTTLED)))),
    ],
)
def test_a_partition_that_does_not_answer_ends_the_read(failure: Failed, expected: Any) -> None:
    assert _read((_version(1), failure)) == (expected, 1)


# --- recovery

_ID, _TX = b"row", b"transaction"
_WHO = (Participant(_A, (NodeId(0),)), Participant(_B, (NodeId(0),)))


def _recover(verdict: Verdict | Failed, b: Any = None) -> tuple[ScriptedDesk, list[bool]]:
    """Recovery of one transaction: the ledger says `verdict`, partition B answers `b`."""

    def answer(group: GroupId, request: Any) -> Any:
        if group == 0:
            assert request == Recover(_ID, _TX)
            return verdict
        assert request == Finish(_TX, isinstance(verdict, Verdict) and verdict.commit)
        return Settled() if b is None or group == _A else b

    desk, outcomes = ScriptedDesk(answer), list[bool]()
    Recovery(desk).recover(_ID, _TX, outcomes.append)
    return desk, outcomes


def test_a_committed_transaction_is_closed_when_all_participants_have_finished() -> None:
    desk, outcomes = _recover(Verdict(True, _WHO))
    assert outcomes == [True]
    assert desk.closed == [(_ID, _TX)]
    desk, outcomes = _recover(Verdict(True, _WHO), Failed(FailureKind.NO_TABLE))  # its table was deleted
    assert outcomes == [True]
    assert desk.closed == [(_ID, _TX)]


@pytest.mark.parametrize("kind", [FailureKind.NO_QUORUM, FailureKind.UNKNOWN])
def test_it_stays_open_while_one_has_not(kind: FailureKind) -> None:
    """Closed too early, its row would be forgotten, and the rest taken for canceled."""
    desk, outcomes = _recover(Verdict(True, _WHO), Failed(kind))
    assert outcomes == [False]
    assert desk.closed == []


def test_a_canceled_one_is_let_go_everywhere_and_nothing_is_closed() -> None:
    desk, outcomes = _recover(Verdict(False, _WHO))
    assert outcomes == [True]
    assert desk.closed == []
    assert len(desk.asked) == 3


def test_what_is_not_decided_and_what_the_ledger_cannot_tell_is_left_alone() -> None:
    for verdict in (Verdict(False, _WHO, later=True), Failed(FailureKind.NO_QUORUM), Failed(FailureKind.UNKNOWN)):
        desk, outcomes = _recover(verdict)
        assert outcomes == [False]
        assert len(desk.asked) == 1
