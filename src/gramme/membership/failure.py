"""Which nodes do not answer: pings in turn, then through two others before anything is said.

Owns the probing of one peer at a time and the relaying of others' probes. Rule: a verdict is a hint. It never
creates, moves or deletes anything; what is safe does not depend on it (REPLICATION.md §8). Source: SWIM (DSN 2002)
§4: rounds over a shuffled list, so that every peer is probed within a bounded time, and k indirect probes, so that
one bad path does not make a node look dead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gramme.kernel.ids import NodeId
from gramme.kernel.ports import Randomness
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.membership.messages import Ack, MemberSummary, Ping, PingFor

MAX_RELAYS: Final = 256
"""Probes for others that may be under way; more are not accepted (the asker's probe then fails, which is a hint)."""


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """Times in nanoseconds. A probe takes two `ping_timeout_ns`; `suspicion_ns` is the time to refute."""

    interval_ns: int = 1 * SECOND
    ping_timeout_ns: int = 500 * MILLISECOND
    suspicion_ns: int = 3 * SECOND
    indirect_probes: int = 2

    def __post_init__(self) -> None:
        if min(self.interval_ns, self.ping_timeout_ns, self.suspicion_ns) <= 0 or self.indirect_probes < 0:
            raise ValueError("gossip: times must be positive and indirect_probes not negative")


@dataclass(slots=True)
class _Probe:
    target: NodeId
    sequence: int
    deadline: Instant
    indirect: bool = False


Sends = list[tuple[NodeId, Any]]


class FailureDetector:
    """Probes one peer each interval. `believed(node)` gives what to tell a node about itself."""

    def __init__(
        self, me: NodeId, settings: GossipSettings, rng: Randomness, believed: Callable[[NodeId], MemberSummary | None]
    ) -> None:
        self._me = me
        self._settings = settings
        self._rng = rng
        self._believed = believed
        self._sequence = 0
        self._probe: _Probe | None = None
        self._round: list[NodeId] = []
        self._relays: dict[int, tuple[NodeId, int, Instant]] = {}
        self._unreachable: dict[NodeId, None] = {}

    def reachable(self, node: NodeId) -> bool:
        """Whether the last direct ping to `node` was answered (true before the first)."""
        return node not in self._unreachable

    def deadline(self) -> Instant | None:
        """When the probe under way needs `expire`."""
        return self._probe.deadline if self._probe is not None else None

    def begin(self, peers: Sequence[NodeId], now: Instant) -> Sends:
        """Ping the next peer, unless a probe is under way. `peers` in a fixed order, without this node."""
        self._drop_relays(now)
        if self._probe is not None:
            return []
        target = self._next(peers)
        if target is None:
            return []
        self._probe = _Probe(target, self._next_sequence(), Instant(now + self._settings.ping_timeout_ns))
        return self._ping(target, self._probe.sequence)

    def expire(self, helpers: Sequence[NodeId], now: Instant) -> tuple[Sends, NodeId | None]:
        """Go on with a probe whose time is over: ask helpers, or, after them, name the node that did not answer.

        `helpers` are the peers believed alive, in a fixed order.
        """
        probe = self._probe
        if probe is None or now < probe.deadline:
            return [], None
        if not probe.indirect:
            self._unreachable[probe.target] = None
            probe.indirect = True
            probe.deadline = Instant(now + self._settings.ping_timeout_ns)
            chosen = self._sample([node for node in helpers if node != probe.target])
            return [(node, PingFor(probe.sequence, probe.target)) for node in chosen], None
        self._probe = None
        return [], probe.target

    def pinged_for(self, asker: NodeId, message: PingFor, now: Instant) -> Sends:
        """Ping a node for `asker`."""
        self._drop_relays(now)
        if message.target == self._me or len(self._relays) >= MAX_RELAYS:
            return []
        sequence = self._next_sequence()
        self._relays[sequence] = (asker, message.sequence, Instant(now + 2 * self._settings.ping_timeout_ns))
        return self._ping(message.target, sequence)

    def acknowledged(self, sender: NodeId, message: Ack) -> Sends:
        """A node answers, to this node's probe or to one made for another, who is told."""
        if sender == message.record.node:
            self._unreachable.pop(sender, None)
        relay = self._relays.pop(message.sequence, None)
        if relay is not None:
            asker, sequence, _ = relay
            return [(asker, Ack(sequence, message.record))]
        probe = self._probe
        if probe is not None and message.sequence == probe.sequence and message.record.node == probe.target:
            self._probe = None
        return []

    def forget(self, node: NodeId) -> None:
        """`node` has a new life: nothing is held against it."""
        self._unreachable.pop(node, None)

    def _ping(self, target: NodeId, sequence: int) -> Sends:
        believed = self._believed(target)
        return [] if believed is None else [(target, Ping(sequence, believed))]

    def _next(self, peers: Sequence[NodeId]) -> NodeId | None:
        if not peers:
            return None
        while True:
            if not self._round:
                self._round = _shuffled(peers, self._rng)
            target = self._round.pop()
            if target in peers:
                return target

    def _sample(self, nodes: Sequence[NodeId]) -> list[NodeId]:
        return _shuffled(nodes, self._rng)[: self._settings.indirect_probes]

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _drop_relays(self, now: Instant) -> None:
        for sequence in [s for s, (_, _, until) in self._relays.items() if until <= now]:
            del self._relays[sequence]


def _shuffled(nodes: Sequence[NodeId], rng: Randomness) -> list[NodeId]:
    """Fisher and Yates's shuffle through the port: `Randomness` has no shuffle of its own."""
    result = list(nodes)
    for i in range(len(result) - 1, 0, -1):
        j = rng.randrange(i + 1)
        result[i], result[j] = result[j], result[i]
    return result
