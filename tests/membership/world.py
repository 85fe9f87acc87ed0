"""A little world for gossip machines alone: virtual time, a fixed delay, and one-way cuts."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from gramme.kernel.ids import BootId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.membership.failure import GossipSettings
from gramme.membership.gossip import Gossip
from gramme.membership.messages import MESSAGES, Liveness

DELAY_NS = 2 * MILLISECOND
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MESSAGES[0] | MESSAGES[1] | MESSAGES[2] | MESSAGES[3] | MESSAGES[4]).decode


@dataclass(frozen=True, slots=True)
class Place:
    """What the founding list says of a node."""

    node: NodeId
    name: str
    host: str
    zone: str
    address: str = "127.0.0.1"


def places(count: int) -> list[Place]:
    return [Place(NodeId(i), f"node-{i}", f"host-{i}", f"zone-{i}") for i in range(count)]


class World:
    """Gossip machines that talk through the wire codec; everything follows from `seed`."""

    def __init__(self, count: int, seed: int = 0, settings: GossipSettings | None = None) -> None:
        self.rng = random.Random(seed)
        self.now = Instant(1_000 * SECOND)
        self.settings = settings or GossipSettings()
        self.places = places(count)
        self.machines: dict[NodeId, Gossip] = {}
        self.outputs: list[tuple[NodeId, Any]] = []
        self.cut: dict[tuple[NodeId, NodeId], None] = {}
        self.messages = 0
        self._queue: list[tuple[int, int, NodeId, NodeId, bytes]] = []
        self._sequence = 0
        for place in self.places:
            self.start(place.node)

    def start(self, node: NodeId, known: Iterable[NodeId] | None = None) -> Gossip:
        """A fresh process of `node`, which knows the founding list (or that part of it) and nothing else."""
        listed = self.places if known is None else [self.places[i] for i in sorted({*known, node})]
        rng = random.Random(self.rng.randrange(1 << 62))
        machine = Gossip(node, BootId(rng.randbytes(16)), listed, rng, self.settings)
        self.machines[node] = machine
        return machine

    def kill(self, node: NodeId) -> None:
        del self.machines[node]

    def cut_one_way(self, source: NodeId, target: NodeId) -> None:
        self.cut[source, target] = None

    def run(self, seconds: float) -> None:
        end = self.now + int(seconds * SECOND)
        while True:
            due = [(machine.next_deadline(), node) for node, machine in sorted(self.machines.items())]
            when = min([deadline for deadline, _ in due] + [entry[0] for entry in self._queue[:1]], default=end)
            if when > end:
                self.now = Instant(end)
                return
            self.now = Instant(max(self.now, when))
            if self._queue and self._queue[0][0] <= self.now:
                self._deliver()
                continue
            for deadline, node in due:
                if deadline <= self.now:
                    self._carry_out(node, self.machines[node].tick(self.now))

    def believed(self, node: NodeId) -> dict[NodeId, Liveness | None]:
        """What every other living node believes of `node`."""
        return {other: m.liveness(node) for other, m in sorted(self.machines.items()) if other != node}

    def _deliver(self) -> None:
        _, _, source, target, data = heapq.heappop(self._queue)
        machine = self.machines.get(target)
        if machine is not None and (source, target) not in self.cut:
            self.messages += 1
            self._carry_out(target, machine.step(source, _decode(data), self.now))

    def _carry_out(self, node: NodeId, effects: Any) -> None:
        assert not effects.records
        assert not effects.sends_durable
        self.outputs += [(node, output) for output in effects.outputs]
        for target, message in effects.sends:
            self._sequence += 1
            heapq.heappush(self._queue, (self.now + DELAY_NS, self._sequence, node, target, _encode(message)))
