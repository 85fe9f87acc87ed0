"""Whether a node is who it says, and who may found a cluster: pure rules.

A data directory that was restored from a copy, or started twice, would break promises that its node made; an emptied
one would forget them. So a node announces its last boots and what it has durable, and its peers, who durably remember
the last boot they saw, compare. Owns those rules, not the messages and not the memory. Source: REPLICATION.md §8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gramme.kernel.ids import BootId, ClusterId, Lsn, NodeId

ANNOUNCED_BOOTS: Final = 16
"""How many boots a node announces: a peer that was away for more of its restarts refuses it, which is safe."""

_REPLACE: Final = "Remove the node with `gramme cluster remove {}` and add another with `gramme cluster add`"


@dataclass(frozen=True, slots=True)
class Hello:
    """What a node announces: its boots, newest (the present one) last, and its highest durable LSN."""

    node: NodeId
    cluster: ClusterId
    boots: tuple[BootId, ...]
    durable_lsn: Lsn

    @property
    def boot(self) -> BootId:
        """The present boot."""
        return self.boots[-1]


@dataclass(frozen=True, slots=True)
class PeerMemory:
    """What must be durable about a peer before it is listened to: the last boot seen, and the highest LSN that this
    node knows the peer to have acknowledged."""

    boot: BootId
    acknowledged_lsn: Lsn


@dataclass(frozen=True, slots=True)
class Accept:
    """Listen to the peer once `memory` is durable (None: what is durable says the same already)."""

    memory: PeerMemory | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not listen to the peer; `reason` is for its operator."""

    reason: str


def next_boots(earlier: Sequence[BootId], boot: BootId) -> tuple[BootId, ...]:
    """The boots to announce after a start with `boot`, which must be durable before the first is announced."""
    return (*earlier, boot)[-ANNOUNCED_BOOTS:]


def check(
    remembered: PeerMemory | None,
    hello: Hello,
    *,
    cluster: ClusterId | None = None,
    answering: BootId | None = None,
) -> Accept | Refuse:
    """Whether to listen to a peer that announces `hello`.

    `cluster` is this node's, where the transport has not compared it. `answering` is another boot of the same node
    that this node hears at this very time (an open link), if any: then two processes run with one identity. The order
    of the checks decides only which reason is named.
    """
    node = hello.node
    if cluster is not None and hello.cluster != cluster:
        return Refuse(f"node {node} is of cluster {hello.cluster.hex()}, this node of {cluster.hex()}")
    if not 1 <= len(hello.boots) <= ANNOUNCED_BOOTS or any(len(boot) != 16 for boot in hello.boots):
        return Refuse(f"node {node} announces {len(hello.boots)} boots; 1 to {ANNOUNCED_BOOTS} are expected")
    if answering is not None and answering != hello.boot:
        return Refuse(
            f"two processes say that they are node {node}: boot {answering.hex()} still answers. Stop the one whose "
            f"data directory is a copy, or add it as a new node with `gramme cluster add`"
        )
    if remembered is None:
        return Accept(PeerMemory(hello.boot, hello.durable_lsn))
    if remembered.boot not in hello.boots:
        return Refuse(
            f"node {node} does not know of its own boot {remembered.boot.hex()}, which this node has seen: its data "
            f"directory is empty, old, or another one's copy. {_REPLACE.format(node)}"
        )
    if hello.durable_lsn < remembered.acknowledged_lsn:
        return Refuse(
            f"node {node} has its log up to LSN {hello.durable_lsn}, but had acknowledged "
            f"{remembered.acknowledged_lsn}: its data directory lost what others rely on. "
            f"{_REPLACE.format(node)}"
        )
    memory = PeerMemory(hello.boot, hello.durable_lsn)
    return Accept(None if memory == remembered else memory)


@dataclass(frozen=True, slots=True)
class Found:
    """Write the founding record for this list; take no part until `may_take_part`."""

    members: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Resume:
    """The directory has a founding record: go on as what it says."""

    members: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Founded:
    """The founding record that a directory holds."""

    node: NodeId
    cluster: ClusterId
    members: tuple[NodeId, ...]


def founding(
    initial_catalog: Sequence[NodeId], me: NodeId, cluster: ClusterId, *, empty: bool, founded: Founded | None
) -> Found | Resume | Refuse:
    """What a node does at start. `empty`: its directory holds no record at all.

    Only empty nodes that the list names found a cluster, and no timeout ever does (REPLICATION.md §8). A directory
    with a founding record ignores the list, which is of use once: but not the names in it, which must be the same.
    """
    if founded is not None:
        if founded.node != me:
            return Refuse(f"this data directory is node {founded.node}'s, not node {me}'s")
        if founded.cluster != cluster:
            return Refuse(
                f"this data directory is of cluster {founded.cluster.hex()}, the settings name {cluster.hex()}"
            )
        return Resume(founded.members)
    if not empty:
        return Refuse("this data directory holds records but no founding record: it is damaged")
    if me not in initial_catalog:
        return Refuse(
            f"this data directory is empty and initial_catalog does not name node {me}: "
            "only the nodes that it names found a cluster"
        )
    return Found(tuple(sorted(initial_catalog)))


def may_take_part(decision: Found | Resume, me: NodeId, accepted_by: Sequence[NodeId]) -> bool:
    """Whether a node may promise, accept, grant and vote.

    A node that resumes may at once, as far as peers accept it. One that was empty may only when *every* other founder
    has accepted it, which none does that has seen an earlier boot of it: otherwise a founder that lost its disk would
    come back as new and forget what it had promised. Two of three founders that have promised something are enough to
    choose a value, so hearing from some of them is not enough.
    """
    if isinstance(decision, Resume):
        return True
    return all(node == me or node in accepted_by for node in decision.members)
