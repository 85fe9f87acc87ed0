"""How one ring takes another's place while objects are read and written: in steps, and nodes are at most one apart.

Owns the steps. A ring that is to change has another one beside it, and *every* write goes to the primaries of both:

1. *filling*: the new ring stands beside the old one. The old one is read; its primaries fill the new ones' copies.
2. *switched*: all copies are complete. The new ring is read, the old one stands beside it and is still written.
3. *settled*: the new ring is alone. Who keeps what it no longer should offers it, and drops it when it is confirmed.

Rule: a step is taken only when every node that coordinates or keeps anything has the step before on its disk. So two
nodes are at most one step apart, and of any two neighbouring steps each reads only what the other one writes: a read of
R meets a write of W where R + W > N, all the way through (decision 0071). The discipline is that of online schema
changes (Rae et al., F1, VLDB 2013, §3).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from msgspec.structs import replace

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.objects.config import ObjectConfig
from gramme.objects.store import Section
from gramme.placement.ring import Ring


class Step(NamedTuple):
    """Where a change stands: the version of the ring that is read, and of the one beside it (0: none)."""

    ring: int
    other: int

    @property
    def filling(self) -> bool:
        """Whether the one beside is the ring to be."""
        return self.other > self.ring

    @property
    def switched(self) -> bool:
        """Whether the one beside is the ring that was."""
        return 0 < self.other < self.ring


def step_of(config: ObjectConfig) -> Step:
    """The step that `config` is at."""
    return Step(config.ring.version, 0 if config.other is None else config.other.version)


def target(config: ObjectConfig) -> Ring:
    """The ring as it will be when nothing else is committed."""
    return config.other if config.other is not None and step_of(config).filling else config.ring


def next_version(config: ObjectConfig) -> int:
    """Of the ring that is planned next: no version is given twice, be it to one that was never read."""
    return max(step_of(config)) + 1


def with_change(config: ObjectConfig, ring: Ring) -> ObjectConfig:
    """The next configuration, in which `ring` is being filled, in place of one that was. Nothing stays staged.

    Raises InvalidInput if it was planned for another state of the ring than this one, or while a change is past the
    point where it could be replaced."""
    if step_of(config).switched:
        raise InvalidInput("the ring is about to finish a change; plan again in a moment")
    if ring.version != next_version(config) or ring.partitions != config.ring.partitions:
        raise InvalidInput(f"the plan is for ring {ring.version}, the next one is {next_version(config)}: plan again")
    return replace(config, version=config.version + 1, other=ring, joining=(), leaving=())


def advanced(config: ObjectConfig, step: Step) -> ObjectConfig:
    """The next configuration, one step further than `step`. Raises InvalidInput if the ring is not there any more."""
    if step_of(config) != step or config.other is None:
        raise InvalidInput("the ring has been changed meanwhile")
    if step.filling:
        return replace(config, version=config.version + 1, ring=config.other, other=config.ring)
    return replace(config, version=config.version + 1, other=None)


def staged(config: ObjectConfig, joining: tuple[NodeId, ...], leaving: tuple[NodeId, ...]) -> ObjectConfig:
    """The next configuration, with these nodes staged instead of any others."""
    return replace(config, version=config.version + 1, joining=joining, leaving=leaving)


def written_too(ring: Ring | None, partition: int, n: int) -> tuple[NodeId, ...]:
    """The primaries of the ring beside."""
    return () if ring is None else ring.primaries(partition, n)


def owed(config: ObjectConfig, me: NodeId, section: Section) -> tuple[NodeId, ...]:
    """Nodes that must have all that `me` keeps of `section`: those it fills, or, if it keeps what is not its own, all
    that should keep it."""
    primaries = config.ring.primaries(*section)
    beside = written_too(config.other, *section)
    if me in primaries:
        return tuple(node for node in beside if node not in primaries) if step_of(config).filling else ()
    return () if me in beside else primaries


def spare(config: ObjectConfig, me: NodeId, section: Section) -> bool:
    """Whether `me` keeps no replica of `section`, in neither ring."""
    return me not in config.ring.primaries(*section) and me not in written_too(config.other, *section)


def must_know(config: ObjectConfig, up: tuple[NodeId, ...], given_up: Collection[NodeId] = ()) -> tuple[NodeId, ...]:
    """The nodes without which no step is taken, ascending: all members of the ring to be, and of those that leave it
    the ones that are `up`: a node that is dead for ever can leave. So can one of the ring to be that is `given_up`: an
    administrator removes it from the cluster. Once the rings are switched no other plan is taken, so nothing else could
    end a change in which it died."""
    stays = {place.node: None for place in target(config).members if place.node in up or place.node not in given_up}
    others = () if config.other is None else (*config.ring.members, *config.other.members)
    leaves = {place.node: None for place in others if place.node in up}
    return tuple(sorted(stays | leaves))
