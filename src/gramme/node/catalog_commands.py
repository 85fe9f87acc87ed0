"""Commands and answers of the catalog's replication group: the API's, and those that its own control loop adds."""

from __future__ import annotations

import msgspec

from gramme.tables.catalog import (
    CreateTable,
    DeleteTable,
    DescribeTable,
    ListTables,
    NoSuchIndex,
    NoSuchTable,
    TableChange,
    TableInUse,
    TableNames,
    TableReply,
)
from gramme.tables.descriptor import TableStatus
from gramme.tables.requests import Refused


class SetStatus(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Move this incarnation of a table to `status`; nothing happens if it is gone."""

    name: str
    table_id: str
    status: TableStatus


class RemoveTable(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Replace a DELETING table by the tombstones of its groups; nothing happens if this incarnation is gone."""

    name: str
    table_id: str


class SettleIndexes(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The indexes with the numbers `made` are ACTIVE, those of `gone` and their groups are no more; nothing happens if
    this incarnation of the table is gone."""

    name: str
    table_id: str
    made: tuple[int, ...]
    gone: tuple[int, ...]


CatalogWrite = CreateTable | DeleteTable | TableChange | SetStatus | RemoveTable | SettleIndexes
CatalogRead = DescribeTable | ListTables
CatalogCommand = CatalogWrite | CatalogRead
CatalogAnswer = TableReply | TableNames | NoSuchTable | NoSuchIndex | TableInUse | Refused
