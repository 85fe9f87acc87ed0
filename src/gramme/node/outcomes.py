"""Outcomes of recent writes by command id: why a write that is sent again is applied once and gets its first answer.

Every replica of a partition remembers each command it applied for at least `window_ns`, rebuilds that from the retained
log after a restart, and receives it with a snapshot (issue 2, "Answers under trouble"). Two generations are kept and
rotated by the node's monotonic clock, between steps of applying: a jump of wall time, which stamps follow, must not
make a replica forget early. Bounded by count; a full memory refuses new writes rather than forget one too early.

The leader also remembers, for itself, what it answered to writes that changed nothing (a failed condition, a deletion
of nothing). The same write may reach it twice, as when the router tried again while the leader was paused: judged anew,
its second copy could take effect after its client was told that it had failed (found by simulation). That memory need
not be replicated: a copy that waits in a leader's queue is read before it leads again, and whoever sends a write again
gets no answer that is not in the log (`partition`).
"""

from __future__ import annotations

from collections.abc import Iterable

from gramme.kernel.ids import NO_COMMAND_ID, CommandId
from gramme.kernel.time import Instant


class Outcomes:
    """Command id → encoded reply, in a young and an old generation."""

    __slots__ = (
        "_doubted_until", "_limit", "_old", "_old_answers", "_rotated_at", "_window_ns", "_young", "_young_answers",
    )  # fmt: skip

    def __init__(self, window_ns: int, limit: int, now: Instant) -> None:
        self._young: dict[CommandId, bytes] = {}
        self._old: dict[CommandId, bytes] = {}
        self._young_answers: dict[CommandId, bytes] = {}
        self._old_answers: dict[CommandId, bytes] = {}
        self._window_ns = window_ns
        self._limit = limit
        self._rotated_at = now
        self._doubted_until = Instant(0)

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._young_answers) + len(self._old_answers)

    @property
    def full(self) -> bool:
        """Whether another outcome could only be kept by forgetting one within its window."""
        return len(self) >= self._limit

    def applied(self, command_id: CommandId) -> bytes | None:
        """The answer to `command_id`, or None if it was not applied lately. Every leader to come gives the same."""
        return self._young.get(command_id) or self._old.get(command_id)

    def answered(self, command_id: CommandId) -> bytes | None:
        """What this leader has told, and nobody else knows, or None."""
        return self._young_answers.get(command_id) or self._old_answers.get(command_id)

    def add(self, command_id: CommandId, reply: bytes) -> None:
        """Remember an applied command."""
        if command_id != NO_COMMAND_ID:
            self._young[command_id] = reply

    def note_answer(self, command_id: CommandId, reply: bytes) -> None:
        """Remember what this leader has told the sender of a write that changed nothing."""
        if command_id != NO_COMMAND_ID:
            self._young_answers[command_id] = reply

    def rotate(self, now: Instant) -> bool:
        """Forget what is older than the window: called every now and then, acts (and says so) once a window."""
        due = now - self._rotated_at >= self._window_ns
        if due:
            self._rotated_at = now
            self._old, self._young = self._young, {}
            self._old_answers, self._young_answers = self._young_answers, {}
        return due

    def doubt(self, now: Instant) -> None:
        """Some that count may be missing (part of the log is damaged): which commands were applied is not known for
        sure until the window is over."""
        self._doubted_until = Instant(now + self._window_ns)

    def doubted(self, now: Instant) -> bool:
        """Whether a command that is not here may have been applied all the same: then no write that might be one which
        is sent again is judged, and this replica should rather not lead."""
        return now < self._doubted_until

    def export(self) -> list[tuple[CommandId, bytes]]:
        """All of it, for a snapshot."""
        return [*self._old.items(), *self._young.items()]

    def take(self, outcomes: Iterable[tuple[CommandId, bytes]], now: Instant) -> None:
        """Remember those that came with a snapshot; under no command's id, the word that its sender did not know them
        all."""
        for command_id, reply in outcomes:
            if command_id == NO_COMMAND_ID:
                self.doubt(now)
            else:
                self._young[command_id] = reply

    def replace(self, outcomes: Iterable[tuple[CommandId, bytes]], now: Instant) -> None:
        """A snapshot has become this replica's state, and these are its outcomes."""
        self._old, self._young = {}, {}
        self._doubted_until = Instant(0)
        self.take(outcomes, now)
