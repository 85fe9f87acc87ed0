"""Requests to one partition of a table, and their replies: API builds, router carries, leader evaluates.

Items travel as their canonical wire JSON (bytes) and attribute values as parsed wire JSON (`{"S": "x"}`), so that
nothing is decoded that is only passed on (DESIGN.md §4, §10). Keys are encoded, order-preserving, without extent
and space (`gramme.tables.keys`). Expressions travel as their text and are parsed again at the leader, through a cache
by text. The structs are frozen, tagged and array-like: field order is the wire format, so new fields go at the end
with a default.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import msgspec

from gramme.tables.descriptor import KeySchema
from gramme.tables.streams import Changes, ReadChanges

AttributeValue = dict[str, Any]
"""One attribute value in wire form: a dict with exactly one of S N B BOOL NULL L M SS NS BS."""

Item = dict[str, AttributeValue]


READ_UNIT_BYTES: Final = 4096


class ReturnValues(IntEnum):
    """`ReturnValues` of a write."""

    NONE = 0
    ALL_OLD = 1
    UPDATED_OLD = 2
    ALL_NEW = 3
    UPDATED_NEW = 4


class _Wire(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


class Condition(_Wire, frozen=True):
    """Expression texts of a request with their placeholders; `text` is the condition, filter or key condition."""

    text: str | None = None
    names: dict[str, str] | None = None
    values: dict[str, AttributeValue] | None = None


class PutItem(_Wire, tag="PutItem", frozen=True):
    """Replace the item under `key`. `item` is canonical JSON (see `gramme.tables.item`)."""

    key: bytes
    item: bytes
    size: int  # DynamoDB item size in bytes
    condition: Condition | None = None
    return_values: ReturnValues = ReturnValues.NONE
    return_on_failure: bool = False  # ReturnValuesOnConditionCheckFailure=ALL_OLD


class DeleteItem(_Wire, tag="DeleteItem", frozen=True):
    """Remove the item under `key`; succeeds if there is none."""

    key: bytes
    condition: Condition | None = None
    return_values: ReturnValues = ReturnValues.NONE
    return_on_failure: bool = False


class UpdateItem(_Wire, tag="UpdateItem", frozen=True):
    """Edit the item under `key`, creating it from `primary` (its key attributes) if there is none."""

    key: bytes
    primary: Item
    update: str | None  # UpdateExpression; names and values stand in `condition`
    condition: Condition | None = None
    return_values: ReturnValues = ReturnValues.NONE
    return_on_failure: bool = False


WriteRequest = PutItem | DeleteItem | UpdateItem


class GetItem(_Wire, tag="GetItem", frozen=True):
    """Read the item under `key`."""

    key: bytes
    consistent: bool = False


class ScanRange(_Wire, tag="ScanRange", frozen=True):
    """One page of rows with start <= key < end, at most `limit` rows or `max_bytes` (before any filter)."""

    start: bytes
    end: bytes
    limit: int | None = None
    max_bytes: int = 1 << 20
    reverse: bool = False
    consistent: bool = False
    index: int = 0  # number of a local index whose rows to read (`gramme.tables.indexes`); 0: the items
    fetch: KeySchema | None = None  # with `index`: answer whole items of this key instead of what the index projects


class CountRows(_Wire, tag="CountRows", frozen=True):
    """How many rows the partition holds, and how large they are."""

    consistent: bool = False


class ReadVersions(_Wire, tag="ReadVersions", frozen=True):
    """The items under `keys` in one step, with their versions; without `bodies`, the versions only. Answer:
    VersionsRead."""

    keys: list[bytes]
    bodies: bool = True
    consistent: bool = True


PARTITION_READS = (GetItem, ScanRange, CountRows, ReadChanges, ReadVersions)
"""What a replica may answer from its applied rows; an eventual one if not `consistent`."""


class ApplyIndex(_Wire, tag="ApplyIndex", frozen=True):
    """From the leader of a base partition to a partition of a global index: rows to put (JSON and item size) and to
    delete (None), in order.

    Done only if it is the next of its feeder: `epoch` is the ballot under which the feeder leads, `seq` counts from 0
    in each epoch. So what is late, sent twice, or sent by a deposed leader changes nothing. `through`: every change of
    the base partition up to this slot is in this or an earlier batch.
    """

    feeder: int  # the base partition's group
    epoch: int
    seq: int
    through: int
    rows: list[tuple[bytes, bytes | None, int]]


class ConfigurePartition(_Wire, tag="ConfigurePartition", frozen=True):
    """From the catalog's leader: the partition's schema from now on, unless it has a newer one. Asks at the same time
    which backfills are done."""

    version: int
    schema: bytes  # PartitionSchema, encoded


class TrimChanges(_Wire, tag="TrimChanges", frozen=True):
    """From a partition's own leader: changes up to slot `confirmed` are wherever they had to go; records up to slot
    `expired` are too old, and so are the streams' shards `forgotten` (by label). `keys` (in space CHANGES) are those of
    all records that have been confirmed since this was last said."""

    confirmed: int
    expired: int
    forgotten: tuple[str, ...] = ()
    keys: list[bytes] = []


class BackfillDone(_Wire, tag="BackfillDone", frozen=True):
    """From a partition's own feeder: all rows that were there before the index have been fed to it."""

    index: int


class ExpireItem(_Wire, tag="ExpireItem", frozen=True):
    """From a partition's own leader: delete the item under `key` if it has expired by the leader's clock and no
    transaction holds it. Written: done, or there was no reason to (`old_size` 0)."""

    key: bytes


PartitionCommand = ApplyIndex | ConfigurePartition | TrimChanges | BackfillDone | ExpireItem
"""Writes that nodes send to partitions; no client's request becomes one."""

ReadRequest = GetItem | ScanRange | CountRows
Request = PutItem | DeleteItem | UpdateItem | ReadRequest


class Found(_Wire, tag="Found", frozen=True):
    """Answer to GetItem: the stored canonical JSON, untouched, or None."""

    item: bytes | None
    size: int  # DynamoDB item size in bytes, 0 if absent


class Written(_Wire, tag="Written", frozen=True):
    """Answer to a write: `attributes` is JSON of what ReturnValues asked for, None if there is nothing to return."""

    attributes: bytes | None
    old_size: int
    new_size: int
    indexes: tuple[tuple[str, int], ...] = ()  # write units that each secondary index takes, those with none left out
    collection_bytes: int | None = None  # of the item's collection in a table with local indexes, after the write


class Page(_Wire, tag="Page", frozen=True):
    """Answer to ScanRange. `last_key` is the encoded key of the last row when the range may hold more, else None."""

    items: list[bytes]
    last_key: bytes | None
    size: int  # bytes of the rows read, of the index's where whole items were fetched
    fetched: int = 0  # read units of the items fetched, each rounded up by itself


class ConditionFailed(_Wire, tag="ConditionFailed", frozen=True):
    """The condition did not hold; `item` only where return_on_failure asked for it."""

    item: bytes | None
    size: int


class Refused(_Wire, tag="Refused", frozen=True):
    """The request is invalid against the stored item (a type mismatch in an update, an item grown too large):
    ValidationException with this message."""

    message: str


class FailureKind(IntEnum):
    """Why a request has no answer from its partition; the API maps these to HTTP (issue 'Answers under trouble')."""

    THROTTLED = 1  # not applied, a bounded queue or the free-space reserve says no: 400 ThrottlingException
    NO_QUORUM = 2  # not applied, nobody could serve it by the deadline: 503 ServiceUnavailable
    UNKNOWN = 3  # a write whose outcome nobody could tell by the deadline: 500 InternalServerError
    NO_TABLE = 4  # the table or this incarnation of it (TableId) does not exist: ResourceNotFoundException
    INTERNAL = 5  # a bug, logged with its trace: 500 InternalServerError


class Failed(_Wire, tag="Failed", frozen=True):
    """No answer from the partition."""

    kind: FailureKind
    detail: str = ""
    reason: str = ""  # of THROTTLED: what the API puts into ThrottlingReasons
    index: str = ""  # of THROTTLED by an index: its name


class Counted(_Wire, tag="Counted", frozen=True):
    """Answer to CountRows: (0 for items or a global index's entries, else the number of a local index; rows; bytes)."""

    totals: tuple[tuple[int, int, int], ...]


class IndexApplied(_Wire, tag="IndexApplied", frozen=True):
    """Answer to ApplyIndex: where the feeder's cursor stands now. Another `epoch` or `seq` than sent: nothing was
    done."""

    epoch: int
    seq: int
    through: int


class Configured(_Wire, tag="Configured", frozen=True):
    """Answer to the other partition commands: the version of the schema, and the indexes (by number) that are fed in
    full."""

    version: int
    filled: tuple[int, ...] = ()


class CollectionFull(_Wire, tag="CollectionFull", frozen=True):
    """The item collection of a table with local indexes would grow past 10 GB: nothing was written."""


class Version(_Wire, frozen=True):
    """An item, the timestamp of its last change (of an absent one: the partition's last deletion), and whether a
    transaction in progress holds it."""

    found: Found
    stamp: int
    held: bool


class VersionsRead(_Wire, tag="VersionsRead", frozen=True):
    """Answer to ReadVersions, in the order of its keys."""

    items: tuple[Version, ...]


class Conflict(_Wire, tag="Conflict", frozen=True):
    """A transaction in progress holds the item: TransactionConflict(Exception). Nothing was done; also the answer to a
    plain write of such an item."""


Reply = (
    Found
    | Written
    | Page
    | ConditionFailed
    | Refused
    | Failed
    | Counted
    | IndexApplied
    | Configured
    | CollectionFull
    | Conflict
    | Changes
)
