"""One replica, message by message: what it answers, what it writes, and in which order."""

from __future__ import annotations

import pytest
from tests.paxos.mutants import drop_the_promise_with_a_snapshot
from tests.paxos.one import B1, B2, B3, GROUP, N0, N1, N2, WALL, T, accept, chain, founder, grant, raw, replica, sync

from gramme.kernel.effects import Effects
from gramme.kernel.errors import InvalidInput, Invariant, Stalled
from gramme.kernel.ids import NO_NODE, Ballot, CommandId, Lsn, Slot
from gramme.kernel.record import RecordKind
from gramme.kernel.time import SECOND, Instant, Timestamp
from gramme.paxos.chain import barrier
from gramme.paxos.configuration import encode_configuration, founding_of
from gramme.paxos.entry import MAX_COMMAND_BYTES, ORIGIN, Command, CommandKind
from gramme.paxos.messages import (
    Accept,
    Accepted,
    Amnesiac,
    Behind,
    Commit,
    Fetch,
    Install,
    Learn,
    Nack,
    NewerConfiguration,
    Poll,
    PollAnswer,
    Prepare,
    Promise,
    Release,
    Suffix,
)
from gramme.paxos.outputs import BecameLeader, Chosen, LostLeadership
from gramme.paxos.recovery import fold
from gramme.paxos.replica import NotLeader
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import founding_state
from gramme.paxos.status import Role
from gramme.storage.log.layout import MAX_BODY_BYTES

# --- acceptor ---------------------------------------------------------------------------------------------------------


def test_a_promise_is_written_before_it_is_given() -> None:
    node = replica(N1)
    effects = node.step(N2, Prepare(GROUP, 0, B2), T)
    assert [(record.kind, record.ballot) for record in effects.records] == [(RecordKind.PROMISE, B2)]
    assert not [message for _, message in effects.sends if isinstance(message, Promise)]
    assert effects.sends_durable == [(N2, Promise(GROUP, 0, B2, B1, ORIGIN, ORIGIN, ORIGIN))]


def test_a_ballot_below_the_promise_is_refused() -> None:
    node = replica(N1)
    node.step(N2, Prepare(GROUP, 0, B2), T)
    for message in (accept(B1, chain(1)), Commit(GROUP, 0, B1, ORIGIN, Slot(0)), Prepare(GROUP, 0, B1)):
        effects = node.step(N0, message, T)
        assert effects.sends == [(N0, Nack(GROUP, 0, B1, B2, 0))]
        assert not effects.records
        assert not effects.sends_durable
    assert node.last_slot == 0


def test_a_ballot_of_somebody_else_is_refused() -> None:
    node = replica(N1)
    assert isinstance(node.step(N1, Prepare(GROUP, 0, B2), T).sends[0][1], Nack)
    assert isinstance(node.step(N0, accept(B2, chain(1)), T).sends[0][1], Nack)
    assert node.ballot == B1


def test_entries_are_accepted_only_behind_the_last_slot_of_a_log_of_the_ballot() -> None:
    node, log = replica(N1), chain(3)
    effects = node.step(N0, accept(B1, log[:2]), T)
    assert [(record.kind, record.slot) for record in effects.records] == [
        (RecordKind.ACCEPT, 1),
        (RecordKind.ACCEPT, 2),
    ]
    assert effects.sends_durable == [(N0, Accepted(GROUP, 0, B1, Slot(2), Slot(0), 0))]
    gap = node.step(N0, accept(B1, chain(1, log[2].mark), after=log[2].mark), T)
    assert [type(message) for _, message in gap.sends_durable] == [Behind]
    other_ballot = node.step(N2, accept(B2, log[2:], after=log[1].mark), T)
    assert [record.kind for record in other_ballot.records] == [RecordKind.PROMISE]
    assert isinstance(other_ballot.sends_durable[0][1], Behind)
    assert node.last_slot == 2


def test_entries_sent_twice_are_taken_once() -> None:
    node, log = replica(N1), chain(4)
    node.step(N0, accept(B1, log[:3]), T)
    effects = node.step(N0, accept(B1, log[1:], after=log[0].mark), T)
    assert [record.slot for record in effects.records] == [4]


def test_an_entry_that_does_not_continue_the_log_stops_the_replica() -> None:
    node, log, other = replica(N1), chain(2), chain(2, salt=b"b")
    node.step(N0, accept(B1, log[:1]), T)
    with pytest.raises(Invariant, match="chained checksum"):
        node.step(N0, accept(B1, other[1:], after=other[0].mark), T)


def test_what_is_chosen_is_reported_once_and_only_when_durable_here() -> None:
    node, log = replica(N1), chain(3)
    effects = node.step(N0, accept(B1, log, chosen=2), T)
    assert not effects.outputs or not any(isinstance(output, Chosen) for output in effects.outputs)
    assert sync(node, effects) == [Chosen(GROUP, log[:2])]
    again = node.step(N0, Commit(GROUP, 0, B1, log[2].mark, Slot(0)), T)
    assert [output for output in again.outputs if isinstance(output, Chosen)] == [Chosen(GROUP, log[2:])]


def test_an_install_is_one_record_and_replaces_what_differs() -> None:
    node, old = replica(N1), chain(3)
    sync(node, node.step(N0, accept(B1, old, chosen=1), T))
    new = [old[0], *chain(3, old[0].mark, b"n")]
    effects = node.step(N2, Install(GROUP, 0, B2, ORIGIN, raw(new), Slot(1)), T)
    assert [record.kind for record in effects.records] == [RecordKind.PROMISE, RecordKind.INSTALL]
    assert effects.records[1].slot == 1, "what is chosen stays"
    assert node.retained == new
    again = node.step(N2, Install(GROUP, 0, B2, ORIGIN, raw(new[:2]), Slot(1)), T)
    assert not again.records
    assert node.last_slot == 4, "a repeated install takes nothing away"


def test_a_chosen_slot_is_never_cut() -> None:
    node, old, other = replica(N1), chain(2), chain(2, salt=b"o")
    node.step(N0, accept(B1, old, chosen=2), T)
    for suffix in (other, [*other, *chain(1, other[1].mark)]):
        with pytest.raises(Invariant, match="slot 2, which is chosen"):
            node.step(N2, Install(GROUP, 0, B2, ORIGIN, raw(suffix), Slot(2)), T)


def test_chosen_entries_are_learnt_without_entering_the_ballot() -> None:
    node, old = replica(N1), chain(3)
    node.step(N0, accept(B1, old, chosen=1), T)
    new = chain(2, old[0].mark, b"n")
    effects = node.step(N2, Learn(GROUP, 0, B2, old[0].mark, raw(new)), T)
    assert [record.kind for record in effects.records] == [RecordKind.PROMISE, RecordKind.LEARN, RecordKind.LEARN]
    assert node.acceptor.log_ballot == B1
    assert (node.chosen_slot, node.retained) == (3, [old[0], *new])
    ((_, answer),) = effects.sends_durable
    assert answer == Behind(GROUP, 0, B2, B1, new[1].mark, Slot(3), 0)


def test_a_mark_proves_the_prefix_only_if_its_entry_is_held() -> None:
    node, log, other = replica(N1), chain(3), chain(3, salt=b"o")
    node.step(N0, accept(B1, log), T)
    node.step(N2, Learn(GROUP, 0, B2, other[1].mark, ()), T)
    assert node.chosen_slot == 0
    node.step(N2, Learn(GROUP, 0, B2, log[1].mark, ()), T)
    assert node.chosen_slot == 2


# --- leases -----------------------------------------------------------------------------------------------------------


def test_an_acceptor_is_bound_while_its_grant_of_the_era_it_wrote_lasts() -> None:
    node = replica(N1)
    grant(node, N0)
    node.step(N0, accept(B1, chain(1)), T)
    ((_, refusal),) = node.step(N2, Prepare(GROUP, 0, B2), T).sends
    assert refusal == Nack(GROUP, 0, B2, B1, PaxosSettings().lease_grant_ns)
    later = Instant(T + PaxosSettings().lease_grant_ns)
    assert node.step(N2, Prepare(GROUP, 0, B2), later).sends_durable


def test_an_acceptor_that_wrote_nothing_in_the_era_is_free() -> None:
    """The holder cannot be counting it."""
    node = replica(N1)
    node.step(N0, accept(B1, chain(1)), T)
    grant(node, N0)
    assert node.step(N2, Prepare(GROUP, 0, B2), T).sends_durable


def test_what_a_leader_sent_before_its_release_makes_nobody_wait_for_it() -> None:
    """Simulation `rot-five`, seed 3000181 at c9edb94: an Accept that the Release overtook stopped the timer of the only
    replica that could lead; bound to the node of the one that had resigned, which was well, it waited for ever."""
    node = replica(N1)
    leases = grant(node, N0)
    node.step(N0, accept(B1, chain(1)), T)
    assert leases.grant_left(N0, T) > 0
    assert node.next_deadline() is None
    node.step(N0, Release(GROUP, 0, B1), T)
    node.step(N0, accept(B1, chain(2)), T)
    assert node.next_deadline() is not None
    assert node.known_leader == NO_NODE


def test_a_release_that_comes_during_a_poll_is_heard() -> None:
    """Simulation `losses`, seed 5005914 at b8e8cc7: the poll came to nothing, and then the one that could lead waited
    for the leader that it had heard of, and that had resigned, during it."""
    node = replica(N1)
    node.step(N0, accept(B1, chain(1)), T)
    now = node.next_deadline()
    assert now is not None
    grant(node, N2, now)
    assert [message for _, message in node.tick(now).sends if isinstance(message, Poll)]
    grant(node, N0, now)
    node.step(N0, Commit(GROUP, 0, B3, ORIGIN, Slot(0)), now)
    node.step(N0, Release(GROUP, 0, B3), now)
    for _ in range(3):
        now = node.next_deadline()
        assert now is not None, "it waits for nothing any more"
        node.tick(now)


def test_a_candidate_passes_a_release_on() -> None:
    """Whoever did not hear it would refuse for as long as the node of the former leader is well."""
    node = replica(N1)
    node.step(N0, accept(B1, chain(1)), T)
    grant(node, N2)
    node.step(N0, Release(GROUP, 0, B1), T)
    deadline = node.next_deadline()
    assert deadline is not None
    attempts = {message.attempt for _, message in node.tick(deadline).sends if isinstance(message, Poll)}
    effects = node.step(N2, PollAnswer(GROUP, 0, attempts.pop(), False, 0), deadline)
    asked = [message for _, message in effects.sends_durable if isinstance(message, Prepare)]
    assert [message.released for message in asked] == [B1, B1]


def test_a_release_frees_an_acceptor() -> None:
    node = replica(N1)
    grant(node, N0)
    node.step(N0, accept(B1, chain(1)), T)
    node.step(N2, Release(GROUP, 0, B1), T)
    assert not node.step(N2, Prepare(GROUP, 0, B2), T).sends_durable, "only the holder may release"
    node.step(N0, Release(GROUP, 0, B1), T)
    assert node.step(N2, Prepare(GROUP, 0, B2), T).sends_durable


def test_the_holder_itself_may_campaign_anew() -> None:
    node = replica(N1)
    grant(node, N0)
    node.step(N0, accept(B1, chain(1)), T)
    assert node.step(N0, Prepare(GROUP, 0, B3), T).sends_durable


def test_a_poll_is_answered_with_what_binds() -> None:
    node = replica(N1)
    grant(node, N0)
    node.step(N0, accept(B1, chain(1)), T)
    ((_, answer),) = node.step(N2, Poll(GROUP, 0, 5), T).sends
    assert (answer.hears, answer.attempt, answer.left_ns) == (True, 5, PaxosSettings().lease_grant_ns)
    ((_, answer),) = node.step(N2, Poll(GROUP, 0, 6), Instant(T + 2 * SECOND)).sends
    assert not answer.hears


# --- leader -----------------------------------------------------------------------------------------------------------


def test_a_candidate_asks_for_promises_when_its_own_is_durable() -> None:
    node = replica(N2)
    effects = node.campaign_now(T)
    assert [record.kind for record in effects.records] == [RecordKind.PROMISE]
    assert not effects.sends
    assert [type(message) for _, message in effects.sends_durable] == [Prepare, Prepare]
    assert node.role is Role.CANDIDATE


def test_only_a_leader_with_a_chosen_barrier_proposes() -> None:
    command = Command(CommandKind.MUTATIONS, CommandId(bytes(16)), b"x")
    node = replica(N2)
    with pytest.raises(NotLeader):
        node.propose(command, WALL, T)
    for event in node.campaign_now(T).durable_events:
        node.on_durable(event, T)
    node.step(N1, Promise(GROUP, 0, B2, B1, ORIGIN, ORIGIN, ORIGIN), T)
    assert node.role is Role.LEADER
    with pytest.raises(NotLeader):
        node.propose(command, WALL, T)


def test_a_turn_of_proposals_leaves_as_one_message_per_follower() -> None:
    node = founder()
    for number in range(5):
        slot, effects = node.propose(Command(CommandKind.MUTATIONS, CommandId(bytes(16)), b"x"), WALL, T)
        assert slot == 2 + number
        assert not effects.sends
        assert len(effects.records) == 1
    effects = node.flush(T)
    to_n1 = [message for target, message in effects.sends if target == N1]
    assert [len(message.entries) for message in to_n1] == [5]
    assert len(effects.durable_events) == 1


def test_stamps_grow_whatever_the_clock_does() -> None:
    node = founder()
    command = Command(CommandKind.MUTATIONS, CommandId(bytes(16)), b"x")
    stamps = []
    for wall in (5_000, 4_000, 5_000, 9_000):
        assert node.next_stamp(wall) > node.last_stamp
        node.propose(command, Timestamp(wall), T)
        stamps.append(node.last_stamp)
    assert stamps == [5_000, 5_001, 5_002, 9_000]


def test_a_slot_is_chosen_by_a_quorum_that_includes_no_guess() -> None:
    node = founder()
    _, first = node.propose(Command(CommandKind.MUTATIONS, CommandId(bytes(16)), b"x"), WALL, T)
    flushed = node.flush(T)
    assert not sync(node, flushed), "the leader alone is no quorum"
    effects = node.step(N2, Accepted(GROUP, 0, B1, Slot(2), Slot(0), 0), T)
    assert [output for output in effects.outputs if isinstance(output, Chosen)]
    assert node.chosen_slot == 2
    assert first.records[0].slot == 2


def test_past_the_unchosen_window_proposals_stall_and_change_nothing() -> None:
    node = founder(unchosen_window_bytes=1_000)
    big = Command(CommandKind.MUTATIONS, CommandId(bytes(16)), bytes(600))
    node.propose(big, WALL, T)
    with pytest.raises(Stalled, match="the limit is 1000"):
        node.propose(big, WALL, T)
    assert node.last_slot == 2
    sync(node, node.flush(T))
    node.step(N1, Accepted(GROUP, 0, B1, Slot(2), Slot(0), 0), T)
    node.propose(big, WALL, T)


def test_one_entry_larger_than_every_bound_still_passes() -> None:
    node = founder(unchosen_window_bytes=100, chunk_bytes=100, in_flight_bytes=100)
    node.propose(Command(CommandKind.MUTATIONS, CommandId(bytes(16)), bytes(10_000)), WALL, T)
    effects = node.flush(T)
    assert [len(message.entries) for _, message in effects.sends] == [1, 1]


def test_a_command_that_no_log_takes_is_refused_and_changes_nothing() -> None:
    node = founder()
    with pytest.raises(InvalidInput, match="the limit is"):
        node.propose(Command(CommandKind.MUTATIONS, CommandId(bytes(16)), bytes(MAX_COMMAND_BYTES + 1)), WALL, T)
    assert node.last_slot == 1
    largest = Command(CommandKind.MUTATIONS, CommandId(bytes(16)), bytes(MAX_COMMAND_BYTES))
    _, effects = node.propose(largest, WALL, T)
    assert len(effects.records[0].body) <= MAX_BODY_BYTES


def test_a_new_leader_adopts_the_best_suffix_and_installs_it_with_its_barrier() -> None:
    node = replica(N2)
    for event in node.campaign_now(T).durable_events:
        node.on_durable(event, T)
    log = chain(2)
    effects = node.step(N1, Promise(GROUP, 0, B2, B1, log[1].mark, ORIGIN, ORIGIN), T)
    ((target, fetch),) = effects.sends
    assert (target, fetch) == (N1, Fetch(GROUP, 0, B2, Slot(0)))
    effects = node.step(N1, Suffix(GROUP, 0, B2, Slot(0), raw(log)), T)
    assert [record.kind for record in effects.records] == [RecordKind.INSTALL, RecordKind.ACCEPT]
    assert node.retained[:2] == log
    assert (node.retained[2].kind, node.retained[2].body) == (barrier(B2).kind, barrier(B2).body)
    (install,) = [message for target, message in effects.sends if target == N1]
    assert isinstance(install, Install)
    assert len(install.entries) == 3


def test_a_higher_ballot_ends_leadership_before_its_entries_are_reported() -> None:
    node = founder()
    node.propose(Command(CommandKind.MUTATIONS, CommandId(bytes(16)), b"mine"), WALL, T)
    sync(node, node.flush(T))
    first = node.retained[0]
    new = [first, *chain(1, first.mark, b"n")]
    effects = node.step(N2, Install(GROUP, 0, B2, ORIGIN, raw(new), Slot(2)), T)
    assert isinstance(effects.outputs[0], LostLeadership)
    assert not any(isinstance(output, Chosen) for output in effects.outputs)
    assert sync(node, effects) == [Chosen(GROUP, new[1:])]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_messages_of_an_older_configuration_are_refused_with_the_newer_one() -> None:
    state = founding_state(GROUP, [N0, N1, N2])
    state.configuration, state.founding = founding_of(3, (N0, N1, N2)), False
    node = replica(N1, state)
    effects = node.step(N2, Prepare(GROUP, 2, B2), T)
    assert effects.sends == [(N2, NewerConfiguration(GROUP, 3, encode_configuration(state.configuration)))]
    assert not effects.records
    assert not node.step(N2, NewerConfiguration(GROUP, 2), T).sends, "refusals are not answered"


def test_a_leader_that_missed_a_configuration_steps_down() -> None:
    node = founder()
    effects = node.step(N1, NewerConfiguration(GROUP, 1), T)
    assert node.role is Role.FOLLOWER
    assert isinstance(effects.outputs[0], LostLeadership)


def test_an_amnesiac_replica_is_inert() -> None:
    state = founding_state(GROUP, [N0, N1, N2])
    state.founding, state.amnesiac = False, True
    node = replica(N1, state)
    assert not node.start(T)
    said = Effects(sends=[(N2, Amnesiac(GROUP, 0))])
    for message in (Prepare(GROUP, 0, B2), Poll(GROUP, 0, 1), accept(B1, chain(1))):
        assert node.step(N2, message, T) == said, "it says why, and nothing else"
    assert not node.step(N2, Amnesiac(GROUP, 0), T), "two of them do not talk for ever"
    assert not node.campaign_now(T)
    assert node.next_deadline() is None
    assert node.status().amnesiac


def test_a_checkpoint_says_all_that_the_log_said() -> None:
    node, log = replica(N1), chain(4)
    sync(node, node.step(N0, accept(B1, log, chosen=3), T))
    node.step(N2, Prepare(GROUP, 0, B2), T)
    state = fold([(Lsn(1), node.checkpoint())])[GROUP]
    assert (state.promised, state.log_ballot, state.configuration) == (B2, B1, founding_of(0, (N0, N1, N2)))
    assert (state.chosen, state.base) == (3, log[2].mark)


def test_trimming_keeps_what_somebody_lacks_up_to_the_bound() -> None:
    log = chain(10)
    three = 3 * len(log[0].encoded)
    for bound, expected in ((10_000, 2), (three, 7), (0, 8)):  # everybody has slot 2, the engine has slot 8
        node = replica(N1, retained_bytes=bound)
        sync(node, node.step(N0, Accept(GROUP, 0, B1, Slot(0), 0, raw(log), Slot(10), Slot(2)), T))
        node.trim(Slot(8))
        assert node.status().base_slot == expected
        assert node.last_slot == 10


def test_what_is_trimmed_in_steps_is_what_the_bound_asks_for() -> None:
    """A step frees few entries and looks at no others: with each one looking at all, a hundred thousand held a node up
    for a tenth of a second."""
    log = chain(500)
    of_each = [len(entry.encoded) for entry in log]
    for bound in (0, 1, sum(of_each[-100:]), sum(of_each[-100:]) - 1, sum(of_each[3:]), sum(of_each)):
        node = replica(N1, retained_bytes=bound)
        sync(node, node.step(N0, Accept(GROUP, 0, B1, Slot(0), 0, raw(log), Slot(500), Slot(2)), T))
        steps = 1
        while node.trim(Slot(498)):
            steps += 1
        base = node.status().base_slot
        fewest = next(slot for slot in range(501) if sum(of_each[slot:]) <= bound)
        assert base == min(498, max(2, fewest))
        assert steps == base // 64 + 1


def test_what_is_not_reported_chosen_is_never_trimmed() -> None:
    node = replica(N1, retained_bytes=0)
    node.step(N0, accept(B1, chain(4), chosen=3), T)
    node.trim(Slot(4))
    assert node.status().base_slot == 0


def test_a_snapshot_that_is_not_newer_changes_nothing() -> None:
    node, log = replica(N1), chain(4)
    sync(node, node.step(N0, accept(B1, log, chosen=4), T))
    assert not node.snapshot_installed(Slot(2), log[1].crc, log[1].stamp, None, T).records
    later = chain(9)[8].mark
    effects = node.snapshot_installed(later.slot, later.crc, later.stamp, None, T)
    assert [record.kind for record in effects.records] == [RecordKind.BASE]
    assert isinstance(effects.sends_durable[0][1], Behind)
    assert (node.chosen_slot, node.last_slot) == (9, 9)


def _takes_what_it_had_promised_away() -> bool:
    """Whether a replica that promised B2 and then got a snapshot accepts what the leader of B1 sends."""
    node, mark = replica(N1), chain(9)[8].mark
    sync(node, node.step(N2, Prepare(GROUP, 0, B2, Ballot(0)), T))
    assert node.ballot == B2
    node.snapshot_installed(mark.slot, mark.crc, mark.stamp, None, T)
    effects = node.step(N0, accept(B1, chain(2, mark), after=mark), T)
    return not any(isinstance(message, Nack) for _, message in effects.sends)


@pytest.mark.plain
def test_a_snapshot_takes_no_promise_away() -> None:
    assert not _takes_what_it_had_promised_away()
    with drop_the_promise_with_a_snapshot():
        assert _takes_what_it_had_promised_away(), "the planted fault is found"


def test_a_group_of_one_waits_for_its_disk_however_slow() -> None:
    """An embedded node on a busy machine: its first promise was durable after the campaign's time limit, and it never
    led again, since it had nobody to ask whether the leader was heard."""
    state = founding_state(GROUP, [N0])
    state.founding = False
    node = replica(N0, state)
    begun = node.start(T)
    later = Instant(T + 60 * SECOND)
    assert node.next_deadline() is None
    assert not node.tick(later)
    (promised,) = begun.durable_events
    installed = node.on_durable(promised, later)
    outputs = [output for event in installed.durable_events for output in node.on_durable(event, later).outputs]
    assert any(isinstance(output, BecameLeader) for output in outputs)
