"""Who is in the cluster's neighbourhood and whether they answer: the gossip machine of one node.

Owns the table of member records. Each interval it reconciles with one random peer (push and pull: digest, what you
lack and what I lack, what you asked for) and probes the next one. Rule: gossip is the authority for liveness,
addresses, load and version numbers only; it never creates, moves or deletes (REPLICATION.md §8). Sources: Dynamo
(SOSP 2007) §4.8; SWIM (DSN 2002) §4 for suspicion and its refutation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from gramme.kernel.effects import Effects
from gramme.kernel.ids import BootId, NodeId
from gramme.kernel.ports import Randomness
from gramme.kernel.time import Instant
from gramme.membership.failure import FailureDetector, GossipSettings
from gramme.membership.messages import (
    Ack,
    Digest,
    Exchange,
    Liveness,
    MemberInfo,
    MemberRecord,
    MemberSummary,
    Ping,
    PingFor,
    adds_to,
    join,
)

MAX_MEMBERS: Final = 4_096
"""Records that are kept; those of further nodes are ignored."""

_FIRST_VERSIONS: Final = 1 << 48
_NO_BOOT: Final = BootId(b"")
_ASK_DEAD_ONE_IN: Final = 8


class Founder(Protocol):
    """A member of the founding list; `address` is where clients reach it (no port)."""

    @property
    def node(self) -> NodeId: ...

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def zone(self) -> str: ...

    @property
    def address(self) -> str: ...


@dataclass(frozen=True, slots=True)
class LivenessChanged:
    """Output: `node` is believed to be in another state than before."""

    node: NodeId
    liveness: Liveness


@dataclass(frozen=True, slots=True)
class InfoChanged:
    """Output: `node` says something new of itself (its first record, another address or boot, load, versions)."""

    node: NodeId
    info: MemberInfo


class Gossip:
    """The machine. `step` takes a peer's message, `tick` is due at `next_deadline`; both return what to send.

    `members` is what to begin with, the founding list, which names this node too: their records get incarnation 0, so
    that whatever a node says of itself replaces them. Its own incarnation starts at 1; if the cluster remembers more
    of a life before a restart, the node hears of it in the first exchange and goes one past it.

    Raises `ValueError` if `members` does not name this node.
    """

    def __init__(
        self,
        me: NodeId,
        boot: BootId,
        members: Iterable[Founder],
        rng: Randomness,
        settings: GossipSettings = GossipSettings(),  # noqa: B008 - frozen
    ) -> None:
        self.me = me
        self._settings = settings
        self._rng = rng
        self._suspected: dict[NodeId, Instant] = {}
        self._failures = FailureDetector(me, settings, rng, self._summary_of)
        self._next_round: Instant | None = None
        self._records: dict[NodeId, MemberRecord] = {}
        self._removed: dict[NodeId, None] = {}
        # Two lives of a node both begin at incarnation 1. A random first version tells them apart: either the new one
        # is higher and its info wins, or the node hears of the higher one and raises its incarnation.
        version = rng.randrange(_FIRST_VERSIONS)
        for member in members:
            info = MemberInfo(member.address, member.host, member.zone, _NO_BOOT, member.name)
            record = MemberRecord(member.node, 0, Liveness.ALIVE, 0, info)
            if member.node == me:
                record = MemberRecord(me, 1, Liveness.ALIVE, version, msgspec.structs.replace(info, boot=boot))
            self._records[member.node] = record
        if me not in self._records:
            raise ValueError(f"node {me} is not among the members it is given")

    def step(self, sender: NodeId, message: Any, now: Instant) -> Effects:
        """Take one message of `MESSAGES` from `sender`."""
        effects = Effects()
        if sender in self._removed:
            return effects
        match message:
            case Digest(members):
                self._reconcile(sender, members, effects)
            case Exchange(records, wanted):
                self._learn(records, effects, now)
                known = tuple(self._records[node] for node in wanted if node in self._records)
                if known:
                    effects.sends.append((sender, Exchange(known)))
            case Ping(sequence, believed):
                self._refute(believed)
                effects.sends.append((sender, Ack(sequence, self._records[self.me])))
            case PingFor():
                effects.sends += self._failures.pinged_for(sender, message, now)
            case Ack(_, record):
                self._learn((record,), effects, now)
                effects.sends += self._failures.acknowledged(sender, message)
        return effects

    def tick(self, now: Instant) -> Effects:
        """Do what is due: go on with the probe, bury suspects that did not refute, and once an interval gossip."""
        effects = Effects()
        if self._next_round is None:
            # Nodes that were started together must not gossip in step.
            self._next_round = Instant(now + self._rng.randrange(self._settings.interval_ns))
        sends, silent = self._failures.expire(self._peers(Liveness.ALIVE), now)
        effects.sends += sends
        if silent is not None:
            self._suspect(silent, effects, now)
        for node in [node for node, until in self._suspected.items() if until <= now]:
            self._set_liveness(node, Liveness.DEAD, effects, now)
        if now >= self._next_round:
            self._next_round = Instant(now + self._settings.interval_ns)
            effects.sends += self._failures.begin(self._peers(Liveness.DEAD), now)
            if (partner := self._partner()) is not None:
                digest = Digest(tuple(self._records[node].summary() for node in sorted(self._records)))
                effects.sends.append((partner, digest))
        return effects

    def next_deadline(self) -> Instant:
        """When `tick` has something to do; at once before the first."""
        if self._next_round is None:
            return Instant(0)
        deadline = self._next_round
        if (probe := self._failures.deadline()) is not None:
            deadline = min(deadline, probe)
        return min([deadline, *self._suspected.values()])

    def update(self, **changes: Any) -> None:
        """Change fields of this node's own `MemberInfo`; others hear of it in the rounds that follow."""
        mine = self._records[self.me]
        info = msgspec.structs.replace(mine.info, **changes)
        if info != mine.info:
            self._records[self.me] = msgspec.structs.replace(mine, info=info, version=mine.version + 1)

    def remove(self, node: NodeId) -> None:
        """`node` is not of the cluster any more: nothing is said of it, and what others say is not believed. Whether
        that is so, the authority tells (REPLICATION.md §8)."""
        self._removed[node] = None
        self._records.pop(node, None)
        self._suspected.pop(node, None)
        self._failures.forget(node)

    def liveness(self, node: NodeId) -> Liveness | None:
        """What is believed of `node`; None if nothing was ever heard of it."""
        record = self._records.get(node)
        return None if record is None else record.liveness

    def reachable(self, node: NodeId) -> bool:
        """Whether `node` answered this node's last direct ping: false for a peer behind a cut that others get past."""
        return self._failures.reachable(node)

    def record(self, node: NodeId) -> MemberRecord | None:
        """What is known of `node`."""
        return self._records.get(node)

    def view(self) -> tuple[MemberRecord, ...]:
        """All that is known, by node id, this node included."""
        return tuple(self._records[node] for node in sorted(self._records))

    def _summary_of(self, node: NodeId) -> MemberSummary | None:
        record = self._records.get(node)
        return None if record is None else record.summary()

    def _peers(self, at_worst: Liveness) -> list[NodeId]:
        return [node for node in sorted(self._records) if node != self.me and self._records[node].liveness <= at_worst]

    def _partner(self) -> NodeId | None:
        """A random peer; now and then one believed dead, or two halves of a healed cut would never meet again."""
        living = self._peers(Liveness.SUSPECT)
        everyone = self._peers(Liveness.DEAD)
        if not everyone:
            return None
        among = living if living and self._rng.randrange(_ASK_DEAD_ONE_IN) else everyone
        return among[self._rng.randrange(len(among))]

    def _reconcile(self, sender: NodeId, members: Iterable[MemberSummary], effects: Effects) -> None:
        """Answer a digest: records that `sender` lacks, and the nodes that it knows more about."""
        theirs = {member.node: member for member in members}
        lacking = [
            record for record in self.view() if (known := theirs.get(record.node)) is None or adds_to(known, record)
        ]
        wanted = [
            node
            for node, member in theirs.items()
            if node not in self._removed and ((mine := self._records.get(node)) is None or adds_to(mine, member))
        ]
        if lacking or wanted:
            effects.sends.append((sender, Exchange(tuple(lacking), tuple(wanted))))

    def _learn(self, records: Iterable[MemberRecord], effects: Effects, now: Instant) -> None:
        for record in records:
            if record.node == self.me:
                self._refute(record)
            elif record.node in self._removed:
                continue
            elif record.node in self._records or len(self._records) < MAX_MEMBERS:
                self._merge(record, effects, now)

    def _refute(self, believed: MemberRecord | MemberSummary) -> None:
        """Somebody believes what this node did not say (or an earlier life of it did): go one incarnation past it."""
        mine = self._records[self.me]
        if adds_to(mine, believed):
            incarnation = believed.incarnation + 1
            self._records[self.me] = msgspec.structs.replace(mine, incarnation=incarnation, version=0)

    def _merge(self, record: MemberRecord, effects: Effects, now: Instant) -> None:
        known = self._records.get(record.node)
        joined = record if known is None else join(known, record)
        if joined is known:
            return
        self._records[record.node] = joined
        if known is None or known.info != joined.info:
            effects.outputs.append(InfoChanged(record.node, joined.info))
            if known is not None and known.info.boot != joined.info.boot:
                self._failures.forget(record.node)
        if known is None or known.liveness != joined.liveness:
            self._note_liveness(joined, effects, now)

    def _suspect(self, node: NodeId, effects: Effects, now: Instant) -> None:
        if self.liveness(node) is Liveness.ALIVE:
            self._set_liveness(node, Liveness.SUSPECT, effects, now)

    def _set_liveness(self, node: NodeId, liveness: Liveness, effects: Effects, now: Instant) -> None:
        record = msgspec.structs.replace(self._records[node], liveness=liveness)
        self._records[node] = record
        self._note_liveness(record, effects, now)

    def _note_liveness(self, record: MemberRecord, effects: Effects, now: Instant) -> None:
        """Every node counts a suspicion down by itself, from when it heard of it."""
        if record.liveness is Liveness.SUSPECT:
            self._suspected[record.node] = Instant(now + self._settings.suspicion_ns)
        else:
            self._suspected.pop(record.node, None)
        effects.outputs.append(LivenessChanged(record.node, record.liveness))
