"""Requests with parameters from before expressions: read, checked and turned into what expressions become.

Owns which of these members an operation takes and in which order their faults are reported; what they mean is in
`gramme.tables.legacy`. Each function takes what `expressions.prepare` made of the request and gives the same, with the
legacy members worked in; a request that has none costs one look at its members.
Sources: API reference, "Legacy conditional parameters"; order of faults as in the service's recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Prepared
from gramme.tables import legacy
from gramme.tables.descriptor import MAX_INDEX_KEYS
from gramme.tables.expression.key_condition import KeyTerm
from gramme.tables.expression.request import (
    GENERATED,
    Expressions,
    parsed_condition,
    parsed_projection,
    parsed_update,
)


def with_projection(body: Mapping[str, Any], prepared: Prepared | None) -> Prepared | None:
    """Work AttributesToGet in. Raises InvalidParameter."""
    names = body.get("AttributesToGet")
    if names is None:
        return prepared
    legacy.check_attributes_to_get(names)
    placeholders = legacy.Placeholders()
    text = legacy.projection_text(names, placeholders)
    projection = parsed_projection(text, placeholders.names, "AttributesToGet")
    prepared = prepared or _nothing()
    prepared.parsed.projection = projection
    return prepared


def with_updates(body: Mapping[str, Any], prepared: Prepared | None) -> Prepared | None:
    """Work AttributeUpdates, Expected and ConditionalOperator in. Raises InvalidParameter, InvalidValue."""
    edits = body.get("AttributeUpdates")
    if edits is None:
        return with_expected(body, prepared)
    updates = legacy.read_updates(edits)
    placeholders = legacy.Placeholders()
    prepared = with_expected(body, prepared, placeholders) or _nothing(placeholders)
    if updates:
        text = legacy.update_text(updates, placeholders)
        update = parsed_update(text, placeholders.names, placeholders.values, "AttributeUpdates")
        prepared.parsed.update = update
        prepared.update_text = GENERATED + text
    return prepared


def with_expected(
    body: Mapping[str, Any], prepared: Prepared | None, placeholders: legacy.Placeholders | None = None
) -> Prepared | None:
    """Work Expected and ConditionalOperator in. Raises InvalidParameter, InvalidValue."""
    expected, operator = body.get("Expected"), body.get("ConditionalOperator")
    if expected is None and operator is None:
        return prepared
    comparisons = legacy.read_expected(expected or {})
    legacy.check_operator(operator, len(comparisons))
    if not comparisons:
        return prepared
    placeholders = placeholders or legacy.Placeholders()
    text = legacy.condition_text(comparisons, operator, placeholders)
    made = _nothing(placeholders)
    made.parsed = Expressions(condition=parsed_condition(text, placeholders.names, placeholders.values, "Expected"))
    made.condition_text = GENERATED + text
    return made


def with_filter(body: Mapping[str, Any], prepared: Prepared | None, member: str) -> Prepared | None:
    """Work `member` (QueryFilter or ScanFilter) and ConditionalOperator in. Raises InvalidParameter, InvalidValue."""
    conditions, operator = body.get(member), body.get("ConditionalOperator")
    if conditions is None and operator is None:
        return prepared
    comparisons = legacy.read_conditions(conditions or {})
    legacy.check_operator(operator, len(comparisons))
    if not comparisons:
        return prepared
    placeholders = legacy.Placeholders()
    text = legacy.condition_text(comparisons, operator, placeholders)
    condition = parsed_condition(text, placeholders.names, placeholders.values, member)
    prepared = prepared or _nothing()
    prepared.parsed.filter = condition
    prepared.values = {**prepared.values, **placeholders.values}
    prepared.filter_member = member
    return prepared


def key_terms(body: Mapping[str, Any], prepared: Prepared | None) -> tuple[Prepared, Mapping[str, KeyTerm]]:
    """The key condition of a Query from either member that may hold it; operands are among the values of what is given.

    Raises ApiError, InvalidExpression, InvalidParameter.
    """
    conditions = body.get("KeyConditions")
    if conditions is None:
        if prepared is None or prepared.parsed.key_condition is None:
            raise validation(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request."
            )
        limit = 2 if body.get("IndexName") is None else MAX_INDEX_KEYS
        return prepared, prepared.parsed.key_condition.terms(limit)
    comparisons = legacy.read_conditions(conditions)
    prepared = prepared or _nothing()
    values = dict(prepared.values)
    terms = legacy.key_terms(comparisons, values)
    prepared.values = values
    return prepared, terms


def _nothing(placeholders: legacy.Placeholders | None = None) -> Prepared:
    """A request without expressions; it shares names and values with `placeholders`, which may still grow."""
    if placeholders is None:
        return Prepared(Expressions(), None, None, None)
    return Prepared(Expressions(), None, placeholders.names, placeholders.values)
