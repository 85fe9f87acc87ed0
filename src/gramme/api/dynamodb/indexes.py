"""What a Query or Scan reads: a table, or one of its indexes.

Owns the differences between the three: which partitions, which keys a page token names, which attributes can be asked
for. A global index is read like a table with its partitions; a local one lies in the table's partitions, and may fetch
what it does not hold from the items beside it. Source: API reference, Query and Scan (IndexName, Select,
ConsistentRead); AWS developer guide, "Global secondary indexes", "Local secondary indexes", "Multi-attribute keys".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Prepared, top_level_names
from gramme.api.dynamodb.item_keys import start_key_of
from gramme.kernel.errors import InvalidInput
from gramme.tables.descriptor import Index, KeySchema, TableDescriptor
from gramme.tables.expression.errors import InvalidExpression
from gramme.tables.expression.key_condition import KeyTerm, key_range, operands_of
from gramme.tables.expression.nodes import Values
from gramme.tables.indexes import RangeTerm, entry_key, projected_names, query_bounds
from gramme.tables.keys import SortOperator, encode_key
from gramme.tables.requests import AttributeValue, Failed, Item
from gramme.tables.schema import InvalidItem, check_item

_INVALID: Final = "One or more parameter values were invalid: "
_START_KEY: Final = "The provided starting key is invalid"


class Source:
    """What is read. `table` has the partitions to read from: of a global index, its own. `fetch`: answer whole items of
    this key (local indexes only)."""

    __slots__ = ("fetch", "index", "number", "table")

    def __init__(self, table: TableDescriptor, index: Index | None = None, fetch: KeySchema | None = None) -> None:
        self.table = table
        self.index = index
        self.fetch = fetch
        self.number = index.number if index is not None and index.kind == "LOCAL" else 0
        """The local index to read (`ScanRange.index`); 0: the partitions' items, or a global index's entries."""

    @property
    def key_names(self) -> tuple[str, ...]:
        """The attributes of a page token: the index's keys and the table's."""
        if self.index is None:
            return self.table.key.names
        return tuple(dict.fromkeys((*self.table.key.names, *self.index.key_names)))

    @property
    def condition_names(self) -> tuple[str, ...]:
        """The attributes that a Query's key condition is about, and its filter therefore not."""
        return self.table.key.names if self.index is None else self.index.key_names

    def start_key(self, start_key: Item) -> bytes:
        """The encoded key behind which a page begins, checked for its shape only. Raises ApiError."""
        if self.index is None:
            return start_key_of(self.table.key, start_key)
        return _index_start_key(self.index, self.table.key, start_key)


def with_source(call: Call, table: TableDescriptor, then: Callable[[Call, Source], None]) -> None:
    """Go on with what IndexName says. An index that the cached descriptor lacks may be new: the catalog is asked."""
    name = call.body.get("IndexName")
    if name is None:
        then(call, Source(table))
        return
    index = table.index(name)
    if index is not None and _readable(index):
        then(call, _source(table, index))
        return

    def found(reply: TableDescriptor | Failed) -> None:
        try:
            if isinstance(reply, Failed):
                raise call.failure(reply)
            newest = reply.index(name)
            if newest is None:
                raise validation(f"The table does not have the specified index: {name}")
            if not _readable(newest):
                raise validation(f"Cannot read from backfilling global secondary index: {name}")
            then(call, _source(reply, newest))
        except Exception as error:  # noqa: BLE001 - as in `Call.start`
            call.raised(error)

    call.env.backend.lookup(table.name, call.deadline, found)


def _readable(index: Index) -> bool:
    return index.status in ("ACTIVE", "UPDATING")


def _source(table: TableDescriptor, index: Index) -> Source:
    return Source(replace(table, partitions=index.partitions) if index.kind == "GLOBAL" else table, index)


def checked(source: Source, body: Mapping[str, Any], prepared: Prepared | None) -> Source:
    """Check what is asked of an index; says what to fetch. Raises ApiError."""
    index = source.index
    if index is None:
        return source
    held = projected_names(index, source.table.key)
    wanted = _projected(prepared)
    everything = body.get("Select") == "ALL_ATTRIBUTES"
    if index.kind == "LOCAL":
        lacking = held is not None and (everything or any(name not in held for name in wanted))
        return Source(source.table, index, source.table.key) if lacking else source
    if body.get("ConsistentRead"):
        raise validation("Consistent reads are not supported on global secondary indexes")
    if everything and held is not None:
        raise validation(
            f"{_INVALID}Select type ALL_ATTRIBUTES is not supported for global secondary index {index.name} because "
            "its projection type is not ALL"
        )
    if held is not None:
        lost = [name for name in wanted if name not in held]
        if lost:
            raise validation(f"{_INVALID}Global secondary index {index.name} does not project [{', '.join(lost)}]")
    return source


def check_query_filter(source: Source, prepared: Prepared) -> None:
    """A Query's filter on an index looks at what the index holds only. (A Scan's may name anything: what an entry
    lacks is absent.) Raises ApiError."""
    index, parsed = source.index, prepared.parsed
    held = None if index is None else projected_names(index, source.table.key)
    if index is None or held is None or parsed.filter is None:
        return
    lost = [name for name in dict.fromkeys(top_level_names(parsed.filter.root)) if name not in held]
    if lost:
        raise validation(
            f"{_INVALID}Secondary index {index.name} does not project one or more filter attributes: "
            f"[{', '.join(lost)}]"
        )


def _projected(prepared: Prepared | None) -> list[str]:
    """The attributes that the projection asks for."""
    if prepared is None or prepared.parsed.projection is None:
        return []
    return [str(path.steps[0]) for path in prepared.parsed.projection.paths]


# --- key conditions


def index_bounds(index: Index, key: KeySchema, terms: Mapping[str, KeyTerm], values: Values) -> tuple[bytes, bytes]:
    """[start, end) of the entries that the terms of a Query describe. Raises InvalidExpression."""
    if len(index.hash) == 1 and len(index.range) <= 1:
        return _simple_bounds(index, key, terms, values)
    hashes = []
    for name, kind in index.hash:
        term = terms.get(name)
        if term is None:
            raise InvalidExpression(f"Query condition missed key schema element: {name}")
        if term.operator is not SortOperator.EQUAL:
            raise InvalidExpression("Query key condition not supported")
        hashes += operands_of(term, values, kind)
    unknown = next((name for name in terms if name not in index.key_names), None)
    if unknown is not None:
        raise InvalidExpression("Query key condition not supported")
    equals: list[AttributeValue] = []
    last: RangeTerm | None = None
    gap: str | None = None
    for name, kind in index.range:
        term = terms.get(name)
        if term is None:
            gap = gap or name
            continue
        if gap is not None or last is not None:
            raise InvalidExpression(
                f"Query condition missed key schema element: {gap}" if gap else "Query key condition not supported"
            )
        operands = operands_of(term, values, kind)
        if term.operator is SortOperator.EQUAL:
            equals += operands
        else:
            last = RangeTerm(term.operator, operands[0], operands[1] if len(operands) > 1 else None)
    return query_bounds(index, key, hashes, equals, last)


def _simple_bounds(index: Index, key: KeySchema, terms: Mapping[str, KeyTerm], values: Values) -> tuple[bytes, bytes]:
    """One hash and at most one range attribute: the same rules and texts as a table's key."""
    if len(terms) > 2:
        raise InvalidExpression("Conditions can be of length 1 or 2 only")
    (hash_name, hash_type), *ranged = index.hash + index.range
    schema = KeySchema(hash_name, hash_type, *(ranged[0] if ranged else ()))
    wanted = key_range(terms, values, schema)
    if wanted.operator is None:
        return query_bounds(index, key, [wanted.hash_value], [], None)
    assert wanted.value is not None
    return query_bounds(index, key, [wanted.hash_value], [], RangeTerm(wanted.operator, wanted.value, wanted.upper))


# --- page tokens


def _index_start_key(index: Index, key: KeySchema, start_key: Item) -> bytes:
    names = tuple(dict.fromkeys((*key.names, *index.key_names)))
    if len(start_key) != len(names) or any(name not in start_key for name in names):
        raise validation(_START_KEY)
    try:
        check_item(key, start_key)
        where = entry_key(index, key, encode_key(key, *(start_key[name] for name in key.names)), start_key)
    except (InvalidItem, InvalidInput):
        raise validation(_START_KEY) from None
    if where is None:
        raise validation(_START_KEY)
    return where[1:] if index.kind == "LOCAL" else where
