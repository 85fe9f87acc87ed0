"""What the methods of a bucket ask, and what they make of the answers: the same for both clients, without I/O.

An operation is a generator of `Request`s that is sent the answer to each, an answer below 400 or 404.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, TypeVar

from gramme.client.connections import Reply
from gramme.client.objects import wire
from gramme.client.objects.routing import Request, Subject
from gramme.client.objects.values import Found, Resolve, Siblings, Typed, Value
from gramme.client.objects.wire import Quorum, decode, encode
from gramme.kernel.errors import InvalidInput
from gramme.placement.ring import place_of

MAX_NAME_BYTES: Final = 255

T = TypeVar("T")
Operation = Generator[Request, Reply, T]


def buckets(type_: str) -> Operation[list[str]]:
    """Names of the buckets that hold anything."""
    reply = yield Request("GET", wire.type_path(type_) + "/buckets?buckets=true")
    names: list[str] = decode(_there(reply).body)["buckets"]
    return names


def make_type(type_: str, props: Mapping[str, Any]) -> Operation[None]:
    """Make a bucket type."""
    yield Request("PUT", f"{wire.type_path(type_)}/props", encode({"props": props}))


class BucketOperations:
    """Those of one bucket; see `blocking.Bucket`."""

    def __init__(self, name: str, type_: str, resolve: Resolve | None, deletions: bool) -> None:
        """Raises InvalidInput for a name that cannot be one."""
        place = type_.encode(), name.encode()
        if not all(1 <= len(part) <= MAX_NAME_BYTES for part in place):
            raise InvalidInput(f"a bucket and its type have names of 1 to {MAX_NAME_BYTES} bytes: {name[:80]!r}")
        self._path = wire.bucket_path(type_, name)
        self._place = place_of(*place)
        self._resolve = resolve
        self._deletions = deletions

    # --- values

    def get(self, key: str, quorum: Quorum) -> Operation[Found]:
        """All that is known of a key."""
        path = wire.key_path(self._path, "keys", key, quorum)
        accept = {"Accept": "multipart/mixed, */*;q=0.5"}
        reply = yield Request("GET", path, headers=accept, subject=self._subject(key))
        return wire.found(reply)

    def read(self, key: str, quorum: Quorum) -> Operation[Value | None]:
        """One value."""
        found = yield from self.get(key, quorum)
        return self._one(found)

    def put(self, key: str, value: Value, seen: str | Found, quorum: Quorum) -> Operation[None]:
        """Write."""
        context, coordinator = _seen(seen)
        headers = wire.value_headers(value) | wire.vclock(context)
        path = wire.key_path(self._path, "keys", key, quorum)
        subject = self._subject(key)
        _there((yield Request("PUT", path, value.body, headers, subject=subject, coordinator=coordinator)))

    def delete(self, key: str, seen: str | Found, quorum: Quorum) -> Operation[bool]:
        """Write a deletion; False if there is nothing."""
        context, coordinator = _seen(seen)
        path = wire.key_path(self._path, "keys", key, quorum)
        headers = wire.vclock(context)
        reply = yield Request("DELETE", path, headers=headers, subject=self._subject(key), coordinator=coordinator)
        wire.check_missing(reply)
        return reply.status != 404

    def modify(self, key: str, change: Callable[[Value | None], Value], r: int | str, w: int | str) -> Operation[Value]:
        """Read, merge, write."""
        found = yield from self.get(key, {"r": r})
        value = change(self._one(found))
        yield from self.put(key, value, found, {"w": w})
        return value

    def _one(self, found: Found) -> Value | None:
        siblings = (*found.values, *found.deletions) if self._deletions else found.values
        if len(siblings) < 2:
            return siblings[0] if siblings and not siblings[0].deleted else None
        if self._resolve is None:
            raise Siblings(f"the key has {len(siblings)} siblings, and the bucket was given no resolver")
        value = self._resolve(siblings)
        return None if value.deleted else value

    # --- merge types

    def typed(self, key: str, quorum: Quorum) -> Operation[Typed]:
        """A value of a merge type."""
        path = wire.key_path(self._path, "datatypes", key, quorum)
        reply = yield Request("GET", path, subject=self._subject(key))
        wire.check_missing(reply)
        document = decode(reply.body)
        return Typed(document.get("value"), document.get("context"))

    def change(self, key: str, operation: Any, context: str | None, quorum: Quorum) -> Operation[None]:
        """An operation on one."""
        given = operation if context is None else {**operation, "context": context}
        path = wire.key_path(self._path, "datatypes", key, quorum)
        headers = {"Content-Type": "application/json"}
        subject = self._subject(key)
        _there((yield Request("POST", path, encode(given), headers, again=False, subject=subject)))

    # --- the bucket

    def keys(self) -> Operation[list[str]]:
        """All keys."""
        reply = yield Request("GET", f"{self._path}/keys?keys=true")
        names: list[str] = decode(_there(reply).body)["keys"]
        return names

    def props(self) -> Operation[dict[str, Any]]:
        """Its properties."""
        reply = yield Request("GET", f"{self._path}/props")
        props: dict[str, Any] = decode(_there(reply).body)["props"]
        return props

    def set_props(self, props: Mapping[str, Any]) -> Operation[None]:
        """Change some."""
        _there((yield Request("PUT", f"{self._path}/props", encode({"props": props}))))

    def _subject(self, key: str) -> Subject:
        return Subject(self._place, key.encode())


def _there(reply: Reply) -> Reply:
    """An answer for which 404 is a refusal too."""
    if reply.status == 404:
        raise wire.error_of(reply)
    return reply


def _seen(seen: str | Found) -> tuple[str, int | None]:
    return (seen.context, seen.coordinator) if isinstance(seen, Found) else (seen, None)
