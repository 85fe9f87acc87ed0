"""`gramme ring`, and `gramme cluster join|leave|plan|commit`: membership of the objects' ring.

Clients of a node's admin port: that of any node of the local cluster which answers, or `--admin URL`. Nothing moves
before `commit`, which does what `plan` has just shown and nothing else (row A26).
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gramme.runtime.cli_shared import Admin, Data, ask, print_json, size_text

Nodes = Annotated[list[int], typer.Argument(metavar="I…", help="Nodes, counted from 0.")]
AsJson = Annotated[bool, typer.Option("--json", help="The document as the node gives it.")]


def ring(as_json: AsJson = False, data: Data = None, admin: Admin = None) -> None:
    """Tokens, owners, balance and preference lists of the objects' ring, and how far a change of it is."""
    document = ask(data, admin, "GET", "/ring")
    if as_json:
        print_json(document)
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
        print_json(document)
    else:
        _print_plan(document)


def commit(
    plan_name: Annotated[str, typer.Argument(metavar="PLAN", help="As `plan` names it.")],
    data: Data = None,
    admin: Admin = None,
) -> None:
    """Change the ring as that plan says; refused if the ring is not what it was then."""
    ask(data, admin, "POST", "/ring/commit", {"plan": plan_name})
    print("the ring is changing; `gramme ring` shows how far it is")


def _print_ring(document: dict[str, Any]) -> None:
    from rich.console import Console

    from gramme.runtime.cli_show import plain_table

    console = Console()
    becoming = document["becoming"]
    change = "" if becoming is None else f", becoming {becoming['version']} ({document['step']})"
    members = plain_table(f"ring {document['version']}: {document['partitions']} partitions{change}")
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
    lists = plain_table("partitions (owner, other primaries of three replicas | fallbacks)")
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
        f"{progress['done']}/{progress['tasks']}", size_text(progress["bytes_moved"]),
        f"≤ {size_text(progress['bytes_left'])}", f"{size_text(progress['rate'])}/s",
    )  # fmt: skip


def _grouped(lists: list[list[int]]) -> list[tuple[list[int], str]]:
    """Each different list once, with the partitions that have it."""
    found: dict[tuple[int, ...], list[int]] = {}
    for partition, nodes in enumerate(lists):
        found.setdefault(tuple(nodes), []).append(partition)
    return [(list(nodes), " ".join(map(str, partitions))) for nodes, partitions in found.items()]


def _print_plan(document: dict[str, Any]) -> None:
    from rich.console import Console

    from gramme.runtime.cli_show import plain_table

    console = Console()
    about = "" if document["exact"] else ", estimated"
    table = plain_table(f"ring {document['ring_version']}: join {document['join']}, leave {document['leave']}")
    for heading in ("to", "in the place of", "sections", f"bytes{about}"):
        table.add_column(heading)
    for move in document["transfers"]:
        table.add_row(str(move["to"]), str(move["from"]), str(move["sections"]), size_text(move["bytes"]))
    console.print(table)
    console.print(
        f"{len(document['moves'])} partitions change their owner; {size_text(document['bytes'])} to move{about}"
    )
    shares = ", ".join(f"{node}: {share:.2f}" for node, share in document["balance"].items())
    console.print(f"balance then: {shares}")
    if document["unreachable_partitions"]:
        console.print(f"[red]no replica answers[/] for partitions {document['unreachable_partitions']}")
    print(f"gramme cluster commit {document['plan']}")
