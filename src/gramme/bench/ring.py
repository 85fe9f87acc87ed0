"""`gramme bench ring`: Figure 8 of the Dynamo paper again, and what else its section 6.2 claims of the strategies.

30 nodes, N = 3, efficiency (mean load by highest load) over metadata. The paper gives neither workload nor unit; these
agree with all its points: every position of the ring is asked for equally; the unit of metadata is one token, so that
strategies 1 and 2 have T = metadata/S tokens for each node and strategy 3 has Q = metadata partitions; strategy 2 has
Q = 1,024 partitions throughout (its curve falls again once tokens are denser than partitions, which tells Q).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

from gramme.bench.lines import Axis, Line, chart
from gramme.bench.svg import COLOURS
from gramme.kernel.ids import NodeId
from gramme.objects.merkle import BUCKETS, rebuilt
from gramme.placement.ring import Ring, founded, planned, position_of
from gramme.placement.ring_strategies import (
    RING,
    Range,
    drawn_tokens,
    efficiency,
    loads,
    modulo,
    shuffled_owners,
    strategy_1,
    strategy_2,
    strategy_3,
    trees_to_rebuild,
)
from gramme.placement.zones import NodePlace

NODES: Final = 30
N: Final = 3
STRATEGY_2_PARTITIONS: Final = 1024
METADATA: Final = tuple(NODES << at for at in range(1, 11))
"""60 to 30,720 tokens: where the figure's markers stand (30,720 and 15,360 can be read to ±60 units)."""

PAPER: Final = {
    1: (0.52, 0.61, 0.69, 0.76, 0.82, 0.87, 0.91, 0.93, 0.95, 0.96),
    2: (0.53, 0.61, 0.70, 0.76, 0.82, 0.85, 0.88, 0.87, 0.85, 0.84),
    3: (0.86, 0.87, 0.90, 0.92, 0.94, 0.96, 0.97, 0.98, 0.98, 0.99),
}
"""Figure 8 of SOSP 2007, read off a 730 × 472 picture of it: centres of the markers, ±0.005 (545 pixels are 1.0)."""

TOLERANCE: Final = 0.03
_MOST_FOUNDED: Final = 960
_MEMBERS: Final = tuple(NodeId(node) for node in range(NODES))


class Point(NamedTuple):
    """Efficiency over several rings: mean, and standard deviation of a single one."""

    metadata: int
    mean: float
    deviation: float


def measured(strategy: int, rings: int, seed: int) -> list[Point]:
    """One curve. Small rings differ much from each other, so `rings` of them are drawn where T = 2, fewer where T is
    larger, at least 8."""
    draw = _STRATEGIES[strategy]
    points = []
    for metadata in METADATA:
        rng = Random(f"{seed}-{strategy}-{metadata}")
        count = max(8, rings * METADATA[0] // metadata)
        found = [efficiency(loads(draw(metadata, rng))) for _ in range(count)]
        points.append(Point(metadata, statistics.fmean(found), statistics.stdev(found)))
    return points


def _random_tokens(metadata: int, rng: Random) -> list[Range]:
    return strategy_1(drawn_tokens(dict.fromkeys(_MEMBERS, metadata // NODES), rng), N)


def _equal_partitions(metadata: int, rng: Random) -> list[Range]:
    return strategy_2(drawn_tokens(dict.fromkeys(_MEMBERS, metadata // NODES), rng), STRATEGY_2_PARTITIONS, N)


def _equal_shares(metadata: int, rng: Random) -> list[Range]:
    return strategy_3(shuffled_owners(_MEMBERS, metadata, rng), N)


_STRATEGIES: Final[dict[int, Callable[[int, Random], list[Range]]]] = {
    1: _random_tokens,
    2: _equal_partitions,
    3: _equal_shares,
}


def founded_here() -> list[Point]:
    """Strategy 3 as Gramme founds a ring: the same nodes are never near each other, and nothing is left to chance."""
    found = []
    for metadata in METADATA:
        if metadata <= _MOST_FOUNDED:
            found.append(Point(metadata, efficiency(loads(_ranges(_founded(NODES, metadata)))), 0.0))
    return found


def _founded(nodes: int, partitions: int) -> Ring:
    return founded([_place(node) for node in range(nodes)], partitions)


def _place(node: int) -> NodePlace:
    return NodePlace(NodeId(node), f"host{node}", "zone")


def _ranges(ring: Ring) -> list[Range]:
    size = ring.partitions
    return [
        Range(RING * at // size, RING * (at + 1) // size % RING, ring.primaries(at, N)) for at in range(size)
    ]  # fmt: skip


class Changes(NamedTuple):
    """What one node more, or one fewer, does to `NODES` nodes, with 128 tokens each or 3,840 partitions."""

    moved_by_modulo: float  # keys whose owner is another one after a join
    moved_by_tokens: float
    moved_by_partitions: float
    fair: float  # what a newcomer is due
    heirs_by_tokens: int  # survivors that take something of a dead node's load
    heirs_by_partitions: int
    largest_share_by_tokens: float  # of the dead node's load, at one survivor
    largest_share_by_partitions: float
    keys: int  # stored, N times each
    rehashed_by_tokens: int  # by nodes that had them already, for trees of new ranges
    rehashed_by_partitions: int


def changes(seed: int, keys: int = 20_000) -> Changes:
    """Rows A5, A6 and A24 in figures, over real positions of `keys` keys and with the replicas' own Merkle trees."""
    rng = Random(f"{seed}-changes")
    positions = [position_of(b"bucket", b"key-%d" % key) for key in range(keys)]
    newcomer = NodeId(NODES)
    tokens = drawn_tokens(dict.fromkeys(_MEMBERS, 128), rng)
    more = tokens.joined(newcomer, 128, rng)
    ring = _founded(NODES, 960)
    joined = planned(ring, [_place(node) for node in range(NODES + 1)]).ring
    moved = [
        sum(before(at) != after(at) for at in positions) / keys
        for before, after in (
            (lambda at: modulo(at, _MEMBERS), lambda at: modulo(at, (*_MEMBERS, newcomer))),
            (lambda at: tokens.following(at, 1), lambda at: more.following(at, 1)),
            (lambda at: ring.owners[ring.partition_of(at)], lambda at: joined.owners[joined.partition_of(at)]),
        )
    ]
    heirs = [_heirs(strategy_1(tokens, N + 1)), _heirs(_fallback_ranges(ring))]
    rebuilt_keys = [
        _rehashed(trees_to_rebuild(before, after), positions)
        for before, after in (
            (strategy_1(tokens, N), strategy_1(more, N)),
            (_ranges(ring), _ranges(joined)),
        )
    ]
    return Changes(
        moved_by_modulo=moved[0],
        moved_by_tokens=moved[1],
        moved_by_partitions=moved[2],
        fair=1 / (NODES + 1),
        heirs_by_tokens=len(heirs[0]),
        heirs_by_partitions=len(heirs[1]),
        largest_share_by_tokens=max(heirs[0]),
        largest_share_by_partitions=max(heirs[1]),
        keys=keys,
        rehashed_by_tokens=rebuilt_keys[0],
        rehashed_by_partitions=rebuilt_keys[1],
    )


def _fallback_ranges(ring: Ring) -> list[Range]:
    return [
        Range(range_.start, range_.end, ring.preference_list(at, N)[: N + 1]) for at, range_ in enumerate(_ranges(ring))
    ]


def _heirs(ranges: Sequence[Range], dead: NodeId = _MEMBERS[0]) -> list[float]:
    """The shares of the load of `dead` that go to others while it is down: each of its ranges is kept, besides by the
    N - 1 others that kept it, by the first that follows them."""
    taken: dict[NodeId, int] = {}
    for range_ in ranges:
        if dead in range_.nodes[:N]:
            taken[range_.nodes[N]] = taken.get(range_.nodes[N], 0) + range_.width
    total = sum(taken.values())
    return [width / total for width in taken.values()]


def _rehashed(trees: Sequence[tuple[NodeId, Range]], positions: Sequence[int]) -> int:
    """Items hashed to build these trees with `gramme.objects.merkle`."""
    hashed = 0
    held: dict[Range, list[int]] = {}
    for _, range_ in trees:
        if range_ not in held:
            held[range_] = [at for at in positions if range_.holds(at)]
        items = [(at, at.to_bytes(16, "big"), b"version") for at in held[range_]]
        assert len(rebuilt(items)) <= BUCKETS
        hashed += len(items)
    return hashed


def table(curves: dict[int, list[Point]], here: Sequence[Point]) -> str:
    """The curves beside the paper's, as Markdown."""
    lines = [
        "| metadata | strategy 1 | paper | strategy 2 | paper | strategy 3 | paper | as Gramme founds it |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    founded_rings = {point.metadata: point.mean for point in here}
    for at, metadata in enumerate(METADATA):
        cells = [f"{metadata:,}"]
        for strategy, points in curves.items():
            cells += [f"{points[at].mean:.3f} ± {points[at].deviation:.3f}", f"{PAPER[strategy][at]:.2f}"]
        cells.append(f"{founded_rings[metadata]:.3f}" if metadata in founded_rings else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def farthest(curves: dict[int, list[Point]]) -> dict[int, tuple[float, int]]:
    """For each strategy the largest difference from the paper's curve, and at which size of metadata."""
    return {
        strategy: max(
            (abs(point.mean - paper), point.metadata) for point, paper in zip(points, PAPER[strategy], strict=True)
        )
        for strategy, points in curves.items()
    }


def told(found: Changes) -> str:
    """The changes in words."""
    return "\n".join(
        [
            f"A node joins {NODES}: {found.moved_by_modulo:.1%} of {found.keys:,} keys change their owner by hash "
            f"modulo nodes, {found.moved_by_tokens:.1%} by strategy 1 (T = 128), {found.moved_by_partitions:.1%} by "
            f"Gramme's plan (Q = 960); its due is {found.fair:.1%}.",
            f"A node dies: its load goes to {found.heirs_by_tokens} survivors by strategy 1, the most that one takes "
            f"is {found.largest_share_by_tokens:.1%} of it; by Gramme's ring to {found.heirs_by_partitions}, at most "
            f"{found.largest_share_by_partitions:.1%}.",
            f"Trees on the join: {found.rehashed_by_tokens:,} items hashed again by replicas that had them "
            f"({found.rehashed_by_tokens / (N * found.keys):.0%} of all copies) by strategy 1, "
            f"{found.rehashed_by_partitions:,} by strategy 3.",
        ]
    )


def picture(curves: dict[int, list[Point]], here: Sequence[Point]) -> str:
    """The figure as SVG: ours with markers, the paper's dashed. Its axis is logarithmic, the paper's was not."""
    lines = []
    for strategy, points in curves.items():
        colour = COLOURS[strategy - 1]
        lines.append(Line(f"strategy {strategy}", [(point.metadata, point.mean) for point in points], colour))
        quoted = list(zip(METADATA, PAPER[strategy], strict=True))
        lines.append(Line(f"strategy {strategy}, SOSP 2007, Figure 8", quoted, colour, dashed=True))
    lines.append(Line("strategy 3 as Gramme founds it", [(point.metadata, point.mean) for point in here], COLOURS[3]))
    x = Axis("metadata at each node (tokens, logarithmic)", METADATA[0], METADATA[-1], METADATA, logarithmic=True)
    y = Axis("efficiency (mean load / highest load)", 0.4, 1.0, (0.5, 0.6, 0.7, 0.8, 0.9))
    return chart(f"Load over {NODES} nodes, N = {N}", x, y, lines)
