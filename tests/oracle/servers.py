"""The two that are compared: Amazon's DynamoDB Local, and our embedded node, both on the loopback of one namespace."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import gramme.testing
from gramme.testing.processes import free_port

_START_S: Final = 60
_SIGNED: Final = (
    "AWS4-HMAC-SHA256 Credential=oracle/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"
)


class Endpoint:
    """One of the two: `call` gives status and answer."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def call(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send one request. Raises OSError."""
        headers = {
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": _SIGNED,
        }
        self._connection.request("POST", "/", json.dumps(body), headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())


@contextlib.contextmanager
def local() -> Iterator[Endpoint]:
    """DynamoDB Local, from the directory that DYNAMODB_LOCAL names (the one with DynamoDBLocal.jar)."""
    home = Path(os.environ["DYNAMODB_LOCAL"])
    port = free_port((0,))
    command = ["java", f"-Djava.library.path={home}/DynamoDBLocal_lib", "-jar", str(home / "DynamoDBLocal.jar")]
    command += ["-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port)
            yield Endpoint(port)
        finally:
            process.kill()


@contextlib.contextmanager
def ours() -> Iterator[Endpoint]:
    """The embedded node."""
    with gramme.testing.server() as server:
        yield Endpoint(server.port)


def _wait(port: int) -> None:
    for _ in range(_START_S * 10):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError("DynamoDB Local did not start: is there a Java 17?")
