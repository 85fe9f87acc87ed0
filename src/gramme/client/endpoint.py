"""A DynamoDB endpoint, as a client program sees it: one call, one JSON answer, transient trouble waited out.

Owns signing and the retries of what may go away by itself:
broken connections, throttling, status 5xx. Backoff is exponential with full jitter. Source: AWS General Reference,
"Error retries and exponential backoff in AWS".
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gramme.client.connections import Host
from gramme.client.errors import ServiceError, Unreachable
from gramme.client.signing import Credentials, sign

_TABLES: Final = "DynamoDB_20120810"
_STREAMS: Final = "DynamoDBStreams_20120810"
_OF_STREAMS: Final = ("ListStreams", "DescribeStream", "GetShardIterator", "GetRecords")
_TRANSIENT: Final = (
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "TransactionInProgressException",
)
_ATTEMPTS: Final = 8
_FIRST_BACKOFF_S: Final = 0.05
_LONGEST_BACKOFF_S: Final = 5.0

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class Endpoint:
    """Tables and streams of one endpoint; may be used by many threads."""

    def __init__(
        self,
        url: str,
        *,
        streams_url: str | None = None,
        region: str = "us-east-1",
        credentials: Credentials | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """`streams_url` for services that keep streams elsewhere; AWS's is found by itself. Retries end when `stop` is
        set. Raises InvalidInput if a URL is none."""
        self.region = region
        self._credentials = credentials or Credentials.of_environment()
        self._stop = stop or threading.Event()
        tables = Host(url)
        streams = streams_url or _streams_url(url)
        self._hosts = {_TABLES: tables, _STREAMS: tables if streams == url else Host(streams)}

    def call(self, operation: str, body: dict[str, Any]) -> Any:
        """The answer of `operation`. Raises ServiceError, Unreachable."""
        prefix = _STREAMS if operation in _OF_STREAMS else _TABLES
        content = _encode(body)
        trouble: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt and self._stop.wait(backoff_s(attempt, _FIRST_BACKOFF_S, _LONGEST_BACKOFF_S)):
                break
            try:
                return self._once(prefix, operation, content)
            except ServiceError as error:
                if error.status < 500 and error.name not in _TRANSIENT:
                    raise
                trouble = error
            except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
                trouble = error
        raise Unreachable(f"{operation} at {self._hosts[prefix].url}: {trouble!r}")

    def _once(self, prefix: str, operation: str, content: bytes) -> Any:
        host = self._hosts[prefix]
        headers = {
            "Host": host.name,
            "X-Amz-Target": f"{prefix}.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
        }
        signed = sign(headers, content, self._credentials, self.region, datetime.now(UTC))
        status, _, answer = host.request("POST", "/", content, signed)
        if status == 200:
            return _decode(answer) if answer else {}
        error = _decode(answer) if answer.startswith(b"{") else {}
        name = str(error.get("__type", "UnknownError")).rpartition("#")[2]
        raise ServiceError(name, str(error.get("message", error.get("Message", ""))), status)


def backoff_s(attempt: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait before attempt number `attempt` (the second is 1): exponential, with full jitter."""
    return random.uniform(0.0, min(longest_s, first_s * 2.0**attempt))


def _streams_url(url: str) -> str:
    """AWS serves streams at hosts of their own; everybody else with the tables."""
    scheme, _, host = url.partition("://")
    if host.startswith("dynamodb.") and ".amazonaws.com" in host:
        return f"{scheme}://streams.{host}"
    return url


def wait_until(deadline: float, stop: threading.Event) -> bool:
    """Sleep until the monotonic time `deadline`; True if `stop` was set before."""
    return stop.wait(max(0.0, deadline - time.monotonic()))
