"""Who may be listened to: a peer's boot is accepted, durably, before any message of that boot reaches a machine.

A node that lost its disk, runs from an old copy of it, or is started twice would vote with a memory that is not the one
it promised with. So every frame names the sender's boot; an unknown boot is asked who it is, its Hello is checked
against what is remembered of that node, and it is answered only when the new memory is durable (REPLICATION.md §8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.effects import Effects
from gramme.kernel.ids import BootId, Lsn, NodeId
from gramme.kernel.time import MILLISECOND
from gramme.membership import identity
from gramme.node.alarm import Alarm
from gramme.node.host import Host, RecordOwner
from gramme.node.memory import NodeMemory, PeerBoot
from gramme.node.messages import Hello, HelloAck, WhoAreYou

_HELLO_RETRY_NS: Final = 200 * MILLISECOND


class Introductions(RecordOwner):
    """Hellos sent and received. `on_known(peer)` is called when a peer listens to this node, `on_accepted(peer)` when
    this node listens to a peer, `on_refused(reason)` when one will not have it."""

    def __init__(
        self,
        host: Host,
        memory: NodeMemory,
        boot: BootId,
        peers: tuple[NodeId, ...],
        on_known: Callable[[NodeId], None],
        on_accepted: Callable[[NodeId], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._host = host
        self._memory = memory
        self._boot = boot
        self._peers = peers
        self._on_known = on_known
        self._on_accepted = on_accepted
        self._on_refused = on_refused
        self._accepted: dict[NodeId, BootId] = {}
        self._known_to: dict[NodeId, None] = {}
        self._alarm = Alarm(host, self._send_hellos)
        self._started = False

    def set_peers(self, peers: tuple[NodeId, ...]) -> None:
        """Somebody joined or left: only these are listened to, and are told who this node is."""
        self._peers = peers
        for node in [node for node in self._accepted if node not in peers]:
            del self._accepted[node]
        self._known_to = {node: None for node in self._known_to if node in peers}
        if self._started:
            self._send_hellos()

    @property
    def started(self) -> bool:
        """Whether this boot is durable."""
        return self._started

    def start(self) -> None:
        """This boot is durable: introduce this node to every peer, until each has answered."""
        self._started = True
        self._send_hellos()

    @property
    def known_to(self) -> tuple[NodeId, ...]:
        """The peers that listen to this boot."""
        return tuple(self._known_to)

    def accepted(self, node: NodeId, boot: BootId) -> bool:
        """Whether messages of this boot may be listened to."""
        return self._accepted.get(node) == boot

    def on_unaccepted(self, source: NodeId, boot: BootId, messages: list[Any]) -> None:
        """A frame of a boot that is not accepted: only introductions in it are read.

        A refusal must get through to a node that does not listen to its sender, and a question to introduce oneself is
        answered whoever asks; neither is answered with that question, or two nodes would ask each other for ever.
        """
        introduced = False
        for message in messages:
            if isinstance(message, Hello):
                self.on_hello(source, boot, message)
            elif isinstance(message, HelloAck):
                self.on_hello_ack(source, message)
            elif isinstance(message, WhoAreYou):
                self.on_who_are_you(source)
            else:
                continue
            introduced = True
        if not introduced:
            self._host.send(source, WhoAreYou())

    def on_hello(self, source: NodeId, boot: BootId, message: Hello) -> None:
        """Check a peer's claim against what is remembered of it; answer when the new memory is durable."""
        if self.accepted(source, boot):
            self._host.send(source, HelloAck(boot))
            return
        if not message.boots or message.boots[-1] != boot or source not in self._peers:
            return  # a node that has joined is not known here yet: it asks again
        known = self._memory.peers.get(source)
        durable_lsn = message.durable_lsn
        if known is not None and known.boot == boot:
            durable_lsn = max(durable_lsn, known.durable_lsn)  # a Hello may be overtaken by a later one of this boot
        remembered = None if known is None else identity.PeerMemory(known.boot, Lsn(known.durable_lsn))
        claim = identity.Hello(source, self._memory.cluster, message.boots, Lsn(durable_lsn))
        verdict = identity.check(remembered, claim)
        if isinstance(verdict, identity.Refuse):
            self._host.ports.log_event("peer refused", {"node": source, "reason": verdict.reason})
            self._host.send(source, HelloAck(boot, verdict.reason))
            return
        record = self._memory.remember(PeerBoot(source, boot, durable_lsn))
        effects = Effects(records=[record], durable_events=[(source, boot)])
        self._host.execute(effects, self)

    def durable(self, event: tuple[NodeId, BootId]) -> None:
        """The memory of a peer's boot is durable: listen to it from now on."""
        source, boot = event
        if source not in self._peers:
            return
        self._accepted[source] = boot
        self._host.send(source, HelloAck(boot))
        self._on_accepted(source)

    def on_hello_ack(self, source: NodeId, message: HelloAck) -> None:
        """A peer listens to us, or says why not."""
        if message.boot != self._boot or source not in self._peers:
            return
        if message.refusal:
            self._on_refused(f"node {source} refuses this node: {message.refusal}")
        else:
            self._known_to[source] = None
            self._on_known(source)

    def on_who_are_you(self, source: NodeId) -> None:
        """A peer restarted, or never heard of us: introduce ourselves again.

        Not before this boot is durable: a peer would remember a boot that a crash could still make us forget.
        """
        if not self._started:
            return
        self._known_to.pop(source, None)
        self._host.send(source, self._hello())
        self._arm()

    def _hello(self) -> Hello:
        return Hello(self._memory.boots, self._host.log.durable_lsn)

    def _send_hellos(self) -> None:
        for peer in self._peers:
            if peer not in self._known_to:
                self._host.send(peer, self._hello())
        self._arm()

    def _arm(self) -> None:
        if len(self._known_to) < len(self._peers):
            self._alarm.arm(_HELLO_RETRY_NS)
