"""What processes use, children included: a node has its log writer's process beside it. Linux (/proc)."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_QUIET_SHARE: Final = 0.1
_QUIET_WINDOW_S: Final = 1.0


def family(pid: int) -> list[int]:
    """`pid` and its descendants."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in task.read_text(encoding="ascii").split()]
    return found


def cpu_s(pids: Sequence[int]) -> float:
    """Seconds of processor time, user and system, that these families have used."""
    return sum(own_cpu_s(one) for pid in pids for one in family(pid))


def resident_mb(pid: int) -> float:
    """Megabytes of memory of the family that are no other process's too (pages shared by a fork count once)."""
    return sum(_proportional_mb(one) for one in family(pid))


def highest_mb(pid: int) -> float:
    """Megabytes of memory that the processes of the family had resident at most, each at its own moment."""
    return sum(_field_mb(one, "status", "VmHWM:") or 0.0 for one in family(pid))


def core_share(pids: Sequence[int], seconds: float) -> float:
    """Of one core, what these families use during so many seconds."""
    before, started = cpu_s(pids), time.monotonic()
    time.sleep(seconds)
    return (cpu_s(pids) - before) / (time.monotonic() - started)


def await_quiet(pids: Sequence[int], limit_s: float) -> bool:
    """Return once these families use less than a tenth of a core (compactions have ended); False if they go on."""
    deadline = time.monotonic() + limit_s
    while core_share(pids, _QUIET_WINDOW_S) > _QUIET_SHARE:
        if time.monotonic() > deadline:
            return False
    return True


def own_cpu_s(pid: int) -> float:
    """Seconds of processor time of this process alone, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _proportional_mb(pid: int) -> float:
    proportional = _field_mb(pid, "smaps_rollup", "Pss:")
    if proportional is not None:
        return proportional
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES / 1e6


def _field_mb(pid: int, file: str, name: str) -> float | None:
    """What a line of one of the kernel's files about this process says in kB; None if there is no such line."""
    for line in Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    return None
