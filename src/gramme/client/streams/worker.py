"""A worker: the thread that reads one leased shard, has its batches handled, and says how far it got.

Rule: a checkpoint is written after the batch is done and never before, and only by the lease's owner. So a record may
be handled twice, after a crash or when a lease was lost, but none is left out. A worker whose lease was not renewed in
time begins no batch: somebody else may own the shard by then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from gramme.client.endpoint import Endpoint
from gramme.client.errors import ServiceError, Unreachable
from gramme.client.streams.delivery import Delivery, Interrupted
from gramme.client.streams.leases import SHARD_END, Lease, LeaseTable
from gramme.client.streams.reader import LATEST, ShardReader
from gramme.client.streams.stream import Shard

_TROUBLE_PAUSE_S: Final = 1.0


class ShardWorker:
    """Works through `shard` from where `lease` says, until it is stopped, loses the lease, or the shard has ended."""

    def __init__(
        self,
        endpoint: Endpoint,
        leases: LeaseTable,
        delivery: Delivery,
        shard: Shard,
        lease: Lease,
        *,
        batch: int,
        poll_s: float,
        lease_s: float,
        warn: Callable[[str], None],
    ) -> None:
        self.shard = shard
        self.hand_over_to: str | None = None  # set with `stop` when another worker asked for the lease
        self._leases = leases
        self._delivery = delivery
        self._batch = batch
        self._poll_s = poll_s
        self._lease_s = lease_s
        self._warn = warn
        self._reader = ShardReader(endpoint, shard, lease.checkpoint, warn, lease.iterator)
        self._begin = lease.iterator if lease.checkpoint == LATEST else None
        self._valid_until = time.monotonic() + lease_s
        self._stop = threading.Event()
        self._lost = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"shard {shard.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the record batch on its way; do not wait for it."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False if it did not come in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def renewed(self, lease: Lease | None, asked_at: float) -> None:
        """The answer to a renewal that was sent at the monotonic time `asked_at`; None: the lease is lost."""
        if lease is None:
            self._lost = True
            self.stop()
        else:
            self._valid_until = asked_at + self._lease_s

    @property
    def begin(self) -> str | None:
        """An iterator in front of everything that is not done, to be kept in the lease until there is a checkpoint."""
        return self._begin

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._step():
                    break
            except Interrupted:
                break
            except (ServiceError, Unreachable) as error:
                self._warn(f"{self.shard.name}: {error}")
                self._stop.wait(_TROUBLE_PAUSE_S)
        if not self._lost:
            self._give_up()

    def _step(self) -> bool:
        """Read and handle one batch; True when there is no more to do here."""
        if time.monotonic() >= self._valid_until:
            self._stop.wait(self._poll_s)  # renewals fail: wait for one, or for the news that the lease is lost
            return False
        batch = self._reader.read(self._batch)
        if batch.records:
            self._delivery.deliver(self.shard, batch.records, self._stop)
            self._checkpoint(batch.records[-1]["dynamodb"]["SequenceNumber"])
        if batch.ended:
            self._checkpoint(SHARD_END)
            self._ended = True
            return True
        if not batch.records:
            if self._begin is not None:
                self._begin = self._reader.iterator  # a younger one: it will not expire so soon
            self._stop.wait(self._poll_s)
        return self._lost

    def _checkpoint(self, sequence: str) -> None:
        """Keep at it: the batch is done, and must not be done again because of a moment's trouble.

        A lease that was lost may be this process's again by now, and further on: nothing is written for it here.
        """
        while True:
            if self._lost:
                raise Interrupted
            asked_at = time.monotonic()
            try:
                lease = self._leases.checkpoint(self.shard.name, sequence)
            except (ServiceError, Unreachable) as error:
                self._warn(f"{self.shard.name}: {error}")
                if self._stop.wait(_TROUBLE_PAUSE_S):
                    raise Interrupted from None
                continue
            self._begin = None
            self.renewed(lease, asked_at)
            return

    def _give_up(self) -> None:
        try:
            self._leases.hand_over(self.shard.name, None if self._ended else self.hand_over_to)
        except (ServiceError, Unreachable) as error:
            self._warn(f"{self.shard.name}: the lease could not be given up and will run out: {error}")
