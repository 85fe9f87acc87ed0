"""Objects at rest on one node: their rows, the hints it keeps for others, and the Merkle leaves of both's truth.

Owns the layout (extent `OBJECT_EXTENT`; spaces OBJECTS, HINTS, TREES) and the rule that a row and its leaf change in
one batch. Whoever changes a row first appends a record of the same content to the node's log: the engine may lose what
it has not flushed, and a replay joins it again, as often as it likes.

Keys, big endian. OBJECTS: ring partition (u16), Merkle bucket (u16), name, so that a partition and a bucket of its tree
are ranges. HINTS: node (u16), ring partition (u16), name. TREES: ring partition (u16), Merkle bucket (u16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gramme.kernel.ids import NodeId
from gramme.objects.merkle import HASH_BYTES, Tree, bucket_of, item_hash, rebuilt
from gramme.objects.state import Name, State, decode_name, decode_state, encode_name, encode_state, joined
from gramme.placement.ring import POSITION_BITS, position_of
from gramme.storage.engine.contract import Batch, Engine
from gramme.storage.engine.rows import OBJECT_EXTENT, Space, row_prefix

_OBJECTS: Final = row_prefix(OBJECT_EXTENT, Space.OBJECTS)
_HINTS: Final = row_prefix(OBJECT_EXTENT, Space.HINTS)
_TREES: Final = row_prefix(OBJECT_EXTENT, Space.TREES)
_PART: Final = 2

LastWriteWins = Callable[[Name], bool]
"""Whether an object's bucket keeps one version only."""


class Place(NamedTuple):
    """Where an object belongs: partition of the ring, bucket of the partition's tree."""

    partition: int
    bucket: int


class Hint(NamedTuple):
    """What this node keeps for `node`, which was not reached."""

    node: NodeId
    partition: int
    name: Name
    state: State


class ObjectStore:
    """See the module. All writes go through the engine; `Stalled` is passed on and nothing is changed."""

    def __init__(self, engine: Engine, partitions: int, last_write_wins: LastWriteWins) -> None:
        self._engine = engine
        self._partitions = partitions
        self._last_write_wins = last_write_wins
        self._trees: dict[int, Tree] = {}

    # --- objects ------------------------------------------------------------------------------------------------------

    def place(self, name: Name) -> Place:
        """Where `name` belongs."""
        position = position_of(name.place, name.key)
        return Place(position * self._partitions >> POSITION_BITS, bucket_of(position))

    def get(self, name: Name) -> State | None:
        """What this node knows of `name`, None if nothing."""
        stored = self._engine.get(self._row(self.place(name), name))
        return None if stored is None else decode_state(stored)

    def join(self, name: Name, state: State) -> State | None:
        """What this node would know after hearing `state`; None if it knows all that already."""
        known = self.get(name)
        merged = joined(known, state, self._last_write_wins(name))
        return None if merged == known else merged

    def put(self, name: Name, state: State) -> None:
        """Replace what is known of `name` (by `join` of it)."""
        self._write(name, state)

    def reap(self, name: Name) -> None:
        """Forget `name` altogether: the last trace of a deletion that every replica has."""
        self._write(name, None)

    def _write(self, name: Name, state: State | None) -> None:
        place = self.place(name)
        row = self._row(place, name)
        key = encode_name(name)
        before = self._engine.get(row)
        after = None if state is None else encode_state(state)
        tree = self.tree(place.partition)
        old_hash = 0 if before is None else item_hash(key, before)
        new_hash = 0 if after is None else item_hash(key, after)
        leaf = tree.buckets.get(place.bucket, 0) ^ old_hash ^ new_hash
        batch = Batch()
        if after is None:
            batch.delete(row)
        else:
            batch.put(row, after)
        _put_leaf(batch, place, leaf)
        self._engine.write(batch)
        tree.change(place.bucket, old_hash, new_hash)  # only now: a stalled engine has changed nothing

    def of_partition(self, partition: int, after: bytes = b"") -> Iterator[tuple[bytes, Name, State]]:
        """(cursor, name, state) of each object of a ring partition behind the cursor `after`, in the order of rows."""
        prefix = _OBJECTS + partition.to_bytes(_PART, "big")
        start = prefix + after + b"\0" if after else prefix
        for row, stored in self._engine.scan(start, _end(prefix)):
            yield row[len(prefix) :], decode_name(row[len(prefix) + _PART :]), decode_state(stored)

    def of_bucket(self, partition: int, bucket: int) -> Iterator[tuple[Name, bytes]]:
        """(name, encoded state) of each object of one bucket of a partition's tree."""
        prefix = _OBJECTS + partition.to_bytes(_PART, "big") + bucket.to_bytes(_PART, "big")
        for row, stored in self._engine.scan(prefix, _end(prefix)):
            yield decode_name(row[len(prefix) :]), stored

    def drop_partition(self, partition: int) -> None:
        """Forget a ring partition that this node no longer keeps, and that others have confirmed to have."""
        batch = Batch()
        for space in (_OBJECTS, _TREES):
            prefix = space + partition.to_bytes(_PART, "big")
            batch.delete_range(prefix, _end(prefix))
        self._engine.write(batch)
        self._trees.pop(partition, None)

    def _row(self, place: Place, name: Name) -> bytes:
        return (
            _OBJECTS + place.partition.to_bytes(_PART, "big") + place.bucket.to_bytes(_PART, "big") + encode_name(name)
        )

    # --- trees --------------------------------------------------------------------------------------------------------

    def tree(self, partition: int) -> Tree:
        """The tree of a ring partition, from its stored leaves."""
        tree = self._trees.get(partition)
        if tree is None:
            prefix = _TREES + partition.to_bytes(_PART, "big")
            leaves = {
                int.from_bytes(row[len(prefix) :], "big"): int.from_bytes(stored, "big")
                for row, stored in self._engine.scan(prefix, _end(prefix))
            }
            tree = self._trees[partition] = Tree(leaves)
        return tree

    def check_bucket(self, partition: int, bucket: int) -> bool:
        """Compare a stored leaf with the rows it speaks of; where they disagree, put it right and say False (row A23: a
        damaged tree never hides a difference for ever)."""
        items = [(bucket, encode_name(name), stored) for name, stored in self.of_bucket(partition, bucket)]
        true = rebuilt(items).get(bucket, 0)
        tree = self.tree(partition)
        stored_hash = tree.buckets.get(bucket, 0)
        if true == stored_hash:
            return True
        batch = Batch()
        _put_leaf(batch, Place(partition, bucket), true)
        self._engine.write(batch)
        tree.change(bucket, stored_hash, true)
        return False

    # --- hints --------------------------------------------------------------------------------------------------------

    def hint(self, node: NodeId, name: Name) -> State | None:
        """What is kept for `node` under `name`."""
        stored = self._engine.get(self._hint_row(node, name))
        return None if stored is None else decode_state(stored)

    def keep_hint(self, node: NodeId, name: Name, state: State) -> None:
        """Keep `state` for `node`, joined with what is kept already."""
        batch = Batch()
        batch.put(self._hint_row(node, name), encode_state(joined(self.hint(node, name), state)))
        self._engine.write(batch)

    def drop_hint(self, node: NodeId, name: Name, delivered: State) -> bool:
        """`node` has durably confirmed `delivered`. False (and nothing is done) if more was kept since."""
        kept = self.hint(node, name)
        if kept is not None and joined(delivered, kept) != delivered:
            return False
        batch = Batch()
        batch.delete(self._hint_row(node, name))
        self._engine.write(batch)
        return True

    def hints(self, node: NodeId) -> Iterator[Hint]:
        """What is kept for `node`, by partition and name."""
        prefix = _HINTS + node.to_bytes(_PART, "big")
        for row, stored in self._engine.scan(prefix, _end(prefix)):
            rest = row[len(prefix) :]
            partition = int.from_bytes(rest[:_PART], "big")
            yield Hint(node, partition, decode_name(rest[_PART:]), decode_state(stored))

    def hinted_nodes(self) -> list[NodeId]:
        """The nodes for which anything is kept, ascending."""
        nodes: list[NodeId] = []
        start = _HINTS
        while (row := next(iter(self._engine.scan(start, _end(_HINTS))), None)) is not None:
            node = NodeId(int.from_bytes(row[0][len(_HINTS) : len(_HINTS) + _PART], "big"))
            nodes.append(node)
            start = _end(_HINTS + node.to_bytes(_PART, "big"))
        return nodes

    def _hint_row(self, node: NodeId, name: Name) -> bytes:
        partition = self.place(name).partition
        return _HINTS + node.to_bytes(_PART, "big") + partition.to_bytes(_PART, "big") + encode_name(name)


def _put_leaf(batch: Batch, place: Place, leaf: int) -> None:
    row = _TREES + place.partition.to_bytes(_PART, "big") + place.bucket.to_bytes(_PART, "big")
    if leaf:
        batch.put(row, leaf.to_bytes(HASH_BYTES, "big"))
    else:
        batch.delete(row)


def _end(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix` (none of ours is all 0xff)."""
    return (int.from_bytes(prefix, "big") + 1).to_bytes(len(prefix), "big")
