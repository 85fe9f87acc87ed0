"""All scenarios of `gramme bench objects`, one after the other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gramme.bench import gossip, objects
from gramme.bench.report import Objects

SCENARIOS: Final = ("sla", "driven", "sessions", "buffered", "failover", "gossip")


def measured(
    names: Sequence[str], rounds: int, seconds: float, command: str, progress: Callable[[str], None]
) -> Objects:
    """Those of `SCENARIOS` that are named; `command` is what the report says that it was."""
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory(prefix="gramme-bench-") as temporary:
        directory = Path(temporary)
        sla, capacity = objects.sla(3 * seconds, directory, progress) if "sla" in names else (None, None)
        return Objects(
            date=datetime.now(UTC).date().isoformat(),
            command=command,
            load=load,
            sla=sla,
            capacity=capacity,
            driven=objects.driven(rounds, seconds, directory, progress) if "driven" in names else [],
            sessions=objects.sessions(rounds, seconds, directory, progress) if "sessions" in names else [],
            buffered=objects.buffered(rounds, seconds, directory, progress) if "buffered" in names else [],
            failover=objects.failover(3 * seconds, directory, progress) if "failover" in names else None,
            gossip=gossip.measured() if "gossip" in names else [],
        )
