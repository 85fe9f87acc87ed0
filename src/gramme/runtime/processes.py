"""Processes of this machine, named so that a recycled pid is never signalled.

A pid alone is a bad name: once its process is gone the kernel gives the number to another. Owns `ProcessName` (pid,
start time, boot of the machine), its check before every signal, and the test whether a port is free.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Literal

import msgspec

ProcessState = Literal["running", "paused", "stopped"]


class ProcessName(msgspec.Struct, frozen=True):
    """One process for ever: `started` tells it from a later process with the same `pid`."""

    pid: int
    started: str


def name_of(pid: int) -> ProcessName | None:
    """The name of the process that has `pid` now; None if there is none, or only its unreaped remains."""
    read = _read_proc(pid) if Path("/proc/self/stat").exists() else _read_ps(pid)
    return None if read is None or read[0].startswith("Z") else ProcessName(pid, read[1])


def state_of(process: ProcessName) -> ProcessState:
    """Whether `process` itself runs, is stopped by a signal ("paused"), or is gone."""
    read = _read_proc(process.pid) if Path("/proc/self/stat").exists() else _read_ps(process.pid)
    if read is None or read[1] != process.started or read[0].startswith("Z"):
        return "stopped"
    return "paused" if read[0].startswith(("T", "t")) else "running"


def send_signal(process: ProcessName, number: signal.Signals) -> bool:
    """Signal `process` if it is still there; False if it is gone."""
    if state_of(process) == "stopped":
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_gone(process: ProcessName, timeout_s: float) -> bool:
    """Wait until `process` is gone; False if it is still there after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while state_of(process) != "stopped":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def port_is_free(host: str, port: int) -> bool:
    """Whether a listener could be put on `host`:`port` now (connections that linger in TIME_WAIT do not count)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _read_proc(pid: int) -> tuple[str, str] | None:
    """(state letter, boot and start time) from Linux's /proc; the start time counts clock ticks since that boot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in parentheses and may hold anything; fields are counted from behind it.
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[0], f"{boot}/{fields[19]}"


def _read_ps(pid: int) -> tuple[str, str] | None:
    """The same from ps(1), where there is no /proc."""
    run = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = run.stdout.strip().partition(" ")
    return (state, started.strip()) if state else None
