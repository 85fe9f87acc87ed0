"""What the figures were measured on. Rule: hardware and versions, never a host name or an address."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import msgspec

_PACKAGES = ("grammedb", "uvloop", "httptools", "msgspec", "rocksdict")
_SYNCS = 2_000


class Machine(msgspec.Struct, frozen=True):
    """Cores, memory and kernel, versions, how fast the disk makes a kilobyte durable, and what else was running."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    packages: dict[str, str]
    commit: str
    syncs_per_s: int
    load: float | None  # one-minute load average before anything was measured, where it was noted


def describe(directory: Path) -> Machine:
    """This machine; `directory` is where the data under test will be."""
    load = os.getloadavg()[0]
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        commit=_commit(),
        syncs_per_s=_syncs(directory / "sync-probe"),
        load=round(load, 1),
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _commit() -> str:
    """The commit, with a plus sign if tracked files differ from it."""
    run = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def _syncs(file: Path) -> int:
    """Sequential 1 KiB writes, each followed by fdatasync, into a file of full size: what one writer alone can do."""
    block = os.urandom(1_024)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, bytes(1_024 * _SYNCS))
        os.fsync(descriptor)
        started = time.perf_counter()
        for position in range(_SYNCS):
            os.pwrite(descriptor, block, position * 1_024)
            os.fdatasync(descriptor)
        return round(_SYNCS / (time.perf_counter() - started))
    finally:
        os.close(descriptor)
        file.unlink()
