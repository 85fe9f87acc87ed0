"""TransactGetItems: up to 100 items of any tables, all as of one moment. Source: API reference, TransactGetItems.

Rule: an item that does not exist, or of which a projection leaves nothing, is an empty entry in its place.
"""

from __future__ import annotations

from typing import Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.expressions import Rules, prepare
from gramme.api.dynamodb.large import PARSING_COST, Budget
from gramme.api.dynamodb.transactions import ReadPart, answer_reads
from gramme.tables.expression.projection import Projection
from gramme.tables.requests import Found, Item
from gramme.tables.rows import project_row
from gramme.tables.schema import request_key
from gramme.tables.values import normalise_item

_RULES: Final = Rules(("ProjectionExpression",), ())


def start(call: Call) -> None:
    """Begin TransactGetItems."""
    call.run(_run(call))


async def _run(call: Call) -> None:
    budget = Budget(call.env)
    parts: list[ReadPart] = []
    projections: list[Projection | None] = []
    for element in call.body["TransactItems"]:
        body = element["Get"]
        prepared = prepare(body, _RULES)
        projections.append(None if prepared is None else prepared.parsed.projection)
        parts.append(_part(body["TableName"], normalise_item(body["Key"])[0]))
        await budget.spend(PARSING_COST * len(body.get("ProjectionExpression") or ""))
    await answer_reads(call, parts, lambda at, item: _entry(item, projections[at]), budget)


def _part(name: str, key: Item) -> ReadPart:
    return ReadPart(name, lambda table: request_key(table.key, key))


def _entry(found: Found, projection: Projection | None) -> bytes:
    shown = found.item
    if shown is not None and projection is not None:
        shown = project_row(shown, projection)
    return b"{}" if shown is None or shown == b"{}" else b'{"Item":' + shown + b"}"
