"""Names of the rows of space STATE: what a partition's replicas keep of the partition itself.

Written by mutations like any other row, so that they are a function of the partition's log and travel with snapshots.
`gramme.node.totals` has one more.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.ids import GroupId
from gramme.storage.engine.rows import Space

_STATE: Final = bytes((Space.STATE,))

SCHEMA_ROW: Final = _STATE + b"schema"
"""PartitionSchema, from when it replaced that of the group's founding. A mutation that puts it, puts it first."""

CHANGE_LOG_ROW: Final = _STATE + b"changes"
"""`gramme.node.change_log.ChangeLog`."""


def filled_row(index: int) -> bytes:
    """There is such a row once the backfill of this index (by number) is done, in a base partition."""
    return _STATE + b"filled/" + index.to_bytes(4, "big")


def cursor_row(feeder: GroupId | int) -> bytes:
    """How far an index partition is with the batches of this feeding group."""
    return _STATE + b"cursor/" + feeder.to_bytes(8, "big")
