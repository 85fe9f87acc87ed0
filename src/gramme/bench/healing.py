"""Healing: how long a group is without the margin of three voters when a node is lost for good.

Five real processes, one partition with so many megabytes, a closed loop of writers all the while. One follower is
killed and stays away: after `_DETECT_MS` its vote goes to a log replica (the recent log only), and its rows are copied
to a node that had none. Both times count from the kill. The killed node is back, empty of the group, before the next.
Source: Elhemali et al., ATC 2022, §3: seconds for a log replica, minutes for a copy.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from gramme.bench import loading, markdown
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.outages import Clients, wait_until
from gramme.bench.records import Progress, Record, Run, Section
from gramme.runtime.cluster import LocalCluster
from gramme.runtime.cluster_status import PartitionStatus
from gramme.testing import Cluster, cluster

_SMALL_MB: Final = 10
_LARGE_MB: Final = 1_000
_TABLE: Final = "healing"
_DETECT_MS: Final = 3_000
_ITEM_BYTES: Final = 40_000
_BATCH: Final = 25
_LOADERS: Final = 4
_WRITERS: Final = 4
_QUIET_S: Final = 10.0
_LIMIT_S: Final = 1_800.0
_POLL_S: Final = 0.1


class Healed(msgspec.Struct, frozen=True):
    """One entry of each list for each kill. Seconds from the kill until a log replica voted, and until three storage
    replicas voted again; acknowledged writes a second (median of whole seconds) before the kill, from it to the second
    time, and after; by how many megabytes the memory of that node grew until then at most which grew most."""

    megabytes: int
    log_replica_s: list[float]
    copy_s: list[float]
    before_per_s: list[float]
    during_per_s: list[float]
    after_per_s: list[float]
    grown_mb: list[float]


class Sizes(msgspec.Struct, frozen=True):
    """What was found for each amount of data."""

    sizes: list[Healed]


def measure(run: Run) -> Sizes:
    """Little data, once a round, for the log replica's time; much data once, for the copy's."""
    return Sizes(
        [
            healed(megabytes, kills, run.directory / f"healing-{megabytes}", run.progress)
            for megabytes, kills in ((_SMALL_MB, run.rounds), (_LARGE_MB, 1))
        ]
    )


def healed(megabytes: int, kills: int, directory: Path | None, progress: Progress) -> Healed:
    """Lose a node so often."""
    settings = {"log_replica_after_ms": _DETECT_MS, "replace_after_ms": _DETECT_MS}
    found = Healed(megabytes, [], [], [], [], [], [])
    with cluster(5, directory=directory, settings=settings, test_controls=False) as five:
        progress(f"loading {megabytes} MB")
        shape = Shape(records=megabytes * 1_000_000 // _ITEM_BYTES, item_bytes=_ITEM_BYTES, fields=1)
        requests = TableRequests(five.endpoint_url, _TABLE, shape)
        loading.create(five.endpoint_url, requests.definition(loading.ONE_PARTITION))
        _fill(five.client(), shape)
        with _Writers(five.client()) as writers:
            for _ in range(kills):
                victim = _lose_one(five, writers, found, progress)
                five.start(victim)
                wait_until(lambda: _all_healthy(five), "every group is healthy", _LIMIT_S, _POLL_S)
    return found


def _fill(client: Any, shape: Shape) -> None:
    """Batches of a megabyte: what the partition has no room for yet is sent again."""

    def put(first: int) -> None:
        numbers = range(first, min(first + _BATCH, shape.records))
        puts = [{"PutRequest": {"Item": shape.item(number)}} for number in numbers]
        while puts:
            puts = client.batch_write_item(RequestItems={_TABLE: puts})["UnprocessedItems"].get(_TABLE, [])

    with ThreadPoolExecutor(_LOADERS) as pool:
        list(pool.map(put, range(0, shape.records, _BATCH)))


def _lose_one(five: Cluster, writers: _Writers, found: Healed, progress: Progress) -> int:
    """Kill a follower and wait until the group is whole; what was seen goes to `found`."""
    time.sleep(_QUIET_S)
    placed = _partition(five)
    assert placed is not None
    victim = next(node for node in placed.members if node != placed.leader)
    memory = _Memory(five)
    progress(f"killing node {victim}")
    killed = time.monotonic()
    five.kill(victim)
    voted = wait_until(lambda: _log_votes(five, victim), "a log replica votes", _LIMIT_S, _POLL_S)
    progress(f"a log replica votes after {voted - killed:.1f} s")
    whole = wait_until(lambda: _whole_without(five, victim), "there are three copies", _LIMIT_S, _POLL_S, memory.look)
    progress(f"three copies after {whole - killed:.1f} s, memory grew by {memory.grown_mb:.0f} MB")
    time.sleep(_QUIET_S)
    ended = time.monotonic()
    found.log_replica_s.append(round(voted - killed, 1))
    found.copy_s.append(round(whole - killed, 1))
    found.before_per_s.append(_rate(writers.acknowledged, killed - _QUIET_S, killed))
    found.during_per_s.append(_rate(writers.acknowledged, killed, whole))
    found.after_per_s.append(_rate(writers.acknowledged, whole, ended))
    found.grown_mb.append(round(memory.grown_mb))
    return victim


class _Memory:
    """Resident memory of the nodes' processes, since this was made."""

    def __init__(self, five: Cluster) -> None:
        processes = LocalCluster(five.directory).state.processes
        self._pids = [process.pid for process in processes if process is not None]
        self._before = {pid: self._resident_mb(pid) for pid in self._pids}
        self.grown_mb = 0.0

    def look(self) -> None:
        """Note what is more than ever."""
        grown = (self._resident_mb(pid) - self._before[pid] for pid in self._pids)
        self.grown_mb = max(self.grown_mb, *grown)

    @staticmethod
    def _resident_mb(pid: int) -> float:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        except OSError:  # it was killed
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class _Writers(Clients):
    """Threads that write small items, each the next when the last is acknowledged."""

    def __init__(self, client: Any) -> None:
        super().__init__(partial(self._write, number) for number in range(_WRITERS))
        self.acknowledged: list[float] = []
        self._client = client

    def _write(self, number: int) -> None:
        count = 0
        while not self.over.is_set():
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


def _all_healthy(five: Cluster) -> bool:
    """Every group, and no node has a replica that its group has not."""
    partitions = [p for table in five.status().tables for p in table.partitions]
    return all(p.health == "healthy" and {r.node for r in p.replicas} == set(p.members) for p in partitions)


def table(sizes: list[Healed]) -> str:
    """As Markdown."""
    head = ("data", "kills", "log replica votes, s", "three copies, s", "writes/s before", "while healing", "after",
            "memory grew, MB")  # fmt: skip
    rows = [
        (
            f"{each.megabytes:,} MB", len(each.copy_s), _figure(each.log_replica_s, ".1f"), _figure(each.copy_s, ".1f"),
            *(_figure(rates, ",.0f") for rates in (each.before_per_s, each.during_per_s, each.after_per_s)),
            _figure(each.grown_mb, ",.0f"),
        )
        for each in sizes
    ]  # fmt: skip
    return markdown.table(head, rows)


def _figure(values: list[float], form: str) -> str:
    return f"{values[0]:{form}}" if len(values) == 1 else markdown.spread(values, form)


def _told(taken: Record[Sizes]) -> str:
    return "\n\n".join(
        (
            "## Healing",
            "Five processes, one partition with so much data (items of 40 kB that do not compress); a follower is "
            f"killed and stays away, under {_WRITERS} writers (boto3, closed loop). Seconds from the kill, of which "
            f"{_DETECT_MS // 1_000} are waiting whether the node is back: until a log replica votes in its place, and "
            "until there are three copies again. The first does not depend on the data, the second does (a node sends "
            "at most 64 MiB/s of copies, `snapshot_bytes_per_s`): the paper's seconds against minutes. Memory is that "
            "of the node's process which grew most during the copy. Medians, in brackets lowest and highest.",
            table(taken.found.sizes),
        )
    )


SECTION: Final = Section("healing", Sizes, measure, _told)
