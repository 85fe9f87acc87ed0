"""How the last chosen mark of a group that falls idle gets to every follower, and what a snapshot does to a leader.

Each was found by the simulator under a seed that has drifted since; here it is one replica, message by message."""

from __future__ import annotations

import pytest
from tests.paxos.one import B1, B2, GROUP, N0, N1, N2, WALL, T, accept, chain, founder, replica, sync

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Invariant
from gramme.kernel.ids import BootId, CommandId, NodeId, Slot
from gramme.kernel.time import Instant
from gramme.paxos.entry import ORIGIN, Command, CommandKind, Mark
from gramme.paxos.lease import LeaseTable
from gramme.paxos.messages import Accepted, Behind, Commit, Install, LeaseGranted, Promise
from gramme.paxos.outputs import Chosen, LeaseRegained
from gramme.paxos.replica import GroupReplica
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.status import Role

_SETTINGS = PaxosSettings()


def _elected(node: GroupReplica, last: Mark = ORIGIN, chosen: Mark = ORIGIN) -> GroupReplica:
    """Node 2 wins ballot 2 with node 1's promise of the same log; its own log is durable."""
    sync(node, node.campaign_now(T))
    sync(node, node.step(N1, Promise(GROUP, 0, B2, B1, last, chosen, ORIGIN), T))
    assert node.role is Role.LEADER
    return node


def _propose(node: GroupReplica) -> Slot:
    slot, _ = node.propose(Command(CommandKind.MUTATIONS, CommandId(bytes(16)), b"x"), WALL, T)
    sync(node, node.flush(T))
    return slot


def _commits(effects: Effects, to: NodeId) -> list[Slot]:
    """The marks that `effects` tell one follower."""
    return [message.chosen.slot for node, message in effects.sends if node == to and isinstance(message, Commit)]


def _later(node: GroupReplica, now: Instant, delay_ns: int) -> tuple[Instant, Effects]:
    """A tick so much later."""
    later = Instant(now + delay_ns)
    return later, node.tick(later)


def test_a_follower_that_joined_while_the_mark_moved_is_told_it() -> None:
    """Simulation (blackouts, seed 7): what its Install brought was chosen only after that was sent, and nothing was
    proposed any more."""
    node = _elected(replica(N2))
    node.step(N1, Accepted(GROUP, 0, B2, Slot(1), Slot(0), 0), T)
    slot = _propose(node)
    joining = node.step(N0, Behind(GROUP, 0, B2, B1, ORIGIN, Slot(0), 0), T)
    (install,) = [message for target, message in joining.sends if target == N0]
    assert isinstance(install, Install)
    assert (len(install.entries), install.chosen) == (slot, slot - 1)
    node.step(N1, Accepted(GROUP, 0, B2, slot, Slot(1), 0), T)
    assert node.chosen_slot == slot
    now, effects = _later(node, T, _SETTINGS.commit_delay_ns)
    assert _commits(effects, N1) == [slot]
    assert not _commits(effects, N0), "it is not in this ballot yet"
    node.step(N1, Accepted(GROUP, 0, B2, slot, slot, 0), now)
    node.step(N0, Accepted(GROUP, 0, B2, slot, Slot(slot - 1), 0), now)
    now, effects = _later(node, now, _SETTINGS.commit_delay_ns)
    assert _commits(effects, N0) == [slot]
    node.step(N0, Accepted(GROUP, 0, B2, slot, slot, 0), now)
    _, effects = _later(node, now, _SETTINGS.resend_ns)
    assert not effects.sends
    assert node.next_deadline() is None, "an idle group sends nothing"


def _granted(node: GroupReplica, source: NodeId, era: int, now: Instant) -> Effects:
    """Node `source` grants its lease to the leader in this era."""
    leases = node.leases
    assert isinstance(leases, LeaseTable)
    granted = LeaseGranted(BootId(bytes(16)), now, era, _SETTINGS.lease_grant_ns)
    assert leases.step(source, granted, now).outputs == [LeaseRegained(source)]
    return node.on_lease_change(now)


def test_a_follower_that_restarted_is_told_the_mark_until_it_answers() -> None:
    """Simulation (blackouts, seed 28): what is chosen is not durable at a follower, so one that knew it may have
    forgotten; the word it got after its restart was lost, and nobody repeated it."""
    node = founder()
    slot = _propose(node)
    for follower in (N1, N2):
        _granted(node, follower, 5, T)
        node.step(follower, Accepted(GROUP, 0, B1, slot, Slot(0), 5), T)
    now, _ = _later(node, T, _SETTINGS.commit_delay_ns)
    for follower in (N1, N2):
        node.step(follower, Accepted(GROUP, 0, B1, slot, slot, 5), now)
    now, _ = _later(node, now, _SETTINGS.resend_ns)
    assert node.next_deadline() is None
    assert _commits(_granted(node, N1, 6, now), N1) == [slot]
    for _ in range(3):
        now, effects = _later(node, now, _SETTINGS.resend_ns)
        assert _commits(effects, N1) == [slot], "the one before was lost"
    node.step(N1, Accepted(GROUP, 0, B1, slot, slot, 6), now)
    _, effects = _later(node, now, _SETTINGS.resend_ns)
    assert not effects.sends
    assert node.next_deadline() is None


def test_a_leader_takes_a_snapshot_that_was_on_its_way() -> None:
    """Simulation (storm, seed 20013): the engine had the snapshot's rows, and the replica still reported the slots
    before as chosen, to be applied on top of them."""
    node, log = replica(N2), chain(4)
    sync(node, node.step(N0, accept(B1, log, chosen=1), T))
    _elected(node, log[3].mark, log[0].mark)
    mark = log[2].mark
    effects = node.snapshot_installed(mark.slot, mark.crc, mark.stamp, None, T)
    assert not any(isinstance(output, Chosen) for output in effects.outputs)
    sync(node, effects)
    effects = node.step(N1, Accepted(GROUP, 0, B2, Slot(5), Slot(0), 0), T)
    (chosen,) = [output for output in effects.outputs if isinstance(output, Chosen)]
    assert [entry.slot for entry in chosen.entries] == [4, 5]
    assert node.role is Role.LEADER


def test_a_leader_without_a_slot_that_a_snapshot_shows_as_chosen_stops() -> None:
    """The best of a quorum's logs has every chosen slot: here somebody is wrong, and going on would lose writes."""
    node, log = replica(N2), chain(2)
    sync(node, node.step(N0, accept(B1, log, chosen=1), T))
    _elected(node, log[1].mark, log[0].mark)
    other = chain(2, salt=b"o")[1].mark
    with pytest.raises(Invariant, match="lacks slot 2"):
        node.snapshot_installed(other.slot, other.crc, other.stamp, None, T)
