"""The objects of a node: its replica, the machines around it, and their configuration, composed on the host.

Owns what of the objects stands in the node's log: OBJECT records are replayed over the rows at a start, and what no row
holds (reserved dots, configuration) is repeated in every segment. Objects need nobody's quorum: they are ready as soon
as this boot and a block of dots are durable (REPLICATION.md §8), with the configuration last heard of, or, in a new
cluster, the ring that every founder works out for itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Stalled
from gramme.kernel.ids import ClusterId, Lsn, NodeId
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import MILLISECOND, SECOND, Instant, Timestamp
from gramme.node.catalog.commands import SetObjects
from gramme.node.driver import Driver
from gramme.node.host import Host
from gramme.node.members import Members
from gramme.node.objects.configuration import ObjectConfiguration
from gramme.node.objects.names import ObjectNames
from gramme.node.objects.ring import ObjectRing
from gramme.node.ports import NodeSettings
from gramme.objects.anti_entropy import AntiEntropy
from gramme.objects.config import FOUNDED_VERSION, ObjectConfig
from gramme.objects.coordinator import Answered, Coordinators
from gramme.objects.dots import LEAP, DotSource
from gramme.objects.expiry import GRACE_NS
from gramme.objects.handoff import HintedHandoff
from gramme.objects.messages import (
    BACKGROUND_MESSAGES,
    COORDINATOR_MESSAGES,
    HANDOFF_MESSAGES,
    LISTING_MESSAGES,
    REAPING_MESSAGES,
    Get,
    Request,
)
from gramme.objects.reaping import Reaper, View
from gramme.objects.replica import (
    Configured,
    ObjectEntry,
    ObjectReplica,
    Reserved,
    Stopped,
    decode_entry,
    object_record,
)
from gramme.objects.state import Name
from gramme.objects.store import Keeping, ObjectStore, Section
from gramme.placement.ring import founded
from gramme.storage.log.recovery import Damage

_DOUBT_NS: Final = 3 * SECOND

OnOutcome = Callable[[Any], None]
"""Takes an `Outcome`, or a `Listed`, once."""


_REPLAY_RETRY_NS: Final = 50 * MILLISECOND


class Objects:
    """See the module. `reachable` is the node's own guess of who would answer; `addresses` are where nodes say that
    clients reach their objects ("host:port", or "")."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        members: Members,
        cluster: ClusterId,
        reachable: Callable[[NodeId], bool],
        catalog: Callable[[SetObjects, Instant, Callable[[Any], None]], None],
        addresses: Callable[[], Mapping[NodeId, str]],
    ) -> None:
        self._host = host
        self._on = settings.objects
        self._settings = settings
        self._members = members
        self._cluster_key = blake2b(cluster, person=b"contexts").digest()
        self.me = settings.me
        self.addresses = addresses
        self._reachable = reachable
        self._doubted: dict[NodeId, Instant] = {}  # links lost, until when that counts
        self.configuration = ObjectConfiguration(host, _founding(settings), catalog, self._configured)
        self.ready = False
        self._booted = self._whole = False
        self._owed: deque[ObjectEntry] = deque()  # records of the log that the rows may lack
        self.low_space = False  # the node sets it: below the reserve nothing new is taken
        self._waiting: dict[int, OnOutcome] = {}
        self._reading: dict[int, Instant] = {}  # when reads began
        self._shared_of = 0
        self._shared: dict[NodeId, list[Section]] = {}
        self._on_stopped: Callable[[], None] = _nothing

    # --- start --------------------------------------------------------------------------------------------------------

    def recover(self, records: Iterable[tuple[Lsn, Record]], damaged: Sequence[Damage]) -> None:
        """Replay this node's OBJECT records. `damaged`: some are missing, so what this node wrote may be too."""
        if not self._on:
            return
        bodies = [(lsn, decode_entry(record.body)) for lsn, record in records if record.kind == RecordKind.OBJECT]
        entries = [entry for _, entry in bodies]
        # A block reserved since may have been numbered from, by writes that others have and no record here tells of.
        changes = [entry for entry in entries if not isinstance(entry, Configured)]
        clean = not damaged and (not changes or isinstance(changes[-1], Stopped))
        reserved, reserved_at = Reserved(0, 0), Lsn(0)
        for lsn, entry in bodies:
            if isinstance(entry, Configured):
                self.configuration.recover(entry)
            elif isinstance(entry, Reserved):
                reserved, reserved_at = entry, lsn
        self.store = ObjectStore(self._host.ports.engine, self.config.ring.partitions, self._keeping)
        end = reserved.end
        if any(not damage.records or damage.lsn + damage.records > reserved_at for damage in damaged):
            end += self._host.ports.rng.randrange(LEAP)  # a later block may have been reserved
        self.dots = DotSource(self.me, end, clean and self.store.marked, reserved.trusted_from)
        self.replica = ObjectReplica(self.me, self.store, self.dots, self._full, self._over)
        self._owed = deque(entries)
        rng = self._host.ports.rng
        self.coordinators = Coordinators(
            self.me, self.replica, self.dots, lambda: self.config.ring, self._likely,
            self._host.ports.clock.timestamp, rng, lambda: self.config.other,
        )  # fmt: skip
        self.handoff = HintedHandoff(self.replica, self._reachable, rng)
        self.anti_entropy = AntiEntropy(self.replica, self._shared_sections, self._reachable)
        wall = self._host.ports.clock.timestamp
        self.reaper = Reaper(
            self.me, self.replica, self._view, self._reachable, self.coordinators.names, wall, rng,
            self._settings.tombstone_age_ns,
        )  # fmt: skip
        self.names = ObjectNames(self._host, self.me, self.store, lambda: self.config, self._reachable)
        self._coordinating = Driver(self._host, self.coordinators, self._answered, self._durable)
        self._handing_off = Driver(self._host, self.handoff)
        self._comparing = Driver(self._host, self.anti_entropy)
        self._reaping = Driver(self._host, self.reaper)
        self.ring = ObjectRing(self._host, self._settings, self._members, self, self._reachable)
        self._replay()

    @property
    def replaying(self) -> bool:
        """Whether the log holds changes that the rows may lack: an engine that was behind when the node started takes
        them later. Until then the node takes no part, and no segment of its log may go for what is in the engine."""
        return self._on and not self._whole

    def _replay(self) -> None:
        try:
            while self._owed:
                self.replica.replay((self._owed[0],))
                self._owed.popleft()
            self.store.mark()
        except Stalled:
            retry = Instant(self._host.now() + _REPLAY_RETRY_NS)
            self._host.ports.scheduler.call_at(retry, lambda: None if self._host.stopped else self._replay())
        else:
            self._whole = True
            self._take_part()

    def start(self) -> None:
        """This boot is durable: peers may hear of this node."""
        self._booted = True
        self._take_part()

    def _take_part(self) -> None:
        if not self._on or not self._booted or not self._whole:
            return
        self._reserve()
        self._handing_off.carry_out(Effects())
        self._comparing.carry_out(Effects())
        self.ring.start()
        self._reaping.carry_out(Effects())

    def handlers(self) -> dict[type, Callable[[NodeId, Any], None]]:
        """Who takes which message."""
        if not self._on:
            return {}
        steps = (
            dict.fromkeys(COORDINATOR_MESSAGES, self._coordinating.step)
            | dict.fromkeys(HANDOFF_MESSAGES, self._handing_off.step)
            | dict.fromkeys(BACKGROUND_MESSAGES, self._comparing.step)
            | dict.fromkeys(REAPING_MESSAGES, self._reaping.step)
            | dict.fromkeys(LISTING_MESSAGES, self.names.step)
            | self.ring.handlers()
        )
        return {kind: self._unless_replaying(step) for kind, step in steps.items()}

    def _unless_replaying(self, step: Callable[[NodeId, Any], None]) -> Callable[[NodeId, Any], None]:
        """What its rows still lack this node would deny; whoever asks has others to ask."""
        return lambda source, message: None if self.replaying else step(source, message)

    def _reserve(self) -> None:
        """Have the next block of dots made durable, if it is time."""
        if self.dots.wanted() is not None:
            reserved = Reserved(*self.dots.reservation)
            effects = Effects(records=[object_record(reserved)], durable_events=[reserved])
            self._host.execute(effects, self._coordinating)

    def _durable(self, event: Any) -> None:
        """A block of dots, the last record, or this node's own copy of a write."""
        if isinstance(event, Stopped):
            self._on_stopped()
        elif isinstance(event, Reserved):
            self.dots.reserved(event.end)
            self.ready = not self.dots.closed
        else:
            self._coordinating.carry_out(self.coordinators.on_durable(event, self._host.now()))

    def checkpoint(self) -> list[Record]:
        """What no row holds, for a new segment of the log."""
        if not self._on:
            return []
        records = [self.configuration.record()]
        end, _ = self.dots.reservation
        return records if end == 0 else [*records, object_record(Reserved(*self.dots.reservation))]

    def stop(self, on_done: Callable[[], None]) -> None:
        """A graceful stop: number no write any more, and note durably that nothing is owed, so that the next start may
        trust what it finds (`gramme.objects.dots`)."""
        if not self._on:
            on_done()
            return
        self.ready = False
        self.dots.close()
        self._on_stopped = on_done
        effects = Effects(records=[object_record(Stopped())], durable_events=[Stopped()])
        self._host.execute(effects, self._coordinating)

    # --- requests -----------------------------------------------------------------------------------------------------

    def submit(self, request: Request, deadline: Instant, on_outcome: OnOutcome) -> None:
        """Serve a client's request; `on_outcome` is called once, not long after `deadline`."""
        now = self._host.now()
        id_, effects = self.coordinators.submit(request, deadline, now)
        self._waiting[id_] = on_outcome
        if isinstance(request, Get):
            self._reading[id_] = now
        self._coordinating.carry_out(effects)
        self._reserve()

    def _answered(self, answered: Answered) -> None:
        """The outcome of a request of this node's clients."""
        began = self._reading.pop(answered.id, None)
        if began is not None:
            now = self._host.now()
            self.ring.pace.observe(now - began, now)
        on_outcome = self._waiting.pop(answered.id, None)
        if on_outcome is not None:
            on_outcome(answered.outcome)

    @property
    def waiting(self) -> int:
        """Requests without an answer yet."""
        return len(self._waiting) + self.names.waiting if self._on else 0

    def disconnected(self, node: NodeId) -> None:
        """The link to `node` broke. Until it stands again, or for as long as failure detection may need to find out
        more, requests go to others first: whoever is asked in vain costs `coordinator.SLOW_NS`."""
        self._doubted[node] = Instant(self._host.now() + _DOUBT_NS)
        self.lost(node)

    def connected(self, node: NodeId) -> None:
        """The link to `node` stands."""
        self._doubted.pop(node, None)

    def _likely(self, node: NodeId) -> bool:
        """Whether `node` would answer now, as far as this node can tell."""
        until = self._doubted.get(node)
        return self._reachable(node) and (until is None or self._host.now() >= until)

    def lost(self, node: NodeId) -> None:
        """Nothing is heard of `node`: what it was asked is asked elsewhere."""
        if not self._on:
            return
        self._coordinating.carry_out(self.coordinators.lost(node, self._host.now()))
        self.names.lost(node)

    # --- configuration ------------------------------------------------------------------------------------------------

    @property
    def config(self) -> ObjectConfig:
        """The ring and the buckets' settings that this node works with."""
        return self.configuration.config

    def configure(self, encoded: bytes) -> None:
        """The catalog, or a peer, has a configuration. An older one than this node's changes nothing."""
        if self._on:
            self.configuration.configure(encoded)

    def _configured(self) -> None:
        """Another configuration is in effect."""
        if not self.replaying:
            self.ring.configured()

    @property
    def cluster_key(self) -> bytes:
        """What clients' contexts are sealed with: all nodes of the cluster know it, other clusters do not."""
        return self._cluster_key

    def status(self) -> dict[str, Any]:
        """What `/cluster` shows of objects."""
        if not self._on:
            return {}
        return {
            "ready": self.ready,
            "ring_version": self.config.ring.version,
            "partitions": self.config.ring.partitions,
            "ring": self.ring.view(),
            "waiting": self.waiting,
            "forwarded": self.coordinators.forwarded,
            "hinted": self.coordinators.hinted,
            "hinted_nodes": len(self.store.hinted_nodes()),
            "hints": self.store.hints_kept,
            "hints_delivered": self.handoff.delivered,
            "handed_off_bytes": self.handoff.bytes_sent,
            "replica_reads": self.replica.read,
            "replica_writes": self.replica.kept,
            "truncated_vectors": self.coordinators.truncated + self.replica.truncated,
            "repaired_by_reads": self.coordinators.repaired,
            "exchange_rounds": self.anti_entropy.rounds,
            "exchanged_states": self.anti_entropy.states_sent,
            "exchanged_bytes": self.anti_entropy.bytes_sent,
            "swept": self.reaper.swept,
            "expired": self.replica.lapsed,
            "refused_as_too_large": self.replica.oversized,
            "deletions_waiting": self.reaper.waiting,
            "deletions_buried": self.reaper.buried,
            "deletions_forgotten": self.reaper.forgotten,
            "deletions_disagreed": self.reaper.disagreed,
        }

    def _over(self) -> Timestamp:
        """What expired before this has expired by everybody's clock."""
        grace = min(GRACE_NS, self._settings.tombstone_age_ns)
        return Timestamp(self._host.ports.clock.timestamp() - grace)

    def _view(self) -> View:
        """Whoever may hold anything of an object: the cluster's nodes, and those that the ring names."""
        ring = self.config.ring
        nodes = [*(member.node for member in self._members.all), *(place.node for place in ring.members)]
        return View(self.config.version, ring, tuple(dict.fromkeys(nodes)), self.config.other is not None)

    def sections(self) -> dict[str, Any]:
        """What this node keeps, for comparing replicas without reading them: the root of the Merkle tree of each
        section of which there is anything, named "partition/n", in hexadecimal; and the nodes it keeps hints for."""
        if not self._on or self.replaying:
            return {"version": 1, "roots": {}, "hinted": []}
        roots = {
            f"{section.partition}/{section.n}": self.store.tree(section).root() for section in self.store.sections()
        }
        return {
            "version": 1,
            "ring_version": self.config.ring.version,
            "roots": {name: f"{root:032x}" for name, root in roots.items() if root},  # 0: bare vectors only
            "hinted": self.store.hinted_nodes(),
        }

    def _full(self) -> bool:
        return self.low_space or self._host.log.full

    def _keeping(self, name: Name) -> Keeping:
        return self.config.keeping(name)

    def _shared_sections(self) -> dict[NodeId, list[Section]]:
        """For each peer the sections that it and this node both keep, worked out once for each configuration."""
        if self._shared_of != self.config.version:
            self._shared_of = self.config.version
            self._shared = _shared(self.me, self.config)
        return self._shared


def _shared(me: NodeId, config: ObjectConfig) -> dict[NodeId, list[Section]]:
    shared: dict[NodeId, list[Section]] = {}
    for n in config.replica_counts():
        for partition in range(config.ring.partitions):
            primaries = config.ring.primaries(partition, n)
            if me in primaries:
                for peer in primaries:
                    if peer != me:
                        shared.setdefault(peer, []).append(Section(partition, n))
    return shared


def _founding(settings: NodeSettings) -> ObjectConfig:
    """What every founder works out for itself."""
    return ObjectConfig(FOUNDED_VERSION, founded([member.place for member in settings.members]))


def _nothing() -> None:
    """Nobody waits for the stop."""
