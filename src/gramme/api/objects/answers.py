"""Objects as HTTP responses: one value, siblings, deletions, quorums that were not reached.

Owns the headers and bodies of Riak's HTTP API. A sibling's `vtag` is a hash of the write that made it, so it is the
same at every node and as long as the sibling lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import formatdate
from hashlib import blake2b
from typing import Final

from gramme.api.http import HttpResponse
from gramme.kernel.time import SECOND
from gramme.objects.messages import Busy, Invalid, Outcome, Unmet
from gramme.objects.versions import Sibling, Versions

Headers = list[tuple[bytes, bytes]]

TEXT: Final = (b"Content-Type", b"text/plain")
JSON: Final = (b"Content-Type", b"application/json")
_VTAG_CHARS: Final = 22


def text(status: int, message: str, headers: Headers | None = None) -> HttpResponse:
    """A plain-text answer; errors end with a line break, as Riak's do."""
    return HttpResponse(status, [*(headers or []), TEXT], message.encode("utf-8", "replace") + b"\n")


def unknown_type(type_: bytes) -> HttpResponse:
    """Nobody has made this bucket type, or this node has not heard of it yet."""
    return text(404, f"Unknown bucket type: {type_.decode('utf-8', 'replace')}")


def json(status: int, body: bytes, headers: Headers | None = None) -> HttpResponse:
    """An answer in JSON."""
    return HttpResponse(status, [*(headers or []), JSON], body)


def vtag(sibling: Sibling) -> str:
    """The name of a sibling."""
    dot = sibling.dot
    raw = dot.actor.to_bytes(8, "big") + dot.counter.to_bytes(8, "big")
    return base62(blake2b(raw, digest_size=16).digest())


def etag(siblings: Sequence[Sibling]) -> bytes:
    """The entity tag of a value, or of all siblings together."""
    if len(siblings) == 1:
        return b'"%b"' % vtag(siblings[0]).encode()
    joined = ",".join(vtag(sibling) for sibling in siblings).encode()
    return b'"%b"' % base62(blake2b(joined, digest_size=16).digest()).encode()


def base62(raw: bytes) -> str:
    """16 bytes as 22 characters that need no escaping in a path."""
    number = int.from_bytes(raw, "big")
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    out = ""
    for _ in range(_VTAG_CHARS):
        number, digit = divmod(number, 62)
        out += digits[digit]
    return out


def last_modified(sibling: Sibling) -> bytes:
    """In the form of HTTP dates."""
    return formatdate(sibling.value.modified // SECOND, usegmt=True).encode()


def found(versions: Versions, context: str, wanted: str | None, accept: bytes, boundary: str) -> HttpResponse:
    """The answer to a read of an object that somebody knows. `wanted`: the vtag of one sibling."""
    headers: Headers = [(b"X-Riak-Vclock", context.encode()), (b"Vary", b"Accept, Accept-Encoding")]
    if versions.deleted:
        return text(404, "not found", [*headers, (b"X-Riak-Deleted", b"true")])
    siblings = versions.siblings
    if wanted is not None:
        chosen = [sibling for sibling in siblings if vtag(sibling) == wanted]
        if not chosen:
            return text(404, "no sibling has this vtag", headers)
        siblings = tuple(chosen)
    if len(siblings) == 1:
        return _one(siblings[0], headers)
    headers.append((b"ETag", etag(siblings)))
    headers.append((b"Last-Modified", max((s.value.modified, last_modified(s)) for s in siblings)[1]))
    if _prefers_multipart(accept):
        return _multipart(siblings, headers, boundary)
    listed = "Siblings:\n" + "\n".join(vtag(sibling) for sibling in siblings)
    return text(300, listed, headers)


def _one(sibling: Sibling, headers: Headers) -> HttpResponse:
    value = sibling.value
    if value.deleted:
        return text(404, "not found", [*headers, (b"X-Riak-Deleted", b"true")])
    return HttpResponse(200, [*headers, *_value_headers(sibling)], value.body)


def _value_headers(sibling: Sibling) -> Headers:
    value = sibling.value
    headers: Headers = [
        (b"Content-Type", value.content_type.encode("latin-1", "replace")),
        (b"ETag", etag([sibling])),
        (b"Last-Modified", last_modified(sibling)),
    ]
    if value.expires:
        headers.append((b"X-Gramme-Expires-At", b"%d" % (value.expires // SECOND)))
    return headers + [
        (b"X-Riak-Meta-" + name.encode("latin-1"), value_.encode("latin-1")) for name, value_ in value.meta
    ]  # fmt: skip


def _multipart(siblings: Sequence[Sibling], headers: Headers, boundary: str) -> HttpResponse:
    line = b"\r\n--" + boundary.encode()
    parts: list[bytes] = []
    for sibling in siblings:
        parts.append(line + b"\r\n")
        own = _value_headers(sibling)
        if sibling.value.deleted:
            own.append((b"X-Riak-Deleted", b"true"))
        parts += [b"%b: %b\r\n" % header for header in own]
        parts += [b"\r\n", sibling.value.body]
    parts.append(line + b"--\r\n")
    kind = (b"Content-Type", b"multipart/mixed; boundary=" + boundary.encode())
    return HttpResponse(300, [*headers, kind], parts)


def _prefers_multipart(accept: bytes) -> bool:
    """Whether `multipart/mixed` is named, and not refused, before text or anything."""
    for part in accept.lower().split(b","):
        kind, _, parameters = part.strip().partition(b";")
        if kind.strip() in (b"multipart/mixed", b"multipart/*"):
            return b"q=0" not in parameters.replace(b" ", b"").split(b".")[0] or b"q=0." in parameters
    return False


def failed(outcome: Outcome) -> HttpResponse:
    """What became of a request that was not done, or not as well as it asked for."""
    match outcome:
        case Unmet(kind, have, needed):
            return text(503, f"{kind}-value unsatisfied: {have}/{needed}")
        case Invalid(reason):
            return text(400, reason)
        case Busy(reason):
            return text(503, reason)
    raise TypeError(f"unexpected outcome {type(outcome).__name__}")
