"""What a node measures of its objects, for Prometheus: requests, siblings, repair, hints, and its share of the load.

Owns the names (`gramme_objects_…`). A node's *load* is what it did as a replica, reads and writes, in the last 30
minutes; gossip carries it once a minute, and whoever is more than 15 % off the mean by weight is out of balance
(Dynamo's own measure, SOSP 2007, §6.2; row A48).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gramme.kernel.ids import NodeId
from gramme.placement.ring import balance
from gramme.placement.zones import NodePlace
from gramme.runtime.metrics import Counter, Histogram, Metrics

if TYPE_CHECKING:
    from gramme.node.node import Node
    from gramme.node.objects.node_objects import Objects

SIBLING_BOUNDS: Final = (0, 1, 2, 3, 5, 10, 25, 50, 100, 250, 1_000)
WINDOW_MINUTES: Final = 30
OUT_OF_BALANCE: Final = 0.15
_MINUTE_S: Final = 60.0

_COUNTED: Final = (
    ("gramme_objects_forwarded", "Writes sent on to a coordinator by a node that was none", "forwarded"),
    ("gramme_objects_read_repairs", "Replicas that a read found to know less, and told", "repaired_by_reads"),
    ("gramme_objects_hinted", "Writes kept by a stand-in", "hinted"),
    ("gramme_objects_hints_delivered", "Hints that their owners have confirmed", "hints_delivered"),
    ("gramme_objects_handed_off_bytes", "Bytes of states sent with hints", "handed_off_bytes"),
    ("gramme_objects_exchanges", "Comparisons with a peer that this node began", "exchange_rounds"),
    ("gramme_objects_exchanged_states", "States that differed, and were sent to a peer", "exchanged_states"),
    ("gramme_objects_exchanged_bytes", "Bytes of such states", "exchanged_bytes"),
    ("gramme_objects_truncated_vectors", "Version vectors that lost their oldest entries", "truncated_vectors"),
    ("gramme_objects_expired", "Values whose time was over, turned into deletions", "expired"),
    ("gramme_objects_deletions_forgotten", "Deletions that all nodes have agreed to forget", "deletions_forgotten"),
    ("gramme_objects_refused_as_too_large", "States that were refused for their size", "refused_as_too_large"),
    ("gramme_objects_replica_reads", "Reads of this node's own rows", "replica_reads"),
    ("gramme_objects_replica_writes", "Changes of this node's own rows and hints", "replica_writes"),
)
_PRESENT: Final = (
    ("gramme_objects_hints", "Hints that wait for their owners", "hints"),
    ("gramme_objects_hinted_nodes", "Nodes for which there are hints", "hinted_nodes"),
    ("gramme_objects_deletions_waiting", "Deletions that the last sweep of the rows found", "deletions_waiting"),
    ("gramme_objects_requests_waiting", "Requests without an answer yet", "waiting"),
    ("gramme_objects_ring_version", "Version of the ring", "ring_version"),
)


class _Bound:
    """Metrics of one operation, looked up once."""

    __slots__ = ("latency", "statuses")

    def __init__(self, latency: Histogram) -> None:
        self.latency = latency
        self.statuses: dict[int, Counter] = {}


class ObjectMetrics:
    """See the module; it is the `Observers` of the objects API."""

    def __init__(self, metrics: Metrics, node: Node) -> None:
        self._seconds = metrics.histogram(
            "gramme_objects_request_seconds", "Time from an object request's last byte to its answer", ("operation",)
        )
        self._responses = metrics.counter(
            "gramme_objects_responses", "Answers by operation and HTTP status", ("operation", "status")
        )
        family = metrics.histogram(
            "gramme_objects_siblings", "Siblings that reads of objects found", bounds=SIBLING_BOUNDS, unit=1
        )
        self.siblings: Callable[[int], None] = family.child().observe
        self._bound: dict[str, _Bound] = {}
        load = Load(node)
        load.start()
        _register(metrics, node, load)

    def answered(self, operation: str, status: int, ns: int) -> None:
        """See `Observers`."""
        bound = self._bound.get(operation)
        if bound is None:
            bound = self._bound[operation] = _Bound(self._seconds.child(operation))
        bound.latency.observe(ns)
        counter = bound.statuses.get(status)
        if counter is None:
            counter = bound.statuses[status] = self._responses.child(operation, str(status))
        counter.n += 1


class Load:
    """How much this node did in the last minutes, and how that compares with the other nodes of the ring."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._marks = deque([self._done()], maxlen=WINDOW_MINUTES + 1)

    def start(self) -> None:
        """Note the load once a minute, and tell the others."""
        asyncio.get_running_loop().call_later(_MINUTE_S, self._minute)

    def _minute(self) -> None:
        if self._node.host.stopped:
            return
        self._marks.append(self._done())
        self._node.gossip.update(objects_load=self.now())
        self.start()

    def _done(self) -> int:
        replica = self._node.objects.replica
        return replica.read + replica.kept

    def now(self) -> int:
        """Reads and writes of this node as a replica in the last 30 minutes."""
        return self._done() - self._marks[0]

    def shares(self) -> dict[NodeId, float]:
        """Each ring member's load against the mean by weight; 1.0 is exactly that. Nothing while nobody has any."""
        loads = {record.node: record.info.objects_load for record in self._node.gossip.view()}
        return load_shares(self._node.objects.config.ring.members, {**loads, self._node.me: self.now()})


def load_shares(members: Sequence[NodePlace], loads: Mapping[NodeId, int]) -> dict[NodeId, float]:
    """See `Load.shares`."""
    total = sum(loads.get(place.node, 0) for place in members)
    weight = sum(place.weight for place in members)
    if not total:
        return {}
    return {place.node: loads.get(place.node, 0) * weight / (total * place.weight) for place in members}


def out_of_balance(shares: Mapping[NodeId, float]) -> int:
    """How many nodes are more than 15 % off the mean."""
    return sum(abs(share - 1) > OUT_OF_BALANCE for share in shares.values())


class _Counts:
    """What the node counts anyway, in one look at it."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def collect(self) -> Iterator[Metric]:
        status = self._objects.status()
        for name, text, of in _COUNTED:
            yield CounterMetricFamily(name, text, value=status[of])
        for name, text, of in _PRESENT:
            yield GaugeMetricFamily(name, text, value=status[of])


def _register(metrics: Metrics, node: Node, load: Load) -> None:
    objects = node.objects

    metrics.registry.register(_Counts(objects))
    metrics.readings(
        "gramme_objects_ring_share", "Partitions a node owns against its due by weight", ("node",),
        lambda: [((str(owner),), share) for owner, share in balance(objects.config.ring).items()],
    )  # fmt: skip
    metrics.readings(
        "gramme_objects_load_share", "A node's reads and writes in 30 minutes against the mean", ("node",),
        lambda: [((str(member),), share) for member, share in load.shares().items()],
    )  # fmt: skip
    metrics.gauge(
        "gramme_objects_out_of_balance", "Nodes whose load is more than 15 % off the mean",
        lambda: out_of_balance(load.shares()),
    )  # fmt: skip
