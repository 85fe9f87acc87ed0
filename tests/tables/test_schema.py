"""Items and keys against a table's schema, at the edges of the limits."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.errors import InvalidInput
from gramme.tables.descriptor import KeySchema
from gramme.tables.keys import encode_key
from gramme.tables.schema import InvalidItem, check_item, check_item_size, check_key, item_key, request_key

_HASH = KeySchema("pk", "S")
_BOTH = KeySchema("pk", "S", "sk", "B")
_INVALID = "One or more parameter values were invalid: "
_EMPTY = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty "


def _binary(size: int) -> dict[str, Any]:
    return {"B": b64encode(bytes(size)).decode()}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({}, f"{_INVALID}Missing the key pk in the item"),
        ({"pk": {"S": "k"}}, f"{_INVALID}Missing the key sk in the item"),
        ({"pk": {"N": "1"}, "sk": _binary(1)}, f"{_INVALID}Type mismatch for key pk expected: S actual: N"),
        ({"pk": {"S": "k"}, "sk": {"S": "s"}}, f"{_INVALID}Type mismatch for key sk expected: B actual: S"),
        ({"pk": {"S": ""}, "sk": _binary(1)}, f"{_EMPTY}string value. Key: pk"),
        ({"pk": {"S": "k"}, "sk": _binary(0)}, f"{_EMPTY}binary value. Key: sk"),
        (
            {"pk": {"S": "é" * 1025}, "sk": _binary(1)},
            f"{_INVALID}Size of hashkey has exceeded the maximum size limit of2048 bytes",
        ),
        (
            {"pk": {"S": "k"}, "sk": _binary(1025)},
            f"{_INVALID}Aggregated size of all range keys has exceeded the size limit of 1024 bytes",
        ),
    ],
)
def test_items_that_do_not_fit(item: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidItem) as refused:
        check_item(_BOTH, {**item, "other": {"S": ""}})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("schema", "attributes"),
    [
        (_HASH, {}),
        (_HASH, {"other": {"S": "k"}}),
        (_HASH, {"pk": {"N": "1"}}),
        (_HASH, {"pk": {"S": "k"}, "sk": {"S": "s"}}),
        (_BOTH, {"pk": {"S": "k"}}),
        (_BOTH, {"pk": {"S": "k"}, "sk": {"S": "s"}}),
        (_BOTH, {"pk": {"S": "k"}, "other": _binary(1)}),
        (_BOTH, {"pk": {"S": "k"}, "sk": _binary(1), "other": {"S": "x"}}),
    ],
)
def test_keys_that_do_not_fit(schema: KeySchema, attributes: dict[str, Any]) -> None:
    with pytest.raises(InvalidItem, match=r"^The provided key element does not match the schema$"):
        check_key(schema, attributes)


def test_the_largest_keys_fit_items_and_requests() -> None:
    key = {"pk": {"S": "é" * 1024}, "sk": _binary(1024)}
    encoded = encode_key(_BOTH, key["pk"], key["sk"])
    assert request_key(_BOTH, key) == encoded
    assert item_key(_BOTH, {**key, "other": {"N": "1"}}) == encoded
    assert item_key(_HASH, key) == encode_key(_HASH, key["pk"])


def test_empty_keys_of_requests_are_refused() -> None:
    with pytest.raises(InvalidItem, match=r"empty string value. Key: pk"):
        request_key(_HASH, {"pk": {"S": ""}})


def test_an_item_to_put_has_400_kb() -> None:
    check_item_size(400 * 1024)
    with pytest.raises(InvalidItem, match=r"^Item size has exceeded the maximum allowed size$"):
        check_item_size(400 * 1024 + 1)


_TEXTS = st.sampled_from(
    ["", "a", "\0", "\0\0b", "é", "\ud800", "x" * 1024, "x" * 1025, "x" * 2048, "\0" * 1024, "é" * 1025]
)
_KEY_VALUES = st.one_of(
    st.one_of(_TEXTS, st.text(max_size=4)).map(lambda text: {"S": text}),
    st.sampled_from(["0", "1", "-1", "2.5", "1" + "0" * 37]).map(lambda text: {"N": text}),
    st.sampled_from([0, 1, 1024, 1025, 2048, 2049]).map(_binary),
    st.binary(max_size=3).map(lambda raw: {"B": b64encode(raw).decode()}),
)


def _outcome(make: Callable[[], bytes]) -> bytes | str:
    try:
        return make()
    except InvalidInput as error:
        return str(error)


@given(
    hash_type=st.sampled_from("SNB"),
    range_type=st.sampled_from([None, "S", "N", "B"]),
    attributes=st.dictionaries(st.sampled_from(["pk", "sk", "other"]), _KEY_VALUES, max_size=3),
)
def test_a_key_is_encoded_as_if_it_had_been_checked_before(
    hash_type: Any, range_type: Any, attributes: dict[str, Any]
) -> None:
    schema = KeySchema("pk", hash_type, None if range_type is None else "sk", range_type)

    def slowly(check: Callable[[KeySchema, Any], None]) -> bytes:
        check(schema, attributes)
        return encode_key(schema, attributes["pk"], None if range_type is None else attributes["sk"])

    assert _outcome(lambda: request_key(schema, attributes)) == _outcome(lambda: slowly(check_key))
    assert _outcome(lambda: item_key(schema, attributes)) == _outcome(lambda: slowly(check_item))
