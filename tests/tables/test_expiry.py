"""When an item expires: which values count (row H16; AWS developer guide, "Using time to live (TTL)")."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.tables.expiry import FIVE_YEARS_S, expiry_of, is_expired
from gramme.tables.item import encode_item

NOW_S = 1_790_000_000


def _time_of(value: Any, attribute: str = "ttl") -> int | None:
    return expiry_of(encode_item({"pk": {"S": "a"}, attribute: value}, ("pk",)), attribute)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"N": "1790000000"}, 1_790_000_000),
        ({"N": "1790000000.75"}, 1_790_000_000),
        ({"N": "0"}, 0),
        ({"N": "-5"}, -5),
        ({"N": "1" + "0" * 125}, 10**125),
        ({"S": "1790000000"}, None),
        ({"NS": ["1790000000"]}, None),
        ({"M": {"ttl": {"N": "1790000000"}}}, None),
        ({"L": [{"N": "1790000000"}]}, None),
        ({"NULL": True}, None),
    ],
)
def test_only_a_number_counts(value: Any, expected: int | None) -> None:
    assert _time_of(value) == expected


def test_the_name_counts_at_the_top_of_the_item_only() -> None:
    item: dict[str, Any] = {"pk": {"S": '"ttl":{"N":"5"}'}, "other": {"M": {"ttl": {"N": "5"}}}}
    assert expiry_of(encode_item(item, ("pk",)), "ttl") is None
    assert expiry_of(encode_item({**item, "ttl": {"S": "5"}}, ("pk",)), "ttl") is None
    assert expiry_of(encode_item({**item, "ttl": {"N": "6"}}, ("pk",)), "ttl") == 6


@pytest.mark.parametrize("name", ['quoted"name', "back\\slash", "ünïcode", "a.b", " ", "x" * 255])
def test_names_of_any_kind(name: str) -> None:
    assert _time_of({"N": "7"}, name) == 7


def test_the_key_may_be_the_time() -> None:
    assert expiry_of(encode_item({"pk": {"N": "7"}}, ("pk",)), "pk") == 7


@pytest.mark.parametrize(
    ("expiry_s", "expected"),
    [
        (NOW_S + 1, False),
        (NOW_S, False),
        (NOW_S - 1, True),
        (NOW_S - FIVE_YEARS_S, True),
        (NOW_S - FIVE_YEARS_S - 1, False),
        (0, False),
        (-1, False),
        (NOW_S * 1000, False),  # milliseconds
    ],
)
def test_an_item_expires_when_its_second_is_over_and_not_after_five_years(expiry_s: int, expected: bool) -> None:
    assert is_expired(expiry_s, NOW_S) is expected


_NAMES = st.sampled_from(["ttl", "a", "other", 't"'])
_VALUES: Any = st.recursive(
    st.one_of(
        st.integers(-(10**12), 10**12).map(lambda number: {"N": str(number)}),
        st.sampled_from([{"S": '"ttl":{"N":"1"}'}, {"BOOL": True}, {"NS": ["1", "2"]}]),
    ),
    lambda deeper: st.one_of(
        st.dictionaries(_NAMES, deeper, max_size=3).map(lambda members: {"M": members}),
        st.lists(deeper, max_size=3).map(lambda elements: {"L": elements}),
    ),
    max_leaves=6,
)


@given(st.dictionaries(_NAMES, _VALUES, max_size=4), _NAMES)
def test_it_agrees_with_looking_at_the_whole_item(attributes: dict[str, Any], name: str) -> None:
    number = attributes.get(name, {}).get("N")
    expected = None if number is None else int(Decimal(number))
    assert expiry_of(encode_item({"pk": {"S": "a"}, **attributes}, ("pk",)), name) == expected
