"""A rolling restart: every node of a local cluster is stopped and started again, one after the other.

Owns the order and the waiting. Rule: no node is stopped unless every node is ready, for a group survives one missing
replica only (row F14). A stopping node hands its leaderships over by itself; one that has started says that it is ready
only when its replicas have caught up and it grants leases again (docs/design/node.md, "Starting and stopping").
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from gramme.kernel.errors import InvalidInput
from gramme.runtime.cluster import READY_TIMEOUT_S, ClusterFailed, LocalCluster, http_get

RESTART_SCHEMA: Final = "gramme.cluster-restart/1"
_SETTLE_S: Final = 5.0
"""How long the others may take to be ready again once a restarted node is: they only lack its lease for a moment."""

_PROBE_S: Final = 1.0


class RestartedNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node that is back. `drained`: it stopped by itself in time, rather than being killed. Times are seconds."""

    node: int
    drained: bool
    stop_s: float
    ready_s: float


class RestartReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `gramme cluster restart --json`. `error` is "" when every node was restarted."""

    schema: str = RESTART_SCHEMA
    nodes: tuple[RestartedNode, ...] = ()
    seconds: float = 0.0
    error: str = ""


def restart_rolling(
    cluster: LocalCluster, timeout_s: float = READY_TIMEOUT_S, environment: Mapping[str, str] | None = None
) -> Iterator[int | RestartedNode]:
    """Restart node after node; yields the number of each before it is stopped, then what became of it.

    Raises `ClusterFailed`, leaving all further nodes alone, when a node is not ready that should be: before the first
    one is touched (`InvalidInput` if one does not run at all), or `timeout_s` after one was started.
    """
    environment = os.environ if environment is None else environment
    nodes = cluster.members
    stopped = [node for node in nodes if cluster.process_state(node) != "running"]
    if stopped:
        raise InvalidInput(f"node {stopped[0]} does not run; a rolling restart needs every node (`gramme cluster up`)")
    for node in nodes:
        _await_all_ready(cluster, node)
        yield node
        yield _restart(cluster, node, timeout_s, environment)
    _await_all_ready(cluster, None)


def _await_all_ready(cluster: LocalCluster, following: int | None) -> None:
    """Raises `ClusterFailed`, which names a node that is not ready and why."""
    deadline = time.monotonic() + _SETTLE_S
    for node in cluster.members:
        while why := _why_not_ready(cluster, node):
            if time.monotonic() > deadline:
                left = "" if following is None else f"; node {following} and those after it were not restarted"
                raise ClusterFailed(f"node {node} is not ready ({why}){left}")
            time.sleep(0.02)


def _why_not_ready(cluster: LocalCluster, node: int) -> str:
    """ "" if the node says that others may rely on it."""
    settings = cluster.settings(node)
    try:
        status, body = http_get(settings.listen_host, settings.admin_port, "/health/ready", _PROBE_S)
    except (OSError, http.client.HTTPException) as error:
        return f"it does not answer: {error}"
    return "" if status == 200 else body.decode(errors="replace").strip()


def _restart(cluster: LocalCluster, node: int, timeout_s: float, environment: Mapping[str, str]) -> RestartedNode:
    began = time.monotonic()
    drained = cluster.stop(node)
    stopped = time.monotonic()
    cluster.start(node, environment)
    try:
        cluster.wait_ready([node], timeout_s)
    except ClusterFailed as error:
        raise ClusterFailed(f"the restart ends here: {error}") from None
    ready = time.monotonic()
    return RestartedNode(node=node, drained=drained, stop_s=stopped - began, ready_s=ready - stopped)
