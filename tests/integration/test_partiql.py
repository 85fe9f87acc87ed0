"""PartiQL as applications use it, through boto3: on the embedded node, and on three nodes of which one dies."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.integration.support import create_table, eventually

from gramme.testing import Cluster

pytestmark = pytest.mark.seconds(12)

_BOOKS: dict[str, Any] = {
    "TableName": "books",
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": [{"AttributeName": "author", "KeyType": "HASH"}, {"AttributeName": "title", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "author", "AttributeType": "S"},
        {"AttributeName": "title", "AttributeType": "S"},
        {"AttributeName": "year", "AttributeType": "N"},
        {"AttributeName": "shelf", "AttributeType": "S"},
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "by-year",
            "KeySchema": [
                {"AttributeName": "author", "KeyType": "HASH"},
                {"AttributeName": "year", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-shelf",
            "KeySchema": [{"AttributeName": "shelf", "KeyType": "HASH"}, {"AttributeName": "year", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
}


def _run(client: Any, statement: str, *parameters: Any, **members: Any) -> list[Any]:
    """All pages of a statement."""
    if parameters:
        members["Parameters"] = list(parameters)
    items: list[Any] = []
    while True:
        answer = client.execute_statement(Statement=statement, **members)
        items += answer["Items"]
        if "NextToken" not in answer:
            return items
        members["NextToken"] = answer["NextToken"]


def _code(action: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as refused:
        action(**arguments)
    code: str = refused.value.response["Error"]["Code"]
    return code


def _titles(items: list[Any]) -> list[str]:
    return [item["title"]["S"] for item in items]


def _fill(client: Any) -> None:
    for at, title in enumerate("ABCDE"):
        for author in ("ann", "bob"):
            statement = "INSERT INTO books VALUE {'author': ?, 'title': ?, 'year': ?, 'shelf': 's', 'tags': <<'t'>>}"
            assert _run(client, statement, {"S": author}, {"S": title}, {"N": str(2000 - at)}) == []


def test_the_life_of_an_item(client: Any) -> None:
    create_table(client, "things")
    insert = "INSERT INTO things VALUE {'pk': 'a', 'n': 1, 'l': ['x'], 'm': {'deep': {'er': TRUE}}}"
    _run(client, insert)
    assert _code(client.execute_statement, Statement=insert) == "DuplicateItemException"
    update = "UPDATE things SET n = n + 41 SET l = list_append(l, ?) SET t = set_add(t, <<1, 2>>) REMOVE m.deep.er"
    assert _run(client, f"{update} WHERE pk = 'a' RETURNING ALL NEW *", {"L": [{"S": "y"}]}) == [
        {
            "pk": {"S": "a"},
            "n": {"N": "42"},
            "l": {"L": [{"S": "x"}, {"S": "y"}]},
            "m": {"M": {"deep": {"M": {}}}},
            "t": {"NS": ["1", "2"]},
        }
    ]
    missing = "UPDATE things SET n = 1 WHERE pk = 'nobody'"
    assert _code(client.execute_statement, Statement=missing) == "ConditionalCheckFailedException"
    guarded = "DELETE FROM things WHERE pk = 'a' AND n < 10 RETURNING ALL OLD *"
    assert _code(client.execute_statement, Statement=guarded) == "ConditionalCheckFailedException"
    assert len(_run(client, "DELETE FROM things WHERE pk = 'a' AND n = 42 RETURNING ALL OLD *")) == 1
    assert _run(client, "DELETE FROM things WHERE pk = 'a' RETURNING ALL OLD *") == []
    assert _run(client, "SELECT * FROM things") == []


def test_reads_of_a_table_and_its_indexes(client: Any) -> None:
    client.create_table(**_BOOKS)
    _fill(client)
    assert _titles(_run(client, "SELECT title FROM books WHERE author = 'ann' AND title > 'B'")) == ["C", "D", "E"]
    two = "SELECT title FROM books WHERE author IN ('bob', 'ann') AND year < ? ORDER BY author DESC, title DESC"
    assert _titles(_run(client, two, {"N": "1998"}, Limit=3)) == ["E", "D", "E", "D"]
    assert len(_run(client, 'SELECT * FROM books WHERE contains("tags", ?)', {"S": "t"}, Limit=4)) == 10
    by_year = 'SELECT title FROM "books"."by-year" WHERE author = ? AND year BETWEEN 1997 AND 1999'
    assert _titles(_run(client, by_year, {"S": "ann"}, Limit=2)) == ["D", "C", "B"]
    assert _titles(_run(client, by_year + " ORDER BY year DESC", {"S": "ann"}, Limit=1)) == ["B", "C", "D"]
    fetched = _run(client, 'SELECT tags FROM "books"."by-year" WHERE author = ? AND year = 1999', {"S": "ann"})
    assert fetched == [{"tags": {"SS": ["t"]}}]
    by_shelf = 'SELECT title FROM "books"."by-shelf" WHERE shelf = \'s\' AND year IN (2000, 1996)'
    eventually("both books of each year", lambda: len(_run(client, by_shelf)) == 4)
    assert _titles(_run(client, by_shelf)) == ["E", "E", "A", "A"]
    assert _titles(_run(client, by_shelf + " ORDER BY year DESC", Limit=1)) == ["A", "A", "E", "E"]
    lost = 'SELECT tags FROM "books"."by-shelf" WHERE shelf = \'s\''
    assert _code(client.execute_statement, Statement=lost) == "ValidationException"
    filtered = 'SELECT title FROM "books"."by-shelf" WHERE shelf = \'s\' AND tags IS MISSING'
    assert _code(client.execute_statement, Statement=filtered) == "ValidationException"


def test_batches(client: Any) -> None:
    create_table(client, "things")
    inserts = [{"Statement": "INSERT INTO things VALUE {'pk': ?}", "Parameters": [{"S": str(at)}]} for at in range(25)]
    answer = client.batch_execute_statement(Statements=inserts, ReturnConsumedCapacity="TOTAL")
    assert answer["Responses"] == [{"TableName": "things"}] * 25
    assert answer["ConsumedCapacity"] == [{"TableName": "things", "CapacityUnits": 25.0}]
    reads = [
        {"Statement": "SELECT * FROM things WHERE pk = ?", "Parameters": [{"S": str(at)}], "ConsistentRead": True}
        for at in range(25)
    ]
    items = [entry["Item"]["pk"]["S"] for entry in client.batch_execute_statement(Statements=reads)["Responses"]]
    assert items == [str(at) for at in range(25)]
    again = client.batch_execute_statement(Statements=inserts[:2])["Responses"]
    assert [entry["Error"]["Code"] for entry in again] == ["DuplicateItem", "DuplicateItem"]


def test_a_batch_of_large_items(client: Any) -> None:
    create_table(client, "things")
    inserts = [
        {
            "Statement": "INSERT INTO things VALUE {'pk': ?, 'v': ?}",
            "Parameters": [{"S": str(at)}, {"S": "x" * 390_000}],
        }
        for at in range(15)
    ]
    answer = client.batch_execute_statement(Statements=inserts)
    assert [entry for entry in answer["Responses"] if "Error" in entry] == []
    pages = _run(client, "SELECT pk FROM things")
    assert sorted(int(item["pk"]["S"]) for item in pages) == list(range(15))


def test_transactions(client: Any) -> None:
    create_table(client, "things")
    create_table(client, "others", range_key=True)
    _run(client, "INSERT INTO things VALUE {'pk': 'a', 'n': 5}")
    writes = [
        {"Statement": "UPDATE things SET n = n - ? WHERE pk = 'a' AND n >= 3", "Parameters": [{"N": "3"}]},
        {"Statement": "INSERT INTO others VALUE {'pk': 'a', 'sk': 'x', 'n': 3}"},
    ]
    check = {"Statement": "EXISTS(SELECT * FROM others WHERE pk = 'a' AND sk = 'x' AND n = 3)"}
    assert client.execute_transaction(TransactStatements=writes, ClientRequestToken="t")["Responses"] == []
    client.execute_transaction(TransactStatements=writes, ClientRequestToken="t")  # the same again: nothing is done
    with pytest.raises(client.exceptions.TransactionCanceledException) as canceled:
        client.execute_transaction(TransactStatements=[check, writes[0]])
    assert [reason["Code"] for reason in canceled.value.response["CancellationReasons"]] == [
        "None",
        "ConditionalCheckFailed",
    ]
    reads = [
        {"Statement": "SELECT n FROM things WHERE pk = 'a'"},
        {"Statement": "SELECT n FROM others WHERE sk = 'x' AND pk = 'a'"},
        {"Statement": "SELECT n FROM others WHERE sk = 'y' AND pk = 'a'"},
    ]
    read = client.execute_transaction(TransactStatements=reads)["Responses"]
    assert read == [{"Item": {"n": {"N": "2"}}}, {"Item": {"n": {"N": "3"}}}, {}]


def test_transfers_on_three_nodes(three: Cluster) -> None:
    """Statements of several clients move money between accounts; no transaction of reads sees a part of a transfer."""
    client = three.client()
    create_table(client, "accounts")
    client.get_waiter("table_exists").wait(TableName="accounts", WaiterConfig={"Delay": 1})
    names = [f"a{at}" for at in range(4)]
    for name in names:
        _run(client, "INSERT INTO accounts VALUE {'pk': ?, 'n': 100}", {"S": name})
    totals: list[int] = []

    def move(number: int) -> None:
        mine = three.client()
        for at in range(25):
            giver, taker = names[(at + number) % 4], names[(at * 3 + number + 1) % 4]
            if giver == taker:
                continue
            change = "UPDATE accounts SET n = n + ? WHERE pk = ?"
            statements = [
                {"Statement": change + " AND n >= 5", "Parameters": [{"N": "-5"}, {"S": giver}]},
                {"Statement": change, "Parameters": [{"N": "5"}, {"S": taker}]},
            ]
            with contextlib.suppress(mine.exceptions.TransactionCanceledException):
                mine.execute_transaction(TransactStatements=statements)

    def look() -> None:
        mine = three.client()
        reads = [{"Statement": "SELECT n FROM accounts WHERE pk = ?", "Parameters": [{"S": name}]} for name in names]
        for _ in range(25):
            with contextlib.suppress(mine.exceptions.TransactionCanceledException):
                found = mine.execute_transaction(TransactStatements=reads)["Responses"]
                totals.append(sum(int(entry["Item"]["n"]["N"]) for entry in found))

    threads = [*(threading.Thread(target=move, args=(number,)) for number in range(3)), threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = _run(client, "SELECT n FROM accounts", ConsistentRead=True)
    assert sum(int(item["n"]["N"]) for item in found) == 400
    assert totals
    assert set(totals) == {400}


def test_counters_and_inserts_while_a_node_dies(three: Cluster) -> None:
    """An UPDATE that was acknowledged is there, none is applied twice, and of two INSERTs of a key one succeeds."""
    client = three.client()
    create_table(client, "things")
    client.get_waiter("table_exists").wait(TableName="things", WaiterConfig={"Delay": 1})
    _run(client, "INSERT INTO things VALUE {'pk': 'n', 'v': 0}")
    done = [0, 0]
    inserted: list[list[int]] = [[], []]

    def work(worker: int) -> None:
        mine = three.client()
        for at in range(60):
            try:
                _run(mine, "UPDATE things SET v = v + 1 WHERE pk = 'n'")
                done[worker] += 1
                _run(mine, "INSERT INTO things VALUE {'pk': ?, 'by': ?}", {"S": f"k{at}"}, {"N": str(worker)})
                inserted[worker].append(at)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                assert code in ("DuplicateItemException", "InternalServerError", "ServiceUnavailable"), code
                unknown.append(code == "InternalServerError")

    unknown: list[bool] = []
    workers = [threading.Thread(target=work, args=(worker,)) for worker in (0, 1)]
    for worker in workers:
        worker.start()
    three.kill(2)
    for worker in workers:
        worker.join()
    three.start(2)
    value = int(_run(client, "SELECT v FROM things WHERE pk = 'n'", ConsistentRead=True)[0]["v"]["N"])
    assert sum(done) <= value <= sum(done) + sum(unknown)
    assert not set(inserted[0]) & set(inserted[1])
    for number, keys in enumerate(inserted):
        for at in keys:
            found = _run(client, 'SELECT "by" FROM things WHERE pk = ?', {"S": f"k{at}"}, ConsistentRead=True)
            assert found == [{"by": {"N": str(number)}}]
