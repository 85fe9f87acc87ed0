"""The tables of a batch: from the router's cache, or from the catalog for those that it lacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gramme.api.dynamodb.call import Call, TableGone
from gramme.api.dynamodb.errors import ApiError, table_not_found, unreachable
from gramme.api.dynamodb.shapes import ITEM_TABLE_NAME
from gramme.api.tasks import Gather
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import Failed

_READY: Final = ("ACTIVE", "UPDATING")

_Result = TypeVar("_Result")


async def with_fresh_tables(
    call: Call, names: list[str], act: Callable[[Call, dict[str, TableDescriptor]], Awaitable[_Result]]
) -> _Result:
    """What `act` makes of the descriptors of `names` (names or ARNs, as the client wrote them).

    If `act` finds one of them gone, the catalog is asked for all of them, and `act` runs once more. Raises ApiError; it
    is no ResourceNotFoundException if the catalog says that they all exist.
    """
    try:
        return await act(call, await _find(call, names, fresh=False))
    except TableGone:
        try:
            return await act(call, await _find(call, names, fresh=True))
        except TableGone:
            raise unreachable() from None


async def find_each(call: Call, names: list[str], fresh: bool) -> dict[str, TableDescriptor | ApiError]:
    """Each of `names` with its descriptor, or with what is wrong with it. `fresh`: as the catalog knows it now.

    Raises ApiError for what is no name of a table.
    """
    backend = call.env.backend
    plain: dict[str, str] = {}
    for name in names:
        ITEM_TABLE_NAME.check(name)
        plain[name] = call.env.settings.table_name(name)
    call.table_name = ", ".join(plain.values())
    known = {name: None if fresh else backend.table(plain[name]) for name in names}
    missing = [name for name, table in known.items() if table is None or table.status not in _READY]
    answers: Gather[TableDescriptor | Failed] = Gather(len(missing))
    for index, name in enumerate(missing):
        backend.lookup(plain[name], call.deadline, answers.slot(index))
    found: dict[str, TableDescriptor | ApiError] = {name: table for name, table in known.items() if table is not None}
    for name, answer in zip(missing, await answers, strict=True):
        if isinstance(answer, Failed):
            found[name] = call.failure(answer)
        else:
            found[name] = answer if answer.status in _READY else table_not_found()
    return found


async def _find(call: Call, names: list[str], fresh: bool) -> dict[str, TableDescriptor]:
    tables: dict[str, TableDescriptor] = {}
    for name, found in (await find_each(call, names, fresh)).items():
        if isinstance(found, ApiError):
            raise found
        tables[name] = found
    return tables
