"""Everything that a node takes from outside, in one value, and the settings that its machines read.

`runtime.server` fills it with the real things, `sim.world` with the seeded ones; nothing else differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gramme.kernel.ids import BootId, ClusterId, NodeId
from gramme.kernel.ports import Clock, LogDisk, Randomness, Scheduler, Transport
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.healing.steps import HealingSettings
from gramme.placement.zones import NodePlace
from gramme.storage.engine.contract import Engine
from gramme.tables.streams import RETENTION_S


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside of one node. `log_event(name, fields)` writes one structured log line."""

    clock: Clock
    scheduler: Scheduler
    rng: Randomness
    transport: Transport
    log_disk: LogDisk
    engine: Engine
    log_event: Callable[[str, Mapping[str, Any]], None] = field(default=lambda _name, _fields: None)
    fatal: Callable[[str], None] = field(default=lambda _reason: None)


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster. `address` is where clients reach it (no port), `peer_address` is "host:port" for peers (""
    where the transport finds it by its number)."""

    node: NodeId
    name: str
    host: str
    zone: str
    address: str = "127.0.0.1"
    peer_address: str = ""

    @property
    def place(self) -> NodePlace:
        """Where it stands."""
        return NodePlace(self.node, self.host, self.zone)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the machines of a node need to know. Times are nanoseconds, sizes bytes.

    `members` are those that founded the cluster, `joined` those known to have joined it since, as the settings have
    them: the catalog knows better (`gramme.node.members`). Raises `ValueError` for a node that neither names.
    """

    me: NodeId
    cluster: ClusterId | None  # None: a cluster of one, which draws its own when it is founded
    boot: BootId
    members: tuple[Member, ...]
    grant_ns: int = 1_500 * MILLISECOND
    renewal_ns: int = 400 * MILLISECOND
    eventual_read_max_lag_ns: int = 1_000 * MILLISECOND
    eventual_reads_any: bool = True
    control_plane_delay_ns: int = 0
    segment_bytes: int = 16 << 20
    flush_bytes: int = 64 << 20
    flush_interval_ns: int = 30 * SECOND
    free_space_reserve_bytes: int = 256 << 20
    retain_log_bytes: int = 8 << 20
    expiry_period_ns: int = 60 * SECOND  # between two sweeps for expired items of a partition
    expiry_rows_per_s: int = 5_000  # that a node reads to find them
    outcome_window_ns: int = 10 * SECOND
    outcome_limit: int = 1_000_000
    request_limit: int = 20_000
    objects: bool = True  # whether the node keeps objects beside tables; simulated runs of tables alone do not
    objects_weight: int = 1  # share of the ring beside others', from the next plan on
    objects_read_p99_ns: int = 50 * MILLISECOND  # of reads, above which transfers slow down; 0: they never do
    tombstone_age_ns: int = 3_600 * SECOND  # `objects.reaping`: longer than any request may take
    stream_retention_ns: int = RETENTION_S * SECOND
    transaction_limit: int = 1_000  # that a node coordinates at a time
    balance_ns: int = 5 * SECOND  # between two offers of groups to a node that leads fewer
    healing: HealingSettings = field(default_factory=HealingSettings)
    snapshot_bytes_per_s: int = 64 << 20  # that a node sends of copies of groups, together
    healing_copies: int = 2  # groups led here whose rows are copied to a new replica at a time
    joined: tuple[Member, ...] = ()
    engine_lost: str = ""  # why the engine is an empty one although the log speaks of rows

    def __post_init__(self) -> None:
        known = (*self.members, *self.joined)
        if all(member.node != self.me for member in known):
            raise ValueError(f"node {self.me} is not among the nodes of the founding configuration")
        if len({member.node for member in known}) != len(known):
            raise ValueError("the founding configuration names a node twice")
        if self.cluster is None and len(known) > 1:
            raise ValueError("a cluster of several nodes needs a cluster id that all of them know")

    @property
    def is_founder(self) -> bool:
        """Whether this node is one of those that founded the cluster."""
        return any(member.node == self.me for member in self.members)
