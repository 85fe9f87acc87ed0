"""What was recorded, judged by the specification (`specs/Trace.tla`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from tests.paxos.mutants import CONFIGURATION_MUTANTS, MUTANTS
from tests.sim import planted
from tests.specs import tlc
from tests.specs.recorder import Trace

_PLANTS = {**{name: each.plant for name, each in planted.PLANTED.items()}, **MUTANTS, **CONFIGURATION_MUTANTS}


@dataclass(frozen=True)
class Recorded(ABC):
    """Runs of production classes with these seeds; `mutant`: with this fault planted."""

    name: str
    seeds: tuple[int, ...]
    mutant: str = ""

    @abstractmethod
    def traces(self, seed: int) -> list[Trace]:
        """What was recorded in a run, up to where it saw itself that something is wrong."""

    def is_judged_well(self, outcome: tlc.Outcome) -> bool:
        """Accepted if nothing is planted; refused, by an event that is no step, if something is."""
        return outcome.violated == "deadlock" if self.mutant else outcome.finished and not outcome.violated


def run(recorded: Recorded) -> tlc.Outcome:
    """Record and judge. Traces of groups of one size are judged at once; the first that is refused is the outcome."""
    sizes: defaultdict[int, list[Trace]] = defaultdict(list)
    with _PLANTS[recorded.mutant]() if recorded.mutant else nullcontext():
        for seed in recorded.seeds:
            for trace in recorded.traces(seed):
                sizes[len(trace.founded.nodes)].append(trace)
    outcomes = [judge(traces) for _, traces in sorted(sizes.items())]
    return next((outcome for outcome in outcomes if not outcome.finished), outcomes[-1])


def judge(traces: Sequence[Trace]) -> tlc.Outcome:
    """Whether the traces, all of groups that began with as many replicas, are behaviours of the specification. If so
    TLC finishes, with a state for each event; an event that is none of its steps is a `deadlock`."""
    one = traces[0]
    founded = one.founded
    sets = {
        "Node": range(max(trace.nodes for trace in traces)),
        "Founders": one.numbers(founded.voters),
        "Waiting": one.numbers(node for node in founded.nodes if node not in founded.voters),
        "WaitingLogs": one.numbers(founded.logs),
    }
    constants = {name: "= {" + ", ".join(map(str, numbers)) + "}" for name, numbers in sets.items()}
    constants["MaxBallot"] = f"= {max(len(trace.ranks) for trace in traces)}"
    body = ",\n".join(trace.sequence() for trace in traces)
    data = f"---- MODULE TraceData ----\nEXTENDS Naturals, Sequences\nTraces == <<\n{body}\n>>\n====\n"
    return tlc.check(tlc.Model("traces", "Trace", "trace.cfg", constants), 1, {"TraceData": data})
