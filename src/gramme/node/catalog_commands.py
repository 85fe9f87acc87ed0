"""Commands and answers of the catalog's replication group: the API's, and those that its own control loop adds."""

from __future__ import annotations

import msgspec

from gramme.tables.catalog import (
    CreateTable,
    DeleteTable,
    DescribeTable,
    ListTables,
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


CatalogWrite = CreateTable | DeleteTable | TableChange | SetStatus | RemoveTable
CatalogRead = DescribeTable | ListTables
CatalogCommand = CatalogWrite | CatalogRead
CatalogAnswer = TableReply | TableNames | NoSuchTable | TableInUse | Refused
