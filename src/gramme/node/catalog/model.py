"""The catalog's data model: tables, their partitions and the groups' tombstones, as rows of one replicated partition.

Pure: reads rows, says which rows change. Rows of space CATALOG: `t/NAME` → TableDescriptor, `g/GROUP` → GroupSpec,
`x/GROUP` → tombstone (for ever: group ids are never reused), `s/NAME` → streams (`gramme.node.catalog.streams`), `m` →
nodes (`gramme.node.catalog.nodes`), `v` → tables that changed lately (`gramme.node.catalog.changes`), `n` → counters.
Authority: REPLICATION.md §8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gramme.kernel.errors import Invariant
from gramme.kernel.ids import CATALOG_GROUP, GroupId, NodeId
from gramme.kernel.ports import Randomness
from gramme.node.catalog import changes as catalog_changes
from gramme.node.catalog import nodes as catalog_nodes
from gramme.node.catalog import streams as catalog_streams
from gramme.node.catalog.commands import (
    CatalogAnswer,
    ForgetStreams,
    ObjectsSet,
    Placed,
    RemoveTable,
    ReplicasSet,
    SetObjects,
    SetReplicas,
    SetStatus,
    SettleSchema,
)
from gramme.node.catalog.node_table import AddNode, NodeBorn, NodeTable, NodeWrite, PlanRemoval, SetNodeState
from gramme.node.catalog.streams import (
    Streams,
    describe_stream,
    is_over,
    kept_for,
    latest_label,
    let_go,
    list_streams,
    streams_row,
)
from gramme.node.evaluator import Answer, Change, Context, Read, ReadLately, Scan
from gramme.node.messages import GroupSpec
from gramme.node.ports import Member
from gramme.objects.config import FOUNDED_VERSION, decode_config
from gramme.objects.ring_phases import target
from gramme.placement.tables import cut, partition_count
from gramme.placement.zones import choose_replicas, count_load, place_partitions
from gramme.storage.engine.rows import Space
from gramme.tables.catalog import (
    CreateTable,
    DeleteTable,
    DescribeTable,
    ListTables,
    NoSuchIndex,
    NoSuchTable,
    SetTimeToLive,
    TableInUse,
    TableNames,
    TableReply,
    TagTable,
    UpdateTable,
)
from gramme.tables.descriptor import Index, Partition, TableDescriptor, TableStream
from gramme.tables.index_changes import missing_index, schema_settled
from gramme.tables.indexes import encode_schema, schema_of
from gramme.tables.requests import Refused
from gramme.tables.streams import DescribeStream, ListStreams, StreamList, new_label
from gramme.tables.table_changes import changed
from gramme.tables.transaction_commands import LEDGER

REPLICATION_FACTOR: Final = 3
_SPACE: Final = bytes((Space.CATALOG,))
_TABLES: Final = _SPACE + b"t/"
_TABLES_END: Final = _SPACE + b"t0"
_GROUPS: Final = _SPACE + b"g/"
_GROUPS_END: Final = _SPACE + b"g0"
_TOMBSTONES: Final = _SPACE + b"x/"
_COUNTERS: Final = _SPACE + b"n"
_OBJECTS: Final = _SPACE + b"o"
_FIRST_TABLE_GROUP: Final = GroupId(16)  # 1 is the catalog; the rest below is kept for groups of the system

_pack = msgspec.msgpack.Encoder().encode
_unpack_table = msgspec.msgpack.Decoder(TableDescriptor).decode
_unpack_group = msgspec.msgpack.Decoder(GroupSpec).decode


class Counters(msgspec.Struct, frozen=True):
    """`version` grows with every change of the catalog; `next_group` is the id of the next group."""

    version: int = 0
    next_group: int = _FIRST_TABLE_GROUP


_unpack_counters = msgspec.msgpack.Decoder(Counters).decode


def choose_members(members: tuple[Member, ...], rotation: int) -> tuple[NodeId, ...]:
    """Replicas of a new group: three hosts in three zones where there are that many (row C2); the first one leads."""
    places = [member.place for member in members]
    return choose_replicas(places, REPLICATION_FACTOR, {}, rotation)


class CatalogEvaluator:
    """Evaluates catalog commands (see `gramme.node.evaluator.Evaluator`)."""

    def __init__(self, members: tuple[Member, ...], rng: Randomness) -> None:
        self._members = members
        self._rng = rng
        self._scan: Scan | None = None

    def reset(self, scan: Scan) -> None:
        """Nothing is remembered between requests but how to find a table by its id."""
        self._scan = scan

    def settled(self, get: Read) -> CatalogEvaluator:
        """The catalog is never sealed."""
        return self

    def proposed(self, change: Change) -> None:
        """Only transactions have other kinds of changes."""

    def write(self, request: Any, read: Read, context: Context) -> Change | Answer:
        """One catalog write; each bumps the catalog's version if it changes anything, and notes which tables it did."""
        change = self._judge(request, read, context)
        if isinstance(change, Change):
            version = counters_row(read).version + 1
            change.puts.append(catalog_changes.noted(read, version, _touched(change)))
        return change

    def _judge(self, request: Any, read: Read, context: Context) -> Change | Answer:
        match request:
            case CreateTable():
                return self._create(request, read, context)
            case DeleteTable():
                return self._delete(request, read, context)
            case UpdateTable() | TagTable() | SetTimeToLive():
                return self._change_settings(request, read, context)
            case SetStatus():
                return self._set_status(request, read)
            case RemoveTable():
                return self._remove(request, read)
            case SettleSchema():
                return self._settle_schema(request, read)
            case ForgetStreams():
                return self._forget_streams(request, read, context)
            case SetObjects():
                return _set_objects(request, read)
            case SetReplicas():
                return self._set_replicas(request, read)
            case AddNode() | NodeBorn() | SetNodeState():
                return self._change_nodes(request, read)
        raise Invariant(f"not a catalog write: {type(request).__name__}")

    def read(self, request: Any, get: Read, scan: Scan, lately: ReadLately | None = None) -> CatalogAnswer:
        """One catalog read."""
        match request:
            case DescribeTable(name=name):
                table = table_row(get, name)
                return TableReply(table) if table else NoSuchTable(name)
            case ListTables(start=start, limit=limit):
                first = _TABLES if start is None else _TABLES + start.encode() + b"\0"
                names: list[str] = []
                for key, _ in scan(first, _TABLES_END, False):
                    name = key[len(_TABLES) :].decode()
                    if name == LEDGER:
                        continue
                    if len(names) == limit:
                        return TableNames(tuple(names), more=True)
                    names.append(name)
                return TableNames(tuple(names), more=False)
            case ListStreams():
                return list_streams(request, get, scan)
            case DescribeStream():
                return describe_stream(request, get)
            case PlanRemoval(node=node, catalog=own):
                by_id = {table.table_id: table.name for table in all_tables(scan)}
                groups = (GroupSpec(CATALOG_GROUP, "", b"", b"", own), *all_groups(scan))
                return catalog_nodes.plan_removal(self._nodes(get), node, groups, by_id, REPLICATION_FACTOR)
        raise Invariant(f"not a catalog read: {type(request).__name__}")

    def _create(self, request: CreateTable, read: Read, context: Context) -> Change | Answer:
        row = _TABLES + request.name.encode()
        existing = table_row(read, request.name)
        if existing is not None:
            return Answer(TableInUse(request.name, existing.status), (row,))
        counters = counters_row(read)
        on_demand = request.billing_mode == "PAY_PER_REQUEST"
        partitions = self._partitions(counters.next_group, request.read_units, request.write_units, on_demand, read)
        next_group = counters.next_group + len(partitions)
        indexes: list[Index] = []
        for number, index in enumerate(request.indexes, 1):
            indexes.append(self._placed(msgspec.structs.replace(index, number=number), next_group, on_demand, read))
            next_group += len(indexes[-1].partitions)
        streams = streams_row(read, request.name)
        label = new_label(context.wall, latest_label(streams)) if request.stream is not None else ""
        table = TableDescriptor(
            name=request.name,
            table_id=_random_uuid(self._rng),
            version=1,
            status="CREATING",
            created=context.wall,
            key=request.key,
            attribute_definitions=request.attribute_definitions,
            billing_mode=request.billing_mode,
            read_units=request.read_units,
            write_units=request.write_units,
            partitions=partitions,
            settings=request.settings,
            indexes=tuple(indexes),
            next_index=len(indexes) + 1,
            stream=None if request.stream is None else TableStream(label, request.stream),
            latest_stream=label,
            schema_version=1,
            configured=1,  # the founding of its groups
        )
        puts = [(row, _pack(table)), (_COUNTERS, _pack(Counters(counters.version + 1, next_group)))]
        puts += [(_group_row(spec.group), _pack(spec)) for spec in group_specs(table)]
        changed = catalog_streams.changed(streams, None, table, context.wall)
        return _with_streams(Change(puts, [], TableReply(table)), table.name, streams, changed, table.table_id)

    def _partitions(self, first: int, reads: int, writes: int, on_demand: bool, read: Read) -> tuple[Partition, ...]:
        """New partitions for such a load, in groups from `first` on."""
        cuts = cut(partition_count(reads, writes, on_demand))
        nodes = None if self._scan is None else catalog_nodes.nodes_row(read)
        if nodes is None or self._scan is None:
            chosen = [choose_members(self._members, first + n) for n in range(len(cuts))]
        else:  # nodes that have joined have less to do than others
            load = count_load(spec.nodes for spec in all_groups(self._scan))
            chosen = place_partitions(catalog_nodes.places(nodes), REPLICATION_FACTOR, load, len(cuts), first)
        return tuple(
            Partition(GroupId(first + n), start, end, replicas)
            for n, ((start, end), replicas) in enumerate(zip(cuts, chosen, strict=True))
        )

    def _placed(self, index: Index, first: int, on_demand: bool, read: Read) -> Index:
        """A global index with partitions of its own; a local one needs none."""
        if index.kind == "LOCAL":
            return index
        partitions = self._partitions(first, index.read_units, index.write_units, on_demand, read)
        return msgspec.structs.replace(index, partitions=partitions)

    def _delete(self, request: DeleteTable, read: Read, context: Context) -> Change | Answer:
        table = table_row(read, request.name)
        row = _TABLES + request.name.encode()
        if table is None:
            return Answer(NoSuchTable(request.name), (row,))
        if table.status != "ACTIVE":
            return Answer(TableInUse(request.name, table.status), (row,))
        streams = streams_row(read, request.name)
        closed = catalog_streams.closed(streams, table.table_id, context.wall)
        return _with_streams(self._change_table(table, "DELETING", read), table.name, streams, closed, table.table_id)

    def _change_settings(
        self, request: UpdateTable | TagTable | SetTimeToLive, read: Read, context: Context
    ) -> Change | Answer:
        row = _TABLES + request.name.encode()
        table = table_row(read, request.name)
        if table is None:
            return Answer(NoSuchTable(request.name), (row,))
        if table.status != "ACTIVE":
            return Answer(TableInUse(request.name, table.status), (row,))
        if isinstance(request, UpdateTable) and missing_index(table, request):
            return Answer(NoSuchIndex(request.name), (row,))
        streams = streams_row(read, request.name)
        after = changed(table, request, context.wall, latest_label(streams))
        if isinstance(after, Refused):
            return Answer(after, (row,))
        puts: list[tuple[bytes, bytes]] = []
        counters = counters_row(read)
        next_group = counters.next_group
        if isinstance(request, UpdateTable) and request.add is not None:
            placed = self._placed(after.indexes[-1], next_group, after.billing_mode == "PAY_PER_REQUEST", read)
            after = msgspec.structs.replace(after, indexes=(*after.indexes[:-1], placed))
            next_group += len(placed.partitions)
            puts = [(_group_row(spec.group), _pack(spec)) for spec in index_specs(after, placed)]
        puts += [(row, _pack(after)), (_COUNTERS, _pack(Counters(counters.version + 1, next_group)))]
        streaming = catalog_streams.changed(streams, table, after, context.wall)
        return _with_streams(Change(puts, [], TableReply(after)), table.name, streams, streaming, table.table_id)

    def _settle_schema(self, request: SettleSchema, read: Read) -> Change | Answer:
        table = table_row(read, request.name)
        row = _TABLES + request.name.encode()
        if table is None or table.table_id != request.table_id or table.status not in ("UPDATING", "ACTIVE"):
            return Answer(NoSuchTable(request.name), (row,))
        if table.schema_version != request.version or table.configured >= request.version:
            return Answer(TableReply(table), (row,))
        after = schema_settled(table, request.version, request.made, request.gone)
        gone = [p.group for index in table.indexes if index.number in request.gone for p in index.partitions]
        puts = [(row, _pack(after)), _bumped(read), *_tombstones(gone)]
        change = Change(puts, [_group_row(group) for group in gone], TableReply(after))
        streams = streams_row(read, table.name)
        settled = catalog_streams.settled(streams, table.table_id)
        return _with_streams(change, table.name, streams, settled, table.table_id)

    def _set_status(self, request: SetStatus, read: Read) -> Change | Answer:
        table = table_row(read, request.name)
        row = _TABLES + request.name.encode()
        if table is None or table.table_id != request.table_id:
            return Answer(NoSuchTable(request.name), (row,))
        if table.status != "CREATING":
            return Answer(TableReply(table), (row,))
        streams = streams_row(read, table.name)
        settled = catalog_streams.settled(streams, table.table_id)
        change = self._change_table(table, request.status, read)
        return _with_streams(change, table.name, streams, settled, table.table_id)

    def _change_table(self, table: TableDescriptor, status: Any, read: Read) -> Change:
        changed = msgspec.structs.replace(table, status=status, version=table.version + 1)
        puts = [(_TABLES + table.name.encode(), _pack(changed)), _bumped(read)]
        return Change(puts, [], TableReply(changed))

    def _remove(self, request: RemoveTable, read: Read) -> Change | Answer:
        table = table_row(read, request.name)
        row = _TABLES + request.name.encode()
        if table is None or table.table_id != request.table_id or table.status != "DELETING":
            return Answer(NoSuchTable(request.name), (row,))
        streams = streams_row(read, table.name)
        gone = [place.group for place in leaving(table, streams)]
        deletes = [row, *(_group_row(group) for group in gone)]
        change = Change([_bumped(read), *_tombstones(gone)], deletes, TableReply(table))
        settled = catalog_streams.settled(streams, table.table_id)
        return _with_streams(change, table.name, streams, settled, None)

    def _set_replicas(self, request: SetReplicas, read: Read) -> Change | Answer:
        """The rows of the groups, of their tables and of the streams that are read from them. The table of a group is
        found among the applied rows: its name was settled before the group had a leader to report anything."""
        version = counters_row(read).version + 1
        news: dict[GroupId, Placed] = {}
        puts: list[tuple[bytes, bytes]] = []
        for placed in request.groups:
            spec = group_row(read, placed.group)
            if spec is not None and placed.number > spec.number:
                news[placed.group] = placed
                spec = msgspec.structs.replace(
                    spec, number=placed.number, members=placed.members, others=placed.others, moved_at=version
                )
                puts.append((_group_row(placed.group), _pack(spec)))
        if not news:
            return Answer(ReplicasSet(), tuple(_group_row(placed.group) for placed in request.groups))
        assert self._scan is not None, "a leader's evaluator was reset"
        ids = {placed.table_id for placed in news.values()}
        for name in [table.name for table in all_tables(self._scan) if table.table_id in ids]:
            table = table_row(read, name)
            if table is not None and table.table_id in ids:
                puts.append((_TABLES + name.encode(), _pack(_moved(table, news))))
        puts += catalog_streams.moved(self._scan, read, ids, lambda places: _places_now(places, news))
        return Change([*puts, _bumped(read)], [], ReplicasSet())

    def _nodes(self, read: Read) -> NodeTable:
        return catalog_nodes.nodes_row(read) or catalog_nodes.founders(self._members)

    def _change_nodes(self, request: NodeWrite, read: Read) -> Change | Answer:
        before = self._nodes(read)
        version = counters_row(read).version + 1
        answer = catalog_nodes.changed(before, request, version, REPLICATION_FACTOR, self._named(read))
        if answer.table is before:
            return Answer(answer, (catalog_nodes.NODES,))
        return Change([(catalog_nodes.NODES, catalog_nodes.encode_nodes(answer.table)), _bumped(read)], [], answer)

    def _named(self, read: Read) -> frozenset[NodeId]:
        """The nodes that a group or the objects' ring names, this group's own apart: its leader looks itself."""
        assert self._scan is not None, "a leader's evaluator was reset"
        named = {node for spec in all_groups(self._scan) for node in spec.nodes}
        stored = objects_row(read)
        if not stored:
            return frozenset(named | {member.node for member in self._members})
        config = decode_config(stored)
        rings = (config.ring, target(config), *(() if config.other is None else (config.other,)))
        return frozenset(named | {place.node for ring in rings for place in ring.members})

    def _forget_streams(self, request: ForgetStreams, read: Read, context: Context) -> Change | Answer:
        streams = streams_row(read, request.name)
        now = None if request.at_once else context.wall
        kept = tuple(stream for stream in streams if not is_over(stream, now))
        if kept == streams:
            return Answer(StreamList(streams), (catalog_streams.stream_key(request.name),))
        change = Change([_bumped(read)], [], StreamList(kept))
        table = table_row(read, request.name)
        return _with_streams(change, request.name, streams, kept, None if table is None else table.table_id)


def _moved(table: TableDescriptor, news: Mapping[GroupId, Placed]) -> TableDescriptor:
    """`table` with the replicas where they are now."""
    indexes = tuple(
        msgspec.structs.replace(index, partitions=_places_now(index.partitions, news)) for index in table.indexes
    )
    partitions = _places_now(table.partitions, news)
    return msgspec.structs.replace(table, partitions=partitions, indexes=indexes, version=table.version + 1)


def _places_now(places: tuple[Partition, ...], news: Mapping[GroupId, Placed]) -> tuple[Partition, ...]:
    return tuple(
        msgspec.structs.replace(place, replicas=news[place.group].members) if place.group in news else place
        for place in places
    )


def _with_streams(change: Change, name: str, before: Streams, after: Streams, live: str | None) -> Change:
    """`change` and what becomes of the streams of tables called `name`, and of the groups that only they still needed.
    `live`: the id of the table that has the name now."""
    if before != after:
        puts, deletes = catalog_streams.written(name, after)
        gone = let_go(before, after, live)
        change.puts.extend([*puts, *_tombstones(gone)])
        change.deletes.extend([*deletes, *(_group_row(group) for group in gone)])
    return change


def _touched(change: Change) -> list[str]:
    """The names of the tables whose rows become others."""
    keys = [*(key for key, _ in change.puts), *change.deletes]
    return [key[len(_TABLES) :].decode() for key in keys if key.startswith(_TABLES)]


def leaving(table: TableDescriptor, streams: Streams) -> tuple[Partition, ...]:
    """The partitions of a table that are on their way to nothing. A deleted table's own ones stay, sealed, as long as
    its `streams` can be read."""
    if table.status != "DELETING":
        return tuple(place for index in table.indexes if index.status == "DELETING" for place in index.partitions)
    if not kept_for(streams, table.table_id):
        return table.all_partitions
    return tuple(place for index in table.indexes for place in index.partitions)


def _tombstones(groups: list[GroupId]) -> list[tuple[bytes, bytes]]:
    return [(_TOMBSTONES + _group_bytes(group), b"") for group in groups]


def _set_objects(request: SetObjects, read: Read) -> Change | Answer:
    """Compare and swap: two administrators' changes cannot cross."""
    stored = objects_row(read)
    before = decode_config(stored).version if stored else FOUNDED_VERSION
    if decode_config(request.config).version != before + 1:
        return Answer(ObjectsSet(stored), (_OBJECTS,))
    return Change([(_OBJECTS, request.config), _bumped(read)], [], ObjectsSet(request.config))


def objects_row(read: Read) -> bytes:
    """The configuration of objects, b"" as long as it is the founders' own."""
    return read(_OBJECTS) or b""


def group_row(read: Read, group: GroupId) -> GroupSpec | None:
    """What the catalog knows of a group that exists, or None."""
    stored = read(_group_row(group))
    return None if stored is None else _unpack_group(stored)


def table_row(read: Read, name: str) -> TableDescriptor | None:
    """The descriptor of `name`, or None."""
    stored = read(_TABLES + name.encode())
    return None if stored is None else _unpack_table(stored)


def counters_row(read: Read) -> Counters:
    """The catalog's counters; all zero in a new catalog."""
    stored = read(_COUNTERS)
    return Counters() if stored is None else _unpack_counters(stored)


def all_tables(scan: Scan) -> list[TableDescriptor]:
    """Every table, by name."""
    return [_unpack_table(value) for _, value in scan(_TABLES, _TABLES_END, False)]


def all_groups(scan: Scan) -> list[GroupSpec]:
    """Every group that exists, by id."""
    return [_unpack_group(value) for _, value in scan(_GROUPS, _GROUPS_END, False)]


def is_tombstoned(read: Read, group: GroupId) -> bool:
    """Whether `group` existed and was dropped: the only ground on which data is ever deleted."""
    return read(_TOMBSTONES + _group_bytes(group)) is not None


def group_specs(table: TableDescriptor) -> list[GroupSpec]:
    """The groups of a new table: those of its own partitions, which know its indexes, then those of its indexes."""
    plain = not table.indexes and table.stream is None and table.expiry is None
    schema = b"" if plain else encode_schema(schema_of(table))
    ledger = table.name == LEDGER
    own = [GroupSpec(p.group, table.table_id, p.start, p.end, p.replicas, schema, ledger) for p in table.partitions]
    return own + [spec for index in table.indexes for spec in index_specs(table, index)]


def index_specs(table: TableDescriptor, index: Index) -> list[GroupSpec]:
    """The groups of a global index's partitions."""
    return [GroupSpec(p.group, table.table_id, p.start, p.end, p.replicas) for p in index.partitions]


def _bumped(read: Read) -> tuple[bytes, bytes]:
    counters = counters_row(read)
    return _COUNTERS, _pack(Counters(counters.version + 1, counters.next_group))


def _group_row(group: GroupId) -> bytes:
    return _GROUPS + _group_bytes(group)


def _group_bytes(group: GroupId) -> bytes:
    return group.to_bytes(8, "big")


def _random_uuid(rng: Randomness) -> str:
    """A random (version 4) UUID drawn from the node's own source, so that a simulated run repeats."""
    raw = bytearray(rng.randbytes(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
