"""What becomes of a simulated run, and the two ways in which one fails."""

from __future__ import annotations

from dataclasses import dataclass, field

from gramme.sim.checkers.history import Operation
from gramme.sim.faults import Fault


class NotKept(AssertionError):
    """A promise of liveness was not kept in time."""


@dataclass(slots=True)
class Result:
    """The outcome of a run. `violation` is empty for a good one; `marks` are those of `sim.coverage`, sorted."""

    seed: int
    config: str
    trace_hash: str = ""
    violation: str = ""
    plan: list[Fault] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    history: list[Operation] = field(default_factory=list)

    @property
    def replay(self) -> str:
        """The command that repeats this run."""
        return f"gramme sim --seed {self.seed} --config {self.config}"


class Violated(AssertionError):
    """A checker's finding."""
