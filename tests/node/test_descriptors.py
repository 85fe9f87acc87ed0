"""What a node knows of tables. It asks once for all who wait, and tells nobody what was before he came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from gramme.kernel.time import Instant, Timestamp
from gramme.node.descriptors import Descriptors, Found
from gramme.tables.catalog import CatalogReply, NoSuchTable, TableReply
from gramme.tables.descriptor import KeySchema, TableDescriptor
from gramme.tables.requests import Failed, FailureKind

_LIMIT = 5
_NO_TABLE = Failed(FailureKind.NO_TABLE)
_NO_QUORUM = Failed(FailureKind.NO_QUORUM)


def _table(
    id_: str = "1", version: int = 1, status: Literal["CREATING", "ACTIVE"] = "ACTIVE", name: str = "Carts"
) -> TableDescriptor:
    return TableDescriptor(
        name=name, table_id=id_, version=version, status=status, created=Timestamp(0), key=KeySchema("pk", "S"),
        attribute_definitions=(("pk", "S"),), billing_mode="PROVISIONED", read_units=1, write_units=1, partitions=(),
        settings={},
    )  # fmt: skip


class _Catalog:
    """Questions wait here until the test answers them, first come, first served."""

    def __init__(self) -> None:
        self.now = Instant(0)
        self.asked: list[tuple[str, Instant, Callable[[CatalogReply], None]]] = []
        self.told: dict[str, Found] = {}
        self.tables = Descriptors(
            lambda *question: self.asked.append(question), lambda: self.now, _LIMIT, lambda _table: None
        )

    def come(self, who: str, name: str = "Carts", deadline: int = 100) -> None:
        self.tables.lookup(name, Instant(deadline), lambda found: self.told.__setitem__(who, found))

    def answer(self, reply: CatalogReply) -> None:
        self.asked.pop(0)[2](reply)

    def knows(self, *tables: TableDescriptor) -> None:
        for table in tables:
            self.come("before", table.name)
            self.answer(TableReply(table))
        self.told.clear()


def test_only_what_changed_is_asked_for_again() -> None:
    catalog = _Catalog()
    carts, users = _table(), _table(name="Users")
    catalog.knows(carts, users)
    catalog.tables.changed(7, None)
    catalog.knows(carts, users)
    catalog.tables.changed(8, ("Users", "NeverHeardOf"))
    assert catalog.tables.known == {"Carts": carts}
    assert catalog.tables.version == 8


def test_what_was_said_of_an_earlier_version_changes_nothing() -> None:
    catalog = _Catalog()
    catalog.tables.changed(8, None)
    catalog.knows(_table())
    catalog.tables.changed(7, None)
    catalog.tables.changed(8, None)
    assert list(catalog.tables.known) == ["Carts"]
    assert catalog.tables.version == 8


def test_who_only_lacks_a_table_shares_the_question_that_is_under_way() -> None:
    catalog = _Catalog()
    for who in "abc":
        catalog.come(who)
    assert (len(catalog.asked), catalog.tables.waiting) == (1, 2)
    catalog.answer(TableReply(_table()))
    assert catalog.told == dict.fromkeys("abc", _table())
    assert (catalog.asked, catalog.tables.waiting) == ([], 0)


def test_nobody_hears_that_a_table_does_not_exist_by_a_question_from_before_he_came() -> None:
    """The table may have been created, and that answered, before he came; so with one that is still being made."""
    for early in (NoSuchTable("Carts"), TableReply(_table(status="CREATING"))):
        catalog = _Catalog()
        for who in "abc":
            catalog.come(who)
        catalog.answer(early)
        assert list(catalog.told) == ["a"]
        assert (len(catalog.asked), catalog.tables.waiting) == (1, 1), "once for both"
        catalog.answer(TableReply(_table(version=2)))
        assert catalog.told["b"] == catalog.told["c"] == _table(version=2)
        assert (catalog.asked, catalog.tables.waiting) == ([], 0)


def test_who_knows_the_table_and_wants_the_newest_waits_for_a_question_of_his_own() -> None:
    catalog = _Catalog()
    catalog.knows(_table())
    catalog.come("a")
    catalog.come("b")
    catalog.answer(TableReply(_table()))
    assert list(catalog.told) == ["a"]
    catalog.answer(TableReply(_table(version=2)))
    assert catalog.told["b"] == _table(version=2)
    assert catalog.tables.known["Carts"].version == 2


def test_an_answer_that_a_change_overtook_is_told_to_who_asked_and_is_not_kept() -> None:
    for names in (("Carts",), None):
        catalog = _Catalog()
        catalog.come("a")
        catalog.come("b")
        catalog.tables.changed(8, names)
        catalog.come("c")
        catalog.answer(TableReply(_table()))
        assert catalog.told == {"a": _table()}
        assert not catalog.tables.known
        catalog.answer(TableReply(_table("2")))
        assert catalog.told == {"a": _table(), "b": _table("2"), "c": _table("2")}
        assert catalog.tables.known == {"Carts": _table("2")}


def test_a_change_of_another_table_leaves_the_answer_good() -> None:
    catalog = _Catalog()
    catalog.come("a")
    catalog.tables.changed(8, ("Users",))
    catalog.answer(TableReply(_table()))
    assert catalog.tables.known == {"Carts": _table()}


def test_an_outdated_table_serves_while_the_catalog_cannot_be_asked_and_no_longer() -> None:
    catalog = _Catalog()
    catalog.knows(_table())
    catalog.tables.changed(8, ("Carts",))
    catalog.come("a")
    catalog.answer(_NO_QUORUM)
    assert catalog.told == {"a": _table()}
    assert catalog.tables.known == {"Carts": _table()}
    catalog.tables.changed(9, ())
    assert not catalog.tables.known, "the change before that was not taken in"


def test_each_waits_until_his_own_deadline() -> None:
    catalog = _Catalog()
    catalog.come("a", deadline=100)
    catalog.come("b", deadline=150)
    catalog.come("c", deadline=200)
    catalog.now = Instant(100)
    catalog.answer(_NO_QUORUM)
    assert list(catalog.told) == ["a"]
    assert [deadline for _, deadline, _ in catalog.asked] == [150]
    catalog.now = Instant(150)
    catalog.answer(_NO_QUORUM)
    assert list(catalog.told) == ["a", "b"]
    catalog.now = Instant(160)
    catalog.answer(TableReply(_table()))
    assert catalog.told["c"] == _table()
    assert catalog.tables.waiting == 0


def test_a_question_that_is_refused_is_not_asked_again_for_the_same_ones() -> None:
    catalog = _Catalog()
    throttled = Failed(FailureKind.THROTTLED)
    catalog.come("a", deadline=100)
    catalog.come("b", deadline=200)
    catalog.answer(throttled)
    catalog.answer(throttled)
    assert catalog.told == {"a": throttled, "b": throttled}
    assert (catalog.asked, catalog.tables.waiting) == ([], 0)


def test_so_many_wait_and_no_more() -> None:
    catalog = _Catalog()
    for number in range(_LIMIT + 2):
        catalog.come(str(number))
    refused = catalog.told[str(_LIMIT + 1)]
    assert isinstance(refused, Failed)
    assert refused.kind is FailureKind.THROTTLED
    assert len(catalog.told) == 1
    catalog.answer(TableReply(_table()))
    assert len(catalog.told) == _LIMIT + 2
    assert catalog.tables.waiting == 0


def test_who_comes_back_from_within_his_answer_asks_a_question_of_his_own() -> None:
    catalog = _Catalog()
    told: list[Found] = []

    def again(found: Found) -> None:
        told.append(found)
        catalog.come("again")

    catalog.tables.lookup("Carts", Instant(100), again)
    catalog.come("b")
    catalog.answer(NoSuchTable("Carts"))
    assert told == [_NO_TABLE]
    assert (len(catalog.asked), catalog.tables.waiting) == (1, 1), "one who came before it was asked, one since"
    catalog.answer(NoSuchTable("Carts"))
    catalog.answer(TableReply(_table()))
    assert catalog.told == {"b": _NO_TABLE, "again": _table()}
