"""Snapshots and the protocol: what a replica may conclude from one, and whom it tells (REPLICATION.md §6)."""

from __future__ import annotations

import pytest
from tests.paxos.one import B1, B2, GROUP, N0, N1, N2, WALL, T, accept, chain, founder, raw, replica, sync

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Invariant
from gramme.kernel.ids import NO_COMMAND_ID, Ballot, Lsn, Slot
from gramme.paxos.campaign import Phase, PromiseDurable
from gramme.paxos.entry import Command, CommandKind, Entry
from gramme.paxos.messages import Promise, Suffix
from gramme.paxos.recovery import fold
from gramme.paxos.replica import GroupReplica
from gramme.paxos.state import create_record, founding_state
from gramme.paxos.status import Role


def installed(node: GroupReplica, entry: Entry, ballot: Ballot) -> Effects:
    mark = entry.mark
    return node.snapshot_installed(mark.slot, mark.crc, mark.stamp, None, T, ballot)


def candidate_that_fetches(log: list[Entry]) -> GroupReplica:
    """Node 2 has slots 1 and 2. It campaigns; node 1, which has all of `log` but knows no more than slot 2 as chosen,
    has promised, and has sent slots 3 and 4."""
    node = replica(N2)
    sync(node, node.step(N0, accept(B1, log[:2], chosen=2), T))
    (event,) = [each for each in node.campaign_now(T).durable_events if isinstance(each, PromiseDurable)]
    node.on_durable(event, T)
    node.step(N1, Promise(GROUP, 0, node.ballot, B1, log[-1].mark, log[1].mark, log[1].mark), T)
    assert node.campaign is not None
    assert node.campaign.phase is Phase.FETCH
    node.step(N1, Suffix(GROUP, 0, node.ballot, Slot(2), raw(log[2:4])), T)
    return node


@pytest.mark.parametrize("through", [3, 4, 6, 9])
def test_a_snapshot_comes_while_its_receiver_fetches_the_best_log(through: int) -> None:
    """The leader that sent it is gone. Its slots were to be installed as if nothing were known of them, and the replica
    stopped: "slot 3 is chosen and may not be cut"."""
    log = chain(9)
    node = candidate_that_fetches(log)
    sync(node, installed(node, log[through - 1], B1))
    node.step(N1, Suffix(GROUP, 0, node.ballot, Slot(4), raw(log[4:])), T)
    assert node.role is Role.LEADER
    assert (node.last_slot, node.chosen_slot) == (10, through)
    kept = [entry.encoded for entry in node.retained if entry.slot <= 9]
    assert kept == list(raw(log[9 - len(kept) :]))


def test_a_snapshot_of_slots_that_no_quorum_has_stops_the_candidate() -> None:
    """They were chosen, and the best log of a quorum lacks them: somebody has forgotten something."""
    log = chain(12)
    node = candidate_that_fetches(log[:9])
    installed(node, log[11], B1)
    with pytest.raises(Invariant, match="slot 12 is chosen, but the best log of a quorum ends at slot 9"):
        node.step(N1, Suffix(GROUP, 0, node.ballot, Slot(4), raw(log[4:9])), T)


def test_who_takes_a_snapshot_takes_part_in_no_ballot_below_its_senders() -> None:
    """Node 0 leads ballot 1 and does not know that ballot 2 has chosen other entries since. Told of them by a follower
    that still takes part in its ballot, it would take slots of its own log for chosen."""
    stale, follower = founder(), replica(N1)
    for _ in range(2):
        _, effects = stale.propose(Command(CommandKind.MUTATIONS, NO_COMMAND_ID, b"lost"), WALL, T)
        sync(stale, effects)
    sent = stale.flush(T)
    sync(stale, sent)
    effects = installed(follower, chain(3)[2], B2)
    records = [create_record(founding_state(GROUP, [N0, N1, N2])), *effects.records]
    assert fold((Lsn(n), record) for n, record in enumerate(records))[GROUP].promised == B2, "durably"
    answers = [message for target, message in effects.sends_durable if target == N0]
    for message in [message for target, message in sent.sends if target == N1]:
        effects = follower.step(N0, message, T)
        answers += [answer for target, answer in (*effects.sends, *effects.sends_durable) if target == N0]
    for answer in answers:
        stale.step(N1, answer, T)
    assert stale.chosen_slot == 1
    assert stale.role is not Role.LEADER, "it has heard of ballot 2"
