"""A partition's rows under its evaluator, without replication: every change is applied at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gramme.kernel.time import Stamp, Timestamp
from gramme.node.evaluator import Answer, Change, Context, Evaluator
from gramme.node.mutation import ChangeRecord
from gramme.node.totals import Totals
from gramme.paxos.entry import CommandKind
from gramme.storage.engine.rows import Space
from gramme.tables.descriptor import Index, KeySchema
from gramme.tables.indexes import PartitionSchema

KEY = KeySchema("pk", "S", "sk", "S")
LOCAL = Index(name="local", kind="LOCAL", hash=(("pk", "S"),), range=(("a", "S"),), projection="KEYS_ONLY", number=1)
SHARED = Index(name="shared", kind="GLOBAL", hash=(("a", "S"),), range=(), projection="ALL", number=2)
SCHEMA = PartitionSchema(1, KEY, (LOCAL, SHARED))
"""A table with an index of each kind."""


class Rows:
    """See the module. `wall` is the leader's clock; `stamp` that of the last entry."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.rows: dict[bytes, bytes] = {}
        self.changes: list[ChangeRecord] = []
        self.totals = Totals(None)
        self.wall = 0
        self.stamp = 0
        self.answered = False  # the last command changed nothing

    def write(self, request: Any) -> Any:
        """The reply to one command."""
        next_stamp = max(self.wall, self.stamp + 1)
        plan = self.evaluator.write(request, self.rows.get, Context(Timestamp(self.wall), Stamp(next_stamp)))
        self.answered = isinstance(plan, Answer)
        if isinstance(plan, Answer):
            return plan.reply
        self._apply(plan, max(next_stamp, plan.floor))
        return plan.reply

    def _apply(self, plan: Change, stamp: int) -> None:
        written = [key for key, _ in plan.puts] + list(plan.deletes)
        assert len(set(written)) == len(written), "a mutation that puts and deletes a row would delete it"
        self.stamp = stamp
        if plan.kind is not CommandKind.MUTATIONS:
            self.evaluator.proposed(plan)
        self.rows.update(plan.puts)
        for key in plan.deletes:
            self.rows.pop(key, None)
        self.changes += plan.changes
        self.totals.add(plan.grown)

    def new_leader(self) -> None:
        """What was only remembered is gone."""
        self.evaluator.reset(self.scan)

    def read(self, request: Any) -> Any:
        """The reply to a read."""
        return self.evaluator.read(request, self.rows.get, self.scan)

    def scan(self, start: bytes, end: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Rows in order."""
        rows = sorted((key, value) for key, value in self.rows.items() if start <= key < end)
        return iter(reversed(rows) if reverse else rows)

    def space(self, space: Space, prefix: bytes = b"") -> dict[bytes, bytes]:
        """Rows of one space that begin with `prefix`, without the space."""
        return {key[1:]: value for key, value in self.rows.items() if key.startswith(bytes((space,)) + prefix)}
