"""Transactions through the routers of simulated nodes: what a client sees when nothing goes wrong, and what is left."""

from __future__ import annotations

from tests.node.transaction_cluster import Cluster, check, json, key, names, put, together

from gramme.kernel.ids import NodeId
from gramme.kernel.time import MICROSECOND, SECOND
from gramme.storage.engine.rows import Space
from gramme.tables.catalog import DeleteTable, DescribeTable, ListTables, TableNames, TableReply
from gramme.tables.item import encode_item
from gramme.tables.requests import (
    Condition,
    ConditionFailed,
    Conflict,
    DeleteItem,
    Failed,
    FailureKind,
    PutItem,
    UpdateItem,
    Written,
)
from gramme.tables.transaction_commands import LEDGER, Finish, Prepare, Prepared
from gramme.tables.transactions import (
    ItemsRead,
    Token,
    TokenMismatch,
    TransactionCanceled,
    TransactionDone,
)
from gramme.tables.values import item_size

_TOKEN = Token(b"0123456789abcdef", b"digest of the re")


def test_all_or_nothing_over_several_partitions() -> None:
    cluster = Cluster()
    a, b, c, d = names(cluster)
    done = cluster.write(put(a, 1), put(b, 2), put(c, 3), node=1)
    assert done == TransactionDone(tuple(Written(None, 0, put(a, 1).size) for _ in range(3)))
    assert [cluster.get(name) for name in (a, b, c)] == [json(a, 1), json(b, 2), json(c, 3)]
    canceled = cluster.write(put(a, 9), put(b, 9, Condition("attribute_not_exists(pk)")), put(d, 9))
    assert canceled == TransactionCanceled((None, ConditionFailed(None, put(b, 2).size), None))
    assert [cluster.get(name) for name in (a, b, d)] == [json(a, 1), json(b, 2), None]
    assert isinstance(cluster.write(DeleteItem(key(a)), check(b, "attribute_exists(pk)"), node=2), TransactionDone)
    assert cluster.get(a) is None
    cluster.settle()


def test_items_of_one_partition_are_written_in_one_step() -> None:
    cluster = Cluster()
    a = names(cluster)[0]
    b = together(cluster, a)
    assert isinstance(cluster.write(put(a, 1), put(b, 2), node=2), TransactionDone)
    assert cluster.rows(Space.TRANSACTIONS) == []  # no ledger, no marker
    canceled = cluster.write(put(a, 9), check(b, "attribute_not_exists(pk)"))
    assert canceled == TransactionCanceled((None, ConditionFailed(None, put(b, 2).size)))
    assert cluster.read(a, b) == cluster.read(a, b, node=1)
    assert [cluster.get(name) for name in (a, b)] == [json(a, 1), json(b, 2)]


def test_a_token_is_good_for_one_transaction() -> None:
    cluster = Cluster()
    a, b = names(cluster, 2)
    for number, actions in enumerate(((put(a, 1), put(b, 1)), (put(a, 2), put(together(cluster, a), 2)))):
        token = Token(bytes((number,)) * 16, _TOKEN.digest)
        first = cluster.write(*actions, token=token)
        assert isinstance(first, TransactionDone)
        assert not first.replayed
        cluster.submit(put(a, 7))
        again = cluster.write(*actions, token=token, node=1)
        assert again == TransactionDone(first.parts, replayed=True)
        assert cluster.get(a) == json(a, 7)
        assert cluster.write(put(a, 8), token=Token(token.id, b"another request!")) == TokenMismatch()
        cluster.run(40 * SECOND)
        assert cluster.write(*actions, token=token, node=2) == TransactionDone(first.parts, replayed=True)
    cluster.settle()
    assert cluster.rows(Space.TRANSACTIONS, b"marker/") == []
    cluster.run(620 * SECOND)
    assert cluster.rows(Space.TRANSACTIONS, b"r/") == cluster.rows(Space.TRANSACTIONS, b"x/") == []


def test_a_canceled_transaction_leaves_its_token_free() -> None:
    cluster = Cluster()
    a, b = names(cluster, 2)
    for number, other in enumerate((b, together(cluster, a))):
        token = Token(bytes((number,)) * 16, _TOKEN.digest)
        actions = (put(a, 1), check(other, "attribute_exists(pk)"))
        assert isinstance(cluster.write(*actions, token=token), TransactionCanceled)
        cluster.submit(put(other, 1))
        assert isinstance(cluster.write(*actions, token=token), TransactionDone)


def test_items_are_read_as_of_one_moment() -> None:
    cluster = Cluster()
    a, b, c = names(cluster, 3)
    cluster.write(put(a, 1), put(b, 2))
    reply = cluster.read(a, c, b, node=2)
    assert isinstance(reply, ItemsRead)
    assert [found.item for found in reply.items] == [json(a, 1), None, json(b, 2)]
    neighbour = together(cluster, a)
    assert [found.item for found in cluster.read(neighbour, a).items] == [None, json(a, 1)]


def test_updates_see_the_item_and_an_update_without_effect_counts_as_a_check() -> None:
    cluster = Cluster()
    a, b = names(cluster, 2)
    cluster.submit(put(a, 1))
    cluster.submit(put(b, 1))
    add = UpdateItem(key(a), {"pk": {"S": a}}, "SET n = n + :d", Condition(None, None, {":d": {"N": "4"}}))
    same = UpdateItem(key(b), {"pk": {"S": b}}, "SET n = n")
    assert isinstance(cluster.write(add, same), TransactionDone)
    assert [cluster.get(name) for name in (a, b)] == [json(a, 5), json(b, 1)]


def test_a_held_item_is_refused_to_others_and_read_by_plain_reads() -> None:
    cluster = Cluster()
    a, b = names(cluster, 2)
    cluster.write(put(a, 1), put(b, 1))
    stamp = cluster.node().ports.clock.timestamp()
    prepare = Prepare(b"nobody's attempt", stamp, b"nobody's row    ", [put(a, 2)])
    assert isinstance(cluster.send(cluster.group_of(a), prepare), Prepared)
    assert cluster.submit(put(a, 9)) == Conflict()
    assert cluster.submit(DeleteItem(key(a))) == Conflict()
    assert cluster.get(a) == json(a, 1)
    assert cluster.read(a, b) == TransactionCanceled((Conflict(), None))
    assert cluster.read(a, together(cluster, a)) == TransactionCanceled((Conflict(), None))
    assert cluster.write(put(b, 2), put(a, 2), node=1) == TransactionCanceled((None, Conflict()))
    assert cluster.write(put(a, 2), put(together(cluster, a), 2)) == TransactionCanceled((Conflict(), None))
    cluster.settle()  # the ledger knows nothing of it
    assert cluster.submit(put(a, 3)) == Written(None, put(a, 1).size, put(a, 3).size)


def test_a_committed_part_is_not_read_beside_one_that_is_not() -> None:
    """The first partition has finished, the second has not: whoever read both now would see half a transaction."""
    cluster = Cluster()
    a, b = names(cluster, 2)
    cluster.write(put(a, 1), put(b, 1))
    tx, stamp = b"torn transaction", cluster.node().ports.clock.timestamp()
    for name in (a, b):
        prepare = Prepare(tx, stamp, b"a row nobody has", [put(name, 2)])
        assert isinstance(cluster.send(cluster.group_of(name), prepare), Prepared)
    cluster.send(cluster.group_of(a), Finish(tx, commit=True))
    assert cluster.read(a, b) == TransactionCanceled((None, Conflict()))
    cluster.send(cluster.group_of(b), Finish(tx, commit=True))
    assert [found.item for found in cluster.read(a, b).items] == [json(a, 2), json(b, 2)]


def test_a_read_waits_out_a_transaction_that_is_under_way() -> None:
    cluster = Cluster()
    a, b = names(cluster, 2)
    cluster.write(put(a, 1), put(b, 1))
    for value in range(2, 12):
        replies: list[object] = []
        cluster.begin_write(put(a, value), put(b, value), node=1)(replies.append)
        cluster.run(value * 300 * MICROSECOND)  # somewhere in its course
        read = cluster.read(a, b, node=2)
        assert isinstance(read, ItemsRead)
        seen = [found.item for found in read.items]
        assert any(seen == [json(a, n), json(b, n)] for n in (value - 1, value))
        cluster.run_until(lambda replies=replies: bool(replies))  # type: ignore[misc]
        assert isinstance(replies[0], TransactionDone)


def test_a_coordinator_with_a_slow_clock_is_refused_once_and_then_knows_better() -> None:
    cluster = Cluster()
    a, b = names(cluster, 2)
    cluster.write(put(a, 0), put(b, 0))
    for group in (cluster.group_of(a), cluster.group_of(b)):
        cluster.sim.step_wall(NodeId(cluster.leads(group)), 100 * SECOND)
    slow = next(node for node in cluster.nodes if node not in (cluster.leads(cluster.group_of(n)) for n in (a, b)))
    cluster.submit(put(a, 1))  # its stamp is a hundred seconds ahead of the coordinator's clock
    cluster.submit(DeleteItem(key(b)))
    assert isinstance(cluster.write(put(a, 2), put(b, 2), node=slow), TransactionDone)
    assert isinstance(cluster.write(put(a, 3), DeleteItem(key(b)), node=slow), TransactionDone)
    assert [cluster.get(name) for name in (a, b)] == [json(a, 3), None]
    cluster.settle()


def test_a_table_that_is_gone_takes_its_transactions_with_it() -> None:
    cluster = Cluster()
    a, b = names(cluster, 2)
    cluster.write(put(a, 1), put(b, 1))
    cluster.catalog(DeleteTable("Accounts"))
    assert cluster.write(put(a, 2), put(b, 2)) == Failed(FailureKind.NO_TABLE)
    assert cluster.write(put(a, 2)) == Failed(FailureKind.NO_TABLE)
    assert cluster.read(a, b) == Failed(FailureKind.NO_TABLE)
    cluster.settle()


def test_the_ledger_is_not_among_the_tables() -> None:
    cluster = Cluster()
    cluster.write(*(put(name, 1) for name in names(cluster, 2)))
    assert cluster.catalog(ListTables(None, 1)) == TableNames(("Accounts",), more=False)
    assert isinstance(cluster.catalog(DescribeTable(LEDGER)), TableReply)


def test_a_node_coordinates_no_more_transactions_than_it_may() -> None:
    cluster = Cluster()
    a, b = names(cluster, 2)
    transactions = cluster.node().router.transactions
    transactions._limit = 2
    replies: list[object] = []
    for value in range(3):
        cluster.begin_write(put(a, value), put(b, value))(replies.append)
    assert [type(reply) for reply in replies] == [Failed]
    cluster.run_until(lambda: len(replies) == 3)
    assert transactions.coordinating == 0
    assert isinstance(cluster.write(put(a, 5), put(b, 5)), TransactionDone)


def test_much_in_one_partition_is_done_in_steps_and_still_as_a_whole() -> None:
    cluster = Cluster()
    (first,) = names(cluster, 1)
    large = [first]
    for number in range(100):
        name = f"large{number}" + "x" * 1_000
        if cluster.group_of(name) == cluster.group_of(first) and len(large) < 9:
            large.append(name)

    def padded(name: str, text: str) -> PutItem:
        item = {"pk": {"S": name}, "text": {"S": text * 200_000}}
        return PutItem(key(name), encode_item(item, ("pk",)), item_size(item))

    small = put(names(cluster, 2)[1], 1)
    outcome = cluster.write(*(padded(name, "a") for name in large), small, token=_TOKEN)
    assert isinstance(outcome, TransactionDone)
    assert [part.new_size for part in outcome.parts[:-1]] == [padded(name, "a").size for name in large]
    refused = cluster.write(*(padded(name, "b") for name in large), check(large[-1], "attribute_not_exists(pk)"))
    assert isinstance(refused, TransactionCanceled)
    assert [reason is None for reason in refused.reasons] == [True] * len(large) + [False]
    read = cluster.read(*large)
    assert [found.item for found in read.items] == [padded(name, "a").item for name in large]
    cluster.settle()
