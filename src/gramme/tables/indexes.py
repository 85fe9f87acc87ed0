"""Secondary indexes as functions: which entry an item has in an index, where it stands, and which range a Query reads.

Rule: an entry is a function of the item and the index's definition alone, so that contents of an index can always be
worked out again from the table. An item that lacks one of the index's key attributes has no entry (sparse indexes).

Keys of entries. Local (in the table's own partition, space LOCAL_INDEX): index number (1 byte), then what begins the
item's own key (hash, partition key), the index's sort key, the table's sort key. Global (in partitions of the index,
space ITEMS): MD5 of the encoded hash attributes, these, the encoded range attributes, then the item's whole key, so
that items which share an index key stay apart, in the order of their keys. Every part is prefix-free
(`gramme.storage.encoding`), so a prefix of parts is a range.

Value: JSON of the projected attributes, table keys first, then index keys. Source: AWS developer guide, "Global
secondary indexes", "Local secondary indexes", "Multi-attribute keys".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from gramme.kernel.errors import InvalidInput
from gramme.kernel.md5 import md5
from gramme.tables.compare import type_of
from gramme.tables.descriptor import Index, KeySchema, TableDescriptor
from gramme.tables.item import encode_item
from gramme.tables.keys import SortOperator, encode_scalar, escaped_prefix, partition_prefix, successor
from gramme.tables.requests import AttributeValue, Item
from gramme.tables.schema import EMPTY_KEY, MAX_HASH_BYTES, MAX_RANGE_BYTES, InvalidItem
from gramme.tables.values import item_size, value_size

MAX_COLLECTION_BYTES: Final = 10 << 30
"""Items of one partition key and their entries in local indexes, together, in a table that has local indexes."""

_INVALID: Final = "One or more parameter values were invalid: "
_WRITE_UNIT_BYTES: Final = 1024


class PartitionSchema(msgspec.Struct, frozen=True):
    """What a partition's leader must know of its table to evaluate writes; replicated in the partition itself.

    `version` is that of the table's descriptor it was made from: a newer one replaces an older one.
    """

    version: int
    key: KeySchema
    indexes: tuple[Index, ...]
    stream: str | None = None  # label of the stream that is on: every change of an item is recorded
    expiry: str | None = None  # the attribute that holds an item's time of expiry, while expiry is on
    sealed: bool = False  # the table is deleted: no items any more, only what its streams can still tell

    @property
    def feeds(self) -> bool:
        """Whether a global index consumes changes."""
        return any(index.kind == "GLOBAL" for index in self.indexes)


class Entry(NamedTuple):
    """One item in one index. `size` is the DynamoDB size of the projected attributes."""

    key: bytes
    json: bytes
    size: int


class Replacement(NamedTuple):
    """What a write does to one index: the entry before and after it; one of them is not None, and they differ."""

    by: Index
    old: Entry | None
    new: Entry | None

    @property
    def units(self) -> int:
        """Write units: a moved entry is one deletion and one put."""
        old, new = self.old, self.new
        if old is None or new is None:
            size = old.size if old is not None else new.size if new is not None else 0
            return _units(size)
        return _units(max(old.size, new.size)) if old.key == new.key else _units(old.size) + _units(new.size)


def _units(size: int) -> int:
    return max(1, -(-size // _WRITE_UNIT_BYTES))


_encode_schema = msgspec.msgpack.Encoder().encode
_decode_schema = msgspec.msgpack.Decoder(PartitionSchema).decode

NO_SCHEMA: Final = PartitionSchema(0, KeySchema("", "S"), ())
"""Of the partitions of indexes, and of a table that has nothing that its partitions must know of."""


def encode_schema(schema: PartitionSchema) -> bytes:
    """As it is kept and sent."""
    return _encode_schema(schema)


def decode_schema(encoded: bytes) -> PartitionSchema:
    """The inverse of `encode_schema`."""
    return _decode_schema(encoded) if encoded else NO_SCHEMA


def schema_of(table: TableDescriptor) -> PartitionSchema:
    """What the table's partitions must know now: the indexes that are not being deleted, its stream, its expiry."""
    if table.status == "DELETING":
        return PartitionSchema(table.version, table.key, (), sealed=True)
    kept = tuple(index for index in table.indexes if index.status != "DELETING")
    stream = None if table.stream is None else table.stream.label
    return PartitionSchema(table.schema_version, table.key, kept, stream, table.expiry)


# --- entries


def entry_of(index: Index, key: KeySchema, item_key: bytes, item: Item, json: bytes) -> Entry | None:
    """The entry of `item`, whose encoded key is `item_key` and whose canonical JSON is `json`; None if it has none."""
    where = entry_key(index, key, item_key, item)
    if where is None:
        return None
    if index.projection == "ALL":
        return Entry(where, json, item_size(item))
    projected = project_entry(index, key, item)
    return Entry(where, encode_item(projected, tuple(projected)), item_size(projected))


def entry_key(index: Index, key: KeySchema, item_key: bytes, item: Item) -> bytes | None:
    """Where the entry of `item` stands, None if the item lacks a key attribute of the index (or it is of another type,
    which only an item can be that is older than the index)."""
    hashed, ranged = _encoded(index.hash, item, MAX_HASH_BYTES), _encoded(index.range, item, MAX_RANGE_BYTES)
    if hashed is None or ranged is None:
        return None
    if index.kind == "LOCAL":
        prefix = partition_prefix(key, item[key.hash_name])
        return bytes((index.number,)) + prefix + ranged + item_key[len(prefix) :]
    return md5(hashed).digest() + hashed + ranged + item_key


def _encoded(attributes: tuple[tuple[str, Any], ...], item: Item, limit: int) -> bytes | None:
    parts = []
    for name, kind in attributes:
        value = item.get(name)
        if value is None or kind not in value or not _fits(value, kind, limit):
            return None
        parts.append(encode_scalar(kind, value))
    return b"".join(parts)


def _fits(value: AttributeValue, kind: str, limit: int) -> bool:
    """Whether an item older than the index may enter it with this key attribute."""
    return kind == "N" or (value[kind] != "" and value_size(value) <= limit)


def project_entry(index: Index, key: KeySchema, item: Item) -> Item:
    """The attributes of `item` that the index holds, keys first."""
    names = projected_names(index, key)
    return dict(item) if names is None else {name: item[name] for name in names if name in item}


def projected_names(index: Index, key: KeySchema) -> tuple[str, ...] | None:
    """The attributes that an index holds, without repetitions; None: all of them."""
    if index.projection == "ALL":
        return None
    return tuple(dict.fromkeys((*key.names, *index.key_names, *index.included)))


def replacements(
    schema: PartitionSchema, item_key: bytes, old: tuple[Item, bytes] | None, new: tuple[Item, bytes] | None
) -> list[Replacement]:
    """What changes in each index when the item under `item_key` goes from `old` to `new` (item and its JSON)."""
    changed = []
    for index in schema.indexes:
        before = None if old is None else entry_of(index, schema.key, item_key, *old)
        after = None if new is None else entry_of(index, schema.key, item_key, *new)
        if before != after:
            changed.append(Replacement(index, before, after))
    return changed


# --- checks of items


def check_index_keys(indexes: tuple[Index, ...], item: Item, updated: bool = False) -> None:
    """Refuse an item to be written with a key attribute of an index that is of another type, empty or too large.

    `updated`: the attributes are those that an update changed. Raises InvalidItem with the service's text.
    """
    for index in indexes:
        if index.status == "DELETING":
            continue
        for attributes, limit in ((index.hash, MAX_HASH_BYTES), (index.range, MAX_RANGE_BYTES)):
            for name, kind in attributes:
                value = item.get(name)
                if value is not None:
                    _check_index_key(index, name, kind, value, limit, updated)


def _check_index_key(index: Index, name: str, kind: str, value: AttributeValue, limit: int, updated: bool) -> None:
    if kind not in value:
        raise InvalidItem(
            f"{_INVALID}Type mismatch for Index Key {name} Expected: {kind} Actual: {type_of(value)} "
            f"IndexName: {index.name}"
        )
    if kind == "N":
        return
    if value[kind] == "":
        what = "string" if kind == "S" else "binary"
        if updated:
            raise InvalidItem(
                f"{EMPTY_KEY}The update expression attempted to update a secondary index key to a value that is not "
                f"supported. The AttributeValue for a key attribute cannot contain an empty {what} value."
            )
        raise InvalidItem(
            f"{EMPTY_KEY}A value specified for a secondary index key is not supported. The AttributeValue for a key "
            f"attribute cannot contain an empty {what} value. IndexName: {index.name}, IndexKey: {name}"
        )
    if value_size(value) > limit:
        part = "hashkey" if limit == MAX_HASH_BYTES else "rangekey"
        raise InvalidItem(f"{_INVALID}Size of {part} has exceeded the maximum size limit of {limit} bytes")


# --- ranges of a Query


class RangeTerm(NamedTuple):
    """The last condition of a Query on the range attributes."""

    operator: SortOperator
    value: AttributeValue
    upper: AttributeValue | None = None


def query_bounds(
    index: Index, key: KeySchema, hashes: list[AttributeValue], equals: list[AttributeValue], last: RangeTerm | None
) -> tuple[bytes, bytes]:
    """[start, end) of the entries with these hash values, whose first range attributes equal `equals`, and whose next
    one fulfils `last`. Bounds of a local index are without its number: the partition adds it. Raises InvalidInput."""
    hashed = b"".join(encode_scalar(kind, value) for (_, kind), value in zip(index.hash, hashes, strict=True))
    prefix = md5(hashed).digest() + hashed
    for (_, kind), value in zip(index.range, equals, strict=False):
        prefix += encode_scalar(kind, value)
    if last is None:
        return prefix, successor(prefix)
    kind = index.range[len(equals)][1]
    if last.operator is SortOperator.BEGINS_WITH:
        start = prefix + escaped_prefix(kind, last.value)
        return start, successor(start)
    point = prefix + encode_scalar(kind, last.value)
    if last.operator is SortOperator.BETWEEN:
        if last.upper is None:
            raise InvalidInput("BETWEEN needs two operands")
        return point, successor(prefix + encode_scalar(kind, last.upper))
    behind = successor(point)
    return {
        SortOperator.EQUAL: (point, behind),
        SortOperator.LESS: (prefix, point),
        SortOperator.LESS_OR_EQUAL: (prefix, behind),
        SortOperator.GREATER: (behind, successor(prefix)),
        SortOperator.GREATER_OR_EQUAL: (point, successor(prefix)),
    }[last.operator]


def collection_key(key: KeySchema, item: Mapping[str, AttributeValue]) -> bytes:
    """Key, in space LOCAL_INDEX, of the row that counts the bytes of the item's collection; number 0 is no index."""
    return b"\0" + partition_prefix(key, item[key.hash_name])
