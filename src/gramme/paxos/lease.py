"""Leases between nodes: one small exchange per pair of nodes serves every group they share (REPLICATION.md §3).

A node renews with every peer; the peer answers with a grant. While node F's grant to node L lasts, replicas on F that
count in L's leases refuse other candidates. Thousands of idle groups cost nothing.

**Eras.** A grant says nothing of a group: when F's grant to L has run out, a replica on F may promise a higher ballot,
and a later grant to the same L must not make the old leader count that replica again. So every uninterrupted grant is
an *era*, a random number that F draws when it grants to L anew (after expiry, after a restart of L, after its own
restart). A replica writes the era into each reply to its leader, and a leader counts it only while it holds a grant of
that same era; in turn a replica is bound only if it wrote the present era to the holder of its ballot. The proof is in
`docs/decisions/0004-lease-eras.md`.

Grants are volatile. A restarted node grants nothing until `quiet_until`, one full grant after its start. A grant is
valid at the holder from *sending* the renewal, shortened by the drift bound; at the granter from writing the answer.
Source: Gray and Cheriton, "Leases" (SOSP 1989); the eras are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from gramme.kernel.effects import Effects
from gramme.kernel.ids import BootId, NodeId
from gramme.kernel.ports import Randomness
from gramme.kernel.time import Instant
from gramme.paxos.messages import LeaseGranted, LeaseRenew
from gramme.paxos.outputs import LeaseLapsed, LeaseRegained, PeerBack, PeerLost
from gramme.paxos.settings import PaxosSettings

_ERA_BITS = 63
_NEVER = Instant(0)


class LeaseView(Protocol):
    """What a replica reads of its node's leases. Eras are never 0; 0 means 'no grant'."""

    quiet_until: Instant

    def grant_left(self, node: NodeId, now: Instant) -> int:
        """Nanoseconds that our grant to `node` still lasts; 0 if there is none."""

    def grant_era(self, node: NodeId, now: Instant) -> int:
        """Era of our unexpired grant to `node`, or 0."""

    def grant_boot(self, node: NodeId) -> BootId | None:
        """The process of `node` that our last grant went to."""

    def held_until(self, node: NodeId) -> Instant:
        """Until when `node`'s last grant to us may be relied on (0: never granted)."""

    def held_era(self, node: NodeId) -> int:
        """Era of `node`'s last grant to us, or 0."""

    def is_up(self, node: NodeId, now: Instant) -> bool:
        """Whether `node` was heard within one grant period."""

    def heard_at(self, node: NodeId) -> Instant | None:
        """When the last lease message of `node` arrived."""


@dataclass(slots=True)
class _Given:
    boot: BootId
    era: int
    until: Instant
    lost: bool = False


@dataclass(slots=True)
class _Held:
    era: int
    until: Instant
    lapsed: bool = False


class LeaseTable:
    """The leases of one node: those it has given and those it holds."""

    def __init__(
        self,
        me: NodeId,
        boot: BootId,
        previous_boots: Iterable[BootId],
        settings: PaxosSettings,
        started_at: Instant,
        rng: Randomness,
    ) -> None:
        """`previous_boots` are this node's earlier processes (newest last). A node that had none has never granted
        anything and need not be quiet: lease messages may leave only once the record of `boot` is durable."""
        self.me = me
        self.boot = boot
        self.previous_boots = tuple(previous_boots)
        self.quiet_until = Instant(started_at + settings.lease_grant_ns) if self.previous_boots else started_at
        self._settings = settings
        self._rng = rng
        self._renew_at: dict[NodeId, Instant] = {}
        self._given: dict[NodeId, _Given] = {}
        self._held: dict[NodeId, _Held] = {}
        self._heard: dict[NodeId, Instant] = {}

    # --- LeaseView ----------------------------------------------------------------------------------------------------

    def grant_left(self, node: NodeId, now: Instant) -> int:
        """See LeaseView."""
        given = self._given.get(node)
        return max(0, given.until - now) if given is not None else 0

    def grant_era(self, node: NodeId, now: Instant) -> int:
        """See LeaseView."""
        given = self._given.get(node)
        return given.era if given is not None and now < given.until else 0

    def grant_boot(self, node: NodeId) -> BootId | None:
        """See LeaseView."""
        given = self._given.get(node)
        return None if given is None else given.boot

    def held_until(self, node: NodeId) -> Instant:
        """See LeaseView."""
        held = self._held.get(node)
        return _NEVER if held is None else held.until

    def held_era(self, node: NodeId) -> int:
        """See LeaseView."""
        held = self._held.get(node)
        return 0 if held is None else held.era

    def is_up(self, node: NodeId, now: Instant) -> bool:
        """See LeaseView."""
        heard = self._heard.get(node)
        return heard is not None and now - heard < self._settings.lease_grant_ns

    def heard_at(self, node: NodeId) -> Instant | None:
        """See LeaseView."""
        return self._heard.get(node)

    # --- machine ------------------------------------------------------------------------------------------------------

    def set_peers(self, nodes: Iterable[NodeId], now: Instant) -> Effects:
        """The nodes that share a group with this one, in any order. New ones are asked at once; grants of those that
        are gone run out by themselves."""
        out = Effects()
        wanted = sorted(node for node in nodes if node != self.me)
        self._renew_at = {node: self._renew_at.get(node, now) for node in wanted}
        self._send_renewals(now, out)
        return out

    def renew(self, node: NodeId, now: Instant) -> Effects:
        """Ask `node` at once: it listens to this process from now on, and dropped what came before."""
        out = Effects()
        if node in self._renew_at:
            self._renew_at[node] = now
            self._send_renewals(now, out)
        return out

    def next_deadline(self) -> Instant | None:
        """When `tick` has something to do; None if there are no peers and no leases."""
        times = list(self._renew_at.values())
        times += [given.until for given in self._given.values() if not given.lost]
        times += [held.until for held in self._held.values() if not held.lapsed]
        return min(times, default=None)

    def tick(self, now: Instant) -> Effects:
        """Send renewals that are due; report grants that ran out, given and held."""
        out = Effects()
        for node, given in self._given.items():
            if not given.lost and given.until <= now:
                given.lost = True
                out.outputs.append(PeerLost(node))
        for node, held in self._held.items():
            if not held.lapsed and held.until <= now:
                held.lapsed = True
                out.outputs.append(LeaseLapsed(node))
        self._send_renewals(now, out)
        return out

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """A LeaseRenew or LeaseGranted of `source`."""
        out = Effects()
        self._heard[source] = now
        if isinstance(message, LeaseRenew):
            self._grant(source, message, now, out)
        elif isinstance(message, LeaseGranted) and message.boot == self.boot:
            self._take(source, message, now, out)
        return out

    def _send_renewals(self, now: Instant, out: Effects) -> None:
        for node, when in self._renew_at.items():
            if when <= now:
                self._renew_at[node] = Instant(now + self._settings.lease_renew_ns)
                out.sends.append((node, LeaseRenew(self.boot, self.previous_boots, now)))

    def _grant(self, source: NodeId, message: LeaseRenew, now: Instant, out: Effects) -> None:
        """Grant, or say when to ask again. A message of a process that the present holder has succeeded is ignored:
        were it believed, the live process would be taken for dead and its lease be passed over."""
        if now < self.quiet_until:
            refusal = LeaseGranted(message.boot, message.sent_at, 0, 0, self.quiet_until - now)
            out.sends.append((source, refusal))
            return
        period = self._settings.lease_grant_ns
        given = self._given.get(source)
        if given is not None and now < given.until:
            if given.boot == message.boot:
                given.until = Instant(now + period)
            elif given.boot in message.previous:
                self._new_era(source, message.boot, now, restarted=True, out=out)
            else:
                return
        else:
            restarted = given is not None and given.boot != message.boot
            self._new_era(source, message.boot, now, restarted=restarted, out=out)
        era = self._given[source].era
        out.sends.append((source, LeaseGranted(message.boot, message.sent_at, era, period)))

    def _new_era(self, node: NodeId, boot: BootId, now: Instant, *, restarted: bool, out: Effects) -> None:
        era = self._rng.randrange((1 << _ERA_BITS) - 1) + 1
        self._given[node] = _Given(boot, era, Instant(now + self._settings.lease_grant_ns))
        out.outputs.append(PeerBack(node, boot, restarted))

    def _take(self, source: NodeId, message: LeaseGranted, now: Instant, out: Effects) -> None:
        if not message.grant_ns:
            if source in self._renew_at:
                self._renew_at[source] = min(self._renew_at[source], Instant(now + message.retry_ns))
            return
        valid = message.grant_ns * (100 - self._settings.drift_percent) // 100
        until = Instant(message.sent_at + valid)
        if until <= now:
            return
        held = self._held.get(source)
        if held is not None and held.era == message.era:
            held.until = max(held.until, until)
            held.lapsed = False
        else:
            self._held[source] = _Held(message.era, until)
            out.outputs.append(LeaseRegained(source))
