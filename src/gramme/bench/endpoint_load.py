"""`gramme bench ycsb`: one workload against any endpoint that speaks DynamoDB, or the objects of Gramme.

Rules: whoever is driven gets the same requests from the same client. Closed loop by `wrk` (by `generator` where an
operation is two requests), open loop by `generator`, which is first shown to sustain twice the rate against the bare
ceiling; what boto3 sees comes from threads of this process and says more about boto3. Signatures are not checked by
anybody here, so they are not made either.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from gramme.bench import generator, loading, markdown, wrk, ycsb
from gramme.bench.ceiling import ceiling
from gramme.bench.dataset import ObjectRequests, Shape, TableRequests
from gramme.bench.errors import CannotMeasure
from gramme.bench.latency import Latency, latency_of
from gramme.bench.prepared import Prepared
from gramme.bench.records import Progress
from gramme.bench.ycsb import Distribution, Workload

SDK_THREADS: Final = 4
_PER_S_AT_MOST: Final = 40_000  # of what is prepared; then the order starts again
_FEWEST: Final = 20_000
_MOST: Final = 400_000
_CHECK_S: Final = 1.0
_WARM_UP_S: Final = 2.0
_SUSTAINED: Final = 0.99


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`rate`: operations that arrive in a second; 0: a closed loop. `objects`: the endpoint is one of objects."""

    endpoint: str
    workload: str
    records: int = 10_000
    fields: int = 9
    distribution: Distribution | None = None
    seconds: float = 10.0
    rounds: int = 1
    rate: float = 0.0
    arrivals: Literal["even", "poisson"] = "even"
    connections: int = wrk.CONNECTIONS
    sdk: bool = False
    objects: bool = False
    seed: int = 1
    name: str = "ycsb"
    load: bool = True


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `offered_per_s` and `late_ms` (how late the generator was, 99.9th percentile) are of open loops; `kinds`
    is empty where the client does not tell operations apart. `benchmark` is etcd's. `stopped_ms`, `steady`: see
    `generator.Found`."""

    client: Literal["wrk", "generator", "boto3", "benchmark"]
    per_s: float
    latency: Latency
    kinds: dict[str, Latency] = {}
    offered_per_s: float | None = None
    late_ms: float | None = None
    stopped_ms: float | None = None
    steady: Latency | None = None


class Check(msgspec.Struct, frozen=True):
    """What the generator did when it was offered so much against the ceiling."""

    offered_per_s: float
    answered_per_s: float
    late_ms: float

    @property
    def sustained(self) -> bool:
        """Whether it kept up."""
        return self.answered_per_s >= _SUSTAINED * self.offered_per_s


class Result(msgspec.Struct, frozen=True):
    """All runs of one command. `signatures`: whether the endpoint was made to check them."""

    options: Options
    runs: list[Outcome]
    check: Check | None
    signatures: Literal["off"] = "off"


def measured(options: Options, progress: Progress) -> Result:
    """Load and run. Raises CannotMeasure, ServiceError, Unreachable; ValueError for operations that objects lack."""
    workload = ycsb.WORKLOADS[options.workload]
    requests = _loaded(options, workload, progress)
    check = None
    runs = []
    for round_ in range(options.rounds):
        prepared = prepare(workload, requests, options, round_)
        if options.rate and check is None:
            check = checked(prepared, 2 * options.rate)
            progress(
                f"generator: {check.answered_per_s:,.0f} of {check.offered_per_s:,.0f}/s answered by the ceiling, "
                f"99.9 % sent within {check.late_ms:.2f} ms" + ("" if check.sustained else ": too slow for this rate")
            )
        if not round_ and not options.sdk:
            closed(options.endpoint, prepared, min(_WARM_UP_S, options.seconds), options.connections)
        runs.append(_run(options, prepared))
        progress(f"round {round_ + 1}: {runs[-1].per_s:,.0f}/s, p99 {runs[-1].latency.p99:.2f} ms")
    return Result(options, runs, check)


def prepare(
    workload: Workload, requests: TableRequests | ObjectRequests, options: Options, round_: int = 0
) -> Prepared:
    """Enough for the length of a run; another round has other requests and inserts other items."""
    per_s = options.rate or _PER_S_AT_MOST
    count = min(_MOST, max(_FEWEST, int(per_s * options.seconds)))
    return ycsb.prepare(
        workload, requests, options.seed + round_, count,
        distribution=options.distribution, first_insert=round_ * count,
    )  # fmt: skip


def closed(url: str, prepared: Prepared, seconds: float, connections: int = wrk.CONNECTIONS) -> Outcome:
    """By wrk, or by the generator where wrk cannot."""
    if any(request.then >= 0 for request in prepared.requests):
        return _told(generator.run(url, prepared, seconds=seconds, connections=connections))
    load = wrk.run(url, prepared, seconds, connections)
    figures = (load.mean_us, load.p50_us, load.p99_us, load.p999_us, load.max_us)
    latency = Latency(max(0, load.requests - load.failed), load.failed, *(figure / 1e3 for figure in figures))
    return Outcome(client="wrk", per_s=load.per_s, latency=latency)


def opened(url: str, prepared: Prepared, per_s: float, seconds: float, **plan: Any) -> Outcome:
    """An open loop."""
    return _told(generator.run(url, prepared, per_s=per_s, seconds=seconds, **plan), is_open=True)


def checked(prepared: Prepared, per_s: float) -> Check:
    """Whether the generator can offer so much, to a server that does nothing."""
    with ceiling() as url:
        found = generator.run(url, prepared, per_s=per_s, seconds=_CHECK_S)
    return Check(per_s, found.per_s, found.late_ms)


def _told(found: generator.Found, *, is_open: bool = False) -> Outcome:
    return Outcome(
        client="generator",
        per_s=found.per_s,
        latency=found.all,
        kinds=found.kinds,
        offered_per_s=found.offered_per_s if is_open else None,
        late_ms=found.late_ms if is_open else None,
        stopped_ms=found.stopped_ms,
        steady=found.steady,
    )


def _loaded(options: Options, workload: Workload, progress: Progress) -> TableRequests | ObjectRequests:
    shape = Shape(records=options.records, fields=options.fields, group=workload.group)
    if not options.objects:
        if not options.load:
            return TableRequests(options.endpoint, options.name, shape)
        started = time.monotonic()
        requests = loading.make(options.endpoint, options.name, shape)
        progress(f"{shape.records:,} items of {shape.item_bytes} bytes loaded in {time.monotonic() - started:.1f} s")
        return requests
    objects = ObjectRequests(options.endpoint, options.name, shape)
    if options.load:
        _one_value_each(options)
        puts = ycsb.in_order(objects)
        if generator.run(options.endpoint, puts, once=True).all.failed:
            raise CannotMeasure(f"objects could not be loaded at {options.endpoint}")
    return objects


def _one_value_each(options: Options) -> None:
    """The generator writes without a context: siblings would pile up."""
    connection = http.client.HTTPConnection(urlsplit(options.endpoint).netloc, timeout=20)
    with contextlib.closing(connection):
        connection.request("PUT", f"/buckets/{options.name}/props", json.dumps({"props": {"allow_mult": False}}))
        answer = connection.getresponse()
        if answer.status != 204:
            raise CannotMeasure(f"props of {options.name}: {answer.status} {answer.read()[:200]!r}")


def _run(options: Options, prepared: Prepared) -> Outcome:
    if options.sdk:
        return sdk(options.endpoint, prepared, options.seconds)
    if options.rate:
        return opened(
            options.endpoint, prepared, options.rate, options.seconds,
            arrivals=options.arrivals, connections=options.connections, seed=options.seed,
        )  # fmt: skip
    return closed(options.endpoint, prepared, options.seconds, options.connections)


# --- boto3


def sdk(url: str, prepared: Prepared, seconds: float) -> Outcome:
    """The same requests by boto3, in a closed loop of `SDK_THREADS` threads. Raises CannotMeasure without boto3."""
    try:
        import boto3
        import botocore.exceptions
    except ImportError as error:
        raise CannotMeasure("boto3 is not installed") from error
    client = boto3.client(
        "dynamodb", endpoint_url=url, region_name="us-east-1", aws_access_key_id="bench", aws_secret_access_key="bench"
    )
    took: list[list[float]] = [[] for _ in range(SDK_THREADS)]
    failed = [0] * SDK_THREADS
    end = time.perf_counter() + seconds

    def work(thread: int) -> None:
        for operation, body in _calls(prepared, thread):
            started = time.perf_counter()
            if started >= end:
                return
            try:
                client._make_api_call(operation, body)
            except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
                failed[thread] += 1
            else:
                took[thread].append((time.perf_counter() - started) * 1e3)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(SDK_THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    latency = latency_of([one for many in took for one in many], sum(failed))
    return Outcome(client="boto3", per_s=latency.count / seconds, latency=latency)


def _calls(prepared: Prepared, thread: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every `SDK_THREADS`th operation, for ever."""
    at = thread
    while True:
        index = prepared.order[at % len(prepared.order)]
        while index >= 0:
            request = prepared.requests[index]
            head, _, content = request.data.partition(b"\r\n\r\n")
            target = head.partition(b"DynamoDB_20120810.")[2].partition(b"\r\n")[0]
            yield target.decode(), json.loads(content)
            index = request.then
        at += SDK_THREADS


# --- telling


def text(result: Result) -> str:
    """A table for people."""
    options = result.options
    workload = ycsb.WORKLOADS[options.workload]
    loop = f"open loop, {options.rate:,.0f}/s ({options.arrivals})" if options.rate else "closed loop"
    rows = [
        (
            what,
            f"{per_s:,.0f}",
            latency.failed,
            *map(markdown.ms, (latency.mean, latency.p50, latency.p99, latency.p999)),
        )
        for run in result.runs
        for what, per_s, latency in _parts(run)
    ]
    return "\n\n".join(
        (
            f"Workload {options.workload} ({workload.about}), {options.distribution or workload.distribution} keys, "
            f"{options.records:,} items of 900 bytes in {options.fields} fields, {loop}, "
            f"{SDK_THREADS if options.sdk else options.connections} connections, seed {options.seed}, "
            f"signatures {result.signatures}.",
            markdown.table(("", "operations/s", "failed", "mean ms", "p50", "p99", "p99.9"), rows),
        )
    )


def _parts(run: Outcome) -> Iterator[tuple[str, float, Latency]]:
    yield run.client, run.per_s, run.latency
    total = max(1, run.latency.count)
    if len(run.kinds) > 1:
        for kind, latency in run.kinds.items():
            yield f"- {kind}", run.per_s * latency.count / total, latency
