"""The objects of a cluster for programs with threads."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, TypeVar

from gramme.client.connections import TIMEOUT_S, Host, NotConnected, Reply
from gramme.client.objects import operations
from gramme.client.objects.operations import BucketOperations, Operation
from gramme.client.objects.routing import Ask, Outcome, Request, Routing, Silence
from gramme.client.objects.values import Found, Resolve, Typed, Value
from gramme.client.objects.wire import DEFAULT_TYPE

T = TypeVar("T")
Question = TypeVar("Question")
Answer = TypeVar("Answer")
_BEGIN: Final[Any] = None  # what a generator is first sent


class ObjectClient:
    """The objects of one cluster; may be used by many threads."""

    def __init__(self, *urls: str, timeout_s: float = TIMEOUT_S, partition_aware: bool = True) -> None:
        """`urls`: objects endpoints of some of its nodes, the preferred one first; `timeout_s`: how long one node may
        be silent. Without `partition_aware` all goes through these URLs alone: for load balancers, and nodes whose own
        addresses cannot be reached from here. Raises InvalidInput if there is no URL, or one is none."""
        self._timeout_s = timeout_s
        self._hosts = {url.rstrip("/"): Host(url, timeout_s) for url in urls}
        self._routing = Routing(urls, partition_aware, timeout_s, time.monotonic)

    def bucket(
        self, name: str, *, type_: str = DEFAULT_TYPE, resolve: Resolve | None = None, deletions: bool = False
    ) -> Bucket:
        """A bucket; nothing is asked for yet. `resolve` makes one value of siblings; with `deletions` it is given those
        that are deletions too, and may choose one. Raises InvalidInput for a name that cannot be one."""
        return Bucket(self, BucketOperations(name, type_, resolve, deletions))

    def buckets(self, type_: str = DEFAULT_TYPE) -> list[str]:
        """Names of the buckets that hold anything. Walks through everything that is stored."""
        return self.run(operations.buckets(type_))

    def make_type(self, type_: str, props: Mapping[str, Any]) -> None:
        """Make a bucket type, once. Other nodes hear of it a moment later. Raises ServiceError if it exists."""
        self.run(operations.make_type(type_, props))

    def request(self, request: Request) -> Reply:
        """An answer below 400, or 404. Raises ServiceError for any other answer, Unreachable if no node gave one: then
        the request may have been carried out."""
        return _driven(self._routing.carry_out(request), self._ask)

    def run(self, operation: Operation[T]) -> T:
        """The result of an operation."""
        return _driven(operation, self.request)

    def _ask(self, ask: Ask) -> Outcome:
        host = self._hosts.get(ask.url)
        if host is None:
            host = self._hosts.setdefault(ask.url, Host(ask.url, self._timeout_s))
        try:
            return host.request(ask.method, ask.path, ask.body, ask.headers, ask.timeout_s)
        except (OSError, http.client.HTTPException) as error:
            return Silence(error, sent=not isinstance(error, NotConnected))


class Bucket:
    """See `ObjectClient.bucket`. `quorum` of a method: r, w, pr, pw, dw, timeout (ms), as in Riak's query. Methods
    raise ServiceError where the cluster refuses, Unreachable where no node answers."""

    def __init__(self, client: ObjectClient, asked: BucketOperations) -> None:
        self._run = client.run
        self._asked = asked

    # --- values

    def get(self, key: str, **quorum: int | str) -> Found:
        """All that is known of `key`."""
        return self._run(self._asked.get(key, quorum))

    def read(self, key: str, **quorum: int | str) -> Value | None:
        """One value, made of the siblings if there are several. Raises Siblings without a resolver."""
        return self._run(self._asked.read(key, quorum))

    def put(self, key: str, value: Value, seen: str | Found = "", **quorum: int | str) -> None:
        """Write; replaces what was `seen` (a read's result, or its context), a sibling of everything else. Where it
        raises the value may be stored all the same. Raises InvalidInput for a type or metadata that no header holds."""
        self._run(self._asked.put(key, value, seen, quorum))

    def delete(self, key: str, seen: str | Found = "", **quorum: int | str) -> bool:
        """Delete what was `seen`, or, without that, what is there now. False if there is nothing."""
        return self._run(self._asked.delete(key, seen, quorum))

    def modify(
        self, key: str, change: Callable[[Value | None], Value], *, r: int | str = "default", w: int | str = "default"
    ) -> Value:
        """Read, merge, write with the context of that read: the new value. Not atomic: of two at once neither is lost,
        the next read finds both as siblings. Raises as `read`; then the value may be stored all the same."""
        return self._run(self._asked.modify(key, change, r, w))

    # --- merge types

    def typed(self, key: str, **quorum: int | str) -> Typed:
        """A value of the bucket's merge type."""
        return self._run(self._asked.typed(key, quorum))

    def change(self, key: str, operation: Any, context: str | None = None, **quorum: int | str) -> None:
        """Do an operation in Riak's JSON, e.g. `{"add": "x"}`; what removes something needs `context`. Where it raises
        it may have been done."""
        self._run(self._asked.change(key, operation, context, quorum))

    # --- the bucket

    def keys(self) -> list[str]:
        """All keys. Walks through everything that is stored."""
        return self._run(self._asked.keys())

    def props(self) -> dict[str, Any]:
        """Its properties."""
        return self._run(self._asked.props())

    def set_props(self, props: Mapping[str, Any]) -> None:
        """Change some. Raises ServiceError for those that cannot be."""
        self._run(self._asked.set_props(props))


def _driven(steps: Generator[Question, Answer, T], ask: Callable[[Question], Answer]) -> T:
    """What `steps` return, each of whose questions `ask` answers."""
    answer: Answer = _BEGIN
    try:
        while True:
            answer = ask(steps.send(answer))
    except StopIteration as done:
        result: T = done.value
        return result
