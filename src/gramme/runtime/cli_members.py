"""`gramme cluster add` and `gramme cluster remove`: who is in the cluster.

Clients of a node's admin port: that of any node of the local cluster which answers, or `--admin URL`. Of the local
cluster the processes are started and stopped too; elsewhere `add` prints the new node's node.toml, for
`gramme node --config`. Nothing leaves before its preview was shown.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gramme.runtime.cli_shared import (
    Admin,
    Data,
    admin_addresses,
    ask,
    fail,
    local_cluster,
    size_text,
    try_to_ask,
)

_POLL_S: Final = 0.5
_MOST_SHOWN: Final = 40


def add(
    zone: Annotated[str | None, typer.Option(help="Availability zone.", show_default="the next letter")] = None,
    data: Data = None,
    admin: Admin = None,
    name: Annotated[str | None, typer.Option(help="With --admin: the node's name.")] = None,
    host: Annotated[str | None, typer.Option(help="With --admin: the machine, what fails together.")] = None,
    peer_address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="With --admin: where peers reach it.")
    ] = None,
) -> None:
    """Take one more node into the cluster: it hosts replicas as soon as it runs, of new tables or to heal others."""
    if admin is not None:
        print(_admitted(admin, zone, name, host, peer_address), end="")
        return
    if name or host or peer_address:
        raise typer.BadParameter("--name, --host and --peer-address go with --admin; a local cluster chooses them")
    from gramme.runtime import cli_show

    cluster = local_cluster(data)
    node = cluster.add(lambda new: ask(data, None, "POST", "/members/add", new), zone)
    cluster.start(node)
    cluster.wait_ready([node])
    print(
        f"{cli_show.node_endpoints(cluster, node)}\n"
        "it gets replicas of new tables and of groups that heal; what is there stays where it is\n"
        f"it keeps no objects yet: `gramme cluster join {node}`, then `gramme cluster plan`"
    )


def _admitted(admin: str, zone: str | None, name: str | None, host: str | None, peer_address: str | None) -> str:
    """The node.toml of a node that the cluster knows from now on."""
    from gramme.runtime.config import parse_address, to_toml
    from gramme.runtime.joining import settings_of

    if not (zone and name and host and peer_address):
        raise typer.BadParameter("--admin needs --zone, --name, --host and --peer-address")
    address, port = parse_address(peer_address)
    new = {"name": name, "host": host, "zone": zone, "address": address, "peer_address": peer_address}
    document = ask(None, admin, "POST", "/members/add", new)
    return to_toml(settings_of(document, {"advertise_host": address, "peer_port": port}))


def remove(
    node: Annotated[int, typer.Argument(metavar="I", help="Node, counted from 0; it may be dead.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait: `cluster status` shows how far it is.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Let a node that is leaving stay instead.")] = False,
    data: Data = None,
    admin: Admin = None,
) -> None:
    """Take a node out of the cluster for good. Shows what moves, asks, and waits until all of it is rebuilt elsewhere;
    interrupted, that goes on, and the command may be repeated."""
    if keep:
        ask(data, admin, "POST", "/members/keep", {"node": node})
        print(f"node {node} stays; what has moved already does not come back")
        return
    if _state(data, admin, node) != "removed":
        plan = ask(data, admin, "POST", "/members/plan-removal", {"node": node})
        if plan["refusal"]:
            fail(plan["refusal"])
        ring = _ring_without(data, admin, node)
        _print_plan(plan, ring)
        if not yes and not typer.confirm(f"Remove node {node} for good?"):
            raise typer.Exit(1)
        if ring is not None:
            ask(data, admin, "POST", "/ring/commit", {"plan": ring["plan"]})
        ask(data, admin, "POST", "/members/remove", {"node": node})
        if detach:
            print(f"node {node} is leaving; `gramme cluster status` shows how far it is, `--keep` lets it stay")
            return
        _wait_until_removed(data, admin, node, plan["moves"])
    if admin is None:
        local_cluster(data).remove(node)
    print(f"node {node} is removed; its number is not given again")


def _state(data: Path | None, admin: str | None, node: int) -> str:
    for each in ask(data, admin, "GET", "/members")["nodes"]:
        if each["node"] == node:
            return str(each["state"])
    return fail(f"there is no node {node}")


def _ring_without(data: Path | None, admin: str | None, node: int) -> dict[str, Any] | None:
    """The plan of the objects' ring without the node; None if it is not in it, or leaves it already."""
    ring = ask(data, admin, "GET", "/ring")
    becoming = ring["becoming"]
    members = [member["node"] for member in ring["members"]] if becoming is None else becoming["members"]
    return ask(data, admin, "POST", "/ring/plan", {"leave": [node]}) if node in members else None


def _print_plan(plan: dict[str, Any], ring: dict[str, Any] | None) -> None:
    """`to` is where the replicas go if all nodes are up."""
    from rich.console import Console
    from rich.markup import escape

    from gramme.runtime.cli_show import plain_table

    moves = plan["moves"]
    console = Console(highlight=False)
    table = plain_table(f"replicas on node {plan['node']}, to be rebuilt elsewhere")
    for heading in ("table", "group", "items", "bytes", "to"):
        table.add_column(heading, overflow="fold")
    for move in moves[:_MOST_SHOWN]:
        known = move["bytes"] is not None
        sizes = (f"{move['rows']:,}", size_text(move["bytes"])) if known else ("", "")
        to = "no node is free yet" if move["to"] is None else f"node {move['to']}"
        table.add_row(escape(move["table"] or "(catalog)"), str(move["group"]), *sizes, to)
    if moves:
        console.print(table)
    if len(moves) > _MOST_SHOWN:
        console.print(f"… and {len(moves) - _MOST_SHOWN} more")
    uncounted = ", not counting what has no size above" if any(move["bytes"] is None for move in moves) else ""
    console.print(f"{len(moves)} replicas to rebuild, {size_text(_bytes(moves))} of items to copy{uncounted}")
    if ring is not None:
        about = "" if ring["exact"] else "about "
        console.print(
            f"it leaves the objects' ring: {len(ring['moves'])} partitions change their owner, "
            f"{about}{size_text(ring['bytes'])} to move"
        )
        if ring["unreachable_partitions"]:
            console.print(f"[red]no replica answers[/] for partitions {ring['unreachable_partitions']} of the ring")


def _bytes(moves: list[dict[str, Any]]) -> int:
    """Of the items, as far as it is known."""
    return sum(move["bytes"] or 0 for move in moves)


def _wait_until_removed(data: Path | None, admin: str | None, node: int, planned: list[dict[str, Any]]) -> None:
    """Show how far it is, until the catalog says that the node is removed. Nodes may fail to answer meanwhile."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    shown = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn()
    )
    quiet = not shown.console.is_terminal
    shown.disable = quiet
    said = ""
    with shown:
        bar = shown.add_task(f"node {node} is leaving", total=max(1, len(planned)), told="")
        while (state := try_to_ask(data, admin, "GET", "/members")) and not _is_removed(state, node):
            left = try_to_ask(data, admin, "POST", "/members/plan-removal", {"node": node})
            if not isinstance(left, str):
                told = _told(planned, left["moves"], _sent_bytes(data, admin, left["moves"]))
                shown.update(bar, completed=len(planned) - len(left["moves"]), told=told)
                if quiet and told != said:
                    print(told, flush=True)
                said = told
            time.sleep(_POLL_S)
        shown.update(bar, completed=max(1, len(planned)))


def _is_removed(members: dict[str, Any] | str, node: int) -> bool:
    nodes = [] if isinstance(members, str) else members["nodes"]
    return any(each["node"] == node and each["state"] == "removed" for each in nodes)


def _told(planned: list[dict[str, Any]], left: list[dict[str, Any]], sent: int) -> str:
    done, total = len(planned) - len(left), _bytes(planned)
    if not left:
        return "all replicas are rebuilt; waiting for the catalog, and for the objects' ring if it was in it"
    copied = min(total, max(0, total - _bytes(left)) + sent)
    return f"{done} of {len(planned)} replicas rebuilt, {size_text(copied)} of {size_text(total)} copied"


def _sent_bytes(data: Path | None, admin: str | None, left: list[dict[str, Any]]) -> int:
    """Bytes sent of copies under way; with `--admin`, by that node only. Never more of a group than its items have."""
    from gramme.runtime.cluster_status import fetch_report

    limits = {move["group"]: move["bytes"] or 0 for move in left}
    reports = [fetch_report(*address) for address in admin_addresses(data, admin)]
    groups = [group for report in reports if report is not None for group in report.groups]
    return sum(
        min(copy.sent_bytes, limits.get(group.group, 0)) for group in groups if group.leading for copy in group.copies
    )
