"""What the command line prints: endpoints, the program to try, and tables of a cluster's state.

Owns layout only. The program is printed plain, never wrapped or coloured, because it is meant to be pasted.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gramme.kernel.ids import Ballot, ballot_node, ballot_round
from gramme.runtime.cli_shared import size_text
from gramme.runtime.cluster import LocalCluster
from gramme.runtime.cluster_status import ClusterStatus, CopyReport, NodeStatus, PartitionStatus, TableStatus

_TRY_ME = """\
{python} - <<'END'
import boto3

db = boto3.resource("dynamodb", endpoint_url="{endpoint}", region_name="{region}",
                    aws_access_key_id="any", aws_secret_access_key="any")
table = db.create_table(
    TableName="Music", BillingMode="PAY_PER_REQUEST",
    KeySchema=[{{"AttributeName": "Artist", "KeyType": "HASH"}}, {{"AttributeName": "Song", "KeyType": "RANGE"}}],
    AttributeDefinitions=[{{"AttributeName": "Artist", "AttributeType": "S"}},
                          {{"AttributeName": "Song", "AttributeType": "S"}}])
table.wait_until_exists()
key = {{"Artist": "Miriam Makeba", "Song": "Pata Pata"}}
table.put_item(Item={{**key, "Year": 1967}})
print("strong read:  ", table.get_item(Key=key, ConsistentRead=True)["Item"])
while not (item := table.get_item(Key=key).get("Item")):  # eventual: another replica may be a moment behind
    pass
print("eventual read:", item)
table.delete_item(Key=key)
table.delete()
table.wait_until_not_exists()
print("table deleted")
END
"""


def try_me(endpoint: str, region: str) -> str:
    """A short boto3 program for the shell, which leaves nothing behind."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return _TRY_ME.format(python=shlex.quote(str(python)), endpoint=endpoint, region=region)


def endpoints(cluster: LocalCluster) -> str:
    """The addresses of a local cluster, one a line."""
    state = cluster.state
    first = cluster.settings(cluster.members[0])
    lines = [f"tables, any node   http://{first.listen_host}:{state.port}"]
    for node in cluster.members:
        lines.append(node_endpoints(cluster, node))
    lines.append(f"data and logs      {os.path.relpath(cluster.directory)}")
    return "\n".join(lines)


def node_endpoints(cluster: LocalCluster, node: int) -> str:
    """Where one node is, on a line."""
    settings = cluster.settings(node)
    base = f"http://{settings.listen_host}"
    return f"node {node} ({settings.zone})  tables {base}:{settings.tables_port}  admin {base}:{settings.admin_port}"


def print_status(status: ClusterStatus, console: Console) -> None:
    """Nodes, then tables, as rich tables."""
    console.print(_nodes(status))
    console.print(_partitions(status))
    for line in _troubles(status):
        console.print(line)
    ring = status.objects.ring
    if ring.step != "settled" or any(each.tasks or each.spare_sections for each in ring.transfers):
        done, tasks = sum(each.done for each in ring.transfers), sum(each.tasks for each in ring.transfers)
        waits = f", waiting for nodes {', '.join(map(str, ring.waiting_for))}" if ring.waiting_for else ""
        console.print(
            f"the objects' ring is changing ({ring.step}): {done} of {tasks} transfers done{waits}; see gramme ring"
        )


def _troubles(status: ClusterStatus) -> list[str]:
    """One line for each group that is not healthy, and for each node that is leaving."""
    lines = []
    for entry in status.tables:
        for partition in entry.partitions:
            if partition.health == "healthy":
                continue
            about = f"{escape(entry.name or '(catalog)')} group {partition.group}"
            if partition.leader is None:
                lines.append(f"[red]no leader[/]: {about}: requests wait until its replicas elect one")
            else:
                told = "; ".join([escape(partition.reason), *_catching_up(partition)])
                lines.append(f"[yellow]{partition.health}[/]: {about}: {told}")
    for leaving in status.removals:
        left = f"{leaving.replicas} replicas ({size_text(leaving.bytes)}) are still to be rebuilt elsewhere"
        lines.append(f"leaving: node {leaving.node}: {left if leaving.replicas else 'no replica is left on it'}")
    return lines


def _catching_up(partition: PartitionStatus) -> list[str]:
    """How far each replica is that gets the rows, or the log behind them."""
    copied = {copy.node for copy in partition.copies}
    return [f"copy to node {copy.node}: {_sent(copy)}" for copy in partition.copies] + [
        f"node {replica.node} lacks {replica.lag_slots} slots"
        for replica in partition.replicas
        if replica.lag_slots and not replica.votes and replica.node not in copied
    ]


def _sent(copy: CopyReport) -> str:
    if not copy.bytes:
        return f"{size_text(copy.sent_bytes)} sent"
    share = min(99, 100 * copy.sent_bytes // copy.bytes)  # all of it is there when the copy is not listed any more
    return f"{size_text(copy.sent_bytes)} of {size_text(copy.bytes)} ({share} %)"


def _nodes(status: ClusterStatus) -> Table:
    table = plain_table(f"cluster {status.cluster_id[:8]}, tables at {status.shared_endpoint}")
    for heading in ("node", "zone", "process", "ready", "leads", "tables", "admin"):
        table.add_column(heading, overflow="fold")
    for node in status.nodes:
        process = node.process if node.pid is None else f"{node.process} ({node.pid})"
        leads = f"{node.leads} of {node.replicas}" if node.answers else "?"
        ports = (_port(node.tables_endpoint), _port(node.admin_endpoint))
        table.add_row(node.name, node.zone, process, _ready(node), leads, *ports)
    return table


def _port(endpoint: str) -> str:
    return endpoint[endpoint.rindex(":") :]


def plain_table(title: str) -> Table:
    """A table without lines between its rows."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)


def _ready(node: NodeStatus) -> str:
    if node.state == "removed":
        return "removed"
    state = "" if node.state == "active" else f", {node.state}"
    if node.ready:
        return f"[green]yes[/]{state}"
    return f"[red]no[/]{state}" + ("" if node.process == "stopped" else f": {escape(node.not_ready_because)}")


def _partitions(status: ClusterStatus) -> Table:
    table = plain_table("partitions (replicas: node: applied slot (lag), * leads, ? does not answer)")
    for heading in ("table", "status", "group", "leader", "ballot", "chosen", "replicas"):
        table.add_column(heading, overflow="fold")
    for entry in status.tables:
        for row in _partition_rows(entry):
            table.add_row(*row)
    return table


def _replicas(partition: PartitionStatus) -> Iterator[tuple[int, str]]:
    for replica in partition.replicas:
        leads = "*" if replica.node == partition.leader else ""
        kind = f"{' log' if replica.kind == 'log' else ''}{'' if replica.votes else ' (no vote)'}"
        lag = f" (-{replica.lag_slots})" if replica.lag_slots else ""
        yield replica.node, f"{replica.node}{leads}{kind}: {replica.applied_slot}{lag}"
    answering = {replica.node for replica in partition.replicas}
    for node in {*partition.members, *partition.logs, *partition.learners} - answering:
        kind = f"{' log' if node in partition.logs else ''}{'' if node in partition.members else ' (no vote)'}"
        yield node, f"{node}{kind}: ?"


def _partition_rows(entry: TableStatus) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for partition in entry.partitions:
        ballot = Ballot(partition.ballot)
        chosen = max((replica.chosen_slot for replica in partition.replicas), default=0)
        replicas = ", ".join(text for _, text in sorted(_replicas(partition)))
        rows.append(
            (
                entry.name or "(catalog)",
                entry.status,
                str(partition.group),
                "[red]none[/]" if partition.leader is None else f"node {partition.leader}",
                f"{ballot_round(ballot)}.{ballot_node(ballot)}" if ballot else "-",
                str(chosen),
                replicas,
            )
        )
    return rows or [(entry.name or "(catalog)", entry.status, "-", "-", "-", "-", "-")]
