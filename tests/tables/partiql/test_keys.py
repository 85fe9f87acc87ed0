"""What a WHERE clause says about keys: Scans, ranges, and what stays a filter."""

from __future__ import annotations

from typing import Any

import pytest

from gramme.kernel.errors import InvalidInput
from gramme.tables.descriptor import KeySchema
from gramme.tables.keys import SortOperator
from gramme.tables.partiql.keys import MAX_RANGES, Reading, SortTerm, item_key, reading
from gramme.tables.partiql.nodes import Select
from gramme.tables.partiql.parser import parse_statement
from gramme.tables.partiql.requests import bind
from gramme.tables.partiql.text import Names, condition_text

_KEY = KeySchema("pk", "S", "sk", "N")


def _read(condition: str, *parameters: Any) -> Reading:
    statement = parse_statement(f"SELECT * FROM things WHERE {condition}")
    assert isinstance(statement.body, Select)
    values = bind(statement, list(parameters))
    return reading(statement.body.where, values, (("pk", "S"),), (("sk", "N"),))


def _rest(condition: str) -> str | None:
    rest = _read(condition).rest
    return None if rest is None else condition_text(rest, Names())


@pytest.mark.parametrize(
    "condition",
    ["a = 1", "pk > 'a'", "pk = 'a' OR a = 1", "NOT pk = 'a'", "pk <> 'a'", "pk = a", "pk.x = 'a'", "pk IN ('a', b)",
     "pk = 'a' AND sk = 1 OR pk = 'b'", "begins_with(pk, 'a')", "size(pk) = 1"],
)  # fmt: skip
def test_scans(condition: str) -> None:
    assert _read(condition).hashes is None


@pytest.mark.parametrize(
    ("condition", "hashes"),
    [
        ("pk = 'a'", ["a"]),
        ("'a' = pk AND a = 1", ["a"]),
        ("pk IN ('b', 'a', 'b')", ["a", "b"]),
        ("pk IN ['b', 'a'] AND a = 1", ["a", "b"]),
        ("pk = 'b' OR pk IN ('c', 'a') OR 'b' = pk", ["a", "b", "c"]),
        ("(pk = 'b' OR pk = 'a') AND sk > 1", ["a", "b"]),
    ],
)
def test_collections(condition: str, hashes: list[str]) -> None:
    assert _read(condition).hashes == [[{"S": value}] for value in hashes]


def test_what_goes_to_the_sort_key_and_what_stays() -> None:
    one, four = {"N": "1"}, {"N": "4"}
    assert _read("pk = 'a' AND sk > 1 AND 4 >= sk").terms == [
        SortTerm(SortOperator.GREATER, one),
        SortTerm(SortOperator.LESS_OR_EQUAL, four),
    ]
    assert _read("pk = 'a' AND sk BETWEEN 1 AND 4").terms == [SortTerm(SortOperator.BETWEEN, one, four)]
    assert _read("pk = 'a' AND sk IN (4, 1, 4)").points == [one, four]
    assert _read("pk = 'a' AND (sk = 4 OR sk = 1)").points == [one, four]
    assert _rest("pk = 'a' AND sk = 1 AND a = 2") == "#0 = :2"
    assert _rest("pk = 'a' AND NOT sk = 1") == "NOT #0 = :1"
    assert _rest("pk = 'a' AND sk <> 1 AND sk = b") == "#0 <> :1 AND #0 = #1"
    assert _rest("pk = 'a' AND pk = 'b'") == "#0 = :1"
    assert _rest("pk = 'a'") is None


def test_the_number_of_ranges_is_bounded() -> None:
    hashes = ", ".join(f"'h{at}'" for at in range(20))
    points = ", ".join(map(str, range(MAX_RANGES // 20 + 1)))
    found = _read(f"pk IN ({hashes}) AND sk IN ({points})")
    assert found.hashes is not None
    assert len(found.hashes) == 20
    assert (found.points, found.rest is None) == (None, False)
    assert _read(" OR ".join(f"pk = 'h{at}'" for at in range(MAX_RANGES + 1))).hashes is None


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("pk = 1", "Key attribute's data type should match its data type in table's schema: Key pk"),
        ("pk = 'a' AND sk > 'x'", "Key attribute's data type should match its data type in table's schema: Key sk"),
        (
            "pk = 'a' AND begins_with(sk, 'x')",
            "Key attribute's data type should match its data type in table's schema: Key sk",
        ),
        (
            "pk = ''",
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
            "empty string value. Key: pk",
        ),
    ],
)
def test_wrong_keys(condition: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _read(condition)
    assert str(refused.value) == message


def test_the_key_of_a_write() -> None:
    statement = parse_statement("DELETE FROM things WHERE sk = 1 AND a = 2 AND 'x' = pk AND sk = 1.0")
    assert not isinstance(statement.body, Select)
    key, rest = item_key(statement.body.where, bind(statement, []), _KEY)  # type: ignore[union-attr]
    assert key == {"pk": {"S": "x"}, "sk": {"N": "1"}}
    assert rest is not None
    assert condition_text(rest, Names()) == "#0 = :1"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "Where clause does not contain a mandatory equality on all key attributes"),
        (" WHERE pk = 'x'", "Where clause does not contain a mandatory equality on all key attributes"),
        (" WHERE pk = 'x' AND sk > 1", "Where clause does not contain a mandatory equality on all key attributes"),
        (" WHERE pk IN ('x') AND sk = 1", "Where clause does not contain a mandatory equality on all key attributes"),
        (" WHERE pk = 'x' OR sk = 1", "Where clause does not contain a mandatory equality on all key attributes"),
        (
            " WHERE pk = 'x' AND sk = 1 AND sk = 2",
            "Multiple conditions on same key sk. Only single item Update/Insert/Delete are supported",
        ),
        (
            " WHERE pk = 'x' AND sk = 'y'",
            "Key attribute's data type should match its data type in table's schema: Key sk",
        ),
    ],
)
def test_writes_name_one_item(where: str, message: str) -> None:
    statement = parse_statement("DELETE FROM things" + where)
    with pytest.raises(InvalidInput) as refused:
        item_key(statement.body.where, bind(statement, []), _KEY)  # type: ignore[union-attr]
    assert str(refused.value) == message
