"""Which shards may be read: parents first, an earlier stream first."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.client.streams.stream import Shard, readable

_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/"


def shard(name: str, parent: str | None = None, stream: str = "2026-01-01T00:00:00.000") -> Shard:
    return Shard(_ARN + stream, name, parent, closed=False)


def test_children_wait_for_their_parents() -> None:
    shards = [shard("c", "b"), shard("b", "a"), shard("a"), shard("x", "trimmed")]
    done: set[str] = set()
    assert [s.id for s in readable(shards, lambda s: s.id in done)] == ["a", "x"]
    done.add("a")
    assert [s.id for s in readable(shards, lambda s: s.id in done)] == ["b", "x"]
    done |= {"b", "x"}
    assert [s.id for s in readable(shards, lambda s: s.id in done)] == ["c"]
    done.add("c")
    assert readable(shards, lambda s: s.id in done) == []


def test_a_later_stream_waits_for_all_of_the_earlier() -> None:
    later = shard("a", stream="2026-01-02T00:00:00.000")
    shards = [later, shard("a"), shard("b")]
    assert [s.name for s in readable(shards, lambda s: False)] == [shard("a").name, shard("b").name]
    assert readable(shards, lambda s: s == shard("a")) == [shard("b")]
    assert readable(shards, lambda s: s.label == shard("a").label) == [later]


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), max_size=30))
def test_every_lineage_is_read_to_its_end(parents: list[int]) -> None:
    shards = [shard(f"{n:03d}", f"{parent:03d}" if parent < n else None) for n, parent in enumerate(parents)]
    done: list[str] = []
    while now := readable(shards, lambda s: s.id in done):
        done.append(now[-1].id)
    assert sorted(done) == [s.id for s in shards]
    for one in shards:
        if one.parent is not None:
            assert done.index(one.parent) < done.index(one.id)
