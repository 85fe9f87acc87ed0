"""ExecuteTransaction: up to 100 PartiQL statements, all of them or none. Source: API reference, ExecuteTransaction;
developer guide, "Performing transactions with PartiQL for DynamoDB".

Rules: statements either all read or all write, EXISTS is a write that changes nothing; each becomes the part of a
native transaction (`transactions`). What is wrong with a statement alone fails the call and names its place; what does
not fit a table cancels the transaction, as it does natively.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from gramme.api.dynamodb.call import Call
from gramme.api.dynamodb.errors import DUPLICATE, validation
from gramme.api.dynamodb.large import PARSING_COST, Budget, free
from gramme.api.dynamodb.statements import Bound, parameters_of
from gramme.api.dynamodb.transactions import (
    CONDITION_FAILED,
    ReadPart,
    WritePart,
    answer_reads,
    token_of,
    write,
)
from gramme.api.dynamodb.writes import returns_on_failure
from gramme.kernel.errors import InvalidInput
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.partiql.errors import InvalidStatement, NoStatement
from gramme.tables.partiql.nodes import Delete, Exists, Insert, Select, Update
from gramme.tables.partiql.parser import parse_statement
from gramme.tables.partiql.requests import (
    bind,
    condition_check,
    judge,
    labelled,
    projection_of,
    single_item,
    write_request,
)
from gramme.tables.requests import Found, ReturnValues
from gramme.tables.rows import project_row
from gramme.tables.transactions import Action
from gramme.tables.values import utf8_size, value_size

_DUPLICATE: Final = ("DuplicateItem", DUPLICATE)
_NO_EXISTENCE: Final = "EXISTS() must contain a single item read with additional condition"
_NO_READ: Final = "Select statements within ExecuteTransaction must specify the primary key in the where clause."


def start(call: Call) -> None:
    """Begin ExecuteTransaction."""
    call.run(_run(call))


async def _run(call: Call) -> None:
    elements = call.body["TransactStatements"]
    budget = Budget(call.env)
    statements: list[Bound] = []
    for at, element in enumerate(elements):
        statements.append(_bound(at, element))
        await budget.spend(PARSING_COST * len(element["Statement"]))
    reads = sum(bound.statement.is_read for bound in statements)
    if reads and reads < len(statements):
        raise validation("ExecuteTransaction API does not support both read and write operations in the same request.")
    for at, bound in enumerate(statements):
        _check(at, bound)
    await (_read if reads else _write)(call, statements, budget)
    statements.clear()
    await free(elements, budget)


def _bound(at: int, element: dict[str, Any]) -> Bound:
    parameters = parameters_of(element)
    with _naming(at):
        statement = parse_statement(element["Statement"])
        return Bound(statement, bind(statement, parameters))


def _check(at: int, bound: Bound) -> None:
    body = bound.statement.body
    with _naming(at):
        if isinstance(body, Update | Delete) and body.returning is not ReturnValues.NONE:
            raise InvalidStatement("RETURNING clause is not supported in ExecuteTransaction.")
        if isinstance(body, Select) and body.index is not None:
            raise InvalidStatement("Reads on indices are not supported within transactions.")
        if isinstance(body, Exists) and body.select.index is not None:
            raise InvalidStatement("Operations on indices are not supported in transactions")
        judge(body, bound.values)


@contextmanager
def _naming(at: int) -> Iterator[None]:
    """Tells the place of a statement with its fault, unless it is no statement at all."""
    try:
        yield
    except NoStatement:
        raise
    except InvalidInput as error:
        raise validation(_at(at, str(error))) from None


def _at(at: int, message: str) -> str:
    return f"Validation failed in TransactStatements[{at}]: {message}"


# --- writes


async def _write(call: Call, statements: list[Bound], budget: Budget) -> None:
    elements = call.body["TransactStatements"]
    parts = [
        _write_part(at, bound, element) for at, (bound, element) in enumerate(zip(statements, elements, strict=True))
    ]
    token = await token_of(call, call.body.get("ClientRequestToken"), elements, budget)
    committed = await write(call, parts, token, budget)
    call.answer([b'{"Responses":[]', committed.capacity(call.body.get("ReturnConsumedCapacity")), b"}"])


def _write_part(at: int, bound: Bound, element: dict[str, Any]) -> WritePart:
    body, values = bound.statement.body, bound.values
    shows_item = returns_on_failure(element)

    def build(table: TableDescriptor) -> Action:
        if not isinstance(body, Exists):
            assert not isinstance(body, Select)
            return write_request(body, values, table.key, shows_item)
        check = condition_check(body, values, table.key, shows_item)
        if check is None:
            raise validation(_at(at, _NO_EXISTENCE))
        return check

    size = utf8_size(element["Statement"]) + sum(map(value_size, element.get("Parameters") or ()))
    return WritePart(body.table, {}, size, build, _DUPLICATE if isinstance(body, Insert) else CONDITION_FAILED)


# --- reads


async def _read(call: Call, statements: list[Bound], budget: Budget) -> None:
    parts = [_read_part(at, bound) for at, bound in enumerate(statements)]
    await answer_reads(call, parts, lambda at, item: _entry(statements[at], item), budget)


def _read_part(at: int, bound: Bound) -> ReadPart:
    body = bound.statement.body
    assert isinstance(body, Select)

    def build(table: TableDescriptor) -> bytes:
        key = single_item(body, bound.values, table.key)
        if key is None:
            raise validation(_at(at, _NO_READ))
        return key

    return ReadPart(body.table, build)


def _entry(bound: Bound, found: Found) -> bytes:
    body = bound.statement.body
    assert isinstance(body, Select)
    shown = found.item
    projection = labelled(body, projection_of(body))
    if shown is not None and projection is not None:
        shown = project_row(shown, projection)
    return b"{}" if shown is None else b'{"Item":' + shown + b"}"
