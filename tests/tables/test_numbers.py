"""Numbers against Python's decimals, and at the edges of their range."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.tables import numbers
from gramme.tables.numbers import OVERFLOW, TOO_PRECISE, UNDERFLOW, InvalidNumber

_WIDE = Context(prec=1000)


@st.composite
def legal_numbers(draw: st.DrawFn) -> str:
    """Texts of numbers inside the range, in all notations."""
    digits = draw(st.integers(0, 10**38 - 1))
    exponent = draw(st.integers(-130, 125 - (len(str(digits)) - 1)))
    sign = draw(st.sampled_from(["", "-", "+"]))
    text = str(digits)
    point = draw(st.integers(0, len(text)))
    shifted = exponent + len(text) - point
    mantissa = (
        draw(st.sampled_from(["", "0", "000"])) + text[:point] + "." + text[point:] if point < len(text) else text
    )
    if draw(st.booleans()):
        return f"{sign}{mantissa}{draw(st.sampled_from('eE'))}{shifted:+d}"
    return sign + format(Decimal(text).scaleb(exponent, _WIDE), "f")


@given(legal_numbers())
def test_the_normal_form_keeps_the_value_and_is_its_own_normal_form(text: str) -> None:
    normal = numbers.normalise(text)
    assert Decimal(normal) == Decimal(text)
    assert numbers.normalise(normal) == normal
    assert "E" not in normal.upper()
    assert normal == "0" or not normal.removeprefix("-").startswith("0") or normal.removeprefix("-").startswith("0.")
    assert "." not in normal or not normal.endswith("0")


@given(legal_numbers(), legal_numbers())
def test_equal_numbers_are_equal_texts_and_order_is_by_value(left: str, right: str) -> None:
    one, other = numbers.normalise(left), numbers.normalise(right)
    assert (one == other) == (Decimal(left) == Decimal(right))
    assert numbers.less(one, other) == (Decimal(left) < Decimal(right))


@given(legal_numbers(), legal_numbers(), st.sampled_from([(numbers.add, 1), (numbers.subtract, -1)]))
def test_arithmetic_is_exact_or_refused(left: str, right: str, operation: tuple[object, int]) -> None:
    function, sign = operation
    exact = _WIDE.add(Decimal(left), _WIDE.multiply(Decimal(right), Decimal(sign)))
    digits = exact.normalize(_WIDE).as_tuple().digits
    representable = exact == 0 or (len(digits) <= 38 and -130 <= exact.adjusted() <= 125)
    assert callable(function)
    if representable:
        assert Decimal(function(numbers.normalise(left), numbers.normalise(right))) == exact
    else:
        with pytest.raises(InvalidNumber):
            function(numbers.normalise(left), numbers.normalise(right))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("00123.4500", "123.45"),
        ("-0", "0"),
        ("-0.0e999999", "0"),
        ("+7", "7"),
        ("1.", "1"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("-1.20E-3", "-0.0012"),
        ("1" * 38, "1" * 38),
        ("1" * 38 + "000", "1" * 38 + "000"),
        ("9" * 38 + "E+88", "9" * 38 + "0" * 88),
        ("9.9999999999999999999999999999999999999E+125", "9" * 38 + "0" * 88),
        ("1E-130", "0." + "0" * 129 + "1"),
    ],
)
def test_normal_forms(text: str, normal: str) -> None:
    assert numbers.normalise(text) == normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1E126", OVERFLOW),
        ("-1E+126", OVERFLOW),
        ("1e9999999999999999999", OVERFLOW),
        ("9.99E-131", UNDERFLOW),
        ("-1e-9999999999999999999", UNDERFLOW),
        ("1" * 39, TOO_PRECISE),
        ("1." + "0" * 37 + "1", TOO_PRECISE),
        ("", "The parameter cannot be converted to a numeric value"),
        *(
            (text, f"The parameter cannot be converted to a numeric value: {text}")
            for text in [
                " 1",
                "1 ",
                "1\n",
                "a",
                "NaN",
                "Infinity",
                "0x10",
                "1_0",
                "٣",
                ".",
                "-",
                "e5",
                "1e",
                "1e+",
                "--1",
                "1.2.3",
            ]
        ),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(InvalidNumber) as refused:
        numbers.normalise(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("number", "size"),
    [  # measured with DynamoDB Local: how much room the number leaves in an item of 400 KB
        ("1", 2), ("0", 1), ("12", 2), ("123", 3), ("1234", 3), ("12.3", 3), ("123.4", 4), ("-1", 3), ("100", 2),
        ("1000", 2), ("0.1", 2), ("0.01", 2), ("0.001", 2), ("1" * 38, 20), ("-" + "1" * 38, 21), ("-12", 3),
        ("0.12", 2), ("0.012", 3), ("1e125", 2), ("1e-130", 2),
    ],
)  # fmt: skip
def test_sizes(number: str, size: int) -> None:
    assert numbers.size_bytes(numbers.normalise(number)) == size
