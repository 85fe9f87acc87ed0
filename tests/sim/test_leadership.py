"""Leadership that moves by itself: to nodes that lead fewer groups, and away from a log disk that hangs.

Source: decisions 0005 and 0093; issue 6, "Gray failures" and "Hand-over". Three production nodes in virtual time.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from tests.node.three import ALL, N0, N1, N2, PUT, SCHEMA, Three
from tests.patched import patched

from gramme.kernel.effects import Effects
from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.leadership import Leadership
from gramme.tables.catalog import CreateTable

Leaders = dict[GroupId, NodeId]


def with_tables(seed: int = 1, **options: Any) -> Three:
    """A cluster of three that leads nine groups: the catalog, and two tables of four partitions."""
    three = Three(seed, balance_ns=SECOND, **options)
    for name in ("Carts", "Orders"):
        three.catalog(CreateTable(name, SCHEMA, (("pk", "S"),), "PAY_PER_REQUEST"))
    three.until(lambda: len(leaders(three)) == 9, "every group has a leader")
    return three


def leaders(three: Three) -> Leaders:
    """Who leads what, by the nodes themselves."""
    return {
        group: machine.id
        for machine in three.cluster.machines
        if machine.node is not None
        for group in machine.node.leadership.led
    }


def counts(three: Three) -> list[int]:
    """How many groups each node leads, fewest first."""
    held = list(leaders(three).values())
    return sorted(held.count(node) for node in ALL)


def changes(three: Three, length_ns: int) -> int:
    """How often a group got another leader in so much time."""
    before, seen = leaders(three), 0
    for _ in range(length_ns // (50 * MILLISECOND)):
        three.run(50 * MILLISECOND)
        now = leaders(three)
        seen += sum(now[group] != before.get(group, now[group]) for group in now)
        before |= now
    return seen


def given(three: Three) -> int:
    """Hand-overs that nodes began by themselves."""
    return sum(three.node(node).leadership.given for node in ALL)


@pytest.mark.parametrize("giver", ALL)
def test_a_node_that_leads_everything_gives_until_all_lead_the_same(giver: NodeId) -> None:
    three = with_tables()
    for group in leaders(three):
        three.lead(giver, group)
    assert counts(three) == [0, 0, 9]
    assert changes(three, 25 * SECOND) == 6
    assert counts(three) == [3, 3, 3]
    assert changes(three, 60 * SECOND) == 0


@pytest.mark.parametrize("seed", range(1, 7))
def test_after_faults_hand_overs_come_to_an_end(seed: int) -> None:
    """The sum of squares argument: 9 groups on 3 nodes allow at most 6 moves, whatever the faults left behind."""
    three = with_tables(seed, skew=True)
    first, second = (NodeId(n % 3) for n in (seed, seed + 1))
    three.crash(first)
    three.run(3 * SECOND)
    three.cluster.drain(second) if seed % 2 else three.crash(second)
    three.run(SECOND)
    three.start(first, second)
    three.until(lambda: len(leaders(three)) == 9, "every group has a leader")
    before = given(three)
    three.run(40 * SECOND)
    assert counts(three) == [3, 3, 3]
    assert given(three) - before <= 6
    assert changes(three, 60 * SECOND) == 0


def test_two_that_give_at_once_do_not_give_too_much() -> None:
    """Gossip is old news: the taker counts what it was promised a moment ago."""
    three = with_tables()
    for turn, group in enumerate(leaders(three)):
        three.lead(ALL[turn % 2], group)
    assert counts(three) == [0, 4, 5]
    three.run(25 * SECOND)
    assert counts(three) == [3, 3, 3]
    assert given(three) == 3


def test_what_has_just_changed_hands_stays_for_a_while() -> None:
    three = with_tables()
    three.run(10 * SECOND)
    old = [group for group, leader in leaders(three).items() if leader == N0]
    for group in leaders(three):
        three.lead(N0, group)
    three.run(2 * SECOND)
    assert [group for group, leader in leaders(three).items() if leader != N0 and group not in old] == []


def test_nobody_gives_to_a_node_that_is_stopping_or_short_of_space() -> None:
    three = with_tables()
    for group in leaders(three):
        three.lead(N0, group)
    three.cluster.fill_disk(N1, True)
    three.cluster.fill_disk(N2, True)
    assert changes(three, 25 * SECOND) == 0
    three.cluster.fill_disk(N2, False)
    three.run(25 * SECOND)
    assert [list(leaders(three).values()).count(node) for node in ALL] == [5, 0, 4]


def test_where_all_disks_are_full_nothing_moves_in_circles() -> None:
    three = with_tables()
    for node in ALL:
        three.cluster.fill_disk(node, True)
    three.run(2 * SECOND)  # they look once a second, one after the other
    assert changes(three, 20 * SECOND) == 0


# --- a log disk that hangs --------------------------------------------------------------------------------------------


def _blind(self: Leadership, now: Any) -> None:
    """Planted: nobody looks at the disk."""


@pytest.mark.parametrize("planted", [False, True])
def test_a_leader_whose_log_disk_hangs_gives_its_groups_away(planted: bool) -> None:
    """Its leases go on, so without this nobody would ever ask it to."""
    with patched(Leadership, "_watch_disk", _blind) if planted else nullcontext():
        three = Three(balance_ns=SECOND)
        table = three.create()
        group = table.partitions[0].group
        three.cluster.hang_disk(N0, True)
        answers = three.begin(N1, table, PUT)
        three.run(2_500 * MILLISECOND)
        assert bool(answers) is not planted
        assert (three.leader(group) in (N1, N2)) is not planted
        assert (N0 in leaders(three).values()) is planted


def test_it_takes_nothing_until_the_disk_answers_again() -> None:
    three = with_tables()
    three.cluster.hang_disk(N0, True)
    node = three.node(N0)
    node.host.execute(Effects(records=[node.memory.checkpoint()]), node)  # a disk with nothing to do does not show it
    three.run(30 * SECOND)
    assert N0 not in leaders(three).values()
    three.cluster.hang_disk(N0, False)
    three.run(40 * SECOND)
    assert counts(three) == [3, 3, 3]


def test_where_all_disks_hang_leaders_stay_and_go_on_afterwards() -> None:
    three = Three(balance_ns=SECOND)
    table = three.create()
    group = table.partitions[0].group
    for node in ALL:
        three.cluster.hang_disk(node, True)
    answers = three.begin(N0, table, PUT)
    assert changes(three, 4 * SECOND) == 0
    for node in ALL:
        three.cluster.hang_disk(node, False)
    three.until(lambda: bool(answers), "the write is answered")
    assert three.leader(group) == N0
