"""Partition counts (row D3) and first cuts (row C1)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.placement.tables import MAX_PARTITIONS, cut, grown_count, partition_count


@pytest.mark.parametrize(
    ("read_units", "write_units", "count"),
    [
        (0, 0, 1),
        (1, 1, 1),
        (3000, 0, 1),
        (3001, 0, 2),
        (0, 1000, 1),
        (0, 1001, 2),
        (1500, 500, 1),
        (1500, 501, 2),
        (3000, 1000, 2),
        (0, 3200, 4),
        (0, 3600, 4),
        (0, 6000, 6),
    ],
)
def test_a_provisioned_table_has_the_sum_of_its_shares_rounded_up(
    read_units: int, write_units: int, count: int
) -> None:
    assert partition_count(read_units, write_units, on_demand=False) == count


def test_the_papers_worked_example() -> None:
    count = partition_count(0, 3200, on_demand=False)
    shares = [(count, 3200 / count)]
    for units in (3600, 6000, 5000):
        count = grown_count(count, partition_count(0, units, on_demand=False))
        shares.append((count, units / count))
    assert shares == [(4, 800), (4, 900), (8, 750), (8, 625)]


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_the_count_is_exact(read_units: int, write_units: int) -> None:
    exact = max(1, ceil(Fraction(read_units, 3000) + Fraction(write_units, 1000)))
    assert partition_count(read_units, write_units, on_demand=False) == exact


def test_a_table_on_demand_has_four_partitions() -> None:
    assert partition_count(0, 0, on_demand=True) == 4


def test_impossible_units_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        partition_count(-1, 0, on_demand=False)
    with pytest.raises(ValueError, match="at most 65536"):
        partition_count(0, 1000 * MAX_PARTITIONS + 1, on_demand=False)
    assert partition_count(0, 1000 * MAX_PARTITIONS, on_demand=False) == MAX_PARTITIONS


@given(st.integers(1, 3000))
def test_cuts_tile_the_hash_space_evenly(count: int) -> None:
    ranges = cut(count)
    assert len(ranges) == count
    assert ranges[0][0] == b""
    assert ranges[-1][1] == b""
    widths = []
    for index, (start, end) in enumerate(ranges):
        assert len(start) == (16 if index else 0)
        assert end == (ranges[index + 1][0] if index + 1 < count else b"")
        top = int.from_bytes(end, "big") if end else 1 << 128
        widths.append(top - int.from_bytes(start, "big"))
    assert sum(widths) == 1 << 128
    assert max(widths) - min(widths) <= 1


@pytest.mark.parametrize("count", [0, -1, MAX_PARTITIONS + 1])
def test_impossible_cuts_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 65536"):
        cut(count)
