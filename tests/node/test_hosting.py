"""Whom a node lets have it host a replica: the invitation must be newer than whatever an earlier replica has said."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node.test_damage import damage
from tests.node.test_self_healing import Five
from tests.patched import patched

from gramme.kernel.ids import BootId, GroupId, NodeId, make_ballot
from gramme.kernel.record import RecordKind
from gramme.kernel.time import SECOND
from gramme.node.groups import Groups
from gramme.node.messages import GroupSpec, HostReplica, MakeAnew
from gramme.node.node import Node
from gramme.paxos.configuration import Configuration, Replica, encode_configuration
from gramme.paxos.state import FOR_GOOD

pytestmark = pytest.mark.plain

_GROUP = GroupId(900)
_SOME_BOOT = BootId(bytes(16))
_NO_BOOT = BootId(b"")


class _Guest:
    """A node of a cluster that has nothing to do with the group it is invited to."""

    def __init__(self) -> None:
        self.five = Five()
        self.me = next(node for node in self.five.cluster.nodes if node not in self.five.table.partitions[0].replicas)
        self.leader = next(node for node in self.five.cluster.nodes if node != self.me)
        self.answers: list[Any] = []
        host = self.node.host
        send = host.send

        def listen(node: NodeId, message: Any) -> None:
            if isinstance(message, MakeAnew):
                self.answers.append(message)
            send(node, message)

        host.send = listen  # type: ignore[method-assign]

    @property
    def node(self) -> Node:
        return self.five.node(self.me)

    def invite(self, number: int, since: int, boot: BootId = _NO_BOOT, *, log: bool = False) -> bool:
        """An invitation under configuration `number`, in which the node's replica is of `since`: is it hosted then?"""
        others = tuple(Replica(node) for node in self.five.cluster.nodes if node != self.me)[:2]
        configuration = Configuration(number, (*others, Replica(self.me, log, False, since)))
        spec = GroupSpec(_GROUP, "t", b"", b"", tuple(replica.node for replica in others))
        message = HostReplica(spec, encode_configuration(configuration), make_ballot(5, self.leader), boot)
        self.answers.clear()
        self.node.hosting.on_invitation(self.leader, message)
        self.five.run(SECOND)
        return _GROUP in self.node.groups.partitions or _GROUP in self.node.groups.logs

    def drop(self, number: int) -> None:
        """The replica is dropped, having known configuration `number`."""
        self.node.groups.removed(_GROUP, number)
        self.five.run(SECOND)


@pytest.mark.parametrize("log", [False, True])
def test_a_node_that_never_hosted_the_group_does_and_promises_the_leaders_ballot(log: bool) -> None:
    guest = _Guest()
    assert guest.invite(3, 3, log=log)
    replica = guest.node.groups.replica(_GROUP)
    assert replica is not None
    assert replica.ballot == make_ballot(5, guest.leader)
    assert (_GROUP in guest.node.groups.logs) is log
    guest.five.crash(guest.me)
    guest.five.start(guest.me)
    recovered = guest.node.groups.replica(_GROUP)
    assert recovered is not None
    assert (recovered.ballot, recovered.configuration.number) == (make_ballot(5, guest.leader), 3)


def test_an_invitation_that_comes_twice_changes_nothing() -> None:
    guest = _Guest()
    assert guest.invite(3, 3)
    before = guest.node.groups.partitions[_GROUP]
    assert guest.invite(3, 3)
    assert guest.node.groups.partitions[_GROUP] is before


def test_the_catalog_makes_no_replica_that_is_under_way() -> None:
    """Simulation `index-crashes`, seed 5000576: a new group's leader invited a node whose CreateGroups was late. Made
    by that one meanwhile, the replica acknowledged a slot, and then the invitation's empty one took its place."""
    guest = _Guest()
    node = guest.node
    members = tuple(each for each in guest.five.cluster.nodes if each != guest.me)[:2]
    spec = GroupSpec(_GROUP, "t", b"", b"", (*members, guest.me))
    configuration = Configuration(0, tuple(map(Replica, spec.members)))
    ballot = make_ballot(5, guest.leader)
    node.hosting.on_invitation(guest.leader, HostReplica(spec, encode_configuration(configuration), ballot, _NO_BOOT))
    assert node.hosting.is_making(_GROUP)
    node.reconciliation.create((spec,), guest.leader)
    assert _GROUP not in node.groups.partitions
    guest.five.run(SECOND)
    assert node.groups.partitions[_GROUP].replica.ballot == ballot


def _hard_of_hearing(five: Five, guest: NodeId) -> None:
    """`guest` is invited once, and what it says of the group in the half second after that is lost."""
    own = five.node(guest)
    send, invited = own.host.send, own.hosting.on_invitation
    invited_at: list[int] = []

    def speak(node: NodeId, message: Any) -> None:
        lost = invited_at and five.world.now_ns < invited_at[0] + SECOND // 2
        if not lost or getattr(message, "group", None) != five.group:
            send(node, message)

    def hear(source: NodeId, message: HostReplica) -> None:
        if message.spec.group == five.group and not invited_at:
            invited_at.append(five.world.now_ns)
            invited(source, message)

    own.host.send = speak  # type: ignore[method-assign]
    own._handlers[HostReplica] = hear


def test_a_guest_whose_first_word_is_lost_is_asked_for_it() -> None:
    five = Five()
    five.crash(five.followers()[0])
    configuration = five.configuration()
    assert configuration is not None
    for guest in five.live:
        if guest not in configuration.nodes:
            _hard_of_hearing(five, guest)
    five.until_roles("SSsL", limit_ns=8 * SECOND)


def test_after_a_drop_only_a_replica_of_a_newer_configuration_is_made() -> None:
    guest = _Guest()
    assert guest.invite(3, 3)
    guest.drop(7)
    for number, since in ((7, 7), (9, 3), (9, 7)):
        assert not guest.invite(number, since)
        assert guest.answers == [MakeAnew(_GROUP, guest.node.boot, 7)]
    guest.five.crash(guest.me)
    guest.five.start(guest.me)
    assert not guest.invite(7, 7), "a restart forgets what the dropped replica knew"
    assert guest.invite(8, 8)


def test_a_lost_replica_is_not_made_anew_because_an_older_drop_is_written_again() -> None:
    """Trace check of `rot`, seed 109: the DROP that a checkpoint repeated stood behind the damage that had taken the
    later replica away, and so the node forgot that it may have forgotten."""
    guest = _Guest()
    assert guest.invite(3, 3)
    guest.drop(3)
    assert guest.invite(5, 5)
    guest.five.crash(guest.me)
    damage(guest.five, guest.me, _GROUP, RecordKind.CREATE, last=True)
    for _ in range(3):
        guest.five.start(guest.me)
        assert not guest.invite(5, 5)
        guest.five.run(5 * SECOND)  # a checkpoint is written
        guest.five.crash(guest.me)


def test_a_deleted_group_is_not_hosted_again() -> None:
    guest = _Guest()
    assert guest.invite(3, 3)
    guest.node.groups.drop((_GROUP,), guest.leader)
    assert guest.node.groups.dropped[_GROUP] == FOR_GOOD
    assert not guest.invite(50, 50)


def test_a_damaged_replica_is_made_anew_only_for_a_leader_that_heard_this_very_process() -> None:
    guest = _Guest()
    assert guest.invite(3, 3)
    groups = guest.node.groups
    groups.amnesiac[_GROUP] = "by hand"
    groups.partitions[_GROUP].replica.amnesiac = True
    for boot in (_NO_BOOT, _SOME_BOOT):
        guest.invite(8, 8, boot)
        assert guest.answers == [MakeAnew(_GROUP, guest.node.boot, 3)]
        assert groups.partitions[_GROUP].replica.amnesiac
    guest.invite(8, 8, guest.node.boot)
    assert not groups.partitions[_GROUP].replica.amnesiac
    assert groups.partitions[_GROUP].replica.configuration.number == 8
    assert _GROUP not in groups.amnesiac


def _the_leader_falls_when_only_the_removed_one_knows() -> Five:
    """The leader has just had the configuration chosen that removes a log replica, and told nobody else of it."""
    five = Five()
    down, log = five.crash_a_follower()
    five.start(down)
    five.until(lambda: five.group not in five.node(log).groups.logs, "the log replica is removed")
    leader = five.leader(five.group)
    assert leader is not None
    five.crash(leader)
    return five


def test_a_dropped_replica_tells_those_who_ask_it_what_dropped_it() -> None:
    five = _the_leader_falls_when_only_the_removed_one_knows()
    five.until(lambda: five.leader(five.group) is not None, "one of the two that are left leads")


def test_without_that_word_the_group_waits_for_the_leader_that_fell() -> None:
    """Planted (decision 0098): the scenario above does need it."""

    def mute(self: Groups, source: NodeId, message: Any) -> None:
        """Says nothing."""

    with patched(Groups, "_not_here", mute):
        five = _the_leader_falls_when_only_the_removed_one_knows()
        five.run(20 * SECOND)
        assert five.leader(five.group) is None
