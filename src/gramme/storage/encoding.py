"""Order-preserving encodings of scalars: comparing encoded bytes compares the values.

Every encoding ends itself, so encodings put one behind another compare component by component, and none is a prefix
of another: that is what lets a composite key be a plain byte string in the engine. The rule: for values a and b of
one type, a < b exactly when encode(a) < encode(b), and decode(encode(a)) is a (for numbers: in normal form).

The idea of escaped, terminated strings and of digits behind a biased exponent is common to key layers over ordered
stores (FoundationDB's tuple layer, SQLite4's key encoding); this layout is Gramme's own.

* bytes, text (as UTF-8): 0x00 becomes 0x00 0xFF; the end is 0x00 0x01.
* number d.ddd… × 10^e: sign byte (0x40 negative, 0x80 zero, 0xC0 positive), e + 130 in one byte, two decimal digits
  per byte in packed form plus one, then 0x00. For negative numbers all bytes after the sign are complemented.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.errors import Corruption, InvalidInput

MAX_DIGITS: Final = 38
"""Significant digits of a number (row B1)."""

MIN_EXPONENT: Final = -130
MAX_EXPONENT: Final = 125
"""Scientific exponents: magnitudes from 1E-130 to 9.99…E+125 (row B1). 256 values, hence one byte."""

_NEGATIVE: Final = 0x40
_ZERO: Final = b"\x80"
_POSITIVE: Final = 0xC0
_PLUS_ONE: Final = bytes((b + 1) & 0xFF for b in range(256))
_MINUS_ONE: Final = bytes((b - 1) & 0xFF for b in range(256))
_COMPLEMENT: Final = bytes(0xFF - b for b in range(256))
_END: Final = b"\x00\x01"


def escape(data: bytes) -> bytes:
    """`data` as it stands inside an encoding, without the end: the common beginning of all that begins with `data`."""
    return data.replace(b"\x00", b"\x00\xff") if b"\x00" in data else data


def encode_bytes(data: bytes) -> bytes:
    """Encode a byte string; order is that of the unsigned bytes, a prefix before what it begins."""
    return (data.replace(b"\x00", b"\x00\xff") if b"\x00" in data else data) + _END


def decode_bytes(data: bytes, offset: int = 0) -> tuple[bytes, int]:
    """The byte string encoded at `offset`, and the offset behind it. Raises `Corruption`."""
    end = data.find(_END, offset)
    if end < 0:
        raise Corruption(f"encoded bytes at offset {offset} have no end")
    raw = data[offset:end]
    if b"\x00" in raw:
        if raw.count(b"\x00") != raw.count(b"\x00\xff"):
            raise Corruption(f"encoded bytes at offset {offset} hold a bare zero")
        raw = raw.replace(b"\x00\xff", b"\x00")
    return raw, end + 2


def text_bytes(text: str) -> bytes:
    """UTF-8 of `text`. Raises `InvalidInput` for what UTF-8 cannot hold (a lone surrogate)."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("a string holds a surrogate that is not part of a pair") from error


def encode_text(text: str) -> bytes:
    """Encode a string; order is that of its UTF-8 bytes, which is that of its code points. Raises `InvalidInput`."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = text_bytes(text)  # says what is wrong
    return (data.replace(b"\x00", b"\x00\xff") if b"\x00" in data else data) + _END


def decode_text(data: bytes, offset: int = 0) -> tuple[str, int]:
    """The string encoded at `offset`, and the offset behind it. Raises `Corruption`."""
    raw, end = decode_bytes(data, offset)
    try:
        return raw.decode(), end
    except UnicodeDecodeError as error:
        raise Corruption(f"encoded text at offset {offset} is not UTF-8") from error


def encode_number(text: str) -> bytes:
    """Encode a decimal number: `123`, `-0.5`, `1E-130`. Equal numbers have equal encodings (1.0, 01, 10E-1).

    Raises `InvalidInput` for what is no number, has more than 38 significant digits, or a magnitude out of range;
    the messages are DynamoDB's.
    """
    if text.isdecimal() and text.isascii():  # the common case: an unsigned integer
        negative = False
        digits = text.lstrip("0")
        exponent = len(digits) - 1
    else:
        negative, digits, exponent = _parse(text)
    digits = digits.rstrip("0")
    if not digits:
        return _ZERO
    if len(digits) > MAX_DIGITS:
        raise InvalidInput(f"Attempting to store more than {MAX_DIGITS} significant digits in a Number")
    if not MIN_EXPONENT <= exponent <= MAX_EXPONENT:
        raise InvalidInput(_OVERFLOW if exponent > 0 else _UNDERFLOW)
    packed = bytes.fromhex(digits if len(digits) % 2 == 0 else digits + "0").translate(_PLUS_ONE)
    if negative:
        return b"%c%c%b\xff" % (_NEGATIVE, MAX_EXPONENT - exponent, packed.translate(_COMPLEMENT))
    return b"%c%c%b\x00" % (_POSITIVE, exponent - MIN_EXPONENT, packed)


_OVERFLOW: Final = "Number overflow. Attempting to store a number with magnitude larger than supported range"
_UNDERFLOW: Final = "Number underflow. Attempting to store a number with magnitude smaller than supported range"


def _parse(text: str) -> tuple[bool, str, int]:
    """Sign, digits without leading zeros, and the exponent of the first of them (0 digits: the exponent is moot)."""
    negative = text[:1] == "-"
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    mantissa, marker, shift = unsigned.replace("e", "E", 1).partition("E")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    if not (digits.isdecimal() and digits.isascii()):
        raise _not_a_number(text)
    point = len(whole)
    if marker:
        bare = shift[1:] if shift[:1] in ("-", "+") else shift
        if not (bare.isdecimal() and bare.isascii()):
            raise _not_a_number(text)
        magnitude = int(bare[:9]) if len(bare) <= 9 else int(bare.lstrip("0")[:9] or "0")
        point += -magnitude if shift[:1] == "-" else magnitude
    significant = digits.lstrip("0")
    return negative, significant, point - (len(digits) - len(significant)) - 1


def _not_a_number(text: str) -> InvalidInput:
    return InvalidInput(f"The parameter cannot be converted to a numeric value: {text}")


def decode_number(data: bytes, offset: int = 0) -> tuple[str, int]:
    """The number encoded at `offset`, in normal form, and the offset behind it. Raises `Corruption`.

    Normal form is plain notation without exponent, leading or trailing zeros: `0`, `-0.5`, `1000`.
    """
    sign = data[offset : offset + 1]
    if sign == _ZERO:
        return "0", offset + 1
    negative = sign == b"\x40"
    if not negative and sign != b"\xc0":
        raise Corruption(f"no number is encoded at offset {offset}")
    end = data.find(b"\xff" if negative else b"\x00", offset + 2)
    if end < 0:
        raise Corruption(f"the number encoded at offset {offset} has no end")
    packed = data[offset + 2 : end]
    biased = data[offset + 1]
    if negative:
        packed = packed.translate(_COMPLEMENT)
        biased = 0xFF - biased
    digits = packed.translate(_MINUS_ONE).hex()
    if not digits.isdecimal() or digits[0] == "0" or digits[-2:] == "00":
        raise Corruption(f"the number encoded at offset {offset} has bad digits")
    text = _plain(digits.rstrip("0"), biased + MIN_EXPONENT)
    return ("-" + text if negative else text), end + 1


def _plain(digits: str, exponent: int) -> str:
    """`d.ddd × 10^exponent` in plain notation."""
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    point = exponent + 1
    if len(digits) <= point:
        return digits + "0" * (point - len(digits))
    return digits[:point] + "." + digits[point:]


def successor(prefix: bytes) -> bytes:
    """The smallest byte string above all that begin with `prefix`; empty, meaning 'to the top', if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else b""
