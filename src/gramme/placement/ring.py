"""The ring of the objects: which nodes keep a key, and who stands in for them.

The space of MD5 positions is cut into Q equal partitions, fixed for the life of the cluster; each belongs to one node,
in numbers proportional to the nodes' weights (Dynamo's third strategy, SOSP 2007, §6.2). A key's *preference list* is
the walk clockwise from its partition's owner: each node once, the first N of them its primaries, on distinct hosts and
in as many zones as there are; the others are its fallbacks in order. Rules: every node computes the same list from the
same ring; a ring changes only by a plan that an administrator has seen (row A26), and a plan moves no more partitions
than it must.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Final, NamedTuple

import msgspec

from gramme.kernel.ids import NO_NODE, NodeId
from gramme.kernel.md5 import md5
from gramme.placement.zones import NodePlace

POSITION_BITS: Final = 128
DEFAULT_PARTITIONS: Final = 64
MAX_PARTITIONS: Final = 4096
DEFAULT_SPACING: Final = 3
"""Neighbouring partitions that should belong to different nodes: the usual N."""


def place_of(type_: bytes, bucket: bytes) -> bytes:
    """Bucket type and bucket, of at most 255 bytes each, as one string, different for different pairs: what a key is
    hashed with."""
    return bytes((len(type_),)) + type_ + bytes((len(bucket),)) + bucket


def position_of(bucket: bytes, key: bytes) -> int:
    """Where an object stands on the ring: MD5 of bucket type and name (`place_of`) and key, as 128 bits (row A3). The
    length in front keeps ("ab", "c") and ("a", "bc") apart."""
    digest = md5(len(bucket).to_bytes(4, "big"))
    digest.update(bucket)
    digest.update(key)
    return int.from_bytes(digest.digest(), "big")


class Ring(msgspec.Struct, frozen=True, dict=True):
    """One version of the ring. `owners` has an entry for each of the Q partitions, in clockwise order; `members` are
    the nodes of the ring, those that own nothing yet included. Preference lists are worked out once each: every request
    for an object asks for one."""

    version: int
    owners: tuple[NodeId, ...]
    members: tuple[NodePlace, ...]

    @property
    def partitions(self) -> int:
        """Q."""
        return len(self.owners)

    def partition_of(self, position: int) -> int:
        """The partition that holds `position`."""
        return position * len(self.owners) >> POSITION_BITS

    def preference_list(self, partition: int, n: int) -> tuple[NodeId, ...]:
        """Every node of the ring once: first the `n` primaries of `partition`, then its fallbacks.

        Primaries are the first nodes of the walk that share no host with an earlier one, and no zone while there is one
        left without a replica; where hosts or zones run out, the walk is taken as it comes (rows A8, A11, A12).
        """
        found = self._lists.get((partition, n))
        if found is None:
            places = {place.node: place for place in self.members}
            found = self._lists[partition, n] = preference_list(self._walk(partition), places, n)
        return found

    def primaries(self, partition: int, n: int) -> tuple[NodeId, ...]:
        """The `n` nodes that keep `partition`, or all members where there are fewer."""
        return self.preference_list(partition, n)[:n]

    @cached_property
    def _lists(self) -> dict[tuple[int, int], tuple[NodeId, ...]]:
        """By partition and n, as far as they were asked for."""
        return {}

    def _walk(self, partition: int) -> list[NodeId]:
        owners = self.owners
        walk = dict.fromkeys(owners[partition:] + owners[:partition])
        walk.pop(NO_NODE, None)
        walk.update(dict.fromkeys(place.node for place in self.members))
        return list(walk)


def preference_list(walk: Sequence[NodeId], places: dict[NodeId, NodePlace], n: int) -> tuple[NodeId, ...]:
    """As `Ring.preference_list`, for nodes already in the order of the walk."""
    primaries: dict[NodeId, None] = {}
    hosts: dict[str, None] = {}
    zones: dict[str, None] = {}
    for new_host, new_zone in ((True, True), (True, False), (False, False)):
        for node in walk:
            place = places[node]
            fits = (not new_host or place.host not in hosts) and (not new_zone or place.zone not in zones)
            if len(primaries) < n and node not in primaries and fits:
                primaries[node] = None
                hosts[place.host] = zones[place.zone] = None
    in_walk = [node for node in walk if node in primaries]
    return (*in_walk, *(node for node in walk if node not in primaries))


class Move(NamedTuple):
    """One partition of the ring changes hands. `source` is `NO_NODE` in a ring that is founded."""

    partition: int
    source: NodeId
    target: NodeId


class Plan(NamedTuple):
    """A ring to be, and what has to move for it."""

    ring: Ring
    moves: tuple[Move, ...]


def founded(members: Sequence[NodePlace], partitions: int = DEFAULT_PARTITIONS) -> Ring:
    """The first ring of a cluster. Raises ValueError as `planned`, and unless 1 <= partitions <= 4096."""
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise ValueError(f"a ring has 1 to {MAX_PARTITIONS} partitions, not {partitions}")
    first = planned(Ring(0, (NO_NODE,) * partitions, ()), members).ring
    return msgspec.structs.replace(first, owners=_respaced(first, DEFAULT_SPACING))


def planned(ring: Ring, members: Sequence[NodePlace], spacing: int = DEFAULT_SPACING) -> Plan:
    """The ring of `members` that differs least from `ring`: who joins steals from those that have too much, what a
    leaver had is scattered over those that have too little, nothing else moves.

    A partition goes to where `spacing` neighbours stay on different hosts and in different zones, and beside neighbours
    that the taker has seldom, so that the load of a node that is down spreads over all others (row A6). Raises
    ValueError without a member, for a node named twice, a weight below 1, or more nodes than partitions.
    """
    places = _checked(members, ring.partitions)
    owners = list(ring.owners)
    quota = _quotas(places, owners)
    have = Counter(owner for owner in owners if owner in quota)
    moves: list[Move] = []
    while candidates := _candidates(owners, quota, have):
        takers = [node for node in quota if have[node] < quota[node]]
        _, partition, target = min(
            ((_cost(owners, places, partition, taker, spacing), have[taker] / quota[taker]), partition, taker)
            for partition in candidates
            for taker in takers
        )
        source = owners[partition]
        owners[partition] = target
        have[target] += 1
        if source in quota:
            have[source] -= 1
        moves.append(Move(partition, source, target))
    ordered = tuple(sorted(moves))
    return Plan(Ring(ring.version + 1, tuple(owners), tuple(places.values())), ordered)


def _checked(members: Sequence[NodePlace], partitions: int) -> dict[NodeId, NodePlace]:
    places = {place.node: place for place in sorted(members, key=lambda place: place.node)}
    if not places:
        raise ValueError("a ring has at least one node")
    if len(places) != len(members):
        raise ValueError("a node is named twice")
    if len(places) > partitions:
        raise ValueError(f"{len(places)} nodes cannot share {partitions} partitions")
    for place in places.values():
        if place.weight < 1:
            raise ValueError(f"node {place.node} has weight {place.weight}, the least is 1")
    return places


def _quotas(places: dict[NodeId, NodePlace], owners: Sequence[NodeId]) -> dict[NodeId, int]:
    """How many partitions each node is due: by weight, remainders to those who own most now, so that least moves."""
    total = sum(place.weight for place in places.values())
    have = Counter(owners)
    quota = {node: max(1, len(owners) * place.weight // total) for node, place in places.items()}
    left = len(owners) - sum(quota.values())
    by_claim = sorted(quota, key=lambda node: (-min(1, max(0, have[node] - quota[node])), -places[node].weight, node))
    for turn in range(left):
        quota[by_claim[turn % len(by_claim)]] += 1
    while sum(quota.values()) > len(owners):  # many light nodes beside a heavy one: each keeps its one
        quota[max(quota, key=lambda node: (quota[node], node))] -= 1
    return quota


def _candidates(owners: Sequence[NodeId], quota: dict[NodeId, int], have: Counter[NodeId]) -> list[int]:
    """Partitions one of which moves next: the first whose owner is no member, else any of an owner with too much."""
    for partition, owner in enumerate(owners):
        if owner not in quota:
            return [partition]
    return [partition for partition, owner in enumerate(owners) if have[owner] > quota[owner]]


def _cost(
    owners: Sequence[NodeId], places: dict[NodeId, NodePlace], partition: int, taker: NodeId, spacing: int
) -> tuple[int, int, int]:
    """How badly `taker` would stand beside the neighbours of `partition`: hosts met again, zones met again, and how
    often it has the same neighbours elsewhere."""
    neighbours = _neighbours(owners, places, partition, spacing)
    mine = places[taker]
    size = len(owners)
    before, after = owners[partition - 1], owners[(partition + 1) % size]
    pairs = sum(
        (owners[at - 1] == before) + (owners[(at + 1) % size] == after)
        for at, owner in enumerate(owners)
        if owner == taker and at != partition
    )
    return sum(p.host == mine.host for p in neighbours), sum(p.zone == mine.zone for p in neighbours), pairs


def _neighbours(
    owners: Sequence[NodeId], places: dict[NodeId, NodePlace], partition: int, spacing: int
) -> list[NodePlace]:
    """Whom the owner of `partition` shares preference lists with."""
    near = [(partition + step) % len(owners) for step in range(1 - spacing, spacing) if step]
    return [places[owners[at]] for at in near if at != partition and owners[at] in places]


def _respaced(ring: Ring, spacing: int) -> tuple[NodeId, ...]:
    """Exchange owners where the end of the walk has left the same host twice within `spacing`; free while nothing is
    stored yet."""
    owners = list(ring.owners)
    places = {place.node: place for place in ring.members}

    def misplaced(partition: int) -> int:
        host = places[owners[partition]].host
        return sum(place.host == host for place in _neighbours(owners, places, partition, spacing))

    if len({place.host for place in ring.members}) < spacing:
        return ring.owners  # it cannot be helped
    for partition in range(len(owners)):
        for other in range(len(owners)):
            before = misplaced(partition) + misplaced(other)
            if not misplaced(partition):
                break
            owners[partition], owners[other] = owners[other], owners[partition]
            if misplaced(partition) + misplaced(other) >= before:
                owners[partition], owners[other] = owners[other], owners[partition]
    return tuple(owners)


def balance(ring: Ring) -> dict[NodeId, float]:
    """Each node's share of the ring in proportion to its due by weight: 1.0 is exactly that."""
    have = Counter(ring.owners)
    total = sum(place.weight for place in ring.members)
    return {
        place.node: have[place.node] * total / (len(ring.owners) * place.weight) for place in ring.members
    }  # fmt: skip
