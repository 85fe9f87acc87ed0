"""What the tests with real processes share: raw HTTP, recorded boto3 clients, tables, and patience with a limit."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")

PREFIX: Final = "DynamoDB_20120810."
RECOVERY_DEADLINE_S: Final = 30.0


def create_table(client: Any, name: str, *, range_key: bool = False, units: int = 0) -> dict[str, Any]:
    """Create a table with the key `pk` (and `sk`), on demand or with `units` of each kind; its description."""
    keys = ["pk", "sk"] if range_key else ["pk"]
    billing: dict[str, Any] = (
        {"ProvisionedThroughput": {"ReadCapacityUnits": units, "WriteCapacityUnits": units}}
        if units
        else {"BillingMode": "PAY_PER_REQUEST"}
    )
    answer = client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        **billing,
    )
    description: dict[str, Any] = answer["TableDescription"]
    return description


def eventually(what: str, probe: Callable[[], T | None], timeout_s: float = RECOVERY_DEADLINE_S) -> T:
    """The first result of `probe` that is neither None nor False; fails, saying `what`, at the time limit."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)


class RawAnswer:
    """An HTTP answer as it came."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def post(url: str, operation: str | None, body: bytes | Mapping[str, Any], timeout_s: float = 20.0) -> RawAnswer:
    """One request without an SDK in between. `operation` None: no target."""
    host = url.removeprefix("http://")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    if operation is not None:
        headers["X-Amz-Target"] = operation if "." in operation else PREFIX + operation
    connection = http.client.HTTPConnection(host, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request("POST", "/", data, headers)
        answer = connection.getresponse()
        return RawAnswer(answer.status, dict(answer.getheaders()), answer.read())
