"""Pages of range reads: what one must be like by itself, and which reads of single items it is.

Rule: a page is a read of every key that it covers, at some time between its call and its answer: of the rows that it
shows, with their values, and of the covered keys that it does not show, which are absent. It covers the keys of its
range that lie behind where it begins, in the order of reading, up to its last key; without one, up to the end of the
range. So what a page says of its rows is judged as any read is, by `linearizability` or `staleness`. Source: API
reference, Query (Limit, LastEvaluatedKey).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from gramme.sim.checkers.history import Item, Kind, Operation, Outcome


class PageRead(msgspec.Struct, frozen=True, kw_only=True):
    """One page that was answered. `keys` are all that it may show, in the order of reading: whatever clients ever write
    within its range, behind the key where it begins. It is so small that `limit` alone ends it early."""

    client: int
    keys: tuple[str, ...]
    limit: int | None
    consistent: bool
    invoke_ns: int
    return_ns: int
    rows: tuple[tuple[str, Item], ...]
    counts: tuple[int, int]  # Count and ScannedCount: no filter, so both are of the rows
    last: str | None  # the key behind which the next page begins; None: there is none


def wrong_page(page: PageRead) -> str | None:
    """What is wrong with a page, whatever the rows' values: in words, or None."""
    shown = [key for key, _ in page.rows]
    wrong = _wrong_order(shown, page.keys)
    if wrong is None:
        wrong = _wrong_end(shown, page)
    return None if wrong is None else f"a page {wrong}: shown {shown}, last key {page.last}, of {page}"


def _wrong_order(shown: list[str], keys: tuple[str, ...]) -> str | None:
    left = iter(keys)
    for key in shown:
        if key not in left:  # which takes `left` to the place behind it
            return f"shows {key} out of order, or outside of what is left of its range"
    return None


def _wrong_end(shown: list[str], page: PageRead) -> str | None:
    if page.counts != (len(shown), len(shown)):
        return f"counts {page.counts} for {len(shown)} rows"
    full = page.limit is not None and len(shown) >= page.limit
    if page.limit is not None and len(shown) > page.limit:
        return f"has more rows than the {page.limit} that were asked for"
    if page.last is None:
        return "has no last key although it is full" if full else None
    if not full:
        return "has a last key although it is not full"
    return None if page.last == shown[-1] else "has another last key than that of its last row"


def reads_of(page: PageRead) -> Iterator[Operation]:
    """The reads that a page is, of all keys that it covers."""
    rows = dict(page.rows)
    covered = page.keys if page.last is None else page.keys[: page.keys.index(page.last) + 1]
    for key in covered:
        yield Operation(
            client=page.client,
            key=key,
            kind=Kind.GET if page.consistent else Kind.PEEK,
            invoke_ns=page.invoke_ns,
            return_ns=page.return_ns,
            outcome=Outcome.OK,
            seen=rows.get(key),
        )


def wrong_whole(rows: list[tuple[str, Item]], keys: tuple[str, ...], stored: Mapping[str, Item]) -> str | None:
    """What is wrong with all pages of one range, joined, while nothing is written: they are what is `stored` under
    `keys`, in this order. In words, or None."""
    expected = [(key, stored[key]) for key in keys if key in stored]
    if rows == expected:
        return None
    shown = [key for key, _ in rows]
    left_out = [key for key, _ in expected if key not in shown]
    twice = sorted({key for key in shown if shown.count(key) > 1})
    other = [f"{key}: {seen}, stored {stored.get(key)}" for key, seen in rows if stored.get(key) != seen]
    return f"pages of a range at rest leave out {left_out}, show twice {twice}, show otherwise {other}: {shown}"
