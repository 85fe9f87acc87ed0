"""The local cluster: real node processes on one machine, kept track of in a data directory.

Owns DIR/cluster.json (what was founded, which processes run) and DIR/nodes/I (node.toml, log, data). Any number of
commands may run at the same time: each takes DIR/cluster.lock for its read-change-write. Rule: only a process whose
pid *and* start time are on record is ever signalled. Names and ports: DESIGN.md §6.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gramme.kernel.errors import GrammeError, InvalidInput
from gramme.runtime import config
from gramme.runtime.config import Member, Settings
from gramme.runtime.joining import settings_of
from gramme.runtime.processes import ProcessName, ProcessState, name_of, port_is_free, send_signal, state_of, wait_gone

DEFAULT_DIRECTORY: Final = Path("gramme-data/cluster")
MAX_LOCAL_NODES: Final = 99
READY_TIMEOUT_S: Final = 60.0
STATE_VERSION: Final = 1
_ADDRESS: Final = "127.0.0.1"
_STOP_MARGIN_S: Final = 5.0
_NO_CLUSTER: Final = "there is no local cluster in {}; `gramme cluster up` founds one"
_PORTS: Final = ("tables_port", "shared_port", "objects_port", "admin_port", "peer_port")
_PER_NODE: Final = (
    "node_id", "name", "host", "zone", "cluster_id", "listen_host", "advertise_host", "data_dir", "initial_catalog",
    "seeds", "tables_port", "shared_port", "objects_port", "admin_port", "peer_port",
)  # fmt: skip


class ClusterFailed(GrammeError):
    """A node did not start, or not in time; the text holds the end of its log."""


class ClusterState(msgspec.Struct, frozen=True):
    """Contents of cluster.json. `processes[i]` is node i's process, or the last one it had; None before the first. Of
    the `nodes` there ever were, the first `founders` founded it (None: all). `zones`: see `node_settings`."""

    version: int
    cluster_id: str
    nodes: int
    port: int
    processes: tuple[ProcessName | None, ...]
    zones: int = 0
    founders: int | None = None
    removed: tuple[int, ...] = ()


def node_settings(
    node: int, nodes: int, port: int, cluster_id: str, directory: Path, *, zones: int = 0, test_controls: bool = False
) -> Settings:
    """The settings of node `node` of a local cluster of `nodes` whose shared endpoint is `port`: in turn in each of
    `zones` zones, or (0) every node in a zone of its own."""
    zones = zones or nodes
    return Settings(
        node_id=node,
        name=f"node-{node}",
        host=f"host-{node}",
        zone=_zone(node % zones),
        cluster_id=cluster_id,
        tables_port=port + 1 + node,
        shared_port=port,
        objects_port=port + 100 + node,
        admin_port=port + 200 + node,
        peer_port=port + 300 + node,
        data_dir=str((directory / "nodes" / str(node) / "data").absolute()),
        initial_catalog=tuple(
            Member(i, f"node-{i}", f"host-{i}", _zone(i % zones), f"{_ADDRESS}:{port + 300 + i}") for i in range(nodes)
        ),
        test_controls=test_controls,
    )


def _zone(number: int) -> str:
    """us-east-1a, us-east-1b, … and two letters past the twenty-sixth."""
    letter = chr(ord("a") + number % 26)
    return "us-east-1" + (letter if number < 26 else chr(ord("a") + number // 26 - 1) + letter)


class LocalCluster:
    """A local cluster by its directory. Methods raise `InvalidInput` for what cannot be done, changing nothing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def state(self) -> ClusterState:
        """What is on record now. Raises `InvalidInput` if no cluster was founded here."""
        try:
            data = (self.directory / "cluster.json").read_bytes()
        except FileNotFoundError:
            raise InvalidInput(_NO_CLUSTER.format(self.directory)) from None
        try:
            state = msgspec.json.decode(data, type=ClusterState)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{self.directory / 'cluster.json'} is damaged: {error}") from None
        if state.version != STATE_VERSION:
            raise InvalidInput(f"{self.directory} is of another release (cluster.json version {state.version})")
        return state

    @property
    def members(self) -> list[int]:
        """The nodes that were not removed."""
        state = self.state
        return [node for node in range(state.nodes) if node not in state.removed]

    @property
    def exists(self) -> bool:
        """Whether a cluster was founded in this directory."""
        return (self.directory / "cluster.json").exists()

    def found(self, nodes: int, port: int, *, zones: int = 0, test_controls: bool = False) -> ClusterState:
        """Make the directory of a cluster of `nodes` nodes, or check that it holds just that; starts nothing. `zones`
        (0: as many as nodes) counts when it is made.

        Raises `InvalidInput` past `MAX_LOCAL_NODES`, for more zones than nodes, for ports that do not fit, and if the
        directory holds a cluster of another size or port: its founding list cannot be changed by starting it.
        """
        if not 1 <= nodes <= MAX_LOCAL_NODES:
            raise InvalidInput(f"a local cluster has 1 to {MAX_LOCAL_NODES} nodes, not {nodes}")
        if not 0 <= zones <= nodes:
            raise InvalidInput(f"{nodes} nodes stand in 1 to {nodes} zones, not in {zones}")
        if not 1 <= port <= 65_535 - 300 - MAX_LOCAL_NODES:
            raise InvalidInput(f"--port must be between 1 and {65_535 - 300 - MAX_LOCAL_NODES}, not {port}")
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if self.exists:
                state = self.state
                if (state.nodes, state.port) != (nodes, port):
                    raise InvalidInput(
                        f"{self.directory} holds a cluster of {state.nodes} nodes at port {state.port}, "
                        f"not of {nodes} at {port}; use another --data, or remove the directory to lose its data"
                    )
            else:
                state = ClusterState(STATE_VERSION, secrets.token_hex(16), nodes, port, (None,) * nodes, zones)
                self._write(state)
            for node in range(nodes if state.founders is None else state.founders):
                self._configure(state, node, test_controls=test_controls)
        return state

    def add(self, admit: Callable[[dict[str, Any]], dict[str, Any]], zone: str | None) -> int:
        """Have the running cluster take in one more node, and make its directory; starts nothing. Returns its number.

        `admit` asks the cluster (`POST /members/add`). Asked again after a failure, the cluster names the same node.
        """
        with self._locked():
            state = self.state
            node, port = state.nodes, state.port
            if node >= MAX_LOCAL_NODES:
                raise InvalidInput(f"a local cluster has at most {MAX_LOCAL_NODES} nodes, counting removed ones")
            own = node_settings(node, node + 1, port, state.cluster_id, self.directory, zones=state.zones)
            new = {"name": own.name, "host": own.host, "zone": zone or own.zone, "address": _ADDRESS}
            document = admit({**new, "peer_address": f"{_ADDRESS}:{own.peer_port}"})
            if document["node"] != node:
                raise InvalidInput(f"the cluster knows that node as {document['node']}, this directory as {node}")
            ports = {name: getattr(own, name) for name in _PORTS}
            controls = self.settings(0).test_controls
            values = {**ports, "data_dir": own.data_dir, "test_controls": controls}
            home = self._home(node)
            home.mkdir(parents=True, exist_ok=True)
            _replace(home / "node.toml", config.to_toml(settings_of(document, values)).encode())
            founders = node if state.founders is None else state.founders
            processes = (*state.processes, None)
            self._write(msgspec.structs.replace(state, nodes=node + 1, founders=founders, processes=processes))
        return node

    def remove(self, node: int) -> None:
        """The cluster has removed `node`: stop its process, and never start it again. Its directory stays."""
        self.stop(node)
        with self._locked():
            state = self.state
            if node not in state.removed:
                self._write(msgspec.structs.replace(state, removed=(*state.removed, node)))

    def start_all(self, environment: Mapping[str, str] | None = None) -> list[int]:
        """Start every node that does not run; returns them. If one cannot start, those just started are stopped."""
        started: list[int] = []
        nodes = self.members
        if all(self.process_state(node) == "stopped" for node in nodes):
            self._check_port("shared_port", 0)
        try:
            for node in nodes:
                if self.start(node, environment):
                    started.append(node)
        except BaseException:
            for node in started:
                self.stop(node)
            raise
        return started

    def start(self, node: int, environment: Mapping[str, str] | None = None) -> bool:
        """Start node `node` unless it runs; False if it does. Does not wait: see `wait_ready`."""
        environment = os.environ if environment is None else environment
        _refuse_per_node(environment)
        with self._locked():
            state = self.state
            self._check_node(state, node)
            if node in state.removed:
                raise InvalidInput(f"node {node} was removed for good; `gramme cluster add` makes a new one")
            if self._state_of(state, node) != "stopped":
                return False
            # Not the shared port: other nodes of this cluster listen there already.
            for field in ("tables_port", "objects_port", "admin_port", "peer_port"):
                self._check_port(field, node)
            home = self._home(node)
            command = [sys.executable, "-m", "gramme.runtime.cli", "node", "--config", str(home / "node.toml")]
            with (home / "node.log").open("ab") as log:
                # A session of its own: Ctrl-C in a terminal stops the supervisor, which then stops nodes in order.
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=dict(environment),
                    start_new_session=True,
                )
            self._children[node] = child
            self._record(state, node, name_of(child.pid))
        return True

    def wait_ready(self, nodes: list[int] | None = None, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until /health/ready of each node says so. Raises `ClusterFailed` if one dies or takes too long."""
        deadline = time.monotonic() + timeout_s
        for node in self.members if nodes is None else nodes:
            admin_port = self.settings(node).admin_port
            while not is_ready(_ADDRESS, admin_port):
                if self.process_state(node) == "stopped":
                    raise ClusterFailed(f"node {node} ended before it was ready; its log ends with\n{self._tail(node)}")
                if time.monotonic() > deadline:
                    raise ClusterFailed(
                        f"node {node} is not ready after {timeout_s:.0f} s; its log ends with\n{self._tail(node)}"
                    )
                time.sleep(0.02)

    def signal(self, node: int, number: signal.Signals) -> None:
        """Signal node `node`'s process. Raises `InvalidInput` if it does not run."""
        with self._locked():
            state = self.state
            self._check_node(state, node)
            process = state.processes[node]
            if process is None or not send_signal(process, number):
                raise InvalidInput(f"node {node} does not run")

    def kill(self, node: int) -> None:
        """SIGKILL: the process gets no chance to tidy up. Returns when it is gone."""
        process = self.state.processes[self._checked(node)]
        try:
            self.signal(node, signal.SIGKILL)
        finally:  # one that was killed a moment ago may still hold its ports
            if process is not None:
                self._wait_gone(node, process, _STOP_MARGIN_S)

    def pause(self, node: int) -> None:
        """SIGSTOP: the process stands still but keeps its sockets, as a machine that hangs does."""
        self.signal(node, signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """SIGCONT."""
        self.signal(node, signal.SIGCONT)

    def stop(self, node: int, timeout_s: float | None = None) -> bool:
        """SIGTERM, so that the node hands leadership over; False if it had to be killed after the deadline."""
        process = self.state.processes[self._checked(node)]
        return process is None or self._stop_all({node: process}, timeout_s)

    def down(self, timeout_s: float | None = None) -> bool:
        """Stop every node; False if one had to be killed. The data stays."""
        processes = {node: process for node, process in enumerate(self.state.processes) if process is not None}
        return self._stop_all(processes, timeout_s)

    def process_state(self, node: int) -> ProcessState:
        """Whether node `node`'s process runs, is paused, or is gone."""
        return self._state_of(self.state, node)

    def settings(self, node: int) -> Settings:
        """What node `node` was configured with (the environment that it was started in may override it)."""
        return config.load(self._home(node) / "node.toml")

    def _checked(self, node: int) -> int:
        self._check_node(self.state, node)
        return node

    def _check_node(self, state: ClusterState, node: int) -> None:
        if not 0 <= node < state.nodes:
            raise InvalidInput(f"there is no node {node}: nodes count from 0 to {state.nodes - 1}")

    def _home(self, node: int) -> Path:
        return self.directory / "nodes" / str(node)

    def _state_of(self, state: ClusterState, node: int) -> ProcessState:
        if (child := self._children.get(node)) is not None:
            child.poll()  # reaps it, if it has ended
        process = state.processes[node]
        return "stopped" if process is None else state_of(process)

    def _configure(self, state: ClusterState, node: int, *, test_controls: bool) -> None:
        home = self._home(node)
        home.mkdir(parents=True, exist_ok=True)
        settings = node_settings(
            node, state.nodes if state.founders is None else state.founders, state.port, state.cluster_id,
            self.directory, zones=state.zones, test_controls=test_controls,
        )  # fmt: skip
        _replace(home / "node.toml", config.to_toml(settings).encode())

    def _check_port(self, field: str, node: int) -> None:
        port = getattr(self.settings(node), field)
        if not port_is_free(_ADDRESS, port):
            raise InvalidInput(f"port {port} ({field} of node {node}) is in use; choose another --port")

    def _stop_all(self, processes: Mapping[int, ProcessName], timeout_s: float | None) -> bool:
        for process in processes.values():
            send_signal(process, signal.SIGTERM)
            send_signal(process, signal.SIGCONT)  # a paused process would only get the first once it is resumed
        timeout_s = Settings().shutdown_deadline_ms / 1_000 + _STOP_MARGIN_S if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        clean = True
        for node, process in processes.items():
            if not self._wait_gone(node, process, max(0.0, deadline - time.monotonic())):
                clean = False
                send_signal(process, signal.SIGKILL)
                self._wait_gone(node, process, _STOP_MARGIN_S)
        return clean

    def _wait_gone(self, node: int, process: ProcessName, timeout_s: float) -> bool:
        gone = wait_gone(process, timeout_s)
        if gone and (child := self._children.get(node)) is not None and child.pid == process.pid:
            child.wait()
        return gone

    def _record(self, state: ClusterState, node: int, process: ProcessName | None) -> None:
        processes = tuple(process if i == node else old for i, old in enumerate(state.processes))
        self._write(msgspec.structs.replace(state, processes=processes))

    def _write(self, state: ClusterState) -> None:
        _replace(self.directory / "cluster.json", msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")

    def _tail(self, node: int, lines: int = 20) -> str:
        with contextlib.suppress(OSError):
            text = (self._home(node) / "node.log").read_text(encoding="utf-8", errors="replace")
            return "\n".join("    " + line for line in text.splitlines()[-lines:])
        return "    (no log)"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.directory.is_dir():
            raise InvalidInput(_NO_CLUSTER.format(self.directory))
        with (self.directory / "cluster.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def is_ready(host: str, admin_port: int, timeout_s: float = 1.0) -> bool:
    """Whether the node with this admin port says that it is ready."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return http_get(host, admin_port, "/health/ready", timeout_s)[0] == 200
    return False


def http_get(host: str, port: int, path: str, timeout_s: float) -> tuple[int, bytes]:
    """(status, body) of a GET. Raises `OSError` or `http.client.HTTPException`."""
    return http_ask(host, port, "GET", path, None, timeout_s)


def http_ask(host: str, port: int, method: str, path: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
    """As `http_get`, for any method."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()


def _refuse_per_node(environment: Mapping[str, str]) -> None:
    for key in _PER_NODE:
        variable = config.ENVIRONMENT_PREFIX + key.upper()
        if variable in environment:
            raise InvalidInput(f"{variable} would give every node of the local cluster the same {key}; unset it")
    config.load(None, environment)


def _replace(file: Path, data: bytes) -> None:
    """Write `file` whole or not at all: a reader sees the old or the new contents."""
    temporary = file.with_suffix(file.suffix + ".new")
    temporary.write_bytes(data)
    temporary.replace(file)
