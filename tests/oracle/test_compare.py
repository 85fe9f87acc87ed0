"""The comparison itself: what counts as the same answer, and that a wrong one is seen."""

from __future__ import annotations

from typing import Any

import pytest
from tests.oracle.compare import difference

_TWICE = "Transaction request cannot include multiple operations on one item"
_QUERY = {"TableName": "with-range", "Limit": 2}


def _refusal(name: str, text: str) -> tuple[int, dict[str, Any]]:
    return 400, {"__type": f"some.prefix#{name}", "message": text}


def test_sets_have_no_order_and_numbers_one_notation() -> None:
    ours = (200, {"Item": {"a": {"SS": ["x", "y"]}, "n": {"N": "0.00001"}, "l": {"L": [{"NS": ["2", "1"]}]}}})
    local = (200, {"Item": {"l": {"L": [{"NS": ["1.0", "2.0"]}]}, "a": {"SS": ["y", "x"]}, "n": {"N": "1E-5"}}})
    assert difference("GetItem", {}, ours, local) is None


@pytest.mark.parametrize(
    ("ours", "local", "what"),
    [
        ((200, {}), _refusal("ValidationException", "no"), "one succeeded"),
        (_refusal("ValidationException", "a"), _refusal("ConditionalCheckFailedException", "a"), "types differ"),
        (_refusal("ValidationException", "a"), _refusal("ValidationException", "b"), "texts differ"),
        ((200, {"Item": {"a": {"N": "1"}}}), (200, {"Item": {"a": {"N": "2"}}}), "answers differ"),
        ((200, {"Item": {"a": {"N": "1"}}}), (200, {"Item": {"a": {"S": "1"}}}), "answers differ"),
        ((200, {"Item": {}}), (200, {}), "answers differ"),
    ],
)
def test_what_differs_is_seen(ours: Any, local: Any, what: str) -> None:
    found = difference("GetItem", {}, ours, local)
    assert found is not None
    assert what in found


def test_rows_of_a_query_have_an_order_and_those_of_a_scan_have_none() -> None:
    rows: list[Any] = [{"a": {"N": "1"}}, {"a": {"N": "2"}}]
    one = (200, {"Items": rows, "Count": 2, "ScannedCount": 2})
    other = (200, {"Items": rows[::-1], "Count": 2, "ScannedCount": 2})
    assert difference("Query", _QUERY, one, other) == "the answers differ"
    assert difference("Scan", _QUERY, one, other) is None


def test_a_known_deviation_is_no_difference_and_its_mirror_is_one() -> None:
    service = _refusal("ValidationException", "Query condition missed key schema element: sk")
    local = _refusal("ValidationException", "Query condition missed key schema element")
    assert difference("Query", _QUERY, service, local) is None
    assert difference("Query", _QUERY, local, service) == "the errors' texts differ"


def _cancellation(*reasons: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 400, {"__type": "x#TransactionCanceledException", "CancellationReasons": list(reasons)}


def test_reasons_of_a_cancellation_count() -> None:
    none = {"Code": "None"}
    failed = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
    invalid = {"Code": "ValidationError", "Message": "An operand in the update expression has an incorrect data type"}
    dotted = {**failed, "Message": "The conditional request failed.", "Item": {"n": {"N": "1.0"}}}
    shown = {**failed, "Item": {"n": {"N": "1"}}}
    for ours, local in (
        (_cancellation(none, shown), _cancellation(none, dotted)),
        (_cancellation(failed, invalid), _refusal("ValidationException", invalid["Message"])),
        (_cancellation(none, invalid, none), _cancellation(none, invalid)),
        (_refusal("ValidationException", _TWICE), _cancellation(none, failed)),
    ):
        assert difference("TransactWriteItems", {}, ours, local) is None
    for ours, local in (
        (_cancellation(none, failed), _cancellation(failed, none)),
        (_cancellation(none, shown), _cancellation(none, failed)),
        (_cancellation(failed, none), _refusal("ValidationException", invalid["Message"])),
        (_cancellation(none, invalid), _cancellation(none, failed)),
        (_cancellation(failed), (200, {})),
        (_refusal("ValidationException", _TWICE), (200, {})),
    ):
        assert difference("TransactWriteItems", {}, ours, local) is not None
