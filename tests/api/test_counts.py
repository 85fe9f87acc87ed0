"""Item counts in DescribeTable: added up over partitions, and the last known ones while a partition cannot answer."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.api.caller import Caller, event

from gramme.tables.descriptor import Index
from gramme.tables.requests import Counted, Failed, FailureKind


def _table(caller: Caller) -> dict[str, Any]:
    described: dict[str, Any] = caller.call("DescribeTable", {"TableName": "events"})["Table"]
    return described


def _counts(described: dict[str, Any]) -> tuple[int, int]:
    return described["ItemCount"], described["TableSizeBytes"]


def _ready() -> Caller:
    caller = Caller(partitions=4)
    caller.create_tables()
    return caller


def test_partitions_are_added_up() -> None:
    caller = _ready()
    assert _counts(_table(caller)) == (0, 0)
    for sk in range(9):
        caller.call("PutItem", {"TableName": "events", "Item": event(f"p{sk}", sk, d={"S": "xyz"})})
    # pk + 2, sk + 2 (and 1 for 0, which has no digits), d + 3
    assert _counts(_table(caller)) == (9, 9 * (4 + 4 + 4) - 1)


def test_indexes_have_counts_of_their_own() -> None:
    caller = _ready()
    table = caller.backend.tables["events"]
    common: dict[str, Any] = {"hash": (("pk", "S"),), "range": (("by", "S"),), "projection": "ALL"}
    indexes = (
        Index(name="local", kind="LOCAL", number=1, **common),
        Index(name="global", kind="GLOBAL", number=2, partitions=table.partitions[:2], **common),
        Index(name="young", kind="GLOBAL", number=3, partitions=table.partitions[:1], status="CREATING", **common),
    )
    caller.backend.tables["events"] = msgspec.structs.replace(table, indexes=indexes)
    own = [Counted(((0, 10, 1000), (1, 3, 30))) for _ in table.partitions]
    caller.backend.replies = [*own, Counted(((0, 5, 50),)), Counted(())]
    described = _table(caller)
    assert _counts(described) == (40, 4000)
    found = {
        index["IndexName"]: (index["ItemCount"], index["IndexSizeBytes"])
        for index in described["LocalSecondaryIndexes"] + described["GlobalSecondaryIndexes"]
    }
    assert found == {"local": (12, 120), "global": (5, 50), "young": (0, 0)}


def test_a_partition_that_cannot_answer_does_not_fail_the_description() -> None:
    caller = _ready()
    silent = Failed(FailureKind.NO_QUORUM)
    caller.backend.replies = [silent]
    assert _counts(_table(caller)) == (0, 0)
    caller.backend.replies = [Counted(((0, 1, 7),)) for _ in range(4)]
    assert _counts(_table(caller)) == (4, 28)
    caller.backend.replies = [Counted(((0, 9, 9),)), silent, Counted(()), Counted(())]
    assert _counts(_table(caller)) == (4, 28)
