"""From HTTP to the operation: what is checked before any input, and what stands around operations."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import botocore
import pytest
from tests.api.caller import HASH_TABLE, Caller, headers_of

from gramme.api.dynamodb.operations import OPERATIONS, STREAM_OPERATIONS, UNSERVED
from gramme.api.dynamodb.settings import ApiSettings


def _model(service: str, version: str) -> dict[str, Any]:
    path = Path(botocore.__file__).parent / "data" / service / version / "service-2.json.gz"
    model: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return model


def test_every_operation_of_the_service_model_is_served_or_known_as_unserved() -> None:
    assert set(_model("dynamodb", "2012-08-10")["operations"]) == set(OPERATIONS) | UNSERVED
    assert not set(OPERATIONS) & UNSERVED
    assert set(_model("dynamodbstreams", "2012-08-10")["operations"]) == set(STREAM_OPERATIONS)


@pytest.mark.parametrize("operation", sorted({**OPERATIONS, **STREAM_OPERATIONS}))
def test_every_input_member_of_the_service_model_is_known(operation: str) -> None:
    model = _model("dynamodb" if operation in OPERATIONS else "dynamodbstreams", "2012-08-10")
    members = set(model["shapes"][model["operations"][operation]["input"]["shape"]]["members"])
    shape = {**OPERATIONS, **STREAM_OPERATIONS}[operation].shape
    known = {member.name for member in shape.members} | set(shape.refused)
    assert known == members


def _error(caller: Caller, body: bytes, target: bytes, content_type: bytes = b"application/x-amz-json-1.0") -> Any:
    answer = caller.http(body=body, headers={b"content-type": content_type, b"x-amz-target": target})
    assert answer.status == 400
    return json.loads(answer.whole_body())


def test_unknown_operations() -> None:
    caller = Caller()
    name = "com.amazon.coral.service#UnknownOperationException"
    for target in (b"", b"DynamoDB_20120810", b"DynamoDB_20120810.Nothing", b"DynamoDB_20111205.GetItem", b"\xff"):
        assert _error(caller, b"{}", target) == {"__type": name}
    unserved = _error(caller, b"{}", b"DynamoDB_20120810.ExportTableToPointInTime")
    assert unserved == {"__type": name, "message": "The operation ExportTableToPointInTime is not supported yet"}
    for target in (b"DynamoDB_20120810.ListStreams", b"DynamoDBStreams_20120810.ListTables"):
        assert _error(caller, b"{}", target) == {"__type": name}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"null", b"1", b"\xff", b'{"a":"\\ud800"}', b'{"a":' * 5000, b"{}{}", b"{'a':1}"]
)
def test_bodies_that_are_no_json_object(body: bytes) -> None:
    error = _error(Caller(), body, b"DynamoDB_20120810.ListTables")
    assert error == {"__type": "com.amazon.coral.service#SerializationException"}


def test_malformed_json_is_reported_before_the_target() -> None:
    assert _error(Caller(), b"{", b"nothing")["__type"].endswith("#SerializationException")


def test_requests_that_are_no_calls_at_all() -> None:
    caller = Caller()
    for answer in (
        caller.http("PUT"),
        caller.http("GET", "/elsewhere"),
        caller.http(
            body=b"{}", headers={b"content-type": b"text/plain", b"x-amz-target": b"DynamoDB_20120810.ListTables"}
        ),
    ):
        assert (answer.status, answer.body) == (404, b"<UnknownOperationException/>\n")


def test_content_type_with_parameters_and_plain_json() -> None:
    caller = Caller()
    for given, answered in (
        (b"application/x-amz-json-1.0; charset=utf-8", b"application/x-amz-json-1.0"),
        (b"application/json", b"application/json"),
    ):
        headers = {**headers_of("ListTables"), b"content-type": given}
        answer = caller.http(body=b"{}", headers=headers)
        assert (answer.status, answer.whole_body()) == (200, b'{"TableNames":[]}')
        assert dict(answer.headers)[b"Content-Type"] == answered


def test_request_ids_are_52_characters_and_new_each_time() -> None:
    caller = Caller()
    ids = [dict(caller.raw("ListTables", b"{}").headers)[b"x-amzn-RequestId"] for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(re.fullmatch(rb"[0-9A-Z]{52}", id_) for id_ in ids)
    assert caller.raw("ListTables", b"{}").crc


def test_health_and_nodes() -> None:
    caller = Caller()
    assert caller.http("GET").body == b"healthy: h:1"
    for path, nodes in (
        ("/localnodes", ["127.0.0.1", "127.0.0.2"]),
        ("/localnodes?dc=us-east-1", ["127.0.0.1", "127.0.0.2"]),
        ("/localnodes?rack=z1", ["127.0.0.1"]),
        ("/localnodes?dc=us-east-1&rack=nowhere", []),
        ("/localnodes?dc=eu-west-1", []),
    ):
        assert json.loads(caller.http("GET", path).whole_body()) == nodes


def test_preflight_and_cors_of_any_origin() -> None:
    caller = Caller()
    answer = caller.http(
        "OPTIONS",
        headers={
            b"origin": b"http://app",
            b"access-control-request-method": b"POST",
            b"access-control-request-headers": b"x-amz-target,authorization",
        },
    )
    assert answer.status == 200
    assert dict(answer.headers) == {
        b"Access-Control-Allow-Origin": b"*",
        b"Access-Control-Allow-Headers": b"x-amz-target,authorization",
        b"Access-Control-Allow-Methods": b"POST",
        b"Access-Control-Max-Age": b"172800",
    }
    answered = dict(caller.raw("ListTables", b"{}", origin=b"http://app").headers)
    assert answered[b"Access-Control-Allow-Origin"] == b"*"
    assert b"Access-Control-Allow-Origin" not in dict(caller.raw("ListTables", b"{}").headers)


def test_cors_of_listed_origins_only() -> None:
    caller = Caller(ApiSettings(cors_origins=("http://app",)))
    good = dict(caller.raw("ListTables", b"{}", origin=b"http://app").headers)
    assert (good[b"Access-Control-Allow-Origin"], good[b"Vary"]) == (b"http://app", b"Origin")
    assert b"Access-Control-Allow-Origin" not in dict(caller.raw("ListTables", b"{}", origin=b"http://evil").headers)
    assert caller.http("OPTIONS", headers={b"origin": b"http://evil"}).headers == []


def test_tables_by_arn() -> None:
    caller = Caller()
    caller.call("CreateTable", HASH_TABLE)
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/users"
    assert caller.call("DescribeTable", {"TableName": arn})["Table"]["TableArn"] == arn
    key = {"Key": {"pk": {"S": "a"}}}
    assert caller.call("GetItem", {"TableName": arn, **key}) == {}
    assert caller.call("BatchGetItem", {"RequestItems": {arn: {"Keys": [{"pk": {"S": "a"}}]}}})["Responses"] == {
        arn: []
    }
    foreign = arn.replace("123456789012", "999999999999")
    assert caller.refuse("GetItem", {"TableName": foreign, **key})[0] == "AccessDeniedException"
    assert caller.refuse("GetItem", {"TableName": arn.replace("us-east-1", "eu-west-1"), **key}) == (
        "ResourceNotFoundException",
        "Requested resource not found",
    )
    assert caller.invalid("GetItem", {"TableName": "arn:aws:s3:::bucket", **key}).startswith("Invalid table ARN")
