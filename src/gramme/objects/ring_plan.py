"""Plans of changes of the ring: what moves from whom to whom, how many bytes, and a name that says exactly which plan.

Owns the rule that what is committed is what was shown: a plan is a function of the ring, of who joins and leaves and of
the nodes' weights, and its token holds a digest of the outcome. Whoever commits works it out again, on any node, and
the outcome must be the same. Row A26.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.objects.config import ObjectConfig
from gramme.objects.ring_phases import next_version, step_of, target
from gramme.objects.store import Section
from gramme.objects.transfer_messages import SectionSize
from gramme.placement.ring import Move, Ring, balance, planned
from gramme.placement.zones import NodePlace


class Transfer(msgspec.Struct, frozen=True):
    """What one node has to be given that it does not keep yet, and which node's place it takes."""

    source: NodeId
    target: NodeId
    sections: int
    size: int  # bytes


class RingPlan(msgspec.Struct, frozen=True):
    """A ring to be, and what has to move for it. `moves` are of the partitions' owners; `transfers` of their replicas,
    for every number of replicas that buckets have. `exact`: all sizes were counted, none worked out from a sample or
    unknown."""

    token: str
    ring: Ring
    joining: tuple[NodeId, ...]
    leaving: tuple[NodeId, ...]
    moves: tuple[Move, ...]
    transfers: tuple[Transfer, ...]
    exact: bool
    balance: dict[NodeId, float]
    lost: tuple[int, ...]
    """Partitions none of whose primaries can be reached, so that nothing of them moves until one comes back."""


Sizes = Mapping[NodeId, Mapping[Section, SectionSize]]
"""What the nodes that answered keep."""


def make_plan(
    config: ObjectConfig,
    places: Mapping[NodeId, NodePlace],
    joining: Sequence[NodeId],
    leaving: Sequence[NodeId],
    sizes: Sizes,
) -> RingPlan:
    """`places` are the nodes of the cluster, with their weights. Raises InvalidInput for a node that is unknown, in the
    ring or not in it as the case may be, or does not answer and is to join; for a ring without a node, or with more
    nodes than partitions; and while a change is about to finish."""
    if step_of(config).switched:
        raise InvalidInput("the ring is about to finish a change; plan again in a moment")
    members = {place.node: place for place in target(config).members}
    for node in joining:
        _check_join(node, members, places, sizes)
    for node in leaving:
        if node not in members:
            raise InvalidInput(f"node {node} is not in the ring")
    wanted = [places.get(node, place) for node, place in members.items() if node not in leaving]
    wanted += [places[node] for node in dict.fromkeys(joining) if node not in leaving]
    try:
        plan = planned(config.ring, wanted)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    ring = msgspec.structs.replace(plan.ring, version=next_version(config))
    transfers, exact = _transfers(config, ring, sizes)
    return RingPlan(
        _token(ring, joining, leaving), ring, tuple(joining), tuple(leaving), plan.moves, transfers, exact,
        balance(ring), _unreachable(config, sizes),
    )  # fmt: skip


def _check_join(
    node: NodeId, members: Mapping[NodeId, NodePlace], places: Mapping[NodeId, NodePlace], sizes: Sizes
) -> None:
    if node in members:
        raise InvalidInput(f"node {node} is in the ring already")
    if node not in places:
        raise InvalidInput(f"node {node} is not in the cluster")
    if node not in sizes:
        raise InvalidInput(f"node {node} does not answer; it can join when it does")


def _token(ring: Ring, joining: Sequence[NodeId], leaving: Sequence[NodeId]) -> str:
    """`VERSION.JOINING.LEAVING.DIGEST`, nodes separated by commas."""
    digest = blake2b(msgspec.msgpack.encode(ring), digest_size=8).hexdigest()
    return ".".join((str(ring.version), ",".join(map(str, joining)), ",".join(map(str, leaving)), digest))


def of_token(token: str) -> tuple[tuple[NodeId, ...], tuple[NodeId, ...]]:
    """Who joins and who leaves by the plan of that name. Raises InvalidInput for what is no name of a plan."""
    parts = token.split(".")
    if len(parts) != 4:
        raise InvalidInput(f"'{token[:80]}' is not the name of a plan")
    joining, leaving = ([number for number in part.split(",") if number] for part in parts[1:3])
    if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in (*joining, *leaving)):
        raise InvalidInput(f"'{token[:80]}' is not the name of a plan")
    return tuple(NodeId(int(n)) for n in joining), tuple(NodeId(int(n)) for n in leaving)


def _transfers(config: ObjectConfig, ring: Ring, sizes: Sizes) -> tuple[tuple[Transfer, ...], bool]:
    """Of each section, what its new primaries lack; each takes the place of one that is a primary no more, if any."""
    count: Counter[tuple[NodeId, NodeId]] = Counter()
    size: Counter[tuple[NodeId, NodeId]] = Counter()
    exact = True
    for n in config.replica_counts():
        for partition in range(ring.partitions):
            before = config.ring.primaries(partition, n)
            after = ring.primaries(partition, n)
            gone = [node for node in before if node not in after]
            new = [node for node in after if node not in before]
            if not new:
                continue
            known = [sizes[node].get(Section(partition, n)) for node in before if node in sizes]
            largest = max((found for found in known if found is not None), key=lambda found: found.size, default=None)
            exact = exact and bool(known) and (largest is None or largest.exact)
            for index, node in enumerate(new):
                pair = gone[index] if index < len(gone) else before[0], node
                count[pair] += 1
                size[pair] += 0 if largest is None else largest.size
    return tuple(Transfer(*pair, count[pair], size[pair]) for pair in sorted(count)), exact


def _unreachable(config: ObjectConfig, sizes: Sizes) -> tuple[int, ...]:
    least = min(config.replica_counts())
    return tuple(
        partition
        for partition in range(config.ring.partitions)
        if not any(node in sizes for node in config.ring.primaries(partition, least))
    )
