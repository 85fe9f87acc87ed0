"""The layout of row keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.ids import ExtentId
from gramme.storage.engine.rows import (
    MAX_EXTENT,
    NODE_EXTENT,
    PREFIX_BYTES,
    Space,
    extent_range,
    key_range,
    row_key,
    row_prefix,
    space_range,
    split_row_key,
    whole_range,
)

extents = st.sampled_from([0, 1, 255, 256, 0xFFFF, MAX_EXTENT - 1, MAX_EXTENT]).map(ExtentId)
rows = st.tuples(extents, st.sampled_from(Space), st.binary(max_size=4) | st.just(b"\xff" * 20))


@given(rows, rows)
def test_rows_sort_by_extent_then_space_then_key(
    a: tuple[ExtentId, Space, bytes], b: tuple[ExtentId, Space, bytes]
) -> None:
    assert (row_key(*a) < row_key(*b)) == (a < b)
    assert split_row_key(row_key(*a)) == a
    assert row_key(*a) == row_prefix(a[0], a[1]) + a[2]


@given(rows, extents, st.sampled_from(Space))
def test_ranges_hold_the_rows_of_their_extent_or_space_and_no_others(
    row: tuple[ExtentId, Space, bytes], extent: ExtentId, space: Space
) -> None:
    key = row_key(*row)
    start, end = extent_range(extent)
    assert (start <= key < end) == (row[0] == extent)
    start, end = space_range(extent, space)
    assert (start <= key < end) == (row[:2] == (extent, space))
    start, end = whole_range()
    assert start <= key < end


@given(rows, st.binary(max_size=3), st.binary(max_size=3))
def test_a_key_range_holds_what_lies_between_and_an_empty_end_means_the_top(
    row: tuple[ExtentId, Space, bytes], low: bytes, high: bytes
) -> None:
    extent, space, key = row
    start, end = key_range(extent, space, low, high)
    assert (start <= row_key(*row) < end) == (low <= key and (not high or key < high))
    inside = row_key(extent, space, low) < end
    assert not inside or start[:PREFIX_BYTES] == row_prefix(extent, space)


def test_space_numbers_are_on_disk_and_do_not_change() -> None:
    assert [(space.name, int(space)) for space in Space] == [
        ("META", 0),
        ("ITEMS", 1),
        ("LOCAL_INDEX", 2),
        ("PENDING", 3),
        ("CHANGES", 4),
        ("OUTCOMES", 5),
        ("CATALOG", 6),
        ("STATE", 7),
        ("TRANSACTIONS", 8),
        ("OBJECTS", 9),
        ("HINTS", 10),
        ("TREES", 11),
    ]
    assert row_key(ExtentId(0x0102), Space.ITEMS, b"k") == b"\0\0\0\0\0\0\1\2\1k"
    assert NODE_EXTENT == 0


def test_extents_out_of_range_and_foreign_keys_are_refused() -> None:
    for extent in (-1, MAX_EXTENT + 1, 1 << 64):
        with pytest.raises(ValueError, match="out of"):
            row_prefix(ExtentId(extent), Space.META)
        with pytest.raises(ValueError, match="out of"):
            extent_range(ExtentId(extent))
    with pytest.raises(ValueError, match="at least 9"):
        split_row_key(b"12345678")
    with pytest.raises(ValueError, match="Space"):
        split_row_key(bytes(8) + b"\xee")
