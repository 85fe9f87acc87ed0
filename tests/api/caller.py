"""Calls the API as the HTTP server would, over the in-memory backend, and reads the answers."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.api.memory_backend import MemoryBackend

from gramme.api.dynamodb.operations import STREAM_OPERATIONS
from gramme.api.dynamodb.service import DynamoDbApi
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.http import HttpRequest, HttpResponse

HASH_TABLE: dict[str, Any] = {
    "TableName": "users",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "BillingMode": "PAY_PER_REQUEST",
}
RANGE_TABLE: dict[str, Any] = {
    "TableName": "events",
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "N"},
    ],
    "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
}


class Caller:
    """One endpoint with its backend. `call` gives the answer of a success, `refuse` type and text of an error."""

    def __init__(self, settings: ApiSettings | None = None, partitions: int = 4, deferred: bool = False) -> None:
        self.backend = MemoryBackend(partitions, deferred)
        self.log: list[tuple[str, Exception | None]] = []
        rng = random.Random(7)
        self.api = DynamoDbApi(self.backend, self.backend.clock, rng, settings, lambda *line: self.log.append(line))

    def http(
        self, method: str = "POST", path: str = "/", body: bytes = b"", headers: dict[bytes, bytes] | None = None
    ) -> HttpResponse:
        """One request, answered exactly once and at once."""
        answers = self.pending(method, path, body, headers)
        assert len(answers) == 1
        return answers[0]

    def pending(
        self, method: str, path: str, body: bytes, headers: dict[bytes, bytes] | None = None
    ) -> list[HttpResponse]:
        """One request whose answers arrive in the returned list."""
        answers: list[HttpResponse] = []
        path, _, query = path.partition("?")
        self.api.handle(HttpRequest(method, path, query, {b"host": b"h:1", **(headers or {})}, body), answers.append)
        return answers

    def raw(self, operation: str, body: bytes, **extra: bytes) -> HttpResponse:
        """Call `operation` with these bytes."""
        return self.http(body=body, headers=headers_of(operation, **extra))

    def call(self, operation: str, body: Any, **extra: bytes) -> Any:
        """Call `operation`; it must succeed."""
        answer = self.raw(operation, json.dumps(body).encode(), **extra)
        assert answer.status == 200, answer.whole_body()
        return json.loads(answer.whole_body())

    def refuse(self, operation: str, body: Any) -> tuple[str, str | None]:
        """Call `operation`; it must fail with 400. Gives the error's name without its prefix, and its text."""
        answer = self.raw(operation, json.dumps(body).encode())
        assert answer.status == 400, answer.whole_body()
        error = json.loads(answer.whole_body())
        return error["__type"].rpartition("#")[2], error.get("message")

    def invalid(self, operation: str, body: Any) -> str:
        """Call `operation`; it must be a ValidationException. Gives its text."""
        name, message = self.refuse(operation, body)
        assert name == "ValidationException", (name, message)
        assert message is not None
        return message

    def create_tables(self) -> None:
        self.call("CreateTable", HASH_TABLE)
        self.call("CreateTable", RANGE_TABLE)


def headers_of(operation: str, **extra: bytes) -> dict[bytes, bytes]:
    """Request headers of a call; underscores in `extra` stand for dashes."""
    headers = {
        b"content-type": b"application/x-amz-json-1.0",
        b"x-amz-target": f"{_prefix(operation)}.{operation}".encode(),
    }
    headers.update({name.replace("_", "-").encode(): value for name, value in extra.items()})
    return headers


def _prefix(operation: str) -> str:
    return "DynamoDBStreams_20120810" if operation in STREAM_OPERATIONS else "DynamoDB_20120810"


def event(pk: str, sk: int, **attributes: Any) -> dict[str, Any]:
    """An item of RANGE_TABLE."""
    return {"pk": {"S": pk}, "sk": {"N": str(sk)}, **attributes}
