"""What can be asked of a replica: facts that change nothing. `GroupReplica` adds what happens to it."""

from __future__ import annotations

from collections.abc import Container

from gramme.kernel.ids import NO_NODE, Ballot, GroupId, NodeId, Slot
from gramme.kernel.record import Record
from gramme.kernel.time import Instant, Stamp
from gramme.paxos.acceptor import Acceptor
from gramme.paxos.campaign import Campaign
from gramme.paxos.configuration import Configuration
from gramme.paxos.entry import Entry
from gramme.paxos.freshness import Freshness
from gramme.paxos.leader import Leader
from gramme.paxos.lease import LeaseView
from gramme.paxos.peer import Peer
from gramme.paxos.state import GroupState, checkpoint_record
from gramme.paxos.status import GroupStatus, PeerStatus, Role


class ReplicaView:
    """See the module. The state is `GroupReplica`'s, which alone changes it."""

    def __init__(self, group: GroupId, me: NodeId, state: GroupState, leases: LeaseView) -> None:
        self.group = group
        self.me = me
        self.amnesiac = state.amnesiac
        self.acceptor = Acceptor(state, me, leases)
        self.leader: Leader | None = None
        self.campaign: Campaign | None = None
        self.descriptor = state.descriptor
        self.leases = leases
        self.known_leader = NO_NODE
        self.stamped_boot: bytes | None = None
        self.applied = state.applied
        self.freshness = Freshness()

    @property
    def role(self) -> Role:
        """What this replica is doing. A leader counts as one from winning phase 1, before it may propose."""
        if self.leader is not None:
            return Role.LEADER
        return Role.FOLLOWER if self.campaign is None else Role.CANDIDATE

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The voters of the present configuration."""
        return self.acceptor.configuration.voters

    @property
    def configuration(self) -> Configuration:
        """The newest configuration that is known to be chosen."""
        return self.acceptor.configuration

    @property
    def pending(self) -> Configuration | None:
        """The configuration that stands in the log and is not known to be chosen, if there is one."""
        held = self.acceptor.configurations
        return held[-1][1] if held else None

    @property
    def leader_hint(self) -> NodeId | None:
        """The leader this replica believes in; None if it knows none."""
        return None if self.known_leader == NO_NODE else self.known_leader

    @property
    def ballot(self) -> Ballot:
        """The highest ballot promised."""
        return self.acceptor.promised

    @property
    def chosen_slot(self) -> Slot:
        """Slots up to here are known to be chosen."""
        return self.acceptor.chosen

    @property
    def last_slot(self) -> Slot:
        """The last slot of the log."""
        return self.acceptor.log.last_slot

    @property
    def last_stamp(self) -> Stamp:
        """The stamp of the last slot."""
        return self.acceptor.log.last_stamp

    @property
    def retained(self) -> list[Entry]:
        """The entries in memory, oldest first. Not to be changed."""
        return self.acceptor.log.entries

    def accepted_after(self, slot: Slot) -> list[Entry] | None:
        """Entries held after `slot`, chosen or not; None where a snapshot is about to replace what they were."""
        log = self.acceptor.log
        return log.between(slot, log.last_slot) if slot >= log.base.slot else None

    @property
    def serving(self) -> bool:
        """Whether this replica leads with its barrier chosen and is not handing over: it may propose."""
        leader = self.leader
        return leader is not None and leader.serving and leader.handing is None

    @property
    def leader_heard_at(self) -> Instant | None:
        """When this follower last knew that it has everything its leader had chosen; None if never."""
        leader = self.known_leader
        idle = leader != NO_NODE and self.leases.grant_boot(leader) == self.stamped_boot
        return self.freshness.since(self.acceptor.emitted, self.leases.heard_at(leader) if idle else None)

    def holds_lease(self, now: Instant) -> bool:
        """Whether strong reads may be answered from applied state at `now`."""
        leader = self.leader
        return leader is not None and leader.serving and leader.holds_lease(now)

    def next_stamp(self, wall: int) -> Stamp:
        """The stamp of a command that is proposed next at `wall`."""
        return Stamp(max(wall, self.last_stamp + 1))

    def status(self) -> GroupStatus:
        """A picture for operators."""
        acceptor = self.acceptor
        peers = () if self.leader is None else self.leader.peers
        return GroupStatus(
            self.group,
            self.role,
            self.known_leader,
            acceptor.promised,
            acceptor.log_ballot,
            acceptor.number,
            acceptor.configuration.voters,
            acceptor.log.base.slot,
            acceptor.log.last_slot,
            acceptor.chosen,
            self.applied,
            acceptor.log.size_bytes,
            self.amnesiac,
            tuple(self._follower(peer) for peer in peers),
            acceptor.configuration.logs,
            acceptor.configuration.learners,
        )

    def followers(self) -> tuple[PeerStatus, ...]:
        """What the leader knows of the others; empty elsewhere."""
        return () if self.leader is None else tuple(self._follower(peer) for peer in self.leader.peers)

    @property
    def has_followers(self) -> bool:
        """Whether this replica leads others."""
        return self.leader is not None and bool(self.leader.peers)

    def followed_by_all(self, up: Container[NodeId]) -> bool:
        """Whether every follower is on a node of `up`, and takes part. True where there are none."""
        if self.leader is not None:
            for peer in self.leader.peers:
                if not peer.joined or peer.amnesiac or peer.node not in up:
                    return False
        return True

    def _follower(self, peer: Peer) -> PeerStatus:
        log = self.acceptor.log
        behind = log.bytes_after(max(peer.match, log.base.slot))
        return PeerStatus(peer.node, peer.match, peer.mode.value, behind, peer.joined, peer.amnesiac)

    def checkpoint(self) -> Record:
        """Everything durable but the entries, to be repeated when a log segment is begun (REPLICATION.md §5)."""
        acceptor = self.acceptor
        mark = acceptor.log.mark_at(acceptor.chosen)
        assert mark is not None
        state = GroupState(
            self.group,
            acceptor.configuration,
            self.descriptor,
            acceptor.promised,
            acceptor.log_ballot,
        )
        return checkpoint_record(state, mark)
