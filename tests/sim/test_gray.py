"""Links that fail in part: no needless election, no request that nobody answers, no leader that cannot hear (row F5).

Source: decision 0094; issue 6, "Gray failures". `gramme bench elections` measures the same for longer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
from tests.node.three import ALL, ITEM, N0, N1, N2, PUT, STRONG, Three
from tests.patched import patched

from gramme.bench.elections import SCENARIOS, Measured, Scenario, measure, without_poll
from gramme.kernel.ids import NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.messages import Forward
from gramme.node.partition import PartitionReplica
from gramme.node.router import Router
from gramme.paxos.campaign import Campaign
from gramme.paxos.leader import Leader
from gramme.paxos.messages import PollAnswer
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import Failed

pytestmark = pytest.mark.seconds(12)

_LINKS = [scenario for scenario in SCENARIOS if "0-1" in scenario.name or "1 does not hear" in scenario.name]


def ignore_healthy_leaders() -> AbstractContextManager[None]:
    """Planted: a candidate counts every answer to its poll as one of a peer that hears no leader."""
    original = Campaign.on_poll_answer

    def deaf(self: Campaign, source: NodeId, message: PollAnswer, now: Instant) -> bool:
        lie = PollAnswer(message.group, message.configuration, message.attempt, False, 0)
        return original(self, source, lie, now)

    return patched(Campaign, "on_poll_answer", deaf)


def flapping(plant: AbstractContextManager[None]) -> Measured:
    with plant:
        return measure(next(scenario for scenario in SCENARIOS if "flaps" in scenario.name), 0.5, seed=3)


@pytest.mark.parametrize("scenario", _LINKS, ids=lambda scenario: scenario.name)
def test_a_link_that_fails_in_part_elects_nobody_and_refuses_nobody(scenario: Scenario) -> None:
    """The leader is heard by a quorum all the time: whoever does not hear it asks, and is told to wait."""
    found = measure(scenario, 0.5, seed=2)
    assert (found.changes, found.ballots, found.refused) == (0, 0, 0)


@pytest.mark.parametrize("plant", [without_poll, ignore_healthy_leaders])
def test_without_asking_or_without_listening_leaders_fall(plant: Callable[[], AbstractContextManager[None]]) -> None:
    found = flapping(plant())
    assert found.changes > 0
    assert found.ballots > 0
    assert flapping(nullcontext()).changes == 0


# --- relays -----------------------------------------------------------------------------------------------------------


def _separated(ways: list[tuple[NodeId, NodeId]]) -> tuple[Three, TableDescriptor]:
    """A cluster whose table node 0 leads; the ways have been cut for some time."""
    three = Three()
    table = three.create()
    assert three.submit(N1, table, PUT) is not None
    for source, target in ways:
        three.cluster.cut(source, target)
    three.run(4 * SECOND)
    return three, table


def _never_relays(self: Router, source: NodeId, message: Forward, partition: PartitionReplica) -> bool:
    return False


@pytest.mark.parametrize("ways", [[(N0, N1), (N1, N0)], [(N0, N1)], [(N1, N0)]])
def test_a_node_that_cannot_reach_the_leader_asks_another_to(ways: list[tuple[NodeId, NodeId]]) -> None:
    three, table = _separated(ways)
    answers = [three.begin(N1, table, request) for request in (PUT, STRONG)]
    three.run(2 * SECOND)
    assert [isinstance(answer[0], Failed) for answer in answers] == [False, False]
    assert answers[1][0].item == ITEM
    assert three.leader(table.partitions[0].group) == N0


def test_without_relays_such_a_node_answers_nobody() -> None:
    """Planted: a replica that does not lead sends nothing on."""
    with patched(Router, "_relay", _never_relays):
        three, table = _separated([(N0, N1), (N1, N0)])
        answer = three.begin(N1, table, STRONG)
        three.run(4 * SECOND)
        assert answer == []


def test_a_relayed_write_is_applied_once() -> None:
    """Its answer is lost on the way back, so it is sent again under the same name."""
    three, table = _separated([(N0, N1), (N1, N0)])
    group = table.partitions[0].group
    before = three.replica(N0, group).rows.applied.slot
    three.cluster.cut(N2, N1)
    answer = three.begin(N1, table, PUT)
    three.run(300 * MILLISECOND)
    assert answer == []
    three.cluster.heal(N2, N1)
    three.until(lambda: bool(answer), "the write is answered")
    assert not isinstance(answer[0], Failed)
    assert three.replica(N0, group).rows.applied.slot == before + 1


# --- a leader that hears nobody ---------------------------------------------------------------------------------------


def _waits_in_any_case(self: Leader, now: Instant) -> int:
    return self._settings.step_down_ns


@pytest.mark.parametrize("planted", [False, True])
def test_a_leader_that_hears_nobody_steps_down_soon_after_its_lease(planted: bool) -> None:
    """Its followers hear it and so keep their grants to it: until it releases them, nobody can be elected."""
    with patched(Leader, "_patience_ns", _waits_in_any_case) if planted else nullcontext():
        three = Three()
        group = three.create().partitions[0].group
        for source in (N1, N2):
            three.cluster.cut(source, N0)
        three.run(2_500 * MILLISECOND)
        assert (three.leader(group) in (N1, N2)) is not planted
        three.run(3 * SECOND)
        assert three.leader(group) in (N1, N2)


def test_a_leader_whose_followers_are_heard_waits_for_their_grants() -> None:
    """It lost one grant of two and hears both: nothing is to be gained by an election."""
    three = Three()
    group = three.create().partitions[0].group
    three.cluster.cut(N1, N0)
    for _ in range(20):
        three.run(500 * MILLISECOND)
        assert three.leader(group) == N0
    assert [three.replica(node, group).replica.ballot for node in ALL] == [three.replica(N0, group).replica.ballot] * 3
