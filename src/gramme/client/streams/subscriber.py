"""A subscriber: one process of those that work through a table's stream together.

Owns the cycle: see which shards there are, keep the leases of its own, take or ask for others, run a worker for each.
Any number of processes of the same subscription share the shards; when one is killed its leases run out, and the others
go on from its checkpoints. Source: the design of the Kinesis Client Library.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from gramme.client.endpoint import Endpoint, wait_until
from gramme.client.errors import ServiceError, Unreachable
from gramme.client.streams.balance import Watch, moves
from gramme.client.streams.delivery import DeadLetters, Delivery
from gramme.client.streams.handlers import Handler
from gramme.client.streams.leases import Begun, Lease, LeaseTable, ensure_table
from gramme.client.streams.reader import HORIZON, LATEST, ShardReader
from gramme.client.streams.stream import Shard, label_of, readable, required_stream, shards_of, streams_of
from gramme.client.streams.worker import ShardWorker

_STOP_S: Final = 60.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription is told. `name` tells several subscriptions of a table apart; `start` (HORIZON or LATEST)
    counts when it begins for the first time. A batch that fails `attempts` times is cut in halves."""

    name: str = "default"
    start: str = LATEST
    batch: int = 100
    attempts: int = 5
    poll_s: float = 0.2
    lease_s: float = 10.0
    lease_table: str | None = None
    dead_letter_table: str | None = None


class Subscriber:
    """Call `run` in one thread, `stop` in any other."""

    def __init__(
        self, endpoint: Endpoint, table: str, handler: Handler, options: Options, warn: Callable[[str], None]
    ) -> None:
        self.id: Final = uuid.uuid4().hex
        self._endpoint = endpoint
        self._table = table
        self._options = options
        self._warn = warn
        self._lease_table = options.lease_table or f"{table}.{options.name}.leases"
        self._dead_letter_table = options.dead_letter_table or f"{table}.{options.name}.dead"
        self._leases = LeaseTable(endpoint, self._lease_table, self.id)
        dead_letters = DeadLetters(endpoint, self._dead_letter_table)
        self._delivery = Delivery(handler, dead_letters, options.attempts, warn)
        self._watch = Watch(options.lease_s)
        self._workers: dict[str, ShardWorker] = {}
        self._stop = threading.Event()

    def run(self, ready: Callable[[], None] | None = None) -> None:
        """Work until `stop`. `ready` is called when the first leases are seen to. Raises InvalidInput if a subscription
        is to begin where there is no stream, ServiceError or Unreachable if this process cannot join it; later trouble
        is waited out."""
        ensure_table(self._endpoint, self._lease_table, "lease")
        ensure_table(self._endpoint, self._dead_letter_table, "id")
        begun = self._begin()
        self._cycle(begun)
        if ready is not None:
            ready()
        period = self._options.lease_s / 4
        while True:
            if wait_until(time.monotonic() + period, self._stop):
                break
            try:
                self._cycle(begun)
            except (ServiceError, Unreachable) as error:
                self._warn(str(error))
        self._finish()

    def stop(self) -> None:
        """Hand everything over and return from `run`."""
        self._stop.set()

    def _begin(self) -> Begun:
        begun = self._leases.begun()
        if begun is None:
            arn = required_stream(self._endpoint, self._table)
            shards = shards_of(self._endpoint, arn)
            skipped = {shard.name for shard in shards if self._options.start == LATEST and shard.closed}
            names = frozenset(shard.name for shard in shards if shard.name not in skipped)
            begun = self._leases.begin(Begun(label_of(arn), self._options.start, names, frozenset(skipped)))
        present = {lease.name for lease in self._leases.all()}
        for shard in self._shards(begun):
            if shard.name in begun.shards and shard.name not in present:
                self._add(shard, begun.start)
        return begun

    def _add(self, shard: Shard, start: str) -> None:
        """A lease for a shard that is new to the subscription. LATEST is fixed now, not when a worker comes."""
        reader = ShardReader(self._endpoint, shard, start, self._warn)
        if start == LATEST:
            reader.open()
        self._leases.add(shard, start, reader.iterator)

    def _cycle(self, begun: Begun) -> None:
        self._renew()
        shards = self._shards(begun)
        leases = {lease.name: lease for lease in self._leases.all()}
        stalled = self._watch.stalled(leases.values(), time.monotonic())
        self._clean(shards, leases)
        now = readable(shards, lambda shard: shard.name in leases and leases[shard.name].ended)
        for shard in now:
            if shard.name not in leases:
                self._add(shard, begun.start if shard.name in begun.shards else HORIZON)
        here = {shard.name: shard for shard in now}
        wanted = moves(self.id, [lease for name, lease in leases.items() if name in here], stalled)
        if wanted.ask is not None:
            self._leases.ask_for(wanted.ask)
        own = [lease for name, lease in leases.items() if name in here and lease.owner == self.id]
        own += [taken for lease in wanted.take if (taken := self._leases.take(lease)) is not None]
        for lease in own:
            self._work(here[lease.name], lease)

    def _shards(self, begun: Begun) -> list[Shard]:
        """All shards that the subscription is about, those of streams that are off included."""
        arns = streams_of(self._endpoint, self._table, begun.label)
        shards = [shard for arn in arns for shard in shards_of(self._endpoint, arn)]
        return [shard for shard in shards if shard.name not in begun.skipped]

    def _renew(self) -> None:
        for name, worker in list(self._workers.items()):
            if not worker.running:
                del self._workers[name]
                continue
            asked_at = time.monotonic()
            lease = self._leases.renew(name, worker.begin)
            worker.renewed(lease, asked_at)
            if lease is not None and lease.wanted is not None:
                worker.hand_over_to = lease.wanted
                worker.stop()

    def _work(self, shard: Shard, lease: Lease) -> None:
        if shard.name in self._workers or lease.ended:
            return
        options = self._options
        worker = ShardWorker(
            self._endpoint, self._leases, self._delivery, shard, lease,
            batch=options.batch, poll_s=options.poll_s, lease_s=options.lease_s, warn=self._warn,
        )  # fmt: skip
        self._workers[shard.name] = worker
        worker.start()

    def _clean(self, shards: list[Shard], leases: dict[str, Lease]) -> None:
        """Rows of shards that are done and have been trimmed."""
        described = {shard.name for shard in shards}
        for lease in leases.values():
            if lease.ended and lease.name not in described:
                self._leases.remove(lease)

    def _finish(self) -> None:
        """Let the batches on their way be done, and keep the leases for as long."""
        for worker in self._workers.values():
            worker.stop()
        deadline = time.monotonic() + _STOP_S
        for worker in list(self._workers.values()):
            while not worker.join(self._options.lease_s / 4) and time.monotonic() < deadline:
                try:
                    self._renew()
                except (ServiceError, Unreachable) as error:
                    self._warn(str(error))
            if worker.running:
                self._warn(f"{worker.shard.name}: the handler did not return in {_STOP_S:.0f} s")
