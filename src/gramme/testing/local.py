"""A local cluster for the length of a `with` block: real node processes, and every way to hurt them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from gramme.kernel.errors import InvalidInput
from gramme.runtime.cluster import ClusterFailed, LocalCluster
from gramme.runtime.cluster_status import ClusterStatus, collect
from gramme.runtime.config import ENVIRONMENT_PREFIX
from gramme.testing.controls import ControlRefused, Endpoint, post_control
from gramme.testing.processes import ServerFailed, free_port

_ATTEMPTS: Final = 5
_FAIL_OVER_TIMEOUT_S: Final = 30.0


class Cluster(Endpoint):
    """A local cluster. Nodes count from 0; `endpoint_url` is the shared endpoint, which every live node accepts."""

    def __init__(
        self,
        nodes: int,
        directory: Path | None,
        settings: Mapping[str, object],
        test_controls: bool,
        zones: int = 0,
    ) -> None:
        self.nodes = nodes
        self._zones = zones
        self._environment = {
            ENVIRONMENT_PREFIX + key.upper(): str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in settings.items()
        }
        self._test_controls = test_controls
        self._temporary = Path(tempfile.mkdtemp(prefix="gramme-test-")) if directory is None else None
        self.directory = directory or Path(str(self._temporary)) / "cluster"
        self._local = LocalCluster(self.directory)

    # --- life -----------------------------------------------------------------------------------------------------

    def start_all(self) -> None:
        """Found the cluster if need be, start what does not run, and wait until every node is ready.

        Raises `ServerFailed`.
        """
        for attempt in range(_ATTEMPTS):
            founded_before = self._local.exists
            port = self._local.state.port if founded_before else free_port(self._offsets())
            try:
                self._local.found(self.nodes, port, zones=self._zones, test_controls=self._test_controls)
                for node in range(self.nodes):
                    self._local.start(node, self._node_environment())
                self._local.wait_ready()
                return
            except (ClusterFailed, InvalidInput) as error:
                taken = "in use" in str(error)
                if founded_before or not taken or attempt == _ATTEMPTS - 1:
                    raise ServerFailed(str(error)) from error
                self._local.down()
                shutil.rmtree(self.directory)

    def _offsets(self) -> Sequence[int]:
        nodes = range(self.nodes + 1)  # one may join
        return (0, *(base + node for base in (1, 100, 200, 300) for node in nodes))

    def _node_environment(self) -> dict[str, str]:
        return {**os.environ, **self._environment}

    def close(self) -> None:
        """Stop every node and remove the directory, unless the caller named it."""
        with contextlib.suppress(InvalidInput):  # nothing was founded
            self._local.down()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Cluster:
        try:
            self.start_all()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    # --- nodes ----------------------------------------------------------------------------------------------------

    def start(self, node: int, *, wait: bool = True) -> None:
        """Start node `node` if it does not run, and (with `wait`) return when it is ready. Raises `ServerFailed`."""
        try:
            self._local.start(node, self._node_environment())
            if wait:
                self._local.wait_ready([node])
        except ClusterFailed as error:
            raise ServerFailed(str(error)) from error

    def wait_ready(self, nodes: Sequence[int] | None = None) -> None:
        """Return when these nodes (all of them) say that they are ready. Raises `ServerFailed`."""
        try:
            self._local.wait_ready(None if nodes is None else list(nodes))
        except ClusterFailed as error:
            raise ServerFailed(str(error)) from error

    def stop(self, node: int) -> bool:
        """SIGTERM: the node hands its leaderships over first. False if it had to be killed."""
        return self._local.stop(node)

    def kill(self, *nodes: int) -> None:
        """SIGKILL these nodes, all before the first of them is waited for."""
        for node in nodes:
            self._local.signal(node, signal.SIGKILL)
        for node in nodes:
            with contextlib.suppress(InvalidInput):  # it is gone already
                self._local.kill(node)

    def pause(self, node: int) -> None:
        """SIGSTOP: it stands still and keeps its connections."""
        self._local.pause(node)

    def resume(self, node: int) -> None:
        """SIGCONT."""
        self._local.resume(node)

    # --- what it is -----------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """Port of the shared endpoint."""
        return self._local.state.port

    @property
    def endpoint_url(self) -> str:
        """The shared endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def node_url(self, node: int) -> str:
        """Where node `node` alone serves tables."""
        return f"http://127.0.0.1:{self.port + 1 + node}"

    def objects_url(self, node: int) -> str:
        """Where node `node` serves objects."""
        return f"http://127.0.0.1:{self.port + 100 + node}"

    def admin_port(self, node: int) -> int:
        """Admin port of node `node`."""
        return self.port + 200 + node

    def running(self) -> list[int]:
        """Nodes whose process runs (and is not paused)."""
        return [node for node in range(self.nodes) if self._local.process_state(node) == "running"]

    def status(self) -> ClusterStatus:
        """What `gramme cluster status --json` shows."""
        return collect(self._local)

    def leaders(self, table: str) -> list[int | None]:
        """The leader of each partition of `table` ("" is the catalog), in key order; None where there is none now."""
        return [
            partition.leader for entry in self.status().tables if entry.name == table for partition in entry.partitions
        ]

    def fail_over(self, table: str) -> None:
        """Make every partition of `table` change its leader. A hand-over is given up when its target is slow, and what
        a node was handed just now must not be handed on: each is asked for what it led before, until it does no more.

        Raises `ControlRefused` in a cluster of one, or when a partition keeps its leader.
        """
        before = self._leaders_by_group(table)
        if self.nodes == 1 or not before:
            super().fail_over(table)  # a node says why it cannot be
        deadline = time.monotonic() + _FAIL_OVER_TIMEOUT_S
        while staying := self._staying(table, before):
            if time.monotonic() > deadline:
                raise ControlRefused(f"fail-over: groups {sorted(staying)} of {table} keep their leaders")
            for node in sorted({leader for leader in staying.values() if leader is not None}):
                groups = [group for group, leader in staying.items() if leader == node]
                post_control(self.admin_port(node), "fail-over", {"table": table, "groups": groups})
            time.sleep(0.05)

    def _staying(self, table: str, before: dict[int, int | None]) -> dict[int, int | None]:
        """The leaders of those groups that have none now, or the same as before."""
        now = self._leaders_by_group(table)
        return {group: now.get(group) for group, leader in before.items() if now.get(group) in (None, leader)}

    def _leaders_by_group(self, table: str) -> dict[int, int | None]:
        entries = [entry for entry in self.status().tables if entry.name == table]
        return {partition.group: partition.leader for entry in entries for partition in entry.partitions}

    def log(self, node: int) -> str:
        """All that node `node` has logged."""
        return (self.directory / "nodes" / str(node) / "node.log").read_text(encoding="utf-8", errors="replace")

    def _admin_ports(self) -> Sequence[int]:
        return [self.admin_port(node) for node in self.running()]


def cluster(
    nodes: int = 3,
    *,
    directory: str | os.PathLike[str] | None = None,
    settings: Mapping[str, object] | None = None,
    test_controls: bool = True,
    zones: int = 0,
) -> Cluster:
    """A local cluster of `nodes` processes on free ports of 127.0.0.1: use it as a context manager.

    `directory` keeps its data; without it a temporary directory is used and removed. `settings` are those of
    `node.toml`, the same for each node. Nodes stand in turn in each of `zones` zones; 0: each in one of its own.
    """
    return Cluster(nodes, None if directory is None else Path(directory), settings or {}, test_controls, zones)
