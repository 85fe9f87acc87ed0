"""What nodes tell each other about nodes. Array-like: field order is the wire format; new fields go at the end.

Owns the member record and the rule by which two copies of it are joined, so that the order in which copies meet does
not matter: the join is commutative, associative and idempotent. Source: SWIM (Das, Gupta, Motivala, DSN 2002) §4.2
for incarnations; Dynamo (SOSP 2007) §4.8.1 for reconciling with a random peer each second.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from gramme.kernel.ids import BootId, NodeId


class Liveness(IntEnum):
    """What is believed of a node. Within one incarnation the higher number wins; numbers are on the wire."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    pass


class MemberInfo(_Wire, frozen=True):
    """What a node says of itself.

    `address` is where clients reach it (no port), `peer_address` is "host:port" for peers ("": as the founding list
    says). `host` and `zone` name what fails together. `load` is the bytes of log and engine; `catalog_version` and
    `release` tell who is behind. `objects_address` is "host:port" where clients reach its objects ("": not served, or
    the node is older than the field), `objects_load` what it did as a replica of objects in the last 30 minutes,
    `leads` how many groups it leads (-1: the node is older than the field).
    """

    address: str
    host: str
    zone: str
    boot: BootId
    name: str = ""
    peer_address: str = ""
    load: int = 0
    catalog_version: int = 0
    release: str = ""
    objects_address: str = ""
    objects_load: int = 0
    leads: int = -1


class MemberRecord(_Wire, frozen=True):
    """One node as somebody knows it.

    `incarnation` is raised by the node itself only: at a refutation, and past its own earlier life after a restart.
    `version` counts changes of `info` within an incarnation. They are two numbers because a node that cannot hear
    must not refute a suspicion by reporting its load.
    """

    node: NodeId
    incarnation: int
    liveness: Liveness
    version: int
    info: MemberInfo

    def summary(self) -> MemberSummary:
        """What a digest says of this record."""
        return MemberSummary(self.node, self.incarnation, self.liveness, self.version)


class MemberSummary(_Wire, frozen=True):
    """A record without its contents."""

    node: NodeId
    incarnation: int
    liveness: Liveness
    version: int


def join(left: MemberRecord, right: MemberRecord) -> MemberRecord:
    """The record that knows what both know: the higher incarnation, or within one the worse news and the newer info.

    Returns `left` itself when `right` adds nothing.
    """
    if not adds_to(left, right):
        return left
    if right.incarnation != left.incarnation:
        return right
    newer = right if right.version > left.version else left
    return MemberRecord(left.node, left.incarnation, max(left.liveness, right.liveness), newer.version, newer.info)


def adds_to(known: MemberRecord | MemberSummary, other: MemberRecord | MemberSummary) -> bool:
    """Whether `other` knows something of its node that `known` does not."""
    if other.incarnation != known.incarnation:
        return other.incarnation > known.incarnation
    return other.liveness > known.liveness or other.version > known.version


class Digest(_Wire, tag="GossipDigest", frozen=True):
    """Opens an exchange: everything the sender knows, in brief."""

    members: tuple[MemberSummary, ...]


class Exchange(_Wire, tag="GossipExchange", frozen=True):
    """Records that the receiver lacks, and the nodes whose records the sender lacks (none in the closing one)."""

    records: tuple[MemberRecord, ...]
    wanted: tuple[NodeId, ...] = ()


class Ping(_Wire, tag="GossipPing", frozen=True):
    """Are you there? It says what is believed of the receiver, so that its answer can refute that."""

    sequence: int
    believed: MemberSummary


class PingFor(_Wire, tag="GossipPingFor", frozen=True):
    """Please ping `target` for me and tell me if it answers: the way from me to it may be cut."""

    sequence: int
    target: NodeId


class Ack(_Wire, tag="GossipAck", frozen=True):
    """Answer to a ping, direct or by way of a helper: `record` is the pinged node's own."""

    sequence: int
    record: MemberRecord


MESSAGES = (Digest, Exchange, Ping, PingFor, Ack)
