"""Conditional headers: whether a request goes on, given what is stored.

Owns If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since. They are looked at before the request is done, not
in one step with it: a write that comes in between is not noticed (docs/design/objects.md). Source: RFC 9110 §13.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from gramme.api.objects.answers import etag
from gramme.kernel.time import SECOND
from gramme.objects.versions import Versions

_HEADERS = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")


def are_given(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request names any condition."""
    return any(name in headers for name in _HEADERS)


def refused(headers: Mapping[bytes, bytes], versions: Versions | None, reading: bool) -> int | None:
    """304 or 412 where a condition does not hold, else None. `versions` None: there is no such key."""
    present = versions is not None and not versions.deleted
    tag = etag(versions.siblings) if versions is not None and present else b""
    modified = max((s.value.modified for s in versions.siblings), default=0) // SECOND if versions is not None else 0
    match = headers.get(b"if-match")
    if match is not None and not (present and _names(match, tag)):
        return 412
    since = _seconds(headers.get(b"if-unmodified-since"))
    if match is None and since is not None and present and modified > since:
        return 412
    none = headers.get(b"if-none-match")
    if none is not None and present and _names(none, tag):
        return 304 if reading else 412
    since = _seconds(headers.get(b"if-modified-since"))
    if none is None and since is not None and reading and present and modified <= since:
        return 304
    return None


def _names(header: bytes, tag: bytes) -> bool:
    return any(part.strip().removeprefix(b"W/") in (b"*", tag) for part in header.split(b","))


def _seconds(header: bytes | None) -> int | None:
    """An HTTP date as epoch seconds; one that cannot be read is no condition (RFC 9110 §13.1.3)."""
    if header is None:
        return None
    try:
        return int(parsedate_to_datetime(header.decode("latin-1")).timestamp())
    except ValueError:
        return None
