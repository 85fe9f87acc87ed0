"""PartiQL statements in batches and transactions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.api.caller import Caller, event

from gramme.tables.requests import Failed, FailureKind


def _caller() -> Caller:
    caller = Caller()
    caller.create_tables()
    return caller


def _elements(statements: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [entry if isinstance(entry, dict) else {"Statement": entry} for entry in statements]


def _numbered(caller: Caller) -> Caller:
    for pk in "ab":
        for sk in range(4):
            item = event(pk, sk, m={"M": {"x": {"N": str(sk)}}}, s={"S": f"s{9 - sk}"})
            caller.call("PutItem", {"TableName": "events", "Item": item})
    return caller


# --- batches


def _batch(caller: Caller, *statements: Any, **members: Any) -> list[Any]:
    responses: list[Any] = caller.call("BatchExecuteStatement", {"Statements": _elements(statements), **members})[
        "Responses"
    ]
    return responses


def test_a_batch_of_reads() -> None:
    caller = _numbered(_caller())
    single = "Only single item select is supported"
    assert _batch(
        caller,
        "SELECT sk, m.x FROM events WHERE pk = 'a' AND sk = 1",
        {"Statement": "SELECT s FROM events WHERE pk = ? AND sk = ?", "Parameters": [{"S": "b"}, {"N": "2.0"}]},
        "SELECT * FROM events WHERE pk = 'a' AND sk = 77",
        "SELECT * FROM events WHERE pk = 'a'",
        "SELECT * FROM events WHERE pk = 'a' AND sk = 2 AND s = 's7'",
        "SELECT * FROM nope WHERE pk = 'a'",
        "SELECT * FROM events WHERE pk = 'a' AND sk = 'x'",
        "nonsense here",
    ) == [
        {"TableName": "events", "Item": {"sk": {"N": "1"}, "x": {"N": "1"}}},
        {"TableName": "events", "Item": {"s": {"S": "s7"}}},
        {"TableName": "events"},
        {"Error": {"Code": "ValidationError", "Message": single}},
        {"Error": {"Code": "ValidationError", "Message": single}},
        {"Error": {"Code": "ResourceNotFound", "Message": "Requested resource not found"}},
        {
            "Error": {
                "Code": "ValidationError",
                "Message": "Key attribute's data type should match its data type in table's schema: Key sk",
            }
        },
        {
            "Error": {
                "Code": "ValidationError",
                "Message": "Statement wasn't well formed, can't be processed: nonsense here",
            }
        },
    ]


def test_a_batch_of_writes() -> None:
    caller = _caller()
    caller.call("PutItem", {"TableName": "users", "Item": {"pk": {"S": "a"}, "n": {"N": "1"}}})
    caller.call("PutItem", {"TableName": "users", "Item": {"pk": {"S": "b"}}})
    failed = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
    assert _batch(
        caller,
        "UPDATE users SET n = n + 1 WHERE pk = 'a' RETURNING MODIFIED NEW *",
        "INSERT INTO users VALUE {'pk': 'b'}",
        "INSERT INTO users VALUE {'pk': 'c'}",
        "DELETE FROM users WHERE pk = 'd' RETURNING ALL OLD *",
        "UPDATE users SET n = 1 WHERE pk = 'e'",
        ReturnConsumedCapacity="TOTAL",
    ) == [
        {"TableName": "users", "Item": {"n": {"N": "2"}}},
        {
            "Error": {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"},
            "TableName": "users",
        },
        {"TableName": "users"},
        {"TableName": "users"},
        {"Error": failed, "TableName": "users"},
    ]
    shown = {
        "Statement": "DELETE FROM users WHERE pk = 'a' AND n = 7",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    assert _batch(caller, shown) == [
        {"Error": {**failed, "Item": {"pk": {"S": "a"}, "n": {"N": "2"}}}, "TableName": "users"}
    ]


def test_refused_batches() -> None:
    caller = _caller()

    def invalid(*statements: Any) -> str:
        return caller.invalid("BatchExecuteStatement", {"Statements": _elements(statements)})

    read, write = "SELECT * FROM users WHERE pk = 'a'", "DELETE FROM users WHERE pk = 'a'"
    assert invalid(read, write) == "Read and write requests together in the same batch is not supported."
    assert invalid(read, read) == "Provided list of item keys contains duplicates"
    assert invalid(write, "INSERT INTO users VALUE {'pk': 'a'}") == "Provided list of item keys contains duplicates"
    assert invalid().startswith("1 validation error detected: Value '[]' at 'statements' failed to satisfy constraint")
    assert "length less than or equal to 25" in invalid(*[read] * 26)
    assert "statements.1.member.statement" in invalid({})
    assert invalid({"Statement": read, "Parameters": [{"N": "x"}]}).startswith("The parameter cannot be converted")
    assert caller.backend.requests == []


def test_trouble_of_one_statement_is_its_own() -> None:
    caller = _caller()
    caller.backend.failures.append(Failed(FailureKind.THROTTLED))
    answer = _batch(caller, "INSERT INTO users VALUE {'pk': 'a'}", "INSERT INTO users VALUE {'pk': 'b'}")
    assert [entry.get("Error", {}).get("Code") for entry in answer] == ["ThrottlingError", None]
    caller.backend.failures.append(Failed(FailureKind.UNKNOWN))
    answer = _batch(caller, "INSERT INTO users VALUE {'pk': 'c'}")
    assert answer[0]["Error"]["Code"] == "InternalServerError"


# --- transactions


def _transaction(caller: Caller, *statements: Any, **members: Any) -> Any:
    return caller.call("ExecuteTransaction", {"TransactStatements": _elements(statements), **members})


def _canceled(caller: Caller, *statements: Any) -> list[Any]:
    raw = caller.raw("ExecuteTransaction", json.dumps({"TransactStatements": _elements(statements)}).encode())
    answer = json.loads(raw.whole_body())
    assert (raw.status, answer["__type"].rpartition("#")[2]) == (400, "TransactionCanceledException"), answer
    reasons: list[Any] = answer["CancellationReasons"]
    codes = ", ".join(reason["Code"] for reason in reasons)
    text = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    assert answer["Message"] == text
    return reasons


_NONE = {"Code": "None"}
_FAILED = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}


def test_a_transaction_writes_all_or_nothing() -> None:
    caller = _numbered(_caller())
    check = "EXISTS(SELECT * FROM events WHERE pk = 'a' AND sk = 1 AND s = 's8')"
    writes = (
        {"Statement": "INSERT INTO users VALUE {'pk': ?, 'n': 1}", "Parameters": [{"S": "u"}]},
        "UPDATE events SET s = 'new' REMOVE m.x WHERE pk = 'a' AND sk = 2 AND s <> 'new'",
        "DELETE FROM events WHERE pk = 'b' AND sk = 3",
    )
    answer = _transaction(caller, check, *writes, ReturnConsumedCapacity="TOTAL")
    units = {"events": 6.0, "users": 2.0}
    assert answer == {
        "Responses": [],
        "ConsumedCapacity": [
            {"TableName": name, "CapacityUnits": used, "WriteCapacityUnits": used} for name, used in units.items()
        ],
    }
    before = caller.call("Scan", {"TableName": "events"})["Items"]
    assert len(before) == 7
    assert _canceled(caller, check, *writes) == [
        _NONE,
        {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"},
        _FAILED,
        _NONE,
    ]
    missing = "UPDATE users SET n = 2 WHERE pk = 'nobody'"
    refused = "EXISTS(SELECT * FROM users WHERE pk = 'u' AND n > 1)"
    shown = {"Statement": refused, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    assert _canceled(caller, "INSERT INTO users VALUE {'pk': 'v'}", missing, shown) == [
        _NONE,
        _FAILED,
        {**_FAILED, "Item": {"pk": {"S": "u"}, "n": {"N": "1"}}},
    ]
    assert caller.call("Scan", {"TableName": "events"})["Items"] == before
    assert caller.call("Scan", {"TableName": "users"})["Count"] == 1


def test_a_transaction_reads() -> None:
    caller = _numbered(_caller())
    answer = _transaction(
        caller,
        "SELECT m.x, s FROM events WHERE pk = 'a' AND sk = 1",
        {"Statement": "SELECT * FROM users WHERE pk = ?", "Parameters": [{"S": "nobody"}]},
        "SELECT gone FROM events WHERE sk = 2 AND pk = 'b'",
        ReturnConsumedCapacity="TOTAL",
        ClientRequestToken="of no account",
    )
    assert answer["Responses"] == [{"Item": {"x": {"N": "1"}, "s": {"S": "s8"}}}, {}, {"Item": {}}]
    assert [entry["CapacityUnits"] for entry in answer["ConsumedCapacity"]] == [4.0, 2.0]


def test_what_does_not_fit_its_table_cancels_a_transaction() -> None:
    caller = _caller()
    mismatch = "Key attribute's data type should match its data type in table's schema: Key pk"
    for statement, message in (
        ("UPDATE users SET n = 1 WHERE pk = 5", mismatch),
        ("EXISTS(SELECT * FROM users WHERE pk = 5 AND n = 1)", mismatch),
        ("INSERT INTO users VALUE {'n': 1}", "Key attribute should be present in the item: Key pk"),
        ("DELETE FROM users WHERE n = 1", "Where clause does not contain a mandatory equality on all key attributes"),
    ):
        reasons = _canceled(caller, "INSERT INTO users VALUE {'pk': 'a'}", statement)
        assert reasons == [_NONE, {"Code": "ValidationError", "Message": message}]
    assert _canceled(caller, "SELECT * FROM users WHERE pk = 5") == [{"Code": "ValidationError", "Message": mismatch}]
    assert caller.backend.requests == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "SELECT * FROM users",
            "Select statements within ExecuteTransaction must specify the primary key in the where clause.",
        ),
        (
            "SELECT * FROM users WHERE pk = 'a' AND n = 1",
            "Select statements within ExecuteTransaction must specify the primary key in the where clause.",
        ),
        ("SELECT * FROM users.idx WHERE pk = 'a'", "Reads on indices are not supported within transactions."),
        (
            "EXISTS(SELECT * FROM users.idx WHERE pk = 'a' AND n = 1)",
            "Operations on indices are not supported in transactions",
        ),
        (
            "EXISTS(SELECT * FROM users WHERE pk = 'a')",
            "EXISTS() must contain a single item read with additional condition",
        ),
        (
            "EXISTS(SELECT * FROM users WHERE n = 1)",
            "EXISTS() must contain a single item read with additional condition",
        ),
        (
            "DELETE FROM users WHERE pk = 'a' RETURNING ALL OLD *",
            "RETURNING clause is not supported in ExecuteTransaction.",
        ),
        ("DELETE FROM users WHERE pk = ?", "Number of parameters in request and statement don't match."),
        ("SELECT a, a FROM users WHERE pk = 'a'", "Duplicate identifiers in select clause: a"),
        (
            "UPDATE users SET n = n + 'x' WHERE pk = 'a'",
            "Incorrect operand type for operator or function; operator or function: +, operand type: S",
        ),
    ],
)
def test_faults_of_a_statement_name_its_place(statement: str, message: str) -> None:
    caller = _caller()
    prefix = "Validation failed in TransactStatements[0]: "
    body = {"TransactStatements": [{"Statement": statement}]}
    assert caller.invalid("ExecuteTransaction", body) == prefix + message
    assert caller.backend.requests == []


def test_refused_transactions() -> None:
    caller = _caller()

    def invalid(*statements: Any, **members: Any) -> str:
        return caller.invalid("ExecuteTransaction", {"TransactStatements": _elements(statements), **members})

    read, write = "SELECT * FROM users WHERE pk = 'a'", "DELETE FROM users WHERE pk = 'a'"
    check = "EXISTS(SELECT * FROM users WHERE pk = 'a' AND n = 1)"
    mixed = "ExecuteTransaction API does not support both read and write operations in the same request."
    twice = "Transaction request cannot include multiple operations on one item"
    assert invalid(read, write) == mixed
    assert invalid(check, read) == mixed
    assert invalid(read, read) == twice
    assert invalid(check, write) == twice
    assert invalid("nonsense here") == "Statement wasn't well formed, can't be processed: nonsense here"
    assert invalid().startswith("1 validation error detected: Value '[]' at 'transactStatements' failed")
    assert "length less than or equal to 100" in invalid(*[read] * 101)
    assert "clientRequestToken" in invalid(write, ClientRequestToken="x" * 37)
    assert caller.refuse(
        "ExecuteTransaction", {"TransactStatements": [{"Statement": "SELECT * FROM nope WHERE pk = 'a'"}]}
    ) == (
        "ResourceNotFoundException",
        "Requested resource not found",
    )
    large = [
        {"Statement": "INSERT INTO users VALUE {'pk': ?, 'v': ?}", "Parameters": [{"S": str(at)}, {"S": "x" * 390_000}]}
        for at in range(11)
    ]
    assert invalid(*large).startswith("Transaction payload size cannot exceed 4MB. Payload Size: 4290")
    assert caller.backend.requests == []
