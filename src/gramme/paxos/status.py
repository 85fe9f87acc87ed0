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
    """A follower as its leader sees it: durable up to `slot` of the leader's log, which has `behind_bytes` more; `mode`
    as in `peer.Mode`. `joined`: it has answered in this ballot. `amnesiac`: it said that it takes no part."""

    node: NodeId
    slot: Slot
    mode: str
    behind_bytes: int = 0
    joined: bool = False
    amnesiac: bool = False


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """`leader` is NO_NODE if none is known; `peers` are filled in at the leader only. `members`: nodes that vote;
    `logs`: log replicas; `learners`: storage replicas that do not vote."""

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
    logs: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()
