"""What a request for an object asks for beside its name: quorums, context, conditions, metadata.

Owns the query parameters and headers of Riak's HTTP API. Rule: what is not understood is refused with the text that
Riak gives, or a clearer one; nothing is taken for something else. Source: Riak KV, HTTP API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote_from_bytes, unquote_to_bytes

from gramme.kernel.errors import InvalidInput
from gramme.objects.config import BucketSettings
from gramme.objects.expiry import MAX_EXPIRY_S
from gramme.objects.quorums import Count, ReadQuorum, WriteQuorum, parse_count, resolve
from gramme.objects.state import DEFAULT_TYPE, Name

MAX_META_BYTES: Final = 8192
MAX_TIMEOUT_MS: Final = 600_000
DEFAULT_TIMEOUT_MS: Final = 10_000
_META: Final = b"x-riak-meta-"
_EXPIRES_IN: Final = b"x-gramme-expires-in"


class Query:
    """The query string, each parameter once: of repeated ones the first counts, as in Riak."""

    def __init__(self, query: str) -> None:
        self._given: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            self._given.setdefault(name, value)

    def get(self, name: str) -> str | None:
        """The parameter as text, None if it is not there."""
        return self._given.get(name)

    def flag(self, name: str, default: bool) -> bool:
        """A parameter that is `true` or `false`. Raises InvalidInput for anything else."""
        match self._given.get(name):
            case None | "default":
                return default
            case "true":
                return True
            case "false":
                return False
            case value:
                raise InvalidInput(f"{name} query parameter must be true or false, not '{value[:40]}'")

    def count(self, name: str) -> Count:
        """A quorum parameter; "default" if it is not there. Raises InvalidInput."""
        text = self._given.get(name)
        return "default" if text is None else parse_count(name, text)

    def timeout_ms(self, default: int) -> int:
        """How long the client is willing to wait. Raises InvalidInput."""
        text = self._given.get("timeout")
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 9) or not 1 <= int(text) <= MAX_TIMEOUT_MS:
            raise InvalidInput(f"timeout must be 1 to {MAX_TIMEOUT_MS} milliseconds, not '{text[:40]}'")
        return int(text)


def read_quorum(query: Query, settings: BucketSettings, members: int) -> ReadQuorum:
    """What a read needs. Raises InvalidInput. A ring of `members` nodes cannot keep more replicas than that: where it
    has fewer than n, all of them are the most that anybody can ask for."""
    n = settings.n
    r = resolve("r", query.count("r"), settings.r, n)
    pr = resolve("pr", query.count("pr"), settings.pr, n)
    return ReadQuorum(
        min(n, members),
        min(r, members),
        min(pr, members),
        query.flag("notfound_ok", settings.notfound_ok),
        query.flag("basic_quorum", settings.basic_quorum),
    )


def write_quorum(query: Query, settings: BucketSettings, members: int) -> WriteQuorum:
    """What a write needs; otherwise as `read_quorum`. A request that names `w` and not `dw` does not wait for more
    fsyncs than that; `rw`, of old clients, stands for both where `w` is not named."""
    n = settings.n
    named = "w" if query.get("w") is not None or query.get("rw") is None else "rw"
    w = resolve(named, query.count(named), settings.w, n)
    pw = resolve("pw", query.count("pw"), settings.pw, n)
    dw = resolve("dw", query.count("dw"), settings.dw, n)
    if query.get("dw") is None and query.get(named) is not None:
        dw = min(dw, w)
    return WriteQuorum(min(n, members), min(w, members), min(pw, members), min(dw, members))


def metadata(headers: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    """The client's own metadata, by name. Raises InvalidInput if it is too long."""
    found = sorted((name[len(_META) :], value) for name, value in headers.items() if name.startswith(_META))
    size = sum(len(name) + len(value) for name, value in found)
    if size > MAX_META_BYTES:
        raise InvalidInput(f"X-Riak-Meta headers have {size} bytes, the limit is {MAX_META_BYTES}")
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in found)


def expires_in(headers: Mapping[bytes, bytes], default: int) -> int:
    """After how many seconds a value expires; 0: never. Raises InvalidInput."""
    text = headers.get(_EXPIRES_IN)
    if text is None:
        return default
    if not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MAX_EXPIRY_S:
        raise InvalidInput(f"X-Gramme-Expires-In must be 1 to {MAX_EXPIRY_S} seconds")
    return int(text)


def segments(path: str) -> list[bytes]:
    """The parts of a path, percent-decoded each for itself, so that a key may hold a slash."""
    return [unquote_to_bytes(part) for part in path.split("/")[1:]]


def location(name: Name, kind: str) -> bytes:
    """The path of an object that was made; `kind`: keys, datatypes."""
    prefix = "" if name.type == DEFAULT_TYPE else f"/types/{quote_from_bytes(name.type, '')}"
    return f"{prefix}/buckets/{quote_from_bytes(name.bucket, '')}/{kind}/{quote_from_bytes(name.key, '')}".encode()
