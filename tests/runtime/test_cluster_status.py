"""Merging what nodes say: the higher ballot leads, lag counts from the highest chosen slot anybody knows."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from gramme.runtime.cluster import LocalCluster
from gramme.runtime.cluster_status import GroupReport, NodeReport, TableReport, collect, fetch_report, merge_tables

MUSIC = TableReport(name="Music", table_id="t1")


def group(ballot: int, applied: int, chosen: int, leading: bool = False, **more: object) -> GroupReport:
    fields = {"group": 7, "table_id": "t1", "members": (0, 1, 2), "role": "leader" if leading else "follower", **more}
    return GroupReport(ballot=ballot, applied_slot=applied, chosen_slot=chosen, leading=leading, **fields)  # type: ignore[arg-type]


def report(node: int, *groups: GroupReport, tables: tuple[TableReport, ...] = (), version: int = 1) -> NodeReport:
    return NodeReport(version=1, node=node, groups=groups, tables=tables, catalog_version=version)


def test_of_two_that_say_they_lead_the_higher_ballot_does() -> None:
    (table,) = merge_tables(
        [
            report(0, group(5 << 16, 10, 10, leading=True), tables=(MUSIC,)),
            report(1, group(6 << 16 | 1, 12, 15, leading=True), tables=(MUSIC,)),
            report(2, group(6 << 16 | 1, 9, 12), tables=(MUSIC,)),
        ]
    )
    (partition,) = table.partitions
    assert (table.name, table.status) == ("Music", "ACTIVE")
    assert (partition.leader, partition.ballot) == (1, 6 << 16 | 1)
    assert [(replica.node, replica.lag_slots) for replica in partition.replicas] == [(0, 5), (1, 3), (2, 6)]


def test_nobody_leads_while_only_an_older_ballot_says_so() -> None:
    (table,) = merge_tables([report(0, group(5, 1, 1, leading=True)), report(1, group(9, 1, 1))])
    assert table.partitions[0].leader is None


def test_the_newest_catalog_copy_says_which_tables_there_are() -> None:
    old = report(0, tables=(MUSIC, TableReport(name="Gone", table_id="t0")), version=3)
    new = report(1, tables=(MUSIC, TableReport(name="New", table_id="t2", status="CREATING")), version=4)
    merged = merge_tables([old, new])
    assert [(table.name, table.status, len(table.partitions)) for table in merged] == [
        ("Music", "ACTIVE", 0), ("New", "CREATING", 0),
    ]  # fmt: skip


def test_partitions_stand_in_key_order_and_the_catalog_is_named_by_nothing() -> None:
    (catalog, music) = merge_tables(
        [
            report(
                0,
                group(1, 0, 0, group=9, start="80", end=""),
                group(1, 0, 0, group=12, start="", end="40"),
                group(1, 0, 0, group=10, start="40", end="80"),
                group(1, 0, 0, group=1, table_id=""),
                tables=(MUSIC,),
            )
        ]
    )
    assert [partition.group for partition in music.partitions] == [12, 10, 9]
    assert (catalog.name, catalog.table_id, catalog.status) == ("", "", "ACTIVE")


def test_a_group_whose_table_no_catalog_copy_names_is_shown_by_its_id() -> None:
    (table,) = merge_tables([report(0, group(1, 0, 0, table_id="lost"))])
    assert (table.name, table.status) == ("lost", "UNKNOWN")


@contextmanager
def serving(status: int, body: bytes, at: int = 0) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", at), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_fields_of_a_later_release_are_ignored() -> None:
    body = b'{"version": 1, "node": 3, "ready": true, "invented_later": {"x": 1}, "groups": [{"group": 1, "new": 2}]}'
    with serving(200, body) as port:
        fetched = fetch_report("127.0.0.1", port)
    assert fetched == NodeReport(version=1, node=3, ready=True, groups=(GroupReport(group=1),))


@pytest.mark.parametrize(("status", "body"), [(503, b"{}"), (200, b"not json"), (200, b'{"node": "x"}')])
def test_what_is_no_report_counts_as_no_answer(status: int, body: bytes) -> None:
    with serving(status, body) as port:
        assert fetch_report("127.0.0.1", port) is None


def test_nobody_there_counts_as_no_answer() -> None:
    with serving(200, b"") as port:
        pass
    assert fetch_report("127.0.0.1", port, timeout_s=1) is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ready": True}, ""),
        ({"refusal": "node 1 refuses this node"}, "node 1 refuses this node"),
        ({"draining": True}, "draining"),
        ({}, "starting"),
    ],
)
def test_why_a_node_is_not_ready(fields: dict[str, object], reason: str) -> None:
    assert NodeReport(version=1, node=0, **fields).not_ready_because == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(("own", "answers"), [(True, True), (False, False)])
def test_a_node_of_another_cluster_that_took_the_port_is_not_taken_for_ours(
    tmp_path: Path, own: bool, answers: bool
) -> None:
    cluster = LocalCluster(tmp_path)
    with serving(200, b"") as port:
        pass
    state = cluster.found(1, port - 200)
    report = NodeReport(version=1, node=0, cluster=state.cluster_id if own else "f" * 32, ready=True)
    with serving(200, msgspec.json.encode(report), at=port):
        (node,) = collect(cluster).nodes
    assert (node.answers, node.ready) == (answers, answers)
