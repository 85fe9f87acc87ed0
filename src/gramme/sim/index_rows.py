"""From a cluster's replicas to what the checker of indexes reads: items and rows in plain values; and a recount of the
totals that partitions keep."""

from __future__ import annotations

from collections.abc import Mapping

from gramme.kernel.ids import CATALOG_GROUP, GroupId
from gramme.node.catalog.model import all_tables
from gramme.node.changes.item_changes import ITEMS, LOCAL
from gramme.node.partition import PartitionReplica
from gramme.node.totals import TOTALS_ROW, decode_totals
from gramme.sim.checkers.indexes import IndexState, Item, wrong_index
from gramme.sim.stream_reader import stray_records
from gramme.tables.descriptor import Index, Partition, TableDescriptor
from gramme.tables.item import decode_item, item_json, stored_size


def wrong_rows(replicas: Mapping[GroupId, PartitionReplica]) -> str | None:
    """The first difference between an index and its table, or a table or record on its way; None if there is none."""
    for table in all_tables(replicas[CATALOG_GROUP].rows.scan):
        if table.status != "ACTIVE":
            return f"table {table.name} is still {table.status}"
        items = _rows(replicas, table.partitions, ITEMS)
        for index in table.indexes:
            wrong = wrong_index(table.key.names, items, _state(replicas, table, index))
            if wrong is not None:
                return wrong
        local = [index.number for index in table.indexes if index.kind == "LOCAL"]
        for place in table.all_partitions:
            wrong = _wrong_totals(replicas[place.group], local)
            if wrong is not None:
                return f"group {place.group} of {table.name} {wrong}"
    return stray_records(replicas)


def items_of(replicas: Mapping[GroupId, PartitionReplica], table: str) -> list[Item]:
    """All items of a table, by its name."""
    (known,) = [each for each in all_tables(replicas[CATALOG_GROUP].rows.scan) if each.name == table]
    return _rows(replicas, known.partitions, ITEMS)


def _wrong_totals(replica: PartitionReplica, local: list[int]) -> str | None:
    """What differs between the partition's totals and a recount of its rows; None if nothing does."""
    kept = {number: (rows, size) for number, rows, size in decode_totals(replica.rows.get(TOTALS_ROW))}
    for number in (0, *local):
        prefix = LOCAL + bytes((number,)) if number else ITEMS
        sizes = [stored_size(stored) for _, stored in replica.rows.scan(prefix, _above(prefix), False)]
        if kept.get(number, (0, 0)) != (len(sizes), sum(sizes)):
            return f"counts {kept.get(number)} for {number}, and holds {len(sizes)} rows of {sum(sizes)} bytes"
    return None


def _above(prefix: bytes) -> bytes:
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _state(replicas: Mapping[GroupId, PartitionReplica], table: TableDescriptor, index: Index) -> IndexState:
    if index.kind == "LOCAL":
        rows = _rows(replicas, table.partitions, LOCAL + bytes((index.number,)))
    else:
        rows = _rows(replicas, index.partitions, ITEMS)
    projected = None if index.projection == "ALL" else index.included
    return IndexState(table.name, index.name, index.hash + index.range, projected, rows)


def _rows(replicas: Mapping[GroupId, PartitionReplica], partitions: tuple[Partition, ...], prefix: bytes) -> list[Item]:
    return [
        decode_item(item_json(stored))
        for place in partitions
        for _, stored in replicas[place.group].rows.scan(prefix, _above(prefix), False)
    ]
