"""One replica driven message by message: the values that tests of `gramme.paxos.replica` are written with."""

from __future__ import annotations

import random
from typing import Any

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, BootId, CommandId, GroupId, NodeId, Slot, make_ballot
from gramme.kernel.time import SECOND, Instant, Stamp, Timestamp
from gramme.paxos.chain import make_entry
from gramme.paxos.entry import ORIGIN, Command, CommandKind, Entry, Mark
from gramme.paxos.lease import LeaseTable
from gramme.paxos.messages import Accept, Accepted, LeaseRenew
from gramme.paxos.outputs import BecameLeader
from gramme.paxos.replica import GroupReplica
from gramme.paxos.settings import PaxosSettings
from gramme.paxos.state import GroupState, founding_state

GROUP = GroupId(4)
N0, N1, N2 = NodeId(0), NodeId(1), NodeId(2)
T = Instant(10 * SECOND)
B1, B2, B3 = make_ballot(1, N0), make_ballot(2, N2), make_ballot(3, N0)
WALL = Timestamp(1_000)


def replica(me: NodeId, state: GroupState | None = None, **settings: Any) -> GroupReplica:
    """A replica of a recovered group of three (`state`: its own) on a node that need not be quiet."""
    if state is None:
        state = founding_state(GROUP, [N0, N1, N2])
        state.founding = False
    chosen = PaxosSettings(**settings)
    leases = LeaseTable(me, BootId(bytes(16)), (), chosen, Instant(0), random.Random(1))
    return GroupReplica(GROUP, me, state, leases, chosen, random.Random(2))


def grant(node: GroupReplica, holder: NodeId, now: Instant = T) -> LeaseTable:
    """The node of `node` grants a lease to `holder`."""
    leases = node.leases
    assert isinstance(leases, LeaseTable)
    leases.step(holder, LeaseRenew(BootId(b"h" * 16), (), now), now)
    return leases


def chain(count: int, after: Mark = ORIGIN, salt: bytes = b"a") -> list[Entry]:
    """Entries that follow `after`."""
    entries: list[Entry] = []
    mark = after
    for _ in range(count):
        command = Command(CommandKind.MUTATIONS, CommandId(salt.ljust(16)), salt)
        entries.append(make_entry(mark.crc, Slot(mark.slot + 1), Stamp(mark.stamp + 10), 0, command))
        mark = entries[-1].mark
    return entries


def raw(entries: list[Entry]) -> tuple[bytes, ...]:
    return tuple(entry.encoded for entry in entries)


def accept(ballot: Ballot, entries: list[Entry], chosen: int = 0, after: Mark = ORIGIN) -> Accept:
    return Accept(GROUP, 0, ballot, after.slot, after.crc, raw(entries), Slot(chosen), Slot(0))


def sync(node: GroupReplica, effects: Effects) -> list[Any]:
    """Everything is durable: outputs of the durable events."""
    return [output for event in effects.durable_events for output in node.on_durable(event, T).outputs]


def founder(**settings: Any) -> GroupReplica:
    """A serving leader of three, its barrier chosen by node 1's answer."""
    state = founding_state(GROUP, [N0, N1, N2])
    node = replica(N0, state, **settings)
    begun = node.start(T)
    assert not begun.sends, "the founding ballot is used before CREATE is durable"
    (event,) = begun.durable_events
    sync(node, node.on_durable(event, T))
    effects = node.step(N1, Accepted(GROUP, 0, B1, Slot(1), Slot(0), 0), T)
    assert any(isinstance(output, BecameLeader) for output in effects.outputs)
    return node
