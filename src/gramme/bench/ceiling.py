"""The ceiling: what uvloop and httptools alone answer here, with a body of the size of a GetItem's answer.

A figure of Gramme means little on a machine that nobody else has; its ratio to this one travels. Run as a program, with
the port to listen on; it ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httptools
import uvloop

from gramme.testing.processes import free_port

_BODY = b"x" * 950
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


@contextlib.contextmanager
def ceiling() -> Iterator[str]:
    """Such a server in a process of its own; its URL."""
    port = free_port((0,))
    command = [sys.executable, "-m", "gramme.bench.ceiling", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.stdin.close()
            process.terminate()


class _Echo(asyncio.Protocol):
    """Parses requests and answers each with the same bytes."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser: Any = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(_ANSWER)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(_Echo, "127.0.0.1", port)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
