"""The `gramme` command.

Owns the command line's grammar; the work is elsewhere and imported when a command needs it, so that `gramme dev` is
ready soon. Names, flags and ports: DESIGN.md §6. Exit codes: 0 done, 1 failed or refused, 2 wrong usage.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gramme.kernel.errors import GrammeError, InvalidInput
from gramme.runtime import cli_bench, cli_members, cli_objects, cli_restart, cli_ring, cli_streams, compiled
from gramme.runtime.cli_shared import Data, fail, local_cluster, print_json
from gramme.runtime.local_arguments import translate

if TYPE_CHECKING:
    from gramme.runtime.cluster import LocalCluster
    from gramme.runtime.config import Settings

app = typer.Typer(
    name="gramme",
    help="A distributed database that speaks DynamoDB.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cluster_app = typer.Typer(help="A local cluster: real node processes on this machine.", no_args_is_help=True)
data_app = typer.Typer(help="Look at the data directory of a stopped node.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")
cluster_app.command()(cli_restart.restart)
for _command in (cli_members.add, cli_members.remove, cli_ring.join, cli_ring.leave, cli_ring.plan, cli_ring.commit):
    cluster_app.command()(_command)
app.command()(cli_ring.ring)
app.add_typer(data_app, name="data")
app.add_typer(cli_streams.app, name="streams")
app.add_typer(cli_objects.app, name="objects")
app.add_typer(cli_bench.app, name="bench")

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated.")]
NodeArgument = Annotated[int, typer.Argument(metavar="I", help="Node, counted from 0.")]
TestControls = Annotated[bool, typer.Option("--test-controls", help="Allow clock, fail-over, reset, snapshot.")]


@app.command()
def dev(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Tables; objects are on port+100, admin on port+200.", show_default="8000")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Data directory.", show_default="gramme-data")
    ] = None,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Keep nothing when the process ends.")] = False,
    insecure_bind: Annotated[bool, typer.Option("--insecure-bind", help="Allow a --host that others reach.")] = False,
    test_controls: TestControls = False,
    settings: Set = None,
) -> None:
    """One embedded node: a cluster of one. Takes DynamoDB Local's arguments too (-port, -inMemory, -dbPath, …)."""
    if in_memory and data is not None:
        raise typer.BadParameter("--data and --in-memory exclude each other")
    flags = {
        "listen_host": host,
        "tables_port": port,
        "data_dir": None if data is None else str(data),
        "in_memory": in_memory or None,
        "insecure_bind": insecure_bind or None,
        "test_controls": test_controls or None,
        **_assignments(settings),
    }
    _serve(lambda: _dev_settings(flags))


@app.command()
def node(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="node.toml")],
    insecure_bind: Annotated[bool, typer.Option("--insecure-bind", help="Allow addresses that others reach.")] = False,
    settings: Set = None,
) -> None:
    """One production node."""
    flags = {"insecure_bind": insecure_bind or None, **_assignments(settings)}

    def load() -> Settings:
        from gramme.runtime import config as settings_of

        loaded = settings_of.load(config, os.environ, flags)
        if loaded.unsupported == "ignore":
            raise InvalidInput("unsupported = 'ignore' is for `gramme dev` only")
        return loaded

    _serve(load)


@app.command()
def sim(
    seed: Annotated[int | None, typer.Option(help="The run to make; without it, one drawn at random.")] = None,
    config: Annotated[str | None, typer.Option(metavar="NAME", help="One configuration instead of the mix.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs, with the seeds that follow.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes to spread them over.")] = 1,
) -> None:
    """Simulate whole clusters under faults; exit 1 and a line that replays the run on a violation."""
    compiled.use_if_demanded()
    # By name: `runtime` and `sim` stand side by side, and neither may depend on the other.
    run: Callable[..., int] = import_module("gramme.sim.main").run
    first = int.from_bytes(os.urandom(4), "big") if seed is None else seed
    raise typer.Exit(run(seed=first, config=config, runs=runs, jobs=jobs))


@cluster_app.command()
def up(
    nodes: Annotated[int | None, typer.Option(help="How many nodes.", show_default="3")] = None,
    zones: Annotated[int, typer.Option(help="Zones that they stand in; 0: one each.")] = 0,
    port: Annotated[
        int | None, typer.Option(help="Shared endpoint; node I serves tables on port+1+I.", show_default="8000")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when all nodes are ready.")] = False,
    test_controls: TestControls = False,
    data: Data = None,
) -> None:
    """Start a local cluster, or what does not run of it."""
    from gramme.runtime import cli_show

    cluster = local_cluster(data)
    if cluster.exists:
        state = cluster.state
        nodes = state.nodes if nodes is None else nodes
        port = state.port if port is None else port
    cluster.found(
        3 if nodes is None else nodes, 8000 if port is None else port, zones=zones, test_controls=test_controls
    )
    started = cluster.start_all()
    try:
        cluster.wait_ready()
    except BaseException:
        for node in started:
            cluster.stop(node)
        raise
    settings = cluster.settings(0)
    print(cli_show.endpoints(cluster))
    print(f"\nTry it: paste this into a shell.\n\n{cli_show.try_me(_shared_endpoint(cluster), settings.region)}")
    if not detach:
        _supervise(cluster)


@cluster_app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Schema gramme.cluster-status/1.")] = False, data: Data = None
) -> None:
    """Nodes, tables, partitions, leaders, ballots, slots and lag."""
    from gramme.runtime.cluster_status import collect

    report = collect(local_cluster(data))
    if as_json:
        print_json(report)
        return
    from rich.console import Console

    from gramme.runtime import cli_show

    cli_show.print_status(report, Console())


@cluster_app.command()
def down(data: Data = None) -> None:
    """Stop every node in order; the data stays."""
    if not local_cluster(data).down():
        fail("a node did not stop in time and was killed; nothing acknowledged is lost")


@cluster_app.command()
def kill(node: NodeArgument, data: Data = None) -> None:
    """SIGKILL one node."""
    local_cluster(data).kill(node)


@cluster_app.command()
def start(node: NodeArgument, data: Data = None) -> None:
    """Start one node and wait until it is ready."""
    cluster = local_cluster(data)
    if not cluster.start(node):
        print(f"node {node} runs already")
    cluster.wait_ready([node])


@cluster_app.command()
def pause(node: NodeArgument, data: Data = None) -> None:
    """SIGSTOP one node: it stands still and keeps its connections."""
    local_cluster(data).pause(node)


@cluster_app.command()
def resume(node: NodeArgument, data: Data = None) -> None:
    """Let a paused node go on."""
    local_cluster(data).resume(node)


@data_app.command()
def check(directory: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Verify log and engine of a stopped node and print what they hold; exit 1 on damage."""
    from gramme.runtime.data_check import check_directory

    raise typer.Exit(check_directory(directory))


def main() -> None:
    """Entry point of the `gramme` command: errors made on purpose are one line, not a stack trace."""
    try:
        app(args=_arguments(sys.argv[1:]))
    except GrammeError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _arguments(given: list[str]) -> list[str]:
    try:
        return translate(given)
    except typer.BadParameter as error:
        print(f"gramme: {error.format_message()}", file=sys.stderr)
        sys.exit(2)


def _dev_settings(flags: dict[str, Any]) -> Settings:
    from gramme.runtime import config

    port = config.load(None, os.environ, flags, base={"objects_port": 0, "admin_port": 0, "peer_port": 0}).tables_port
    if port > 65_535 - 300:
        raise InvalidInput(f"--port must be at most {65_535 - 300}: port+300 is used too")
    derived = {f"{name}_port": port + offset if port else 0 for name, offset in _DEV_OFFSETS.items()}
    return config.load(None, os.environ, flags, base=derived)


_DEV_OFFSETS = {"objects": 100, "admin": 200, "peer": 300}


def _serve(load: Callable[[], Settings]) -> NoReturn:
    gc.disable()  # until everything is imported and recovered: a tenth of a start, and none of it is garbage
    try:
        compiled.use_if_built()
        settings = load()
        from gramme.runtime.server import run

        raise typer.Exit(run(settings))
    finally:
        gc.enable()


def _assignments(assignments: list[str] | None) -> dict[str, Any]:
    """`--set key=value` as the environment would give it."""
    from gramme.runtime import config

    values: dict[str, Any] = {}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {assignment}: KEY=VALUE is expected")
        values.update(config.parse_text("--set", key, text))
    return values


def _shared_endpoint(cluster: LocalCluster) -> str:
    return f"http://{cluster.settings(0).listen_host}:{cluster.state.port}"


def _supervise(cluster: LocalCluster) -> None:
    """Stay in the foreground: say when a node's state changes, and stop all of them on SIGINT or SIGTERM."""
    import threading

    from gramme.runtime.signals import on_stop

    stop = threading.Event()
    on_stop(stop.set)
    print("Ctrl-C stops the cluster.", flush=True)
    known = {node: cluster.process_state(node) for node in cluster.members}
    while not stop.wait(0.25):
        for node in cluster.members:  # some may join and leave
            state = cluster.process_state(node)
            if state != known.get(node):
                known[node] = state
                print(f"node {node} is {state}", flush=True)
        if all(state == "stopped" for state in known.values()):
            return
    if not cluster.down():
        fail("a node did not stop in time and was killed; nothing acknowledged is lost")


if __name__ == "__main__":
    main()
