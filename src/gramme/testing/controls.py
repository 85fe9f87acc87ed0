"""What a test holds in its hand: an endpoint for SDKs, and the test controls of the nodes behind it.

Owns the HTTP form of the controls (`POST /test-controls/NAME` on the admin port, a JSON object as body) on the client's
side; `gramme.api.admin` owns the other. boto3 is imported when a client is asked for, so that it is no dependency.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gramme.kernel.errors import GrammeError

REGION: Final = "us-east-1"
_TIMEOUT_S: Final = 60.0


class ControlRefused(GrammeError):
    """A node did not carry a test control out; the text is its answer."""


class Endpoint(ABC):
    """`endpoint_url` for SDKs, and the controls. `_admin_ports` names the nodes that a control has to reach."""

    @property
    @abstractmethod
    def endpoint_url(self) -> str:
        """Where SDKs reach the tables."""

    @abstractmethod
    def _admin_ports(self) -> Sequence[int]:
        """Admin ports of the nodes that run, on 127.0.0.1."""

    # --- SDKs -----------------------------------------------------------------------------------------------------

    def client(self, service: str = "dynamodb", **options: Any) -> Any:
        """A boto3 client of this endpoint. `options` override those of `boto3.client`. Needs boto3 installed."""
        import boto3

        return boto3.client(service, **{**self._options(), **options})  # type: ignore[call-overload, unused-ignore]

    def resource(self, service: str = "dynamodb", **options: Any) -> Any:
        """A boto3 resource of this endpoint, as `client`."""
        import boto3

        return boto3.resource(service, **{**self._options(), **options})  # type: ignore[call-overload, unused-ignore]

    def _options(self) -> dict[str, Any]:
        return {
            "endpoint_url": self.endpoint_url,
            "region_name": REGION,
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }

    # --- controls -------------------------------------------------------------------------------------------------

    def advance_clock(self, milliseconds: int) -> None:
        """Move wall time of every node forward, which ages items and tokens; leases run on another clock.

        Raises `ControlRefused` for a negative number: wall time never goes back.
        """
        for port in self._admin_ports():
            post_control(port, "clock", {"advance_ms": milliseconds})

    def fail_over(self, table: str) -> None:
        """Make every partition of `table` change its leader. Raises `ControlRefused` in a cluster of one."""
        for port in self._admin_ports():
            post_control(port, "fail-over", {"table": table})

    def throttle(self, table: str, rate: float, reason: str, index: str = "") -> None:
        """Throttle a share `rate` (0 to 1; 0 ends it) of the reads or writes of `table`, as `reason` says.

        `reason` is the service's, for example `TableWriteProvisionedThroughputExceeded`; one that begins with `Index`
        needs the name of the index. At each node every n-th request is refused. Raises `ControlRefused`.
        """
        for port in self._admin_ports():
            post_control(port, "throttle", {"table": table, "rate": rate, "reason": reason, "index": index})

    def unprocessed(self, table: str, rate: float) -> None:
        """Leave a share `rate` (0 to 1; 0 ends it) of the parts of batches on `table` undone: UnprocessedItems and
        UnprocessedKeys. Raises `ControlRefused`."""
        for port in self._admin_ports():
            post_control(port, "unprocessed", {"table": table, "rate": rate})

    def stale(self, table: str, milliseconds: int, index: str = "") -> None:
        """Have eventual reads lag by `milliseconds` (0 to 600,000; 0 ends it).

        Without `index`, eventual reads of the table are answered as of so long ago, but not of before this call; the
        same for a local index, whose name is given. What a global index is fed, and so every read of it, comes so much
        later; writes that wait for it count towards its back-pressure. Strong reads never lag. It ends with the table,
        and at a node that restarts. Raises `ControlRefused`.
        """
        for port in self._admin_ports():
            post_control(port, "stale", {"table": table, "index": index, "lag_ms": milliseconds})

    def reset(self) -> None:
        """Drop all tables, at once: much faster than DeleteTable for each. Ends all throttling and lagging."""
        for port in self._admin_ports():
            post_control(port, "reset", {})

    def snapshot(self, name: str) -> None:
        """Keep all tables and items under `name`, in the memory of the first node that runs."""
        post_control(self._admin_ports()[0], "snapshot", {"name": name})

    def restore(self, name: str) -> None:
        """Return to what `snapshot(name)` kept. Raises `ControlRefused` if there is none of that name."""
        post_control(self._admin_ports()[0], "restore", {"name": name})


def post_control(admin_port: int, control: str, arguments: Mapping[str, Any]) -> None:
    """Carry out one control at one node. Raises `ControlRefused` with the node's reason, `OSError` if it is gone."""
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=_TIMEOUT_S)
    with contextlib.closing(connection):
        body = json.dumps(arguments)
        connection.request("POST", f"/test-controls/{control}", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    if response.status != 200:
        raise ControlRefused(f"{control}: {_reason(answer)} (HTTP {response.status})")


def _reason(answer: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer)["message"])
    return answer.decode("utf-8", "replace")


def get(port: int, path: str, timeout_s: float = 5.0) -> tuple[int, bytes]:
    """(status, body) of a GET on 127.0.0.1. Raises `OSError` or `http.client.HTTPException`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
