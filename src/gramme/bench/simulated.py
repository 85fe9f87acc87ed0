"""A fleet in virtual time under an open loop: production nodes whose loops take time (`gramme.sim.loop`).

Owns the cluster, its tables and items, and the arrivals. Rules: operations arrive as a Poisson process at a rate that
does not depend on answers, each at a node drawn evenly (the shared endpoint), and latency counts from there; items are
drawn uniformly from all tables. Clients are elsewhere and cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal

import msgspec

from gramme.api.http import HttpRequest, HttpResponse
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.errors import CannotMeasure
from gramme.bench.latency import Latency, latency_of
from gramme.kernel.ids import GroupId, NodeId
from gramme.kernel.time import MICROSECOND, MILLISECOND, SECOND
from gramme.sim.client import Client
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.loop import BusyProcess, Meter
from gramme.sim.network import NetworkProfile
from gramme.sim.tables import Administrator
from gramme.sim.workload import Recorder
from gramme.sim.world import World
from gramme.tables.keys import key_of

Kind = Literal["strong", "eventual", "update"]
Entry = Literal["any", "leader", "follower"]

NETWORK: Final = NetworkProfile(delay_ns=50 * MICROSECOND, jitter_ns=100 * MICROSECOND, spike=0.0)
"""Between nodes, one way. Between a client and a node it is 50 to 250 µs (`SimCluster`)."""

_EVENTS: Final = 1 << 40
_FOUNDING_NS: Final = 120 * SECOND
_BATCH: Final = 25
_DRAIN_NS: Final = 5 * SECOND
_CALM_NS: Final = 25 * SECOND
"""So long leaders are left to spread (`node.leadership`: three periods of five seconds at first)."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`per_s` operations arrive for `seconds`, of kinds with these shares, at a node of `entry`."""

    shares: Mapping[Kind, float]
    per_s: float
    seconds: float
    entry: Entry = "any"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`kinds`: latencies by kind, each also in two: of those that came to a node which could serve them ("here": the
    leader, or for eventual reads any replica) and of the others ("sent on"). `busy`: of each node's loop, the share of
    the time for which it was busy. `parts`: how many of each kind of work were charged in an operation."""

    operations: int
    kinds: dict[str, Latency]
    busy: list[float]
    parts: dict[str, float]
    led: list[int]


class Fleet:
    """`nodes` production nodes, `tables` tables of four partitions or of one, `items` items in each table."""

    def __init__(
        self, nodes: int, tables: int, items: int, meter: Meter, log_job_ns: Sequence[int], *,
        one_partition: bool = False, seed: int = 1,
    ) -> None:  # fmt: skip
        self.nodes = nodes
        self.meter = meter
        self._units = 1 if one_partition else 0
        self._config = replace(
            CONFIGS["quiet"], name="fleet", nodes=nodes, network=NETWORK, write_units=0, read_units=0, skew=False,
            disk_stall=0.0, log_job_ns=tuple(log_job_ns), segment_bytes=16 << 20, flush_bytes=64 << 20,
            flush_interval_ns=30 * SECOND, retain_log_bytes=8 << 20,
        )  # fmt: skip
        self.world = World(seed, _EVENTS)
        self._rng = self.world.randomness("load")
        self.cluster = SimCluster(self.world, self._config, partial(BusyProcess, meter))
        shape = Shape(records=items)
        self._requests = [TableRequests("http://fleet", f"fleet-{number:03}", shape) for number in range(tables)]
        self._items = items
        self._groups: list[list[GroupId]] = []
        self._variant = 0
        self._open = 0
        self._took: dict[str, list[float]] = {}
        self._failed: dict[str, int] = {}

    # --- making it ------------------------------------------------------------------------------------------------

    def found(self) -> None:
        """Start every node, make and fill the tables, and wait until leaders have spread."""
        for node in self.cluster.nodes:
            self.cluster.start(node)
        administrator = Administrator(
            self.world, Client(self.world, self.cluster, 0), self._config, Recorder(self.world)
        )
        for requests in self._requests:
            created: list[bool] = []
            administrator.create(requests.table, lambda made=created: made.append(True), self._units)  # type: ignore[misc]
            self._await(lambda made=created: bool(made), f"{requests.table} is made")  # type: ignore[misc]
        self.world.run(self.world.now_ns + _CALM_NS)
        for requests in self._requests:
            for first in range(0, self._items, _BATCH):
                batch = requests.batch(range(first, min(first + _BATCH, self._items)))
                self._ask(self._drawn(self.cluster.nodes), batch, "load")
                self._await(lambda: not self._open, "a batch is answered")
        if self._failed.get("load"):
            raise CannotMeasure("the tables could not be filled")
        self._groups = [self._groups_of(requests) for requests in self._requests]

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        if not self.world.run(self.world.now_ns + _FOUNDING_NS, condition):
            raise CannotMeasure(f"not within {_FOUNDING_NS // SECOND} s: {what}")

    def _groups_of(self, requests: TableRequests) -> list[GroupId]:
        """The group of each item."""
        for machine in self.cluster.machines:
            assert machine.node is not None
            table = machine.node.router.table(requests.table)
            if table is not None:
                keys = (key_of(table.key, requests.shape.key(number)) for number in range(self._items))
                return [table.partition_of(key).group for key in keys]
        raise CannotMeasure(f"no node knows {requests.table}")

    def make_later(self, delay_s: float) -> None:
        """Have one more table made so many seconds from now; nobody uses it."""
        requests = TableRequests("http://fleet", f"later-{self.world.now_ns}", Shape())
        client = Client(self.world, self.cluster, 1)

        def make() -> None:
            client.call("CreateTable", requests.definition({"BillingMode": "PAY_PER_REQUEST"}), lambda _answer: None)

        self.world.after(int(delay_s * SECOND), make)

    # --- load -----------------------------------------------------------------------------------------------------

    def run(self, load: Load) -> Outcome:
        """Offer `load`, and wait until all of it is answered. Raises CannotMeasure if that does not happen."""
        self._took, self._failed = {}, {}
        self.meter.forget()
        busy_before, began_ns = self._busy_ns(), self.world.now_ns
        led, hosted = self._places()
        end_ns = began_ns + int(load.seconds * SECOND)
        operations = 0
        kinds: list[Kind] = list(load.shares)
        weights = [load.shares[kind] for kind in kinds]

        def arrive() -> None:
            nonlocal operations
            operations += 1
            kind = self._rng.choices(kinds, weights)[0]
            at = self._rng.randrange(len(self._requests))
            number = self._rng.randrange(self._items)
            group = self._groups[at][number]
            node = self._entry(load.entry, led[group], hosted[group])
            here = node == led[group] or (kind == "eventual" and node in hosted[group])
            self._ask(node, self._body(kind, at, number), f"{kind}, {'here' if here else 'sent on'}")
            due_ns = self.world.now_ns + int(self._rng.expovariate(load.per_s) * SECOND)
            if due_ns < end_ns:
                self.world.after(due_ns - self.world.now_ns, arrive)

        self.world.after(int(self._rng.expovariate(load.per_s) * SECOND), arrive)
        self.world.run(end_ns)
        busy = [(now - before) / (end_ns - began_ns) for now, before in zip(self._busy_ns(), busy_before, strict=True)]
        if self._open and not self.world.run(end_ns + _DRAIN_NS, lambda: not self._open):
            raise CannotMeasure(f"{self._open} of {operations} operations were not answered")
        return Outcome(
            operations=operations,
            kinds=self._latencies(),
            busy=busy,
            parts={kind: count / operations for kind, count in sorted(self.meter.counts.items())},
            led=[len(groups) for groups in self._led()],
        )

    def idle(self, seconds: float) -> float:
        """The share of a loop that is busy, mean of all nodes, for so long without any load."""
        before_ns = sum(self._busy_ns())
        self.world.run(self.world.now_ns + int(seconds * SECOND))
        return (sum(self._busy_ns()) - before_ns) / (seconds * SECOND * self.nodes)

    def _latencies(self) -> dict[str, Latency]:
        """Both halves of each kind, and the whole."""
        whole: dict[str, list[float]] = {}
        for name, took in self._took.items():
            whole.setdefault(name.partition(",")[0], []).extend(took)
        failed = {kind: sum(n for name, n in self._failed.items() if name.startswith(kind)) for kind in whole}
        return {name: latency_of(took, failed.get(name, 0)) for name, took in sorted((whole | self._took).items())}

    def _entry(self, entry: Entry, leader: NodeId, replicas: Sequence[NodeId]) -> NodeId:
        if entry == "any":
            return self._drawn(self.cluster.nodes)
        return leader if entry == "leader" else self._drawn([node for node in replicas if node != leader])

    def _drawn(self, nodes: Sequence[NodeId]) -> NodeId:
        return nodes[self._rng.randrange(len(nodes))]

    def _body(self, kind: Kind, at: int, number: int) -> bytes:
        requests = self._requests[at]
        if kind == "strong":
            return requests.read(number)
        if kind == "eventual":
            return requests.read_eventually(number)
        self._variant += 1
        return requests.update(number, self._variant)

    def _ask(self, node: NodeId, data: bytes, kind: str) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
        request = HttpRequest("POST", "/", "", {name.lower(): value for name, _, value in lines}, body)
        asked_ns = self.world.now_ns
        self._open += 1

        def answered(response: HttpResponse | None) -> None:
            self._open -= 1
            if response is not None and response.status == 200:
                self._took.setdefault(kind, []).append((self.world.now_ns - asked_ns) / MILLISECOND)
            else:
                self._failed[kind] = self._failed.get(kind, 0) + 1

        self.cluster.request(node, request, answered)

    # --- the nodes ------------------------------------------------------------------------------------------------

    def _busy_ns(self) -> list[int]:
        processes: list[Any] = [machine.process for machine in self.cluster.machines]
        return [process.busy_ns for process in processes]

    def _led(self) -> list[list[GroupId]]:
        return [[] if machine.node is None else list(machine.node.leadership.led) for machine in self.cluster.machines]

    def _places(self) -> tuple[dict[GroupId, NodeId], dict[GroupId, list[NodeId]]]:
        """Who leads each group, and who has its rows."""
        led = {group: NodeId(node) for node, groups in enumerate(self._led()) for group in groups}
        hosted: dict[GroupId, list[NodeId]] = {}
        for machine in self.cluster.machines:
            assert machine.node is not None
            for group in machine.node.groups.partitions:
                hosted.setdefault(group, []).append(machine.id)
        return led, hosted
