"""What a full view of the cluster costs (row A46): bytes of gossip for each node and second, and of the ring.

The paper's criticism of itself: every node knows the whole routing table, which may not scale to tens of thousands
(SOSP 2007, §6.6). Real gossip machines in virtual time, frames encoded as they go over the wire; nothing changes while
it is measured, which is how a cluster spends its life. The ring itself is not gossiped: a node fetches it when its
number rises.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from random import Random
from typing import Final

import msgspec

from gramme.kernel.effects import Effects
from gramme.kernel.ids import BootId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.membership.gossip import Gossip
from gramme.node.ports import Member
from gramme.node.wire import decode_frame, encode_frame
from gramme.objects.config import ObjectConfig, encode_config
from gramme.placement.ring import DEFAULT_PARTITIONS, Ring
from gramme.placement.zones import NodePlace
from gramme.runtime.frames import HEADER_BYTES

SIZES: Final = (5, 10, 30, 100, 300)
_DELAY_NS: Final = MILLISECOND
_WARM_UP_S: Final = 20
_NEVER: Final = 1 << 62


class Cost(msgspec.Struct, frozen=True):
    """In a cluster of so many nodes. `partitions`: of the ring whose encoded bytes `ring_bytes` are."""

    nodes: int
    sent_per_s: float  # bytes that a node sends in a second
    frames_per_s: float
    partitions: int
    ring_bytes: int


class _World:
    def __init__(self, nodes: int, seed: int) -> None:
        members = [Member(NodeId(node), f"node{node}", f"host{node}", f"zone{node % 3}") for node in range(nodes)]
        self.rng = Random(seed)
        self.now = Instant(SECOND)
        self.sent_bytes = self.frames = 0
        self._boots = [BootId(self.rng.randbytes(16)) for _ in members]
        self.machines = [
            Gossip(member.node, boot, members, Random(self.rng.randrange(1 << 62)))
            for member, boot in zip(members, self._boots, strict=True)
        ]
        for node, machine in enumerate(self.machines):
            address = f"10.0.{node // 250}.{node % 250}"
            machine.update(address=address, peer_address=f"{address}:8300", objects_address=f"{address}:8100")
        self._queue: list[tuple[int, int, NodeId, NodeId, bytes]] = []
        self._due = [_NEVER] * nodes
        self._ticks: list[tuple[int, NodeId]] = []
        for member in members:
            self._schedule(member.node)
        self._sequence = 0

    def run(self, seconds: int) -> None:
        end = self.now + seconds * SECOND
        while True:
            arrival = self._queue[0][0] if self._queue else end
            tick = self._ticks[0][0]
            if min(arrival, tick) >= end:
                self.now = Instant(end)
                return
            self.now = Instant(max(self.now, min(arrival, tick)))
            if arrival <= tick:
                _, _, source, target, payload = heapq.heappop(self._queue)
                for message in decode_frame(payload)[1]:
                    self._carry_out(target, self.machines[target].step(source, message, self.now))
            else:
                self._tick()

    def _schedule(self, node: NodeId) -> None:
        deadline = self.machines[node].next_deadline()
        if deadline < self._due[node]:
            self._due[node] = deadline
            heapq.heappush(self._ticks, (deadline, node))

    def _tick(self) -> None:
        due, node = heapq.heappop(self._ticks)
        if due != self._due[node]:
            return  # an earlier one was scheduled since
        self._due[node] = _NEVER
        if self.machines[node].next_deadline() <= self.now:
            self._carry_out(node, self.machines[node].tick(self.now))
        self._schedule(node)

    def _carry_out(self, node: NodeId, effects: Effects) -> None:
        frames: dict[NodeId, list[object]] = {}
        for target, message in effects.sends:
            frames.setdefault(target, []).append(message)
        for target, messages in frames.items():
            payload = encode_frame(self._boots[node], messages)
            self.sent_bytes += HEADER_BYTES + len(payload)
            self.frames += 1
            self._sequence += 1
            heapq.heappush(self._queue, (self.now + _DELAY_NS, self._sequence, node, target, payload))
        self._schedule(node)


def measured(sizes: Sequence[int] = SIZES, seconds: int = 20, seed: int = 1) -> list[Cost]:
    """Once everybody knows everybody."""
    return [_cost(nodes, seconds, seed) for nodes in sizes]


def _cost(nodes: int, seconds: int, seed: int) -> Cost:
    world = _World(nodes, seed)
    world.run(_WARM_UP_S)
    world.sent_bytes = world.frames = 0
    world.run(seconds)
    partitions = DEFAULT_PARTITIONS
    while partitions < 10 * nodes and partitions < 1024:
        partitions *= 2
    places = tuple(NodePlace(NodeId(node), f"host{node}", f"zone{node % 3}") for node in range(nodes))
    ring = Ring(1, tuple(NodeId(at % nodes) for at in range(partitions)), places)
    ring_bytes = len(encode_config(ObjectConfig(1, ring)))
    share = nodes * seconds
    return Cost(nodes, world.sent_bytes / share, world.frames / share, partitions, ring_bytes)
