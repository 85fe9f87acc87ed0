"""What a partition's leader has under way: writes that are proposed and not applied, and answers that wait for one.

Owns the overlay that makes writes in flight part of the newest state, and who waits for what. Rule (REPLICATION.md §2):
an answer that changes nothing is a read of in-flight state and leaves only when the last slot it depended on is
applied; with the ballot all of this is lost, and whoever waits must ask the next leader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from gramme.kernel.ids import CommandId, Slot
from gramme.node.applied_rows import AppliedRows
from gramme.node.mutation import Mutation


class Waiting:
    """A command that is answered when `slot` is applied: its own, or, where it changes nothing (there is no
    `mutation`), the last one that its answer depends on."""

    __slots__ = ("command_id", "mutation", "reply", "slot", "waiters")

    def __init__(
        self, command_id: CommandId, slot: Slot, mutation: Mutation | None, reply: Any, waiter: Callable[[Any], None]
    ) -> None:
        self.command_id = command_id
        self.slot = slot
        self.mutation = mutation
        self.reply = reply
        self.waiters = [waiter]

    def answer(self, reply: Any) -> None:
        """Tell everyone who waits."""
        for waiter in self.waiters:
            waiter(reply)


class InFlight:
    """See the module. `rows` are those below what is in flight."""

    __slots__ = ("_by_command", "_held", "_overlay", "_proposed", "_rows")

    def __init__(self, rows: AppliedRows) -> None:
        self._rows = rows
        self._overlay: dict[bytes, tuple[Slot, bytes | None]] = {}
        self._proposed: dict[Slot, Waiting] = {}
        self._held: deque[Waiting] = deque()
        self._by_command: dict[CommandId, Waiting] = {}

    def get(self, key: bytes) -> bytes | None:
        """Newest value of a space-prefixed key."""
        flying = self._overlay.get(key)
        return self._rows.get(key) if flying is None else flying[1]

    def find(self, command_id: CommandId) -> Waiting | None:
        """What is under way of this command."""
        return self._by_command.get(command_id)

    def mutation(self, slot: Slot) -> Mutation | None:
        """What was proposed here in `slot`, if anything was."""
        proposed = self._proposed.get(slot)
        return None if proposed is None else proposed.mutation

    def propose(
        self, command_id: CommandId, slot: Slot, mutation: Mutation, reply: Any, waiter: Callable[[Any], None]
    ) -> None:
        """`mutation` is in flight in `slot`; `reply` goes to `waiter` when it is applied."""
        self._proposed[slot] = self._by_command[command_id] = Waiting(command_id, slot, mutation, reply, waiter)
        for key, value in mutation.puts:
            self._overlay[key] = (slot, value)
        for key in mutation.deletes:
            self._overlay[key] = (slot, None)

    def slot_behind(self, keys: Iterable[bytes]) -> Slot:
        """The last slot in flight that a read of `keys` depends on; 0 for none."""
        return max((self._overlay[key][0] for key in keys if key in self._overlay), default=Slot(0))

    def hold(self, command_id: CommandId, slot: Slot, reply: Any, waiter: Callable[[Any], None]) -> None:
        """`reply`, which changes nothing, goes to `waiter` when `slot` is applied."""
        held = self._by_command[command_id] = Waiting(command_id, slot, None, reply, waiter)
        self._held.append(held)

    def applied(self, slot: Slot) -> Waiting | None:
        """`slot` is applied, hence no longer in flight. Returns who is to be answered, if it was proposed here."""
        proposed = self._proposed.pop(slot, None)
        if proposed is None:
            return None
        self._by_command.pop(proposed.command_id, None)
        mutation, overlay = proposed.mutation, self._overlay
        assert mutation is not None
        for key, _ in mutation.puts:
            if overlay[key][0] == slot:
                del overlay[key]
        for key in mutation.deletes:
            if overlay[key][0] == slot:
                del overlay[key]
        return proposed

    def next_due(self, applied: Slot) -> Waiting | None:
        """The next held answer that may leave now that all up to `applied` is; it is held no more."""
        if not self._held or self._held[0].slot > applied:
            return None
        held = self._held.popleft()
        self._by_command.pop(held.command_id, None)
        return held

    def drop(self) -> tuple[list[Waiting], list[Waiting]]:
        """Forget all of it. Returns who waits: for what was proposed, and for what would have changed nothing."""
        proposed, held = list(self._proposed.values()), list(self._held)
        self._overlay.clear()
        self._proposed.clear()
        self._held.clear()
        self._by_command.clear()
        return proposed, held
