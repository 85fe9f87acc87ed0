"""Stored values: header and canonical JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tables.strategies import items

from gramme.kernel.errors import Corruption, Incompatible
from gramme.kernel.time import Stamp
from gramme.tables import item as stored_item
from gramme.tables.descriptor import KeySchema
from gramme.tables.item import (
    HEADER_BYTES,
    StoredHeader,
    decode_header,
    decode_item,
    encode_attributes,
    encode_item,
    encode_stored,
    encode_tombstone,
    is_tombstone,
    item_json,
    key_attributes,
    key_json,
    stored_size,
    stored_stamp,
)

_u64 = st.integers(0, 2**64 - 1)
_u32 = st.integers(0, 2**32 - 1)


@given(_u64, _u32, st.integers(0, 2**16 - 1), _u32, _u64, items())
def test_a_stored_value_gives_back_what_it_was_made_of(
    stamp: int, size: int, region: int, key_id: int, expiry_s: int, item: dict[str, Any]
) -> None:
    body = encode_item(item, ())
    stored = encode_stored(body, size, stamp, region=region, key_id=key_id, expiry_s=expiry_s)
    assert decode_header(stored) == StoredHeader(Stamp(stamp), size, region, key_id, expiry_s, 0)
    assert (stored_stamp(stored), stored_size(stored), is_tombstone(stored)) == (stamp, size, False)
    assert item_json(stored) == stored[HEADER_BYTES:] == body
    assert decode_item(body) == item


def test_the_layout_is_fixed() -> None:
    stored = encode_stored(b"{}", 3, 1, region=2, key_id=4, expiry_s=5, flags=0)
    assert stored.hex() == "010000000000000001000200000004000000030000000000000005007b7d"


def test_a_tombstone_has_a_stamp_and_no_item() -> None:
    stored = encode_tombstone(9, region=3)
    assert is_tombstone(stored)
    assert (stored_stamp(stored), item_json(stored), decode_header(stored).region) == (9, b"", 3)


def test_unknown_formats_and_cut_values_are_never_read() -> None:
    stored = b"\x02" + encode_stored(b"{}", 2, 1)[1:]
    for read in (decode_header, item_json):
        with pytest.raises(Incompatible, match="format 2"):
            read(stored)
    with pytest.raises(Corruption):
        decode_header(b"\x01\x00")
    for damaged in (b"", b"{", b'{"a":"b"}', b"[]", b'{"a":{"S":"\xff"}}'):
        with pytest.raises(Corruption):
            decode_item(damaged)


@pytest.mark.parametrize("given_order", [("sk", "a", "pk"), ("pk", "sk", "a"), ("pk", "a", "sk"), ("a", "pk", "sk")])
def test_keys_stand_first_and_the_others_in_the_order_given(given_order: tuple[str, ...]) -> None:
    encoded = encode_item({name: {"S": name} for name in given_order}, ("pk", "sk"))
    assert list(json.loads(encoded)) == ["pk", "sk", "a"]
    assert encoded.startswith(b'{"pk":{"S":"pk"},"sk":{"S":"sk"}')


def test_the_primary_key_of_an_item() -> None:
    item = {"a": {"S": "x"}, "sk": {"N": "1"}, "pk": {"S": "k"}}
    assert list(stored_item.key_of(item, KeySchema("pk", "S", "sk", "N"))) == ["pk", "sk"]
    assert stored_item.key_of(item, KeySchema("pk", "S")) == {"pk": {"S": "k"}}


@given(items(), st.data())
def test_key_attributes_are_those_of_the_whole_item(item: dict[str, Any], data: st.DataObject) -> None:
    """Whatever the attributes are called, the others hold, and where they stand."""
    names = tuple(data.draw(st.lists(st.sampled_from(sorted(item)), unique=True, max_size=8))) if item else ()
    body = encode_item(item, ())
    assert key_attributes(body, names) == {name: decode_item(body)[name] for name in names}


@given(items(), st.data())
def test_key_json_is_that_of_the_key_attributes(item: dict[str, Any], data: st.DataObject) -> None:
    """Whether they stand in front or not, whatever has to be escaped in them, and of whatever types they are."""
    names = tuple(data.draw(st.lists(st.sampled_from(sorted(item)), unique=True, max_size=3))) if item else ()
    body = encode_item(item, data.draw(st.sampled_from([names, ()])))
    assert key_json(body, names) == encode_attributes(key_attributes(body, names))


@pytest.mark.parametrize("text", ['"', "\\", '\\"', '"},"sk":{"S":"', "}", "\n", "\u2028", "\u00e4"])
def test_key_json_of_keys_that_look_like_their_end(text: str) -> None:
    item = {"p" + text: {"S": text}, "sk": {"S": text + text}, "other": {"S": "x"}}
    body = encode_item(item, ())
    names = ("p" + text, "sk")
    assert key_json(body, names) == encode_attributes({name: item[name] for name in names})


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"a":{"S":"1"}}', b'{"b":{"S":"1"', b'{"b":1}', b"\xff"])
def test_key_attributes_of_what_has_them_not_are_damage(damaged: bytes) -> None:
    with pytest.raises(Corruption, match="not canonical JSON"):
        key_attributes(damaged, ("b",))
    with pytest.raises(Corruption, match="not canonical JSON"):
        key_json(damaged, ("b",))
