"""Order-preserving encodings against a plain sort (row B1 for numbers)."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gramme.kernel.errors import Corruption, InvalidInput
from gramme.storage.encoding import (
    decode_bytes,
    decode_number,
    decode_text,
    encode_bytes,
    encode_number,
    encode_text,
    escape,
    successor,
)

WIDE = Context(prec=400, Emin=-1000, Emax=1000)
raw = st.binary(max_size=12) | st.lists(st.sampled_from([0, 1, 2, 0xFE, 0xFF]), max_size=8).map(bytes)
texts = st.text(max_size=8) | st.text(alphabet="\0\1\x7f\x80\u07ff\uffff\U00010000\U0010ffff", max_size=6)


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Numbers in the range of DynamoDB, as clients write them."""
    digits = draw(st.text(alphabet="0123456789", min_size=1, max_size=38)).strip("0")
    if not digits:
        return draw(st.sampled_from(["0", "-0", "0.000", "0E99", "-0.0E-500", "000"]))
    exponent = draw(st.integers(-130, 125) | st.sampled_from([-130, -129, -1, 0, 1, 124, 125]))
    sign = draw(st.sampled_from(["", "-", "+"]))
    if draw(st.booleans()):
        marker = draw(st.sampled_from("eE"))
        return f"{sign}{digits[0]}.{digits[1:] or '0'}{marker}{exponent}"
    plain = format(Decimal(f"{digits[0]}.{digits[1:] or '0'}E{exponent}"), "f")
    padding = draw(st.sampled_from(["", "0", "000"]))
    return sign + padding + plain + (padding if "." in plain else "")


@given(raw, raw)
@example(b"", b"\0")
@example(b"a", b"a\0")
@example(b"a\0", b"a\0\xff")
def test_bytes_encode_in_their_order_and_decode_exactly(a: bytes, b: bytes) -> None:
    assert (encode_bytes(a) < encode_bytes(b)) == (a < b)
    assert (encode_bytes(a) == encode_bytes(b)) == (a == b)
    assert decode_bytes(b"xy" + encode_bytes(a) + b"\0tail", 2) == (a, 2 + len(encode_bytes(a)))


@given(texts, texts)
def test_text_encodes_in_the_order_of_its_utf8_bytes(a: str, b: str) -> None:
    assert (encode_text(a) < encode_text(b)) == (a.encode() < b.encode())
    assert decode_text(encode_text(a) + encode_text(b)) == (a, len(encode_text(a)))


@given(numbers(), numbers())
@example("0", "-0")
@example("1E-130", "-1E-130")
@example("9.9999999999999999999999999999999999999E125", "9.9999999999999999999999999999999999998E125")
@example("-9.9999999999999999999999999999999999999E125", "-1E125")
@example("1", "10")
@example("-1", "-10")
@example("-1.5", "-1.25")
@example("1.0", "01")
def test_numbers_encode_in_the_order_of_their_values(a: str, b: str) -> None:
    left, right = WIDE.create_decimal(a), WIDE.create_decimal(b)
    assert (encode_number(a) < encode_number(b)) == (left < right)
    assert (encode_number(a) == encode_number(b)) == (left == right)


@given(numbers())
def test_numbers_decode_to_the_same_value_in_normal_form(text: str) -> None:
    encoded = encode_number(text)
    decoded, end = decode_number(b"?" + encoded + b"\0\xff", 1)
    assert end == 1 + len(encoded)
    assert WIDE.create_decimal(decoded) == WIDE.create_decimal(text)
    value = WIDE.create_decimal(text)
    assert decoded == ("0" if value == 0 else format(value.normalize(WIDE), "f"))


def test_numbers_at_the_edges_of_the_range() -> None:
    nines = "9" * 38
    for text in ["1E-130", "-1E-130", f"{nines[0]}.{nines[1:]}E125", nines + "0" * 88, "0" * 50 + "1" + "0" * 40]:
        decoded, _ = decode_number(encode_number(text))
        assert Decimal(decoded) == Decimal(text)
    assert decode_number(encode_number("1E125"))[0] == "1" + "0" * 125
    assert decode_number(encode_number("-1E-130"))[0] == "-0." + "0" * 129 + "1"
    assert encode_number("-0") == encode_number("0") == encode_number("0E500")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be converted"),
        ("abc", "cannot be converted"),
        (".", "cannot be converted"),
        ("-", "cannot be converted"),
        ("1 ", "cannot be converted"),
        ("--1", "cannot be converted"),
        ("1E", "cannot be converted"),
        ("1E1.5", "cannot be converted"),
        ("1EE1", "cannot be converted"),
        ("0x10", "cannot be converted"),
        ("1_000", "cannot be converted"),
        ("NaN", "cannot be converted"),
        ("Infinity", "cannot be converted"),
        ("١٢", "cannot be converted"),
        ("²", "cannot be converted"),
        ("1" * 39, "38 significant digits"),
        ("1." + "0" * 37 + "1", "38 significant digits"),
        ("1E126", "overflow"),
        ("-1E126", "overflow"),
        ("1E999999999999999999999", "overflow"),
        ("1" + "0" * 126, "overflow"),
        ("1E-131", "underflow"),
        ("0.9E-130", "underflow"),
        ("1E-99999999999999999999", "underflow"),
    ],
)
def test_what_is_no_number_or_out_of_range_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        encode_number(text)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        encode_text("a\ud800")


@given(st.lists(st.tuples(texts, numbers(), raw), max_size=12))
def test_composites_sort_component_by_component(rows: list[tuple[str, str, bytes]]) -> None:
    def encoded(row: tuple[str, str, bytes]) -> bytes:
        return encode_text(row[0]) + encode_number(row[1]) + encode_bytes(row[2])

    def plain(row: tuple[str, str, bytes]) -> tuple[bytes, Decimal, bytes]:
        return row[0].encode(), WIDE.create_decimal(row[1]), row[2]

    assert [plain(row) for row in sorted(rows, key=encoded)] == sorted(map(plain, rows))


@given(raw, raw)
@example(b"a\0", b"a")
@example(b"\xff", b"\xff\xff")
def test_escaped_prefix_and_successor_bound_what_begins_with_it(prefix: bytes, value: bytes) -> None:
    start = b"p" + escape(prefix)
    inside = start <= b"p" + encode_bytes(value) < successor(start)
    assert inside == value.startswith(prefix)


def test_nothing_is_above_all_ones() -> None:
    assert successor(b"\xff\xff") == b""
    assert successor(b"") == b""
    assert successor(b"a\xff") == b"b"


@pytest.mark.parametrize(
    "damaged",
    [b"", b"ab", b"\x00", b"a\x00\x02\x00\x01", b"\xff\x00\x00\x01"],
)
def test_damaged_bytes_are_told(damaged: bytes) -> None:
    with pytest.raises(Corruption):
        decode_bytes(damaged)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x41\x00",
        b"\xc0",
        b"\xc0\x82\x11",  # no end
        b"\xc0\x82\x00",  # no digits
        b"\xc0\x82\x0b\x00",  # a digit of 10
        b"\xc0\x82\x02\x00",  # begins with a zero
        b"\xc0\x82\x11\x01\x00",  # trailing zeros
        b"\x40\x7d\xfe\xff",
    ],
)
def test_damaged_numbers_are_told(damaged: bytes) -> None:
    with pytest.raises(Corruption):
        decode_number(damaged)


def test_text_that_is_not_utf8_is_told() -> None:
    with pytest.raises(Corruption, match="UTF-8"):
        decode_text(b"\xff\x00\x01")
