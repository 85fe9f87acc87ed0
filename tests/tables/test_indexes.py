"""Entries of secondary indexes and the ranges of their queries, against a plain sort of the items."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.tables.descriptor import Index, KeySchema
from gramme.tables.indexes import (
    PartitionSchema,
    RangeTerm,
    check_index_keys,
    decode_schema,
    encode_schema,
    entry_of,
    query_bounds,
    replacements,
)
from gramme.tables.item import decode_item, encode_item
from gramme.tables.keys import SortOperator, key_of
from gramme.tables.requests import Item
from gramme.tables.schema import InvalidItem
from gramme.tables.values import item_size

KEY = KeySchema("pk", "S", "sk", "N")
LOCAL = Index(name="local", kind="LOCAL", hash=(("pk", "S"),), range=(("a", "S"),), projection="KEYS_ONLY", number=3)
WIDE = Index(
    name="wide",
    kind="GLOBAL",
    hash=(("a", "S"), ("b", "N")),
    range=(("c", "S"), ("d", "N")),
    projection="INCLUDE",
    included=("e", "a"),
    number=4,
)
ALL = Index(name="all", kind="GLOBAL", hash=(("b", "N"),), range=(), projection="ALL", number=5)

_texts = st.sampled_from(["", "a", "a\0", "ab", "b", "é"]).map(lambda text: {"S": text})
_filled = st.sampled_from(["a", "a\0", "ab", "b", "é"]).map(lambda text: {"S": text})
_numbers = st.integers(-3, 3).map(lambda number: {"N": str(number)})
_values = st.one_of(_texts, _numbers)


def _items() -> st.SearchStrategy[Item]:
    return st.fixed_dictionaries({"pk": _filled, "sk": _numbers}, optional=dict.fromkeys("abcde", _values))


def _entry(index: Index, item: Item) -> Any:
    json = encode_item(item, KEY.names)
    return entry_of(index, KEY, key_of(KEY, item), decode_item(json), json)


@given(_items(), st.sampled_from([LOCAL, WIDE, ALL]))
def test_an_item_is_in_an_index_if_it_has_all_key_attributes_and_only_what_is_projected(
    item: Item, index: Index
) -> None:
    entry = _entry(index, item)
    whole = all(item.get(name, {}).get(kind) for name, kind in index.hash + index.range)
    assert (entry is not None) == whole
    if entry is not None:
        names = {*KEY.names, *index.key_names, *index.included}
        kept = {name: value for name, value in item.items() if index.projection == "ALL" or name in names}
        assert decode_item(entry.json) == kept
        assert entry.size == item_size(kept)


@given(st.lists(_items(), max_size=6), st.sampled_from([LOCAL, WIDE, ALL]))
def test_entries_of_different_items_stand_apart(items: list[Item], index: Index) -> None:
    by_key = {key_of(KEY, item): item for item in items}
    entries = [entry.key for item in by_key.values() if (entry := _entry(index, item)) is not None]
    assert len(set(entries)) == len(entries)


_wide_items = st.fixed_dictionaries(
    {"pk": _filled, "sk": _numbers, "a": _filled, "b": _numbers, "c": _filled, "d": _numbers}, optional={"e": _values}
)


def _order(value: dict[str, str]) -> Any:
    return float(value["N"]) if "N" in value else value["S"].encode()


@given(
    st.lists(_wide_items, max_size=12),
    st.sampled_from(list(SortOperator)),
    st.tuples(_filled, _filled).map(lambda pair: sorted(pair, key=_order)),
)
def test_a_query_reads_the_entries_that_its_terms_describe_in_their_order(
    items: list[Item], operator: SortOperator, operands: list[dict[str, str]]
) -> None:
    items = list({key_of(KEY, item): item for item in items}.values())
    hashes = [{"S": "a"}, {"N": "1"}]
    for item in items:
        item["a"], item["b"] = hashes if item["sk"] != {"N": "3"} else ({"S": "a"}, {"N": "2"})
    low, high = operands
    term = RangeTerm(operator, low, high if operator is SortOperator.BETWEEN else None)
    start, end = query_bounds(WIDE, KEY, hashes, [], term)
    found = sorted(
        entry.key for item in items if (entry := _entry(WIDE, item)) is not None and start <= entry.key < end
    )
    wanted = [item for item in items if item["b"] == hashes[1] and _holds(operator, item["c"], low, high)]
    wanted.sort(key=lambda item: (_order(item["c"]), _order(item["d"]), key_of(KEY, item)))
    assert found == [_entry(WIDE, item).key for item in wanted]


def _holds(operator: SortOperator, value: dict[str, str], low: dict[str, str], high: dict[str, str]) -> bool:
    mine, first, last = _order(value), _order(low), _order(high)
    return bool(
        {
            SortOperator.EQUAL: mine == first,
            SortOperator.LESS: mine < first,
            SortOperator.LESS_OR_EQUAL: mine <= first,
            SortOperator.GREATER: mine > first,
            SortOperator.GREATER_OR_EQUAL: mine >= first,
            SortOperator.BETWEEN: first <= mine <= last,
            SortOperator.BEGINS_WITH: mine.startswith(first),
        }[operator]
    )


@given(_wide_items, _numbers)
def test_equal_range_attributes_narrow_a_query_from_the_left(item: Item, bound: dict[str, str]) -> None:
    term = RangeTerm(SortOperator.GREATER_OR_EQUAL, bound)
    start, end = query_bounds(WIDE, KEY, [item["a"], item["b"]], [item["c"]], term)
    assert (start <= _entry(WIDE, item).key < end) == (_order(item["d"]) >= _order(bound))
    start, end = query_bounds(WIDE, KEY, [item["a"], item["b"]], [item["c"], item["d"]], None)
    assert start <= _entry(WIDE, item).key < end


def test_local_entries_begin_like_the_items_of_their_collection() -> None:
    item = {"pk": {"S": "p"}, "sk": {"N": "7"}, "a": {"S": "x"}}
    start, end = query_bounds(LOCAL, KEY, [item["pk"]], [], None)
    entry = _entry(LOCAL, item)
    assert entry.key[0] == LOCAL.number
    assert start <= entry.key[1:] < end
    assert start <= key_of(KEY, item) < end


def test_replacements_name_what_moves_and_count_its_units() -> None:
    schema = PartitionSchema(1, KEY, (LOCAL, WIDE, ALL))
    old = {"pk": {"S": "p"}, "sk": {"N": "7"}, "b": {"N": "1"}, "e": {"S": "x" * 1500}}
    new = {**old, "b": {"N": "2"}}
    key = key_of(KEY, old)
    images = [(item, encode_item(item, KEY.names)) for item in (old, new)]
    (moved,) = replacements(schema, key, *images)
    assert moved.by is ALL
    assert moved.units == 4  # a deletion and a put of 2 KB each
    (added,) = replacements(schema, key, None, images[0])
    assert (added.old, added.units) == (None, 2)
    (gone,) = replacements(schema, key, images[0], None)
    assert (gone.new, gone.units) == (None, 2)
    assert replacements(schema, key, images[0], images[0]) == []


def test_schemas_come_back_as_they_went() -> None:
    schema = PartitionSchema(7, KEY, (LOCAL, WIDE))
    assert decode_schema(encode_schema(schema)) == schema
    assert not decode_schema(b"").indexes
    assert schema.feeds
    assert not PartitionSchema(7, KEY, (LOCAL,)).feeds


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"a": {"N": "1"}}, "Type mismatch for Index Key a Expected: S Actual: N IndexName: local"),
        ({"a": {"S": ""}}, "cannot contain an empty string value. IndexName: local, IndexKey: a"),
        ({"a": {"S": "x" * 1025}}, "Size of rangekey has exceeded the maximum size limit of 1024 bytes"),
    ],
)
def test_items_with_wrong_index_keys_are_refused(change: Item, text: str) -> None:
    item = {"pk": {"S": "p"}, "sk": {"N": "1"}, **change}
    with pytest.raises(InvalidItem, match=text.replace(".", r"\.")):
        check_index_keys((LOCAL, WIDE), item)
    check_index_keys((ALL,), item)
    assert _entry(LOCAL, item) is None  # what is older than the index stays out of it
    check_index_keys((LOCAL,), {"pk": {"S": "p"}, "sk": {"N": "1"}, "a": {"S": "x" * 1024}})
