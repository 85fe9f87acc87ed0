"""`gramme bench objects`: what the Dynamo paper measured of a running system, against real processes.

Rules: an open loop, latencies from when a request was due (`bench.load`); what is compared runs in turn on one
cluster, and ratios of neighbouring runs are what counts. Buckets keep one value (`allow_mult=false`), because the
generator writes without a context. Sources: SOSP 2007, §6 (300 ms at 500 requests/s), Table 2, Figure 5.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from gramme.bench import load
from gramme.bench.errors import CannotMeasure
from gramme.bench.latency import Latency, latency_of, percentiles
from gramme.bench.load import Found, Plan
from gramme.bench.records import Progress
from gramme.kernel.ids import NodeId
from gramme.objects.state import DEFAULT_TYPE, Name
from gramme.placement.ring import preference_list
from gramme.placement.zones import NodePlace
from gramme.testing import Cluster, cluster
from gramme.testing.controls import get

NODES: Final = 5
RATE: Final = 500
SLA_MS: Final = 300
_BUCKET: Final = "bench"
_SETTLE_S: Final = 2.0
_LIMIT_S: Final = 30.0
_TOO_MANY: Final = 4_000


class Sla(msgspec.Struct, frozen=True):
    """Row A40: a node is killed after a third of the run and stays away."""

    per_s: float
    seconds: float
    reads: Latency
    writes: Latency
    after_kill: Latency  # both kinds, due after the kill
    late_ms: float  # by how much the generator was late: 99.9th percentile


class Capacity(msgspec.Struct, frozen=True):
    """That the generator can do twice the rate: requests a second that it offered to `GET /ping` and that were
    answered."""

    offered_per_s: float
    answered_per_s: float
    late_ms: float


class Driven(msgspec.Struct, frozen=True):
    """Row A18, one round: [reads, writes] by any node and by the object's coordinator."""

    server: list[Latency]
    client: list[Latency]


class Session(msgspec.Struct, frozen=True):
    """Row A16, one round: share of reads (r=1) that saw the client's own last write (w=1), and the write's latency."""

    preferred: bool
    seen: float
    writes: Latency


class Buffered(msgspec.Struct, frozen=True):
    """Row A42: one bucket's rounds. `windows`: 99.9th percentile of the writes due in each second, round after round
    (below 1,000 writes a second that is the longest)."""

    bucket: str
    writes: list[Latency]
    saturated_per_s: list[float]
    fsyncs_per_write: list[float]
    windows: list[float]


class Failover(msgspec.Struct, frozen=True):
    """Row A39: writes without an acknowledgement within `patience_s`, by the second in which they were due."""

    per_s: float
    patience_s: float
    killed_at_s: float
    objects: list[int]
    table: list[int]


# --- scenarios


def sla(seconds: float, directory: Path, progress: Progress) -> tuple[Sla, Capacity]:
    """500 requests a second, half of them writes of 1 KiB, one of five nodes killed on the way."""
    with _five(directory / "sla") as five:
        ping = load.run(Plan(ports=_ports(five), kind="ping", per_s=2 * RATE, seconds=min(5, seconds)))
        capacity = _capacity(ping)
        progress(
            f"generator: {capacity.answered_per_s:.0f} of {capacity.offered_per_s:.0f}/s, {ping.late_ms:.1f} ms late"
        )
        load.run(Plan(ports=_ports(five), kind="objects", name=_BUCKET, per_s=RATE, seconds=3, write_share=1))
        killed_at = seconds / 3
        plan = Plan(ports=_ports(five), kind="objects", name=_BUCKET, per_s=RATE, seconds=seconds)

        def kill() -> None:
            time.sleep(killed_at)
            five.kill(NODES - 1)

        found = load.run(plan, kill)
    measured = Sla(
        per_s=RATE, seconds=seconds, reads=latency(found, write=False), writes=latency(found, write=True),
        after_kill=latency(found, since_s=killed_at), late_ms=found.late_ms,
    )  # fmt: skip
    progress(
        f"one of five killed: p99.9 {measured.reads.p999:.0f} ms of reads, {measured.writes.p999:.0f} ms of writes"
    )
    return measured, capacity


def driven(rounds: int, seconds: float, directory: Path, progress: Progress) -> list[Driven]:
    """Any node and the coordinator, two generators at the same time with a quarter of the SLA's rate each: whatever
    else the machine does meets both."""
    found = []
    with _five(directory / "driven") as five:
        plan = Plan(ports=_ports(five), kind="objects", name=_BUCKET, per_s=RATE / 4, seconds=seconds)
        place = Name(DEFAULT_TYPE, _BUCKET.encode(), b"").place
        knowing = msgspec.structs.replace(plan, preference=_preference(five), place=place)
        load.run(msgspec.structs.replace(plan, per_s=RATE, seconds=3, write_share=1))
        for round_ in range(rounds):
            processes = [load.start(msgspec.structs.replace(one, seed=round_)) for one in (plan, knowing)]
            runs = [load.finish(process) for process in processes]
            server, client = ([latency(run, write=False), latency(run, write=True)] for run in runs)
            found.append(Driven(server, client))
            ratios = [server[kind].mean / client[kind].mean for kind in (0, 1)]
            progress(f"client-driven, round {round_ + 1}: reads {ratios[0]:.2f}, writes {ratios[1]:.2f} times faster")
    return found


def sessions(rounds: int, seconds: float, directory: Path, progress: Progress) -> list[Session]:
    """Four clients read, write with the context of that, and read again, each time at another node; in every second
    pair the context does not say which replica was fastest."""
    found = []
    with _five(directory / "sessions") as five:
        for round_ in range(rounds):
            for preferred in (True, False):
                found.append(_session_round(_ports(five), preferred, seconds, round_))
                progress(f"fastest replica preferred: {preferred}: {found[-1].seen:.2%} saw their own write")
    return found


def buffered(rounds: int, seconds: float, directory: Path, progress: Progress) -> list[Buffered]:
    """Writes to three buckets: fsyncs of a majority awaited, of the coordinator alone, and a buffered one. Latency of
    all three at the same time; fsyncs and throughput of each by itself, in turn."""
    buckets: dict[str, dict[str, Any]] = {
        "dw=quorum": {},
        "dw=1": {"dw": 1},
        "buffered, dw=0": {"buffered": True, "dw": 0},
    }
    together: list[list[Found]] = []
    alone: list[list[_Alone]] = []
    with _five(directory / "buffered") as five:
        plans = [
            Plan(ports=_ports(five), kind="objects", name=f"{_BUCKET}{at}", per_s=RATE / 3, seconds=seconds,
                 write_share=1) for at in range(len(buckets))
        ]  # fmt: skip
        for plan, props in zip(plans, buckets.values(), strict=True):
            _set_props(five, plan.name, {"allow_mult": False, **props})
        time.sleep(_SETTLE_S)
        for round_ in range(rounds):
            processes = [load.start(msgspec.structs.replace(plan, seed=round_)) for plan in plans]
            together.append([load.finish(process) for process in processes])
            alone.append([_alone(five, plan) for plan in plans])
            means = ", ".join(f"{latency(run).mean:.1f}" for run in together[-1])
            progress(f"direct, dw=1 and buffered writes, round {round_ + 1}: {means} ms")
    return [
        Buffered(
            bucket=name,
            writes=[latency(runs[at]) for runs in together],
            saturated_per_s=[runs[at].saturated_per_s for runs in alone],
            fsyncs_per_write=[runs[at].fsyncs_per_write for runs in alone],
            windows=[p999 for runs in together for p999 in _windows(runs[at], seconds)],
        )
        for at, name in enumerate(buckets)
    ]


class _Alone(NamedTuple):
    saturated_per_s: float
    fsyncs_per_write: float


def _alone(five: Cluster, plan: Plan) -> _Alone:
    """One bucket by itself: two seconds of the same load, and then more than can be taken."""
    before = _fsyncs(five)
    found = load.run(msgspec.structs.replace(plan, seconds=2))
    fsyncs = _fsyncs(five) - before
    full = load.run(msgspec.structs.replace(plan, per_s=_TOO_MANY, seconds=1, patience_s=60, attempt_s=60))
    took_s = max(due + took / 1e3 for due, took in zip(full.due_s, full.took_ms, strict=True))
    return _Alone(len(full.due_s) / took_s, fsyncs / max(1, len(found.due_s)))


def failover(seconds: float, directory: Path, progress: Progress) -> Failover:
    """Writes to objects (w=1) and to a table of one partition, 100/s each at once; the partition's leader is killed."""
    per_s, patience_s, killed_at = 100.0, 1.0, seconds / 3
    with cluster(3, directory=directory / "failover", test_controls=False) as three:
        _set_props(three, _BUCKET, {"allow_mult": False})
        three.client().create_table(
            TableName=_BUCKET,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
        )
        time.sleep(_SETTLE_S)
        common: dict[str, Any] = {
            "name": _BUCKET, "per_s": per_s, "seconds": seconds, "write_share": 1, "patience_s": patience_s
        }  # fmt: skip
        table_ports = [three.port + 1 + node for node in range(3)]
        plans = (
            Plan(ports=_ports(three), kind="objects", query="?w=1", **common),
            Plan(ports=table_ports, kind="table", **common),
        )
        processes = [load.start(plan) for plan in plans]
        time.sleep(killed_at)
        leader = three.leaders(_BUCKET)[0]
        assert leader is not None
        three.kill(leader)
        found = [load.finish(process) for process in processes]
    refused = [_refused(run, seconds, patience_s) for run in found]
    progress(f"leader killed: {sum(refused[0])} writes of objects refused, {sum(refused[1])} of the table")
    return Failover(per_s, patience_s, killed_at, refused[0], refused[1])


# --- figures


def latency(found: Found, *, write: bool | None = None, since_s: float = 0.0) -> Latency:
    """Of requests of one kind, or both, that were due since then."""
    chosen = [
        took
        for due, took, wrote in zip(found.due_s, found.took_ms, found.write, strict=True)
        if due >= since_s and write in (None, wrote)
    ]
    return latency_of([took for took in chosen if took >= 0], sum(took < 0 for took in chosen))


def _capacity(found: Found) -> Capacity:
    seconds = max(due + took / 1e3 for due, took in zip(found.due_s, found.took_ms, strict=True))
    answered = sum(took >= 0 for took in found.took_ms)
    return Capacity(len(found.due_s) / max(found.due_s), answered / seconds, found.late_ms)


def _windows(found: Found, seconds: float) -> list[float]:
    """The 99.9th percentile of each second."""
    windows: list[list[float]] = [[] for _ in range(int(seconds))]
    for due, took in zip(found.due_s, found.took_ms, strict=True):
        if took >= 0 and due < len(windows):
            windows[int(due)].append(took)
    return [percentiles(window, 99.9)[0] for window in windows]


def _refused(found: Found, seconds: float, patience_s: float) -> list[int]:
    refused = [0] * int(seconds)
    for due, took in zip(found.due_s, found.took_ms, strict=True):
        if not 0 <= took <= patience_s * 1e3 and due < len(refused):
            refused[int(due)] += 1
    return refused


# --- sessions


def _session_round(ports: Sequence[int], preferred: bool, seconds: float, round_: int) -> Session:
    counts, took = [0, 0], list[float]()
    end = time.perf_counter() + seconds
    threads = [
        threading.Thread(target=_session, args=(ports, preferred, f"{round_}-{preferred}-{client}", end, counts, took))
        for client in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Session(preferred, counts[0] / max(1, counts[1]), latency_of(took))


def _session(
    ports: Sequence[int], preferred: bool, name: str, end: float, counts: list[int], took: list[float]
) -> None:
    """One client. Its counts are added at the end: `+=` on shared integers is no atom."""
    rng = random.Random(name)
    with contextlib.ExitStack() as stack:
        nodes = [
            stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)))
            for port in ports
        ]
        seen = number = 0
        contexts: dict[str, str] = {}
        while time.perf_counter() < end:
            path = f"/buckets/sessions/keys/{name}-{number % 50}"
            number += 1
            context = _call(rng.choice(nodes), "GET", path + "?r=1")[1] if preferred else contexts.get(path, "")
            if not preferred:  # as many requests either way
                _call(rng.choice(nodes), "GET", path + "?r=1")
            started = time.perf_counter()
            body, contexts[path] = _call(
                rng.choice(nodes), "PUT", path + "?w=1&returnbody=true", str(number).encode(), context
            )
            took.append((time.perf_counter() - started) * 1e3)
            body, _ = _call(rng.choice(nodes), "GET", path + "?r=1")
            seen += str(number).encode() == body
        counts[0] += seen
        counts[1] += number


def _call(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, context: str = ""
) -> tuple[bytes, str]:
    headers = {"Content-Type": "text/plain", "Accept": "*/*"}
    if context:
        headers["X-Riak-Vclock"] = context
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    found = answer.read()
    if answer.status not in (200, 300, 404):
        raise CannotMeasure(f"{method} {path}: {answer.status} {found[:200]!r}")
    return found, answer.headers.get("X-Riak-Vclock", "")


# --- the cluster


@contextlib.contextmanager
def _five(directory: Path) -> Iterator[Cluster]:
    with cluster(NODES, directory=directory, test_controls=False) as five:
        _set_props(five, _BUCKET, {"allow_mult": False})
        time.sleep(_SETTLE_S)
        yield five


def _ports(of: Cluster) -> list[int]:
    return [int(of.objects_url(node).rpartition(":")[2]) for node in range(of.nodes)]


def _set_props(of: Cluster, bucket: str, props: dict[str, Any]) -> None:
    """Once the catalog can be reached."""
    deadline = time.monotonic() + _LIMIT_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", _ports(of)[0], timeout=20)
        with contextlib.closing(connection):
            connection.request("PUT", f"/buckets/{bucket}/props", json.dumps({"props": props}))
            answer = connection.getresponse()
            body = answer.read()
        if answer.status == 204:
            return
        if answer.status != 503 or time.monotonic() > deadline:
            raise CannotMeasure(f"props of {bucket}: {answer.status} {body[:200]!r}")
        time.sleep(0.1)


def _preference(of: Cluster) -> list[list[int]]:
    """The primaries of each partition, as indices of `_ports`."""
    ring = _ring(of)
    ports = _ports(of)
    index = {entry["node"]: ports.index(int(entry["objects"].rpartition(":")[2])) for entry in ring["nodes"]}
    places = {
        NodeId(entry["node"]): NodePlace(NodeId(entry["node"]), entry["host"], entry["zone"]) for entry in ring["nodes"]
    }
    owners = ring["owners"]
    found = []
    for at in range(len(owners)):
        walk = dict.fromkeys([*owners[at:], *owners[:at], *places])
        primaries = preference_list([NodeId(node) for node in walk], places, ring["n_val"])[: ring["n_val"]]
        found.append([index[node] for node in primaries])
    return found


def _ring(of: Cluster) -> dict[str, Any]:
    """`GET /ring`, once the node that is asked has heard of every other one's address. Raises CannotMeasure."""
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline:
        ring: dict[str, Any] = json.loads(get(_ports(of)[0], "/ring", 20)[1])
        if all(entry["objects"] for entry in ring["nodes"]):
            return ring
        time.sleep(0.1)
    raise CannotMeasure(f"the ring has no address of some node: {ring['nodes']!r}")


def _fsyncs(of: Cluster) -> int:
    """Of all logs."""
    reports = (json.loads(get(of.admin_port(node), "/cluster", 20)[1]) for node in range(of.nodes))
    return sum(_found(report, "fsyncs") for report in reports)


def _found(document: Any, key: str) -> int:
    """The number of that name, wherever it stands."""
    if isinstance(document, dict):
        return sum(value if name == key else _found(value, key) for name, value in document.items())
    return sum(_found(value, key) for value in document) if isinstance(document, list) else 0
