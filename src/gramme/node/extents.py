"""Where a group's rows stand in this node's engine.

An extent id is the group id and a generation: the first generation needs no row, a later one (a snapshot was installed)
is named by a row of the node's own extent, written in the same batch as the snapshot's applied slot. Ids are local to
the node and grow, so the rows of an old generation can never be mistaken for those of a new one (REPLICATION.md §6).
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.ids import ExtentId, GroupId
from gramme.storage.engine.contract import Batch, View
from gramme.storage.engine.rows import NODE_EXTENT, Space, extent_range, row_key

_GENERATION_BITS: Final = 16


def first_extent(group: GroupId) -> ExtentId:
    """The extent of a group that has never installed a snapshot here."""
    return ExtentId(group << _GENERATION_BITS)


def next_extent(extent: ExtentId) -> ExtentId:
    """The extent of the next generation."""
    return ExtentId(extent + 1)


class FreshExtents:
    """Extents that nothing in this process has ever used: what a dropped replica still writes cannot get into them."""

    def __init__(self) -> None:
        self._latest: dict[GroupId, ExtentId] = {}

    def take(self, view: View, group: GroupId) -> ExtentId:
        """One for `group`; the caller clears it, for an earlier process may have left rows there."""
        extent = next_extent(max(read_extent(view, group), self._latest.get(group, ExtentId(0))))
        self._latest[group] = extent
        return extent


def read_extent(view: View, group: GroupId) -> ExtentId:
    """Where the rows of `group` stand."""
    stored = view.get(_mapping_row(group))
    return first_extent(group) if stored is None else ExtentId(int.from_bytes(stored, "big"))


def map_extent(batch: Batch, group: GroupId, extent: ExtentId) -> None:
    """Make `extent` the group's."""
    batch.put(_mapping_row(group), extent.to_bytes(8, "big"))


def clear_extent(batch: Batch, extent: ExtentId) -> None:
    """Delete every row of `extent`."""
    start, end = extent_range(extent)
    batch.delete_range(start, end)


def forget_group(batch: Batch, group: GroupId) -> None:
    """A dropped group leaves no rows, in no extent it ever had."""
    batch.delete_range(extent_range(first_extent(group))[0], extent_range(first_extent(GroupId(group + 1)))[0])
    batch.delete(_mapping_row(group))


def _mapping_row(group: GroupId) -> bytes:
    return row_key(NODE_EXTENT, Space.META, b"g" + group.to_bytes(8, "big"))
