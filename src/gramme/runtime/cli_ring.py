"""`gramme ring`, and `gramme cluster join|leave|plan|commit`: membership of the objects' ring.

Clients of a node's admin port: that of any node of the local cluster which answers, or `--admin URL`. Nothing moves
before `commit`, which does what `plan` has just shown and nothing else (row A26).
"""

from __future__ import annotations

import contextlib
import http.client
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

Nodes = Annotated[list[int], typer.Argument(metavar="I…", help="Nodes, counted from 0.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Directory of the cluster.")]
Admin = Annotated[str | None, typer.Option("--admin", metavar="URL", help="Admin port of a node, instead of --data.")]
AsJson = Annotated[bool, typer.Option("--json", help="The document as the node gives it.")]

_TIMEOUT_S = 10.0


def ring(as_json: AsJson = False, data: Data = None, admin: Admin = None) -> None:
    """Tokens, owners, balance and preference lists of the objects' ring, and how far a change of it is."""
    document = ask(data, admin, "GET", "/ring")
    if as_json:
        _print_json(document)
    else:
        _print_ring(document)


def join(nodes: Nodes, data: Data = None, admin: Admin = None) -> None:
    """Stage nodes of the cluster to join the ring; `plan` shows what would move, `commit` does it."""
    ask(data, admin, "POST", "/ring/stage", {"join": nodes})


def leave(nodes: Nodes, data: Data = None, admin: Admin = None) -> None:
    """Stage nodes to leave the ring, also dead ones: theirs is made up from the other replicas."""
    ask(data, admin, "POST", "/ring/stage", {"leave": nodes})


def plan(
    as_json: AsJson = False,
    clear: Annotated[bool, typer.Option("--clear", help="Forget what is staged instead.")] = False,
    data: Data = None,
    admin: Admin = None,
) -> None:
    """Show what is staged: what moves from whom to whom, how many bytes, and the name to commit it by."""
    if clear:
        ask(data, admin, "POST", "/ring/unstage", {})
        return
    document = ask(data, admin, "POST", "/ring/plan", {})
    if as_json:
        _print_json(document)
    else:
        _print_plan(document)


def commit(
    plan_name: Annotated[str, typer.Argument(metavar="PLAN", help="As `plan` names it.")],
    data: Data = None,
    admin: Admin = None,
) -> None:
    """Change the ring as that plan says; refused if the ring is not what it was then."""
    ask(data, admin, "POST", "/ring/commit", {"plan": plan_name})


def ask(data: Path | None, admin: str | None, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What a node's admin port answers; a refusal ends the command."""
    for address in [_address(admin)] if admin else _local(data):
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, answer = _request(address, method, path, body)
            document: dict[str, Any] = msgspec.json.decode(answer)
            return document if status == 200 else _fail(document["message"])
    return _fail("no node answers")


def _address(url: str) -> tuple[str, int]:
    from gramme.runtime.config import parse_address

    return parse_address(url.removeprefix("http://").rstrip("/"))


def _local(data: Path | None) -> list[tuple[str, int]]:
    from gramme.runtime.cluster import DEFAULT_DIRECTORY, LocalCluster

    cluster = LocalCluster(data or DEFAULT_DIRECTORY)
    settings = [cluster.settings(node) for node in cluster.members]
    return [(each.listen_host, each.admin_port) for each in settings]


def _request(address: tuple[str, int], method: str, path: str, body: Any) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request(method, path, None if body is None else msgspec.json.encode(body))
        response = connection.getresponse()
        return response.status, response.read()


def _print_json(document: dict[str, Any]) -> None:
    print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def _print_ring(document: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    becoming = document["becoming"]
    change = "" if becoming is None else f", becoming {becoming['version']} ({document['step']})"
    members = _table(f"ring {document['version']}: {document['partitions']} partitions{change}")
    changing = becoming is not None or any(each["tasks"] for each in document["transfers"])
    moving = ("transfers", "moved", "left", "pace") if changing else ()
    for heading in ("node", "host", "zone", "weight", "partitions", "balance", *moving):
        members.add_column(heading)
    progress = {each["node"]: each for each in document["transfers"]} if changing else {}
    listed = {member["node"]: member for member in document["members"]}
    for node in sorted({*progress, *listed}):
        row = (str(node), *_member(listed.get(node)))
        members.add_row(*row, *(_progress(progress.get(node)) if changing else ()))
    console.print(members)
    lists = _table("partitions (owner, other primaries of three replicas | fallbacks)")
    lists.add_column("partitions")
    lists.add_column("nodes")
    for nodes, partitions in _grouped(document["preference_lists"]):
        lists.add_row(partitions, f"{' '.join(map(str, nodes[:3]))} | {' '.join(map(str, nodes[3:]))}")
    console.print(lists)
    staged = document["staged"]
    if staged["join"] or staged["leave"]:
        console.print(f"staged: join {staged['join']}, leave {staged['leave']}; `gramme cluster plan` shows what moves")
    if document["waiting_for"]:
        console.print(f"waiting for nodes {document['waiting_for']}")


def _member(member: dict[str, Any] | None) -> tuple[str, ...]:
    if member is None:
        return "-", "-", "-", "-", "not in the ring"
    return (
        member["host"], member["zone"], str(member["weight"]), str(member["partitions"]), f"{member['balance']:.2f}"
    )  # fmt: skip


def _progress(progress: dict[str, Any] | None) -> tuple[str, ...]:
    if progress is None:
        return "?", "?", "?", "?"
    return (
        f"{progress['done']}/{progress['tasks']}", _bytes(progress["bytes_moved"]),
        f"≤ {_bytes(progress['bytes_left'])}", f"{_bytes(progress['rate'])}/s",
    )  # fmt: skip


def _grouped(lists: list[list[int]]) -> list[tuple[list[int], str]]:
    """Each different list once, with the partitions that have it."""
    found: dict[tuple[int, ...], list[int]] = {}
    for partition, nodes in enumerate(lists):
        found.setdefault(tuple(nodes), []).append(partition)
    return [(list(nodes), " ".join(map(str, partitions))) for nodes, partitions in found.items()]


def _print_plan(document: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    about = "" if document["exact"] else ", estimated"
    table = _table(f"ring {document['ring_version']}: join {document['join']}, leave {document['leave']}")
    for heading in ("to", "in the place of", "sections", f"bytes{about}"):
        table.add_column(heading)
    for move in document["transfers"]:
        table.add_row(str(move["to"]), str(move["from"]), str(move["sections"]), _bytes(move["bytes"]))
    console.print(table)
    console.print(f"{len(document['moves'])} partitions change their owner; {_bytes(document['bytes'])} to move{about}")
    shares = ", ".join(f"{node}: {share:.2f}" for node, share in document["balance"].items())
    console.print(f"balance then: {shares}")
    if document["unreachable_partitions"]:
        console.print(f"[red]no replica answers[/] for partitions {document['unreachable_partitions']}")
    print(f"gramme cluster commit {document['plan']}")


def _table(title: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def _fail(message: str) -> NoReturn:
    print(f"gramme: {message}", file=sys.stderr)
    raise typer.Exit(1)
