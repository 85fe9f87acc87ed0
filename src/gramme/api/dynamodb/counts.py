"""How many items a table and its indexes hold, and how large they are, for DescribeTable.

Every partition keeps its own totals (`gramme.node.totals`); whoever describes the table asks them all and adds up.
Rule: a description never fails because a partition cannot answer now; then the last sums that this node saw are told,
which is fresher than what the service promises (about every six hours).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from gramme.api.dynamodb.call import Call
from gramme.api.tasks import Gather
from gramme.kernel.time import MILLISECOND, Instant
from gramme.tables.descriptor import Index, TableDescriptor
from gramme.tables.requests import Counted, CountRows, Reply

_PATIENCE_NS: Final = 500 * MILLISECOND
_REMEMBERED: Final = 10_000  # tables

_COUNT: Final = CountRows()


class Counts(NamedTuple):
    """Rows and bytes of a table, and of its indexes by name."""

    table: tuple[int, int]
    indexes: dict[str, tuple[int, int]]


NO_COUNTS: Final = Counts((0, 0), {})


async def count(call: Call, table: TableDescriptor) -> Counts:
    """Ask the partitions of `table` and of its global indexes."""
    if table.status not in ("ACTIVE", "UPDATING"):
        return NO_COUNTS
    fed = [index for index in table.indexes if index.kind == "GLOBAL" and index.status in ("ACTIVE", "UPDATING")]
    sources = [table, *(replace(table, partitions=index.partitions) for index in fed)]
    known = call.env.counts
    replies = await _ask(call, sources)
    if any(not isinstance(reply, Counted) for reply in replies):
        return known.get(table.table_id, NO_COUNTS)
    counts = _sum(table, fed, [reply for reply in replies if isinstance(reply, Counted)])
    if table.table_id not in known and len(known) >= _REMEMBERED:
        known.clear()
    known[table.table_id] = counts
    return counts


async def _ask(call: Call, sources: list[TableDescriptor]) -> list[Reply]:
    deadline = min(call.deadline, Instant(call.env.clock.instant() + _PATIENCE_NS))
    places = [(source, partition) for source in sources for partition in source.partitions]
    replies: Gather[Reply] = Gather(len(places))
    for slot, (source, partition) in enumerate(places):
        call.env.backend.submit(source, partition.start, _COUNT, None, deadline, replies.slot(slot))
    return await replies


def _sum(table: TableDescriptor, fed: list[Index], replies: list[Counted]) -> Counts:
    own = replies[: len(table.partitions)]
    at = len(own)
    indexes = {index.name: _total(own, index.number) for index in table.indexes if index.kind == "LOCAL"}
    for index in fed:
        indexes[index.name] = _total(replies[at : at + len(index.partitions)], 0)
        at += len(index.partitions)
    return Counts(_total(own, 0), indexes)


def _total(replies: list[Counted], wanted: int) -> tuple[int, int]:
    rows = size = 0
    for reply in replies:
        for number, more, larger in reply.totals:
            if number == wanted:
                rows, size = rows + more, size + larger
    return rows, size
