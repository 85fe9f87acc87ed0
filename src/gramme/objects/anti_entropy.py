"""Anti-entropy: replicas of a section compare their Merkle trees in the background and join what differs.

Owns the exchange: root, then branches that differ, then buckets that differ, then names and hashes, then states, both
ways. No message needs what came before it, so one that is lost costs only time: the next round finds the difference
again. Each round takes a few branches and a few buckets at most; while there are differences, rounds follow each other
quickly. So bytes grow with what differs, and a replica that lost everything is filled at a bounded pace. Source: SOSP
2007, §4.7; row A23.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Stalled
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.objects.merkle import differing, item_hash, pack, pack_hash, unpack, unpack_hash
from gramme.objects.messages import (
    CompareBucket,
    CompareLeaves,
    CompareRoots,
    Exchange,
    LeavesDiffer,
    RootsDiffer,
)
from gramme.objects.replica import ObjectReplica
from gramme.objects.state import Name, decode_state, encode_name, encode_state, is_bare
from gramme.objects.store import Place, Section

ROUND_NS: Final = SECOND
"""A node compares with one peer so often."""

QUICK_NS: Final = 20 * MILLISECOND
QUIET_NS: Final = 10 * SECOND
"""A peer is compared with again after so long, unless differences are known."""

_SECTIONS: Final = 4
_BRANCHES: Final = 4
_BUCKETS: Final = 16
_BYTES: Final = 256 << 10

Shared = Callable[[], Mapping[NodeId, Sequence[Section]]]
"""For each peer the sections that it and this node both keep."""


class AntiEntropy:
    """See the module. `reachable` says who is worth asking."""

    def __init__(self, replica: ObjectReplica, shared: Shared, reachable: Callable[[NodeId], bool]) -> None:
        self._replica = replica
        self._shared = shared
        self._reachable = reachable
        self._round_at = Instant(0)
        self._asked: dict[NodeId, Instant] = {}
        self._again: dict[NodeId, None] = {}  # peers with which differences are known
        self.rounds = 0
        self.states_sent = 0
        self.bytes_sent = 0

    def next_deadline(self) -> Instant:
        """When the next peer's turn is."""
        return self._round_at

    def tick(self, now: Instant) -> Effects:
        """Compare with one peer: first those with which there are differences."""
        out = Effects()
        shared = self._shared()
        peer = self._next_peer(shared, now)
        if peer is not None:
            self._again.pop(peer, None)
            self._asked[peer] = now
            self.rounds += 1
            roots = [(section, self._replica.store.tree(section).root()) for section in shared[peer]]
            out.sends.append((peer, CompareRoots([(section, pack_hash(root)) for section, root in roots if root])))
        self._round_at = Instant(now + (QUICK_NS if self._again else ROUND_NS))
        return out

    def _next_peer(self, shared: Mapping[NodeId, Sequence[Section]], now: Instant) -> NodeId | None:
        known = [peer for peer in self._again if peer in shared and self._reachable(peer)]
        due = [peer for peer in shared if self._reachable(peer) and now - self._asked.get(peer, -QUIET_NS) >= QUIET_NS]
        longest_ago = min(due, key=lambda peer: (self._asked.get(peer, -1), peer), default=None)
        return known[0] if known else longest_ago

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """A peer compares, or answers a comparison."""
        out = Effects()
        store = self._replica.store
        match message:
            case CompareRoots(roots):
                self._compare_roots(source, {section: unpack_hash(root) for section, root in roots}, out)
            case RootsDiffer(section, branches):
                tree = store.tree(section)
                for branch in differing(tree.branches(), unpack(branches))[:_BRANCHES]:
                    out.sends.append((source, CompareLeaves(section, branch, pack(tree.leaves(branch)))))
                # They take several rounds, and what is repaired must be seen to be equal.
                self._again[source] = None
            case CompareLeaves(section, branch, leaves):
                mine = store.tree(section).leaves(branch)
                buckets = [branch * len(mine) + leaf for leaf in differing(mine, unpack(leaves))]
                out.sends.append((source, LeavesDiffer(section, buckets[:_BUCKETS])))
            case LeavesDiffer(section, buckets):
                for bucket in buckets:
                    known = self._checked(Place(section, bucket), out).items()
                    items = [
                        (name, pack_hash(item_hash(encode_name(name), state)))
                        for name, state in known
                        if not is_bare(state)
                    ]
                    out.sends.append((source, CompareBucket(section, bucket, items)))
            case CompareBucket(section, bucket, items):
                self._compare_bucket(source, Place(section, bucket), items, out)
            case Exchange(states, wanted):
                self._take(states, out)
                if wanted:
                    self._tell(source, wanted, out)
        return out

    def _compare_roots(self, source: NodeId, theirs: Mapping[Section, int], out: Effects) -> None:
        trees = ((section, self._replica.store.tree(section)) for section in self._shared().get(source, ()))
        differ = ((section, tree) for section, tree in trees if tree.root() != theirs.get(section, 0))
        for section, tree in islice(differ, _SECTIONS):
            out.sends.append((source, RootsDiffer(section, pack(tree.branches()))))

    def _compare_bucket(self, source: NodeId, place: Place, items: Sequence[tuple[Name, bytes]], out: Effects) -> None:
        theirs = {name: unpack_hash(hashed) for name, hashed in items}
        mine = self._checked(place, out)
        differs = [
            name
            for name, state in mine.items()
            if theirs.get(name) != item_hash(encode_name(name), state) and (name in theirs or not is_bare(state))
        ]
        lacking = [name for name in theirs if name not in mine]
        wanted = lacking + [name for name in differs if name in theirs]
        self._send_states(source, [(name, mine[name]) for name in differs], wanted, out)

    def _checked(self, place: Place, out: Effects) -> dict[Name, bytes]:
        """What stands in a bucket: its leaf is right, and no value is left in it whose time is over, so that two
        replicas of which one has swept it are equal, and it is sent to nobody."""
        store = self._replica.store
        for name, stored in list(store.of_bucket(place)):
            self._replica.lapse(name, decode_state(stored), out)
        store.check_bucket(place)
        return dict(store.of_bucket(place))

    def _tell(self, source: NodeId, names: Sequence[Name], out: Effects) -> None:
        known = [(name, self._replica.store.get(name)) for name in names]
        self._send_states(source, [(name, encode_state(s)) for name, s in known if s is not None], [], out)

    def _send_states(self, target: NodeId, states: list[tuple[Name, bytes]], wanted: list[Name], out: Effects) -> None:
        """At most so many bytes; the rest is found to differ in the next round."""
        size = 0
        for count, (_, state) in enumerate(states):
            size += len(state)
            if size > _BYTES and count:
                states, wanted = states[:count], []
                break
        self.states_sent += len(states)
        self.bytes_sent += sum(len(state) for _, state in states)
        if states or wanted:
            out.sends.append((target, Exchange(states, wanted)))

    def _take(self, states: Sequence[tuple[Name, bytes]], out: Effects) -> None:
        for name, state in states:
            try:
                self._replica.keep(name, decode_state(state), NO_NODE, out)
            except Stalled:
                return  # the next round brings the rest
