"""Commands and answers of the catalog's replication group: the API's, and those that its own control loop adds."""

from __future__ import annotations

import msgspec

from gramme.kernel.ids import GroupId, NodeId
from gramme.node.catalog.node_table import NodeAnswer, NodeWrite, PlanRemoval
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
from gramme.tables.streams import StreamList, StreamRequest


class SetStatus(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Move this incarnation of a table to `status`; nothing happens if it is gone."""

    name: str
    table_id: str
    status: TableStatus


class RemoveTable(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Replace a DELETING table by the tombstones of its groups; nothing happens if this incarnation is gone."""

    name: str
    table_id: str


class SettleSchema(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Every partition has the schema of `version`: the indexes with the numbers `made` are ACTIVE, those of `gone` and
    their groups are no more, the stream is what the descriptor says. Nothing happens if this incarnation of the table
    is gone, or its schema has changed since."""

    name: str
    table_id: str
    version: int
    made: tuple[int, ...]
    gone: tuple[int, ...]


class ForgetStreams(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Streams of tables called `name` that were closed long enough ago (or at all, with `at_once`) are no more, nor are
    the groups of a deleted table that has none left."""

    name: str
    at_once: bool = False


class SetObjects(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The configuration of objects (`gramme.objects.config`), if its version is the next one."""

    config: bytes


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """Where a group is by its newest configuration, as its leader reports: `members` may lead, `others` may not."""

    group: GroupId
    table_id: str
    number: int
    members: tuple[NodeId, ...]
    others: tuple[NodeId, ...]


class SetReplicas(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Where groups are now. Of two reports the higher number wins; a group that is gone is passed over."""

    groups: tuple[Placed, ...]


class ReplicasSet(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The catalog knows."""


class ObjectsSet(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The configuration that the catalog holds now (b"": the one that every founder works out), taken or not."""

    config: bytes


CatalogWrite = (
    CreateTable
    | DeleteTable
    | TableChange
    | SetStatus
    | RemoveTable
    | SettleSchema
    | ForgetStreams
    | SetObjects
    | SetReplicas
    | NodeWrite
)
CatalogRead = DescribeTable | ListTables | StreamRequest | PlanRemoval
CatalogCommand = CatalogWrite | CatalogRead
CatalogAnswer = (
    TableReply
    | TableNames
    | StreamList
    | NoSuchTable
    | NoSuchIndex
    | TableInUse
    | Refused
    | ObjectsSet
    | ReplicasSet
    | NodeAnswer
)
