"""Commands to the catalog, the replicated partition that knows tables and nodes, and their replies.

Authority of the catalog: nodes, schemas, first configurations (REPLICATION.md §8). The API builds these; the catalog's
leader evaluates them (`gramme.node.catalog.model`).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gramme.tables.descriptor import Index, KeySchema, TableDescriptor, ViewType
from gramme.tables.requests import Failed, Refused
from gramme.tables.streams import StreamList, StreamRequest


class CreateTable(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Create a table; answered when every partition has a leader, with the status CREATING as SDKs expect."""

    name: str
    key: KeySchema
    attribute_definitions: tuple[tuple[str, str], ...]
    billing_mode: Literal["PROVISIONED", "PAY_PER_REQUEST"]
    read_units: int = 0
    write_units: int = 0
    settings: dict[str, Any] = {}
    indexes: tuple[Index, ...] = ()  # without numbers and partitions, which the catalog gives
    stream: ViewType | None = None  # begins with the table; None: no stream


class DeleteTable(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Delete a table for good; answered with the descriptor in status DELETING."""

    name: str


class DescribeTable(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The newest descriptor, read strongly."""

    name: str


class ListTables(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Names after `start` (exclusive) in byte order, at most `limit`."""

    start: str | None
    limit: int


class IndexUnits(msgspec.Struct, frozen=True, array_like=True):
    """A change of a global index's throughput; what is None or absent stays."""

    name: str
    read_units: int | None = None  # both given, or neither
    write_units: int | None = None
    settings: dict[str, Any] = {}


class StreamChange(msgspec.Struct, frozen=True, array_like=True):
    """Turn a table's stream on with this view, or off (None)."""

    view: ViewType | None


class UpdateTable(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Change throughput and settings; what is None or absent stays. Judged against the table as the catalog has it
    (`gramme.tables.table_changes`), so that two clients' changes cannot cross."""

    name: str
    billing_mode: Literal["PROVISIONED", "PAY_PER_REQUEST"] | None = None
    read_units: int | None = None  # both given, or neither
    write_units: int | None = None
    settings: dict[str, Any] = {}
    attribute_definitions: tuple[tuple[str, str], ...] = ()
    add: Index | None = None  # a global index, without number and partitions; at most one of `add` and `drop`
    drop: str | None = None
    resize: tuple[IndexUnits, ...] = ()
    stream: StreamChange | None = None


class TagTable(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Set the tags `put` (key, value), drop those with the keys `remove`."""

    name: str
    put: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


class SetTimeToLive(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Name the attribute that holds an item's time of expiry (epoch seconds), or stop expiry."""

    name: str
    enabled: bool
    attribute: str


TableChange = UpdateTable | TagTable | SetTimeToLive
CatalogRequest = CreateTable | DeleteTable | DescribeTable | ListTables | TableChange | StreamRequest


class TableReply(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The table as it stands after the command."""

    table: TableDescriptor


class TableNames(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Answer to ListTables; `more` tells whether names follow the last one."""

    names: tuple[str, ...]
    more: bool


class NoSuchTable(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """There is no table of that name."""

    name: str


class NoSuchIndex(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The table has no global index of that name."""

    name: str


class TableInUse(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The table exists, or is being created or deleted (`status`)."""

    name: str
    status: str


CatalogReply = TableReply | TableNames | StreamList | NoSuchTable | NoSuchIndex | TableInUse | Refused | Failed
