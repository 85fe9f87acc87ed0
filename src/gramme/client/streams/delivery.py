"""Getting a batch done: retries, then halves, and at last the dead-letter table.

Rule: a batch is done when the handler has taken every record of it, or a record that it refused `attempts` times by
itself stands in the dead-letter table. Order holds throughout: a batch that fails is cut in halves, the first half is
done before the second is tried. Source: AWS Lambda's event source mapping for streams (bisect batch on error).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from gramme.client.endpoint import Endpoint, backoff_s
from gramme.client.streams.handlers import Handler
from gramme.client.streams.reader import Record
from gramme.client.streams.stream import Shard

_FIRST_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 10.0
_MAX_ERROR_CHARS: Final = 2_000
_MAX_RECORD_BYTES: Final = 350_000  # an item holds 400 KB

_encode: Final = msgspec.json.Encoder().encode


class Interrupted(Exception):
    """The worker is to stop: what was not done stays so."""


class DeadLetters:
    """The table of records that could not be handled. Key `id`: stream label, shard and sequence number; `record`: its
    JSON, without the images where an item could not hold them (they stay in the stream for 24 hours)."""

    def __init__(self, endpoint: Endpoint, table: str) -> None:
        self._endpoint = endpoint
        self._table = table

    def put(self, shard: Shard, record: Record, error: str, attempts: int) -> None:
        """Keep a record, once however often it is put. Raises ServiceError, Unreachable."""
        change = record["dynamodb"]
        text = _encode(record)
        if len(text) > _MAX_RECORD_BYTES:
            slim = {name: value for name, value in change.items() if name not in ("NewImage", "OldImage")}
            text = _encode({**record, "dynamodb": slim})
        self._endpoint.call(
            "PutItem",
            {
                "TableName": self._table,
                "Item": {
                    "id": {"S": f"{shard.name}/{change['SequenceNumber']}"},
                    "eventID": {"S": record["eventID"]},
                    "record": {"S": text.decode()},
                    "error": {"S": error[:_MAX_ERROR_CHARS]},
                    "attempts": {"N": str(attempts)},
                    "failed_at": {"N": str(int(time.time()))},
                },
            },
        )


class Delivery:
    """Takes the batches of one shard to the handler."""

    def __init__(self, handler: Handler, dead_letters: DeadLetters, attempts: int, warn: Callable[[str], None]) -> None:
        self._handler = handler
        self._dead_letters = dead_letters
        self._attempts = attempts
        self._warn = warn

    def deliver(self, shard: Shard, records: list[Record], stop: threading.Event) -> None:
        """Get `records` done. Raises Interrupted if `stop` is set before; ServiceError or Unreachable if a dead letter
        could not be kept."""
        error = self._try(records, self._attempts, stop)
        if error is not None:
            self._split(shard, records, error, stop)

    def _split(self, shard: Shard, records: list[Record], error: str, stop: threading.Event) -> None:
        if len(records) == 1:
            self._dead_letters.put(shard, records[0], error, self._attempts)
            self._warn(f"{shard.name}: a record went to the dead-letter table: {error}")
            return
        middle = len(records) // 2
        for half in (records[:middle], records[middle:]):
            found = self._try(half, self._attempts if len(half) == 1 else 1, stop)
            if found is not None:
                self._split(shard, half, found, stop)

    def _try(self, records: list[Record], attempts: int, stop: threading.Event) -> str | None:
        """None when done; what the handler raised at the last attempt."""
        found = ""
        for attempt in range(attempts):
            if stop.is_set() or (attempt and stop.wait(backoff_s(attempt, _FIRST_BACKOFF_S, _LONGEST_BACKOFF_S))):
                raise Interrupted
            try:
                self._handler(records)
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything
                found = repr(error)
            else:
                return None
        return found
