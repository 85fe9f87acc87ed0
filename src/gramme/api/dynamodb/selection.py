"""What Query and Scan return of each row: Select, index, filter and projection."""

from __future__ import annotations

from typing import Any

from gramme.api.dynamodb.errors import validation
from gramme.api.dynamodb.expressions import Prepared
from gramme.api.dynamodb.indexes import Source
from gramme.api.dynamodb.pages import RowReader
from gramme.tables.expression.request import NO_VALUES


def check_select(body: dict[str, Any]) -> None:
    """Refuse a Select that contradicts the other members. Raises ApiError."""
    select = body.get("Select")
    if select is None:
        return
    member = "AttributesToGet" if body.get("AttributesToGet") is not None else "ProjectionExpression"
    projected = body.get(member) is not None
    if select == "ALL_PROJECTED_ATTRIBUTES" and body.get("IndexName") is None:
        raise validation("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
    if select == "SPECIFIC_ATTRIBUTES" and not projected:
        raise validation(
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"
        )
    if projected and select in ("ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES", "COUNT"):
        what = "only the Count" if select == "COUNT" else select
        raise validation(f"Cannot specify the {member} when choosing to get {what}")


def reader(body: dict[str, Any], prepared: Prepared | None, source: Source) -> RowReader:
    """A page reader as the request wants it."""
    return RowReader(
        source,
        limit=body.get("Limit"),
        reverse=body.get("ScanIndexForward") is False,
        consistent=bool(body.get("ConsistentRead")),
        filter=None if prepared is None else prepared.parsed.filter,
        projection=None if prepared is None else prepared.parsed.projection,
        values=NO_VALUES if prepared is None else prepared.values,
        counts_only=body.get("Select") == "COUNT",
    )
