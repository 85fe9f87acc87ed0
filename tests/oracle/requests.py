"""Requests on items, most of them valid, some nearly: what the comparison sends to both."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

GLOBAL: Final = "of-g"
"""A global index: ours is fed after the write, Local's with it."""

TABLES: Final[list[dict[str, Any]]] = [
    {
        "TableName": "hash-only",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    },
    {
        "TableName": "with-range",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "N"},
        ],
        "BillingMode": "PAY_PER_REQUEST",
    },
    {
        "TableName": "with-index",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "N"},
            {"AttributeName": "g", "AttributeType": "S"},
        ],
        "LocalSecondaryIndexes": [
            {
                "IndexName": "by-g",
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "g", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": GLOBAL,
                "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["s", "m"]},
            }
        ],
        "BillingMode": "PAY_PER_REQUEST",
    },
]
Body = dict[str, Any]
Request = tuple[str, Body]

_NUMBERS = st.sampled_from(["0", "1", "-1", "2.50", "1e3", "-0", "007", "12345678901234567890", "1E-5"])
_WORDS = st.sampled_from(["", "a", "ab", "é", "S", "N", "zz"])
_SCALARS = st.one_of(
    st.builds(lambda text: {"S": text}, _WORDS),
    st.builds(lambda text: {"N": text}, _NUMBERS),
    st.sampled_from([{"B": "AAEC"}, {"B": ""}, {"BOOL": True}, {"BOOL": False}, {"NULL": True}]),
    st.sampled_from([{"SS": ["a", "b"]}, {"SS": ["b"]}, {"NS": ["1", "2.0"]}, {"BS": ["AAEC"]}]),
)
_VALUES = st.one_of(
    _SCALARS,
    st.builds(lambda elements: {"L": elements}, st.lists(_SCALARS, max_size=3)),
    st.builds(
        lambda members: {"M": members}, st.dictionaries(st.sampled_from(["x", "y", "a.b"]), _SCALARS, max_size=2)
    ),
)
_NAMES = st.sampled_from(["s", "n", "l", "m", "ss", "ns", "b", "q"])
_PATHS = st.one_of(_NAMES, st.sampled_from(["m.x", "m.y", "l[0]", "l[1]", "l[7]", "m.x.z", "#p", "pk"]))
_HASHES = st.sampled_from([{"S": "a"}, {"S": "b"}, {"S": "c"}])
_RANGES = st.sampled_from([{"N": "1"}, {"N": "2"}, {"N": "3"}])


@st.composite
def _keys(draw: st.DrawFn, table: str) -> Body:
    key = {"pk": draw(_HASHES)}
    if table != "hash-only":
        key["sk"] = draw(_RANGES)
    return key


_OPERANDS = st.one_of(_PATHS, st.sampled_from([":v", ":w"]), st.builds("size({})".format, _PATHS))
_COMPARISONS = st.one_of(
    st.builds("{} {} {}".format, _OPERANDS, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), _OPERANDS),
    st.builds("{} BETWEEN {} AND {}".format, _PATHS, _OPERANDS, _OPERANDS),
    st.builds("{} IN ({}, {})".format, _PATHS, _OPERANDS, _OPERANDS),
    st.builds("{}({})".format, st.sampled_from(["attribute_exists", "attribute_not_exists"]), _PATHS),
    st.builds(
        "{}({}, {})".format, st.sampled_from(["begins_with", "contains", "attribute_type"]), _PATHS, st.just(":v")
    ),
)
_CONDITIONS = st.recursive(
    _COMPARISONS,
    lambda inner: st.one_of(
        st.builds("{} AND {}".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=3,
)
_SETS = st.one_of(
    st.builds("{} = :v".format, _PATHS),
    st.builds("{} = {} + :v".format, _PATHS, _PATHS),
    st.builds("{} = if_not_exists({}, :v)".format, _PATHS, _PATHS),
    st.builds("{} = list_append({}, :v)".format, _PATHS, _PATHS),
    st.builds("{} = {}".format, _PATHS, _PATHS),
)
_UPDATES = st.one_of(
    st.builds("SET {}".format, _SETS),
    st.builds("SET {}, {}".format, _SETS, _SETS),
    st.builds("REMOVE {}".format, _PATHS),
    st.builds("ADD {} :v".format, _PATHS),
    st.builds("DELETE {} :v".format, _PATHS),
    st.builds("SET {} REMOVE {} ADD {} :w".format, _SETS, _PATHS, _PATHS),
)
_OPERATORS = st.sampled_from(
    ["EQ", "NE", "LE", "LT", "GE", "GT", "CONTAINS", "NOT_CONTAINS", "BEGINS_WITH", "IN", "BETWEEN", "NULL", "NOT_NULL"]
)
_ARITY: Final = {"NULL": 0, "NOT_NULL": 0, "BETWEEN": 2}


@st.composite
def _legacy_conditions(draw: st.DrawFn) -> Body:
    operator = draw(_OPERATORS)
    count = _ARITY.get(operator, 1) if draw(st.integers(0, 9)) else 1
    value = draw(_SCALARS)
    return {"ComparisonOperator": operator, "AttributeValueList": [value] * count}


def _placeholders(draw: st.DrawFn, body: Body, *texts: str) -> Body:
    text = " ".join(texts)
    values = {name: draw(_VALUES) for name in (":v", ":w") if name in text}
    if values:
        body["ExpressionAttributeValues"] = values
    if "#p" in text:
        body["ExpressionAttributeNames"] = {"#p": draw(_NAMES)}
    return body


def _guard(draw: st.DrawFn, body: Body, *texts: str) -> Body:
    """With a condition, an expectation, or neither."""
    choice = draw(st.integers(0, 3))
    if choice == 0:
        body["ConditionExpression"] = draw(_CONDITIONS)
        return _placeholders(draw, body, body["ConditionExpression"], *texts)
    if choice == 1 and not texts:
        body["Expected"] = draw(st.dictionaries(_NAMES, _legacy_conditions(), min_size=1, max_size=2))
        if len(body["Expected"]) > 1 or not draw(st.integers(0, 5)):
            body["ConditionalOperator"] = draw(st.sampled_from(["AND", "OR"]))
        return body
    return _placeholders(draw, body, *texts) if texts else body


@st.composite
def writes(draw: st.DrawFn) -> Request:
    """PutItem, UpdateItem, DeleteItem."""
    table = draw(st.sampled_from(["hash-only", "with-range"]))
    key = draw(_keys(table))
    operation = draw(st.sampled_from(["PutItem", "PutItem", "UpdateItem", "UpdateItem", "DeleteItem"]))
    modes = (
        ["NONE", "ALL_OLD"]
        if operation != "UpdateItem"
        else ["NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"]
    )
    body: Body = {"TableName": table, "ReturnValues": draw(st.sampled_from(modes))}
    if operation == "PutItem":
        body["Item"] = {**draw(st.dictionaries(_NAMES, _VALUES, max_size=5)), **key}
        return operation, _guard(draw, body)
    body["Key"] = key
    if operation == "DeleteItem":
        return operation, _guard(draw, body)
    if draw(st.integers(0, 2)):
        body["UpdateExpression"] = draw(_UPDATES)
        return operation, _guard(draw, body, body["UpdateExpression"])
    edits = st.fixed_dictionaries({"Action": st.sampled_from(["PUT", "ADD", "DELETE"]), "Value": _VALUES})
    body["AttributeUpdates"] = draw(st.dictionaries(_NAMES, edits, min_size=1, max_size=3))
    return operation, _guard(draw, body)


_BY_G: Final = {"TableName": "with-index", "IndexName": "by-g"}
_TEXTS = st.builds(lambda text: {"S": text}, st.sampled_from(["a", "ab", "b", "é"]))


@st.composite
def batches(draw: st.DrawFn) -> Request:
    """BatchWriteItem; now and then an item comes up twice."""
    wanted: dict[str, list[Body]] = {}
    for table in draw(st.lists(st.sampled_from(["hash-only", "with-range", "with-index"]), min_size=1, max_size=5)):
        key = draw(_keys(table))
        element: Body = {"DeleteRequest": {"Key": key}}
        if draw(st.booleans()):
            item = {**draw(st.dictionaries(_NAMES, _VALUES, max_size=3)), **key}
            if table == "with-index" and draw(st.booleans()):
                item["g"] = draw(_TEXTS) if draw(st.integers(0, 9)) else draw(_SCALARS)
            element = {"PutRequest": {"Item": item}}
        wanted.setdefault(table, []).append(element)
    return "BatchWriteItem", {"RequestItems": wanted}


@st.composite
def indexed(draw: st.DrawFn) -> Request:
    """Requests that concern indexes: a local one is fed with the write, so both must show the same rows at once."""
    kind = draw(st.sampled_from(["PutItem", "UpdateItem", "UpdateItem", "DeleteItem", "Query", "Query", "Scan"]))
    if kind != "Scan" and not draw(st.integers(0, 4)):
        condition = "g = :g" + draw(st.sampled_from(["", " AND sk = :s", " AND sk < :s", " AND pk = :s"]))
        values = {":g": draw(_TEXTS), **({":s": draw(_RANGES)} if ":s" in condition else {})}
        body = {"TableName": "with-index", "IndexName": GLOBAL, "Limit": 100, "KeyConditionExpression": condition}
        return "Query", {**body, "ExpressionAttributeValues": values}
    if kind == "Scan":
        if draw(st.booleans()):
            return kind, {"TableName": "with-index", "IndexName": GLOBAL}
        return kind, {**_BY_G, "ConsistentRead": True}
    if kind == "Query":
        condition = "pk = :h" + draw(st.sampled_from(["", " AND g = :g", " AND g > :g", " AND begins_with(g, :g)"]))
        values = {":h": draw(_HASHES), **({":g": draw(_TEXTS)} if ":g" in condition else {})}
        body = {**_BY_G, "KeyConditionExpression": condition, "ExpressionAttributeValues": values, "Limit": 100}
        return kind, {**body, "ConsistentRead": True, "ScanIndexForward": draw(st.booleans())}
    key = draw(_keys("with-index"))
    value = draw(_TEXTS) if draw(st.integers(0, 5)) else draw(_SCALARS)
    body = {"TableName": "with-index", "ReturnValues": "ALL_OLD"}
    if kind == "PutItem":
        return kind, {**body, "Item": {**draw(st.dictionaries(_NAMES, _VALUES, max_size=3)), "g": value, **key}}
    if kind == "DeleteItem":
        return kind, {**body, "Key": key}
    values = {":g": draw(_TEXTS)}  # Local takes any type here
    return kind, {**body, "Key": key, "UpdateExpression": "SET g = :g", "ExpressionAttributeValues": values}


@st.composite
def _actions(draw: st.DrawFn) -> Body:
    table = draw(st.sampled_from(["hash-only", "with-range"]))
    key = draw(_keys(table))
    kind = draw(st.sampled_from(["Put", "Put", "Update", "Update", "Delete", "ConditionCheck"]))
    body: Body = {"TableName": table}
    texts = []
    if kind == "Put":
        body["Item"] = {**draw(st.dictionaries(_NAMES, _VALUES, max_size=3)), **key}
    else:
        body["Key"] = key
    if kind == "Update":
        texts.append(draw(_UPDATES.filter(lambda text: text.startswith(("SET", "ADD")))))
        body["UpdateExpression"] = texts[0]
    if kind == "ConditionCheck" or not draw(st.integers(0, 2)):
        texts.append(draw(_CONDITIONS))
        body["ConditionExpression"] = texts[-1]
        body["ReturnValuesOnConditionCheckFailure"] = draw(st.sampled_from(["NONE", "ALL_OLD"]))
    return {kind: _placeholders(draw, body, *texts)}


@st.composite
def transactions(draw: st.DrawFn) -> Request:
    """TransactWriteItems, TransactGetItems; now and then an item comes up twice."""
    if draw(st.integers(0, 2)):
        return "TransactWriteItems", {"TransactItems": draw(st.lists(_actions(), min_size=1, max_size=4))}
    gets: list[Body] = []
    for table in draw(st.lists(st.sampled_from(["hash-only", "with-range"]), min_size=1, max_size=4)):
        body: Body = {"TableName": table, "Key": draw(_keys(table))}
        if not draw(st.integers(0, 2)):
            body["ProjectionExpression"] = draw(_PATHS)
            _placeholders(draw, body, body["ProjectionExpression"])
        gets.append({"Get": body})
    return "TransactGetItems", {"TransactItems": gets}


@st.composite
def reads(draw: st.DrawFn) -> Request:
    """GetItem, Query, Scan, BatchGetItem."""
    table = draw(st.sampled_from(["hash-only", "with-range"]))
    operation = draw(st.sampled_from(["GetItem", "Query", "Scan", "BatchGetItem"]))
    body: Body = {"TableName": table, "ConsistentRead": True}
    if operation == "BatchGetItem":
        keys = draw(st.lists(_keys(table), min_size=1, max_size=3))
        return operation, {"RequestItems": {table: {"Keys": keys, "ConsistentRead": True}}}
    projection = draw(st.one_of(st.none(), _PATHS, st.builds("{}, {}".format, _PATHS, _PATHS)))
    texts = [] if projection is None else [projection]
    if projection is not None:
        body["ProjectionExpression"] = projection
    if operation == "GetItem":
        body["Key"] = draw(_keys(table))
        return operation, _placeholders(draw, body, *texts)
    if draw(st.booleans()):
        body["FilterExpression"] = draw(_CONDITIONS)
        texts.append(body["FilterExpression"])
    if operation == "Scan":
        return operation, _placeholders(draw, body, *texts)
    condition = "pk = :h"
    operator = draw(st.sampled_from(["", "= :r", "< :r", "<= :r", "> :r", ">= :r", "BETWEEN :r AND :t"]))
    if operator and table == "with-range":
        condition += f" AND sk {operator}"
    body["KeyConditionExpression"] = condition
    body["ScanIndexForward"] = draw(st.booleans())
    body["Limit"] = draw(st.integers(1, 4))
    body = _placeholders(draw, body, *texts)
    values = body.setdefault("ExpressionAttributeValues", {})
    values.update({name: draw(_RANGES) for name in (":r", ":t") if name in condition})
    values[":h"] = draw(_HASHES)
    return operation, body
