"""Names of the rows of space STATE: what a partition's replicas keep of the partition itself.

Written by mutations like any other row, so that they are a function of the partition's log and travel with snapshots.
`gramme.node.totals` has one more. The `applied` row, of space META, is each replica's own: how far its rows are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from gramme.kernel.ids import GroupId, Slot
from gramme.storage.engine.rows import Space

_STATE: Final = bytes((Space.STATE,))

SCHEMA_ROW: Final = _STATE + b"schema"
"""PartitionSchema, from when it replaced that of the group's founding. A mutation that puts it, puts it first."""

CHANGE_LOG_ROW: Final = _STATE + b"changes"
"""`gramme.node.changes.change_log.ChangeLog`."""

CONFIGURATION_ROW: Final = _STATE + b"configuration"
"""The group's newest configuration (`gramme.paxos.configuration`), from when the founding one was followed."""

APPLIED: Final = struct.Struct(">QIQ")
"""Value of the `applied` row: slot, chain CRC, stamp."""

APPLIED_KEY: Final = b"applied"
_APPLIED_ROW: Final = bytes((Space.META,)) + APPLIED_KEY


def applied_slot(read: Callable[[bytes], bytes | None]) -> Slot:
    """The slot up to which the rows that `read` shows are applied."""
    stored = read(_APPLIED_ROW)
    return Slot(0) if stored is None else Slot(APPLIED.unpack(stored)[0])


def filled_row(index: int) -> bytes:
    """There is such a row once the backfill of this index (by number) is done, in a base partition."""
    return _STATE + b"filled/" + index.to_bytes(4, "big")


def cursor_row(feeder: GroupId | int) -> bytes:
    """How far an index partition is with the batches of this feeding group."""
    return _STATE + b"cursor/" + feeder.to_bytes(8, "big")
