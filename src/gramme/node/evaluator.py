"""What a partition's leader does with a request: the seam between replication and a data model.

An evaluator is pure. It reads the newest state through a function (applied rows overlaid with writes in flight) and
says what physically changes, or what the answer is if nothing does. Two exist: tables and the catalog.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from gramme.kernel.ids import Slot
from gramme.kernel.time import Stamp, Timestamp
from gramme.node.mutation import ChangeRecord
from gramme.node.totals import Growth
from gramme.paxos.entry import CommandKind

Read = Callable[[bytes], bytes | None]
"""Newest value of a space-prefixed key, or None."""

_NO_FLOOR: Final = Timestamp(0)


class Change:
    """Rows to put and delete (space-prefixed keys), the answer once that is applied, records of what changed for those
    who consume them, and by how much the partition grew. `erased`: ranges of rows that go before anything is put; only
    of rows that no evaluation reads, for writes in flight are not looked up in ranges. `floor`: what the stamp must not
    be below."""

    __slots__ = ("changes", "deletes", "erased", "floor", "grown", "kind", "puts", "reply")

    def __init__(
        self,
        puts: list[tuple[bytes, bytes]],
        deletes: list[bytes],
        reply: Any,
        changes: tuple[ChangeRecord, ...] = (),
        grown: tuple[Growth, ...] = (),
        erased: tuple[tuple[bytes, bytes], ...] = (),
        kind: CommandKind = CommandKind.MUTATIONS,
        floor: Timestamp = _NO_FLOOR,
    ) -> None:
        self.puts = puts
        self.deletes = deletes
        self.reply = reply
        self.changes = changes
        self.grown = grown
        self.erased = erased
        self.kind = kind
        self.floor = floor


class Answer(NamedTuple):
    """Nothing changes: an answer that is a read of `keys`, writes in flight included."""

    reply: Any
    keys: tuple[bytes, ...]


def _no_slot() -> Slot:
    return Slot(0)


class Context:
    """What a leader adds to a request: wall time, the stamp that a resulting command will carry, and the last slot of
    the log so far, behind which it will stand (a function: few commands ask)."""

    __slots__ = ("last_slot", "stamp", "wall")

    def __init__(self, wall: Timestamp, stamp: Stamp, last_slot: Callable[[], Slot] = _no_slot) -> None:
        self.wall = wall
        self.stamp = stamp
        self.last_slot = last_slot


class Evaluator(Protocol):
    """The data model of one partition."""

    def reset(self, scan: Scan) -> None:
        """Leadership begins, or rows came from a snapshot: whatever was remembered of them is to be read again. `scan`
        reads applied rows; of a leader that begins, there is nothing in flight."""

    def proposed(self, change: Change) -> None:
        """`change`, of another kind than MUTATIONS, is in flight: it is part of the newest state."""

    def write(self, request: Any, read: Read, context: Context) -> Change | Answer:
        """Evaluate a write. Raises nothing for bad input: that is an `Answer` too."""

    def read(self, request: Any, get: Read, scan: Scan, lately: ReadLately | None = None) -> Any:
        """Answer a read from applied state. `lately` is given where `get` and `scan` show what is applied now."""

    def settled(self, get: Read) -> Evaluator:
        """The evaluator for the state that `get` shows: itself, or another one for good (a partition was sealed)."""


class Scan(Protocol):
    """Rows of applied state: (space-prefixed start, space-prefixed end, reverse) → (space-prefixed key, value)."""

    def __call__(self, start: bytes, end: bytes, reverse: bool) -> Any: ...


class ReadLately(Protocol):
    """What a read may leave for later ones (see `gramme.storage.engine.kept`): `shared` is the beginning, space and
    `HASH_BYTES`, that the space-prefixed keys of some rows share and of no others."""

    def find(self, shared: bytes) -> Any:
        """What was kept of these rows, if none of them was written since; else None."""

    def keep(self, shared: bytes, thing: Any, size_bytes: int) -> None:
        """Keep `thing`, which the rows are the only reason for."""
