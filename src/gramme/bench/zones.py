"""The loss of a zone: how long partitions pause, and how long until they are whole when it is back.

Six processes, two in each of three zones, four tables of one partition. Of each table one client writes, one reads
strongly and one eventually, through the shared endpoint, `_PACE_S` after each answer. Both nodes of a zone are killed
at once; they are started again when every partition has a leader elsewhere. A pause is the longest time between two
answers of a client around the kill. Source: issue 6, "Zone loss" (row F1).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

import msgspec

from gramme.bench import loading, markdown
from gramme.bench.outages import Clients, longest_gap_s, wait_until
from gramme.bench.records import Progress, Record, Run, Section
from gramme.client.endpoint import Endpoint
from gramme.kernel.errors import GrammeError
from gramme.runtime.cluster_status import ClusterStatus, PartitionStatus
from gramme.testing import Cluster, cluster

_TABLES: Final = tuple(f"zones-{number}" for number in range(4))
_KINDS: Final = ("write", "strong", "eventual")
_ZONES: Final = 3
_NODES: Final = 6
_KILLS_A_ROUND: Final = 2
_WRITTEN: Final = {"pk": {"S": "written"}}
_AT_REST: Final = {"pk": {"S": "at rest"}}
"""Not written: a follower that knows of a newer row which is not chosen yet has the leader answer (decision 0032)."""

_PACE_S: Final = 0.02
_CALM_S: Final = 2.0
_LIMIT_S: Final = 120.0
_POLL_S: Final = 0.05


class ZoneLoss(msgspec.Struct, frozen=True):
    """Milliseconds without an answer, one for each kill and table: of writes and strong reads where the partition's
    leader was in the zone, of both where it was elsewhere, of eventual reads; seconds until every partition had its
    three replicas in three zones again, from when the nodes said that they were ready; requests that failed."""

    kills: int
    led_write_ms: list[float]
    led_strong_ms: list[float]
    other_ms: list[float]
    eventual_ms: list[float]
    whole_s: list[float]
    requests: int
    errors: int


def measure(run: Run) -> ZoneLoss:
    """Lose each zone in turn, `_KILLS_A_ROUND` times a round."""
    kills = run.rounds * _KILLS_A_ROUND
    found = ZoneLoss(kills, [], [], [], [], [], 0, 0)
    with cluster(_NODES, zones=_ZONES, directory=run.directory / "zones", test_controls=False) as six:
        for table in _TABLES:
            loading.create(six.endpoint_url, _definition(table))
        with _Clients(six.endpoint_url) as clients:
            for kill in range(kills):
                _lose(six, clients, kill % _ZONES, found, run.progress)
    for error in clients.errors[:5]:
        run.progress(f"a client got {error}")
    return msgspec.structs.replace(found, requests=clients.requests, errors=len(clients.errors))


def _definition(table: str) -> dict[str, object]:
    return {
        "TableName": table,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        **loading.ONE_PARTITION,
    }


def _lose(six: Cluster, clients: _Clients, zone: int, found: ZoneLoss, progress: Progress) -> None:
    time.sleep(_CALM_S)
    nodes = [node for node in range(_NODES) if node % _ZONES == zone]
    led = {table: six.leaders(table)[0] in nodes for table in _TABLES}
    at = time.monotonic()
    six.kill(*nodes)
    wait_until(lambda: _led_elsewhere(six, nodes), "every partition has a leader", _LIMIT_S, _POLL_S)
    time.sleep(_CALM_S)
    for table in _TABLES:
        write_ms, strong_ms, eventual_ms = (clients.pause_ms(table, kind, at) for kind in _KINDS)
        progress(
            f"zone {zone}, {table}, led there: {led[table]}: {write_ms:.0f}, {strong_ms:.0f}, {eventual_ms:.0f} ms"
        )
        found.eventual_ms.append(eventual_ms)
        if led[table]:
            found.led_write_ms.append(write_ms)
            found.led_strong_ms.append(strong_ms)
        else:
            found.other_ms.extend((write_ms, strong_ms))
    for node in nodes:
        six.start(node, wait=False)
    six.wait_ready()
    ready = time.monotonic()
    whole = wait_until(lambda: _whole(six.status()), "every partition is whole", _LIMIT_S, _POLL_S)
    found.whole_s.append(whole - ready)


def _partitions(status: ClusterStatus) -> list[PartitionStatus]:
    return [partition for table in status.tables for partition in table.partitions]


def _led_elsewhere(six: Cluster, nodes: list[int]) -> bool:
    return all(p.leader is not None and p.leader not in nodes for p in _partitions(six.status()))


def _whole(status: ClusterStatus) -> bool:
    """Every partition has three replicas that vote and have caught up, in three zones, and no others."""
    return all(
        partition.leader is not None
        and len({status.nodes[node].zone for node in partition.members}) == _ZONES
        and {replica.node for replica in partition.replicas} == set(partition.members)
        and not any(replica.kind == "log" or replica.lag_slots for replica in partition.replicas)
        for partition in _partitions(status)
    )


class _Clients(Clients):
    """A thread for each table and kind of request."""

    def __init__(self, url: str) -> None:
        self.errors: list[str] = []
        self._endpoint = Endpoint(url, credentials=loading.CREDENTIALS)
        self._answered: dict[tuple[str, str], list[float]] = {
            client: [] for client in itertools.product(_TABLES, _KINDS)
        }
        super().__init__(partial(self._repeat, *client) for client in self._answered)

    @property
    def requests(self) -> int:
        """How many were answered without an error."""
        return sum(map(len, self._answered.values()))

    def pause_ms(self, table: str, kind: str, since: float) -> float:
        """The longest time between two answers from then until now."""
        return 1e3 * longest_gap_s(list(self._answered[table, kind]), since, time.monotonic())

    def _repeat(self, table: str, kind: str) -> None:
        for operation, body in _bodies(table, kind):
            try:
                self._endpoint.call(operation, body)
                self._answered[table, kind].append(time.monotonic())
            except GrammeError as error:
                self.errors.append(f"{kind} of {table}: {error}")
            if self.over.wait(_PACE_S):
                return


def _bodies(table: str, kind: str) -> Iterator[tuple[str, dict[str, object]]]:
    for number in itertools.count():
        if kind == "write":
            yield "PutItem", {"TableName": table, "Item": {**_WRITTEN, "n": {"N": str(number)}}}
        elif kind == "strong":
            yield "GetItem", {"TableName": table, "Key": _WRITTEN, "ConsistentRead": True}
        else:
            yield "GetItem", {"TableName": table, "Key": _AT_REST, "ConsistentRead": False}


def _told(taken: Record[ZoneLoss]) -> str:
    found = taken.found
    rows = [
        (what, len(values), markdown.spread(values))
        for what, values in (
            ("writes, leader in the zone", found.led_write_ms),
            ("strong reads, leader in the zone", found.led_strong_ms),
            ("both, leader elsewhere", found.other_ms),
            ("eventual reads of an item that is not written", found.eventual_ms),
        )
        if values
    ]
    return "\n\n".join(
        (
            "## Loss of a zone",
            f"Six processes, two in each of three zones; both nodes of one are killed at once, {found.kills} times, "
            f"the zones in turn. {len(_TABLES)} tables of one partition; of each, one client writes, one reads "
            f"strongly, one eventually, through the shared endpoint, {_PACE_S * 1e3:.0f} ms after each answer. A pause "
            "is the longest time between two answers around the kill; leases of 1.5 s have to run out. "
            f"{found.requests:,} requests, {found.errors} errors. With the nodes back and ready, every partition had "
            f"three replicas in three zones again after {markdown.spread(found.whole_s, '.1f')} s, by itself. Eventual "
            "reads wait too where no replica that is left has heard from a leader for a second "
            "(`eventual_read_max_lag_ms`).",
            markdown.table(("pause of", "times", "ms: median (lowest to highest)"), rows),
        )
    )


SECTION: Final = Section("zones", ZoneLoss, measure, _told)
