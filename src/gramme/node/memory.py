"""What a node durably knows about itself and its peers: cluster, node id, its boots, and the peers' last boots.

Kept as log records: FOUND once, BOOT at each start, PEER_BOOT when a peer is first heard in a boot, and all of it again
as NODE_CHECKPOINT in every new segment. Source: REPLICATION.md §8 "Identity".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gramme.kernel.errors import Incompatible
from gramme.kernel.ids import Ballot, BootId, ClusterId, GroupId, Lsn, NodeId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.node.catalog.node_table import NodeTable

MAX_BOOTS: Final = 16
"""How many of its own boot ids a node announces."""


class PeerBoot(msgspec.Struct, frozen=True, array_like=True):
    """The last boot of a peer that this node has accepted, and the LSN which the peer then said it had durable."""

    node: NodeId
    boot: BootId
    durable_lsn: int


class _Image(msgspec.Struct, frozen=True, array_like=True):
    """The body of FOUND and NODE_CHECKPOINT."""

    cluster: ClusterId
    node: NodeId
    boots: tuple[BootId, ...]
    peers: tuple[PeerBoot, ...]
    catalog_number: int = 0
    catalog_nodes: tuple[NodeId, ...] = ()
    birth: BootId = BootId(b"")
    nodes: NodeTable | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode_image = msgspec.msgpack.Decoder(_Image).decode
_decode_peer = msgspec.msgpack.Decoder(PeerBoot).decode


class NodeMemory:
    """In-memory image of those records; each change returns the record that makes it durable."""

    def __init__(self, cluster: ClusterId, node: NodeId) -> None:
        self.cluster = cluster
        self.node = node
        self.boots: tuple[BootId, ...] = ()
        self.peers: dict[NodeId, PeerBoot] = {}
        self.founded = False
        self.catalog_number = 0
        self.catalog_nodes: tuple[NodeId, ...] = ()
        """Where the catalog's group is by its configuration of that number; empty: where it was founded."""
        self.birth = BootId(b"")
        """What a node that joined drew when its directory was empty (`gramme.node.catalog.node_table`)."""
        self.nodes: NodeTable | None = None
        """The cluster's nodes, so that a restart alone knows its peers; None: those that founded it."""

    def recover(self, records: Iterable[tuple[Lsn, Record]]) -> None:
        """Fold the node's own records. Raises `Incompatible` for the directory of another cluster or node."""
        for _, record in records:
            match record.kind:
                case RecordKind.FOUND | RecordKind.NODE_CHECKPOINT:
                    self._take(_decode_image(record.body))
                case RecordKind.BOOT:
                    self.boots = (*self.boots, BootId(record.body))[-MAX_BOOTS:]
                case RecordKind.PEER_BOOT:
                    peer = _decode_peer(record.body)
                    self.peers[peer.node] = peer

    def _take(self, image: _Image) -> None:
        if image.cluster != self.cluster:
            raise Incompatible(
                f"the data directory belongs to cluster {image.cluster.hex()}, not to {self.cluster.hex()}"
            )
        if image.node != self.node:
            raise Incompatible(f"the data directory belongs to node {image.node}, not to node {self.node}")
        self.founded = True
        self.boots = image.boots
        self.peers = {peer.node: peer for peer in image.peers}
        self.catalog_number, self.catalog_nodes = image.catalog_number, image.catalog_nodes
        self.birth, self.nodes = image.birth, image.nodes

    def found(self, birth: BootId) -> Record:
        """The first record of an empty directory. `birth`: of a node that joins, b"" of one that founds."""
        self.founded = True
        self.birth = birth
        return _record(RecordKind.FOUND, _encode(self._image()))

    def boot(self, boot: BootId) -> Record:
        """A start of the process."""
        self.boots = (*self.boots, boot)[-MAX_BOOTS:]
        return _record(RecordKind.BOOT, boot)

    def remember(self, peer: PeerBoot) -> Record:
        """A peer was accepted in this boot."""
        self.peers[peer.node] = peer
        return _record(RecordKind.PEER_BOOT, _encode(peer))

    def catalog_moved(self, number: int, nodes: tuple[NodeId, ...]) -> Record:
        """The catalog's group is on `nodes` since its configuration `number`."""
        self.catalog_number, self.catalog_nodes = number, nodes
        return self.checkpoint()

    def nodes_changed(self, nodes: NodeTable) -> Record:
        """Somebody joined or left."""
        self.nodes = nodes
        return self.checkpoint()

    def checkpoint(self) -> Record:
        """All of it, for a new segment."""
        return _record(RecordKind.NODE_CHECKPOINT, _encode(self._image()))

    def _image(self) -> _Image:
        return _Image(
            self.cluster, self.node, self.boots, tuple(self.peers.values()), self.catalog_number, self.catalog_nodes,
            self.birth, self.nodes,
        )  # fmt: skip


def _record(kind: RecordKind, body: bytes) -> Record:
    return Record(kind, GroupId(0), Slot(0), Ballot(0), 0, 0, body)
