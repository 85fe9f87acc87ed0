"""The objects of a cluster for asyncio programs. What is not said here is said of the same method in `blocking`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Final, TypeVar

from gramme.client.async_connections import AsyncHost
from gramme.client.connections import TIMEOUT_S, NotConnected, Reply
from gramme.client.objects import operations
from gramme.client.objects.operations import BucketOperations, Operation
from gramme.client.objects.routing import Ask, Outcome, Request, Routing, Silence
from gramme.client.objects.values import Found, Resolve, Typed, Value
from gramme.client.objects.wire import DEFAULT_TYPE

T = TypeVar("T")
Question = TypeVar("Question")
Answer = TypeVar("Answer")
_BEGIN: Final[Any] = None  # what a generator is first sent


class AsyncObjectClient:
    """The objects of one cluster, within one event loop; requests may run side by side."""

    def __init__(self, *urls: str, timeout_s: float = TIMEOUT_S, partition_aware: bool = True) -> None:
        """See `ObjectClient`."""
        self._hosts = {url.rstrip("/"): AsyncHost(url) for url in urls}
        self._routing = Routing(urls, partition_aware, timeout_s, time.monotonic)

    async def __aenter__(self) -> AsyncObjectClient:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections that no request is using."""
        for host in self._hosts.values():
            host.close()

    def bucket(
        self, name: str, *, type_: str = DEFAULT_TYPE, resolve: Resolve | None = None, deletions: bool = False
    ) -> AsyncBucket:
        """A bucket; nothing is asked for yet."""
        return AsyncBucket(self, BucketOperations(name, type_, resolve, deletions))

    async def buckets(self, type_: str = DEFAULT_TYPE) -> list[str]:
        """Names of the buckets that hold anything."""
        return await self.run(operations.buckets(type_))

    async def make_type(self, type_: str, props: Mapping[str, Any]) -> None:
        """Make a bucket type, once."""
        await self.run(operations.make_type(type_, props))

    async def request(self, request: Request) -> Reply:
        """An answer below 400, or 404."""
        return await _driven(self._routing.carry_out(request), self._ask)

    async def run(self, operation: Operation[T]) -> T:
        """The result of an operation."""
        return await _driven(operation, self.request)

    async def _ask(self, ask: Ask) -> Outcome:
        host = self._hosts.get(ask.url)
        if host is None:
            host = self._hosts[ask.url] = AsyncHost(ask.url)
        try:
            return await host.request(ask.method, ask.path, ask.body, ask.headers, ask.timeout_s)
        except OSError as error:
            return Silence(error, sent=not isinstance(error, NotConnected))


class AsyncBucket:
    """See `Bucket`."""

    def __init__(self, client: AsyncObjectClient, asked: BucketOperations) -> None:
        self._run = client.run
        self._asked = asked

    # --- values

    async def get(self, key: str, **quorum: int | str) -> Found:
        """All that is known of `key`."""
        return await self._run(self._asked.get(key, quorum))

    async def read(self, key: str, **quorum: int | str) -> Value | None:
        """One value, made of the siblings if there are several."""
        return await self._run(self._asked.read(key, quorum))

    async def put(self, key: str, value: Value, seen: str | Found = "", **quorum: int | str) -> None:
        """Write; replaces what was `seen`, a sibling of everything else."""
        await self._run(self._asked.put(key, value, seen, quorum))

    async def delete(self, key: str, seen: str | Found = "", **quorum: int | str) -> bool:
        """Delete what was `seen`, or, without that, what is there now."""
        return await self._run(self._asked.delete(key, seen, quorum))

    async def modify(
        self, key: str, change: Callable[[Value | None], Value], *, r: int | str = "default", w: int | str = "default"
    ) -> Value:
        """Read, merge, write with the context of that read: the new value."""
        return await self._run(self._asked.modify(key, change, r, w))

    # --- merge types

    async def typed(self, key: str, **quorum: int | str) -> Typed:
        """A value of the bucket's merge type."""
        return await self._run(self._asked.typed(key, quorum))

    async def change(self, key: str, operation: Any, context: str | None = None, **quorum: int | str) -> None:
        """Do an operation in Riak's JSON."""
        await self._run(self._asked.change(key, operation, context, quorum))

    # --- the bucket

    async def keys(self) -> list[str]:
        """All keys."""
        return await self._run(self._asked.keys())

    async def props(self) -> dict[str, Any]:
        """Its properties."""
        return await self._run(self._asked.props())

    async def set_props(self, props: Mapping[str, Any]) -> None:
        """Change some."""
        await self._run(self._asked.set_props(props))


async def _driven(steps: Generator[Question, Answer, T], ask: Callable[[Question], Awaitable[Answer]]) -> T:
    """What `steps` return, each of whose questions `ask` answers."""
    answer: Answer = _BEGIN
    try:
        while True:
            answer = await ask(steps.send(answer))
    except StopIteration as done:
        result: T = done.value
        return result
