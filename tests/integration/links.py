"""Proxies between the nodes of a local cluster, so that a test can cut a link without touching either process.

A cut is silent, as a pulled cable is: connections stay, bytes wait, and go on when it heals.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

_CHUNK_BYTES = 1 << 16
_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Links:
    """One proxy for each ordered pair of nodes, all in a thread of their own. Use it as a context manager."""

    def __init__(self, peer_ports: Sequence[int]) -> None:
        self._peer_ports = peer_ports
        self._ports: dict[tuple[int, int], int] = {}
        self._open: dict[tuple[int, int], asyncio.Event] = {}
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="links")

    def __enter__(self) -> Links:
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def addresses(self, node: int) -> Mapping[str, str]:
        """For `node`: the address at which each other node listens, and the one at which to dial it instead."""
        others = (other for other in range(len(self._peer_ports)) if other != node)
        return {f"127.0.0.1:{self._peer_ports[o]}": f"127.0.0.1:{self._ports[node, o]}" for o in others}

    def isolate(self, node: int) -> None:
        """Cut every link of `node`, both ways."""
        self._set(node, False)

    def heal(self, node: int) -> None:
        """Let what waited on the links of `node` through."""
        self._set(node, True)

    def _set(self, node: int, open_: bool) -> None:
        for pair, event in self._open.items():
            if node in pair:
                self._loop.call_soon_threadsafe(event.set if open_ else event.clear)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._listening.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _listen(self) -> None:
        nodes = range(len(self._peer_ports))
        for pair in ((source, target) for source in nodes for target in nodes if source != target):
            event = self._open[pair] = asyncio.Event()
            event.set()
            server = await asyncio.start_server(self._serving(self._peer_ports[pair[1]], event), "127.0.0.1", 0)
            self._ports[pair] = server.sockets[0].getsockname()[1]

    def _serving(self, port: int, event: asyncio.Event) -> _Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await event.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.close()
                return
            await asyncio.gather(_pass(reader, far_writer, event), _pass(far_reader, writer, event))

        return serve


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, event: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            await event.wait()
            writer.write(data)
            await writer.drain()
    await event.wait()
    with contextlib.suppress(OSError):
        writer.close()
