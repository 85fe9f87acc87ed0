"""Merkle trees over the keys of one partition of the ring: what differs between two replicas, found by their hashes.

Owns the shape of the tree and the comparison. A tree has 1 + 64 + 4096 nodes: a key belongs to one of 4,096 *buckets*
by the low bits of its position (the high ones chose the partition); a bucket's hash is the XOR of the hashes of its
keys' (key, versions), so that a write changes it in place without reading its neighbours; an inner node's hash is that
of its children. Comparing costs one exchange for the root, one for each differing branch, one for each differing
bucket: bytes grow with the differences, not with the data (row A23; SOSP 2007, §4.7).

A replica keeps the bucket hashes with its rows, written in the same batch, and rebuilds them by a scan when it doubts
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

FANOUT: Final = 64
BUCKETS: Final = FANOUT * FANOUT
HASH_BYTES: Final = 16
_NOTHING: Final = 0
_MASK: Final = BUCKETS - 1


def bucket_of(position: int) -> int:
    """The bucket of the key at `position` of the ring."""
    return position & _MASK


def item_hash(key: bytes, versions: bytes) -> int:
    """What one key adds to its bucket: a 128-bit hash of the key and its encoded versions."""
    digest = blake2b(len(key).to_bytes(4, "big"), digest_size=HASH_BYTES)
    digest.update(key)
    digest.update(versions)
    return int.from_bytes(digest.digest(), "big")


class Tree:
    """The hashes of one partition. Inner nodes are worked out when they are asked for, and only where leaves moved."""

    __slots__ = ("_branches", "_dirty", "buckets")

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        """`buckets`: the hash of each bucket that holds anything."""
        self.buckets: dict[int, int] = dict(buckets or {})
        self._branches: list[int] = [_NOTHING] * FANOUT
        self._dirty: dict[int, None] = dict.fromkeys(bucket // FANOUT for bucket in sorted(self.buckets))

    def change(self, bucket: int, before: int, after: int) -> int:
        """A key of `bucket` had the item hash `before` (0: it was not there) and has `after` (0: it is gone). Returns
        the bucket's new hash, to be stored with the row."""
        new = self.buckets.get(bucket, _NOTHING) ^ before ^ after
        if new == _NOTHING:
            self.buckets.pop(bucket, None)
        else:
            self.buckets[bucket] = new
        self._dirty[bucket // FANOUT] = None
        return new

    def root(self) -> int:
        """One hash for everything: equal roots, equal replicas."""
        return _combined(self.branches())

    def branches(self) -> list[int]:
        """The 64 hashes below the root."""
        for branch in self._dirty:
            self._branches[branch] = _combined(self.leaves(branch))
        self._dirty = {}
        return list(self._branches)

    def leaves(self, branch: int) -> list[int]:
        """The 64 bucket hashes below `branch`."""
        get = self.buckets.get
        return [get(bucket, _NOTHING) for bucket in range(branch * FANOUT, (branch + 1) * FANOUT)]


def differing(mine: Sequence[int], theirs: Sequence[int]) -> list[int]:
    """Indexes at which two lists of hashes differ."""
    return [index for index, (one, other) in enumerate(zip(mine, theirs, strict=True)) if one != other]


def rebuilt(items: Iterable[tuple[int, bytes, bytes]]) -> dict[int, int]:
    """Bucket hashes of (position, key, encoded versions), from scratch."""
    buckets: dict[int, int] = {}
    for position, key, versions in items:
        bucket = bucket_of(position)
        buckets[bucket] = buckets.get(bucket, _NOTHING) ^ item_hash(key, versions)
    return {bucket: value for bucket, value in buckets.items() if value != _NOTHING}


def pack_hash(value: int) -> bytes:
    """One hash as 16 bytes: it does not fit the integers of messages."""
    return value.to_bytes(HASH_BYTES, "big")


def unpack_hash(packed: bytes) -> int:
    """The inverse of `pack_hash`."""
    return int.from_bytes(packed, "big")


def pack(hashes: Sequence[int]) -> bytes:
    """64 hashes as 1,024 bytes; all zero as none."""
    return b"".join(value.to_bytes(HASH_BYTES, "big") for value in hashes) if any(hashes) else b""


def unpack(packed: bytes) -> list[int]:
    """The inverse of `pack`. Raises ValueError for another length."""
    if not packed:
        return [_NOTHING] * FANOUT
    if len(packed) != FANOUT * HASH_BYTES:
        raise ValueError(f"a packed level has {FANOUT * HASH_BYTES} bytes, not {len(packed)}")
    return [int.from_bytes(packed[at : at + HASH_BYTES], "big") for at in range(0, len(packed), HASH_BYTES)]


def _combined(hashes: Sequence[int]) -> int:
    if not any(hashes):
        return _NOTHING
    return int.from_bytes(blake2b(pack(hashes), digest_size=HASH_BYTES).digest(), "big")
