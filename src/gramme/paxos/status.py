"""A picture of one replica for operators (`gramme cluster status`, metrics)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gramme.kernel.ids import Ballot, GroupId, NodeId, Slot


class Role(Enum):
    """What a replica is doing."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A follower as its leader sees it: durable up to `slot` of the leader's log; `mode` as in `peer.Mode`."""

    node: NodeId
    slot: Slot
    mode: str


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """`leader` is NO_NODE if none is known; `peers` are filled in at the leader only."""

    group: GroupId
    role: Role
    leader: NodeId
    ballot: Ballot
    log_ballot: Ballot
    configuration: int
    members: tuple[NodeId, ...]
    base_slot: Slot
    last_slot: Slot
    chosen_slot: Slot
    applied_slot: Slot
    retained_bytes: int
    amnesiac: bool
    peers: tuple[PeerStatus, ...]
