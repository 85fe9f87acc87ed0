"""`gramme cluster restart`: what it prints while nodes go and come back, for people or (`--json`) for programs."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from gramme.kernel.errors import GrammeError
from gramme.runtime.cli_shared import Data, fail, local_cluster, print_json

if TYPE_CHECKING:
    from gramme.runtime.cluster import LocalCluster
    from gramme.runtime.rolling import RestartedNode


def restart(
    rolling: Annotated[
        bool, typer.Option("--rolling", help="One node after the other; the cluster serves on.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a node may take to be ready again.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Schema gramme.cluster-restart/1.")] = False,
    data: Data = None,
) -> None:
    """Restart every node, each when all are ready; stops at the first that does not become so."""
    from gramme.runtime.rolling import RestartReport

    if not rolling:
        raise typer.BadParameter("--rolling is the only way; `cluster down` and `cluster up` restart all at once")
    cluster = local_cluster(data)
    began = time.monotonic()
    done: list[RestartedNode] = []
    error = ""
    try:
        _carry_out(cluster, timeout, done, quiet=as_json)
    except GrammeError as failure:
        error = str(failure)
    seconds = time.monotonic() - began
    if as_json:
        report = RestartReport(nodes=tuple(done), seconds=round(seconds, 3), error=error)
        print_json(report)
    elif not error:
        print(f"{len(done)} nodes restarted in {seconds:.1f} s")
    if error:
        fail(error)


def _carry_out(cluster: LocalCluster, timeout: float, done: list[RestartedNode], *, quiet: bool) -> None:
    """Restart, with a spinner where there is a terminal; what is finished goes to `done`."""
    from rich.console import Console

    from gramme.runtime.rolling import RestartedNode, restart_rolling

    console = Console(highlight=False)
    nodes = len(cluster.members)
    spinner = console.status("waiting until all nodes are ready") if not quiet and console.is_terminal else None
    shown: AbstractContextManager[object] = nullcontext() if spinner is None else spinner
    with shown:
        for step in restart_rolling(cluster, timeout):
            if isinstance(step, RestartedNode):
                done.append(step)
                if not quiet:
                    console.print(_told(step))
            elif spinner is not None:
                spinner.update(f"node {step} ({len(done) + 1} of {nodes}) is restarted")


def _told(node: RestartedNode) -> str:
    how = "handed over and stopped" if node.drained else "was killed: it did not stop in time"
    return f"node {node.node} {how} in {node.stop_s:.2f} s, ready again after {node.ready_s:.2f} s"
