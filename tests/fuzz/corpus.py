"""Valid requests for every operation on items and some on tables: what the fuzzer starts from."""

from __future__ import annotations

from typing import Any, Final

from tests.api.caller import HASH_TABLE, event

_KEY: Final = {"TableName": "events", "Key": event("a", 1)}
_VALUES: Final = {":a": {"S": "a"}, ":n": {"N": "1"}}
_EVERYTHING: Final = event(
    "a", 1, s={"S": "é"}, n={"N": "-1.5e3"}, b={"B": "AAEC"}, t={"BOOL": True}, z={"NULL": True}, ss={"SS": ["a", "b"]},
    ns={"NS": ["1", "2"]}, bs={"BS": ["AAEC"]}, l={"L": [{"S": "a"}, {"M": {"x": {"N": "1"}}}]},
    m={"M": {"y": {"L": []}}},
)  # fmt: skip
_FILTER: Final = {
    "a": {"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"N": "1"}, {"N": "2"}]},
    "s": {"ComparisonOperator": "IN", "AttributeValueList": [{"S": "a"}, {"S": "b"}]},
    "z": {"ComparisonOperator": "NOT_NULL"},
}
_EXPECTED: Final = {
    "x": {"Exists": False},
    "y": {"Value": {"N": "1"}},
    "s": {"ComparisonOperator": "CONTAINS", "AttributeValueList": [{"S": "a"}]},
}

REQUESTS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("PutItem", {"TableName": "events", "Item": _EVERYTHING, "ReturnValues": "ALL_OLD"}),
    ("PutItem", {"TableName": "users", "Item": {"pk": {"S": "k"}}, "ConditionExpression": "attribute_not_exists(pk)"}),
    ("PutItem", {"TableName": "events", "Item": event("a", 2), "Expected": _EXPECTED, "ConditionalOperator": "OR"}),
    ("GetItem", {**_KEY, "ProjectionExpression": "l[1].x, m.#y", "ExpressionAttributeNames": {"#y": "y"}}),
    ("GetItem", {**_KEY, "AttributesToGet": ["s", "n"], "ConsistentRead": True, "ReturnConsumedCapacity": "INDEXES"}),
    ("DeleteItem", {**_KEY, "ConditionExpression": "s = :a OR size(b) > :n", "ExpressionAttributeValues": _VALUES}),
    ("DeleteItem", {**_KEY, "Expected": {"n": {"ComparisonOperator": "GE", "Value": {"N": "1"}}}}),
    (
        "UpdateItem",
        {
            **_KEY,
            "UpdateExpression": "SET s = if_not_exists(q, :a), l = list_append(l, l), n = n + :n REMOVE m.y ADD c :n",
            "ConditionExpression": "NOT (s IN (:a) AND n BETWEEN :n AND :n) OR begins_with(s, :a)",
            "ExpressionAttributeValues": _VALUES,
            "ReturnValues": "UPDATED_NEW",
        },
    ),
    (
        "UpdateItem",
        {
            **_KEY,
            "AttributeUpdates": {
                "n": {"Action": "ADD", "Value": {"N": "1"}},
                "ss": {"Action": "DELETE", "Value": {"SS": ["a"]}},
                "s": {"Value": {"S": "x"}},
                "gone": {"Action": "DELETE"},
            },
            "Expected": _EXPECTED,
            "ReturnValues": "ALL_OLD",
        },
    ),
    (
        "Query",
        {
            "TableName": "events",
            "KeyConditionExpression": "pk = :a AND sk BETWEEN :n AND :n",
            "FilterExpression": "contains(l, :a) AND attribute_type(s, :a) OR s <> :a",
            "ExpressionAttributeValues": {":a": {"S": "S"}, ":n": {"N": "1"}},
            "ExclusiveStartKey": event("S", 1),
            "ScanIndexForward": False,
            "Limit": 2,
        },
    ),
    (
        "Query",
        {
            "TableName": "events",
            "KeyConditions": {
                "pk": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "a"}]},
                "sk": {"ComparisonOperator": "GT", "AttributeValueList": [{"N": "0"}]},
            },
            "QueryFilter": _FILTER,
            "ConditionalOperator": "AND",
            "AttributesToGet": ["s"],
        },
    ),
    ("Scan", {"TableName": "events", "Segment": 0, "TotalSegments": 2, "Select": "COUNT", "ScanFilter": _FILTER}),
    ("Scan", {"TableName": "events", "FilterExpression": "s = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}),
    (
        "BatchGetItem",
        {
            "RequestItems": {
                "events": {"Keys": [event("a", 1), event("a", 2)], "AttributesToGet": ["s"]},
                "users": {"Keys": [{"pk": {"S": "k"}}], "ProjectionExpression": "pk"},
            }
        },
    ),
    (
        "BatchWriteItem",
        {
            "RequestItems": {
                "events": [{"PutRequest": {"Item": _EVERYTHING}}, {"DeleteRequest": {"Key": event("c", 1)}}],
                "users": [{"PutRequest": {"Item": {"pk": {"S": "k"}}}}],
            },
            "ReturnItemCollectionMetrics": "SIZE",
        },
    ),
    (
        "TransactWriteItems",
        {
            "TransactItems": [
                {"Put": {"TableName": "events", "Item": _EVERYTHING, "ConditionExpression": "attribute_not_exists(q)"}},
                {"Delete": {"TableName": "users", "Key": {"pk": {"S": "k"}}}},
                {
                    "Update": {
                        "TableName": "events",
                        "Key": event("a", 2),
                        "UpdateExpression": "SET #s = :a ADD c :n",
                        "ExpressionAttributeNames": {"#s": "s"},
                        "ExpressionAttributeValues": _VALUES,
                        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                    }
                },
                {
                    "ConditionCheck": {
                        "TableName": "events",
                        "Key": event("a", 3),
                        "ConditionExpression": "attribute_not_exists(pk) OR n = :n",
                        "ExpressionAttributeValues": {":n": {"N": "1"}},
                    }
                },
            ],
            "ClientRequestToken": "t",
            "ReturnItemCollectionMetrics": "SIZE",
        },
    ),
    (
        "TransactGetItems",
        {
            "TransactItems": [
                {"Get": {**_KEY, "ProjectionExpression": "l[1].x, m.#y", "ExpressionAttributeNames": {"#y": "y"}}},
                {"Get": {"TableName": "users", "Key": {"pk": {"S": "k"}}}},
            ],
            "ReturnConsumedCapacity": "TOTAL",
        },
    ),
    (
        "ExecuteStatement",
        {
            "Statement": "SELECT s, m.y FROM events WHERE pk IN (?, 'b') AND sk BETWEEN 0 AND 5 AND NOT contains(s, '')"
            " ORDER BY pk, sk DESC",
            "Parameters": [{"S": "a"}],
            "ConsistentRead": True,
            "Limit": 1,
            "ReturnConsumedCapacity": "INDEXES",
        },
    ),
    ("ExecuteStatement", {"Statement": "SELECT * FROM users WHERE pk <> 'x' OR size(b) > 1 AND l[0].a IS MISSING"}),
    (
        "ExecuteStatement",
        {
            "Statement": "INSERT INTO events VALUE {'pk': 'i', 'sk': -1.5e0, 'l': [TRUE, NULL, {'x': 'it''s'}], 'p': ?,"
            " 'ss': <<'a', 'b'>>, 'ns': <<1, 2>>}",
            "Parameters": [{"M": {"y": {"L": []}}}],
        },
    ),
    (
        "ExecuteStatement",
        {
            "Statement": "UPDATE events SET n = n - (n - 1), l = list_append(l, [1]) SET ss = set_add(ss, ?) REMOVE m.y"
            " WHERE pk = 'a' AND sk = 1 AND (n <> 0 OR begins_with(s, 'a')) RETURNING MODIFIED NEW *",
            "Parameters": [{"SS": ["z"]}],
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    ),
    (
        "ExecuteStatement",
        {"Statement": "DELETE FROM events WHERE pk = 'a' AND sk = 2 AND a IS MISSING RETURNING ALL OLD *"},
    ),
    (
        "BatchExecuteStatement",
        {
            "Statements": [
                {"Statement": "INSERT INTO users VALUE {'pk': 'j'}"},
                {"Statement": "DELETE FROM users WHERE pk = ?", "Parameters": [{"S": "k"}]},
            ],
            "ReturnConsumedCapacity": "TOTAL",
        },
    ),
    (
        "BatchExecuteStatement",
        {"Statements": [{"Statement": "SELECT * FROM users WHERE pk = 'j'", "ConsistentRead": True}]},
    ),
    (
        "ExecuteTransaction",
        {
            "TransactStatements": [
                {"Statement": "INSERT INTO users VALUE {'pk': ?}", "Parameters": [{"S": "t"}]},
                {
                    "Statement": "EXISTS(SELECT * FROM events WHERE pk = 'a' AND sk = 1 AND n IS NOT MISSING)",
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
                {"Statement": "UPDATE users SET n = 1 WHERE pk = 'k' AND n IS MISSING"},
            ],
            "ClientRequestToken": "s",
            "ReturnConsumedCapacity": "INDEXES",
        },
    ),
    ("ExecuteTransaction", {"TransactStatements": [{"Statement": "SELECT n FROM events WHERE pk = 'a' AND sk = 1"}]}),
    ("CreateTable", HASH_TABLE),
    ("DescribeTable", {"TableName": "users"}),
    ("ListTables", {"Limit": 3, "ExclusiveStartTableName": "aaa"}),
    ("UpdateTable", {"TableName": "events", "BillingMode": "PAY_PER_REQUEST"}),
]
