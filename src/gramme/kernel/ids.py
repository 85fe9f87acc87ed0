"""Identifiers, as distinct types, so that a slot cannot be passed where a ballot is meant.

All of them are plain integers or bytes at run time: they are packed into log records and messages as they are.
"""

from __future__ import annotations

from typing import Final, NewType

NodeId = NewType("NodeId", int)
"""A node of the cluster, 0 … 65,535; assigned at founding or joining and never reused."""

GroupId = NewType("GroupId", int)
"""A replication group (one per partition), unsigned 64 bits, never reused. Group 1 is the catalog."""

ExtentId = NewType("ExtentId", int)
"""The place of one group's rows in a node's engine, unsigned 64 bits, local to the node, never reused."""

Slot = NewType("Slot", int)
"""A position in a group's log. The first command stands in slot 1; slot 0 means 'before all'."""

Ballot = NewType("Ballot", int)
"""A Paxos ballot: round (upper bits) and proposing node (lower 16 bits), so ballots are totally ordered and unique."""

Lsn = NewType("Lsn", int)
"""Log sequence number of a node's shared log: counts records from 1, never reused."""

BootId = NewType("BootId", bytes)
"""16 random bytes drawn at each start of a node process."""

ClusterId = NewType("ClusterId", bytes)
"""16 random bytes drawn when a cluster is founded; in every frame, segment and snapshot."""

CommandId = NewType("CommandId", bytes)
"""16 bytes that name a client's command across re-sends (REPLICATION.md: writes are applied once)."""

NO_NODE: Final = NodeId(0xFFFF)
CATALOG_GROUP: Final = GroupId(1)
NO_COMMAND_ID: Final = CommandId(bytes(16))

_NODE_BITS: Final = 16
_NODE_MASK: Final = (1 << _NODE_BITS) - 1


def make_ballot(round_: int, node: NodeId) -> Ballot:
    """The ballot of `round_` (1 …) proposed by `node`."""
    return Ballot(round_ << _NODE_BITS | node)


def ballot_round(ballot: Ballot) -> int:
    """The round of a ballot; 0 for the zero ballot that precedes all others."""
    return ballot >> _NODE_BITS


def ballot_node(ballot: Ballot) -> NodeId:
    """The node that proposed `ballot` (`NO_NODE` for the zero ballot)."""
    return NodeId(ballot & _NODE_MASK) if ballot else NO_NODE
