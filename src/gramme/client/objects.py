"""Objects, as a program sees them: buckets whose reads merge siblings, and whose writes say what they have seen.

Owns contexts, the choice of a node, and what may be sent again. Any node serves every object, so a request that gets no
answer, or a 5xx, goes to the next node once; a write that is sent again with its context leaves at worst a sibling of
equal content, and an operation on a merge type is sent again only where it certainly was not done. Rule: a value is
never dropped silently: several siblings need a resolver, or are an error.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from gramme.client.connections import TIMEOUT_S, Host, Reply
from gramme.client.errors import ServiceError, Unreachable
from gramme.kernel.errors import GrammeError, InvalidInput

_DEFAULT_TYPE: Final = "default"
_META: Final = "x-riak-meta-"
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class Value(NamedTuple):
    """One sibling."""

    body: bytes
    content_type: str = "application/octet-stream"
    meta: Mapping[str, str] = {}


class Found(NamedTuple):
    """What a read found: no value (never written, or deleted), one, or siblings. `context` says what the reader has
    seen: a write that brings it replaces just that; "" if nobody knows the key."""

    values: tuple[Value, ...]
    context: str


class Typed(NamedTuple):
    """A value of a merge type (None: never written), and the context that removals need."""

    value: Any
    context: str | None


class Siblings(GrammeError):
    """Several values, and nobody who says what they are together."""


Resolve = Callable[[Sequence[Value]], Value]
"""Makes one value of two or more siblings. Any order of them must give the same."""


def union(siblings: Sequence[Value]) -> Value:
    """Siblings that are JSON arrays, as one array of all their elements, each once (the cart of SOSP 2007, §4.4: what
    was put in is never lost, what was taken out may come back)."""
    elements = {_encode(element): element for value in siblings for element in _decode(value.body)}
    return Value(_encode([elements[key] for key in sorted(elements)]), "application/json")


class ObjectClient:
    """The objects of one cluster; may be used by many threads."""

    def __init__(self, *urls: str, timeout_s: float = TIMEOUT_S) -> None:
        """`urls`: objects endpoints of its nodes, the preferred one first; `timeout_s`: how long one node may be
        silent. Raises InvalidInput if there is none, or one is no URL."""
        if not urls:
            raise InvalidInput("an object client needs the URL of at least one node")
        self._hosts = [Host(url, timeout_s) for url in urls]
        self._first = 0  # the node that answered last

    def bucket(self, name: str, *, type_: str = _DEFAULT_TYPE, resolve: Resolve | None = None) -> Bucket:
        """A bucket. Nothing is asked for yet."""
        return Bucket(self, name, type_, resolve)

    def buckets(self, type_: str = _DEFAULT_TYPE) -> list[str]:
        """Names of the buckets that hold anything. Walks through everything that is stored."""
        names: list[str] = _decode(self.request("GET", _type_path(type_) + "/buckets?buckets=true").body)["buckets"]
        return names

    def make_type(self, type_: str, props: Mapping[str, Any]) -> None:
        """Make a bucket type, once. Other nodes hear of it a moment later. Raises ServiceError if it exists."""
        self.request("PUT", f"/types/{quote(type_, '')}/props", _encode({"props": props}))

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        again: bool = True,
    ) -> Reply:
        """An answer below 400, or 404. `again`: the request may be done twice. Raises ServiceError for any other
        answer, Unreachable if no node gave one: then the request may have been carried out."""
        trouble: GrammeError | None = None
        first = self._first
        # The first one twice: a connection that was kept open may have been closed meanwhile.
        for turn in range(len(self._hosts) + 1):
            at = (first + turn) % len(self._hosts)
            host = self._hosts[at]
            try:
                reply = host.request(method, path, body, headers or {})
            except (OSError, http.client.HTTPException) as error:
                trouble = Unreachable(f"{method} {path} at {host.url}: {error!r}")
                if not again and not isinstance(error, ConnectionRefusedError):
                    raise trouble from error
                continue
            if reply.status < 400 or reply.status == 404:
                self._first = at
                return reply
            trouble = _error(reply)
            if reply.status < 500 or not again:
                raise trouble
        assert trouble is not None
        raise trouble


class Bucket:
    """See `ObjectClient.bucket`. `quorum` of a method: r, w, pr, pw, dw, timeout (ms), as in Riak's query."""

    def __init__(self, client: ObjectClient, name: str, type_: str, resolve: Resolve | None) -> None:
        self._client = client
        self._path = f"{_type_path(type_)}/buckets/{quote(name, '')}"
        self._resolve = resolve

    # --- values

    def get(self, key: str, **quorum: int | str) -> Found:
        """All that is known of `key`. Raises ServiceError, Unreachable."""
        reply = self._client.request("GET", self._at(key, quorum), headers={"Accept": "multipart/mixed, */*;q=0.5"})
        context = reply.headers.get("x-riak-vclock", "")
        if reply.status == 404:
            _check_missing(reply)
            return Found((), context)
        if reply.status == 300:
            return Found(_parts(reply), context)
        return Found((_value(reply.headers, reply.body),), context)

    def read(self, key: str, **quorum: int | str) -> Value | None:
        """One value, made of the siblings if there are several. Raises Siblings without a resolver; else as `get`."""
        return self._one(self.get(key, **quorum))

    def put(self, key: str, value: Value, context: str = "", **quorum: int | str) -> None:
        """Write; replaces what `context` has seen, a sibling of everything else. Raises as `get`: then the value may be
        stored all the same."""
        headers = {"Content-Type": value.content_type} | {_META + name: text for name, text in value.meta.items()}
        self._sent("PUT", self._at(key, quorum), value.body, headers | _vclock(context))

    def delete(self, key: str, context: str = "", **quorum: int | str) -> bool:
        """Delete what `context` has seen, or, without one, what is there now. False if there is nothing."""
        reply = self._client.request("DELETE", self._at(key, quorum), headers=_vclock(context))
        _check_missing(reply)
        return reply.status != 404

    def modify(
        self, key: str, change: Callable[[Value | None], Value], *, r: int | str = "default", w: int | str = "default"
    ) -> Value:
        """Read, merge, write with the context of that read: the new value. Not atomic: of two at once neither is lost,
        the next read finds both as siblings. Raises as `read`; then the value may be stored all the same."""
        found = self.get(key, r=r)
        value = change(self._one(found))
        self.put(key, value, found.context, w=w)
        return value

    def _one(self, found: Found) -> Value | None:
        if len(found.values) < 2:
            return found.values[0] if found.values else None
        if self._resolve is None:
            raise Siblings(f"the key has {len(found.values)} siblings, and the bucket was given no resolver")
        return self._resolve(found.values)

    # --- merge types

    def typed(self, key: str, **quorum: int | str) -> Typed:
        """A value of the bucket's merge type. Raises ServiceError, Unreachable."""
        reply = self._client.request("GET", self._at(key, quorum, "datatypes"))
        _check_missing(reply)
        document = _decode(reply.body)
        return Typed(document.get("value"), document.get("context"))

    def change(self, key: str, operation: Any, context: str | None = None, **quorum: int | str) -> None:
        """Do an operation in Riak's JSON, e.g. `{"add": "x"}`; what removes something needs `context`. Raises
        ServiceError, Unreachable: then it may have been done."""
        given = operation if context is None else {**operation, "context": context}
        path = self._at(key, quorum, "datatypes")
        self._sent("POST", path, _encode(given), {"Content-Type": "application/json"}, again=False)

    # --- the bucket

    def keys(self) -> list[str]:
        """All keys. Walks through everything that is stored."""
        names: list[str] = _decode(self._sent("GET", f"{self._path}/keys?keys=true").body)["keys"]
        return names

    def props(self) -> dict[str, Any]:
        """Its properties."""
        props: dict[str, Any] = _decode(self._sent("GET", f"{self._path}/props").body)["props"]
        return props

    def set_props(self, props: Mapping[str, Any]) -> None:
        """Change some. Raises ServiceError for those that cannot be."""
        self._sent("PUT", f"{self._path}/props", _encode({"props": props}))

    def _sent(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, again: bool = True
    ) -> Reply:
        """As `ObjectClient.request`, where 404 is a refusal too."""
        reply = self._client.request(method, path, body, headers, again=again)
        if reply.status == 404:
            raise _error(reply)
        return reply

    def _at(self, key: str, quorum: Mapping[str, int | str], kind: str = "keys") -> str:
        return f"{self._path}/{kind}/{quote(key, '')}" + (f"?{urlencode(quorum)}" if quorum else "")


def _type_path(type_: str) -> str:
    return "" if type_ == _DEFAULT_TYPE else f"/types/{quote(type_, '')}"


def _error(reply: Reply) -> ServiceError:
    reason = http.client.responses.get(reply.status, "error")
    return ServiceError(f"{reply.status} {reason}", reply.body.decode("utf-8", "replace").strip(), reply.status)


def _check_missing(reply: Reply) -> None:
    """Raise ServiceError for a 404 that says something else than that there is no such key."""
    if reply.status == 404 and reply.body != b"not found\n" and not reply.body.startswith(b"{"):
        raise _error(reply)


def _vclock(context: str) -> dict[str, str]:
    return {"X-Riak-Vclock": context} if context else {}


def _value(headers: Mapping[str, str], body: bytes) -> Value:
    meta = {name[len(_META) :]: text for name, text in headers.items() if name.startswith(_META)}
    return Value(body, headers.get("content-type", "application/octet-stream"), meta)


def _parts(reply: Reply) -> tuple[Value, ...]:
    """The siblings that are no deletions: who deleted had not seen them."""
    boundary = reply.headers["content-type"].partition("boundary=")[2]
    values = []
    for part in reply.body.split(f"\r\n--{boundary}".encode())[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n") if line]
        headers = {name.lower(): text for name, _, text in lines}
        if "x-riak-deleted" not in headers:
            values.append(_value(headers, body))
    return tuple(values)
