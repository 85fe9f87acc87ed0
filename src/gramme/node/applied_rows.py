"""A replica's state: the rows of its extent in the node's engine, and the mark up to which the log is applied in them.

Rule (REPLICATION.md §6): the rows and the mark change in one batch, so that after a crash the engine says itself where
to go on; entries are applied blindly, each once, in the order of their slots. Keys here begin with a space's byte, as
in mutations; the extent before it is this node's own affair. Source: DESIGN.md §4 "State".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gramme.kernel.errors import Stalled
from gramme.kernel.ids import CommandId, ExtentId, Slot
from gramme.kernel.time import Stamp
from gramme.node.evaluator import Read, Scan
from gramme.node.mutation import ChangeRecord, Mutation, change_key, encode_change
from gramme.node.state_rows import APPLIED, APPLIED_KEY, CONFIGURATION_ROW
from gramme.node.totals import TOTALS_ROW, Totals
from gramme.paxos.configuration import Configuration, decode_configuration
from gramme.paxos.entry import ORIGIN, CommandKind, Entry, Mark
from gramme.storage.engine.contract import Batch, Engine, View
from gramme.storage.engine.rows import PREFIX_BYTES, Space, row_key, space_range


class AppliedRows:
    """See the module. It is also what reads of these rows have kept for later ones (`evaluator.ReadLately`)."""

    __slots__ = ("_engine", "_kept", "_outcome_rows", "_prefix", "_totals", "applied", "extent")

    def __init__(self, engine: Engine, extent: ExtentId, applied: Mark) -> None:
        self.extent = extent
        self.applied = applied
        self._engine = engine
        self._kept = engine.kept
        self._prefix = extent.to_bytes(8, "big")
        self._totals: Totals | None = None  # as of `applied`; None: in the engine only
        self._outcome_rows = 0  # rotations until the outcome rows of a snapshot may go; 0: there are none

    # --- what is applied ------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """Value of a row."""
        return self._engine.get(self._prefix + key)

    def scan(self, start: bytes, end: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Rows of a range."""
        prefix = self._prefix
        return self._engine.scan(prefix + start, prefix + end, reverse=reverse, skip=len(prefix))

    def find(self, shared: bytes) -> Any:
        """See `evaluator.ReadLately`."""
        return self._kept.find(self._prefix + shared)

    def keep(self, shared: bytes, thing: Any, size_bytes: int) -> None:
        """See `evaluator.ReadLately`."""
        self._kept.keep(self._prefix + shared, thing, size_bytes)

    def as_of(self, view: View) -> tuple[Read, Scan] | None:
        """These rows as `view`, an earlier one of the engine, shows them; None where it is of before they came."""
        prefix = self._prefix
        if view.get(applied_row(self.extent)) is None:
            return None

        def scan(start: bytes, end: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
            for key, value in view.scan(prefix + start, prefix + end, reverse=reverse):
                yield key[8:], value

        return lambda key: view.get(prefix + key), scan

    # --- applying -------------------------------------------------------------------------------------------------

    def apply(self, entries: Sequence[Entry], mutations: Sequence[Mutation | None]) -> int:
        """Apply `entries`, the next ones of the log, in one batch with the mark; `mutations` are what they do, None
        for those that change no row of the data model. Returns the batch's size in bytes.

        Raises `Stalled` if the engine takes nothing now: then nothing has changed.
        """
        batch = Batch()
        prefix = self._prefix
        grew = False
        for entry, mutation in zip(entries, mutations, strict=True):
            if mutation is not None:
                for start, end in mutation.erased:
                    batch.delete_range(prefix + start, prefix + end)
                for key, value in mutation.puts:
                    batch.put(prefix + key, value)
                for key in mutation.deletes:
                    batch.delete(prefix + key)
                for index, change in enumerate(mutation.changes):
                    stamped = ChangeRecord(change.key, change.old, change.new, change.service, entry.stamp)
                    batch.put(prefix + change_key(entry.slot, index), encode_change(stamped))
                if mutation.grown:
                    if self._totals is None:
                        self._totals = Totals(self.get(TOTALS_ROW))
                    self._totals.add(mutation.grown)
                    grew = True
            elif entry.kind == CommandKind.CONFIG:
                batch.put(prefix + CONFIGURATION_ROW, entry.body)
        if grew and self._totals is not None:
            batch.put(prefix + TOTALS_ROW, self._totals.row())
        last = entries[-1]
        batch.put(applied_row(self.extent), APPLIED.pack(last.slot, last.crc, last.stamp))
        try:
            self._engine.write(batch)
        except Stalled:
            self._totals = None  # the same entries come again
            raise
        self.applied = last.mark
        return batch.size_bytes

    def switch(self, extent: ExtentId, applied: Mark, with_outcomes: bool) -> None:
        """Rows that a snapshot brought are this replica's from now on, `with_outcomes` or without such rows."""
        self.extent = extent
        self.applied = applied
        self._prefix = extent.to_bytes(8, "big")
        self._totals = None
        self._outcome_rows = 2 if with_outcomes else 0

    # --- outcomes that came with a snapshot -----------------------------------------------------------------------

    def outcomes(self) -> Iterator[tuple[CommandId, bytes]]:
        """After a restart: those that came with a snapshot and have not outlived their window since."""
        for key, reply in self._engine.scan(*space_range(self.extent, Space.OUTCOMES)):
            self._outcome_rows = 2
            yield CommandId(key[PREFIX_BYTES:]), reply

    def age_outcomes(self) -> None:
        """Outcomes in memory were rotated: after the second time no row of an outcome is within its window."""
        if not self._outcome_rows:
            return
        if self._outcome_rows == 1:
            batch = Batch()
            batch.delete_range(*space_range(self.extent, Space.OUTCOMES))
            try:
                self._engine.write(batch)
            except Stalled:
                return  # the next rotation tries again
        self._outcome_rows -= 1


def applied_row(extent: ExtentId) -> bytes:
    """Key of the row that says how far an extent's rows are."""
    return row_key(extent, Space.META, APPLIED_KEY)


def pack_applied(applied: Mark) -> bytes:
    """The value of the `applied` row."""
    return APPLIED.pack(applied.slot, applied.crc, applied.stamp)


def read_applied(view: View, extent: ExtentId) -> Mark:
    """What the engine holds of an extent after recovery."""
    stored = view.get(applied_row(extent))
    if stored is None:
        return ORIGIN
    slot, crc, stamp = APPLIED.unpack(stored)
    return Mark(Slot(slot), crc, Stamp(stamp))


def read_configuration(view: View, extent: ExtentId) -> Configuration | None:
    """The newest configuration that an extent's rows know; None: the founding one."""
    stored = view.get(extent.to_bytes(8, "big") + CONFIGURATION_ROW)
    return None if stored is None else decode_configuration(stored)
