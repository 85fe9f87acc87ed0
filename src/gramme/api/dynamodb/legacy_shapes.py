"""Shapes of the parameters from before expressions, for `models`: types and constraints as the service checks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from gramme.api.dynamodb.errors import serialization, validation
from gramme.api.dynamodb.shapes import BooleanShape, ListShape, MapShape, Member, Shape, StringShape, StructureShape
from gramme.tables.legacy import OPERATORS
from gramme.tables.values import WrongJsonType, check_json_types

_MODEL: Final = "com.amazonaws.dynamodb.v20120810."
_STRING: Final = StringShape()


class AttributeValueShape(Shape):
    """One attribute value; `tables.values` knows what is inside."""

    def check(self, value: Any) -> Any:
        try:
            check_json_types({"": value})
        except WrongJsonType as error:
            raise serialization(str(error)) from None
        return value


@dataclass(frozen=True)
class EntryMapShape(MapShape):
    """A map of structures none of which may be null: a condition dropped in silence would be taken for fulfilled."""

    null_text: str = ""

    def check(self, value: Any) -> Any:
        if type(value) is dict:
            for name, entry in value.items():
                if entry is None:
                    raise validation(self.null_text.format(name=name))
        return super().check(value)


_VALUE: Final = Member("Value", AttributeValueShape())
_VALUES: Final = Member("AttributeValueList", ListShape(AttributeValueShape()))

_CONDITIONS: Final = EntryMapShape(
    StructureShape("Condition", (_VALUES, Member("ComparisonOperator", _STRING, required=True, enum=OPERATORS))),
    _MODEL + "Condition",
    "The filter condition for an attribute cannot be null: {name}",
)

EXPECTED: Final = Member(
    "Expected",
    EntryMapShape(
        StructureShape(
            "ExpectedAttributeValue",
            (
                _VALUES,
                Member("ComparisonOperator", _STRING, enum=OPERATORS),
                Member("Exists", BooleanShape()),
                _VALUE,
            ),
        ),
        _MODEL + "ExpectedAttributeValue",
        "One or more parameter values were invalid: ExpectedAttributeValue must not be null for Attribute: {name}",
    ),
)
ATTRIBUTE_UPDATES: Final = Member(
    "AttributeUpdates",
    EntryMapShape(
        StructureShape("AttributeValueUpdate", (Member("Action", _STRING, enum=("ADD", "DELETE", "PUT")), _VALUE)),
        _MODEL + "AttributeValueUpdate",
        "One or more parameter values were invalid: AttributeValueUpdate must not be null for Attribute: {name}",
    ),
)
KEY_CONDITIONS: Final = Member("KeyConditions", _CONDITIONS)
QUERY_FILTER: Final = Member("QueryFilter", _CONDITIONS)
SCAN_FILTER: Final = Member("ScanFilter", _CONDITIONS)
