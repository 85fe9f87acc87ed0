"""Decisions of the healing loop, rule by rule, and together: in a model of a cluster whose nodes come and go, each
step must be one that the protocol allows, and the group must end with three storage replicas that vote."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.node.healing.steps import HealingSettings, Seen, Situation, Step, decide, health
from gramme.paxos.configuration import Configuration, Replica, founding
from gramme.placement.zones import NodePlace

pytestmark = pytest.mark.seconds(5)

SETTINGS = HealingSettings()
UP = Seen(0, 600 * SECOND, has_log=True)
COMING = Seen(0, 600 * SECOND, has_log=False)
SILENT = Seen(4 * SECOND, 0, has_log=False)
GONE = Seen(601 * SECOND, 0, has_log=False)
DAMAGED = Seen(0, 600 * SECOND, has_log=False, damaged=True)
N0, N1, N2, N3, N4, N5 = (NodeId(n) for n in range(6))
THREE = founding((N0, N1, N2))


def place(node: int, zone: int | None = None) -> NodePlace:
    return NodePlace(NodeId(node), f"host{node}", f"zone{node % 3 if zone is None else zone}")


def situation(configuration: Configuration, seen: dict[NodeId, Seen], *free: int) -> Situation:
    """What node 0, the leader, sees."""
    held = [place(node) for node in configuration.nodes]
    return Situation(N0, configuration, seen, [place(node) for node in free], held, {})


def step(configuration: Configuration, seen: dict[NodeId, Seen], *free: int) -> Step:
    found = decide(situation(configuration, seen, *free), SETTINGS)
    assert found is not None
    assert configuration.refusal(found.configuration) == ""
    return found


def roles(configuration: Configuration) -> dict[int, str]:
    """Node → S(torage) or L(og), lower case where it does not vote."""
    letters = {}
    for held in configuration.replicas:
        letter = "L" if held.log else "S"
        letters[int(held.node)] = letter if held.votes else letter.lower()
    return letters


def test_a_healthy_group_is_left_alone() -> None:
    assert decide(situation(THREE, {N1: UP, N2: UP}, 3, 4), SETTINGS) is None
    assert health(situation(THREE, {N1: UP, N2: UP}, 3, 4), SETTINGS) == ("healthy", "")


def test_a_short_silence_changes_nothing() -> None:
    assert decide(situation(THREE, {N1: UP, N2: Seen(2 * SECOND, 0, False)}, 3), SETTINGS) is None


def test_a_silent_voter_gives_its_vote_to_a_log_replica_and_gets_it_back() -> None:
    asked = step(THREE, {N1: UP, N2: SILENT}, 3, 5).configuration
    assert roles(asked) == {0: "S", 1: "S", 2: "S", 5: "l"}  # node 5 stands in the silent one's zone
    assert decide(situation(asked, {N1: UP, N2: SILENT, N5: COMING}, 3), SETTINGS) is None
    voting = step(asked, {N1: UP, N2: SILENT, N5: UP}, 3).configuration
    assert roles(voting) == {0: "S", 1: "S", 2: "s", 5: "L"}
    back_at_once = Seen(0, SECOND, has_log=True)
    assert decide(situation(voting, {N1: UP, N2: back_at_once, N5: UP}, 3), SETTINGS) is None
    healed = step(voting, {N1: UP, N2: UP, N5: UP}, 3).configuration
    assert roles(healed) == {0: "S", 1: "S", 2: "S"}


def test_a_log_replica_that_is_not_needed_after_all_goes() -> None:
    asked = step(THREE, {N1: UP, N2: SILENT}, 3).configuration
    assert roles(step(asked, {N1: UP, N2: UP, N3: COMING}).configuration) == {0: "S", 1: "S", 2: "S"}


def test_with_no_node_for_it_the_group_is_degraded() -> None:
    alone = situation(THREE, {N1: UP, N2: SILENT})
    assert decide(alone, SETTINGS) is None
    assert health(alone, SETTINGS) == ("degraded", "node 2 was not heard for 4 s; no node is free for another replica")


def test_operators_hear_for_whom_a_log_replica_votes_and_until_when() -> None:
    with_log = Configuration(4, (Replica(N0), Replica(N1), Replica(N2, votes=False), Replica(N3, True, True, 3)))
    after = SETTINGS.replace_after_ns // SECOND
    assert health(situation(with_log, {N1: UP, N2: SILENT, N3: UP}, 4), SETTINGS) == (
        "healing",
        f"a log replica votes on node 3; node 2 was not heard for 4 s (after {after} s it is rebuilt elsewhere)",
    )
    assert "rebuilt elsewhere)" not in health(situation(with_log, {N1: UP, N2: GONE, N3: UP}, 4), SETTINGS)[1]


def test_a_node_that_is_gone_is_rebuilt_elsewhere() -> None:
    with_log = Configuration(4, (Replica(N0), Replica(N1), Replica(N2, votes=False), Replica(N3, True, True, 3)))
    seen = {N1: UP, N2: GONE, N3: UP}
    coming = step(with_log, seen, 4).configuration
    assert roles(coming) == {0: "S", 1: "S", 2: "s", 3: "L", 4: "s"}
    assert decide(situation(with_log, seen, 4)._replace(may_copy=False), SETTINGS) is None
    waiting = step(coming, {**seen, N4: COMING}).configuration
    assert roles(waiting) == {0: "S", 1: "S", 3: "L", 4: "s"}  # nobody waits for node 2 any more
    assert roles(step(waiting, {**seen, N4: UP}).configuration) == {0: "S", 1: "S", 4: "S"}


def test_four_nodes_have_room_for_three_copies_once_the_log_replica_goes() -> None:
    with_log = Configuration(4, (Replica(N0), Replica(N1), Replica(N2, votes=False), Replica(N3, True, True, 3)))
    seen = {N1: UP, N2: GONE, N3: UP}
    room = step(with_log, seen).configuration
    assert roles(room) == {0: "S", 1: "S", 2: "s"}
    coming = step(room, seen, 3).configuration
    assert roles(coming) == {0: "S", 1: "S", 2: "s", 3: "s"}
    smaller = step(coming, {**seen, N3: COMING}).configuration
    assert roles(step(smaller, {**seen, N3: UP}).configuration) == {0: "S", 1: "S", 3: "S"}


def test_a_damaged_replica_is_made_anew_where_it_is() -> None:
    muted = step(THREE, {N1: UP, N2: DAMAGED}).configuration
    assert roles(muted) == {0: "S", 1: "S", 2: "s"}
    assert muted.replicas[2].since == muted.number
    assert decide(situation(muted, {N1: UP, N2: COMING}), SETTINGS) is None
    assert roles(step(muted, {N1: UP, N2: UP}).configuration) == {0: "S", 1: "S", 2: "S"}


def test_a_damaged_replica_keeps_its_place_until_a_log_replica_can_vote_for_it() -> None:
    asked = step(THREE, {N1: UP, N2: DAMAGED}, 3).configuration
    assert roles(asked) == {0: "S", 1: "S", 2: "S", 3: "l"}
    muted = step(asked, {N1: UP, N2: DAMAGED, N3: UP}).configuration
    assert roles(muted) == {0: "S", 1: "S", 2: "s", 3: "L"}
    assert muted.replicas[2].since == muted.number


def test_a_damaged_log_replica_goes() -> None:
    with_log = Configuration(4, (Replica(N0), Replica(N1), Replica(N2, votes=False), Replica(N3, True, True, 3)))
    assert roles(step(with_log, {N1: UP, N2: SILENT, N3: DAMAGED}).configuration) == {0: "S", 1: "S", 2: "s"}


def test_a_node_that_leaves_hands_its_replica_on() -> None:
    seen = {N1: UP, N2: UP}
    leaving = situation(THREE, seen, 3)._replace(leaving=frozenset((N2,)))
    coming = decide(leaving, SETTINGS)
    assert coming is not None
    assert roles(coming.configuration) == {0: "S", 1: "S", 2: "S", 3: "s"}
    ready = situation(coming.configuration, {**seen, N3: UP})._replace(leaving=frozenset((N2,)))
    moved = decide(ready, SETTINGS)
    assert moved is not None
    assert roles(moved.configuration) == {0: "S", 1: "S", 3: "S"}


def test_a_copy_that_is_lost_on_its_way_is_begun_elsewhere() -> None:
    """Simulation (removals, seed 115): the node leaves, and who was to take its replica has died. Nobody is to wait for
    that one: it has no rows that others lack."""
    coming = THREE.next(join=Replica(N3))
    seen = {N1: UP, N2: UP, N3: SILENT}
    leaving = situation(coming, seen, 4)._replace(leaving=frozenset((N2,)))
    again = decide(leaving, SETTINGS)
    assert again is not None
    assert roles(again.configuration) == {0: "S", 1: "S", 2: "S", 3: "s", 4: "s"}


def test_a_log_replica_on_a_node_that_leaves_is_nobodys_heir() -> None:
    """Simulation (removals, seed 5004964): a damaged voter waited for ever for the log replica of a node that was
    leaving, which gets no vote; and there was another node."""
    waiting = THREE.next(join=Replica(N3, log=True))
    leaving = situation(waiting, {N1: UP, N2: DAMAGED, N3: UP}, 4)._replace(leaving=frozenset((N3,)))
    another = decide(leaving, SETTINGS)
    assert another is not None
    assert roles(another.configuration) == {0: "S", 1: "S", 2: "S", 3: "l", 4: "l"}
    alone = decide(leaving._replace(places=[]), SETTINGS)
    assert alone is not None
    assert roles(alone.configuration) == {0: "S", 1: "S", 2: "s", 3: "l"}


def test_a_log_replica_makes_no_room_while_another_copy_is_under_way() -> None:
    """Simulation (removals, seed 5003586): two were to vote although a third had its copy within a second, and one of
    the two had just lost its log: the group stood still for ever."""
    leaving = frozenset((N1, N2))
    held = Configuration(8, (Replica(N0), Replica(N1), Replica(N2, votes=False), Replica(N3, True, True, 4)))
    with_copy = held.next(join=Replica(N4))
    seen = {N1: UP, N2: SILENT, N3: UP, N4: COMING}
    assert decide(situation(with_copy, seen)._replace(leaving=leaving), SETTINGS) is None
    moved = decide(situation(with_copy, {**seen, N4: UP})._replace(leaving=leaving), SETTINGS)
    assert moved is not None
    assert roles(moved.configuration) == {0: "S", 1: "S", 2: "s", 4: "S"}


# --- all rules together ---------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """Five nodes by the tick (half a second): who runs, for how long, and what each has of the group."""

    configuration: Configuration = THREE
    up_for: dict[NodeId, int] = field(default_factory=lambda: dict.fromkeys(map(NodeId, range(5)), 100))
    down_for: dict[NodeId, int] = field(default_factory=dict)
    copied: dict[NodeId, int] = field(default_factory=dict)  # ticks of catching up that a replica has behind it
    damaged: dict[NodeId, int] = field(default_factory=dict)  # node → number of the configuration when it said so
    steps: int = 0

    def tick(self) -> None:
        for node in range(5):
            if NodeId(node) in self.down_for:
                self.down_for[NodeId(node)] += 1
            else:
                self.up_for[NodeId(node)] += 1
        leaders = [n for n in self.configuration.eligible if n in self.up_for and n not in self.damaged]
        if not leaders or not self._quorum(self.configuration):
            return
        for replica in self.configuration.replicas:
            if replica.node in self.up_for and replica.node not in self.damaged:
                self.copied[replica.node] = self.copied.get(replica.node, 0) + 1
        found = decide(self._situation(leaders[0]), replace(SETTINGS, replace_after_ns=20 * SECOND))
        if found is not None:
            assert self.configuration.refusal(found.configuration) == ""
            if self._quorum(found.configuration):
                self._adopt(found.configuration)

    def _quorum(self, configuration: Configuration) -> bool:
        heard = [n for n in configuration.voters if n in self.up_for and n not in self.damaged]
        return len(heard) >= configuration.quorum

    def _adopt(self, configuration: Configuration) -> None:
        self.steps += 1
        for replica in configuration.replicas:
            if replica.since == configuration.number:
                self.copied.pop(replica.node, None)
                self.damaged.pop(replica.node, None)
        self.configuration = configuration
        for node in range(5):
            if NodeId(node) not in configuration.nodes:
                self.copied.pop(NodeId(node), None)
                self.damaged.pop(NodeId(node), None)

    def _situation(self, leader: NodeId) -> Situation:
        seen = {}
        for replica in self.configuration.replicas:
            node = replica.node
            needed = 4 if replica.log else 20
            has_log = self.copied.get(node, 0) >= needed or (replica.since == 0 and node not in self.damaged)
            up = self.up_for.get(node, 0)
            seen[node] = Seen(
                self.down_for.get(node, 0) * SECOND // 2, up * SECOND // 2, has_log and up > 2, node in self.damaged
            )
        free = [place(n) for n in range(5) if NodeId(n) in self.up_for and NodeId(n) not in self.configuration.nodes]
        held = [place(n) for n in self.configuration.nodes]
        return Situation(leader, self.configuration, seen, free, held, {})

    def stop(self, node: NodeId) -> None:
        self.up_for.pop(node, None)
        self.down_for.setdefault(node, 0)

    def start(self, node: NodeId) -> None:
        if self.down_for.pop(node, None) is not None:
            self.up_for[node] = 0

    def damage(self, node: NodeId) -> None:
        """One at a time, and never the last one that may lead: nobody could decide anything any more."""
        others = [n for n in self.configuration.eligible if n in self.up_for and n != node]
        if others and node in self.configuration.nodes and not self.damaged and len(self.configuration.voters) == 3:
            self.stop(node)
            self.start(node)
            self.damaged[node] = self.configuration.number


_EVENTS = st.tuples(st.sampled_from(["stop", "start", "damage"]), st.integers(0, 4), st.integers(1, 60))


@given(st.lists(_EVENTS, max_size=12))
@settings(max_examples=300, deadline=None)
def test_nodes_come_and_go_and_the_group_ends_with_three_copies(events: list[tuple[str, int, int]]) -> None:
    cluster = Cluster()
    for what, node, ticks in events:
        if what == "stop" and len(cluster.down_for) < 2:
            cluster.stop(NodeId(node))
        elif what == "start":
            cluster.start(NodeId(node))
        elif what == "damage":
            cluster.damage(NodeId(node))
        for _ in range(ticks):
            cluster.tick()
    for node in range(5):
        cluster.start(NodeId(node))
    for _ in range(400):
        cluster.tick()
    assert sorted(roles(cluster.configuration).values()) == ["S", "S", "S"]
    assert decide(cluster._situation(cluster.configuration.voters[0]), SETTINGS) is None
    assert cluster.steps <= 16 + 8 * len(events)
