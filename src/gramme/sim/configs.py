"""What a simulated cluster is like and what befalls it: named configurations, and the mix that runs by default."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from gramme.kernel.time import MICROSECOND, MILLISECOND, SECOND
from gramme.sim.faults import MEMBERSHIP, FaultKind
from gramme.sim.network import NORMAL, NetworkProfile


@dataclass(frozen=True, slots=True)
class SimConfig:
    """One configuration. Times are virtual nanoseconds; `faults` gives each kind its weight."""

    name: str
    nodes: int = 3
    spares: int = 0  # machines that an administrator may add
    clients: int = 5
    keys: int = 4
    read_units: int = 0  # of the table; 0 and 0: on demand, hence four partitions
    write_units: int = 100
    safety_ns: int = 10 * SECOND
    think_ns: int = 15 * MILLISECOND
    padding_bytes: int = 600  # items carry up to twice as much beside their value, objects that in their metadata
    faults: dict[FaultKind, int] = field(default_factory=dict)
    fault_interval_ns: int = 900 * MILLISECOND
    fault_length_ns: int = 1_500 * MILLISECOND
    network: NetworkProfile = NORMAL
    disk_delay_ns: int = 300 * MICROSECOND
    disk_stall: float = 0.01  # probability that a job takes up to 100 times as long
    swift_disks: float = 0.3  # probability that a machine's log disk often answers within a turn of the loop
    log_job_ns: tuple[int, ...] = ()  # how long jobs of the log took somewhere; each takes one of these times then
    skew: bool = True
    segment_bytes: int = 32 << 10
    flush_bytes: int = 64 << 10
    flush_interval_ns: int = 1 * SECOND
    snapshot_bytes_per_s: int = 64 << 20
    retain_log_bytes: int = 16 << 10
    engine_flush_ns: int = 0  # a flush of the engine takes up to so long; 0: up to twenty times `disk_delay_ns`
    outcome_window_ns: int = 10 * SECOND  # closed segments of the log are kept for one and a half of it
    request_deadline_ns: int = 5 * SECOND
    grant_ns: int = 1_500 * MILLISECOND
    renewal_ns: int = 400 * MILLISECOND
    balance_ns: int = 5 * SECOND
    healing: bool = True  # groups heal themselves; without it a test sees what a damaged replica does
    log_replica_after_ns: int = 3 * SECOND
    replace_after_ns: int = 600 * SECOND
    table_churn: bool = False
    ranges: bool = False  # the table has a sort key, and clients read ranges of it
    indexes: bool = False  # the table has local and global indexes; one more comes and goes
    streams: bool = False  # tables have streams, which somebody reads
    stream_churn: bool = False  # one is turned off and on again and again
    stream_retention_ns: int = 24 * 3_600 * SECOND
    tellers: int = 0  # clients of the bank (`accounts`, `tellers`): transactions
    accounts: int = 5  # of one generation of the bank
    deletes_what_it_reads: bool = False  # a client of objects, at once
    tombstone_age_ns: int = 3_600 * SECOND
    ring_changes: bool = False  # nodes leave the ring of the objects and join it again
    objects: bool = False  # the nodes keep objects, and clients use nothing else
    transacted: float = 0.0  # share of transactions among the operations of `clients`
    conditional: float = 0.35  # share of conditional writes among writes
    reads: float = 0.45

    @property
    def administered(self) -> bool:
        """Whether machines are added or removed. Founders are in the ring of the objects, which they must leave first;
        so the nodes keep objects then, though no client uses them."""
        return any(kind in MEMBERSHIP for kind in self.faults)


_CHAOS: Final = NetworkProfile(spike=0.03, loss=0.02, duplication=0.02, reordering=0.05)

_STORM: Final = NetworkProfile(
    jitter_ns=2 * MILLISECOND, spike=0.003, spike_ns=300 * MILLISECOND, loss=0.01, duplication=0.03, reordering=0.3
)

_BASE: Final = SimConfig(
    "default",
    faults={
        FaultKind.CRASH: 3,
        FaultKind.POWER: 2,
        FaultKind.PAUSE: 2,
        FaultKind.CUT_NODE: 2,
        FaultKind.CUT_WAY: 2,
        FaultKind.SLOW_DISK: 1,
        FaultKind.WALL_STEP: 1,
        FaultKind.DRAIN: 1,
    },
    network=_CHAOS,
)

_BANK: Final = replace(
    _BASE,
    name="bank",
    clients=2,
    transacted=0.4,
    write_units=0,
    tellers=4,
    think_ns=25 * MILLISECOND,
    safety_ns=7 * SECOND,
    padding_bytes=60,
)
"""Transactions, and the faults of the default configuration."""

_RANGES: Final = replace(
    _BASE,
    name="ranges",
    ranges=True,
    clients=6,
    keys=2,
    write_units=0,
    think_ns=10 * MILLISECOND,
    safety_ns=4 * SECOND,
    reads=0.1,
    conditional=0.3,
    transacted=0.15,
    padding_bytes=200,
    grant_ns=300 * MILLISECOND,
    renewal_ns=80 * MILLISECOND,
    faults={
        FaultKind.CRASH: 3,
        FaultKind.POWER: 2,
        FaultKind.PAUSE: 2,
        FaultKind.CUT_NODE: 2,
        FaultKind.CUT_WAY: 3,
        FaultKind.DRAIN: 3,
    },
    fault_interval_ns=500 * MILLISECOND,
    fault_length_ns=400 * MILLISECOND,
)
"""Ranges of a few partition keys, read page by page while leaders come and go."""

_OBJECTS: Final = replace(
    _BASE,
    name="objects",
    objects=True,
    nodes=5,
    clients=4,
    keys=2,
    think_ns=40 * MILLISECOND,
    safety_ns=4 * SECOND,
    padding_bytes=0,
    swift_disks=0.0,  # what a crash takes with it is what these runs are about
    faults={
        FaultKind.CRASH: 3,
        FaultKind.POWER: 3,
        FaultKind.PAUSE: 1,
        FaultKind.CUT_NODE: 3,
        FaultKind.CUT_WAY: 2,
        FaultKind.SLOW_DISK: 1,
        FaultKind.WALL_STEP: 1,
    },
    fault_interval_ns=400 * MILLISECOND,
    fault_length_ns=700 * MILLISECOND,
)
"""Objects, which need no quorum of nodes: what one node takes it keeps."""

CONFIGS: Final[dict[str, SimConfig]] = {
    config.name: config
    for config in (
        _BASE,
        replace(_BASE, name="quiet", faults={}, network=NORMAL, safety_ns=4 * SECOND),
        replace(
            _BASE,
            name="single",
            nodes=1,
            faults={
                FaultKind.CRASH: 2,
                FaultKind.POWER: 2,
                FaultKind.PAUSE: 1,
                FaultKind.SLOW_DISK: 1,
                FaultKind.WALL_STEP: 1,
            },
            fault_length_ns=400 * MILLISECOND,
        ),
        replace(_BASE, name="five", nodes=5, clients=3),
        replace(
            _BASE,
            name="crashes",
            faults={FaultKind.CRASH: 3, FaultKind.POWER: 3, FaultKind.CRASH_ALL: 2},
            fault_interval_ns=700 * MILLISECOND,
            fault_length_ns=700 * MILLISECOND,
        ),
        replace(
            _BASE,
            name="pauses",
            faults={FaultKind.PAUSE: 5, FaultKind.WALL_STEP: 1, FaultKind.CRASH: 1},
            fault_interval_ns=1_200 * MILLISECOND,
            fault_length_ns=2_600 * MILLISECOND,
        ),
        replace(
            _BASE,
            name="cuts",
            faults={FaultKind.CUT_NODE: 3, FaultKind.CUT_WAY: 4, FaultKind.CRASH: 1},
            fault_length_ns=2_200 * MILLISECOND,
        ),
        replace(
            _BASE,
            name="disks",
            faults={
                FaultKind.SLOW_DISK: 3,
                FaultKind.FULL_DISK: 2,
                FaultKind.STALL_ENGINE: 3,
                FaultKind.FAIL_DISK: 1,
                FaultKind.POWER: 3,
                FaultKind.CRASH_ALL: 1,
            },
            disk_stall=0.05,
            flush_interval_ns=400 * MILLISECOND,
        ),
        replace(
            _BASE,
            name="handover",
            faults={FaultKind.DRAIN: 4, FaultKind.CRASH: 1, FaultKind.CUT_WAY: 1},
            fault_interval_ns=1_200 * MILLISECOND,
            fault_length_ns=500 * MILLISECOND,
        ),
        replace(
            _BASE,
            name="rot",
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            padding_bytes=60,
            faults={FaultKind.ROT: 4, FaultKind.CRASH: 2, FaultKind.POWER: 1, FaultKind.CUT_WAY: 1},
            fault_length_ns=600 * MILLISECOND,
        ),
        replace(
            # Damage, and nodes for log replicas.
            _BASE,
            name="rot-five",
            nodes=5,
            clients=3,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            log_replica_after_ns=700 * MILLISECOND,
            padding_bytes=60,
            faults={FaultKind.ROT: 4, FaultKind.CRASH: 2, FaultKind.POWER: 1, FaultKind.CUT_WAY: 1},
            fault_length_ns=900 * MILLISECOND,
        ),
        replace(
            # Log replicas all the time; a machine that never comes back is the only one that is away so long.
            _BASE,
            name="losses",
            nodes=5,
            clients=4,
            safety_ns=18 * SECOND,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            log_replica_after_ns=600 * MILLISECOND,
            replace_after_ns=6_500 * MILLISECOND,
            faults={
                FaultKind.CRASH: 4,
                FaultKind.POWER: 3,
                FaultKind.CUT_NODE: 2,
                FaultKind.CUT_WAY: 2,
                FaultKind.PAUSE: 1,
                FaultKind.LOSE_MACHINE: 1,
            },
            fault_interval_ns=800 * MILLISECOND,
            fault_length_ns=600 * MILLISECOND,
        ),
        replace(
            # One node to spare: the log replica makes room for the rows. Only a machine that is gone is away that long.
            _BASE,
            name="four",
            nodes=4,
            clients=4,
            safety_ns=18 * SECOND,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            log_replica_after_ns=600 * MILLISECOND,
            replace_after_ns=6 * SECOND,
            faults={FaultKind.CRASH: 3, FaultKind.POWER: 2, FaultKind.CUT_NODE: 2, FaultKind.LOSE_MACHINE: 2},
            fault_interval_ns=900 * MILLISECOND,
            fault_length_ns=500 * MILLISECOND,
        ),
        replace(
            # Two nodes in each of three zones, which lose their power as one.
            _BASE,
            name="zones",
            nodes=6,
            clients=4,
            safety_ns=14 * SECOND,
            log_replica_after_ns=SECOND,
            faults={FaultKind.ZONE: 4, FaultKind.CRASH: 2, FaultKind.CUT_WAY: 1, FaultKind.PAUSE: 1},
            fault_interval_ns=2_200 * MILLISECOND,
            fault_length_ns=2_000 * MILLISECOND,
        ),
        replace(
            # Machines are added and removed while nodes fall, and one burns down and is replaced.
            _BASE,
            name="joins",
            spares=4,
            clients=4,
            safety_ns=18 * SECOND,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            log_replica_after_ns=600 * MILLISECOND,
            faults={
                FaultKind.ADD_NODE: 3,
                FaultKind.REMOVE_NODE: 2,
                FaultKind.REPLACE: 1,
                FaultKind.CRASH: 3,
                FaultKind.POWER: 2,
                FaultKind.CUT_NODE: 2,
                FaultKind.CUT_WAY: 1,
                FaultKind.PAUSE: 1,
            },
            fault_interval_ns=900 * MILLISECOND,
            fault_length_ns=700 * MILLISECOND,
        ),
        replace(
            # Nodes leave one after the other, alive, dead, damaged and cut off, also while log replicas vote for some.
            _BASE,
            name="removals",
            nodes=6,
            spares=2,
            clients=4,
            safety_ns=16 * SECOND,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            log_replica_after_ns=600 * MILLISECOND,
            padding_bytes=60,
            faults={
                FaultKind.REMOVE_NODE: 4,
                FaultKind.ADD_NODE: 1,
                FaultKind.ROT: 2,
                FaultKind.CRASH: 3,
                FaultKind.POWER: 2,
                FaultKind.CUT_NODE: 2,
                FaultKind.PAUSE: 1,
            },
            fault_interval_ns=800 * MILLISECOND,
            fault_length_ns=800 * MILLISECOND,
        ),
        replace(
            # Two nodes in each of three zones, which lose their power as one, while nodes come and go.
            _BASE,
            name="join-zones",
            nodes=6,
            spares=3,
            clients=3,
            safety_ns=14 * SECOND,
            log_replica_after_ns=SECOND,
            faults={
                FaultKind.ZONE: 3,
                FaultKind.REMOVE_NODE: 2,
                FaultKind.ADD_NODE: 2,
                FaultKind.REPLACE: 1,
                FaultKind.CUT_WAY: 1,
            },
            fault_interval_ns=1_500 * MILLISECOND,
            fault_length_ns=1_500 * MILLISECOND,
        ),
        replace(
            # Links that fail in part: one way, for some frames, or again and again.
            _BASE,
            name="links",
            safety_ns=20 * SECOND,
            network=NORMAL,
            faults={
                FaultKind.CUT_WAY: 2,
                FaultKind.MUTE: 1,
                FaultKind.DEAF: 1,
                FaultKind.FLAP: 3,
                FaultKind.BAD_LINK: 3,
                FaultKind.CRASH: 1,
            },
            fault_interval_ns=2_000 * MILLISECOND,
            fault_length_ns=1_800 * MILLISECOND,
            balance_ns=SECOND,
        ),
        replace(
            # Disks that do not answer for seconds beneath processes that do; leaders come and go by hand-over.
            _BASE,
            name="gray-disks",
            safety_ns=15 * SECOND,
            faults={FaultKind.HANG_DISK: 5, FaultKind.DRAIN: 2, FaultKind.CRASH: 1, FaultKind.CUT_WAY: 1},
            fault_interval_ns=1_800 * MILLISECOND,
            fault_length_ns=2_500 * MILLISECOND,
            balance_ns=500 * MILLISECOND,
        ),
        SimConfig(
            # Short leases and short faults: as many changes of leader, with as much in flight, as fit into a run.
            "storm",
            clients=14,
            keys=3,
            think_ns=3 * MILLISECOND,
            safety_ns=5 * SECOND,
            reads=0.2,
            conditional=0.1,
            padding_bytes=40,
            disk_delay_ns=4 * MILLISECOND,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            network=_STORM,
            disk_stall=0.1,
            faults={
                FaultKind.CRASH: 2,
                FaultKind.POWER: 4,
                FaultKind.PAUSE: 3,
                FaultKind.CUT_NODE: 3,
                FaultKind.CUT_WAY: 5,
                FaultKind.SLOW_DISK: 3,
                FaultKind.CRASH_ALL: 1,
            },
            fault_interval_ns=500 * MILLISECOND,
            fault_length_ns=200 * MILLISECOND,
        ),
        SimConfig(
            # Several groups on one node, whose disk often answers before a turn of the loop ends.
            "swift",
            nodes=1,
            clients=6,
            keys=8,
            write_units=0,
            think_ns=150 * MICROSECOND,
            safety_ns=1_000 * MILLISECOND,
            reads=0.2,
            conditional=0.05,
            padding_bytes=40,
            disk_delay_ns=60 * MICROSECOND,
            swift_disks=1.0,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            faults={FaultKind.CRASH: 1, FaultKind.POWER: 1, FaultKind.SLOW_DISK: 1},
            fault_interval_ns=500 * MILLISECOND,
            fault_length_ns=200 * MILLISECOND,
        ),
        SimConfig(
            # Leaders that have much in flight fall, and their successors right after them.
            "coups",
            clients=14,
            keys=6,
            think_ns=10 * MILLISECOND,
            safety_ns=6 * SECOND,
            reads=0.2,
            conditional=0.1,
            padding_bytes=40,
            disk_delay_ns=3 * MILLISECOND,
            swift_disks=0.0,
            grant_ns=250 * MILLISECOND,
            renewal_ns=60 * MILLISECOND,
            faults={FaultKind.COUP: 6, FaultKind.CUT_WAY: 1},
            fault_interval_ns=900 * MILLISECOND,
            fault_length_ns=350 * MILLISECOND,
        ),
        SimConfig(
            # The messages of a leader arrive after others have promised to pass it over.
            "stale",
            clients=8,
            keys=4,
            think_ns=10 * MILLISECOND,
            safety_ns=8 * SECOND,
            reads=0.3,
            conditional=0.1,
            padding_bytes=40,
            grant_ns=250 * MILLISECOND,
            renewal_ns=60 * MILLISECOND,
            faults={FaultKind.STALE: 1},
            fault_interval_ns=700 * MILLISECOND,
            fault_length_ns=350 * MILLISECOND,
        ),
        SimConfig(
            # Leaders fall while the engines of their successors are stalled.
            "lags",
            clients=8,
            keys=3,
            think_ns=8 * MILLISECOND,
            safety_ns=5 * SECOND,
            grant_ns=200 * MILLISECOND,
            renewal_ns=50 * MILLISECOND,
            faults={FaultKind.LAG: 1},
            fault_interval_ns=1_500 * MILLISECOND,
            fault_length_ns=300 * MILLISECOND,
        ),
        SimConfig(
            # The power goes everywhere at once, again and again, while fsyncs take long.
            "blackouts",
            clients=10,
            keys=3,
            think_ns=4 * MILLISECOND,
            safety_ns=6 * SECOND,
            reads=0.3,
            padding_bytes=40,
            disk_delay_ns=6 * MILLISECOND,
            swift_disks=0.0,
            grant_ns=200 * MILLISECOND,
            renewal_ns=50 * MILLISECOND,
            disk_stall=0.05,
            faults={FaultKind.BLACKOUT: 5, FaultKind.POWER: 1, FaultKind.CUT_WAY: 1, FaultKind.SLOW_DISK: 1},
            fault_interval_ns=600 * MILLISECOND,
            fault_length_ns=150 * MILLISECOND,
        ),
        SimConfig(
            # Mostly strong reads, few writes, links that break one way: who trusts a lease that is over is seen to.
            "readers",
            clients=8,
            keys=2,
            reads=0.85,
            conditional=0.1,
            think_ns=8 * MILLISECOND,
            safety_ns=8 * SECOND,
            grant_ns=400 * MILLISECOND,
            renewal_ns=100 * MILLISECOND,
            faults={
                FaultKind.CUT_WAY: 8,
                FaultKind.CUT_NODE: 2,
                FaultKind.PAUSE: 3,
                FaultKind.CRASH: 4,
                FaultKind.ORPHAN: 4,
            },
            fault_interval_ns=200 * MILLISECOND,
            fault_length_ns=500 * MILLISECOND,
        ),
        _RANGES,
        replace(_RANGES, name="range-quiet", faults={}, network=NORMAL, safety_ns=3 * SECOND),
        replace(
            # Rows so large that a page is read in several steps, between which they may be written.
            _RANGES,
            name="range-chunks",
            clients=4,
            padding_bytes=12_000,
            segment_bytes=256 << 10,
            flush_bytes=512 << 10,
            think_ns=20 * MILLISECOND,
        ),
        replace(
            # Logs are cut soon, so that replicas which missed something get their rows by snapshots, and lead again.
            _RANGES,
            name="range-laggards",
            faults={FaultKind.CUT_NODE: 3, FaultKind.CRASH: 1, FaultKind.DRAIN: 2},
            fault_interval_ns=1_000 * MILLISECOND,
            fault_length_ns=1_800 * MILLISECOND,
            safety_ns=8 * SECOND,
            retain_log_bytes=2 << 10,
            flush_interval_ns=300 * MILLISECOND,
            balance_ns=500 * MILLISECOND,
            think_ns=20 * MILLISECOND,
        ),
        replace(
            # Replicas are made anew after damage, and elsewhere; log replicas vote meanwhile.
            _RANGES,
            name="range-losses",
            nodes=5,
            safety_ns=8 * SECOND,
            log_replica_after_ns=600 * MILLISECOND,
            replace_after_ns=6_000 * MILLISECOND,
            faults={
                FaultKind.ROT: 3,
                FaultKind.CRASH: 3,
                FaultKind.POWER: 2,
                FaultKind.CUT_WAY: 1,
                FaultKind.DRAIN: 1,
            },
            fault_interval_ns=700 * MILLISECOND,
            fault_length_ns=600 * MILLISECOND,
            think_ns=20 * MILLISECOND,
        ),
        replace(_BASE, name="indexes", indexes=True, reads=0.25, keys=8, write_units=0),
        replace(
            _BASE,
            name="index-crashes",
            indexes=True,
            reads=0.1,
            keys=12,
            write_units=0,
            faults={FaultKind.CRASH: 3, FaultKind.POWER: 3, FaultKind.CRASH_ALL: 1, FaultKind.DRAIN: 3},
            fault_interval_ns=500 * MILLISECOND,
            fault_length_ns=500 * MILLISECOND,
        ),
        replace(_BASE, name="streams", streams=True, indexes=True, reads=0.1, keys=8, write_units=0),
        replace(
            _BASE,
            name="stream-crashes",
            streams=True,
            stream_churn=True,
            reads=0.1,
            keys=6,
            write_units=0,
            faults={FaultKind.CRASH: 3, FaultKind.POWER: 3, FaultKind.CRASH_ALL: 1, FaultKind.DRAIN: 3},
            fault_interval_ns=500 * MILLISECOND,
            fault_length_ns=500 * MILLISECOND,
        ),
        replace(
            # Records expire while indexes are being fed: what goes must be old and fed.
            _BASE,
            name="stream-expiry",
            streams=True,
            indexes=True,
            stream_retention_ns=SECOND,
            reads=0.1,
            keys=8,
            write_units=0,
            faults={FaultKind.CRASH: 2, FaultKind.POWER: 1, FaultKind.DRAIN: 3, FaultKind.CUT_NODE: 3},
            fault_interval_ns=600 * MILLISECOND,
        ),
        # A table with a stream is deleted and made again: the streams of all of them stay, the items do not.
        replace(_BASE, name="stream-tables", streams=True, table_churn=True),
        replace(_BASE, name="tables", table_churn=True, read_units=0, write_units=0),
        replace(
            _BASE,
            name="laggards",
            faults={FaultKind.CUT_NODE: 3, FaultKind.CRASH: 2},
            fault_interval_ns=1_800 * MILLISECOND,
            fault_length_ns=4_000 * MILLISECOND,
            safety_ns=30 * SECOND,
            retain_log_bytes=2 << 10,
            flush_interval_ns=300 * MILLISECOND,
            think_ns=50 * MILLISECOND,
        ),
        _BANK,
        replace(
            # Coordinators and leaders fall at every step of the protocol.
            _BANK,
            name="bank-steps",
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            faults={FaultKind.STEP: 12, FaultKind.CUT_WAY: 1, FaultKind.DRAIN: 1},
            fault_interval_ns=350 * MILLISECOND,
            fault_length_ns=150 * MILLISECOND,
        ),
        replace(
            # Leases are short and leaders change all the time; messages come late and twice; nobody waits for long.
            _BANK,
            name="bank-leaders",
            safety_ns=5 * SECOND,
            request_deadline_ns=800 * MILLISECOND,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            network=_STORM,
            faults={
                FaultKind.CRASH: 2,
                FaultKind.CUT_NODE: 2,
                FaultKind.CUT_WAY: 3,
                FaultKind.DRAIN: 2,
                FaultKind.PAUSE: 2,
            },
            fault_interval_ns=400 * MILLISECOND,
            fault_length_ns=300 * MILLISECOND,
        ),
        replace(
            # Transactions leave records, whoever commits them in the end.
            _BANK,
            name="stream-bank",
            streams=True,
            safety_ns=5 * SECOND,
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            faults={FaultKind.STEP: 6, FaultKind.CRASH: 2, FaultKind.CUT_WAY: 1, FaultKind.DRAIN: 2},
            fault_interval_ns=350 * MILLISECOND,
            fault_length_ns=200 * MILLISECOND,
        ),
        replace(
            # Coordinators sleep for longer than recovery has patience, and go on where they were.
            _BANK,
            name="bank-sleepers",
            grant_ns=300 * MILLISECOND,
            renewal_ns=80 * MILLISECOND,
            network=_STORM,
            faults={FaultKind.PAUSE: 6, FaultKind.STEP: 1, FaultKind.CUT_NODE: 1},
            fault_interval_ns=600 * MILLISECOND,
            fault_length_ns=2_500 * MILLISECOND,
        ),
        replace(
            # The coordinators' clocks are seconds apart, and jump.
            _BANK,
            name="bank-clocks",
            grant_ns=400 * MILLISECOND,
            renewal_ns=100 * MILLISECOND,
            faults={FaultKind.WALL_STEP: 4, FaultKind.PAUSE: 1, FaultKind.STEP: 1},
            fault_interval_ns=400 * MILLISECOND,
            fault_length_ns=600 * MILLISECOND,
        ),
        replace(
            # Logs are cut soon, so that replicas which missed something get snapshots with items that are held.
            _BANK,
            name="bank-laggards",
            faults={FaultKind.CUT_NODE: 3, FaultKind.CRASH: 2, FaultKind.POWER: 1, FaultKind.STEP: 1},
            fault_interval_ns=1_200 * MILLISECOND,
            fault_length_ns=2_500 * MILLISECOND,
            safety_ns=10 * SECOND,
            retain_log_bytes=2 << 10,
            flush_interval_ns=300 * MILLISECOND,
            think_ns=40 * MILLISECOND,
        ),
        replace(
            # A table is deleted and made again while transactions are under way in it.
            _BANK,
            name="bank-tables",
            table_churn=True,
            clients=3,
            tellers=2,
            transacted=0.6,
            grant_ns=400 * MILLISECOND,
            renewal_ns=100 * MILLISECOND,
            fault_length_ns=400 * MILLISECOND,
        ),
        replace(_BANK, name="bank-quiet", faults={}, network=NORMAL, safety_ns=2 * SECOND, think_ns=10 * MILLISECOND),
        _OBJECTS,
        replace(_OBJECTS, name="objects-quiet", faults={}, network=NORMAL, safety_ns=2 * SECOND),
        replace(
            # All at once, with and without power, on slow disks: what was acknowledged is on one.
            _OBJECTS,
            name="objects-blackouts",
            faults={FaultKind.BLACKOUT: 3, FaultKind.CRASH_ALL: 1, FaultKind.POWER: 4, FaultKind.CUT_NODE: 1},
            fault_interval_ns=300 * MILLISECOND,
            fault_length_ns=150 * MILLISECOND,
            disk_delay_ns=8 * MILLISECOND,
            think_ns=30 * MILLISECOND,
        ),
        replace(
            # The power of single nodes on slow disks is lost all the time, and soon back: others know what they wrote.
            _OBJECTS,
            name="objects-power",
            nodes=3,
            keys=1,
            faults={FaultKind.POWER: 4, FaultKind.SLOW_DISK: 2},
            fault_interval_ns=150 * MILLISECOND,
            fault_length_ns=60 * MILLISECOND,
            disk_delay_ns=8 * MILLISECOND,
            think_ns=15 * MILLISECOND,
            safety_ns=3 * SECOND,
        ),
        replace(
            # Disks are full, slow and fail; engines stall, and flush for so long that the log is cut meanwhile.
            _OBJECTS,
            name="objects-disks",
            faults={
                FaultKind.SLOW_DISK: 3,
                FaultKind.FULL_DISK: 3,
                FaultKind.STALL_ENGINE: 3,
                FaultKind.FAIL_DISK: 3,
                FaultKind.POWER: 2,
                FaultKind.BLACKOUT: 1,
                FaultKind.CUT_NODE: 2,
            },
            disk_stall=0.05,
            fault_interval_ns=250 * MILLISECOND,
            segment_bytes=32 << 10,
            flush_bytes=8 << 10,
            flush_interval_ns=500 * MILLISECOND,
            engine_flush_ns=3 * SECOND,
            padding_bytes=2_000,
            outcome_window_ns=500 * MILLISECOND,
        ),
        replace(
            # One node loses part of its log, or all of its rows; what two disks had is never lost.
            _OBJECTS,
            name="objects-losses",
            clients=8,
            think_ns=20 * MILLISECOND,
            faults={
                FaultKind.ROT: 4,
                FaultKind.LOSE_ROWS: 2,
                FaultKind.CRASH: 1,
                FaultKind.POWER: 1,
                FaultKind.CUT_NODE: 3,
            },
            fault_interval_ns=300 * MILLISECOND,
            fault_length_ns=300 * MILLISECOND,
            flush_interval_ns=300 * MILLISECOND,
            outcome_window_ns=500 * MILLISECOND,
        ),
        replace(
            # Nodes leave the ring and join it, while others fall and are cut off.
            _OBJECTS,
            name="objects-ring",
            ring_changes=True,
            nodes=7,
            keys=4,
            think_ns=80 * MILLISECOND,
            faults={FaultKind.CRASH: 2, FaultKind.POWER: 2, FaultKind.CUT_NODE: 2, FaultKind.PAUSE: 1},
            fault_interval_ns=1_500 * MILLISECOND,
            safety_ns=12 * SECOND,
        ),
        replace(
            # One node is gone for good, some time; the others have all that two had, and agree.
            _OBJECTS,
            name="objects-burns",
            clients=10,
            keys=6,
            faults={FaultKind.BURN: 2, FaultKind.POWER: 1},
            fault_interval_ns=2 * SECOND,
            fault_length_ns=3 * SECOND,
            safety_ns=8 * SECOND,
        ),
        replace(
            # Of writers whose clocks are seconds apart the last one wins, and they have one key of each kind.
            _OBJECTS,
            name="objects-clocks",
            faults={FaultKind.WALL_STEP: 4, FaultKind.CUT_NODE: 3, FaultKind.CUT_WAY: 2, FaultKind.POWER: 1},
            fault_length_ns=300 * MILLISECOND,
            keys=1,
        ),
        replace(
            # Deletions that are old before the next write, while nodes are away for longer than that.
            _OBJECTS,
            name="objects-deletions",
            clients=6,
            faults={FaultKind.CUT_NODE: 2, FaultKind.POWER: 1},
            fault_interval_ns=2 * SECOND,
            fault_length_ns=1500 * MILLISECOND,
            keys=8,
            think_ns=150 * MILLISECOND,
            deletes_what_it_reads=True,
            tombstone_age_ns=200 * MILLISECOND,
            safety_ns=15 * SECOND,
        ),
        replace(
            # Nodes stop gracefully too, and trust what they find when they are back.
            _OBJECTS,
            name="objects-drains",
            faults={FaultKind.DRAIN: 4, FaultKind.POWER: 2, FaultKind.CUT_NODE: 2, FaultKind.WALL_STEP: 1},
        ),
    )
}

DEFAULT_MIX: Final = tuple(CONFIGS)
"""`gramme sim --seed N` without a configuration runs the one at N modulo the length of this list."""


def config_of(name: str | None, seed: int) -> SimConfig:
    """The named configuration, or the one that the default mix gives to `seed`.

    Raises `KeyError` with the names that exist for an unknown one.
    """
    if name is None:
        return CONFIGS[DEFAULT_MIX[seed % len(DEFAULT_MIX)]]
    if name not in CONFIGS:
        raise KeyError(f"no simulation configuration {name!r}; there are {', '.join(CONFIGS)}")
    return CONFIGS[name]
