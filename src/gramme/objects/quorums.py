"""How many replicas must answer: N, R, W and their finer cousins, of a bucket and of one request.

Owns the meaning of `one`, `quorum`, `all`, `default` and of numbers (row A14). `pr` and `pw` count answers of primaries
only, so 0 (the default) lets fallbacks stand in: that is the sloppy quorum. `dw` counts replicas that have the write
fsynced. Source: SOSP 2007, §4.5 and §6; Riak's HTTP API for the names.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from gramme.kernel.errors import InvalidInput

Symbol = Literal["one", "quorum", "all", "default"]
Count = int | Symbol
MAX_N: Final = 16


class Quorums(msgspec.Struct, frozen=True):
    """As a bucket says, or a request asks for: a number, or a word for one."""

    r: Count = "quorum"
    w: Count = "quorum"
    pr: Count = 0
    pw: Count = 0
    dw: Count = "quorum"


class ReadQuorum(msgspec.Struct, frozen=True, array_like=True):
    """What one read needs: answers of `r` of `n` replicas, `pr` of them primaries.

    `notfound_ok`: a replica without the key counts as an answer. `basic_quorum`: with that off, a read gives up as soon
    as a majority lacks the key.
    """

    n: int
    r: int
    pr: int = 0
    notfound_ok: bool = True
    basic_quorum: bool = False


class WriteQuorum(msgspec.Struct, frozen=True, array_like=True):
    """What one write needs: `w` of `n` replicas have it, `pw` of them primaries, `dw` of them have it fsynced."""

    n: int
    w: int
    pw: int = 0
    dw: int = 0


def resolve(name: str, count: Count, default: Count, n: int) -> int:
    """`count` as a number of replicas; `default` is the bucket's. Raises InvalidInput outside 0 … n (r, w: 1 … n)."""
    if count == "default":
        count = default
    if isinstance(count, str):
        return {"one": 1, "quorum": n // 2 + 1, "all": n}[count]
    least = 0 if name in ("pr", "pw", "dw") else 1
    if not least <= count <= n:
        raise InvalidInput(f"{name}-value {count} is out of range: {least} to {n} (n_val)")
    return count


def parse_count(name: str, text: str) -> Count:
    """A quorum parameter of a request. Raises InvalidInput for what is neither a number nor a word for one."""
    match text:
        case "one" | "quorum" | "all" | "default":
            return text
    if text.isascii() and text.isdigit() and len(text) <= 3:
        return int(text)
    raise InvalidInput(
        f"{name} query parameter must be an integer or one of one, quorum, all, default, not '{text[:40]}'"
    )
