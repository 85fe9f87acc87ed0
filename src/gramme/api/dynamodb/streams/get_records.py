"""GetRecords: up to 1,000 records or 1 MB from a place in a shard on, as applied at whichever replica answers.

The partition is read in small chunks, and in between the event loop serves others. Rules: a page ends exactly
behind its last record, so that pages joined are the shard, without a gap or a repetition; a page is never larger than
1 MB unless its only record is; NextShardIterator is left out only when the shard is closed and read to its end.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.large import Budget
from gramme.api.dynamodb.streams import iterators
from gramme.api.dynamodb.streams.records import RecordWriter
from gramme.api.dynamodb.streams.shards import order, read, shard_of, trimmed
from gramme.kernel.ids import GroupId
from gramme.tables.descriptor import Partition
from gramme.tables.streams import Change, Changes, Position, ReadChanges, StreamDescriptor

_MAX_RECORDS: Final = 1_000
_PAGE_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 64 << 10
_CHUNK_RECORDS: Final = 100

_encode: Final = msgspec.json.Encoder().encode


def start(call: Call) -> None:
    """Begin GetRecords."""
    limit = call.body.get("Limit") or _MAX_RECORDS
    if limit > _MAX_RECORDS:
        raise validation(
            f"One or more parameter values were invalid: Limit should be less than or equal to {_MAX_RECORDS}"
        )
    place = iterators.decode(call.body["ShardIterator"], call.env.clock.timestamp())
    call.run(_get(call, place, limit))


async def _get(call: Call, iterator: iterators.ShardIterator, limit: int) -> None:
    stream, place = await shard_of(call, iterator.arn, iterator.group)
    page = _Page(call, stream, place, limit)
    ended = await page.read(iterator.at)
    answer = [b'{"Records":[', b",".join(page.records), b"]"]
    if not ended:
        token = iterators.encode(iterator._replace(at=page.next), call.env.clock.timestamp())
        answer.append(b',"NextShardIterator":' + _encode(token))
    call.answer([*answer, b"}"])


class _Page:
    """Records until a bound of the page, or until there is no more."""

    def __init__(self, call: Call, stream: StreamDescriptor, place: Partition, limit: int) -> None:
        self._call = call
        self._stream = stream
        self._place = place
        self._limit = limit
        self._size = 0
        self._writer = RecordWriter(stream, GroupId(place.group), call.env.settings, Budget(call.env))
        self.records: list[bytes] = []
        self.next = iterators.HORIZON

    async def read(self, start: Position) -> bool:
        """Fill the page from `start` on; True if the shard is closed and at its end. Raises ApiError."""
        self.next = start
        while True:
            chunk = await self._chunk()
            if self.next != iterators.HORIZON and order(self.next) < order(chunk.oldest):
                if self.records:
                    return False  # trimmed under way: the next page says so
                raise trimmed()
            for change in chunk.records:
                if not await self._take(change):
                    return False
            at_end = order(chunk.next) >= order(chunk.end)
            # A replica that lags behind the one asked before has nothing new, and must not take the reader back.
            self.next = max(self.next, chunk.next, key=order)
            if at_end or len(self.records) == self._limit:
                return at_end and chunk.last is not None
            await self._call.env.breathe()

    async def _chunk(self) -> Changes:
        request = ReadChanges(
            self._stream.label, self.next, min(_CHUNK_RECORDS, self._limit - len(self.records)), _CHUNK_BYTES
        )
        return await read(self._call, self._stream, self._place, request)

    async def _take(self, change: Change) -> bool:
        """Add a record; False if it has no room in this page."""
        record, size = await self._writer.write(change)
        if self.records and self._size + size > _PAGE_BYTES:
            self.next = change.at
            return False
        self.records.append(record)
        self._size += size
        return True
