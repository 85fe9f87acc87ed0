"""Attribute values: what passes, what is refused with which text, what it weighs."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tables.strategies import items

from gramme.tables.values import (
    EMPTY_VALUE,
    TOO_DEEP,
    TWO_TYPES,
    InvalidValue,
    WrongJsonType,
    item_size,
    normalise_item,
    normalise_value,
)

_INVALID = "One or more parameter values were invalid: "


@given(items())
def test_normal_items_pass_unchanged_and_weigh_what_they_measure(item: dict[str, Any]) -> None:
    again, size = normalise_item(item)
    assert again is item
    assert size == item_size(item)


def test_values_are_normalised_wherever_they_stand() -> None:
    item, _ = normalise_item(
        {"a": {"N": "01.50"}, "b": {"L": [{"N": "+1"}, {"S": "x", "N": None}]}, "c": {"M": {"d": {"NS": ["2.0", "1"]}}}}
    )
    assert item == {"a": {"N": "1.5"}, "b": {"L": [{"N": "1"}, {"S": "x"}]}, "c": {"M": {"d": {"NS": ["2", "1"]}}}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, EMPTY_VALUE),
        ({"X": "a"}, EMPTY_VALUE),
        ({"S": None}, EMPTY_VALUE),
        (None, EMPTY_VALUE),
        ({"S": "a", "N": "1"}, TWO_TYPES),
        ({"N": "x", "S": "a"}, "The parameter cannot be converted to a numeric value: x"),
        ({"NULL": False}, f"{_INVALID}Null attribute value types must have the value of true"),
        ({"SS": []}, f"{_INVALID}An string set  may not be empty"),
        ({"NS": []}, f"{_INVALID}An number set  may not be empty"),
        ({"BS": []}, f"{_INVALID}Binary sets should not be empty"),
        ({"SS": ["a", "b", "a"]}, f"{_INVALID}Input collection [a, b, a] contains duplicates."),
        ({"NS": ["1", "1.0"]}, "Input collection contains duplicates"),
        ({"BS": ["Yg==", "Yg=="]}, f"{_INVALID}Input collection [Yg==, Yg==]of type BS contains duplicates."),
        ({"SS": ["a", None]}, f"{_INVALID}An string set may not have a null string as a member"),
        ({"L": [{"S": "a"}, {}]}, EMPTY_VALUE),
        ({"M": {"a": {"M": {"b": {}}}}}, EMPTY_VALUE),
        ({"M": {"": {"S": "a"}}}, "Empty attribute name"),
    ],
)
def test_invalid_values(value: object, message: str) -> None:
    for wrapped in (value, {"L": [value]}, {"M": {"m": value}}):
        with pytest.raises(InvalidValue) as refused:
            normalise_value(wrapped)
        assert str(refused.value) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"S": 1}, "NUMBER_VALUE cannot be converted to String"),
        ({"S": 1.5}, "DECIMAL_VALUE cannot be converted to String"),
        ({"S": True}, "TRUE_VALUE cannot be converted to String"),
        ({"N": False}, "FALSE_VALUE cannot be converted to String"),
        ({"S": ["a"]}, "Unrecognized collection type class java.lang.String"),
        ({"S": {"a": "b"}}, "Start of structure or map found where not expected"),
        ({"BOOL": "true"}, "Unexpected token received from parser"),
        ({"BOOL": 1}, "NUMBER_VALUE cannot be converted to Boolean"),
        ({"NULL": []}, "Unrecognized collection type class java.lang.Boolean"),
        ({"B": 1}, "only base-64-encoded strings are convertible to bytes"),
        ({"B": "abc"}, "Base64 encoded length is expected a multiple of 4 bytes but found: 3"),
        ({"B": "a*cd"}, "Invalid Base64 character: '*'"),
        ({"B": "ab=="}, "Invalid last non-pad Base64 character dectected"),
        ({"B": "ab=c"}, "Invalid Base64 character: '='"),
        ({"B": "===="}, "Invalid Base64 character: '='"),
        ({"SS": "a"}, "Unexpected field type"),
        ({"SS": [1]}, "NUMBER_VALUE cannot be converted to String"),
        ({"BS": ["a"]}, "Base64 encoded length is expected a multiple of 4 bytes but found: 1"),
        ({"L": {}}, "Start of structure or map found where not expected"),
        ({"L": ["a"]}, "Unexpected value type in payload"),
        ({"M": "a"}, "Unexpected field type"),
        (["a"], "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue"),
        ("a", "Unexpected value type in payload"),
    ],
)
def test_wrong_json_types_come_before_invalid_values(value: object, message: str) -> None:
    with pytest.raises(WrongJsonType) as refused:
        normalise_item({"bad": {"N": "x"}, "deep": {"L": [{"M": {"a": value}}]}})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("value", "size"),
    [  # measured with DynamoDB Local
        ({"BOOL": True}, 1), ({"NULL": True}, 1), ({"L": []}, 3), ({"L": [{"S": "a"}]}, 5),
        ({"L": [{"S": "a"}, {"S": "b"}]}, 7), ({"M": {}}, 3), ({"M": {"ab": {"S": "c"}}}, 7), ({"SS": ["ab", "c"]}, 3),
        ({"NS": ["1", "22"]}, 4), ({"B": "AAEC"}, 3), ({"B": "AAE="}, 2), ({"BS": ["AAE="]}, 2), ({"S": "é"}, 2),
        ({"L": [{"L": []}]}, 7), ({"S": ""}, 0), ({"B": ""}, 0),
    ],
)  # fmt: skip
def test_sizes(value: dict[str, Any], size: int) -> None:
    assert normalise_value(value)[1] == size
    assert normalise_item({"ñame": value})[1] == size + 5


@pytest.mark.parametrize("kind", ["L", "M"])
def test_thirty_two_levels_and_no_more(kind: str) -> None:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(31):
        value = {"L": [value]} if kind == "L" else {"M": {"a": value}}
    assert normalise_item({"a": value})[0] == {"a": value}
    with pytest.raises(InvalidValue, match="Nesting Levels") as refused:
        normalise_item({"a": {"L": [value]}})
    assert str(refused.value) == TOO_DEEP


def test_json_as_deep_as_a_decoder_takes_it_is_refused() -> None:
    value: dict[str, Any] = {"S": "x"}
    for _ in range(20_000):
        value = {"L": [value]}
    with pytest.raises(InvalidValue, match="Nesting Levels"):
        normalise_item({"a": value})
    while "L" in value:  # unravelled step by step: freeing it at once would recurse
        value = value["L"].pop()


def _nested_json(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS", "x", ""])
    return st.lists(children, max_size=3) | st.dictionaries(names, children, max_size=2)


_any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), _nested_json, max_leaves=8
)


@given(_any_json)
def test_any_json_is_taken_whole_or_refused(value: object) -> None:
    """Nothing but the two errors comes out, and what passes is normal: passing it again changes nothing."""
    with suppress(WrongJsonType, InvalidValue):
        item, size = normalise_item(value)
        assert (size, normalise_item(copy.deepcopy(item))) == (item_size(item), (item, size))
