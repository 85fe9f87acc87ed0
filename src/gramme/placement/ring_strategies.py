"""Dynamo's three ways to place keys on a ring, side by side for measurement (SOSP 2007, §6.2, Figure 7).

Owns strategies 1 and 2, the random assignment of strategy 3, and what is compared of them: load, and trees that a
change of members makes worthless. What serves objects is `gramme.placement.ring` alone. Rule: all three are lists of
`Range`, so that whatever is measured is measured in the same way; the ring is the interval [0, 2^128), and chance comes
in from outside.

1. T random tokens per node; the ranges between tokens are the partitions, and belong to the nodes that follow.
2. T random tokens per node; Q equal partitions, each of the nodes that follow its end.
3. Q equal partitions, of which each node has Q/S.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gramme.kernel.ids import NodeId
from gramme.kernel.ports import Randomness
from gramme.placement.ring import POSITION_BITS

RING: Final = 1 << POSITION_BITS


class Range(NamedTuple):
    """The keys at `start` and behind it, before `end`, clockwise: the range may go over the top of the ring. `nodes`:
    its N replicas, in the order of preference."""

    start: int
    end: int
    nodes: tuple[NodeId, ...]

    @property
    def width(self) -> int:
        """Positions in it; the whole ring if it begins where it ends."""
        return (self.end - self.start) % RING or RING

    def holds(self, position: int) -> bool:
        """Whether `position` lies in it."""
        return (position - self.start) % RING < self.width


class Tokens(NamedTuple):
    """Random tokens, clockwise: `positions` ascending, `nodes` the node of each."""

    positions: tuple[int, ...]
    nodes: tuple[NodeId, ...]

    def following(self, position: int, n: int) -> tuple[NodeId, ...]:
        """The first `n` different nodes of the walk from `position`, which owns the token that stands on it."""
        return _distinct(self.nodes, bisect_left(self.positions, position), n)

    def without(self, node: NodeId) -> Tokens:
        """The ring when `node` has left."""
        return _sorted([(at, owner) for at, owner in zip(*self, strict=True) if owner != node])

    def joined(self, node: NodeId, tokens: int, rng: Randomness) -> Tokens:
        """The ring when `node` has joined with so many tokens of its own."""
        return _sorted([*zip(*self, strict=True), *((_draw(rng), node) for _ in range(tokens))])


def drawn_tokens(counts: Mapping[NodeId, int], rng: Randomness) -> Tokens:
    """So many random tokens for each node: as many as its capacity deserves (row A7)."""
    return _sorted([(_draw(rng), node) for node, count in counts.items() for _ in range(count)])


def strategy_1(tokens: Tokens, n: int) -> list[Range]:
    """Partitions end where tokens stand, and belong to the token's node and those that follow."""
    positions, nodes = tokens
    return [
        Range((positions[at - 1] + 1) % RING, (end + 1) % RING, _distinct(nodes, at, n))
        for at, end in enumerate(positions)
    ]


def strategy_2(tokens: Tokens, partitions: int, n: int) -> list[Range]:
    """Equal partitions, of the nodes that follow the partition's end."""
    ends = [RING * (at + 1) // partitions for at in range(partitions)]
    starts = [0, *ends[:-1]]
    return [Range(start, end % RING, tokens.following(end % RING, n)) for start, end in zip(starts, ends, strict=True)]


def strategy_3(owners: Sequence[NodeId], n: int) -> list[Range]:
    """Equal partitions, of their owner and the different owners that follow."""
    size = len(owners)
    return [
        Range(RING * at // size, RING * (at + 1) // size % RING, _distinct(owners, at, n)) for at in range(size)
    ]  # fmt: skip


def shuffled_owners(members: Sequence[NodeId], partitions: int, rng: Randomness) -> list[NodeId]:
    """Q/S partitions for each node, which ones by chance."""
    owners = [members[at % len(members)] for at in range(partitions)]
    for at in range(partitions - 1, 0, -1):
        other = rng.randrange(at + 1)
        owners[at], owners[other] = owners[other], owners[at]
    return owners


def loads(ranges: Sequence[Range]) -> dict[NodeId, float]:
    """The share of all requests that reaches each node, if all positions are asked for equally and every replica of a
    key is asked: they sum up to N."""
    found: dict[NodeId, int] = {}
    for range_ in ranges:
        width = range_.width
        for node in range_.nodes:
            found[node] = found.get(node, 0) + width
    return {node: width / RING for node, width in found.items()}


def efficiency(shares: Mapping[NodeId, float]) -> float:
    """Mean load by the load of the hottest node: 1.0 is perfect."""
    return sum(shares.values()) / len(shares) / max(shares.values())


def modulo(position: int, members: Sequence[NodeId]) -> NodeId:
    """The owner by hash modulo number of nodes, which consistent hashing is measured against (row A5)."""
    return members[position % len(members)]


def trees_to_rebuild(before: Sequence[Range], after: Sequence[Range]) -> list[tuple[NodeId, Range]]:
    """A replica keeps a Merkle tree for each range. Those of `after` that a node has to work out anew, by a scan,
    over keys that it had already: its trees of `before` speak of other ranges (row A24)."""
    kept = {(range_.start, range_.end): range_.nodes for range_ in before}
    old = sorted(before)
    starts = [range_.start for range_ in old]
    found = []
    for range_ in after:
        same = kept.get((range_.start, range_.end), ())
        had: dict[NodeId, None] = {}
        at = bisect_right(starts, range_.start) - 1  # -1 is the range that goes over the top
        for step in range(len(old)):
            part = old[(at + step) % len(old)]
            if step and not range_.holds(part.start):
                break
            had |= dict.fromkeys(part.nodes)
        found += [(node, range_) for node in range_.nodes if node in had and node not in same]
    return found


def _distinct(nodes: Sequence[NodeId], at: int, n: int) -> tuple[NodeId, ...]:
    found: list[NodeId] = []
    for step in range(len(nodes)):
        node = nodes[(at + step) % len(nodes)]
        if node not in found:
            found.append(node)
            if len(found) == n:
                break
    return tuple(found)


def _draw(rng: Randomness) -> int:
    return int.from_bytes(rng.randbytes(POSITION_BITS // 8), "big")


def _sorted(tokens: list[tuple[int, NodeId]]) -> Tokens:
    tokens.sort()
    return Tokens(tuple(at for at, _ in tokens), tuple(node for _, node in tokens))
