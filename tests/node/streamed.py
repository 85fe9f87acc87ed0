"""Three simulated nodes with a streamed table, and what a reader makes of its shards."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.node.three import ALL, N0, Three

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.node.catalog.model import all_tables
from gramme.node.changes.change_log import ChangeLog, read_log
from gramme.node.table_evaluator import TableEvaluator
from gramme.tables.catalog import CreateTable, StreamChange, UpdateTable
from gramme.tables.descriptor import Index, KeySchema, Partition, TableDescriptor, ViewType
from gramme.tables.indexes import PartitionSchema
from gramme.tables.item import encode_item
from gramme.tables.keys import key_of
from gramme.tables.requests import DeleteItem, PutItem, Written
from gramme.tables.streams import (
    Change,
    Changes,
    DescribeStream,
    ListStreams,
    Position,
    ReadChanges,
    StreamDescriptor,
    StreamList,
)
from gramme.tables.transactions import TransactionDone, WriteTransaction
from gramme.tables.values import item_size

NAME = "Carts"
KEY_SCHEMA = KeySchema("pk", "S")
BOTH: ViewType = "NEW_AND_OLD_IMAGES"
BY_GROUP = Index(name="by-group", kind="GLOBAL", hash=(("g", "S"),), range=(), projection="ALL")
Image = dict[str, Any] | None


class Streamed(Three):
    """See the module."""

    def create_streamed(self, view: ViewType | None = BOTH, indexes: tuple[Index, ...] = ()) -> TableDescriptor:
        """The table, of four partitions, with or without a stream from its beginning."""
        definitions = (("pk", "S"), ("g", "S")) if indexes else (("pk", "S"),)
        create = CreateTable(NAME, KEY_SCHEMA, definitions, "PAY_PER_REQUEST", indexes=indexes, stream=view)
        self.catalog(create)
        return self.table()

    def table(self, node: NodeId = N0) -> TableDescriptor:
        """The descriptor that the catalog has now."""
        found: TableDescriptor = self.look_up(node, NAME)
        return found

    def update(self, node: NodeId = N0, **members: Any) -> TableDescriptor:
        """One UpdateTable, and wait until the table is ACTIVE again."""
        reply: Any = self.catalog(UpdateTable(NAME, **members), node)
        assert reply.table.status == "UPDATING", reply
        self.until(lambda: self.table(node).status == "ACTIVE", "the table is ACTIVE")
        return self.table(node)

    def turn_on(self, node: NodeId = N0, view: ViewType = BOTH) -> TableDescriptor:
        """A new stream."""
        return self.update(node, stream=StreamChange(view))

    def turn_off(self, node: NodeId = N0) -> TableDescriptor:
        """No stream any more."""
        return self.update(node, stream=StreamChange(None))

    def put(self, key: str, node: NodeId = N0, **attributes: Any) -> None:
        """Replace an item."""
        assert isinstance(self.submit(node, self.table(), put(key, **attributes)), Written)

    def remove(self, key: str, node: NodeId = N0) -> None:
        """Delete an item."""
        assert isinstance(self.submit(node, self.table(), DeleteItem(encoded(key))), Written)

    def ask(self, request: Any, node: NodeId = N0) -> Any:
        """One request to the catalog; the test knows what answer to expect."""
        return self.catalog(request, node)

    def transact(self, *actions: Any, node: NodeId = N0) -> None:
        """All of these writes of the table, in one transaction."""
        table = self.table(node)
        request = WriteTransaction(tuple((table, action) for action in actions), None)
        reply = self._call(node, lambda router, deadline, done: router.transact_write(request, deadline, done))
        assert isinstance(reply, TransactionDone), reply

    def send(self, place: Partition, command: Any, node: NodeId = N0) -> Any:
        """The reply of a partition's leader to a command."""
        return self._call(node, lambda router, deadline, done: router.send(place, command, deadline, done))

    # --- streams ------------------------------------------------------------------------------------------------------

    def streams(self, node: NodeId = N0) -> list[StreamDescriptor]:
        """All streams that the catalog knows of the name."""
        reply = self.catalog(ListStreams(NAME, None, 100), node)
        assert isinstance(reply, StreamList)
        return list(reply.streams)

    def stream(self, label: str, node: NodeId = N0) -> StreamDescriptor | None:
        """One of them."""
        reply = self.catalog(DescribeStream(NAME, label), node)
        assert isinstance(reply, StreamList)
        return reply.streams[0] if reply.streams else None

    def read(self, place: Partition, request: ReadChanges, node: NodeId = N0) -> Changes:
        """One ReadChanges by way of `node`."""
        reply: Any = self._call(
            node, lambda router, deadline, done: router.read_changes(place, request, deadline, done)
        )
        assert isinstance(reply, Changes), reply
        return reply

    def bounds(self, stream: StreamDescriptor, place: Partition) -> Changes:
        """The leader's word on a shard's bounds."""
        return self.read(place, ReadChanges(stream.label, Position(0, 0), 0, consistent=True))

    def shard(
        self, stream: StreamDescriptor, place: Partition, node: NodeId = N0, limit: int = 3, consistent: bool = True
    ) -> list[Change]:
        """Everything in a shard, page by page."""
        records: list[Change] = []
        at = Position(0, 0)
        while True:
            page = self.read(place, ReadChanges(stream.label, at, limit, consistent=consistent), node)
            records += page.records
            if not page.records:
                assert [record.at for record in records] == sorted((r.at for r in records), key=_order)
                return records
            at = page.next

    def records(self, stream: StreamDescriptor, node: NodeId = N0, consistent: bool = True) -> list[Change]:
        """Everything in a stream: shard after shard."""
        return [r for place in stream.partitions for r in self.shard(stream, place, node, consistent=consistent)]

    def changes_of(self, stream: StreamDescriptor, key: str, node: NodeId = N0) -> list[tuple[Image, Image]]:
        """The images of one item's changes, in order."""
        pairs = [(decode(record.old), decode(record.new)) for record in self.records(stream, node)]
        return [(old, new) for old, new in pairs if (old or new or {})["pk"] == {"S": key}]

    # --- inside -------------------------------------------------------------------------------------------------------

    def schema(self, place: Partition, node: NodeId) -> PartitionSchema:
        """What a replica knows of the table."""
        partition = self.replica(node, place.group)
        assert isinstance(partition.evaluator, TableEvaluator)
        return partition.evaluator.schema(partition.rows.get)

    def log(self, place: Partition, node: NodeId) -> ChangeLog:
        """The change log of a replica."""
        return read_log(self.replica(node, place.group).rows.get, self.schema(place, node))

    def advance_wall(self, seconds: int) -> None:
        """Every machine's wall clock moves forward."""
        for node in self.cluster.nodes:
            self.cluster.step_wall(node, seconds * SECOND)

    def gone_everywhere(self, places: tuple[Partition, ...]) -> bool:
        """Whether no node hosts any of these groups."""
        return not any(self.node(node).groups.hosts(place.group) for node in ALL for place in places)

    def configured(self) -> bool:
        """Whether the catalog says that partitions know everything."""
        catalog = self.node(N0).groups.partitions
        return all(t.configured == t.schema_version for p in catalog.values() if p.spec.group == 1
                   for t in all_tables(p.rows.scan))  # fmt: skip


def encoded(key: str) -> bytes:
    """The encoded key of an item."""
    return key_of(KEY_SCHEMA, {"pk": {"S": key}})


def put(key: str, **attributes: Any) -> PutItem:
    """A request to replace an item."""
    item = {"pk": {"S": key}, **attributes}
    return PutItem(encoded(key), encode_item(item, ("pk",)), item_size(item))


def decode(image: bytes | None) -> Image:
    """An image as plain values."""
    return None if image is None else msgspec.json.decode(image)


def _order(position: Position) -> tuple[int, int]:
    return position.slot, position.index
