"""What `/cluster` shows of a node (docs/design/node.md has the schema).

Rule: fields may be added, none changes its meaning within a version. Asks the machines; keeps and changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from gramme.kernel.ids import CATALOG_GROUP
from gramme.kernel.time import Instant
from gramme.node.catalog.model import all_tables
from gramme.node.catalog.streams import all_streams
from gramme.node.groups import Groups
from gramme.node.log_replica import LogReplica
from gramme.node.messages import GroupSpec
from gramme.node.partition import PartitionReplica
from gramme.node.totals import TOTALS_ROW, decode_totals, rows_and_bytes
from gramme.paxos.replica import GroupStatus

if TYPE_CHECKING:
    from gramme.node.node import Node

STATUS_VERSION: Final = 1


def status_of(node: Node) -> dict[str, Any]:
    """What `/cluster` shows of `node`, as JSON can carry it."""
    now = node.host.now()
    return {
        "version": STATUS_VERSION,
        "cluster": node.cluster.hex(),
        "node": node.me,
        "boot": node.boot.hex(),
        "ready": not node.unready(),
        "draining": node.draining,
        "refusal": node.refusal,
        "low_space": node.low_space,
        "catalog_version": node.reconciliation.catalog_version,
        "log": {
            "last_lsn": node.log.last_lsn,
            "durable_lsn": node.log.durable_lsn,
            "segments": len(node.log.segment_stats()),
            "fsyncs": node.host.fsyncs,
        },
        "nodes": [
            {
                "node": m.node, "name": m.name, "host": m.host, "zone": m.zone, "address": m.address,
                "alive": node.alive(m.node), "state": node.members.state(m.node),
            }
            for m in node.members.all
        ],
        "tables": _tables(node.groups),
        "amnesiac_groups": {str(group): reason for group, reason in node.groups.amnesiac.items()},
        "groups": [
            *(_partition(node, partition, now) for partition in node.groups.partitions.values()),
            *(_log(log) for log in node.groups.logs.values()),
        ],
        "requests_waiting": node.router.waiting,
        "retries": node.router.retries,
        "transactions": {
            "coordinating": node.router.transactions.coordinating,
            "recovered": node.router.transactions.recovery.recovered,
        },
        "objects": node.objects.status(),
        "stale_reads": node.router.stale_reads,
        "snapshots": {"sent": node.snapshots_out.sent, "installed": node.snapshots_in.installed},
    }  # fmt: skip


def _tables(groups: Groups) -> list[dict[str, Any]]:
    """The tables as this node's copy of the catalog has them; none where it hosts no copy."""
    catalog = groups.partitions.get(CATALOG_GROUP)
    if catalog is None:
        return []
    tables = [{"name": t.name, "table_id": t.table_id, "status": t.status} for t in all_tables(catalog.rows.scan)]
    known = {table["table_id"] for table in tables}
    deleted = {s.table_id: s.table for s in all_streams(catalog.rows.scan) if s.table_id not in known}
    return tables + [{"name": name, "table_id": id_, "status": "DELETED"} for id_, name in deleted.items()]


def _partition(node: Node, partition: PartitionReplica, now: Instant) -> dict[str, Any]:
    return {
        **_place(partition.spec),
        "leading": partition.leading,
        "lease": partition.leading and partition.replica.holds_lease(now),
        "kind": "storage",
        "engine_durable_slot": node.flusher.durable_slot(partition.spec.group),
        **_plain(partition.replica.status()),
        "applied_slot": partition.rows.applied.slot,
        **_health(node, partition),
    }


def _health(node: Node, partition: PartitionReplica) -> dict[str, Any]:
    """How a group that is led here is, how large, and how far copies of its rows are."""
    if not partition.leading:
        return {}
    health, reason = node.healer.health(partition)
    rows, size = rows_and_bytes(decode_totals(partition.rows.get(TOTALS_ROW)))
    copies = node.snapshots_out.progress(partition.spec.group)
    return {"health": health, "reason": reason, "rows": rows, "bytes": size, "copies": copies}


def _log(log: LogReplica) -> dict[str, Any]:
    """A log replica has no rows: what is applied is what it noted as chosen."""
    return {**_place(log.spec), "kind": "log", "leading": False, "lease": False, **_plain(log.replica.status())}


def _place(spec: GroupSpec) -> dict[str, Any]:
    return {"group": spec.group, "table_id": spec.table_id, "start": spec.start.hex(), "end": spec.end.hex()}


def _plain(status: GroupStatus) -> dict[str, Any]:
    """A group's status as JSON can carry it."""
    plain = asdict(status)
    plain["role"] = status.role.value
    return plain
