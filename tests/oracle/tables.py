"""Requests on tables, valid and nearly so: what the comparison sends to both beside requests on items."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

Request = tuple[str, dict[str, Any]]

NAMES: Final = ("table-1", "table-2")
"""Tables that come and go; those of `requests.TABLES` stay."""

DESCRIBED: Final = (
    "AttributeDefinitions",
    "BillingModeSummary",
    "DeletionProtectionEnabled",
    "GlobalSecondaryIndexes",
    "KeySchema",
    "LocalSecondaryIndexes",
    "ProvisionedThroughput",
    "TableName",
    "IndexName",
    "Projection",
    "ProjectionType",
    "NonKeyAttributes",
    "ReadCapacityUnits",
    "WriteCapacityUnits",
    "AttributeName",
    "AttributeType",
    "KeyType",
    "TableNames",
    "LastEvaluatedTableName",
    "TimeToLiveDescription",
    "TimeToLiveStatus",
    "TimeToLiveSpecification",
    "Enabled",
)
"""Members of answers that are compared; identifiers, times, sizes and states that pass by are not."""

_ON_DEMAND: Final = {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
"""What the service, and we, say of an index on demand; Local says nothing."""

_TYPES = st.sampled_from(["S", "S", "N", "B"])
_TABLE_NAMES = st.sampled_from([*NAMES, *NAMES, "absent"])
_UNITS = st.sampled_from([0, 1, 1, 2, 5])
_PROJECTIONS = st.sampled_from(
    [
        {"ProjectionType": "ALL"},
        {"ProjectionType": "KEYS_ONLY"},
        {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x", "y"]},
        {"ProjectionType": "INCLUDE"},
        {"ProjectionType": "ALL", "NonKeyAttributes": ["x"]},
    ]
)


def _schema(*names: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False) if name
    ]


@st.composite
def _throughput(draw: st.DrawFn) -> dict[str, int]:
    return {"ReadCapacityUnits": draw(_UNITS), "WriteCapacityUnits": draw(_UNITS)}


@st.composite
def _creations(draw: st.DrawFn) -> Request:
    sort = draw(st.sampled_from(["", "sk"]))
    kind = draw(st.sampled_from(["", "", "LOCAL", "GLOBAL"]))
    defined = ["pk", *([sort] if sort else []), *(["a"] if kind else [])]
    if not draw(st.integers(0, 4)):
        defined = draw(st.sampled_from([["pk", "sk", "a"], ["pk", "sk"], ["pk"], ["pk", "a"]]))
    body: dict[str, Any] = {
        "TableName": draw(st.sampled_from(NAMES)),
        "KeySchema": _schema("pk", sort),
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": draw(_TYPES)} for name in defined],
    }
    if draw(st.booleans()):
        body["BillingMode"] = "PAY_PER_REQUEST"
    else:
        body["ProvisionedThroughput"] = draw(_throughput())
    index = {"IndexName": draw(st.sampled_from(["by-a", "other"])), "Projection": draw(_PROJECTIONS)}
    if kind == "LOCAL":
        body["LocalSecondaryIndexes"] = [{**index, "KeySchema": _schema("pk", "a")}]
    elif kind == "GLOBAL":
        entry: dict[str, Any] = {**index, "KeySchema": _schema("a", draw(st.sampled_from(["", "pk"])))}
        if "BillingMode" not in body:
            entry["ProvisionedThroughput"] = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
        body["GlobalSecondaryIndexes"] = [entry]
    return "CreateTable", body


@st.composite
def _others(draw: st.DrawFn) -> Request:
    name = draw(_TABLE_NAMES)
    operation = draw(
        st.sampled_from(
            ["DescribeTable", "DeleteTable", "DeleteTable", "UpdateTimeToLive", "DescribeTimeToLive", "ListTables"]
        )
    )
    if operation == "ListTables":
        pages: list[dict[str, Any]] = [{}, {"Limit": 1}, {"Limit": 0}, {"ExclusiveStartTableName": "table-1"}]
        return operation, draw(st.sampled_from(pages))
    body: dict[str, Any] = {"TableName": name}
    if operation == "UpdateTimeToLive":
        wanted = {"Enabled": draw(st.booleans()), "AttributeName": draw(st.sampled_from(["ttl", "other"]))}
        body["TimeToLiveSpecification"] = wanted
    return operation, body


def requests() -> st.SearchStrategy[Request]:
    """One request on a table."""
    return st.one_of(_creations(), _others())


def described(answer: Any) -> Any:
    """What is compared of a success."""
    if isinstance(answer, dict):
        if "IndexName" in answer and answer.get("ProvisionedThroughput", _ON_DEMAND).items() >= _ON_DEMAND.items():
            answer = {name: content for name, content in answer.items() if name != "ProvisionedThroughput"}
        return {
            name: described(content)
            for name, content in answer.items()
            if name in DESCRIBED or name in ("Table", "TableDescription")
        }
    if isinstance(answer, list):
        shown = [described(element) for element in answer]
        return sorted(shown, key=str)
    return answer
