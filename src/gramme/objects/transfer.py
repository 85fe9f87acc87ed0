"""Sections of objects change hands: offered, asked for, delivered, confirmed; then the old copy may go.

Owns the exchange, as a machine without I/O. Whoever keeps a section which others should have *offers* it to each of
them: hashes of its tree from the top, then names with hashes, then states, and the receiver says each time what of it
it lacks (row A29: "old owners offer, the newcomer confirms"). One walk over a section is done when the receiver lacks
nothing more. Rules:

- A confirmation speaks of what is durable at the receiver (`gramme.objects.transfer_messages`).
- A copy that should not be here is dropped when *every* node that should have it has confirmed a walk over just what is
  there now (the root of the tree is what it was when that walk began).
- A walk counts only if it began after all nodes had the present step of the ring on their disks: then whatever it has
  not seen was written under that step, and so to the receiver too (`gramme.objects.ring_phases`).
- Nothing of it is kept: after a restart of either end walks begin again, and cost hashes for what is there already.

One request is under way to each receiver, its size bounded, and each waits for a slice of the `Pace`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Stalled
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.kernel.ports import Randomness
from gramme.kernel.time import SECOND, Instant
from gramme.objects.config import ObjectConfig
from gramme.objects.merkle import FANOUT, differing, item_hash, pack, pack_hash, unpack
from gramme.objects.pace import Pace
from gramme.objects.replica import ObjectReplica
from gramme.objects.ring_phases import Step, owed, spare, step_of
from gramme.objects.sizes import size_of
from gramme.objects.state import Name, decode_state, encode_name, encode_state, is_bare
from gramme.objects.store import ObjectStore, Place, Section
from gramme.objects.transfer_messages import Deliver, Lacking, Offer, OfferLeaves, OfferNames, Progress

SCAN_NS: Final = SECOND
RESEND_NS: Final = 2 * SECOND
_BRANCHES: Final = 16
_NAMES: Final = 256
_BYTES: Final = 64 << 10
_LEAST: Final = 1 << 10  # what a request costs at least, in bytes of the pace

_Request = Offer | OfferLeaves | OfferNames | Deliver


class _Walk:
    """One section, offered to one node. What is to be asked next follows from what is left of it, so a request that is
    lost is simply made again."""

    __slots__ = ("asked", "branches", "buckets", "counts", "done", "fresh", "id", "left", "names", "resting", "root",
                 "section", "sent", "target")  # fmt: skip

    def __init__(self, section: Section, target: NodeId, size: int) -> None:
        self.section = section
        self.target = target
        self.left = size  # bytes, an estimate
        self.id = 0  # of the request under way; 0: none
        self.asked: _Request | None = None
        self.sent = Instant(0)
        self.begin()

    def begin(self) -> None:
        """From the top."""
        self.fresh = True
        self.branches: list[int] = []
        self.buckets: list[int] = []
        self.names: list[Name] = []
        self.root = 0
        self.counts = False
        self.done = False
        self.resting = False  # until the next look

    @property
    def ended(self) -> bool:
        return not (self.fresh or self.branches or self.buckets or self.names)


class Rested(NamedTuple):
    """Output: nothing is left to be moved at present, or a copy was dropped: others should hear of it."""


class Transfers:
    """See the module. `known` says whether all nodes have this step of the ring; `reachable` who is worth asking."""

    def __init__(
        self,
        me: NodeId,
        replica: ObjectReplica,
        config: Callable[[], ObjectConfig],
        known: Callable[[], bool],
        reachable: Callable[[NodeId], bool],
        pace: Pace,
        rng: Randomness,
    ) -> None:
        self._me = me
        self._replica = replica
        self._config = config
        self._known = known
        self._reachable = reachable
        self._pace = pace
        self._next_id = rng.randrange(1 << 48)
        self._step: Step | None = None
        self._walks: dict[tuple[Section, NodeId], _Walk] = {}
        self._scan_at = Instant(0)
        self._spare = 0
        self.states_sent = 0
        self.bytes_sent = 0
        self.dropped = 0

    @property
    def filled(self) -> bool:
        """Whether all that this node owes in the present step is done."""
        return self._step == step_of(self._config()) and all(walk.done for walk in self._walks.values())

    def progress(self) -> Progress:
        """How far this node is, as of its last look."""
        walks = self._walks.values()
        left = sum(walk.left for walk in walks if not walk.done)
        done = sum(walk.done for walk in walks)
        return Progress(done, len(walks), self.bytes_sent, left, self._pace.rate, self._spare)

    def wake(self) -> None:
        """The configuration has changed."""
        self._scan_at = Instant(0)

    def next_deadline(self) -> Instant:
        """When `tick` has something to do."""
        waiting = [Instant(walk.sent + RESEND_NS) for walk in self._walks.values() if walk.id]
        if self._sendable():
            waiting.append(self._pace.free_at)
        return min([self._scan_at, *waiting])

    def tick(self, now: Instant) -> Effects:
        """Look for what is owed, ask again what was not answered, and send what the pace allows."""
        out = Effects()
        if now >= self._scan_at:
            self._scan_at = Instant(now + SCAN_NS)
            self._scan(now, out)
        for walk in self._walks.values():
            if walk.id and now - walk.sent >= RESEND_NS:
                walk.id = 0
        for walk in self._sendable():
            if now < self._pace.free_at:
                break
            self._send(walk, now, out)
        return out

    # --- what is owed -------------------------------------------------------------------------------------------------

    def _scan(self, now: Instant, out: Effects) -> None:
        """Walks for all that this node owes now, and none for anything else; copies that may go are dropped."""
        config = self._config()
        if self._step != step_of(config):
            self._step = step_of(config)
            self._walks = {}
        store = self._replica.store
        sections = store.sections()
        walks: dict[tuple[Section, NodeId], _Walk] = {}
        for section in sorted(sections, key=self._turn):
            targets = owed(config, self._me, section)
            known = [self._walks.get((section, target)) for target in targets]
            size = size_of(store, section).size if None in known else 0
            for target, walk in zip(targets, known, strict=True):
                walks[section, target] = walk or _Walk(section, target, size)
        self._walks = walks
        self._redirect(config, out)
        spares = [section for section in sections if spare(config, self._me, section)]
        self._spare = len(spares)
        for section in spares:
            self._drop_if_confirmed(section, now, out)
        for walk in self._walks.values():
            walk.resting = False
            if walk.ended and not walk.done:
                walk.begin()

    def _turn(self, section: Section) -> int:
        """Several nodes offer a section to the same one: each begins with those in whose list it stands first, and
        finds the others' sent when it comes to them."""
        nodes = self._config().ring.preference_list(*section)
        return nodes.index(self._me) if self._me in nodes else 0

    def _redirect(self, config: ObjectConfig, out: Effects) -> None:
        """What is kept for a node that has left the ring becomes this node's own, which it then owes the others."""
        members = {place.node: None for ring in (config.ring, config.other) if ring for place in ring.members}
        for node in self._replica.store.hinted_nodes():
            if node not in members:
                try:
                    for hint in list(islice(self._replica.store.hints(node), _NAMES)):
                        self._replica.keep(hint.name, hint.state, NO_NODE, out)
                        self._replica.delivered(node, hint.name, hint.state, out)
                except Stalled:
                    return  # at the next look

    def _drop_if_confirmed(self, section: Section, now: Instant, out: Effects) -> None:
        """This node's copy goes, if all that should keep `section` have said that they have all of it."""
        if not self._may_drop(section):
            self._again(section)
            return
        try:
            self._replica.leave(section, out)
        except Stalled:
            return  # at the next look
        self.dropped += 1
        self._spare -= 1
        if not self._spare:
            out.outputs.append(Rested())
        for walk in self._of(section):
            del self._walks[section, walk.target]

    def _may_drop(self, section: Section) -> bool:
        root = self._replica.store.tree(section).root()
        walks = self._of(section)
        return bool(walks) and all(walk.done and walk.root == root for walk in walks)

    def _again(self, section: Section) -> None:
        """Something was written here since a walk over it began."""
        root = self._replica.store.tree(section).root()
        for walk in self._of(section):
            if walk.done and walk.root != root:
                walk.begin()

    def _of(self, section: Section) -> list[_Walk]:
        return [walk for walk in self._walks.values() if walk.section == section]

    # --- offering -----------------------------------------------------------------------------------------------------

    def _sendable(self) -> list[_Walk]:
        """The walk whose turn it is for each node that is not busy with another."""
        busy = {walk.target: None for walk in self._walks.values() if walk.id}
        turns: dict[NodeId, _Walk] = {}
        for walk in self._walks.values():
            if not (walk.ended or walk.resting or walk.target in busy or walk.target in turns):
                turns[walk.target] = walk
        return [walk for node, walk in turns.items() if self._reachable(node)]

    def _send(self, walk: _Walk, now: Instant, out: Effects) -> None:
        self._next_id += 1
        walk.id, walk.sent = self._next_id, now
        walk.asked, size = self._request(walk)
        self._pace.reserve(max(size, _LEAST), now)
        out.sends.append((walk.target, walk.asked))

    def _request(self, walk: _Walk) -> tuple[_Request, int]:
        """What the walk asks next, and its size."""
        if walk.names:
            return self._delivery(walk)
        if walk.buckets:
            return self._names_of(walk)
        tree = self._replica.store.tree(walk.section)
        if walk.branches:
            leaves = [(branch, pack(tree.leaves(branch))) for branch in walk.branches[:_BRANCHES]]
            return OfferLeaves(walk.id, walk.section, leaves), sum(len(packed) for _, packed in leaves)
        walk.root, walk.counts = tree.root(), self._known()
        packed = pack(tree.branches())
        return Offer(walk.id, walk.section, packed), len(packed)

    def _names_of(self, walk: _Walk) -> tuple[OfferNames, int]:
        """Of as many buckets as hold some hundred names."""
        store = self._replica.store
        items: list[tuple[Name, bytes]] = []
        buckets: list[int] = []
        for bucket in walk.buckets:
            items += _items(store, Place(walk.section, bucket))
            buckets.append(bucket)
            if len(items) >= _NAMES:
                break
        size = sum(len(encode_name(name)) + len(hashed) for name, hashed in items)
        return OfferNames(walk.id, walk.section, buckets, items), size

    def _delivery(self, walk: _Walk) -> tuple[Deliver, int]:
        """As many states as fit, one at least."""
        states: list[tuple[Name, bytes]] = []
        size = 0
        for name in walk.names:
            state = self._replica.store.get(name)
            encoded = b"" if state is None else encode_state(state)  # empty: reaped meanwhile
            if states and size + len(encoded) > _BYTES:
                break
            states.append((name, encoded))
            size += len(encoded)
        return Deliver(walk.id, walk.section, states), size

    def _on_lacking(self, source: NodeId, message: Lacking, now: Instant, out: Effects) -> None:
        walk = next((walk for walk in self._walks.values() if walk.id == message.id and walk.target == source), None)
        if walk is None or walk.asked is None:
            return
        walk.id = 0
        if message.refused:
            walk.resting = True
            return
        self._go_on(walk, walk.asked, message.which)
        if walk.ended:
            self._ended(walk, out)
        for turn in self._sendable():
            if now >= self._pace.free_at:
                self._send(turn, now, out)

    def _ended(self, walk: _Walk, out: Effects) -> None:
        walk.done = walk.counts
        walk.left = 0
        if all(each.done for each in self._walks.values()):
            out.outputs.append(Rested())
            if self._spare:
                self._scan_at = Instant(0)  # what is confirmed may go

    def _go_on(self, walk: _Walk, asked: _Request, lacking: Sequence[int]) -> None:
        """What is left of the walk now that its last request is answered."""
        match asked:
            case Offer():
                walk.fresh = False
                walk.branches = list(lacking)
            case OfferLeaves(branches=branches):
                walk.branches = walk.branches[len(branches) :]
                walk.buckets = list(lacking)
            case OfferNames(buckets=buckets, items=items):
                walk.buckets = walk.buckets[len(buckets) :]
                walk.names = [items[index][0] for index in lacking]
            case Deliver(states=states):
                walk.names = walk.names[len(states) :]
                size = sum(len(state) for _, state in states)
                walk.left = max(0, walk.left - size)
                self.states_sent += len(states)
                self.bytes_sent += size

    # --- being offered ------------------------------------------------------------------------------------------------

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """Something is offered or delivered, or what this node offered is answered."""
        out = Effects()
        tree = self._replica.store.tree
        lacking: list[int] = []
        match message:
            case Lacking():
                self._on_lacking(source, message, now, out)
                return out
            case Offer(section=section, branches=packed):
                theirs = unpack(packed)
                lacking = [branch for branch in differing(tree(section).branches(), theirs) if theirs[branch]]
            case OfferLeaves(section=section, branches=branches):
                for branch, packed in branches:
                    theirs = unpack(packed)
                    differ = differing(tree(section).leaves(branch), theirs)
                    lacking += [branch * FANOUT + leaf for leaf in differ if theirs[leaf]]
            case OfferNames(section=section, buckets=buckets, items=items):
                mine = dict(item for bucket in buckets for item in _items(self._replica.store, Place(section, bucket)))
                lacking = [index for index, (name, hashed) in enumerate(items) if mine.get(name) != hashed]
            case Deliver(states=states):
                if not self._take(states, out):
                    out.sends.append((source, Lacking(message.id, refused=True)))
                    return out
        out.sends_durable.append((source, Lacking(message.id, lacking)))
        return out

    def _take(self, states: Sequence[tuple[Name, bytes]], out: Effects) -> bool:
        """Whether there was room for all."""
        try:
            for name, state in states:
                if state:
                    self._replica.keep(name, decode_state(state), NO_NODE, out)
        except Stalled:
            return False
        return True


def _items(store: ObjectStore, place: Place) -> list[tuple[Name, bytes]]:
    """Names in one bucket, and the hash of what is known of each; the leaf above them is put right if it must be."""
    store.check_bucket(place)
    rows = store.of_bucket(place)
    return [(name, pack_hash(item_hash(encode_name(name), state))) for name, state in rows if not is_bare(state)]
