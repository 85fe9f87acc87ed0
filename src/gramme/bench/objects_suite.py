"""All scenarios of `gramme bench objects`, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gramme.bench import gossip, objects
from gramme.bench.objects_report import Objects, pictures, section
from gramme.bench.records import Record, Run, Section

SCENARIOS: Final = ("sla", "driven", "sessions", "buffered", "failover", "gossip")


def measured(names: Sequence[str], run: Run) -> Objects:
    """Those of `SCENARIOS` that are named."""
    rounds, seconds, directory, progress = run.rounds, run.seconds, run.directory, run.progress
    sla, capacity = objects.sla(3 * seconds, directory, progress) if "sla" in names else (None, None)
    return Objects(
        sla=sla,
        capacity=capacity,
        driven=objects.driven(rounds, seconds, directory, progress) if "driven" in names else [],
        sessions=objects.sessions(rounds, seconds, directory, progress) if "sessions" in names else [],
        buffered=objects.buffered(rounds, seconds, directory, progress) if "buffered" in names else [],
        failover=objects.failover(3 * seconds, directory, progress) if "failover" in names else None,
        gossip=gossip.measured() if "gossip" in names else [],
    )


def only(names: Sequence[str]) -> Section:
    """The section with those alone."""

    def measure(run: Run) -> Objects:
        return measured(names, run)

    return Section("objects", Objects, measure, _told, pictures)


def _told(taken: Record[Objects]) -> str:
    return "## Objects\n\n" + section(taken.found)


SECTION: Final = only(SCENARIOS)
