"""A table's stream tells its whole story: replayed from its birth it gives the table, record by record.

Rules, for the records of one shard as a reader got them: places strictly grow; a record changes something; each record
of an item begins with what the record before it left (so none is missing, and none is there twice). For a stream that
is as old as its table, an item's first record begins with nothing, and what the last ones leave is the table. Where a
reader was told that records had been trimmed, the story of each item begins anew.
Source: API reference, DynamoDB Streams ("exactly once", "in the same sequence as the actual modifications").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Place = tuple[int, int]
"""(slot, index in the slot)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One change. Images are canonical JSON, None where there is none; `key` names the item."""

    at: Place
    key: bytes
    old: bytes | None
    new: bytes | None


@dataclass(slots=True)
class ShardStory:
    """What a reader got of one shard. `trimmed_before`: in front of these records (by number) some were missing, as the
    reader was told."""

    name: str
    records: list[Record] = field(default_factory=list)
    trimmed_before: list[int] = field(default_factory=list)


def broken_story(shard: ShardStory, from_birth: bool) -> str | None:
    """What is wrong with the records of one shard, in words; None if nothing is."""
    state: dict[bytes, bytes | None] = {}
    whole = from_birth
    last: Place = (-1, 0)
    gaps = frozenset(shard.trimmed_before)
    for number, record in enumerate(shard.records):
        if number in gaps:
            state, whole = {}, False
        if record.at <= last:
            return f"shard {shard.name}: record at {record.at} follows that at {last}"
        last = record.at
        if record.old == record.new:
            return f"shard {shard.name}: record at {record.at} of {record.key!r} changes nothing"
        known = record.key in state
        if (known or whole) and record.old != state.get(record.key):
            return (
                f"shard {shard.name}: record at {record.at} of {record.key!r} begins with {record.old!r}, "
                f"the one before it left {state.get(record.key)!r}"
            )
        state[record.key] = record.new
    return None


def replay(shards: Iterable[ShardStory]) -> dict[bytes, bytes | None]:
    """What the last record of each item left; what was told before something was trimmed does not count."""
    state: dict[bytes, bytes | None] = {}
    for shard in shards:
        for record in shard.records[max(shard.trimmed_before, default=0) :]:
            state[record.key] = record.new
    return state


def wrong_replay(shards: list[ShardStory], items: Mapping[bytes, bytes], from_birth: bool) -> str | None:
    """How what the stream tells differs from the table; None if it does not. An item of which it tells nothing may be
    as old as it likes, unless the stream is as old as the table."""
    told = replay(shards)
    keys = {*told, *items} if from_birth else told.keys()
    for key in sorted(keys):
        if told.get(key) != items.get(key):
            return f"item {key!r}: its stream leaves {told.get(key)!r}, the table holds {items.get(key)!r}"
    return None
