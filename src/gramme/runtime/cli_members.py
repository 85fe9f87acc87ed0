"""`gramme cluster add` and `gramme cluster remove`: who is in the cluster.

Clients of a node's admin port: that of any node of the local cluster which answers, or `--admin URL`. Of the local
cluster the processes are started and stopped too; elsewhere `add` prints the new node's node.toml, for
`gramme node --config`. Nothing leaves before its preview was shown.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gramme.runtime.cli_shared import Admin, Data, ask, fail, local_cluster

_POLL_S: Final = 0.5


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
    print(f"{cli_show.node_endpoints(cluster, node)}\nit keeps no objects yet: gramme cluster join {node}")


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
    detach: Annotated[bool, typer.Option("--detach", help="Return when the node is leaving.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Let a node that is leaving stay instead.")] = False,
    data: Data = None,
    admin: Admin = None,
) -> None:
    """Take a node out of the cluster for good: its replicas are rebuilt elsewhere first. May be repeated."""
    if keep:
        ask(data, admin, "POST", "/members/keep", {"node": node})
        return
    if _state(data, admin, node) != "removed":
        plan = ask(data, admin, "POST", "/members/plan-removal", {"node": node})
        _refuse_in_ring(data, admin, node)
        if plan["refusal"]:
            fail(plan["refusal"])
        _print_plan(plan)
        if not yes and not typer.confirm(f"Remove node {node} for good?"):
            raise typer.Exit(1)
        ask(data, admin, "POST", "/members/remove", {"node": node})
        if detach:
            return
        while _state(data, admin, node) != "removed":
            time.sleep(_POLL_S)
    if admin is None:
        local_cluster(data).remove(node)
    print(f"node {node} is removed; its number is not given again")


def _refuse_in_ring(data: Path | None, admin: str | None, node: int) -> None:
    members = [member["node"] for member in ask(data, admin, "GET", "/ring")["members"]]
    if node in members:
        fail(
            f"node {node} is in the ring of the objects; first\n  gramme cluster leave {node}\n  gramme cluster plan\n"
            "  gramme cluster commit PLAN\nand wait until gramme ring shows the change as settled"
        )


def _state(data: Path | None, admin: str | None, node: int) -> str:
    for each in ask(data, admin, "GET", "/members")["nodes"]:
        if each["node"] == node:
            return str(each["state"])
    return fail(f"there is no node {node}")


def _print_plan(plan: dict[str, Any]) -> None:
    """`to` is where the replicas go if all nodes are up."""
    if not plan["moves"]:
        print(f"node {plan['node']} holds no replica of a table")
    tables: dict[str, Counter[int]] = {}
    for move in plan["moves"]:
        tables.setdefault(move["table"], Counter())[move["to"]] += 1
    for table, targets in tables.items():
        where = ", ".join(f"{count} to node {to}" for to, count in sorted(targets.items()))
        print(f"{table}: {sum(targets.values())} replicas move, {where}")
