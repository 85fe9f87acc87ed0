"""`gramme dev` for the length of a `with` block: the embedded node in a process of its own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from gramme.testing.controls import Endpoint
from gramme.testing.processes import Process, ServerFailed, free_port

READY_TIMEOUT_S: Final = 30.0
_OFFSETS: Final = (0, 100, 200, 300)  # tables, objects, admin, peers: DESIGN.md §6
_ATTEMPTS: Final = 5


class Server(Endpoint):
    """An embedded node. Ports stay the same over `stop` and `start`, and so does what is on disk."""

    def __init__(
        self, *, in_memory: bool, data_dir: Path | None, settings: Mapping[str, object], test_controls: bool
    ) -> None:
        self._in_memory = in_memory
        self._settings = dict(settings)
        self._test_controls = test_controls
        self._temporary = Path(tempfile.mkdtemp(prefix="gramme-test-"))
        self.data_dir = None if in_memory else (data_dir or self._temporary / "data")
        self.port = 0
        self._process: Process | None = None

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self, timeout_s: float = READY_TIMEOUT_S) -> str:
        """Start the node, wait until it serves and return its ready line. Raises `ServerFailed`."""
        fresh = not self.port
        for attempt in range(_ATTEMPTS):
            if fresh:
                self.port = free_port(_OFFSETS)
            self._process = Process(self.command(), self._temporary / "log", os.environ)
            try:
                return self._process.wait_ready(timeout_s)
            except ServerFailed:
                taken = "address already in use" in self._process.output()
                self._process.kill()
                if not (fresh and taken) or attempt == _ATTEMPTS - 1:
                    self.port = 0 if fresh else self.port
                    raise
        raise AssertionError("unreachable")

    def command(self) -> list[str]:
        """The command line that `start` runs."""
        command = [sys.executable, "-m", "gramme.runtime.cli", "dev", "--port", str(self.port)]
        command += ["--in-memory"] if self.data_dir is None else ["--data", str(self.data_dir)]
        command += ["--test-controls"] if self._test_controls else []
        for key, value in self._settings.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["--set", f"{key}={text}"]
        return command

    def stop(self) -> int:
        """SIGTERM; the node answers what it was asked and closes. Returns its exit code."""
        return self._running.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._running.kill()

    def close(self) -> None:
        """Stop the node and remove what this object made; a directory that the caller named stays."""
        if self._process is not None:
            self._process.stop()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    # --- what it is -----------------------------------------------------------------------------------------------

    @property
    def endpoint_url(self) -> str:
        """Where SDKs reach the tables."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def objects_url(self) -> str:
        """Where objects are served."""
        return f"http://127.0.0.1:{self.admin_port - 100}"

    @property
    def admin_port(self) -> int:
        """Health, metrics, test controls."""
        return self.port + 200

    @property
    def pid(self) -> int:
        """Process id of the node."""
        return self._running.pid

    @property
    def returncode(self) -> int | None:
        """Exit code of the node (negative: the signal that ended it); None while it runs."""
        return self._running.returncode

    @property
    def log(self) -> str:
        """What the node has written to its standard output and error since its last start."""
        return self._running.output()

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise ServerFailed("the server was not started: use it in a `with` block, or call start()")
        return self._process

    def _admin_ports(self) -> Sequence[int]:
        return (self.admin_port,)


def server(
    *,
    in_memory: bool = True,
    data_dir: str | os.PathLike[str] | None = None,
    settings: Mapping[str, object] | None = None,
    test_controls: bool = True,
) -> Server:
    """An embedded node on free ports of 127.0.0.1: use it as a context manager.

    `data_dir` (with `in_memory=False`) keeps the data there; without it a temporary directory is used and removed.
    `settings` are those of `node.toml`, for example `{"control_plane_delay_ms": 200}`. Raises `ValueError` for
    `in_memory` with a directory, `ServerFailed` when the node does not start.
    """
    if in_memory and data_dir is not None:
        raise ValueError("data_dir and in_memory=True exclude each other")
    directory = None if data_dir is None else Path(data_dir)
    return Server(in_memory=in_memory, data_dir=directory, settings=settings or {}, test_controls=test_controls)
