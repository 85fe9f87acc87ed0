"""Replicated writes: three nodes of Gramme against three of etcd, fsync on a majority, equal connections and values.

etcd is driven over gRPC by its own `benchmark put`, Gramme by wrk with PutItem; both with 16 connections and values of
900 bytes over 10,000 keys, once at any node and once at the leader alone. Source: issue 7, "Three nodes".
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench import peers
from bench.contest import Contest, Pair, described
from gramme.bench import loading, markdown, wrk, ycsb
from gramme.bench.dataset import Shape, TableRequests
from gramme.bench.endpoint_load import Outcome, closed
from gramme.bench.errors import CannotMeasure
from gramme.bench.latency import Latency
from gramme.bench.prepared import Prepared
from gramme.bench.records import Record, Run, Section
from gramme.testing import cluster
from gramme.testing.processes import free_port

_ANY: Final = "any node"
_LEADER: Final = "the leader"
_CALIBRATION: Final = 2_000
_SHAPE: Final = Shape()
_REQUESTS: Final = 40_000
_GOAL: Final = 1.5


def measure(run: Run) -> list[Contest]:
    """`rounds` pairs of each way. Raises CannotMeasure without etcd."""
    version = _version()
    found = []
    with ExitStack() as stack:
        endpoints = stack.enter_context(_three_of_etcd(run.directory))
        three = stack.enter_context(cluster(3, directory=run.directory / "gramme", test_controls=False))
        many = loading.make(three.endpoint_url, "many", _SHAPE)
        one = loading.make(three.endpoint_url, "one", _SHAPE, loading.ONE_PARTITION)
        leader = three.leaders("one")[0]
        if leader is None:
            raise CannotMeasure("a table whose items were just written has no leader")
        for way, url, requests in ((_ANY, three.endpoint_url, many), (_LEADER, three.node_url(leader), one)):
            load = _load(requests)
            closed(url, load, 2.0)
            rate = _etcd(endpoints, way, _CALIBRATION).per_s
            pairs = []
            for round_ in range(run.rounds):
                theirs = _etcd(endpoints, way, max(1_000, int(rate * run.seconds)))
                pairs.append(Pair(closed(url, load, run.seconds), theirs))
                run.progress(f"etcd at {way}, round {round_ + 1}: {pairs[-1].ratio:.2f} times as many writes")
            found.append(Contest("etcd", version, "fsync on a majority", way, pairs))
    return found


def _load(requests: TableRequests) -> Prepared:
    return ycsb.prepare(ycsb.WORKLOADS["put"], requests, 1, _REQUESTS)


def _version() -> str:
    server = peers.etcd("etcd")
    if server is None or peers.etcd("benchmark") is None:
        raise CannotMeasure("etcd or its benchmark is not installed (make peers)")
    run = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)
    return run.stdout.partition("etcd Version: ")[2].partition("\n")[0]


@contextmanager
def _three_of_etcd(directory: Path) -> Iterator[str]:
    """Its client endpoints, once a write is answered."""
    server = peers.etcd("etcd")
    assert server is not None
    ports = [free_port((0, 1)) for _ in range(3)]
    members = ",".join(f"e{node}=http://127.0.0.1:{port + 1}" for node, port in enumerate(ports))
    endpoints = ",".join(f"127.0.0.1:{port}" for port in ports)
    with ExitStack() as stack:
        for node, port in enumerate(ports):
            client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
            command = [
                server, "--name", f"e{node}", "--data-dir", str(directory / f"etcd-{node}"), "--log-level", "error",
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", members,
            ]  # fmt: skip
            stack.enter_context(peers.process(command, directory / f"etcd-{node}.log"))
        _etcd(endpoints, _ANY, 100)
        yield endpoints


def _etcd(endpoints: str, way: str, total: int) -> Outcome:
    benchmark = peers.etcd("benchmark")
    assert benchmark is not None
    command = [
        benchmark, f"--endpoints={endpoints}", f"--conns={wrk.CONNECTIONS}", f"--clients={wrk.CONNECTIONS}",
        "--dial-timeout=10s", "put", f"--total={total}", f"--val-size={_SHAPE.item_bytes}", "--key-size=8",
        f"--key-space-size={_SHAPE.records}", *(["--target-leader"] if way == _LEADER else []),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    per_s = re.search(r"Requests/sec:\s+([\d.]+)", run.stdout)
    if per_s is None or "Error distribution" in run.stdout:
        raise CannotMeasure(f"etcd's benchmark ended with {run.returncode}:\n{run.stdout[-500:]}{run.stderr[-500:]}")
    mean, longest = (_seconds(rf"{name}:\s+([\d.]+) secs", run.stdout) for name in ("Average", "Slowest"))
    p50, p99, p999 = (_seconds(rf"{part}% in ([\d.]+) secs", run.stdout) for part in ("50", "99", r"99\.9"))
    return Outcome(client="benchmark", per_s=float(per_s[1]), latency=Latency(total, 0, mean, p50, p99, p999, longest))


def _seconds(pattern: str, text: str) -> float:
    """In milliseconds."""
    found = re.search(pattern, text)
    return 1e3 * float(found[1]) if found else 0.0


def _told(taken: Record[list[Contest]]) -> str:
    rows = []
    for one in taken.found:
        ours = (sorted(pair.ours.per_s for pair in one.pairs), sorted(pair.ours.latency.p99 for pair in one.pairs))
        middle = len(one.pairs) // 2
        rows.append(
            (
                one.workload,
                described(ours[0][middle], ours[1][middle]),
                described(one.per_s, one.p99_ms),
                markdown.spread([pair.ratio for pair in one.pairs], ".2f"),
            )
        )
    return "\n\n".join(
        (
            "## Replicated writes beside etcd",
            f"Three nodes each, fsync on a majority before a write is answered, {wrk.CONNECTIONS} connections, values "
            f"of {_SHAPE.item_bytes} bytes over {_SHAPE.records:,} keys: PutItem by wrk, and etcd "
            f"{taken.found[0].version}'s own `benchmark put` over gRPC (as many clients as connections), in turn; "
            f"{taken.rounds} rounds of about {taken.seconds:.0f} s. Writes/s, in brackets p99 in ms; "
            f"medians. The goal is {_GOAL:g}.",
            markdown.table(("connections to", "Gramme", "etcd", "ratio (lowest to highest)"), rows),
        )
    )


SECTION: Final = Section("etcd", list[Contest], measure, _told)
