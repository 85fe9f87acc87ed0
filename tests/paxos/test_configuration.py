"""Configurations that follow one another: values, rules of the leader, candidates and recovery (rows C11, C14)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.paxos.explore import Budget, Change, Violation, explore, founded, walk
from tests.paxos.mutants import CONFIGURATION_MUTANTS, keep_the_lease_across_a_configuration
from tests.paxos.one import B1, B2, GROUP, N0, N1, N2, WALL, T, accept, chain, founder, grant, replica, sync

from gramme.kernel.errors import Corruption, InvalidInput
from gramme.kernel.ids import NO_COMMAND_ID, Ballot, Lsn, NodeId, Slot, make_ballot
from gramme.kernel.time import SECOND, Instant, Stamp
from gramme.paxos.campaign import PromiseDurable
from gramme.paxos.chain import make_entry
from gramme.paxos.configuration import (
    Configuration,
    Replica,
    decode_configuration,
    encode_configuration,
    founding,
    pack_replicas,
    unpack_replicas,
)
from gramme.paxos.entry import ORIGIN, Command, CommandKind, Entry
from gramme.paxos.messages import (
    Accepted,
    Amnesiac,
    Behind,
    Commit,
    Install,
    LeaseGranted,
    NewerConfiguration,
    Prepare,
    Promise,
    Rebase,
    Release,
)
from gramme.paxos.outputs import LostLeadership, Reconfigured
from gramme.paxos.recovery import fold
from gramme.paxos.replica import GroupReplica
from gramme.paxos.state import (
    FOR_GOOD,
    accept_record,
    base_record,
    create_record,
    drop_record,
    founding_state,
    joining_state,
)

pytestmark = pytest.mark.seconds(25)

N3 = NodeId(3)
THREE = founding((N0, N1, N2))
WITH_LOG = THREE.next(join=Replica(N3, log=True))
SWAPPED = WITH_LOG.next(promote=N3, mute=N2)
BORN_WITH_LOG = Configuration(0, (*THREE.replicas, Replica(N3, log=True, votes=False)))


def configured(after: Configuration, behind: Entry) -> Entry:
    command = Command(CommandKind.CONFIG, NO_COMMAND_ID, encode_configuration(after))
    return make_entry(behind.crc, Slot(behind.slot + 1), Stamp(behind.stamp + 10), after.number - 1, command)


def acknowledge(node: GroupReplica, source: NodeId, slot: int, number: int = 0, era: int = 0) -> Any:
    return node.step(source, Accepted(GROUP, number, B1, Slot(slot), Slot(0), era), T)


# --- values -----------------------------------------------------------------------------------------------------------


def test_a_configuration_is_its_bytes() -> None:
    for configuration in (THREE, WITH_LOG, SWAPPED, SWAPPED.next(renew=N1)):
        assert decode_configuration(encode_configuration(configuration)) == configuration
        packed = pack_replicas(configuration) + b"and more"
        assert unpack_replicas(configuration.number, packed) == (configuration, b"and more")


def test_founders_are_packed_as_before_there_were_roles() -> None:
    assert pack_replicas(THREE) == bytes([0, 3, 0, 0, 0, 1, 0, 2])


def test_a_cut_configuration_is_corrupt() -> None:
    packed = encode_configuration(SWAPPED)
    for size in range(len(packed)):
        with pytest.raises(Corruption):
            decode_configuration(packed[:size])


def test_who_is_what() -> None:
    assert SWAPPED.voters == (N0, N1, N3)
    assert SWAPPED.eligible == (N0, N1)
    assert SWAPPED.learners == (N2,)
    assert SWAPPED.logs == (N3,)
    assert SWAPPED.quorum == 2


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (THREE, WITH_LOG, ""),
        (WITH_LOG, SWAPPED, ""),
        (SWAPPED, SWAPPED.next(promote=N2, mute=N3), ""),
        (THREE, THREE.next(remove=N2), ""),
        (THREE, THREE.next(renew=N2), ""),
        (THREE, Configuration(2, THREE.replicas), "cannot follow"),
        (THREE, Configuration(1, (*THREE.replicas, Replica(N0))), "named twice"),
        (THREE, Configuration(1, (Replica(N0),)), "more than one voter"),
        (THREE, Configuration(1, (*THREE.replicas, Replica(N3, since=1))), "before it has caught up"),
        (THREE, Configuration(1, (*THREE.replicas, Replica(N3, votes=False))), "not said to be of this"),
        (WITH_LOG, Configuration(2, (*THREE.replicas, Replica(N3, votes=False, since=1))), "cannot change its kind"),
        (THREE, Configuration(1, tuple(Replica(node, votes=False) for node in THREE.nodes)), "no storage replica"),
    ],
)
def test_what_may_follow(before: Configuration, after: Configuration, why: str) -> None:
    refusal = before.refusal(after)
    assert why in refusal
    assert bool(why) == bool(refusal)


# --- the leader -------------------------------------------------------------------------------------------------------


def test_a_configuration_needs_a_quorum_of_both_and_later_slots_one_of_the_new() -> None:
    state = founding_state(GROUP, [N0, N1, N2])
    state.configuration = BORN_WITH_LOG
    node = replica(N0, state)
    (event,) = node.start(T).durable_events
    sync(node, node.on_durable(event, T))
    for other in (N1, N3):
        acknowledge(node, other, 1)
    after = state.configuration.next(promote=N3, mute=N2)
    sync(node, node.reconfigure(after, WALL, T))
    slot, effects = node.propose(Command(CommandKind.MUTATIONS, NO_COMMAND_ID, b"on top"), WALL, T)
    sync(node, effects)
    sync(node, node.flush(T))
    acknowledge(node, N2, slot)
    assert (node.chosen_slot, node.configuration.number) == (1, 0), "a quorum of the old one alone"
    effects = acknowledge(node, N3, slot - 1)
    assert (node.chosen_slot, node.configuration) == (slot - 1, after)
    assert Reconfigured(GROUP, after) in effects.outputs
    acknowledge(node, N2, slot)
    assert node.chosen_slot == slot - 1, "node 2 does not vote any more"
    acknowledge(node, N1, slot)
    assert node.chosen_slot == slot


def test_one_change_at_a_time_and_only_of_those_who_have_caught_up() -> None:
    node = founder()
    with pytest.raises(InvalidInput, match="would lose its vote"):
        node.reconfigure(THREE.next(mute=N0), WALL, T)
    sync(node, node.reconfigure(WITH_LOG, WALL, T))
    assert node.pending == WITH_LOG
    with pytest.raises(InvalidInput, match="configuration 1 is not chosen yet"):
        node.reconfigure(WITH_LOG, WALL, T)
    acknowledge(node, N1, 2)
    with pytest.raises(InvalidInput, match="before it has caught up"):
        node.reconfigure(SWAPPED, WALL, T)
    acknowledge(node, N3, 2, number=1)
    node.reconfigure(SWAPPED, WALL, T)


def _reads_on_by_a_grant_of_one_who_does_not_vote_any_more() -> bool:
    node = founder()
    leases = grant(node, N0)
    sync(node, node.reconfigure(WITH_LOG, WALL, T))
    acknowledge(node, N1, 2)
    acknowledge(node, N3, 2, number=1)
    leases.set_peers([N1, N2, N3], T)
    leases.step(N2, LeaseGranted(leases.boot, T, 7, SECOND), T)
    acknowledge(node, N2, 2, number=1, era=7)
    assert node.holds_lease(T), "node 2 grants one"
    sync(node, node.reconfigure(SWAPPED, WALL, T))
    acknowledge(node, N1, 3, number=1)
    acknowledge(node, N3, 3, number=1)
    assert node.configuration == SWAPPED, "node 2 does not vote any more, and nobody else has granted anything"
    return node.holds_lease(T)


@pytest.mark.plain
def test_what_counted_towards_the_lease_is_void_in_another_configuration() -> None:
    """Else a voter that is gone would let the leader read on while those who remain elect another one."""
    assert not _reads_on_by_a_grant_of_one_who_does_not_vote_any_more()
    with keep_the_lease_across_a_configuration():
        assert _reads_on_by_a_grant_of_one_who_does_not_vote_any_more(), "the planted fault is found"


def test_acknowledgements_on_their_way_count_unless_of_a_former_incarnation() -> None:
    node = founder()
    renewed = THREE.next(renew=N2)
    sync(node, node.reconfigure(renewed, WALL, T))
    acknowledge(node, N1, 2)
    assert node.configuration == renewed
    acknowledge(node, N1, 2, number=0)
    assert not acknowledge(node, N1, 2, number=0).sends, "not refused"
    refused = acknowledge(node, N2, 2, number=0)
    assert [type(message) for _, message in refused.sends] == [NewerConfiguration]
    assert [follower.slot for follower in node.followers() if follower.node == N2] == [0]


def test_what_a_former_incarnation_held_does_not_make_the_present_one_caught_up() -> None:
    """Its word came while the configuration that renews it was not chosen yet. Taken for the new one's, it gave an
    empty replica the vote back; and the leader, who believed to have met it, never heard that its log is empty."""
    node = founder()
    renewed = THREE.next(renew=N2)
    sync(node, node.reconfigure(renewed, WALL, T))
    acknowledge(node, N2, 2)
    acknowledge(node, N1, 2)
    assert node.configuration == renewed
    with pytest.raises(InvalidInput, match="before it has caught up"):
        node.reconfigure(renewed.next(promote=N2), WALL, T)
    effects = node.step(N2, Behind(GROUP, 1, B1, Ballot(0), ORIGIN, Slot(0), 0), T)
    assert [target for target, message in effects.sends if isinstance(message, Install)] == [N2]


def test_who_is_new_is_asked_again_until_it_answers_and_then_left_alone() -> None:
    """Its own first word was lost. Nobody proposes anything, and nobody invites it again."""
    node = founder()
    sync(node, node.reconfigure(WITH_LOG, WALL, T))
    for source in (N1, N2):
        acknowledge(node, source, 2)
    now = T
    for _ in range(2):
        deadline = node.next_deadline()
        assert deadline is not None
        now = max(now, Instant(deadline))
        asked = [target for target, message in node.tick(now).sends if isinstance(message, Commit)]
    assert N3 in asked
    node.step(N3, Behind(GROUP, 1, B1, Ballot(0), ORIGIN, Slot(0), 0), now)
    for source in (N1, N2, N3):
        node.step(source, Accepted(GROUP, 1, B1, Slot(2), Slot(2), 0), now)
    assert node.leader is not None
    assert all(peer.resend_at is None for peer in node.leader.peers), "a group in which all have all costs nothing"


def test_an_amnesiac_follower_is_known_as_one_until_it_is_made_anew() -> None:
    node = founder()
    acknowledge(node, N2, 1)
    node.step(N2, Amnesiac(GROUP, 0), T)
    assert [follower.amnesiac for follower in node.followers()] == [False, True]
    sync(node, node.reconfigure(THREE.next(renew=N2), WALL, T))
    acknowledge(node, N1, 2)
    node.step(N2, Amnesiac(GROUP, 0), T)
    assert [follower.amnesiac for follower in node.followers()] == [False, False], "that was the former one"


def test_a_leader_without_a_vote_steps_down() -> None:
    """It won while the configuration that takes its vote stood in the log it adopted, not known to be chosen."""
    state = founding_state(GROUP, [N0, N1, N2])
    state.founding = False
    state.configuration = BORN_WITH_LOG
    node = replica(N2, state)
    log = chain(1)
    log.append(configured(state.configuration.next(promote=N3, mute=N2), log[0]))
    sync(node, node.step(N0, accept(B1, log, chosen=1), T))
    won = node.campaign_now(T)
    (event,) = [each for each in won.durable_events if isinstance(each, PromiseDurable)]
    node.on_durable(event, T)
    ballot = node.ballot
    for source in (N1, N3):
        promise = Promise(GROUP, 0, ballot, B1, log[1].mark, log[0].mark, ORIGIN)
        effects = node.step(source, promise, T)
    assert node.leader is not None
    for turn in effects.durable_events:
        node.on_durable(turn, T)
    outputs = [
        output
        for source in (N1, N3)
        for output in node.step(source, Accepted(GROUP, 0, ballot, Slot(3), Slot(1), 0), T).outputs
    ]
    assert any(isinstance(output, Reconfigured) for output in outputs)
    assert node.leader is None
    assert not any(isinstance(output, LostLeadership) for output in outputs), "it never served"
    # Nobody who is bound to its node, which is well, asks for anything: it says so until it hears of another leader.
    for _ in range(2):
        deadline = node.next_deadline()
        assert deadline is not None
        again = [target for target, message in node.tick(deadline).sends if message == Release(GROUP, 1, ballot)]
        assert again == [N0, N1, N3]
    node.step(N1, Prepare(GROUP, 1, make_ballot(9, N1)), deadline)
    deadline = node.next_deadline()
    assert deadline is None or not node.tick(deadline).sends


def candidate_of_a_log_where_node_2_was_made_anew() -> GroupReplica:
    """Node 1 acts in configuration 0 and has promised itself a ballot. In its log, of which nothing is known to be
    chosen, node 2 gives its vote to a log replica, is made anew, and has its vote back."""
    state = founding_state(GROUP, [N0, N1, N2])
    state.founding, state.configuration = False, BORN_WITH_LOG
    node = replica(N1, state)
    log = chain(1)
    swapped = BORN_WITH_LOG.next(promote=N3, mute=N2)
    renewed = swapped.next(renew=N2)
    for after in (swapped, renewed, renewed.next(promote=N2, mute=N3)):
        log.append(configured(after, log[-1]))
    sync(node, node.step(N0, accept(B1, log), T))
    (event,) = [each for each in node.campaign_now(T).durable_events if isinstance(each, PromiseDurable)]
    node.on_durable(event, T)
    return node


def elected_by_node_2_of(number: int) -> bool:
    """Whether promises of node 2, carrying the number, and of the log replica make node 1 lead."""
    node = candidate_of_a_log_where_node_2_was_made_anew()
    for source, known in ((N2, number), (N3, 0)):
        node.step(source, Promise(GROUP, known, node.ballot, B1, ORIGIN, ORIGIN, ORIGIN), T)
    return node.leader is not None


@pytest.mark.plain
def test_what_a_former_incarnation_promised_elects_nobody() -> None:
    """Counted as one replica with the present one, which may have accepted of a lower ballot's leader since, it would
    elect over what that leader has chosen."""
    assert elected_by_node_2_of(2), "the present one was made under configuration 2"
    assert not elected_by_node_2_of(1)
    with CONFIGURATION_MUTANTS["believe_old_promises"]():
        assert elected_by_node_2_of(1), "the planted fault is found"


# --- log replicas -----------------------------------------------------------------------------------------------------


def log_replica(configuration: Configuration = SWAPPED) -> GroupReplica:
    return replica(N3, joining_state(GROUP, configuration, B1, b""))


def test_a_log_replica_never_campaigns() -> None:
    node = log_replica()
    node.start(T)
    later = T
    for _ in range(20):
        deadline = node.next_deadline()
        if deadline is None:
            break
        later = max(Instant(deadline), later)
        assert not any(isinstance(message, Prepare) for _, message in node.tick(later).sends)
    assert not node.campaign_now(later)
    assert node.next_deadline() is None


def test_a_log_replica_begins_again_where_its_leader_says() -> None:
    node, mark = log_replica(), chain(40)[39].mark
    effects = node.step(N0, Rebase(GROUP, 2, B1, mark, encode_configuration(SWAPPED)), T)
    assert (node.chosen_slot, node.last_slot) == (40, 40)
    ((target, answer),) = effects.sends_durable
    assert target == N0
    assert isinstance(answer, Behind)
    assert answer.last == mark
    restarted = fold((Lsn(n), record) for n, record in enumerate([_created(), *effects.records]))[GROUP]
    restarted.attach_log()
    assert (restarted.base, restarted.configuration) == (mark, SWAPPED)


def test_only_a_log_replica_begins_again_without_rows() -> None:
    node = replica(N2, joining_state(GROUP, SWAPPED, B1, b""))
    effects = node.step(N0, Rebase(GROUP, 2, B1, chain(40)[39].mark, encode_configuration(SWAPPED)), T)
    assert not effects.records
    assert node.last_slot == 0


def test_a_leader_tells_a_log_replica_that_lacks_too_much_to_begin_again() -> None:
    node = founder()
    sync(node, node.reconfigure(WITH_LOG, WALL, T))
    acknowledge(node, N1, 2)
    acknowledge(node, N2, 2)
    node.on_applied(Slot(2))
    node.acceptor.log.trim(Slot(2))
    effects = node.step(N3, Behind(GROUP, 1, B1, B2, ORIGIN, Slot(0), 0), T)
    (rebase,) = [message for _, message in effects.sends if isinstance(message, Rebase)]
    assert rebase.base.slot == 2


# --- recovery ---------------------------------------------------------------------------------------------------------


def _created() -> Any:
    return create_record(joining_state(GROUP, SWAPPED, B1, b""))


def test_a_replica_that_joined_holds_a_log_of_no_ballot() -> None:
    """Born with the founders' log ballot, its empty log would win phase 1 against logs with chosen slots."""
    state = fold([(Lsn(1), _created())])[GROUP]
    state.attach_engine(Slot(0), 0, Stamp(0))
    assert (state.promised, state.log_ballot, state.configuration) == (B1, 0, SWAPPED)


def test_chosen_configurations_are_acted_in_after_a_restart_and_others_are_pending() -> None:
    log = chain(1)
    log.append(configured(WITH_LOG, log[0]))
    log.append(configured(SWAPPED, log[1]))
    first = founding_state(GROUP, [N0, N1, N2])
    records = [create_record(first), *(accept_record(GROUP, B1, entry) for entry in log)]
    state = fold((Lsn(n), record) for n, record in enumerate(records))[GROUP]
    state.attach_engine(Slot(2), log[1].crc, log[1].stamp)
    node = replica(N1, state)
    assert (node.configuration, node.pending) == (WITH_LOG, SWAPPED)


def test_the_configuration_of_a_snapshot_survives_without_its_base_record() -> None:
    first = founding_state(GROUP, [N0, N1, N2])
    state = fold([(Lsn(1), create_record(first))])[GROUP]
    mark = chain(40)[39].mark
    state.attach_engine(mark.slot, mark.crc, mark.stamp, SWAPPED)
    assert replica(N1, state).configuration == SWAPPED


def test_a_base_record_of_before_there_were_roles_changes_no_configuration() -> None:
    first = founding_state(GROUP, [N0, N1, N2])
    base = base_record(GROUP, B1, THREE, chain(3)[2].mark)
    old = type(base)(base.kind, base.group, base.slot, base.ballot, 0, 0, base.body[: -len(pack_replicas(THREE))])
    state = fold([(Lsn(1), create_record(first)), (Lsn(2), old)])[GROUP]
    assert (state.configuration, state.base) == (THREE, chain(3)[2].mark)


@pytest.mark.parametrize(("dropped_at", "hosted"), [(1, True), (2, False), (FOR_GOOD, False)])
def test_a_dropped_group_is_hosted_again_only_under_a_newer_configuration(dropped_at: int, hosted: bool) -> None:
    first = create_record(founding_state(GROUP, [N0, N1, N2]))
    records = [first, drop_record(GROUP, dropped_at), _created()]
    assert (GROUP in fold((Lsn(n), record) for n, record in enumerate(records))) is hosted
    checkpoint = log_replica().checkpoint()
    assert (GROUP in fold([(Lsn(1), drop_record(GROUP, dropped_at)), (Lsn(2), checkpoint)])) is hosted
    drop_repeated = [_created(), drop_record(GROUP, 1)]
    assert GROUP in fold((Lsn(n), record) for n, record in enumerate(drop_repeated)), "the drop was of the former one"


# --- every small world, and long paths --------------------------------------------------------------------------------

_SWAP: Change = ("swap", N3, N2)
_BACK: Change = ("swap", N2, N3)
_RENEW: Change = ("renew", N2, N2)
_PROMOTE: Change = ("promote", N2, N2)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("voters", "logs", "budget", "plan", "states"),
    [
        (3, 1, Budget(0, 0, 1, 0), (_SWAP,), 138),
        (3, 1, Budget(1, 0, 0, 0), (_SWAP,), 24_808),
        (2, 1, Budget(1, 1, 0, 0), (("swap", N2, N1),), 8_631),
        (2, 1, Budget(2, 0, 0, 0), (("swap", N2, N1),), 2_326),
        (3, 0, Budget(1, 0, 1, 0, 1), (_RENEW,), 6_207),
    ],
)
def test_every_small_world_that_changes_agrees(
    voters: int, logs: int, budget: Budget, plan: tuple[Change, ...], states: int
) -> None:
    """A vote goes to a log replica, or is taken from one that is damaged, while others campaign, propose and crash."""
    assert explore(founded(voters, budget, 0, plan, logs), 100_000).states == states


def _log() -> Any:
    return founded(3, Budget(5, 5, 3, 4), 0, (_SWAP, _BACK), logs=1)


def _renewed() -> Any:
    return founded(3, Budget(5, 5, 4, 4, 1), 0, (_RENEW, _PROMOTE))


def _both() -> Any:
    return founded(3, Budget(4, 4, 2, 1, 1), 0, (_SWAP, _RENEW, _BACK), logs=1)


@pytest.mark.plain
@pytest.mark.parametrize("world", [_log, _renewed, _both])
def test_long_random_paths_of_configurations_agree(world: Any) -> None:
    start = world()
    ends = [walk(start, random.Random(seed), 150) for seed in range(150)]
    assert any(not end.plan for end in ends), "no path made all the changes: the search looked at nothing"


@pytest.mark.plain
def test_the_exhaustive_search_finds_that_an_old_acknowledgement_is_believed() -> None:
    """A replica that is made anew holds nothing, whatever is still on its way from the one before."""
    world = founded(3, Budget(0, 1, 1, 0, 1), 0, (_RENEW,))
    assert explore(world, 10_000).states == 1_144
    with CONFIGURATION_MUTANTS["believe_old_acknowledgements"](), pytest.raises(Violation, match="node 0 counts 2"):
        explore(world, 10_000)


_TOLD = ("believe_old_promises", "believe_old_acknowledgements")  # above: too many things must come together


@pytest.mark.plain
@pytest.mark.parametrize("name", [name for name in CONFIGURATION_MUTANTS if name not in _TOLD])
def test_random_paths_find_the_planted_fault_of_configurations(name: str) -> None:
    with CONFIGURATION_MUTANTS[name](), pytest.raises(Violation):
        _walk_all()


def _walk_all() -> None:
    for world in (_log, _both, _renewed):
        start = world()
        for seed in range(600):
            walk(start, random.Random(seed), 150)
