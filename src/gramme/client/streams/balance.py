"""Who should own which lease: the decision, without clocks or I/O.

Rules: a lease that nobody owns, or whose owner stands still, is taken by whoever has fewer than its share; a worker
that has two fewer than the busiest asks that one for a lease, and gets it when the batch on its way is done. So the
numbers of leases differ by one at most in the end, and no lease moves then. Source: the Kinesis Client Library's lease
taker, with a request in place of its steal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from gramme.client.streams.leases import Lease


class Moves(NamedTuple):
    """What a worker does about leases that are not its own."""

    take: list[Lease]
    ask: Lease | None


class Watch:
    """Which leases stand still, seen from one worker. Times are its own monotonic seconds."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: dict[str, tuple[int, float]] = {}

    def stalled(self, leases: Collection[Lease], now: float) -> set[str]:
        """Names of the leases that have an owner who has not shown itself for `lease_s`."""
        seen: dict[str, tuple[int, float]] = {}
        for lease in leases:
            counter, since = self._seen.get(lease.name, (-1, now))
            seen[lease.name] = (lease.counter, since if counter == lease.counter else now)
        self._seen = seen
        return {
            lease.name for lease in leases if lease.owner is not None and now - seen[lease.name][1] >= self._lease_s
        }


def moves(worker: str, leases: Collection[Lease], stalled: Collection[str]) -> Moves:
    """What `worker` should do, of the leases of all shards that can be read now."""
    held = [lease for lease in leases if lease.owner is not None and lease.name not in stalled]
    load: Mapping[str, int] = Counter({worker: 0}) + Counter(lease.owner for lease in held if lease.owner)
    mine = load.get(worker, 0)
    workers = {*load, worker}
    share = -(-len(leases) // len(workers))
    free = sorted((lease for lease in leases if lease.owner is None or lease.name in stalled), key=lambda f: f.name)
    if free:
        return Moves(free[: max(0, share - mine)], None)
    asked = any(lease.wanted == worker for lease in held)
    busiest = max(load, key=lambda name: (load[name], name), default=worker)
    if asked or load.get(busiest, 0) < mine + 2:
        return Moves([], None)
    names = sorted((lease for lease in held if lease.owner == busiest and lease.wanted is None), key=lambda h: h.name)
    return Moves([], names[-1] if names else None)
