"""The expression members of a request; what stands for them in old requests is worked in by `legacy`.

Owns the bridge from a request's members to `gramme.tables.expression.request`, which parses and checks them. Rule: a
partition gets an expression only after it has passed here, so that a request is refused whole before anything is sent.
Source: AWS developer guide, "Expressions" and "Legacy conditional parameters".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from gramme.api.dynamodb.errors import validation
from gramme.tables.expression.nodes import Path, Values
from gramme.tables.expression.request import NO_VALUES, Expressions
from gramme.tables.expression.request import prepare as parse
from gramme.tables.requests import AttributeValue, Condition
from gramme.tables.values import check_json_types

_ARGUMENTS: Final = {
    "UpdateExpression": "update",
    "ConditionExpression": "condition",
    "KeyConditionExpression": "key_condition",
    "FilterExpression": "filter",
    "ProjectionExpression": "projection",
}


class Rules:
    """Which members of an operation hold expressions, in the order of messages, and which legacy members clash."""

    __slots__ = ("arguments", "clashing", "involved", "legacy", "with_values")

    def __init__(self, expressions: tuple[str, ...], legacy: tuple[str, ...]) -> None:
        self.arguments = tuple((member, _ARGUMENTS[member]) for member in expressions)
        self.legacy = legacy
        self.clashing = frozenset(legacy)
        self.with_values = tuple(member for member in expressions if member != "ProjectionExpression")
        self.involved = frozenset((*expressions, *legacy, "ExpressionAttributeNames", "ExpressionAttributeValues"))


class Prepared:
    """The expressions of one request: parsed and checked, with their names and normalised values."""

    __slots__ = ("condition_text", "filter_member", "names", "parsed", "update_text", "values")

    def __init__(
        self,
        parsed: Expressions,
        condition_text: str | None,
        names: dict[str, str] | None,
        values: dict[str, AttributeValue] | None,
    ) -> None:
        self.parsed = parsed
        self.condition_text = condition_text
        self.update_text: str | None = None
        self.filter_member = "Filter Expression"
        self.names = names
        self.values: Values = NO_VALUES if values is None else values

    def condition(self) -> Condition:
        """What the partition needs of a write's expressions: the condition's text, and all names and values."""
        return Condition(self.condition_text, self.names, dict(self.values) if self.values else None)


def prepare(body: Mapping[str, Any], rules: Rules) -> Prepared | None:
    """Check and parse the expressions of a request; None if it has none, nor anything that belongs to them.

    Values are normalised in place. Raises ApiError, InvalidExpression or WrongJsonType.
    """
    if rules.involved.isdisjoint(body):
        return None
    texts: dict[str, str] = {}
    arguments: dict[str, str] = {}
    for member, argument in rules.arguments:
        text = body.get(member)
        if text is not None:
            texts[member] = arguments[argument] = text
    if texts and not rules.clashing.isdisjoint(body):
        _refuse_legacy(body, rules, texts)
    names, values = body.get("ExpressionAttributeNames"), body.get("ExpressionAttributeValues")
    if values is not None and type(values) is not dict:
        check_json_types(values)
    parsed = parse(names=names, values=values, value_members=rules.with_values, **arguments)
    if not texts:
        return None
    prepared = Prepared(parsed, texts.get("ConditionExpression"), names, values)
    prepared.update_text = texts.get("UpdateExpression")
    return prepared


def _refuse_legacy(body: Mapping[str, Any], rules: Rules, texts: Mapping[str, str]) -> None:
    legacy = [member for member in rules.legacy if body.get(member) is not None]
    if "KeyConditions" in legacy and "KeyConditionExpression" not in texts:
        legacy.remove("KeyConditions")  # beside the other expressions they may stand
    if legacy:
        raise validation(
            "Can not use both expression and non-expression parameters in the same request: "
            f"Non-expression parameters: {{{', '.join(legacy)}}} Expression parameters: {{{', '.join(texts)}}}"
        )


def check_filter(prepared: Prepared, key_names: tuple[str, ...]) -> None:
    """A Query's filter must not look at the key, whose conditions belong into the key condition. Raises ApiError."""
    if prepared.parsed.filter is None:
        return
    for name in top_level_names(prepared.parsed.filter.root):
        if name in key_names:
            raise validation(
                f"{prepared.filter_member} can only contain non-primary key attributes: Primary key attribute: {name}"
            )


def top_level_names(node: Any) -> list[str]:
    """The attributes that the paths of a condition begin with, in the order of the text."""
    if isinstance(node, Path):
        return [str(node.steps[0])]
    if isinstance(node, tuple):
        return [name for element in node for name in top_level_names(element)]
    if not is_dataclass(node):
        return []
    return [name for field in fields(node) for name in top_level_names(getattr(node, field.name))]
