"""Stream records: a partition's change as GetRecords tells it.

Rule: a function of the change and of its stream, so that every node, and every repetition, says the same: the same
eventID, the same sequence number. Images are passed on as they were stored; they are taken apart only to be measured,
and in steps, because one can hold tens of thousands of attributes. Source: API reference, Record and StreamRecord;
developer guide, "DynamoDB Streams and Time to Live".
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gramme.api.dynamodb.large import Budget
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.dynamodb.streams.names import sequence_number
from gramme.kernel.errors import Invariant
from gramme.kernel.ids import GroupId
from gramme.kernel.md5 import md5
from gramme.kernel.time import SECOND
from gramme.tables.streams import Change, StreamDescriptor
from gramme.tables.values import utf8_size, value_size

_SERVICE: Final = b'"userIdentity":{"Type":"Service","PrincipalId":"dynamodb.amazonaws.com"},'
"""Says that the service itself deleted the item, because it had expired."""

_STEP: Final = 1_000  # attributes measured before others may have their turn
_EACH: Final = 32  # what one attribute costs besides its length, in bytes of JSON decoded

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


class RecordWriter:
    """Writes the records of one shard."""

    __slots__ = ("_budget", "_head", "_identity", "_key", "_new", "_old", "_view")

    def __init__(self, stream: StreamDescriptor, group: GroupId, settings: ApiSettings, budget: Budget) -> None:
        self._key = stream.key
        self._view = stream.view.encode()
        self._new = stream.view in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
        self._old = stream.view in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES")
        self._identity = md5(f"{stream.table_id}/{stream.label}/{group}/".encode())
        self._head = b'"eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"%b",' % settings.region.encode()
        self._budget = budget

    async def write(self, change: Change) -> tuple[bytes, int]:
        """JSON of the record, and its size in bytes as the service counts it (SizeBytes): of the key and the images
        that it shows."""
        image = change.new if change.new is not None else change.old
        if image is None:
            raise Invariant("a change record without an image")
        members = _members(image)
        keys = {name: members[name] for name in self._key.names}
        size = await self._measure(keys)
        shown = b""
        if self._new and change.new is not None:
            size += await self._measure(members)
            shown += b'"NewImage":' + change.new + b","
        if self._old and change.old is not None:
            size += await self._measure(members if change.new is None else _members(change.old))
            shown += b'"OldImage":' + change.old + b","
        number = sequence_number(change.at).encode()
        event = b"MODIFY" if change.old and change.new else b"INSERT" if change.new else b"REMOVE"
        record = (
            b'{"eventID":"%b","eventName":"%b",%b%b"dynamodb":{"ApproximateCreationDateTime":%d,"Keys":%b,%b'
            b'"SequenceNumber":"%b","SizeBytes":%d,"StreamViewType":"%b"}}'
        ) % (
            self._event_id(number), event, self._head, _SERVICE if change.service else b"", change.stamp // SECOND,
            _encode(keys), shown, number, size, self._view,
        )  # fmt: skip
        return record, size

    async def _measure(self, members: dict[str, msgspec.Raw]) -> int:
        size = cost = 0
        for count, (name, raw) in enumerate(members.items(), 1):
            size += utf8_size(name) + value_size(_value(raw))
            cost += len(raw) + _EACH
            if not count % _STEP:
                await self._budget.spend(cost)
                cost = 0
        await self._budget.spend(cost)
        return size

    def _event_id(self, number: bytes) -> bytes:
        identity = self._identity.copy()
        identity.update(number)
        return identity.hexdigest().encode()
