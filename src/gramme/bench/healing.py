"""`gramme bench healing`: how long a group is without the margin of three voters when a node is lost for good.

Five real processes, one partition with so many megabytes, a closed loop of writers all the while. One follower is
killed and stays away: after `_DETECT_MS` its vote goes to a log replica (the recent log only), and its rows are copied
to a node that had none. Both times count from the kill. Source: Elhemali et al., ATC 2022, §3: seconds for a log
replica, minutes for a copy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import msgspec

from gramme.runtime.cluster_status import PartitionStatus
from gramme.testing import Cluster, cluster

_TABLE: Final = "healing"
_DETECT_MS: Final = 3_000
_ITEM_BYTES: Final = 40_000
_BATCH: Final = 25
_WRITERS: Final = 4
_QUIET_S: Final = 10.0
_LIMIT_S: Final = 1_800.0
_POLL_S: Final = 0.05
Progress = Callable[[str], None]


class Healed(msgspec.Struct, frozen=True):
    """Seconds from the kill until a log replica voted, and until three storage replicas voted again; acknowledged
    writes a second (median of whole seconds) before the kill, from it to the second time, and after."""

    megabytes: int
    log_replica_s: float
    copy_s: float
    before_per_s: float
    during_per_s: float
    after_per_s: float


def measured(megabytes: int, progress: Progress) -> Healed:
    """One round. Takes about as long as loading does."""
    settings = {"log_replica_after_ms": _DETECT_MS, "replace_after_ms": _DETECT_MS}
    with cluster(5, settings=settings) as five:
        client = five.client()
        _create(client)
        progress(f"loading {megabytes} MB")
        _load(client, megabytes)
        with _Writers(client) as writers:
            time.sleep(_QUIET_S)
            placed = _partition(five)
            assert placed is not None
            victim = next(node for node in placed.members if node != placed.leader)
            progress(f"killing node {victim}")
            killed = time.monotonic()
            five.kill(victim)
            voted = _await(lambda: _log_votes(five, victim))
            progress(f"a log replica votes after {voted - killed:.1f} s")
            whole = _await(lambda: _whole_without(five, victim))
            progress(f"three copies after {whole - killed:.1f} s")
            time.sleep(_QUIET_S)
            ended = time.monotonic()
        rates = [
            _rate(writers.acknowledged, *span)
            for span in ((killed - _QUIET_S, killed), (killed, whole), (whole, ended))
        ]
    return Healed(megabytes, round(voted - killed, 1), round(whole - killed, 1), *rates)


def table(healed: Healed) -> str:
    """As Markdown."""
    return "\n".join(
        (
            "| data | log replica votes | three copies | writes/s before | while healing | after |",
            "|---|---|---|---|---|---|",
            f"| {healed.megabytes} MB | {healed.log_replica_s} s | {healed.copy_s} s | {healed.before_per_s:.0f} "
            f"| {healed.during_per_s:.0f} | {healed.after_per_s:.0f} |",
        )
    )


def _create(client: Any) -> None:
    client.create_table(
        TableName=_TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    )
    client.get_waiter("table_exists").wait(TableName=_TABLE, WaiterConfig={"Delay": 1})


def _load(client: Any, megabytes: int) -> None:
    text = "x" * _ITEM_BYTES
    for start in range(0, megabytes * 1_000_000 // _ITEM_BYTES, _BATCH):
        puts = [{"PutRequest": {"Item": {"pk": {"S": f"row {start + n}"}, "t": {"S": text}}}} for n in range(_BATCH)]
        while puts:
            puts = client.batch_write_item(RequestItems={_TABLE: puts})["UnprocessedItems"].get(_TABLE, [])


class _Writers:
    """Threads that write small items, each the next when the last is acknowledged."""

    def __init__(self, client: Any) -> None:
        self.acknowledged: list[float] = []
        self._client = client
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(_WRITERS)]

    def __enter__(self) -> _Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        count = 0
        while not self._over.is_set():
            count += 1
            self._client.put_item(TableName=_TABLE, Item={"pk": {"S": f"writer {number}"}, "n": {"N": str(count)}})
            self.acknowledged.append(time.monotonic())


def _rate(times: list[float], start: float, end: float) -> float:
    seconds = [0] * max(1, int(end - start))
    for at in times:
        if start <= at < start + len(seconds):
            seconds[int(at - start)] += 1
    return float(median(seconds))


def _partition(five: Cluster) -> PartitionStatus | None:
    found = next((p for entry in five.status().tables if entry.name == _TABLE for p in entry.partitions), None)
    return found if found is not None and found.leader is not None else None


def _log_votes(five: Cluster, victim: int) -> bool:
    found = _partition(five)
    return found is not None and victim not in found.members and len(found.members) > 2


def _whole_without(five: Cluster, victim: int) -> bool:
    found = _partition(five)
    return found is not None and found.health == "healthy" and victim not in found.members


def _await(condition: Callable[[], bool]) -> float:
    deadline = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the group does not heal")
        time.sleep(_POLL_S)
    return time.monotonic()
