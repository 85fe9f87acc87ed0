"""Hinted handoff: what this node kept for others is delivered as soon as they can be reached, and then deleted.

Rule: a hint goes only when its owner has said that it has it durably; until then it is sent again. A few are under way
to each node at a time, so that a node which comes back is not drowned in them. Source: SOSP 2007, §4.6; row A22.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Stalled
from gramme.kernel.ids import NodeId
from gramme.kernel.ports import Randomness
from gramme.kernel.time import SECOND, Instant
from gramme.objects.messages import HandedOff, HandOff
from gramme.objects.replica import ObjectReplica
from gramme.objects.state import Name, State, encode_state

WINDOW: Final = 16
SCAN_NS: Final = SECOND
RESEND_NS: Final = 3 * SECOND


class _Flying(NamedTuple):
    node: NodeId
    name: Name
    state: State
    sent: Instant


class HintedHandoff:
    """See the module. `reachable` says who is worth trying."""

    def __init__(self, replica: ObjectReplica, reachable: Callable[[NodeId], bool], rng: Randomness) -> None:
        self._replica = replica
        self._reachable = reachable
        self._flying: dict[int, _Flying] = {}
        self._next_id = rng.randrange(1 << 48)
        self._scan_at = Instant(0)
        self.delivered = 0
        self.bytes_sent = 0

    def next_deadline(self) -> Instant:
        """When to look for hints again."""
        return self._scan_at

    def tick(self, now: Instant) -> Effects:
        """Send what can be delivered."""
        out = Effects()
        self._scan_at = Instant(now + SCAN_NS)
        self._flying = {id_: flying for id_, flying in self._flying.items() if now - flying.sent < RESEND_NS}
        for node in self._replica.store.hinted_nodes():
            if self._reachable(node):
                self._send(node, now, out)
        return out

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """A hint for this node, or the confirmation of one that it kept."""
        if isinstance(message, HandOff):
            return self._replica.on_hand_off(source, message)
        out = Effects()
        if isinstance(message, HandedOff):
            flying = self._flying.pop(message.id, None)
            if flying is not None and flying.node == source and not message.refused:
                try:
                    self._replica.delivered(source, flying.name, flying.state, out)
                except Stalled:
                    return out  # the hint stays, and is sent again
                self.delivered += 1
                self._send(source, now, out)
        return out

    def _send(self, node: NodeId, now: Instant, out: Effects) -> None:
        under_way = {flying.name: None for flying in self._flying.values() if flying.node == node}
        waiting = (hint for hint in self._replica.store.hints(node) if hint.name not in under_way)
        for hint in islice(waiting, max(0, WINDOW - len(under_way))):
            self._next_id += 1
            self._flying[self._next_id] = _Flying(node, hint.name, hint.state, now)
            state = encode_state(hint.state)
            self.bytes_sent += len(state)
            out.sends.append((node, HandOff(self._next_id, hint.name, state)))
