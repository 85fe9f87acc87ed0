"""Deletions are forgotten when nobody could bring back what they deleted.

A deletion replaces values like any write, and its trace must stay while anybody holds one of those: a replica that
missed it, a hint, a request in progress, a copy that a ring change left behind. So forgetting is agreed on by all nodes
of the cluster, twice, and in between stands a state that says the same and weighs nothing: the *bare* vector, "all of
this was written, and nothing of it is left".

1. *Bury.* The first primary of a key whose only siblings are deletions, `age` old, asks every node of the cluster what
   it holds of the key. If every primary durably holds the same deletion (or a bare vector already), and nobody else
   holds anything, the row becomes bare, and the other primaries are told. A bare state is a successor of the deletion
   like any other: it is joined, spread and compared with older ones as usual. But in a tree it counts as nothing, so a
   replica that has it and one that has no row are equal, and nothing is sent between them.
2. *Forget.* Whoever has a bare row asks everybody again. If nobody holds more than a bare vector, and nobody did `age`
   ago, it drops its own row. Nobody else need do so at the same time.

Every step in between is stable: some replicas bare, some not yet (who compares learns of it); some without the row,
some bare (equal). If one node cannot be reached or says otherwise, nothing is forgotten: it might hold an old value.
`age` is longer than any request may take, so what was on its way at the first agreement has arrived at the second: in a
row, where the vector still refuses it, or in a hint, which is then seen. See docs/decisions/0075.

What is written later to a forgotten key has a dot that was never given (`gramme.objects.dots`); a client's context from
before covers dots that nobody holds, and does no harm.

The same walk sweeps values whose time is over (`gramme.objects.expiry`). Rule: bounded work at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Stalled
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.kernel.ports import Randomness
from gramme.kernel.time import MILLISECOND, SECOND, Instant, Timestamp
from gramme.objects.messages import AskHeld, Held, Keep
from gramme.objects.replica import ObjectReplica
from gramme.objects.state import Name, decode_state, encode_state, is_bare
from gramme.objects.store import Section
from gramme.objects.versions import Value, Versions
from gramme.placement.ring import Ring

SLICE_NS: Final = 100 * MILLISECOND
PASS_NS: Final = 60 * SECOND
"""Between two walks through all that is stored."""

ANSWER_NS: Final = 2 * SECOND
"""An answer that takes longer does not count: a node that was paused would speak of how things were."""

_ROWS: Final = 200
_BYTES: Final = 256 << 10
_BATCH: Final = 64
MOST_AGREED: Final = 200_000
"""First agreements that a node remembers; what is beyond waits."""


class Holding(IntEnum):
    """What a node holds of a name."""

    NOTHING = 0
    BARE = 1
    SAME = 2  # as the one that asks
    OTHER = 3  # anything else, a hint, or a request in progress


class View(NamedTuple):
    """Whom a key belongs to, and everybody who could hold anything of it. `version` says which configuration this is:
    nodes that see another one agree to nothing, and nobody does while a ring is `changing`."""

    version: int
    ring: Ring
    members: Sequence[NodeId]
    changing: bool = False


class _Item(NamedTuple):
    name: Name
    section: Section
    stored: bytes

    @property
    def digest(self) -> bytes:
        return _digest(self.name, self.stored)


class _Round(NamedTuple):
    id: int
    version: int
    since: Instant
    items: list[_Item]
    answers: dict[NodeId, bytes]


class Reaper:
    """See the module. `busy`: the names of requests in progress on this node; `age_ns`: see there."""

    def __init__(
        self,
        me: NodeId,
        replica: ObjectReplica,
        view: Callable[[], View],
        reachable: Callable[[NodeId], bool],
        busy: Callable[[], dict[Name, None]],
        wall: Callable[[], Timestamp],
        rng: Randomness,
        age_ns: int,
    ) -> None:
        self._me = me
        self._replica = replica
        self._view = view
        self._reachable = reachable
        self._busy = busy
        self._wall = wall
        self._age_ns = age_ns
        self._rng = rng
        self._cursor = b""
        self._next_at = Instant(0)
        self._round: _Round | None = None
        self._agreed: dict[bytes, Instant] = {}  # when everybody first agreed on a bare row, by its digest
        self.swept = 0
        self.buried = 0
        self.forgotten = 0
        self.disagreed = 0
        self._found = 0
        self.waiting = 0

    def next_deadline(self) -> Instant:
        """When the next slice is due."""
        return self._next_at

    def tick(self, now: Instant) -> Effects:
        """Walk on, and ask for what can be forgotten."""
        out = Effects()
        if self._round is not None and now - self._round.since >= ANSWER_NS:
            self._round = None
        self._next_at = Instant(now + SLICE_NS)
        if self._round is None:
            items = self._slice(now, out)
            if items:
                self._ask(items, now, out)
            if not self._cursor:
                self._next_at = Instant(now + min(PASS_NS, self._age_ns // 2))
        return out

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """Somebody asks, or answers."""
        out = Effects()
        match message:
            case AskHeld(id_, version, items):
                holdings = self._holdings(version, items)
                out.sends_durable.append((source, Held(id_, holdings)))
            case Held(id_, holdings):
                current = self._round
                if current is not None and current.id == id_ and now - current.since < ANSWER_NS:
                    current.answers[source] = holdings
                    self._settle(current, now, out)
        return out

    # --- the walk -----------------------------------------------------------------------------------------------------

    def _slice(self, now: Instant, out: Effects) -> list[_Item]:
        """Sweep the next rows; those that may be buried or forgotten, if somebody could agree."""
        view = self._view()
        everybody = not view.changing and all(node == self._me or self._reachable(node) for node in view.members)
        items: list[_Item] = []
        for cursor, section, name, stored in self._next_rows():
            self.swept += 1
            item = self._item(section, name, stored, view.ring, out)
            if item is not None:
                self._found += 1
            if item is not None and everybody and self._is_due(item, now):
                items.append(item)
                if len(items) == _BATCH:
                    self._cursor = cursor
                    return items
        if not self._cursor:
            self.waiting, self._found = self._found, 0
        return items

    def _next_rows(self) -> list[tuple[bytes, Section, Name, bytes]]:
        """So many rows, and bytes, at a time; the cursor is back at the start behind the last."""
        rows: list[tuple[bytes, Section, Name, bytes]] = []
        size = 0
        for row in self._replica.store.all_rows(self._cursor):
            rows.append(row)
            size += len(row[3])
            if len(rows) == _ROWS or size >= _BYTES:
                self._cursor = row[0]
                return rows
        self._cursor = b""
        return rows

    def _item(self, section: Section, name: Name, stored: bytes, ring: Ring, out: Effects) -> _Item | None:
        """What may be forgotten of a row: it is bare, or a deletion that is this node's to bury."""
        if is_bare(stored):
            return _Item(name, section, stored)
        state = decode_state(stored)
        if not isinstance(state, Versions):
            return None
        self._replica.lapse(name, state, out)
        over = self._wall() - self._age_ns
        first = ring.primaries(*section)[0]
        if first != self._me or any(not s.value.deleted or _since(s.value) > over for s in state.siblings):
            return None
        return _Item(name, section, stored)

    def _is_due(self, item: _Item, now: Instant) -> bool:
        agreed = self._agreed.get(item.digest)
        return agreed is None or now - agreed >= self._age_ns

    # --- agreement ----------------------------------------------------------------------------------------------------

    def _ask(self, items: list[_Item], now: Instant, out: Effects) -> None:
        id_ = self._rng.randrange(1 << 48)  # so that no answer to a question of before a restart fits
        view = self._view()
        wire = [(item.name, item.digest) for item in items]
        self._round = _Round(id_, view.version, now, items, {self._me: self._holdings(view.version, wire)})
        for node in view.members:
            if node != self._me:
                out.sends.append((node, AskHeld(id_, view.version, wire)))
        self._settle(self._round, now, out)

    def _holdings(self, version: int, items: Sequence[tuple[Name, bytes]]) -> bytes:
        view = self._view()
        if version != view.version or view.changing:
            return bytes((Holding.OTHER,)) * len(items)
        busy = self._busy()
        hinted = self._replica.store.hinted_nodes()
        return bytes(
            Holding.OTHER if name in busy else self._holding(name, digest, hinted) for name, digest in items
        )  # fmt: skip

    def _holding(self, name: Name, digest: bytes, hinted: Sequence[NodeId]) -> Holding:
        store = self._replica.store
        rows = store.rows(name)
        if len(rows) > 1 or any(store.hint(node, name) is not None for node in hinted):
            return Holding.OTHER
        if not rows:
            return Holding.NOTHING
        if is_bare(rows[0]):
            return Holding.BARE
        return Holding.SAME if _digest(name, rows[0]) == digest else Holding.OTHER

    def _settle(self, current: _Round, now: Instant, out: Effects) -> None:
        """If everybody has answered: do what was agreed on."""
        view = self._view()
        if view.version != current.version:
            self._round = None
            return
        if any(node not in current.answers for node in view.members):
            return
        self._round = None
        for index, item in enumerate(current.items):
            holdings = {node: current.answers[node][index] for node in view.members}
            if self._replica.store.rows(item.name) != [item.stored] or not reapable(item, holdings, view.ring):
                self.disagreed += 1
            elif is_bare(item.stored):
                self._forget(item, now, out)
            else:
                self._bury(item, view.ring, now, out)

    def _bury(self, item: _Item, ring: Ring, now: Instant, out: Effects) -> None:
        state = decode_state(item.stored)
        bare = Versions(state.seen)
        try:
            self._replica.keep(item.name, bare, NO_NODE, out)
        except Stalled:
            return
        encoded = encode_state(bare)
        self.buried += 1
        self._note(_digest(item.name, encoded), now)
        for node in ring.primaries(*item.section):
            if node != self._me:
                out.sends.append((node, Keep(0, item.name, encoded, durable=False)))

    def _forget(self, item: _Item, now: Instant, out: Effects) -> None:
        if item.digest not in self._agreed:
            self._note(item.digest, now)
            return
        try:
            self._replica.reap(item.name, out)
        except Stalled:
            return
        del self._agreed[item.digest]
        self.forgotten += 1

    def _note(self, digest: bytes, now: Instant) -> None:
        """Everybody agrees for the first time. Of rows that have changed since, the note is of no use any more."""
        if len(self._agreed) >= MOST_AGREED:
            oldest = next(iter(self._agreed))
            if now - self._agreed[oldest] < 2 * self._age_ns + PASS_NS:
                return
            del self._agreed[oldest]
        self._agreed[digest] = now


def reapable(item: _Item, holdings: dict[NodeId, int], ring: Ring) -> bool:
    """Whether a deletion may be buried, or a bare row forgotten, given what every node of the cluster holds of it.

    The rule of this room, for whoever moves rows about as well: a copy outside of a primary's row, in whatever place,
    is answered for by the node that has it, and keeps the deletion alive."""
    primaries = ring.primaries(*item.section)
    for node, holding in holdings.items():
        if node in primaries and not is_bare(item.stored):
            if holding not in (Holding.SAME, Holding.BARE):
                return False
        elif holding not in (Holding.NOTHING, Holding.BARE):
            return False
    return True


def _since(value: Value) -> int:
    return max(value.modified, value.expires)


def _digest(name: Name, stored: bytes) -> bytes:
    digest = blake2b(len(name.place).to_bytes(2, "big") + name.place + name.key, digest_size=16)
    digest.update(stored)
    return digest.digest()
