"""Riak's HTTP, from a client's side: paths, headers and bodies of requests, and what answers say.

Owns nothing but the mapping. Rule: what cannot stand in a header is refused here, before it could become another one.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from gramme.client.connections import Reply
from gramme.client.errors import ServiceError
from gramme.client.objects.values import Found, Value
from gramme.kernel.errors import InvalidInput

DEFAULT_TYPE: Final = "default"
RING_HEADER: Final = "X-Gramme-Ring"
Quorum = Mapping[str, int | str]

_META: Final = "x-riak-meta-"
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TEXT: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder().decode


def type_path(type_: str) -> str:
    """What stands in front of `/buckets`."""
    return "" if type_ == DEFAULT_TYPE else f"/types/{quote(type_, '')}"


def bucket_path(type_: str, bucket: str) -> str:
    """Of a bucket."""
    return f"{type_path(type_)}/buckets/{quote(bucket, '')}"


def key_path(bucket: str, kind: str, key: str, quorum: Quorum) -> str:
    """Of a key in the bucket at the path `bucket`; `kind`: keys, datatypes."""
    return f"{bucket}/{kind}/{quote(key, '')}" + (f"?{urlencode(quorum)}" if quorum else "")


def vclock(context: str) -> dict[str, str]:
    """The header with which a write says what it has seen."""
    return {"X-Riak-Vclock": _checked("a context", context)} if context else {}


def value_headers(value: Value) -> dict[str, str]:
    """Type and metadata of a value. Raises InvalidInput for what no header can carry."""
    headers = {"Content-Type": _checked("a content type", value.content_type)}
    for name, text in value.meta.items():
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"not a name of metadata: {name!r}")
        headers[_META + name] = _checked(f"the metadata {name}", text)
    return headers


def _checked(what: str, text: str) -> str:
    if not _TEXT.fullmatch(text):
        raise InvalidInput(f"{what} cannot stand in an HTTP header: {text[:80]!r}")
    return text


def found(reply: Reply) -> Found:
    """What a GET of a key found. Raises ServiceError for a 404 that is about something else."""
    context = reply.headers.get("x-riak-vclock", "")
    named = reply.headers.get("x-gramme-coordinator", "")
    coordinator = int(named) if named.isdigit() else None
    if reply.status == 404:
        check_missing(reply)
        return Found((), context, coordinator)
    siblings = _parts(reply) if reply.status == 300 else (_value(reply.headers, reply.body),)
    live = tuple(value for value in siblings if not value.deleted)
    return Found(live, context, coordinator, tuple(value for value in siblings if value.deleted))


def check_missing(reply: Reply) -> None:
    """Raise ServiceError for a 404 that says something else than that there is no such key."""
    if reply.status == 404 and reply.body != b"not found\n" and not reply.body.startswith(b"{"):
        raise error_of(reply)


def error_of(reply: Reply) -> ServiceError:
    """An answer that is a refusal."""
    reason = http.client.responses.get(reply.status, "error")
    return ServiceError(f"{reply.status} {reason}", reply.body.decode("utf-8", "replace").strip(), reply.status)


def _value(headers: Mapping[str, str], body: bytes) -> Value:
    meta = {name[len(_META) :]: text for name, text in headers.items() if name.startswith(_META)}
    content_type = headers.get("content-type", "application/octet-stream")
    return Value(body, content_type, meta, _modified(headers.get("last-modified")), "x-riak-deleted" in headers)


def _modified(date: str | None) -> float:
    try:
        return 0.0 if date is None else parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0.0


def _parts(reply: Reply) -> tuple[Value, ...]:
    boundary = reply.headers["content-type"].partition("boundary=")[2]
    values = []
    for part in reply.body.split(f"\r\n--{boundary}".encode())[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n") if line]
        values.append(_value({name.lower(): text for name, _, text in lines}, body))
    return tuple(values)
