"""Stream lag: how long after a write its record can be read, at the leader of its partition and at the other nodes.

One client writes items to a table with a stream at a steady pace, through the shared endpoint. Three readers, one at
each node, follow all shards there: GetRecords again and again, with a short pause after an empty answer. The lag counts
from the moment at which the write was *sent* to the moment at which an answer with its record was received, so it
includes the write itself, its fsyncs on a majority, and the reader's polling. Source: issue 4, "Streams" (100 ms).
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import Final

import msgspec

from gramme.bench import markdown
from gramme.bench.errors import CannotMeasure
from gramme.bench.records import Record, Run, Section
from gramme.client.endpoint import Endpoint
from gramme.client.streams.reader import LATEST, ShardReader
from gramme.client.streams.stream import required_stream, shards_of
from gramme.testing import Cluster, cluster

WRITES_PER_S: Final = 100
POLL_S: Final = 0.005
_TABLE: Final = "lag"
_LIMIT_S: Final = 60.0


class Spread(msgspec.Struct, frozen=True):
    """How long it took: 101 percentiles in milliseconds, from the shortest to the longest, of `count` records."""

    count: int
    percentiles_ms: list[float]


class Lag(msgspec.Struct, frozen=True):
    """From write to reader, at the node that led the item's partition and at the two others."""

    leader: Spread
    follower: Spread


def measure(run: Run) -> Lag:
    """Write for `rounds` times `seconds`, and wait until every node has told everything."""
    seconds, progress = run.rounds * run.seconds, run.progress
    with cluster(3, directory=run.directory / "stream-lag", test_controls=False) as three:
        writer = Endpoint(three.endpoint_url)
        writer.call("CreateTable", {
            "TableName": _TABLE, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        })  # fmt: skip
        readers = [_Reader(three, node) for node in range(3)]
        for reader in readers:
            reader.start()
        sent = _write(writer, seconds)
        for reader in readers:
            reader.finish(len(sent))
        led = three.leaders(_TABLE)
        leader_ms, follower_ms = _lags(sent, readers, led)
    progress(f"stream lag: median {statistics.median(leader_ms):.0f} ms at leaders, "
             f"{statistics.median(follower_ms):.0f} ms at followers")  # fmt: skip
    return Lag(_spread(leader_ms), _spread(follower_ms))


def _spread(values: list[float]) -> Spread:
    cuts = [min(values), *statistics.quantiles(values, n=100, method="inclusive"), max(values)]
    return Spread(len(values), [round(cut, 1) for cut in cuts])


def _write(writer: Endpoint, seconds: float) -> dict[str, float]:
    """Put items at a steady pace; when each was sent."""
    sent: dict[str, float] = {}
    start = time.monotonic()
    for number in range(int(seconds * WRITES_PER_S)):
        time.sleep(max(0.0, start + number / WRITES_PER_S - time.monotonic()))
        key = f"item-{number}"
        sent[key] = time.monotonic()
        writer.call("PutItem", {"TableName": _TABLE, "Item": {"pk": {"S": key}, "x": {"S": "x" * 200}}})
    return sent


def _lags(sent: dict[str, float], readers: list[_Reader], led: list[int | None]) -> tuple[list[float], list[float]]:
    leader_ms: list[float] = []
    follower_ms: list[float] = []
    for reader in readers:
        for key, (shard, at) in reader.seen.items():
            lag = (at - sent[key]) * 1e3
            (leader_ms if led[shard] == reader.node else follower_ms).append(lag)
    return leader_ms, follower_ms


class _Reader:
    """Follows all shards at one node."""

    def __init__(self, three: Cluster, node: int) -> None:
        self.node = node
        self.seen: dict[str, tuple[int, float]] = {}  # item: its shard's number, when its record came
        self._stop = threading.Event()
        self._endpoint = Endpoint(three.node_url(node))
        shards = shards_of(self._endpoint, required_stream(self._endpoint, _TABLE))
        self._shards = [ShardReader(self._endpoint, shard, LATEST, self._warn) for shard in shards]
        for shard in self._shards:
            shard.open()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, count: int) -> None:
        """Return when so many records have come. Raises CannotMeasure if they do not."""
        deadline = time.monotonic() + _LIMIT_S
        while len(self.seen) < count:
            if time.monotonic() > deadline:
                raise CannotMeasure(f"node {self.node} told {len(self.seen)} of {count} changes in {_LIMIT_S:.0f} s")
            time.sleep(0.05)
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stop.is_set():
            found = False
            for number, shard in enumerate(self._shards):
                records = shard.read(1_000).records
                at = time.monotonic()
                for record in records:
                    self.seen[record["dynamodb"]["Keys"]["pk"]["S"]] = number, at
                found = found or bool(records)
            if not found:
                self._stop.wait(POLL_S)

    def _warn(self, text: str) -> None:
        raise CannotMeasure(text)


def _told(taken: Record[Lag]) -> str:
    rows = [
        (where, f"{spread.count:,}", *(f"{spread.percentiles_ms[percent]:,.0f}" for percent in (50, 90, 99, 100)))
        for where, spread in (("the leader", taken.found.leader), ("a follower", taken.found.follower))
    ]
    return "\n\n".join(
        (
            "## Stream lag",
            f"From sending a write (PutItem, {WRITES_PER_S} a second, through the shared endpoint of three nodes) to "
            "receiving its record from GetRecords, at the node that leads the item's partition and at the other two; "
            f"readers pause {POLL_S * 1e3:.0f} ms after an empty answer.",
            markdown.table(("read at", "records", "p50 ms", "p90 ms", "p99 ms", "longest ms"), rows),
        )
    )


SECTION: Final = Section("streams", Lag, measure, _told)
