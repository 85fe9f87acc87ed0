"""Faults planted in the objects' machines, each of which breaks one rule of REPLICATION.md §9 or of SOSP 2007, §4.4 to
§4.7; see `tests.sim.planted`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests.patched import patched

from gramme.kernel.ids import NO_NODE, NodeId
from gramme.node.objects import node_objects as objects
from gramme.node.objects.node_objects import Objects
from gramme.objects import anti_entropy, merge_types, merkle, state, store, versions
from gramme.objects.dots import DotSource
from gramme.objects.merge_types import Counter, Set
from gramme.objects.merkle import Tree
from gramme.objects.reaping import View
from gramme.objects.replica import Joined, ObjectReplica
from gramme.objects.store import ObjectStore
from gramme.objects.transfer import Transfers
from gramme.objects.versions import Actor, Dot, Versions, make_actor
from gramme.objects.writing import Unsatisfied, WriteCore


@contextmanager
def _both(one: AbstractContextManager[None], other: AbstractContextManager[None]) -> Iterator[None]:
    with one, other:
        yield


def drop_a_hint() -> AbstractContextManager[None]:
    """What is kept for another node is thrown away."""
    return patched(ObjectStore, "keep_hint", lambda self, node, name, state, most=None: None)


def forget_hints_at_restart() -> AbstractContextManager[None]:
    """A replay passes over what was kept for others."""
    original = ObjectReplica.replay

    def own_only(self: ObjectReplica, entries: Any) -> None:
        original(self, [e for e in entries if not (isinstance(e, Joined) and e.stands_for != NO_NODE)])

    return patched(ObjectReplica, "replay", own_only)


def forget_a_dot() -> AbstractContextManager[None]:
    """A union of two vectors loses an actor."""
    original = versions.union

    def short(one: Any, other: Any) -> Any:
        both = original(one, other)
        return both[1:] if len(both) > 2 else both

    return patched(versions, "union", short)


def lose_a_sibling() -> AbstractContextManager[None]:
    """A merge keeps one sibling of each side."""
    original = versions._surviving
    return patched(versions, "_surviving", lambda mine, theirs: original(mine, theirs)[:1])


def reuse_a_dot_after_a_restart() -> AbstractContextManager[None]:
    """A node that starts counts from the beginning again."""
    original = DotSource.__init__

    def anew(self: DotSource, me: NodeId, reserved: int, clean: bool, trusted_from: int = 0) -> None:
        original(self, me, 0, clean, trusted_from)

    return patched(DotSource, "__init__", anew)


def trust_what_a_crash_has_left() -> AbstractContextManager[None]:
    """A node goes on with its actors from before a crash, though their last writes may be missing here."""
    original = DotSource.__init__

    def trusting(self: DotSource, me: NodeId, reserved: int, clean: bool, trusted_from: int = 0) -> None:
        original(self, me, reserved, True, trusted_from)

    return patched(DotSource, "__init__", trusting)


def claim_what_was_handed_off() -> AbstractContextManager[None]:
    """A node has one actor for good, whether or not it still has what that actor wrote to the key."""

    def one(self: DotSource, seen: Any) -> Dot:
        return Dot(Actor(make_actor(self._me, 1)), self._draw())

    return _both(
        patched(DotSource, "dot", one), patched(DotSource, "stand_in_dot", lambda me, seen, own: one(me, seen))
    )


def go_on_with_any_actor() -> AbstractContextManager[None]:
    """A stand-in goes on with its newest actor that it hears of, whatever it has handed off since."""

    def newest(self: DotSource, seen: Any, own: Any) -> Dot:
        mine = [entry.actor for entry in seen if self._is_trusted(entry.actor)]
        return Dot(max(mine), self._draw()) if mine else original(self, seen, own)

    original = DotSource.stand_in_dot
    return patched(DotSource, "stand_in_dot", newest)


def skip_merkle_buckets() -> AbstractContextManager[None]:
    """A comparison passes over every other difference that it should see."""
    original = merkle.differing
    return patched(anti_entropy, "differing", lambda mine, theirs: [i for i in original(mine, theirs) if i % 2])


def leave_the_tree_behind() -> AbstractContextManager[None]:
    """A write of a known key does not change its bucket's hash."""
    original = Tree.change

    def lazy(self: Tree, bucket: int, before: int, after: int) -> int:
        return self.buckets.get(bucket, 0) if before else original(self, bucket, before, after)

    return patched(Tree, "change", lazy)


def reap_before_all_have_confirmed() -> AbstractContextManager[None]:
    """Who buries or forgets a deletion asks nobody but itself."""
    original = Objects._view

    def alone(self: Objects) -> View:
        return original(self)._replace(members=(self.me,))

    return patched(Objects, "_view", alone)


def reap_without_those_who_are_away() -> AbstractContextManager[None]:
    """Who buries or forgets a deletion asks only the nodes that it can reach."""
    original = Objects._view

    def near(self: Objects) -> View:
        view = original(self)
        return view._replace(members=[node for node in view.members if node == self.me or self._reachable(node)])

    return patched(Objects, "_view", near)


def replace_by_arrival() -> AbstractContextManager[None]:
    """Where the last write wins, the one that is heard last does."""

    def latest(known: Any, other: Any, last_write_wins: bool = False) -> Any:
        both = joined(known, other)
        if not last_write_wins or not isinstance(both, Versions) or len(both.siblings) < 2:
            return both
        new = [s for s in both.siblings if s in other.siblings]
        return Versions(both.seen, tuple(new[:1]))

    joined = state.joined
    return patched(store, "joined", latest)


def count_by_the_highest_sum() -> AbstractContextManager[None]:
    """Of a counter, a join keeps one side's sums, those of more actors."""
    original = merge_types._joined

    def higher(one: Any, seen: Any, other: Any, other_seen: Any) -> Any:
        if isinstance(one, Counter) and isinstance(other, Counter):
            return max(one, other, key=lambda c: (sum(c.sums.values()), sorted(c.sums.items())))
        return original(one, seen, other, other_seen)

    return patched(merge_types, "_joined", higher)


def let_removals_win() -> AbstractContextManager[None]:
    """A join of sets keeps only the elements that both sides have."""
    original = merge_types._joined

    def both(one: Any, seen: Any, other: Any, other_seen: Any) -> Any:
        joined = original(one, seen, other, other_seen)
        if isinstance(one, Set) and isinstance(other, Set) and one.elements and other.elements:
            assert isinstance(joined, Set)
            return Set({e: d for e, d in joined.elements.items() if e in one.elements and e in other.elements})
        return joined

    return patched(merge_types, "_joined", both)


def reuse_a_dot_after_losing_a_disk() -> AbstractContextManager[None]:
    """Where the log is damaged, numbers go on behind the last block that is left in it."""
    return patched(objects, "LEAP", 1)


def count_a_fallback_twice() -> AbstractContextManager[None]:
    """A copy kept for another node counts as that node's too."""
    original = WriteCore._missing

    def generous(self: WriteCore) -> Unsatisfied | None:
        missing = original(self)
        if missing is None or missing.kind == "PW":
            return missing
        having = self._written if missing.kind == "W" else self._durable
        twice = sum(self._written[node].stands_for != NO_NODE for node in having)
        return missing if missing.have + twice < missing.needed else None

    return patched(WriteCore, "_missing", generous)


def transfer_without_confirming() -> AbstractContextManager[None]:
    """What a node has to hand over counts as handed over at once, whatever the receiver has got of it."""

    def at_once(self: Transfers) -> list[Any]:
        for walk in self._walks.values():
            walk.root = self._replica.store.tree(walk.section).root()
            walk.fresh, walk.done, walk.branches, walk.buckets, walk.names = False, True, [], [], []
        return []

    return patched(Transfers, "_sendable", at_once)
