"""How long a node's loop is busy with each kind of work, for the simulator to charge (`gramme.sim.loop`).

Two measurements make a service time. What production code does in the simulator is measured there, each part of each
callback, as processor time of the thread. What the simulator leaves out (sockets, HTTP, the log writer's pipe, the
engine) is the difference to real processes: three loads are put on real nodes and on simulated ones, and what the real
ones needed more is laid on the requests, the jobs of the log and the frames, in this order. A fourth load, of which
nothing was taken, says how far the sum is from the truth.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from gramme.bench import generator, loading, usage, ycsb
from gramme.bench.dataset import Shape
from gramme.bench.errors import CannotMeasure
from gramme.bench.prepared import Prepared
from gramme.bench.records import Run
from gramme.bench.simulated import Entry, Fleet, Kind, Load
from gramme.kernel.ports import SegmentWrite
from gramme.runtime.disk.log_writer import LogWriterDisk
from gramme.sim.loop import ANSWER, FRAME_IN, FRAME_OUT, LOG_JOB, REQUEST, Meter
from gramme.testing import Cluster, cluster, server

CLOCK: Final = time.thread_time_ns
"""Other programs that take the processor away do not count."""

_JOBS: Final = 1_500
_JOB_BYTES: Final = 1_200
_PAUSE_S: Final = 0.001
_SEGMENT: Final = 1
_RECORDS: Final = 2_000
_ITEMS: Final = 200
_CONNECTIONS: Final = 32
_WARM_UP_S: Final = 1.0
_READS_PER_S: Final = 1_200
_WRITES_PER_S: Final = 600
_WORKLOADS: Final[dict[Kind, str]] = {"strong": "get", "update": "update"}


class Compared(msgspec.Struct, frozen=True):
    """One load: µs of processor time an operation, of the loops of all nodes together, of real processes and of
    simulated ones with what had been added by then."""

    name: str
    real_us: float
    simulated_us: float


class ServiceTimes(msgspec.Struct, frozen=True):
    """`extra_us`: what is added to each of a kind. `log_job_us`: how long a job of the log took from the node's loop
    and back to it, each of many. `compared`: the loads; the last one is the check."""

    extra_us: dict[str, float]
    log_job_us: list[float]
    compared: list[Compared]

    @property
    def extra_ns(self) -> dict[str, int]:
        """For a `Meter`."""
        return {kind: round(us * 1e3) for kind, us in self.extra_us.items()}

    @property
    def log_job_ns(self) -> list[int]:
        """For a simulated disk."""
        return [round(us * 1e3) for us in self.log_job_us]


def measured(run: Run) -> ServiceTimes:
    """About a minute."""
    jobs = _log_jobs(run.directory / "log-jobs")
    run.progress(f"{len(jobs)} jobs of the log, median {sorted(jobs)[len(jobs) // 2]:,.0f} µs")
    found = _Comparison(jobs, run)
    with server(in_memory=False, data_dir=run.directory / "one", test_controls=False) as node:
        one = _Real(node.endpoint_url, [node.pid], run.seconds)
        found.lay("GetItem, one node", one, "strong", "leader", (REQUEST, ANSWER))
        found.lay("UpdateItem, one node", one, "update", "leader", (LOG_JOB,))
    with cluster(3, directory=run.directory / "three", test_controls=False) as three:
        at_leader, at_follower = _doors(three, run.seconds)
        found.lay("GetItem sent on, three nodes", at_follower, "strong", "follower", (FRAME_IN, FRAME_OUT))
        found.lay("UpdateItem at the leader, three nodes", at_leader, "update", "leader", ())
    return ServiceTimes(found.extra_us, jobs, found.compared)


class _Real:
    """Nodes that are real processes, asked at one door."""

    def __init__(self, url: str, pids: Sequence[int], seconds: float, table: str = "") -> None:
        self.nodes = len(pids)
        self._url = url
        self._pids = pids
        self._seconds = seconds
        self._requests = loading.make(url, table or "measured", Shape(records=_RECORDS), loading.ONE_PARTITION)

    def cpu_us(self, kind: Kind, per_s: float) -> float:
        """Of the nodes' own processes, without their log writers, for one operation."""
        workload, seconds = ycsb.WORKLOADS[_WORKLOADS[kind]], self._seconds
        prepared = ycsb.prepare(workload, self._requests, 1, int(2 * per_s * (seconds + _WARM_UP_S)))
        self._offer(prepared, per_s, _WARM_UP_S)
        before = self._cpu_s()
        count = self._offer(prepared, per_s, seconds)
        return (self._cpu_s() - before) / count * 1e6

    def _cpu_s(self) -> float:
        return sum(usage.own_cpu_s(pid) for pid in self._pids)

    def _offer(self, prepared: Prepared, per_s: float, seconds: float) -> int:
        found = generator.run(
            self._url, prepared, per_s=per_s, seconds=seconds, arrivals="poisson", connections=_CONNECTIONS
        )
        if found.all.failed:
            raise CannotMeasure(f"{found.all.failed} operations failed at {self._url}")
        return found.all.count


def _doors(three: Cluster, seconds: float) -> tuple[_Real, _Real]:
    """The same three nodes, asked at the leader of the one partition, and at a follower."""
    pids = [node.pid for node in three.status().nodes if node.pid is not None]
    _Real(three.endpoint_url, pids, seconds)
    leader = three.leaders("measured")[0]
    if leader is None:
        raise CannotMeasure("the table has no leader")
    return _Real(three.node_url(leader), pids, seconds), _Real(three.node_url((leader + 1) % 3), pids, seconds)


class _Comparison:
    """What has been laid on each kind so far."""

    def __init__(self, log_job_us: Sequence[float], run: Run) -> None:
        self.extra_us: dict[str, float] = {}
        self.compared: list[Compared] = []
        self._log_job_ns = [round(us * 1e3) for us in log_job_us]
        self._run = run

    def lay(self, name: str, real: _Real, kind: Kind, entry: Entry, kinds: tuple[str, ...]) -> None:
        """Put `kind` on the real nodes and on as many simulated ones, and lay the difference evenly on `kinds`."""
        per_s = _READS_PER_S if kind == "strong" else _WRITES_PER_S
        real_us = real.cpu_us(kind, per_s)
        meter = Meter(CLOCK, {one: round(us * 1e3) for one, us in self.extra_us.items()})
        fleet = Fleet(real.nodes, 1, _ITEMS, meter, self._log_job_ns, one_partition=True)
        fleet.found()
        load = Load(shares={kind: 1.0}, per_s=per_s, seconds=self._run.seconds, entry=entry)
        with collected():
            found = fleet.run(load)
        simulated_us = sum(found.busy) * load.seconds / found.operations * 1e6
        self.compared.append(Compared(name, real_us, simulated_us))
        times = sum(found.parts.get(one, 0.0) for one in kinds)
        for one in kinds:
            self.extra_us[one] = max(0.0, real_us - simulated_us) / max(1e-9, times)
        self._run.progress(f"{name}: {real_us:.0f} µs, simulated {simulated_us:.0f} µs")


@contextmanager
def collected() -> Iterator[None]:
    """Within it the garbage collector is off; what there is by then is not looked at again until the end."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


# --- the log's disk


def _log_jobs(directory: Path) -> list[float]:
    """µs from `submit` to its answer on the loop, through the log writer's process and one fsync each."""
    failures: list[str] = []
    disk = LogWriterDisk(directory, failures.append)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            took = runner.run(_submit_all(disk))
    finally:
        disk.close()
    if failures:
        raise CannotMeasure(f"the log's disk: {failures[0]}")
    return took


async def _submit_all(disk: LogWriterDisk) -> list[float]:
    loop = asyncio.get_running_loop()
    disk.attach(loop)
    took = []
    for number in range(_JOBS):
        durable = loop.create_future()
        write = SegmentWrite(_SEGMENT, number * _JOB_BYTES, bytes(_JOB_BYTES))
        began = time.perf_counter()
        disk.submit([write], _teller(durable))
        await durable
        took.append((time.perf_counter() - began) * 1e6)
        await asyncio.sleep(_PAUSE_S)
    return took[_JOBS // 10 :]


def _teller(durable: asyncio.Future[None]) -> Callable[[], None]:
    return lambda: durable.set_result(None)
