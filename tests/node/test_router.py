"""What a router knows of tables when the catalog cannot be asked, and when it can be asked again."""

from __future__ import annotations

from typing import Any

from tests.node.three import ALL, EVENTUAL, ITEM, N0, N1, N2, PUT, SCHEMA, STRONG, Three

import gramme.node.descriptors as descriptors_module
from gramme.kernel.ids import CATALOG_GROUP
from gramme.kernel.time import SECOND
from gramme.node.catalog import changes as catalog_changes
from gramme.tables.catalog import CreateTable, TagTable
from gramme.tables.descriptor import TableDescriptor
from gramme.tables.requests import Failed, FailureKind, Found, Written

_ROW = Found(ITEM, 3)


def _with_an_item() -> tuple[Three, TableDescriptor]:
    """Three nodes that have applied one item; node 0 knows its table."""
    three = Three()
    table = three.create()
    assert three.submit(N0, table, PUT) == Written(None, 0, 3)
    group = table.partitions[0].group
    three.until(lambda: len({three.replica(node, group).rows.applied for node in ALL}) == 1, "all have applied it")
    return three, table


def _alone(three: Three) -> None:
    """Node 0 is the last one, its leases are over, and its map was dropped just before."""
    three.node(N0).router.descriptors.forget_all()
    three.crash(N1, N2)
    three.run(2 * SECOND)


def test_a_minority_still_finds_its_table_for_eventual_reads_and_serves_no_strong_one() -> None:
    """Found by CI: every change of the catalog drops the cached map, and a node that was cut off right then denied
    eventual reads whose rows it had."""
    three, table = _with_an_item()
    _alone(three)
    assert three.node(N0).router.table("Carts") is None
    assert three.look_up(N0) == table
    assert three.submit(N0, table, EVENTUAL) == _ROW
    strong = three.submit(N0, table, STRONG)
    assert isinstance(strong, Failed)
    assert strong.kind is FailureKind.NO_QUORUM


def test_a_table_that_was_never_known_is_not_invented_by_a_minority() -> None:
    three, _ = _with_an_item()
    _alone(three)
    answer = three.look_up(N0, "Never")
    assert isinstance(answer, Failed)
    assert answer.kind is FailureKind.NO_QUORUM


def test_a_deleted_table_is_not_brought_back_by_what_was_known_of_it() -> None:
    """Node 0 knows the table, node 1 deletes it; then nobody can be asked. What the catalog said last counts."""
    three, _ = _with_an_item()
    three.delete(node=N1)
    three.until(lambda: three.node(N0).router.table("Carts") is None, "node 0 hears that the catalog has changed")
    answer = three.look_up(N0)
    assert isinstance(answer, Failed)
    assert answer.kind is FailureKind.NO_TABLE
    _alone(three)
    answer = three.look_up(N0)
    assert isinstance(answer, Failed)
    assert answer.kind is FailureKind.NO_QUORUM


def test_a_table_that_this_node_deletes_is_forgotten_at_once() -> None:
    three, _ = _with_an_item()
    three.node(N0).router.descriptors.forget_all()
    three.delete()
    _alone(three)
    assert isinstance(three.look_up(N0), Failed)


def test_a_table_that_was_replaced_unseen_is_asked_for_as_soon_as_the_catalog_answers() -> None:
    """Node 0 heard that the catalog changed, was cut off before it could ask how, and goes on with what it knew. When
    it is back the catalog has still that version: no change tells that the table is another one now."""
    three, old = _with_an_item()
    three.delete(node=N1)
    three.catalog(CreateTable("Carts", SCHEMA, (("pk", "S"),), "PROVISIONED", 1, 1), N1)
    three.run(5 * SECOND)  # every node has reconciled
    router = three.node(N0).router
    for peer in (N1, N2):
        three.cluster.cut(N0, peer)
        three.cluster.cut(peer, N0)
    three.run(2 * SECOND)
    assert three.look_up(N0) == old
    assert router.table("Carts") == old, "while it cannot ask, it does not ask for every request"
    three.cluster.network.heal_all()
    three.until(lambda: router.table("Carts") is None, "what it knew is in doubt", 5 * SECOND)
    new = three.look_up(N0)
    assert isinstance(new, TableDescriptor)
    assert new.table_id != old.table_id


def test_what_is_kept_of_tables_that_others_deleted_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(descriptors_module, "_MOST_OUTDATED", 2)
    three = Three()
    router = three.node(N0).router
    for number in range(4):
        three.create(f"Carts{number}")
        router.descriptors.forget_all()
    assert list(router.descriptors._outdated) == ["Carts2", "Carts3"]


def _reconciled(three: Three) -> None:
    """Every node has heard of all that the catalog is by now."""
    newest = max(three.node(node).reconciliation.catalog_version for node in ALL)
    three.run(5 * SECOND)
    versions = {three.node(node).router.descriptors.version for node in ALL}
    assert len(versions) == 1
    assert versions.pop() >= newest


def test_a_change_of_one_table_leaves_the_others_known() -> None:
    three, table = _with_an_item()
    other = three.create("Users")
    _reconciled(three)
    for node in ALL:
        assert [three.look_up(node, name).status for name in ("Carts", "Users")] == ["ACTIVE", "ACTIVE"]
    three.catalog(TagTable("Users", put=(("team", "a"),)), N1)
    three.create("Third")
    three.delete("Third")
    _reconciled(three)
    for node in ALL:
        router = three.node(node).router
        assert router.table("Carts") == table
        assert router.table("Users") is None
        assert three.look_up(node, "Users").version > other.version


def test_it_does_too_if_another_node_leads_the_catalog_meanwhile() -> None:
    """Which tables changed is in the catalog's rows: every leader knows it."""
    three, table = _with_an_item()
    three.create("Users")
    _reconciled(three)
    for node in ALL:
        three.look_up(node)
        three.look_up(node, "Users")
    three.catalog(TagTable("Users", put=(("team", "a"),)))
    three.lead(N1 if three.leader(CATALOG_GROUP) != N1 else N2, CATALOG_GROUP)
    _reconciled(three)
    for node in ALL:
        assert three.node(node).router.table("Carts") == table
        assert three.node(node).router.table("Users") is None


def test_past_what_the_catalog_remembers_every_table_is_in_doubt(monkeypatch: Any) -> None:
    monkeypatch.setattr(catalog_changes, "MOST_NAMES", 1)
    three, _ = _with_an_item()
    three.create("Users")
    _reconciled(three)
    three.look_up(N0)
    for peer in (N1, N2):
        three.cluster.cut(N0, peer)
        three.cluster.cut(peer, N0)
    three.run(5 * SECOND)
    for name in ("Users", "Others"):
        three.catalog(CreateTable(name, SCHEMA, (("pk", "S"),), "PROVISIONED", 1, 1), N1)
        three.catalog(TagTable(name, put=(("team", "a"),)), N1)
    assert three.node(N0).router.table("Carts") is not None
    three.cluster.network.heal_all()
    three.until(lambda: three.node(N0).router.table("Carts") is None, "node 0 doubts what it knows")
