"""Reading one shard from a place on: iterators are renewed, lost ground is reported.

Rule: no record is skipped without a word. An iterator that has expired is replaced by one behind the last record read;
data that was trimmed before it was read is reported, and reading goes on with the oldest record that is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gramme.client.endpoint import Endpoint
from gramme.client.errors import ServiceError
from gramme.client.streams.stream import Shard

HORIZON: Final = "TRIM_HORIZON"
LATEST: Final = "LATEST"
Record = dict[str, Any]
"""A stream record as GetRecords gives it."""


class Batch(NamedTuple):
    """Records in order. `ended`: the shard is closed, and nothing follows."""

    records: list[Record]
    ended: bool


class ShardReader:
    """Reads `shard` in order. `start`: HORIZON, LATEST, or the sequence number of the last record done with."""

    def __init__(
        self, endpoint: Endpoint, shard: Shard, start: str, warn: Callable[[str], None], iterator: str | None = None
    ) -> None:
        """`iterator`: one that an earlier reader kept, which says where LATEST was. `warn` takes one line."""
        self._endpoint = endpoint
        self._shard = shard
        self._start = start
        self._warn = warn
        self.iterator = iterator if start == LATEST else None

    def read(self, limit: int) -> Batch:
        """The next records, at most `limit`; none if there are none yet. Raises ServiceError, Unreachable."""
        try:
            if self.iterator is None:
                self.iterator = self._iterator()
            answer = self._endpoint.call("GetRecords", {"ShardIterator": self.iterator, "Limit": limit})
        except ServiceError as error:
            return self._refused(error)
        records: list[Record] = answer.get("Records", [])
        self.iterator = answer.get("NextShardIterator")
        if records:
            self._start = records[-1]["dynamodb"]["SequenceNumber"]
        return Batch(records, self.iterator is None)

    def open(self) -> None:
        """Fix the place where reading begins, before the first read. Raises as `read`."""
        if self.iterator is None:
            self.iterator = self._iterator()

    def _iterator(self) -> str:
        body = {"StreamArn": self._shard.stream, "ShardId": self._shard.id}
        if self._start in (HORIZON, LATEST):
            body["ShardIteratorType"] = self._start
        else:
            body |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self._start}
        iterator: str = self._endpoint.call("GetShardIterator", body)["ShardIterator"]
        return iterator

    def _refused(self, error: ServiceError) -> Batch:
        name = self._shard.name
        if error.name == "ExpiredIteratorException":
            if self._start == LATEST:
                self._warn(f"{name}: nothing was read for 15 minutes; what was written since then is skipped")
        elif error.name == "TrimmedDataAccessException":
            self._warn(f"{name}: records behind {self._start} were trimmed before they were read")
            self._start = HORIZON
        elif error.name == "ResourceNotFoundException":
            self._warn(f"{name}: the shard is gone; what was not read of it is lost")
            return Batch([], True)
        else:
            raise error
        self.iterator = None
        return Batch([], False)
