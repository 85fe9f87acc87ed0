"""Input shapes: JSON types and constraints of an operation's members as data, and the two passes that check them.

Owns the texts of wrong JSON types (SerializationException) and of constraint violations (`N validation errors
detected: …`). Rules: types before constraints; a bad table name is reported first and alone, all other constraint
errors together, in the order of the model's members; members that no model names are ignored, as the service does.
Sources: the DynamoDB service model (botocore), and the service's own texts as recorded by the public conformance suite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Final

from gramme.api.dynamodb.errors import serialization, validation
from gramme.tables.values import WrongJsonType, check_json_types, not_convertible

_MODEL: Final = "com.amazonaws.dynamodb.v20120810."
_ECHO_CHARS: Final = 4096  # of an offending value in a message
_TRUE: Final = ("TRUE", "1", "YES")
_FALSE: Final = ("FALSE", "0", "NO")


class Shape:
    """The JSON type of a member. Values of the Python type `exact` are taken as they are.

    No `ABC`: compiled, its subclasses share one cache of `isinstance`, which then answers wrongly.
    """

    exact: ClassVar[type | None] = None

    def check(self, value: Any) -> Any:
        """The value, converted where the service converts. Raises ApiError (SerializationException)."""
        raise NotImplementedError

    def show(self, value: Any) -> str:
        """The value as the service's messages print it."""
        return str(value)

    def constrain(self, value: Any, path: str, errors: list[str]) -> None:
        """Append what is wrong inside `value`: most have nothing inside."""


class StringShape(Shape):
    exact: ClassVar[type | None] = str

    def check(self, value: Any) -> Any:
        if type(value) is str:
            return value
        raise serialization(not_convertible(value, "String"))


class TableNameShape(StringShape):
    """The name or ARN of a table inside a structure; ARNs are judged where they are resolved."""

    def constrain(self, value: Any, path: str, errors: list[str]) -> None:
        if not (value.startswith("arn:") and len(value) <= 1024):
            errors += [
                f"Value '{echo(value)}' at '{path}' failed to satisfy constraint: {broken}"
                for broken in _name_faults(value, 1)
            ]


class BooleanShape(Shape):
    exact: ClassVar[type | None] = bool

    def check(self, value: Any) -> Any:
        if type(value) is bool:
            return value
        if type(value) is str:  # the service's decoder takes some words
            word = value.upper()
            if word in _TRUE or word in _FALSE:
                return word in _TRUE
            raise serialization("Unexpected token received from parser")
        raise serialization(not_convertible(value, "Boolean"))


@dataclass(frozen=True)
class IntegerShape(Shape):
    """A whole number; fractions are cut off and values clamped to `bits`, as the service's decoder does."""

    name: str = "Integer"
    bits: int = 32

    def check(self, value: Any) -> Any:
        if type(value) is int or type(value) is float:
            bound = 1 << (self.bits - 1)
            return int(max(-bound, min(bound - 1, value)))
        if type(value) is str:
            raise serialization(f"STRING_VALUE cannot be converted to {self.name}")
        raise serialization(not_convertible(value, self.name))


class TimestampShape(Shape):
    """A time in seconds since the epoch, with a fraction or without."""

    def check(self, value: Any) -> Any:
        if type(value) is int or type(value) is float:
            return value
        if type(value) is str:
            raise serialization("STRING_VALUE cannot be converted to Timestamp")
        raise serialization(not_convertible(value, "Timestamp"))


class AttributeMapShape(Shape):
    """A map of attribute values (Item, Key, ExpressionAttributeValues); `tables.values` knows what is inside."""

    exact: ClassVar[type | None] = dict

    def check(self, value: Any) -> Any:
        try:
            check_json_types(value)
        except WrongJsonType as error:
            raise serialization(str(error)) from None
        return value

    def show(self, value: Any) -> str:
        return "{" + ", ".join(f"{name}={_show_attribute(content)}" for name, content in value.items()) + "}"


@dataclass(frozen=True)
class ListShape(Shape):
    element: Shape

    def check(self, value: Any) -> Any:
        if type(value) is not list:
            wrong = "Start of structure or map found where not expected"
            raise serialization(wrong if type(value) is dict else "Unexpected field type")
        return [None if element is None else self.element.check(element) for element in value]

    def show(self, value: Any) -> str:
        shown: list[str] = []
        chars = 0
        for element in value:
            shown.append("null" if element is None else self.element.show(element))
            chars += len(shown[-1])
            if chars > _ECHO_CHARS:
                break  # no message prints more
        return f"[{', '.join(shown)}]"

    def constrain(self, value: Any, path: str, errors: list[str]) -> None:
        for index, element in enumerate(value):
            inner = f"{path}.{index + 1}.member"
            if element is None:
                errors.append(f"Value null at '{inner}' failed to satisfy constraint: Member must not be null")
            else:
                self.element.constrain(element, inner, errors)


@dataclass(frozen=True)
class MapShape(Shape):
    element: Shape
    java_name: str  # of the values' type

    def check(self, value: Any) -> Any:
        if type(value) is not dict:
            wrong = f"Unrecognized collection type java.util.Map<java.lang.String, {self.java_name}>"
            raise serialization(wrong if type(value) is list else "Unexpected field type")
        return {name: self.element.check(content) for name, content in value.items() if content is not None}

    def show(self, value: Any) -> str:
        return "{" + ", ".join(f"{name}={self.element.show(content)}" for name, content in value.items()) + "}"

    def constrain(self, value: Any, path: str, errors: list[str]) -> None:
        for name, content in value.items():
            self.element.constrain(content, f"{path}.{name}.member", errors)


@dataclass(frozen=True)
class Member:
    """One member of a structure with its constraints; `label` is its name in messages."""

    name: str
    shape: Shape
    required: bool = False
    enum: tuple[str, ...] = ()
    minimum: int | None = None  # value of a number, length of anything else
    maximum: int | None = None
    pattern: re.Pattern[str] | None = None
    label: str = ""
    shows_value: bool = True

    @property
    def judged(self) -> bool:
        """Whether a value of its type may violate something."""
        nested = isinstance(self.shape, ListShape | MapShape | StructureShape)
        return nested or bool(self.enum) or self.minimum is not None or self.maximum is not None

    def fits(self, value: Any) -> bool:
        """Whether a value that is there violates nothing."""
        errors: list[str] = []
        self.constrain(value, self.name, errors)
        return not errors

    def constrain(self, value: Any, path: str, errors: list[str]) -> None:
        """Append every violation of `value` (None: absent) at `path` to `errors`."""
        if value is None:
            if self.required:
                errors.append(f"Value null at '{path}' failed to satisfy constraint: Member must not be null")
            return
        broken = self._broken(value)
        if broken is not None:
            shown = f" '{echo(self.shape.show(value))}'" if self.shows_value else ""
            errors.append(f"Value{shown} at '{path}' failed to satisfy constraint: {broken}")
        else:
            self.shape.constrain(value, path, errors)

    def _broken(self, value: Any) -> str | None:
        if self.enum and value not in self.enum:
            return f"Member must satisfy enum value set: [{', '.join(self.enum)}]"
        number = type(value) is int
        measure = value if number else (len(value) if type(value) in (str, list, dict) else 0)
        what = "value" if number else "length"
        if self.minimum is not None and measure < self.minimum:
            return f"Member must have {what} greater than or equal to {self.minimum}"
        if self.maximum is not None and measure > self.maximum:
            return f"Member must have {what} less than or equal to {self.maximum}"
        if self.pattern is not None and not self.pattern.fullmatch(value):
            return f"Member must satisfy regular expression pattern: {self.pattern.pattern}"
        return None


@dataclass(frozen=True)
class StructureShape(Shape):
    """A nested structure. `java_name` is its class; `in_list` tells how a scalar in its place is reported."""

    java_name: str
    members: tuple[Member, ...]
    in_list: bool = False

    def check(self, value: Any) -> Any:
        if type(value) is list:
            raise serialization(f"Unrecognized collection type class {_MODEL}{self.java_name}")
        if type(value) is not dict:
            raise serialization("Unexpected value type in payload" if self.in_list else "Unexpected field type")
        return {
            member.name: member.shape.check(value[member.name])
            for member in self.members
            if value.get(member.name) is not None
        }

    def show(self, value: Any) -> str:
        members = [
            f"{lower_first(member.name)}={member.shape.show(value[member.name]) if member.name in value else 'null'}"
            for member in self.members
        ]
        return f"{self.java_name}({', '.join(members)})"

    def constrain(self, value: Any, path: str, errors: list[str]) -> None:
        for member in self.members:
            member.constrain(value.get(member.name), f"{path}.{lower_first(member.name)}", errors)


@dataclass(frozen=True)
class InputShape:
    """The input of one operation.

    `refused` names members of the service that this release does not support; `Call` refuses them by name, because
    dropping them silently would give a wrong answer.
    """

    operation: str
    members: tuple[Member, ...]
    table_name: TableNameRule | None = None
    refused: tuple[str, ...] = ()
    shapes: dict[str, Shape] = field(default_factory=dict)
    exact: dict[str, type | None] = field(default_factory=dict)
    constrained: list[tuple[Member, str]] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    judged: dict[str, Member] = field(default_factory=dict)
    plain: dict[str, type | None] = field(default_factory=dict)  # members that are right if they have this type
    attribute_maps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for member in self.members:
            if isinstance(member.shape, AttributeMapShape):
                self.attribute_maps.append(member.name)
            else:
                self.shapes[member.name] = member.shape
                self.exact[member.name] = member.shape.exact
            if member.required or member.judged:
                self.constrained.append((member, member.label or lower_first(member.name)))
            if member.required:
                self.required.append(member.name)
            if member.judged:
                self.judged[member.name] = member
            elif member.name not in self.refused:
                self.plain[member.name] = member.shape.exact

    def is_plain(self, body: dict[str, Any]) -> bool:
        """Whether there is nothing to check: all members are known and of types that need no judging, none is missing,
        none is refused. True of most requests; of the others this says nothing."""
        plain = self.plain
        for name, value in body.items():
            if name not in plain or type(value) is not plain[name]:
                return False
        for name in self.required:
            if name not in body:
                return False
        rule = self.table_name
        return rule is None or ("TableName" in body and _is_name(body["TableName"], rule.minimum))

    def check_types(self, body: dict[str, Any]) -> None:
        """The first pass: JSON types, converting in place. Raises ApiError.

        What is inside maps of attribute values is left to the caller, who normalises it: see `recheck`.
        """
        shapes, exact = self.shapes, self.exact
        for name, value in body.items():
            if name in shapes and type(value) is not exact[name] and value is not None:
                body[name] = shapes[name].check(value)  # replacing a present key does not disturb the iteration

    def check_constraints(self, body: dict[str, Any]) -> None:
        """The second pass: the table's name, then all other constraints together. Raises ApiError."""
        if self.table_name is not None:
            self.table_name.check(body.get("TableName"))
        if self._conforms(body):
            return
        errors: list[str] = []
        for member, label in self.constrained:
            member.constrain(body.get(member.name), label, errors)
        raise validation(
            f"{len(errors)} validation error{'s' if len(errors) > 1 else ''} detected: {'; '.join(errors)}"
        )

    def _conforms(self, body: dict[str, Any]) -> bool:
        """Whether no constraint is violated. Looks at the members that are there, and most of the model's are not."""
        for name in self.required:
            if body.get(name) is None:
                return False
        judged = self.judged
        for name in body:
            if name in judged and body[name] is not None and not judged[name].fits(body[name]):
                return False
        return True

    def recheck(self, body: dict[str, Any]) -> None:
        """Before any other error is reported: raise for a wrong JSON type inside a map of attribute values."""
        for name in self.attribute_maps:
            value = body.get(name)
            if value is not None:
                _ATTRIBUTES.check(value)


@dataclass(frozen=True)
class TableNameRule:
    """How an operation judges its TableName: item operations take 1 character on, table operations 3."""

    minimum: int
    missing: str

    def check(self, name: str | None) -> None:
        """Raises ApiError (ValidationException) for a missing or bad name. ARNs are judged where they are resolved."""
        if name is None:
            raise validation(self.missing)
        if _is_name(name, self.minimum):
            return
        if name.startswith("arn:") and len(name) <= 1024:
            return
        for broken in _name_faults(name, self.minimum):
            raise validation(
                f"1 validation error detected: Value '{name[:_ECHO_CHARS]}' at 'tableName' failed to satisfy "
                f"constraint: {broken}"
            )


@lru_cache(1024)
def _is_name(name: str, minimum: int) -> bool:
    return minimum <= len(name) <= 255 and TABLE_NAME.fullmatch(name) is not None


def _name_faults(name: str, minimum: int) -> Iterator[str]:
    if len(name) < minimum:
        yield f"Member must have length greater than or equal to {minimum}"
    if len(name) > 255:
        yield "Member must have length less than or equal to 255"
    if not TABLE_NAME.fullmatch(name):
        yield f"Member must satisfy regular expression pattern: {TABLE_NAME.pattern}"


TABLE_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]+")
ITEM_TABLE_NAME: Final = TableNameRule(
    1, "1 validation error detected: Value null at 'tableName' failed to satisfy constraint: Member must not be null"
)
TABLE_TABLE_NAME: Final = TableNameRule(3, "The parameter 'TableName' is required but was not present in the request")

_ATTRIBUTES: Final = AttributeMapShape()


def echo(shown: str) -> str:
    """A value as a message prints it: a long one is cut, a list or map is closed again."""
    if len(shown) <= _ECHO_CHARS:
        return shown
    return shown[:_ECHO_CHARS] + (f"...{shown[-1]}" if shown[-1] in "]}" else "")


def lower_first(name: str) -> str:
    """A member's name as messages print it."""
    return name[:1].lower() + name[1:]


def _show_attribute(value: Any) -> str:
    if type(value) is dict:
        return "AttributeValue(" + ", ".join(f"{kind.lower()}={content}" for kind, content in value.items()) + ")"
    return str(value)
