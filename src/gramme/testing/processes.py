"""Processes and ports of a test: where they may listen, and how one is started, watched and always stopped.

Rule: a port is taken below the range that the kernel hands to outgoing connections, else a client's own connection may
sit on the port of a node that restarts. A port that looked free can be gone a moment later, so who starts, tries again;
and as a node that is down has its ports free, workers of pytest-xdist beside each other take theirs from ranges apart.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gramme.kernel.errors import GrammeError
from gramme.runtime.processes import port_is_free

_LOWEST: Final = 12_000
_HIGHEST: Final = 31_000
_OFFSETS_BELOW: Final = 400
"""Of the ports of a node none is further than that above its first one."""

_POLL_S: Final = 0.005
_TAIL_LINES: Final = 20
STOP_TIMEOUT_S: Final = 20.0


class ServerFailed(GrammeError):
    """A node did not become ready, or not in time; the text holds the end of its log."""


def free_port(offsets: Iterable[int]) -> int:
    """A port P such that P + offset is free on 127.0.0.1 for every offset. Raises `ServerFailed` if none is found."""
    offsets = tuple(offsets)
    ports = _own_ports()
    for _ in range(200):
        port = random.choice(ports)
        if all(port_is_free("127.0.0.1", port + offset) for offset in offsets):
            return port
    raise ServerFailed(f"no ports are free between {ports.start} and {ports.stop}")


def _own_ports() -> range:
    """What a port P is drawn from: for a worker of pytest-xdist its share, with room above it for the offsets."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))) or "0") % workers
    width = (_HIGHEST - _LOWEST) // workers
    lowest = _LOWEST + number * width
    return range(lowest, lowest + width - min(_OFFSETS_BELOW, width // 2))


class Process:
    """One child whose output goes to `log`; it says a line that begins with "ready " when it serves."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._read_from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal goes to the tests, which stop the server in order.
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal that ended it); None while it runs."""
        return self._child.poll()

    def output(self) -> str:
        """What it has said since it was started."""
        with self.log.open("rb") as file:
            file.seek(self._read_from)
            return file.read().decode("utf-8", "replace")

    def wait_ready(self, timeout_s: float) -> str:
        """The ready line, once it is there. Raises `ServerFailed` if the child ends first, or at the time limit."""
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self.returncode is not None
            for line in self.output().splitlines(keepends=True):
                if line.startswith("ready ") and line.endswith("\n"):
                    return line.strip()
            if ended:
                raise ServerFailed(f"the server ended with {self.returncode} before it was ready:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server is not ready after {timeout_s:.0f} s:\n{self.tail()}")
            time.sleep(_POLL_S)

    def tail(self) -> str:
        """The last lines of its output, for an error's text."""
        lines = self.output().splitlines()[-_TAIL_LINES:]
        return "\n".join("    " + line for line in lines) or "    (no output)"

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM and wait; SIGKILL after the time limit. Returns the exit code."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            self._child.send_signal(signal.SIGCONT)  # a paused process would only get the first once it is resumed
            try:
                return self._child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._child.kill()
        return self._child.wait()

    def kill(self) -> None:
        """SIGKILL and wait: no chance to tidy up."""
        self._child.kill()
        self._child.wait()
