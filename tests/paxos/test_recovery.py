"""Recovery: the fold of the log, deleted segments, and the joint with the engine (row C10; REPLICATION.md §5)."""

from __future__ import annotations

import pytest
from tests.paxos.one import chain

from gramme.kernel.errors import Corruption, Invariant
from gramme.kernel.ids import Ballot, GroupId, Lsn, NodeId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.paxos.entry import ORIGIN, Entry, Mark
from gramme.paxos.recovery import fold
from gramme.paxos.state import (
    GroupState,
    accept_record,
    base_record,
    checkpoint_record,
    create_record,
    drop_record,
    founding_state,
    install_record,
    learn_record,
    promise_record,
)

GROUP = GroupId(9)
FIRST = founding_state(GROUP, [NodeId(0), NodeId(1), NodeId(2)], b"the range")
B1, B2, B3 = FIRST.promised, Ballot(2 << 16), Ballot(3 << 16 | 1)


def folded(*records: Record) -> GroupState:
    return fold((Lsn(index + 1), record) for index, record in enumerate(records))[GROUP]


def accepts(ballot: Ballot, entries: list[Entry]) -> list[Record]:
    return [accept_record(GROUP, ballot, entry) for entry in entries]


def attach(state: GroupState, mark: Mark) -> GroupState:
    state.attach_engine(mark.slot, mark.crc, mark.stamp)
    return state


def test_a_created_group_comes_back_but_its_founder_may_not_lead_at_once_again() -> None:
    state = attach(folded(create_record(FIRST)), ORIGIN)
    assert (state.configuration, state.descriptor) == (FIRST.configuration, b"the range")
    assert (state.promised, state.log_ballot) == (B1, B1)
    assert FIRST.founding
    assert not state.founding


def test_promises_and_accepted_entries_come_back() -> None:
    log = chain(3)
    state = attach(folded(create_record(FIRST), *accepts(B1, log), promise_record(GROUP, B3, 0)), log[0].mark)
    assert (state.promised, state.log_ballot, state.entries) == (B3, B1, log)
    assert (state.chosen, state.applied) == (1, 1)


def test_an_install_replaces_the_whole_suffix_and_the_ballot() -> None:
    old, new = chain(4), chain(1)
    new += chain(2, new[0].mark, b"b")
    state = attach(
        folded(create_record(FIRST), *accepts(B1, old), install_record(GROUP, B2, 0, Slot(1), new[1:])), ORIGIN
    )
    assert state.entries == new
    assert (state.promised, state.log_ballot) == (B2, B2)


def test_a_learnt_entry_cuts_what_differs_and_leaves_the_ballot_of_the_log() -> None:
    old, new = chain(4), chain(1)
    new += chain(1, new[0].mark, b"b")
    learnt = [learn_record(GROUP, B2, entry) for entry in new]
    state = attach(folded(create_record(FIRST), *accepts(B1, old), *learnt), ORIGIN)
    assert state.entries == new
    assert (state.promised, state.log_ballot) == (B2, B1)


def test_learning_what_is_held_cuts_nothing() -> None:
    log = chain(4)
    state = attach(folded(create_record(FIRST), *accepts(B1, log), learn_record(GROUP, B2, log[1])), ORIGIN)
    assert state.entries == log


def test_a_snapshot_restarts_the_log_behind_it() -> None:
    log, later = chain(3), chain(50, salt=b"z")
    base = base_record(GROUP, B2, FIRST.configuration, later[39].mark)
    state = attach(folded(create_record(FIRST), *accepts(B1, log), base, *accepts(B2, later[40:])), later[39].mark)
    assert state.base == later[39].mark
    assert state.entries == later[40:]


def test_a_snapshot_of_what_the_log_has_keeps_the_log() -> None:
    log = chain(5)
    state = attach(
        folded(create_record(FIRST), *accepts(B1, log), base_record(GROUP, B1, FIRST.configuration, log[1].mark)),
        log[1].mark,
    )
    assert state.entries == log


def test_an_engine_ahead_of_the_log_restarts_it() -> None:
    """The engine was switched to a snapshot, and the crash came before its BASE record was durable."""
    log, later = chain(3), chain(50, salt=b"z")
    state = attach(folded(create_record(FIRST), *accepts(B1, log)), later[39].mark)
    assert (state.base, state.entries, state.chosen) == (later[39].mark, [], 40)


def test_a_checkpoint_stands_in_for_deleted_segments() -> None:
    log = chain(9)
    checkpoint = checkpoint_record(GroupState(GROUP, FIRST.configuration, b"r", B3, B2), log[4].mark)
    for kept in (5, 6, 9):  # entries from there on are still in the log; the others are in the engine
        state = attach(folded(checkpoint, *accepts(B2, log[kept:])), log[kept - 1].mark)
        assert (state.promised, state.log_ballot, state.configuration, state.descriptor) == (
            B3,
            B2,
            FIRST.configuration,
            b"r",
        )
        assert state.entries == log[kept:]
        assert state.chosen == kept


def test_entries_before_the_first_checkpoint_count() -> None:
    """A segment may hold entries of a group before the checkpoint that names its members."""
    log = chain(6)
    checkpoint = checkpoint_record(GroupState(GROUP, FIRST.configuration, b"r", B3, B2), log[1].mark)
    state = attach(folded(*accepts(B2, log[2:4]), checkpoint, *accepts(B2, log[4:])), log[2].mark)
    assert state.base == log[2].mark
    assert state.entries == log[3:]


def test_slots_missing_between_engine_and_log_are_corruption() -> None:
    log = chain(9)
    checkpoint = checkpoint_record(GroupState(GROUP, FIRST.configuration, b"r", B2, B2), log[1].mark)
    for records in (accepts(B2, log[6:]), [install_record(GROUP, B2, 0, Slot(6), [])]):
        with pytest.raises(Corruption, match="engine ends at 4"):
            attach(folded(checkpoint, *records), log[3].mark)


def test_a_log_that_is_no_chain_stops_the_replica() -> None:
    log, other = chain(2), chain(3, salt=b"b")
    with pytest.raises(Invariant, match="chained checksum"):
        attach(folded(create_record(FIRST), *accepts(B1, [*log, other[2]])), ORIGIN)


def test_a_dropped_group_stays_dropped() -> None:
    records = [create_record(FIRST), drop_record(GROUP), *accepts(B1, chain(1))]
    assert fold((Lsn(index), record) for index, record in enumerate(records)) == {}


def test_a_group_whose_drop_is_in_a_deleted_segment_does_not_come_back() -> None:
    assert fold([(Lsn(1), accept_record(GROUP, B1, chain(1)[0]))]) == {}


def test_records_that_do_not_decode_are_corruption() -> None:
    entry = chain(1)[0]
    bad = [
        Record(RecordKind.CREATE, GROUP, Slot(0), B1, 0, 0, b"\0"),
        Record(RecordKind.CHECKPOINT, GROUP, Slot(0), B1, 0, 0, b"short"),
        Record(RecordKind.BASE, GROUP, Slot(3), B1, 0, 0, b"short"),
        Record(RecordKind.INSTALL, GROUP, Slot(0), B1, 0, 0, b"\0\0"),
        Record(RecordKind.INSTALL, GROUP, Slot(0), B1, 0, 0, b"\0\0\1\0x"),
        Record(RecordKind.ACCEPT, GROUP, Slot(2), B1, 0, 0, entry.encoded),
        Record(RecordKind.ACCEPT, GROUP, Slot(1), B1, 0, 0, entry.encoded[:20]),
    ]
    for record in bad:
        with pytest.raises(Corruption):
            fold([(Lsn(1), create_record(FIRST)), (Lsn(2), record)])
