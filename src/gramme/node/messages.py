"""Messages of the node itself: forwarded requests, creation and reconciliation of groups, snapshots, identity.

Paxos, leases and gossip have their own (`paxos.messages`, `membership.messages`). All are frozen, tagged and
array-like: field order is the wire format; new fields go at the end, with a default.
"""

from __future__ import annotations

import msgspec

from gramme.kernel.ids import Ballot, BootId, CommandId, GroupId, NodeId, Slot
from gramme.node.catalog.commands import CatalogAnswer, CatalogCommand, Placed
from gramme.node.catalog.node_table import NodeTable
from gramme.tables.requests import PartitionCommand, Reply, Request
from gramme.tables.streams import ReadChanges
from gramme.tables.transaction_commands import TransactionCommand, TransactionReply


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    pass


class Forward(_Wire, tag="Forward", frozen=True):
    """A request for the leader of `group`; at most one forward per request (row A13's rule, kept for tables too), but
    for `relay`: the sender cannot reach the leader it believes in, so a receiver that can may ask that one for it.

    `repeated`: an earlier attempt of the same command may still be on its way somewhere."""

    id: int
    group: GroupId
    command_id: CommandId
    request: Request | ReadChanges | PartitionCommand | CatalogCommand | TransactionCommand
    repeated: bool = False
    relay: bool = False


class Forwarded(_Wire, tag="Forwarded", frozen=True):
    """The answer to `Forward`, from a replica that has applied the slots up to `applied`."""

    id: int
    reply: Reply | CatalogAnswer | TransactionReply
    applied: Slot = Slot(0)


class Misdirected(_Wire, tag="Misdirected", frozen=True):
    """The receiver cannot serve the request. `hint` is the leader it believes in, if any. `maybe_applied` is true when
    the write had been proposed before leadership was lost: the next leader's log tells, by command id."""

    id: int
    hint: NodeId
    maybe_applied: bool
    unknown_group: bool = False


class GroupSpec(_Wire, frozen=True):
    """What a node needs to know to host a replica of a group: its range, and the nodes of configuration 0.

    In the catalog, `members` are those that may lead in configuration `number`, the newest that a leader has reported,
    `others` the nodes of its other replicas, and `moved_at` is the catalog's version since which that is so."""

    group: GroupId
    table_id: str
    start: bytes
    end: bytes
    members: tuple[NodeId, ...]
    schema: bytes = b""  # of a table's partition at its creation (`gramme.tables.indexes`), b"": no indexes
    ledger: bool = False  # of the transactions' ledger, not of a table
    number: int = 0
    others: tuple[NodeId, ...] = ()
    moved_at: int = 0

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """All nodes that have a replica, as the catalog knows."""
        return (*self.members, *self.others)


class CreateGroups(_Wire, tag="CreateGroups", frozen=True):
    """From the catalog's leader to a member: host these. Idempotent: a group that exists, or was dropped, stays so."""

    groups: tuple[GroupSpec, ...]


class HostReplica(_Wire, tag="HostReplica", frozen=True):
    """From the leader of a group, of `ballot`, to a node that `configuration` (encoded, and chosen) names and that does
    not take part: have a replica. `boot`: the process of the receiver that asked for a configuration to be made anew
    under (`MakeAnew`) and was heard before that was proposed; b"" if none did. Where `configuration` does not name the
    receiver it is the answer to `boot`: the group does without it."""

    spec: GroupSpec
    configuration: bytes
    ballot: Ballot
    boot: BootId


class MakeAnew(_Wire, tag="MakeAnew", frozen=True):
    """To the leader of a group that names the sender, from its process `boot`: what was hosted here before may have
    been forgotten in part, or ended under that very configuration. Only one proposed after this was first heard can be
    joined, and newer than `known`, the last one that a replica here is remembered to have known (-1: none)."""

    group: GroupId
    boot: BootId
    known: int = -1


class GroupsReady(_Wire, tag="GroupsReady", frozen=True):
    """To the catalog's leader: the sender leads these groups and has chosen its barrier in each."""

    groups: tuple[GroupId, ...]


class DropGroups(_Wire, tag="DropGroups", frozen=True):
    """A positive tombstone: forget these groups and their data. Ids are never reused."""

    groups: tuple[GroupId, ...]


class GroupsDropped(_Wire, tag="GroupsDropped", frozen=True):
    """To the catalog's leader: the drop of these groups is durable here; no replica of them answers any more."""

    groups: tuple[GroupId, ...]


class Reconcile(_Wire, tag="Reconcile", frozen=True):
    """To a catalog replica: what should I host? `version` is the catalog version last reconciled with (-1: none),
    `nodes` that of the table of nodes which the sender has (0: none), `tables` that up to which no change of a table is
    missing in what it knows of tables (-1: it knows none)."""

    version: int
    groups: tuple[GroupId, ...]
    nodes: int = 0
    tables: int = -1


class Reconciled(_Wire, tag="Reconciled", frozen=True):
    """Answer of the catalog's leader at `version`: groups to create, and tombstones among those that were listed;
    groups that moved since the version that was asked with; once it moved, where the catalog's own group is; the
    cluster's nodes, if they changed since; and the names of the tables that were made, changed or deleted after the
    version `Reconcile.tables` (None: any may have been). Of an answer to the present version only `catalog` counts."""

    version: int
    create: tuple[GroupSpec, ...]
    drop: tuple[GroupId, ...]
    objects: bytes = b""  # the newest configuration of objects, where the catalog has one
    moved: tuple[Placed, ...] = ()
    catalog: Placed | None = None
    nodes: NodeTable | None = None
    changed: tuple[str, ...] | None = None


class NodesKnown(_Wire, tag="NodesKnown", frozen=True):
    """Answer to Reconcile of anybody who has a newer table of the nodes than the one who asks."""

    table: NodeTable


class SnapshotChunk(_Wire, tag="SnapshotChunk", frozen=True):
    """Rows of a group's state at `slot`, in chunks numbered from 0; the last one has `done`.

    `outcomes` are (command id, reply) of the writes of the last seconds: part of the replicated state.
    `outcomes_known` is false where the sender has lost some of them to damage. `ballot`: the leader's when it began.
    """

    group: GroupId
    snapshot: int
    seq: int
    slot: Slot
    crc: int
    stamp: int
    configuration: int
    rows: list[tuple[bytes, bytes]]
    outcomes: list[tuple[CommandId, bytes]]
    done: bool
    outcomes_known: bool = True
    ballot: Ballot = Ballot(0)


class SnapshotAck(_Wire, tag="SnapshotAck", frozen=True):
    """The receiver has chunk `seq`, or has given up on the snapshot."""

    group: GroupId
    snapshot: int
    seq: int
    refused: bool = False


class Hello(_Wire, tag="Hello", frozen=True):
    """Who the sender is: its last 16 boot ids (newest last) and what it has durable. Sent until acknowledged."""

    boots: tuple[BootId, ...]
    durable_lsn: int


class HelloAck(_Wire, tag="HelloAck", frozen=True):
    """The receiver durably remembers `boot` and will listen to it; or `refusal` says why not."""

    boot: BootId
    refusal: str = ""


class WhoAreYou(_Wire, tag="WhoAreYou", frozen=True):
    """A frame came from a boot that the sender of this message has not accepted yet."""


class LeadershipOffer(_Wire, tag="LeadershipOffer", frozen=True):
    """From the leader of `groups`, which leads `leads` in all: would the receiver lead (some of) them? `urgent`: the
    sender should not lead these, whoever leads how much."""

    groups: tuple[GroupId, ...]
    leads: int
    urgent: bool = False


class LeadershipTaken(_Wire, tag="LeadershipTaken", frozen=True):
    """The sender would lead these; it leads, or expects to lead, `leads` others."""

    groups: tuple[GroupId, ...]
    leads: int


MESSAGES = (
    Forward,
    Forwarded,
    Misdirected,
    CreateGroups,
    HostReplica,
    MakeAnew,
    GroupsReady,
    DropGroups,
    GroupsDropped,
    Reconcile,
    Reconciled,
    NodesKnown,
    SnapshotChunk,
    SnapshotAck,
    Hello,
    HelloAck,
    WhoAreYou,
    LeadershipOffer,
    LeadershipTaken,
)
