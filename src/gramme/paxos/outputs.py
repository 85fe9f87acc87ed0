"""Facts that a replica or the lease table reports to its node (`Effects.outputs`). A crash makes none untrue."""

from __future__ import annotations

from dataclasses import dataclass

from gramme.kernel.ids import Ballot, BootId, GroupId, NodeId, Slot
from gramme.paxos.configuration import Configuration
from gramme.paxos.entry import Entry


@dataclass(frozen=True, slots=True)
class Chosen:
    """Entries to apply: in slot order, without gaps, each exactly once per process; durable in this node's log."""

    group: GroupId
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class BecameLeader:
    """The barrier of `ballot` is chosen; the Chosen that contains it precedes this. May propose from now on."""

    group: GroupId
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class LostLeadership:
    """May no longer propose under `ballot`: proposals that were not reported chosen have an unknown outcome."""

    group: GroupId
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class NeedSnapshot:
    """This leader no longer retains what `peer` lacks after `from_slot`: send it a snapshot of applied state, then call
    `snapshot_sent(peer, now)` whether it worked or not."""

    group: GroupId
    peer: NodeId
    from_slot: Slot


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """This replica knows `configuration` to be chosen, and acts in it. It may not name this node any more: then the
    replica may be dropped."""

    group: GroupId
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class LeaderHint:
    """The leader this replica believes in has changed (`NO_NODE`: it knows none)."""

    group: GroupId
    node: NodeId


@dataclass(frozen=True, slots=True)
class PeerLost:
    """Lease table: our grant to `node` has run out. Groups that `node` leads: `on_lease_change`."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class PeerBack:
    """Lease table: `node` holds a grant of ours again, in a new era; with `restarted` its process is another one and
    what it led is void. Groups shared with `node`: `on_lease_change`."""

    node: NodeId
    boot: BootId
    restarted: bool


@dataclass(frozen=True, slots=True)
class LeaseRegained:
    """Lease table: we hold a grant of `node` again, in a new era. Groups that this node leads: `on_lease_change`."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class LeaseLapsed:
    """Lease table: `node`'s grant to us has run out. Groups that this node leads: `on_lease_change`."""

    node: NodeId
