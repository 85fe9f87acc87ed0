"""Attribute values in wire form: one pass that validates, normalises and measures what a client sent.

Owns the shape of `{"S": …}` values. Rule: behind this pass every value has exactly one type, normal numbers
(`gramme.tables.numbers`), canonical base64, non-empty sets without duplicates and at most 32 levels, so nothing
further in checks again. The given structure is changed in place (it came out of a JSON decoder and has one owner).
Two errors: `WrongJsonType` where the service's own decoder would fail (SerializationException, always reported before
any validation), `InvalidValue` where it validates. Source: AWS developer guide, data types, item sizes and limits.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.errors import InvalidInput
from gramme.tables import numbers
from gramme.tables.requests import AttributeValue, Item

MAX_LEVELS: Final = 32  # an attribute's own value is the first
CONTAINER_BYTES: Final = 3  # overhead of a list or map
ELEMENT_BYTES: Final = 1  # overhead of each element in it
TYPES: Final = ("S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS")

EMPTY_VALUE: Final = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
TWO_TYPES: Final = (
    "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"
)
TOO_DEEP: Final = (
    "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"
)
_INVALID: Final = "One or more parameter values were invalid: "


class WrongJsonType(InvalidInput):
    """The JSON does not have the type the member wants: a SerializationException with the service's text."""


class InvalidValue(InvalidInput):
    """A well-typed attribute value breaks a rule: a ValidationException with the service's text."""


class NormalisedItem(dict[str, Any]):
    """Attributes that have been normalised already, and their size: `normalise_item` gives them back as they are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


def normalise_item(item: object) -> tuple[Item, int]:
    """Check and normalise a map of attributes in place; returns it with its DynamoDB item size in bytes.

    Raises WrongJsonType, InvalidValue; WrongJsonType is reported even if an earlier attribute is only invalid.
    """
    if type(item) is NormalisedItem:
        return item, item.size
    attributes = _expect_map(item)
    try:
        return attributes, _members(attributes, 0, 0)
    except InvalidInput:
        check_json_types(attributes)
        raise


def normalise_value(value: object) -> tuple[AttributeValue, int]:
    """Check and normalise one attribute value in place; returns it with its size. Raises as `normalise_item`."""
    return _value(value, 0)


def utf8_size(text: str) -> int:
    """Bytes of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def item_size(item: Item) -> int:
    """DynamoDB size in bytes of normalised attributes: names and values (developer guide, "DynamoDB item sizes")."""
    total = 0
    for name, value in item.items():
        total += utf8_size(name) + value_size(value)
    return total


def value_size(value: AttributeValue) -> int:
    """Size in bytes of one normalised value, without its name."""
    for kind, content in value.items():
        if kind == "S":
            return utf8_size(content)
        return _MEASURES[kind](content)
    raise InvalidValue(EMPTY_VALUE)


def check_json_types(item: object) -> None:
    """Walk a map of attributes for wrong JSON types alone, ignoring every other rule. Raises WrongJsonType."""
    _check_members(item, 0)


# --- the pass ------------------------------------------------------------------------------------------------------


def _members(attributes: dict[str, Any], depth: int, overhead: int) -> int:
    """Normalise the values of a map in place; returns the size of names and values plus `overhead` for each."""
    if "" in attributes:
        raise InvalidValue("Empty attribute name")
    total = overhead * len(attributes)
    for name, value in attributes.items():
        total += len(name) if name.isascii() else utf8_size(name)
        if type(value) is dict and len(value) == 1:
            text = value.get("S")
            if type(text) is str:
                total += len(text) if text.isascii() else utf8_size(text)
                continue
        checked, size = _value(value, depth)
        if checked is not value:
            attributes[name] = checked  # replacing a present key does not disturb the iteration
        total += size
    return total


def _value(value: object, depth: int) -> tuple[AttributeValue, int]:
    if type(value) is not dict:
        if value is None:
            raise InvalidValue(EMPTY_VALUE)
        raise WrongJsonType(_not_a_structure(value))
    single: AttributeValue = value
    if len(single) == 1:
        (kind,) = single
        content = single[kind]
        check = _CHECKS.get(kind)
        if check is not None and content is not None:
            return single, check(single, content, depth)
    single = _single(single)
    kind, content = next(iter(single.items()))
    return single, _CHECKS[kind](single, content, depth)


def _single(value: dict[str, Any]) -> dict[str, Any]:
    """The one known, non-null member of `value`: null means absent, and unknown members are not looked at."""
    present = {kind: content for kind, content in value.items() if content is not None and kind in _CHECKS}
    if not present:
        raise InvalidValue(EMPTY_VALUE)
    if len(present) > 1:
        # The service checks each member before it counts them.
        for kind, content in present.items():
            _CHECKS[kind]({kind: content}, content, 0)
        raise InvalidValue(TWO_TYPES)
    return present


def _string(_wire: AttributeValue, content: object, _depth: int) -> int:
    if type(content) is str and content.isascii():
        return len(content)
    return utf8_size(_expect_string(content))


def _number(wire: AttributeValue, content: object, _depth: int) -> int:
    given = _expect_string(content)
    text = _normal_number(given)
    if text is not given:
        wire["N"] = text
    return numbers.size_bytes(text)


def _normal_number(text: str) -> str:
    try:
        return numbers.normalise(text)
    except numbers.InvalidNumber as error:
        raise InvalidValue(str(error)) from None


def _binary(_wire: AttributeValue, content: object, _depth: int) -> int:
    return _binary_size(_expect_binary(content))


def _bool(_wire: AttributeValue, content: object, _depth: int) -> int:
    _expect_bool(content)
    return 1


def _null(_wire: AttributeValue, content: object, _depth: int) -> int:
    if not _expect_bool(content):
        raise InvalidValue(f"{_INVALID}Null attribute value types must have the value of true")
    return 1


def _list(_wire: AttributeValue, content: object, depth: int) -> int:
    elements = _expect_list(content)
    depth = _deeper(depth)
    total = CONTAINER_BYTES + ELEMENT_BYTES * len(elements)
    for index, element in enumerate(elements):
        elements[index], size = _value(element, depth)
        total += size
    return total


def _map(_wire: AttributeValue, content: object, depth: int) -> int:
    return CONTAINER_BYTES + _members(_expect_map(content), _deeper(depth), ELEMENT_BYTES)


def _deeper(depth: int) -> int:
    if depth + 1 >= MAX_LEVELS:
        raise InvalidValue(TOO_DEEP)
    return depth + 1


def _string_set(_wire: AttributeValue, content: object, _depth: int) -> int:
    members = _expect_strings(content)
    if not members:
        raise InvalidValue(f"{_INVALID}An string set  may not be empty")
    if None in members:
        raise InvalidValue(f"{_INVALID}An string set may not have a null string as a member")
    if len(set(members)) != len(members):
        raise InvalidValue(f"{_INVALID}Input collection [{', '.join(members)}] contains duplicates.")
    return sum(map(utf8_size, members))


def _number_set(wire: AttributeValue, content: object, _depth: int) -> int:
    members = _expect_strings(content)
    if not members:
        raise InvalidValue(f"{_INVALID}An number set  may not be empty")
    if None in members:
        raise InvalidValue(f"{_INVALID}An number set may not have a null string as a member")
    members = [_normal_number(member) for member in members]
    if len(set(members)) != len(members):
        raise InvalidValue("Input collection contains duplicates")
    wire["NS"] = members
    return sum(map(numbers.size_bytes, members))


def _binary_set(_wire: AttributeValue, content: object, _depth: int) -> int:
    members = _expect_list(content)
    if not members:
        raise InvalidValue(f"{_INVALID}Binary sets should not be empty")
    if None in members:
        raise InvalidValue(f"{_INVALID}Binary sets may not contain null values")
    size = sum(_binary_size(_expect_binary(member)) for member in members)
    if len(set(members)) != len(members):
        raise InvalidValue(f"{_INVALID}Input collection [{', '.join(members)}]of type BS contains duplicates.")
    return size


_CHECKS: Final[dict[str, Callable[[AttributeValue, object, int], int]]] = {
    "S": _string,
    "N": _number,
    "B": _binary,
    "BOOL": _bool,
    "NULL": _null,
    "L": _list,
    "M": _map,
    "SS": _string_set,
    "NS": _number_set,
    "BS": _binary_set,
}


# --- measuring what is already normal ------------------------------------------------------------------------------


def _binary_size(encoded: str) -> int:
    return len(encoded) // 4 * 3 - encoded.count("=", -2)


def _measure_list(content: list[AttributeValue]) -> int:
    return CONTAINER_BYTES + sum(ELEMENT_BYTES + value_size(element) for element in content)


def _measure_map(content: Item) -> int:
    return CONTAINER_BYTES + ELEMENT_BYTES * len(content) + item_size(content)


_MEASURES: Final[dict[str, Callable[[Any], int]]] = {
    "S": utf8_size,
    "N": numbers.size_bytes,
    "B": _binary_size,
    "BOOL": lambda _content: 1,
    "NULL": lambda _content: 1,
    "L": _measure_list,
    "M": _measure_map,
    "SS": lambda content: sum(map(utf8_size, content)),
    "NS": lambda content: sum(map(numbers.size_bytes, content)),
    "BS": lambda content: sum(map(_binary_size, content)),
}


# --- JSON types, with the texts of the service's decoder ------------------------------------------------------------


_VALUE_CLASS: Final = "com.amazonaws.dynamodb.v20120810.AttributeValue"


def _expect_map(value: object) -> dict[str, Any]:
    if type(value) is dict or type(value) is NormalisedItem:
        return value
    if type(value) is list:
        raise WrongJsonType(f"Unrecognized collection type java.util.Map<java.lang.String, {_VALUE_CLASS}>")
    raise WrongJsonType("Unexpected field type")


def _expect_list(value: object) -> list[Any]:
    if type(value) is list:
        return value
    if type(value) is dict:
        raise WrongJsonType("Start of structure or map found where not expected")
    raise WrongJsonType("Unexpected field type")


def _expect_strings(value: object) -> list[str]:
    members = _expect_list(value)
    for member in members:
        if member is not None:
            _expect_string(member)
    return members


def _expect_string(value: object) -> str:
    if type(value) is str:
        return value
    raise WrongJsonType(not_convertible(value, "String"))


def _expect_bool(value: object) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str:
        raise WrongJsonType("Unexpected token received from parser")
    raise WrongJsonType(not_convertible(value, "Boolean"))


def not_convertible(value: object, wanted: str) -> str:
    """What the service's decoder says of JSON of another type than `wanted`; of strings it says more."""
    if type(value) is list:
        return f"Unrecognized collection type class java.lang.{wanted}"
    if type(value) is dict:
        return "Start of structure or map found where not expected"
    if type(value) is bool:
        token = "TRUE_VALUE" if value else "FALSE_VALUE"
    elif value is None:
        token = "NULL_VALUE"
    else:
        token = "NUMBER_VALUE" if type(value) is int else "DECIMAL_VALUE"
    return f"{token} cannot be converted to {wanted}"


def _expect_binary(value: object) -> str:
    if type(value) is list:
        raise WrongJsonType("Unrecognized collection type class java.nio.ByteBuffer")
    if type(value) is dict:
        raise WrongJsonType("Start of structure or map found where not expected")
    if type(value) is not str:
        raise WrongJsonType("only base-64-encoded strings are convertible to bytes")
    if len(value) % 4:
        raise WrongJsonType(f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(value)}")
    try:
        raw = a2b_base64(value, strict_mode=True) if value else b""
    except (Base64Error, ValueError):
        raise WrongJsonType(_bad_base64(value)) from None
    if b2a_base64(raw, newline=False) != value.encode():  # bits left over in the last character
        raise WrongJsonType("Invalid last non-pad Base64 character dectected")
    return value


_BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _bad_base64(value: str) -> str:
    for character in value.rstrip("=") if value[-3:] != "===" else value:
        if character not in _BASE64:
            return f"Invalid Base64 character: '{character}'"
    return "Invalid last non-pad Base64 character dectected"


def _not_a_structure(value: object) -> str:
    if type(value) is list:
        return f"Unrecognized collection type class {_VALUE_CLASS}"
    return "Unexpected value type in payload"


def _check_shape(value: object, depth: int) -> None:
    if value is None or depth > _MAX_SHAPE_DEPTH:
        return
    if type(value) is not dict:
        raise WrongJsonType(_not_a_structure(value))
    for kind, content in value.items():
        if content is not None and kind in _SHAPES:
            _SHAPES[kind](content, depth + 1)


def _check_binaries(content: object, _depth: int) -> None:
    for member in _expect_list(content):
        if member is not None:
            _expect_binary(member)


def _check_list(content: object, depth: int) -> None:
    for element in _expect_list(content):
        _check_shape(element, depth)


def _check_members(content: object, depth: int) -> None:
    for value in _expect_map(content).values():
        if type(value) is not dict or len(value) != 1 or type(value.get("S")) is not str:
            _check_shape(value, depth)


_MAX_SHAPE_DEPTH: Final = 2 * MAX_LEVELS  # nothing so deep is taken anyway; bounds the recursion
_SHAPES: Final[dict[str, Callable[[object, int], object]]] = {
    "S": lambda content, _depth: _expect_string(content),
    "N": lambda content, _depth: _expect_string(content),
    "B": lambda content, _depth: _expect_binary(content),
    "BOOL": lambda content, _depth: _expect_bool(content),
    "NULL": lambda content, _depth: _expect_bool(content),
    "L": _check_list,
    "M": _check_members,
    "SS": lambda content, _depth: _expect_strings(content),
    "NS": lambda content, _depth: _expect_strings(content),
    "BS": _check_binaries,
}
