"""Query and Scan: pages, conditions, directions, segments, and what is counted before the filter."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.caller import Caller, event, headers_of

from gramme.api.dynamodb.scan import segment_range
from gramme.api.dynamodb.service import DynamoDbApi


def _filled(rows: dict[str, list[int]], partitions: int = 4, padding: int = 0) -> Caller:
    caller = Caller(partitions=partitions)
    caller.create_tables()
    for pk, sort_keys in rows.items():
        for sk in sort_keys:
            item = event(pk, sk, even={"BOOL": sk % 2 == 0}, pad={"S": "x" * padding})
            caller.call("PutItem", {"TableName": "events", "Item": item})
    return caller


def _query(pk: str, **members: Any) -> dict[str, Any]:
    return {
        "TableName": "events",
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": pk}},
        **members,
    }


def _walk(caller: Caller, operation: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The pages of a whole read."""
    pages = []
    while True:
        page = caller.call(operation, body)
        assert page["Count"] == len(page.get("Items", [])) or body.get("Select") == "COUNT"
        pages.append(page)
        if "LastEvaluatedKey" not in page:
            return pages
        body = {**body, "ExclusiveStartKey": page["LastEvaluatedKey"]}
        assert len(pages) < 1000


def _sort_keys(pages: list[dict[str, Any]]) -> list[int]:
    return [int(item["sk"]["N"]) for page in pages for item in page["Items"]]


_TABLE = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.integers(-50, 50), unique=True, max_size=12), max_size=4
)


@settings(deadline=None, max_examples=40)
@given(rows=_TABLE, limit=st.integers(1, 8), forward=st.booleans(), partitions=st.sampled_from([1, 3, 16]))
def test_a_query_walk_gives_the_whole_collection_once_in_order(
    rows: dict[str, list[int]], limit: int, forward: bool, partitions: int
) -> None:
    caller = _filled(rows, partitions)
    for pk in "abcdef":
        pages = _walk(caller, "Query", _query(pk, Limit=limit, ScanIndexForward=forward))
        assert _sort_keys(pages) == sorted(rows.get(pk, []), reverse=not forward)
        assert all(page["ScannedCount"] == limit for page in pages[:-1])


@settings(deadline=None, max_examples=30)
@given(rows=_TABLE, limit=st.integers(1, 8), total=st.integers(1, 9), partitions=st.sampled_from([1, 4, 7]))
def test_scan_walks_of_all_segments_give_every_item_once(
    rows: dict[str, list[int]], limit: int, total: int, partitions: int
) -> None:
    caller = _filled(rows, partitions)
    expected = sorted((pk, sk) for pk, sort_keys in rows.items() for sk in sort_keys)
    whole = _walk(caller, "Scan", {"TableName": "events", "Limit": limit})
    assert _keys(whole) == expected
    parts: list[dict[str, Any]] = []
    for segment in range(total):
        body = {"TableName": "events", "Limit": limit, "Segment": segment, "TotalSegments": total}
        parts += _walk(caller, "Scan", body)
    assert _keys(parts) == expected


def _keys(pages: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return sorted((item["pk"]["S"], int(item["sk"]["N"])) for page in pages for item in page["Items"])


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ("sk = :v", [3], [3]),
        ("sk < :v", [3], [-2, 0, 1]),
        ("sk <= :v", [3], [-2, 0, 1, 3]),
        (":v < sk", [3], [10, 200]),
        ("sk >= :v", [3], [3, 10, 200]),
        ("sk BETWEEN :v AND :w", [0, 10], [0, 1, 3, 10]),
        ("sk BETWEEN :v AND :v", [4], []),
    ],
)
@pytest.mark.parametrize("forward", [True, False])
def test_sort_key_conditions_and_their_page_walks(
    condition: str, values: list[int], expected: list[int], forward: bool
) -> None:
    caller = _filled({"a": [-2, 0, 1, 3, 10, 200], "b": [3]})
    body = _query("a", ScanIndexForward=forward)
    body["KeyConditionExpression"] = f"pk = :p AND {condition}"
    for name, value in zip((":v", ":w"), values, strict=False):
        body["ExpressionAttributeValues"][name] = {"N": str(value)}
    order = expected if forward else expected[::-1]
    assert _sort_keys(_walk(caller, "Query", body)) == order
    assert _sort_keys(_walk(caller, "Query", {**body, "Limit": 1})) == order


def test_begins_with_on_a_string_sort_key() -> None:
    caller = Caller()
    schema = [{"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "s", "KeyType": "RANGE"}]
    definitions = [{"AttributeName": "p", "AttributeType": "B"}, {"AttributeName": "s", "AttributeType": "S"}]
    caller.call(
        "CreateTable",
        {
            "TableName": "texts",
            "KeySchema": schema,
            "AttributeDefinitions": definitions,
            "BillingMode": "PAY_PER_REQUEST",
        },
    )
    for text in ("a", "ab", "ab\x00", "abc", "b", "ac"):
        caller.call("PutItem", {"TableName": "texts", "Item": {"p": {"B": "AA=="}, "s": {"S": text}}})
    page = caller.call(
        "Query",
        {
            "TableName": "texts",
            "KeyConditionExpression": "p = :p AND begins_with(s, :s)",
            "ExpressionAttributeValues": {":p": {"B": "AA=="}, ":s": {"S": "ab"}},
        },
    )
    assert [item["s"]["S"] for item in page["Items"]] == ["ab", "ab\x00", "abc"]


def test_filter_projection_and_counts() -> None:
    caller = _filled({"a": list(range(10))})
    values = {":p": {"S": "a"}, ":t": {"BOOL": True}}
    body = _query("a", FilterExpression="even = :t", ExpressionAttributeValues=values, ProjectionExpression="sk")
    page = caller.call("Query", body)
    assert page["Items"] == [{"sk": {"N": str(sk)}} for sk in range(0, 10, 2)]
    assert (page["Count"], page["ScannedCount"]) == (5, 10)
    del body["ProjectionExpression"]
    assert caller.call("Query", {**body, "Select": "COUNT"}) == {"Count": 5, "ScannedCount": 10}
    limited = caller.call("Query", {**body, "Limit": 3})
    assert (limited["Count"], limited["ScannedCount"]) == (2, 3)
    assert limited["LastEvaluatedKey"] == event("a", 2)
    # The page token is the last row that was looked at, even where the filter dropped all rows.
    nothing = {":p": {"S": "a"}, ":t": {"S": "never"}}
    empty = caller.call("Query", {**body, "ExpressionAttributeValues": nothing, "Limit": 4})
    assert (empty["Items"], empty["LastEvaluatedKey"]) == ([], event("a", 3))
    scanned = caller.call(
        "Scan",
        {
            "TableName": "events",
            "FilterExpression": "sk > :v",
            "ExpressionAttributeValues": {":v": {"N": "6"}},
            "Select": "COUNT",
        },
    )
    assert scanned == {"Count": 3, "ScannedCount": 10}


def test_pages_end_at_one_megabyte_before_the_filter() -> None:
    caller = _filled({"a": list(range(30))}, padding=100_000)
    pages = _walk(caller, "Query", _query("a"))
    assert _sort_keys(pages) == list(range(30))
    assert [page["Count"] for page in pages] == [11, 11, 8]
    values = {":p": {"S": "a"}, ":none": {"S": "none"}}
    dropped = _walk(caller, "Query", _query("a", FilterExpression="x = :none", ExpressionAttributeValues=values))
    assert [page["ScannedCount"] for page in dropped] == [11, 11, 8]
    assert _keys(_walk(caller, "Scan", {"TableName": "events"})) == [("a", sk) for sk in range(30)]


def test_consumed_capacity_is_of_the_page_as_a_whole() -> None:
    caller = _filled({"a": list(range(10))}, padding=1000)
    size = 10 * (1000 + len("pkasksk") + len("evenpad") + 2)  # at least: two bytes hold a small number
    for consistent, divisor in ((False, 2), (True, 1)):
        body = _query("a", ReturnConsumedCapacity="TOTAL", ConsistentRead=consistent)
        units = caller.call("Query", body)["ConsumedCapacity"]["CapacityUnits"]
        assert units == -(-size // 4096) / divisor


def test_a_page_of_several_chunks_lets_others_in_between_and_is_charged_as_one() -> None:
    """Three rows to a chunk of 64 KB: 19 and 19 units, were they charged apart."""
    caller = _filled({"a": list(range(6))}, padding=25_000)
    waiting: list[Callable[[], None]] = []
    caller.api = DynamoDbApi(
        caller.backend, caller.backend.clock, random.Random(1), log=lambda *_: None, defer=waiting.append
    )
    for members, pauses in (({}, 2), ({"ScanIndexForward": False}, 2), ({"Limit": 2}, 0), ({"Limit": 4}, 1)):
        body = _query("a", ReturnConsumedCapacity="TOTAL", ConsistentRead=True, **members)
        answers = caller.pending("POST", "/", json.dumps(body).encode(), headers_of("Query"))
        for _ in range(pauses):
            assert answers == []
            (go_on,) = waiting
            waiting.clear()
            go_on()
        (answer,) = answers
        page = json.loads(answer.whole_body())
        assert waiting == []
        found = range(members.get("Limit", 6))
        assert _sort_keys([page]) == list(reversed(found) if "ScanIndexForward" in members else found)
        size = len(page["Items"]) * (25_000 + len("pkasksk") + len("evenpad") + 2)
        assert page["ConsumedCapacity"]["CapacityUnits"] == -(-size // 4096)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"IndexName": "byName"}, "The table does not have the specified index: byName"),
        (
            {"Select": "ALL_PROJECTED_ATTRIBUTES"},
            "ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName",
        ),
        (
            {"Select": "SPECIFIC_ATTRIBUTES"},
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES",
        ),
        (
            {"Select": "COUNT", "ProjectionExpression": "a"},
            "Cannot specify the ProjectionExpression when choosing to get only the Count",
        ),
        (
            {"Select": "ALL_ATTRIBUTES", "ProjectionExpression": "a"},
            "Cannot specify the ProjectionExpression when choosing to get ALL_ATTRIBUTES",
        ),
        (
            {"KeyConditionExpression": None, "ExpressionAttributeValues": None},
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        ),
        ({"KeyConditionExpression": "sk = :p"}, "Query condition missed key schema element: pk"),
        ({"KeyConditionExpression": "pk > :p"}, "Query key condition not supported"),
        (
            {"FilterExpression": "sk = :p"},
            "Filter Expression can only contain non-primary key attributes: Primary key attribute: sk",
        ),
        (
            {"FilterExpression": "attribute_exists(a) AND NOT (b = :p OR size(pk) > :p)"},
            "Filter Expression can only contain non-primary key attributes: Primary key attribute: pk",
        ),
        (
            {"ExclusiveStartKey": event("other", 1)},
            "The provided starting key is outside query boundaries based on provided conditions",
        ),
        (
            {"ExclusiveStartKey": {"pk": {"S": "a"}}},
            "The provided starting key is invalid: The provided key element does not match the schema",
        ),
        (
            {"ExclusiveStartKey": {"pk": {"S": "a"}, "sk": {"N": "x"}}},
            "The provided starting key is invalid: "
            "The parameter cannot be converted to a numeric value: x",
        ),
        (
            {
                "KeyConditionExpression": "pk = :p AND sk > :v",
                "ExpressionAttributeValues": {":p": {"S": "a"}, ":v": {"N": "5"}},
                "ExclusiveStartKey": event("a", 4),
            },
            "The provided starting key does not match the range key predicate",
        ),
    ],
)  # fmt: skip
def test_refused_queries(change: dict[str, Any], text: str) -> None:
    caller = _filled({"a": [1]})
    before = len(caller.backend.requests)
    assert caller.invalid("Query", {**_query("a"), **change}) == text
    assert len(caller.backend.requests) == before


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"Segment": 0},
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is "
            "present",
        ),
        (
            {"TotalSegments": 4},
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is "
            "present",
        ),
        (
            {"Segment": 5, "TotalSegments": 5},
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: 5 is not less "
            "than TotalSegments: 5",
        ),
        (
            {"ExclusiveStartKey": {"pk": {"S": "a"}}},
            "The provided starting key is invalid: The provided key element does not match the schema",
        ),
        ({"IndexName": "byName"}, "The table does not have the specified index: byName"),
    ],
)
def test_refused_scans(change: dict[str, Any], text: str) -> None:
    assert _filled({"a": [1]}).invalid("Scan", {"TableName": "events", **change}) == text


def test_a_page_token_of_another_segment_is_refused() -> None:
    caller = _filled({"a": [1]})
    refusals = 0
    for segment in range(4):
        body = {
            "TableName": "events",
            "Segment": segment,
            "TotalSegments": 4,
            "ExclusiveStartKey": event("a", 1),
        }
        answer = caller.raw("Scan", json.dumps(body).encode())
        refusals += answer.status == 400 and b"Invalid ExclusiveStartKey" in answer.whole_body()
    assert refusals == 3


@given(total=st.integers(1, 1_000_000), pick=st.floats(0, 1, exclude_max=True))
def test_segments_tile_the_hash_space(total: int, pick: float) -> None:
    segment = int(pick * total)
    start, end = segment_range(segment, total)
    assert start == (b"" if segment == 0 else segment_range(segment - 1, total)[1])
    assert (end == b"") == (segment == total - 1)
    assert end == b"" or start < end
