"""DynamoDB numbers as text: one normal form, 38 digits, exact arithmetic and order.

Owns what an `N` is: up to 38 significant digits, magnitude 1E-130 … 9.9…9E+125 or zero. Rule: every number that enters
is normalised once, so that equal numbers are equal strings everywhere behind the API (set members, `=`, stored items);
the normal form is plain notation without exponent, leading or trailing zeros, as the service answers.
Source: AWS developer guide, "Supported data types: Number" and "Naming rules and data types".
"""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Final

from gramme.kernel.errors import InvalidInput

MAX_DIGITS: Final = 38
MAX_EXPONENT: Final = 125
MIN_EXPONENT: Final = -130

OVERFLOW: Final = "Number overflow. Attempting to store a number with magnitude larger than supported range"
UNDERFLOW: Final = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
TOO_PRECISE: Final = "Attempting to store more than 38 significant digits in a Number"

_NUMBER: Final = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?", re.ASCII)
# Wide enough that the sum of any two legal numbers (1E+125 and 1E-130) is exact.
_EXACT: Final = Context(prec=600)


class InvalidNumber(InvalidInput):
    """The text is no number, or one outside the supported range; the message is the service's."""


def normalise(text: str) -> str:
    """The normal form of `text`; equal numbers give equal strings. Raises InvalidNumber."""
    if len(text) <= MAX_DIGITS and text.isdigit() and text.isascii() and (text[0] != "0" or len(text) == 1):
        return text
    match = _NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise InvalidNumber(
            f"The parameter cannot be converted to a numeric value: {text}"
            if text
            else "The parameter cannot be converted to a numeric value"
        )
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", match[4] or "0"
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    if not stripped:
        return "0"
    if len(exponent.lstrip("+-0")) > 9:  # int() of a long exponent is slow, and far outside anyway
        raise InvalidNumber(UNDERFLOW if exponent[0] == "-" else OVERFLOW)
    last = int(exponent) - len(fraction) + len(digits) - len(stripped)  # power of ten of the last digit kept
    first = last + len(stripped) - 1
    _check_range(first, len(stripped))
    return ("-" if sign == "-" else "") + _plain(stripped, last)


def _check_range(first: int, digits: int) -> None:
    if first > MAX_EXPONENT:
        raise InvalidNumber(OVERFLOW)
    if first < MIN_EXPONENT:
        raise InvalidNumber(UNDERFLOW)
    if digits > MAX_DIGITS:
        raise InvalidNumber(TOO_PRECISE)


def _plain(digits: str, last: int) -> str:
    if last >= 0:
        return digits + "0" * last
    if -last < len(digits):
        return f"{digits[:last]}.{digits[last:]}"
    return "0." + "0" * (-last - len(digits)) + digits


def size_bytes(number: str) -> int:
    """Stored size of a normalised number by the service's rule.

    One byte for sign and exponent, one for each base-100 digit aligned at the decimal point, one more if negative
    (developer guide, "DynamoDB item sizes": about one byte per two significant digits, plus one).
    """
    body = number[1:] if number[0] == "-" else number
    if body == "0":
        return 1
    whole, _, fraction = body.partition(".")
    if whole == "0":
        whole = ""
    # Pad to whole base-100 digits on both sides of the point, then drop the zero ones outside.
    pairs = "0" * (len(whole) & 1) + whole + fraction + "0" * (len(fraction) & 1)
    lead = (len(pairs) - len(pairs.lstrip("0"))) // 2
    trail = (len(pairs) - len(pairs.rstrip("0"))) // 2
    return 1 + len(pairs) // 2 - lead - trail + (body is not number)


def add(left: str, right: str) -> str:
    """left + right, exactly. Raises InvalidNumber if the sum is outside the range or needs more than 38 digits."""
    return normalise(str(_EXACT.add(Decimal(left), Decimal(right))))


def subtract(left: str, right: str) -> str:
    """left - right, exactly. Raises InvalidNumber like `add`."""
    return normalise(str(_EXACT.subtract(Decimal(left), Decimal(right))))


def less(left: str, right: str) -> bool:
    """left < right by value."""
    return Decimal(left) < Decimal(right)
