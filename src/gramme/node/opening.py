"""What a node's log holds when the node starts: whose it is, and what it says of the node and its peers.

Rule: a log that is another node's or cluster's, or that is damaged where nobody else has a copy, is refused before any
machine exists. Source: REPLICATION.md §5 and §8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gramme.kernel.errors import Corruption, Incompatible
from gramme.kernel.ids import ClusterId, Lsn
from gramme.kernel.ports import LogDisk
from gramme.kernel.record import Record
from gramme.node.members import Members
from gramme.node.memory import NodeMemory
from gramme.node.ports import NodeSettings, Ports
from gramme.node.standing import removed_for_good
from gramme.storage.log.recovery import Damage, Recovery, recover


class Opened(NamedTuple):
    """A log that can be used. `recovery`: None for a new one."""

    cluster: ClusterId
    memory: NodeMemory
    members: Members
    recovery: Recovery | None

    @property
    def records(self) -> list[tuple[Lsn, Record]]:
        """All that it holds."""
        return [] if self.recovery is None else self.recovery.records

    @property
    def damaged(self) -> list[Damage]:
        """What of it is lost."""
        return [] if self.recovery is None else self.recovery.damaged


def open_log(settings: NodeSettings, ports: Ports) -> Opened:
    """Recover the log. Raises `Incompatible` for another node's or cluster's, or if this node was removed, `Corruption`
    for a damaged one of a cluster of one (it names file and offset; nobody else could supply what is lost)."""
    segments = ports.log_disk.segments()
    recovery = recover(_contents(ports.log_disk, segments), settings.cluster) if segments else None
    cluster = _cluster_id(settings, ports, recovery)
    memory = NodeMemory(cluster, settings.me)
    memory.recover(recovery.records if recovery is not None else [])
    members = Members(settings, memory.nodes)
    if settings.me in members.removed:
        raise Incompatible(removed_for_good(settings.me))
    if recovery is not None:
        _refuse_damage(recovery, members, ports)
        if not memory.founded and (recovery.records or recovery.damaged):
            raise Corruption("the log holds records but not the one that says whose they are: it is damaged")
    return Opened(cluster, memory, members, recovery)


def _cluster_id(settings: NodeSettings, ports: Ports, recovery: Recovery | None) -> ClusterId:
    if settings.cluster is not None:
        return settings.cluster
    if recovery is not None and recovery.cluster is not None:
        return recovery.cluster
    return ClusterId(ports.rng.randbytes(16))


def _refuse_damage(recovery: Recovery, members: Members, ports: Ports) -> None:
    for damage in recovery.healed:
        ports.log_event("log record read from its second copy", {"where": str(damage)})
    for damage in recovery.damaged:
        ports.log_event("log damaged", {"where": str(damage)})
    if recovery.damaged and not members.peers:
        raise Corruption(f"the log is damaged and no other node has a copy: {recovery.damaged[0]}")


def _contents(disk: LogDisk, segments: list[int]) -> Iterator[tuple[int, bytes]]:
    """Segments with what is in them: one is in memory at a time."""
    for number in segments:
        yield number, disk.read(number)
