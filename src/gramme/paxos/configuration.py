"""Configurations: the replicas of a group, as a numbered value that the group itself agrees on.

Rules in docs/design/reconfiguration.md (REPLICATION.md §4). A *storage* replica has the rows; one that does not vote is
a *learner*. A *log replica* holds the recent log and never leads (Elhemali et al., ATC 2022, §3). A change swaps, adds
or removes one voter; learners come and go freely.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from gramme.kernel.errors import Corruption
from gramme.kernel.ids import NodeId

_COUNT: Final = struct.Struct(">H")
_ROLES_FOLLOW: Final = 0x8000
_ROLE: Final = struct.Struct(">BI")
_NUMBER: Final = struct.Struct(">I")
_LOG: Final = 1
_MUTE: Final = 2


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a group. `since`: the configuration under which this incarnation of it was made; what an earlier
    one of the same node said (its messages carry lower numbers) is not this one's word."""

    node: NodeId
    log: bool = False
    votes: bool = True
    since: int = 0


@dataclass(frozen=True)
class Configuration:
    """`number` counts from 0, the founding configuration. Each node is named at most once."""

    number: int
    replicas: tuple[Replica, ...]

    @cached_property
    def nodes(self) -> tuple[NodeId, ...]:
        """All nodes that are named."""
        return tuple(replica.node for replica in self.replicas)

    @cached_property
    def voters(self) -> tuple[NodeId, ...]:
        """Nodes whose word counts: storage replicas and log replicas."""
        return tuple(replica.node for replica in self.replicas if replica.votes)

    @cached_property
    def eligible(self) -> tuple[NodeId, ...]:
        """Nodes that may lead: storage replicas that vote."""
        return tuple(replica.node for replica in self.replicas if replica.votes and not replica.log)

    @cached_property
    def storage(self) -> tuple[NodeId, ...]:
        """Nodes that have the rows, or are getting them."""
        return tuple(replica.node for replica in self.replicas if not replica.log)

    @cached_property
    def learners(self) -> tuple[NodeId, ...]:
        """Storage replicas that do not vote."""
        return tuple(replica.node for replica in self.replicas if not replica.votes and not replica.log)

    @cached_property
    def logs(self) -> tuple[NodeId, ...]:
        """Log replicas, voting or still catching up."""
        return tuple(replica.node for replica in self.replicas if replica.log)

    @cached_property
    def quorum(self) -> int:
        """Voters that make a majority."""
        return len(self.voters) // 2 + 1

    def replica(self, node: NodeId) -> Replica | None:
        """The replica on `node`, if there is one."""
        return next((replica for replica in self.replicas if replica.node == node), None)

    # --- the next one -------------------------------------------------------------------------------------------------

    def next(
        self, *, promote: NodeId | None = None, mute: NodeId | None = None, renew: NodeId | None = None,
        remove: NodeId | None = None, join: Replica | None = None,
    ) -> Configuration:  # fmt: skip
        """The one after this. `promote` gets a vote and `mute` loses it; `renew` loses it and must be made anew, for it
        may have forgotten what it said; `remove` is named no more; `join` is new and does not vote yet."""
        number = self.number + 1
        replicas = []
        for replica in self.replicas:
            if replica.node == promote:
                replica = replace(replica, votes=True)
            elif replica.node == mute:
                replica = replace(replica, votes=False)
            elif replica.node == renew:
                replica = replace(replica, votes=False, since=number)
            if replica.node != remove:
                replicas.append(replica)
        if join is not None:
            replicas.append(replace(join, votes=False, since=number))
        return Configuration(number, tuple(replicas))

    def refusal(self, after: Configuration) -> str:
        """Why `after` may not follow this configuration, "" if it may."""
        before = set(self.voters)
        votes = set(after.voters)
        if after.number != self.number + 1:
            return f"configuration {after.number} cannot follow configuration {self.number}"
        if len(set(after.nodes)) != len(after.nodes):
            return "a node is named twice"
        if not after.eligible:
            return "no storage replica would vote"
        if len(before - votes) > 1 or len(votes - before) > 1:
            return f"more than one voter would change: {sorted(before)} to {sorted(votes)}"
        for replica in after.replicas:
            held = self.replica(replica.node)
            if held is None or held.since != replica.since:
                if replica.votes:
                    return f"node {replica.node} would vote before it has caught up"
                if replica.since != after.number:
                    return f"the replica on node {replica.node} is new, but is not said to be of this configuration"
            elif held.log != replica.log:
                return f"the replica on node {replica.node} cannot change its kind"
        return ""


def founding(members: tuple[NodeId, ...]) -> Configuration:
    """Configuration 0 of a group."""
    return Configuration(0, tuple(Replica(node) for node in members))


# --- bytes ------------------------------------------------------------------------------------------------------------


def pack_replicas(configuration: Configuration) -> bytes:
    """Replicas without the number: u16 count, u16 node ids; where not all are founding voters the count's top bit is
    set and a role follows for each: u8 flags (1: log, 2: does not vote), u32 since."""
    replicas = configuration.replicas
    nodes = struct.pack(f">{len(replicas)}H", *configuration.nodes)
    if all(replica == Replica(replica.node) for replica in replicas):
        return _COUNT.pack(len(replicas)) + nodes
    roles = (
        _ROLE.pack((_LOG if replica.log else 0) | (0 if replica.votes else _MUTE), replica.since)
        for replica in replicas
    )
    return _COUNT.pack(len(replicas) | _ROLES_FOLLOW) + nodes + b"".join(roles)


def unpack_replicas(number: int, body: bytes, offset: int = 0) -> tuple[Configuration, bytes]:
    """Inverse of `pack_replicas`, and what follows. Raises Corruption if the body is too short."""
    try:
        (count,) = _COUNT.unpack_from(body, offset)
        roles = bool(count & _ROLES_FOLLOW)
        count &= ~_ROLES_FOLLOW
        nodes = struct.unpack_from(f">{count}H", body, offset + _COUNT.size)
        offset += _COUNT.size + 2 * count
        if not roles:
            return founding_of(number, nodes), body[offset:]
        replicas = []
        for node in nodes:
            flags, since = _ROLE.unpack_from(body, offset)
            replicas.append(Replica(NodeId(node), bool(flags & _LOG), not flags & _MUTE, since))
            offset += _ROLE.size
    except struct.error as error:
        raise Corruption(f"members of a group do not decode: {error}") from error
    return Configuration(number, tuple(replicas)), body[offset:]


def founding_of(number: int, nodes: tuple[int, ...]) -> Configuration:
    """A configuration of founding voters only, under `number`."""
    return Configuration(number, tuple(Replica(NodeId(node)) for node in nodes))


def encode_configuration(configuration: Configuration) -> bytes:
    """With its number: the body of a CONFIG command, and what messages and rows carry."""
    return _NUMBER.pack(configuration.number) + pack_replicas(configuration)


def decode_configuration(body: bytes) -> Configuration:
    """Inverse of `encode_configuration`. Raises Corruption."""
    try:
        (number,) = _NUMBER.unpack_from(body)
    except struct.error as error:
        raise Corruption(f"a configuration does not decode: {error}") from error
    return unpack_replicas(number, body, _NUMBER.size)[0]
