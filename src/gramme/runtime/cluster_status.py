"""What `GET /cluster` of a node answers, and what `gramme cluster status --json` makes of all nodes' answers.

Owns the second document, whose `schema` names its version; fields are only ever added within one, and a reader ignores
fields it does not know, so nodes of two releases can be shown together. Every fact carries the node
that states it; where two differ (who leads a group) the higher ballot wins (REPLICATION.md §8 "Authority").
"""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from gramme.kernel.ids import CATALOG_GROUP
from gramme.runtime.cluster import LocalCluster, http_get
from gramme.runtime.processes import ProcessState

CLUSTER_SCHEMA: Final = "gramme.cluster-status/1"
_TIMEOUT_S: Final = 2.0


class CopyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of a group's rows on its way to `node`. What is sent has more in it than `rows` and `bytes`, which count
    items: change records of streams, above all."""

    node: int
    sent_rows: int = 0
    sent_bytes: int = 0
    rows: int = 0
    bytes: int = 0


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    """One replica of a replication group, as its node sees it. Slots and ballots: `kernel.ids`.

    `start` and `end` are hex of encoded key bytes, end exclusive ("": unbounded). `leading`: its barrier is chosen;
    `lease`: it may serve strong reads now. `table_id` is "" for the catalog. `kind`: storage or log. `members` vote;
    `logs` are log replicas, voting or not, `learners` storage replicas that do not vote. `health` and `reason` are the
    leader's word ("" elsewhere), and so are the items' `rows` and `bytes` (0 elsewhere, and where none are: in
    the catalog and the transactions' ledger), and `copies`: rows and bytes sent of how many, by node.
    """

    group: int
    table_id: str = ""
    start: str = ""
    end: str = ""
    members: tuple[int, ...] = ()
    configuration: int = 0
    role: str = "unknown"
    leading: bool = False
    lease: bool = False
    ballot: int = 0
    last_slot: int = 0
    chosen_slot: int = 0
    applied_slot: int = 0
    kind: str = "storage"
    logs: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    health: str = ""
    reason: str = ""
    copies: tuple[CopyReport, ...] = ()
    rows: int = 0
    bytes: int = 0


class TableReport(msgspec.Struct, frozen=True, kw_only=True):
    """A table as a node's copy of the catalog has it."""

    name: str
    table_id: str
    status: str = "ACTIVE"


class TransferReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far a node is with what it owes others after a change of the objects' ring. Sizes in bytes, `rate` a second;
    `bytes_left` is an estimate, too high rather than too low."""

    node: int
    done: int = 0
    tasks: int = 0
    bytes_moved: int = 0
    bytes_left: int = 0
    rate: int = 0
    spare_sections: int = 0


class RingReport(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the objects' ring, as a node has heard of it."""

    step: str = "settled"
    waiting_for: tuple[int, ...] = ()
    transfers: tuple[TransferReport, ...] = ()


class ObjectsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a node's objects."""

    ring_version: int = 0
    ring: RingReport = RingReport()


class MemberReport(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the cluster, as another one has heard of it."""

    node: int
    state: str = "active"


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a node's `GET /cluster` (its version 1; docs/design/node.md has all of it)."""

    version: int
    node: int
    cluster: str = ""
    boot: str = ""
    ready: bool = False
    draining: bool = False
    refusal: str = ""
    catalog_version: int = -1
    tables: tuple[TableReport, ...] = ()
    groups: tuple[GroupReport, ...] = ()
    nodes: tuple[MemberReport, ...] = ()
    objects: ObjectsReport = ObjectsReport()
    compiled: bool = False

    @property
    def not_ready_because(self) -> str:
        """ "" when ready."""
        if self.ready:
            return ""
        return self.refusal or ("draining" if self.draining else "starting")


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the local cluster: its process, and whether it answers."""

    node: int
    name: str
    host: str
    zone: str
    process: ProcessState
    pid: int | None
    answers: bool
    ready: bool
    not_ready_because: str
    tables_endpoint: str
    admin_endpoint: str
    leads: int
    replicas: int
    state: str = "active"  # or leaving: its replicas are being rebuilt elsewhere; or removed
    compiled: bool = False  # it runs compiled modules (`runtime.compiled`)


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One replica; `lag_slots` is how far its applied slot is behind the highest chosen slot that any replica knows."""

    node: int
    role: str
    ballot: int
    last_slot: int
    chosen_slot: int
    applied_slot: int
    lag_slots: int
    kind: str = "storage"
    votes: bool = True


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One partition. `leader` is None while nobody with the highest ballot says that it leads; only the leader knows
    the `health` (healthy, healing, degraded; unknown without one), its `reason`, and how far `copies` of rows are."""

    group: int
    start: str
    end: str
    members: tuple[int, ...]
    configuration: int
    leader: int | None
    ballot: int
    replicas: tuple[ReplicaStatus, ...]
    logs: tuple[int, ...] = ()
    learners: tuple[int, ...] = ()
    health: str = "unknown"
    reason: str = ""
    copies: tuple[CopyReport, ...] = ()
    rows: int = 0
    bytes: int = 0


class TableStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One table and its partitions in key order; the catalog itself is the table named ""."""

    name: str
    table_id: str
    status: str
    partitions: tuple[PartitionStatus, ...]


class RemovalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A node that is leaving: how many replicas are still to be rebuilt elsewhere, the catalog's among them, and the
    bytes of their items (of copies under way too, until they are there)."""

    node: int
    replicas: int
    bytes: int


class ClusterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `gramme cluster status --json`."""

    schema: str = CLUSTER_SCHEMA
    cluster_id: str
    shared_endpoint: str
    nodes: tuple[NodeStatus, ...]
    tables: tuple[TableStatus, ...]
    objects: ObjectsReport = ObjectsReport()  # of the node that knows the newest ring
    removals: tuple[RemovalStatus, ...] = ()


_REPORT: Final = msgspec.json.Decoder(NodeReport)
"""Made before any thread asks: msgspec works out a type at its first use, and two threads at once crash in that."""


def fetch_report(host: str, admin_port: int, timeout_s: float = _TIMEOUT_S) -> NodeReport | None:
    """The report of the node with this admin port; None if it does not answer, not in time, or nothing we can read."""
    try:
        status, body = http_get(host, admin_port, "/cluster", timeout_s)
        return _REPORT.decode(body) if status == 200 else None
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return None


def collect(cluster: LocalCluster) -> ClusterStatus:
    """Ask all nodes at the same time and merge their answers. Raises `InvalidInput` if there is no cluster."""
    state = cluster.state
    nodes = cluster.members
    settings = [cluster.settings(node) for node in nodes]
    with ThreadPoolExecutor(max_workers=min(16, state.nodes)) as pool:
        answers = pool.map(lambda s: fetch_report(s.listen_host, s.admin_port), settings)
        # A port may have gone to a node of another cluster since.
        reports = [report if report is not None and report.cluster == state.cluster_id else None for report in answers]
    statuses = []
    heard = [report for report in reports if report is not None]
    newest = max(heard, key=lambda report: report.catalog_version, default=None)
    states = {} if newest is None else {each.node: each.state for each in newest.nodes}
    for node, setting, report in zip(nodes, settings, reports, strict=True):
        process = state.processes[node]
        running = cluster.process_state(node)
        groups = report.groups if report else ()
        statuses.append(
            NodeStatus(
                node=node,
                name=setting.name,
                host=setting.host,
                zone=setting.zone,
                process=running,
                pid=process.pid if process is not None and running != "stopped" else None,
                answers=report is not None,
                ready=report is not None and report.ready,
                not_ready_because=report.not_ready_because if report else "does not answer",
                tables_endpoint=f"http://{setting.listen_host}:{setting.tables_port}",
                admin_endpoint=f"http://{setting.listen_host}:{setting.admin_port}",
                leads=sum(group.leading for group in groups),
                replicas=len(groups),
                state=states.get(node, "removed" if states else "active"),
                compiled=report is not None and report.compiled,
            )
        )
    tables = merge_tables(heard)
    return ClusterStatus(
        cluster_id=state.cluster_id,
        shared_endpoint=f"http://{settings[0].listen_host}:{state.port}",
        nodes=tuple(statuses),
        tables=tables,
        objects=max(
            (report.objects for report in heard),
            key=lambda objects: objects.ring_version,
            default=ObjectsReport(),
        ),
        removals=tuple(removal(tables, status.node) for status in statuses if status.state == "leaving"),
    )


def removal(tables: Iterable[TableStatus], node: int) -> RemovalStatus:
    """What is still on a node that leaves, as the groups' newest configurations have it."""
    left = [
        partition
        for table in tables
        for partition in table.partitions
        if node in (*partition.members, *partition.logs, *partition.learners)
    ]
    return RemovalStatus(node=node, replicas=len(left), bytes=sum(partition.bytes for partition in left))


def merge_tables(reports: Sequence[NodeReport]) -> tuple[TableStatus, ...]:
    """Tables of all reports, by name and id; of two catalog copies the newer says what a table's status is."""
    copies = [report for report in reports if any(group.group == CATALOG_GROUP for group in report.groups)]
    tables: dict[str, TableReport] = {}
    for report in sorted(copies or reports, key=lambda report: -report.catalog_version)[:1]:
        tables.update({table.table_id: table for table in report.tables})
    replicas: dict[int, list[tuple[int, GroupReport]]] = {}
    for report in reports:
        for group in report.groups:
            replicas.setdefault(group.group, []).append((report.node, group))
    partitions: dict[str, list[PartitionStatus]] = {table_id: [] for table_id in tables}
    names = {table_id: (table.name, table.status) for table_id, table in tables.items()}
    for group_id in sorted(replicas):
        held = replicas[group_id]
        table_id = held[0][1].table_id
        partitions.setdefault(table_id, []).append(_partition(group_id, held))
        names.setdefault(table_id, ("", "ACTIVE") if not table_id else (table_id, "UNKNOWN"))
    return tuple(
        TableStatus(
            name=name,
            table_id=table_id,
            status=status,
            partitions=tuple(sorted(partitions[table_id], key=lambda p: (bytes.fromhex(p.start), p.group))),
        )
        for table_id, (name, status) in sorted(names.items(), key=lambda entry: (entry[1][0], entry[0]))
    )


def _partition(group_id: int, held: Iterable[tuple[int, GroupReport]]) -> PartitionStatus:
    held = sorted(held, key=lambda entry: entry[0])
    newest = max((group for _, group in held), key=lambda group: (group.configuration, group.ballot))
    leaders = [node for node, group in held if group.leading and group.ballot == newest.ballot]
    chosen = max(group.chosen_slot for _, group in held)
    word = next((group for node, group in held if node in leaders[:1]), None)
    return PartitionStatus(
        group=group_id,
        start=newest.start,
        end=newest.end,
        members=newest.members,
        configuration=newest.configuration,
        leader=leaders[0] if leaders else None,
        ballot=newest.ballot,
        replicas=tuple(
            ReplicaStatus(
                node=node,
                role=group.role,
                ballot=group.ballot,
                last_slot=group.last_slot,
                chosen_slot=group.chosen_slot,
                applied_slot=group.applied_slot,
                lag_slots=max(0, chosen - group.applied_slot),
                kind=group.kind,
                votes=node in newest.members,
            )
            for node, group in held
        ),
        logs=newest.logs,
        learners=newest.learners,
        health=(word.health if word else "") or "unknown",
        reason=word.reason if word else "",
        copies=word.copies if word else (),
        rows=word.rows if word else 0,
        bytes=word.bytes if word else 0,
    )
