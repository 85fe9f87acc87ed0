"""Merkle trees: equal roots for equal contents, and a comparison that finds exactly the buckets that differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.objects.merkle import BUCKETS, FANOUT, Tree, bucket_of, differing, item_hash, pack, rebuilt, unpack
from gramme.placement.ring import position_of

_contents = st.dictionaries(st.binary(min_size=1, max_size=4), st.binary(max_size=4), max_size=40)


def _items(contents: dict[bytes, bytes]) -> list[tuple[int, bytes, bytes]]:
    return [(position_of(b"b", key), key, value) for key, value in contents.items()]


def _differing_buckets(one: Tree, other: Tree) -> list[int]:
    found = []
    for branch in differing(one.branches(), other.branches()):
        found += [branch * FANOUT + leaf for leaf in differing(one.leaves(branch), other.leaves(branch))]
    return found


@given(_contents, _contents)
def test_the_comparison_finds_exactly_what_differs(mine: dict[bytes, bytes], theirs: dict[bytes, bytes]) -> None:
    one, other = Tree(rebuilt(_items(mine))), Tree(rebuilt(_items(theirs)))
    wrong = {k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)}
    assert _differing_buckets(one, other) == sorted({bucket_of(position_of(b"b", key)) for key in wrong})
    assert (one.root() == other.root()) == (mine == theirs)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.none() | st.binary(max_size=3)), max_size=60))
def test_writes_one_by_one_give_what_a_scan_gives(writes: list[tuple[bytes, bytes | None]]) -> None:
    contents: dict[bytes, bytes] = {}
    tree = Tree()
    for count, (key, value) in enumerate(writes):
        before = item_hash(key, contents[key]) if key in contents else 0
        after = 0 if value is None else item_hash(key, value)
        bucket = bucket_of(position_of(b"b", key))
        assert tree.change(bucket, before, after) == tree.buckets.get(bucket, 0)
        if value is None:
            contents.pop(key, None)
        else:
            contents[key] = value
        if count % 7 == 0:
            tree.root()  # so that later changes meet inner nodes that are worked out
    assert tree.buckets == rebuilt(_items(contents))
    assert tree.root() == Tree(rebuilt(_items(contents))).root()


def test_buckets_spread_within_a_partition() -> None:
    """Neither level may hang on the bits that chose the partition."""
    seen = {bucket_of(position_of(b"bucket", b"%d" % n)) for n in range(20_000)}
    assert len(seen) > BUCKETS * 0.98


def test_key_and_versions_are_told_apart() -> None:
    assert item_hash(b"ab", b"c") != item_hash(b"a", b"bc")


def test_a_level_travels_as_bytes() -> None:
    hashes = [item_hash(b"k", b"%d" % n) for n in range(FANOUT)]
    assert unpack(pack(hashes)) == hashes
    assert pack([0] * FANOUT) == b""
    assert unpack(b"") == [0] * FANOUT
    with pytest.raises(ValueError, match="1024 bytes, not 5"):
        unpack(b"12345")
