"""Following the stream of a table: every shard in turn, records as they come, new shards and new streams as they begin.

One thread and one connection: a follower is for people and pipes, not for throughput.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from gramme.client.endpoint import Endpoint
from gramme.client.streams.reader import HORIZON, LATEST, Record, ShardReader
from gramme.client.streams.stream import Shard, label_of, readable, required_stream, shards_of, streams_of

_LIMIT: Final = 1_000
_DESCRIBE_S: Final = 2.0


class Tail:
    """The records of a table's stream, endlessly. `poll_s`: pause after a round without records."""

    def __init__(
        self,
        endpoint: Endpoint,
        table: str,
        start: str,
        *,
        poll_s: float,
        stop: threading.Event,
        warn: Callable[[str], None],
    ) -> None:
        """`start`: LATEST or HORIZON, of the shards that are there now; later ones are read from their beginning."""
        self._endpoint = endpoint
        self._table = table
        self._start = start
        self._poll_s = poll_s
        self._stop = stop
        self._warn = warn
        self._since = ""
        self._readers: dict[str, ShardReader] = {}
        self._ended: set[str] = set()
        self._shards: list[Shard] = []
        self._described_at = float("-inf")

    def open(self) -> None:
        """Fix where reading begins: what is written from now on will be seen. Raises InvalidInput if the table or its
        stream does not exist, ServiceError, Unreachable."""
        arn = required_stream(self._endpoint, self._table)
        self._since = label_of(arn)
        self._shards = shards_of(self._endpoint, arn)
        self._described_at = time.monotonic()
        for shard in self._shards:
            if self._start == LATEST and shard.closed:
                self._ended.add(shard.name)
                continue
            self._reader(shard, self._start).open()

    def records(self) -> Iterator[Record]:
        """Until `stop` is set. Raises ServiceError, Unreachable."""
        while not self._stop.is_set():
            self._describe()
            found = False
            for shard in readable(self._shards, lambda shard: shard.name in self._ended):
                batch = self._reader(shard, HORIZON).read(_LIMIT)
                yield from batch.records
                found = found or bool(batch.records)
                if batch.ended:
                    self._ended.add(shard.name)
                    del self._readers[shard.name]
                    self._described_at = float("-inf")
            if not found:
                self._stop.wait(self._poll_s)

    def _describe(self) -> None:
        now = time.monotonic()
        if now - self._described_at < _DESCRIBE_S:
            return
        arns = streams_of(self._endpoint, self._table, self._since)
        self._shards = [shard for arn in arns for shard in shards_of(self._endpoint, arn)]
        self._described_at = now

    def _reader(self, shard: Shard, start: str) -> ShardReader:
        if shard.name not in self._readers:
            self._readers[shard.name] = ShardReader(self._endpoint, shard, start, self._warn)
        return self._readers[shard.name]
