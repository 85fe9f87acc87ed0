"""What the three operations with PartiQL statements share: a statement with its parameters, and how a SELECT reads.

Rule: a statement becomes what the native operations work with (`gramme.tables.partiql.requests`): a write to a
partition, or ranges of a `Source` with a filter and a projection. There is no second way to read or write. Source: API
reference, ExecuteStatement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gramme.api.dynamodb.errors import ApiError, duplicate_item
from gramme.api.dynamodb.indexes import Source
from gramme.tables.descriptor import KeySchema
from gramme.tables.indexes import RangeTerm, query_bounds
from gramme.tables.keys import SortOperator, partition_range, sort_bounds
from gramme.tables.partiql.keys import KeyAttributes, Reading, SortTerm
from gramme.tables.partiql.nodes import Insert, Statement
from gramme.tables.requests import AttributeValue, ConditionFailed, Reply
from gramme.tables.values import normalise_value

Range = tuple[bytes, bytes]
"""[start, end) of encoded keys."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A statement and its values by placeholder."""

    statement: Statement
    values: dict[str, AttributeValue]


def parameters_of(element: Mapping[str, Any]) -> list[AttributeValue]:
    """The parameters beside a statement, normalised. Raises InvalidValue."""
    return [normalise_value(value)[0] for value in element.get("Parameters") or ()]


def refused_write(statement: Statement, reply: Reply) -> ApiError | None:
    """The error of a statement's own for a write that was not done; None where it is that of the native write."""
    if isinstance(reply, ConditionFailed) and isinstance(statement.body, Insert):
        return duplicate_item()
    return None


# --- ranges


def key_attributes(source: Source) -> tuple[KeyAttributes, KeyAttributes]:
    """Partition and sort key attributes of what is read, with their types."""
    if source.index is not None:
        return source.index.hash, source.index.range
    key = source.table.key
    ranged = () if key.range_name is None or key.range_type is None else ((key.range_name, key.range_type),)
    return ((key.hash_name, key.hash_type),), ranged


def ranges(source: Source, reading: Reading, reverse: bool) -> list[Range]:
    """The ranges of a reading that is no Scan, within each collection in the order of reading."""
    found: list[Range] = []
    for hashes in reading.hashes or ():
        points = [SortTerm(SortOperator.EQUAL, point) for point in reading.points or ()]
        if reverse:
            points.reverse()
        found += [_range(source, hashes, [*reading.terms, point]) for point in points]
        if reading.points is None:
            found.append(_range(source, hashes, reading.terms))
    return [(start, end) for start, end in found if start < end]


def _range(source: Source, hashes: list[AttributeValue], terms: list[SortTerm]) -> Range:
    start, end = _bounds(source, hashes, None)
    for term in terms:
        low, high = _bounds(source, hashes, term)
        start, end = max(start, low), min(end, high)
    return start, end


def _bounds(source: Source, hashes: list[AttributeValue], term: SortTerm | None) -> Range:
    key: KeySchema = source.table.key
    if source.index is not None:
        return query_bounds(source.index, key, hashes, [], None if term is None else RangeTerm(*term))
    return partition_range(key, hashes[0]) if term is None else sort_bounds(key, hashes[0], *term)
