"""The seeded network between nodes: delay, loss, duplication, reordering, and cuts that may be one-way.

Every frame passes through the production codec, so what cannot be encoded cannot be sent here either. A frame may be
delivered to a later incarnation of its target, or after its sender has died: with TCP both happen (a queue that is sent
after a reconnect; a kernel buffer that outlives its process). It is never corrupted: the frames' CRC sees to that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MICROSECOND, MILLISECOND
from gramme.sim.loop import FRAME_OUT
from gramme.sim.world import Process, World

_HELD_FRAMES: Final = 2_000
"""How many frames a held way keeps; more are lost, as when a queue of the real transport overflows."""


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """How a network behaves; probabilities are per frame."""

    delay_ns: int = 100 * MICROSECOND
    jitter_ns: int = 400 * MICROSECOND
    spike: float = 0.01
    spike_ns: int = 60 * MILLISECOND
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0


NORMAL = NetworkProfile()
"""Now and then a frame is late."""

QUIET = NetworkProfile(spike=0.0)
"""A network without trouble, as after the faults have healed."""


class Network:
    """Carries encoded frames between the processes that `find` knows."""

    def __init__(
        self,
        world: World,
        profile: NetworkProfile,
        deliver: Callable[[NodeId, NodeId, bytes], None],
    ) -> None:
        """`deliver(source, target, frame)` hands a frame that has arrived to whatever runs on `target`."""
        self.profile = profile
        self.frames = 0
        self._world = world
        self._deliver = deliver
        self._rng = world.randomness("network")
        self._cuts: dict[tuple[NodeId, NodeId], int] = {}
        self._last_ns: dict[tuple[NodeId, NodeId], int] = {}
        self._slow_ns: dict[tuple[NodeId, NodeId], int] = {}
        self._lossy: dict[tuple[NodeId, NodeId], float] = {}
        self._held: dict[tuple[NodeId, NodeId], list[bytes]] = {}

    def cut(self, source: NodeId, target: NodeId) -> None:
        """Lose everything from `source` to `target` (one way) until as many `heal` calls."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1

    def heal(self, source: NodeId, target: NodeId) -> None:
        """Undo one `cut` of this way; harmless after `heal_all`."""
        left = self._cuts.get((source, target), 0) - 1
        if left > 0:
            self._cuts[source, target] = left
        else:
            self._cuts.pop((source, target), None)

    def slow(self, source: NodeId, target: NodeId, extra_ns: int) -> None:
        """Every frame from `source` to `target` takes so much longer; 0 ends it."""
        self._slow_ns[source, target] = extra_ns

    def lose(self, source: NodeId, target: NodeId, share: float) -> None:
        """Lose such a share of the frames from `source` to `target`, whatever the profile loses; 0 ends it."""
        self._lossy[source, target] = share

    def hold(self, source: NodeId, target: NodeId) -> None:
        """Keep back what goes from `source` to `target`, as a connection does that retransmits, until `release`."""
        self._held.setdefault((source, target), [])

    def release(self, source: NodeId, target: NodeId) -> None:
        """Deliver what `hold` kept back, in order; nothing if nothing is held."""
        for frame in self._held.pop((source, target), []):
            self.send(source, target, frame)

    def heal_all(self) -> None:
        """No way is cut, held or slow, and the network is quiet from now on."""
        for source, target in list(self._held):
            self.release(source, target)
        self._slow_ns.clear()
        self._lossy.clear()
        self._cuts.clear()
        self.profile = QUIET

    def is_cut(self, source: NodeId, target: NodeId) -> bool:
        """Whether frames from `source` to `target` are lost now."""
        return (source, target) in self._cuts

    def send(self, source: NodeId, target: NodeId, frame: bytes) -> None:
        """Send one frame; it arrives never, once or twice."""
        self.frames += 1
        held = self._held.get((source, target))
        if held is not None:
            if len(held) < _HELD_FRAMES:
                held.append(frame)
            return
        profile, rng = self.profile, self._rng
        share = self._lossy.get((source, target))
        if share and rng.random() < share:
            return
        copies = 0 if rng.random() < profile.loss else 2 if rng.random() < profile.duplication else 1
        for copy in range(copies):
            self._world.after(self._delay_ns(source, target, copy > 0), lambda: self._arrive(source, target, frame))

    def _delay_ns(self, source: NodeId, target: NodeId, is_copy: bool) -> int:
        profile, rng = self.profile, self._rng
        delay_ns = profile.delay_ns + rng.randrange(profile.jitter_ns + 1) + self._slow_ns.get((source, target), 0)
        if rng.random() < profile.spike:
            delay_ns += rng.randrange(profile.spike_ns + 1)
        arrival_ns = self._world.now_ns + delay_ns
        if not is_copy and rng.random() >= profile.reordering:
            arrival_ns = max(arrival_ns, self._last_ns.get((source, target), 0))
            self._last_ns[source, target] = arrival_ns
        return arrival_ns - self._world.now_ns

    def _arrive(self, source: NodeId, target: NodeId, frame: bytes) -> None:
        if self.is_cut(source, target):
            return
        self._world.note(source, target, frame)
        self._deliver(source, target, frame)


class SimTransport:
    """The `kernel.ports.Transport` of one process: what a dead process sends goes nowhere."""

    def __init__(
        self,
        network: Network,
        process: Process,
        encode: Callable[[list[Any]], bytes],
        lets_go: Callable[[NodeId, list[Any]], bool],
    ) -> None:
        """`lets_go(source, messages)` sees what is sent, and may lose it."""
        self._network = network
        self._process = process
        self._encode = encode
        self._lets_go = lets_go

    def send(self, node: NodeId, messages: list[Any]) -> None:
        """See `kernel.ports.Transport.send`."""
        process, source = self._process, self._process.node
        if process.alive and process.work("", lambda: self._lets_go(source, messages)):
            frame = process.work(FRAME_OUT, lambda: self._encode(messages))
            process.emit(lambda: self._network.send(source, node, frame))
