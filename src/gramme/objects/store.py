"""Objects at rest on one node: their rows, the hints it keeps for others, and the Merkle leaves of both's truth.

Owns the layout (extent `OBJECT_EXTENT`; spaces OBJECTS, HINTS, TREES) and the rule that a row and its leaf change in
one batch. Whoever changes a row first appends a record of the same content to the node's log: the engine may lose what
it has not flushed, and a replay joins it again, as often as it likes.

A row whose state is bare (a version vector, no value: `gramme.objects.reaping`) is in no tree: to have it, or to have
nothing, is the same to everybody but the node itself.

A *section* is (ring partition, n): the objects of one partition whose buckets keep n replicas. All of a section has the
same replicas, so there is one tree for each. A bucket whose n has changed has objects in two sections until they are
written again.

Keys, big endian. OBJECTS: ring partition (u16), n (u8), Merkle bucket (u16), name, so that a section and a bucket of
its tree are ranges. HINTS: node (u16), ring partition (u16), name. TREES: ring partition (u16), n (u8), Merkle bucket
(u16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gramme.kernel.errors import Stalled
from gramme.kernel.ids import NodeId
from gramme.objects.merkle import HASH_BYTES, Tree, bucket_of, item_hash, rebuilt
from gramme.objects.state import Name, State, decode_name, decode_state, encode_name, encode_state, is_bare, joined
from gramme.objects.versions import Versions
from gramme.placement.ring import POSITION_BITS, position_of
from gramme.storage.engine.contract import Batch, Engine
from gramme.storage.engine.rows import OBJECT_EXTENT, Space, row_prefix

_OBJECTS: Final = row_prefix(OBJECT_EXTENT, Space.OBJECTS)
_HINTS: Final = row_prefix(OBJECT_EXTENT, Space.HINTS)
_TREES: Final = row_prefix(OBJECT_EXTENT, Space.TREES)
_MARK: Final = row_prefix(OBJECT_EXTENT, Space.META)
_PART: Final = 2


class Keeping(NamedTuple):
    """How an object is kept: replicas, and whether only the last write is. `former`: other numbers of replicas under
    which the bucket's objects may still stand. `buffered`: what nobody wants fsynced may be written later (row A42)."""

    n: int = 3
    last_write_wins: bool = False
    former: tuple[int, ...] = ()
    buffered: bool = False


class Section(NamedTuple):
    """Objects that have the same replicas."""

    partition: int
    n: int


class Place(NamedTuple):
    """Where an object stands: its section, and the bucket of the section's tree."""

    section: Section
    bucket: int

    @property
    def prefix(self) -> bytes:
        """Of its rows behind the space: section, bucket."""
        return _section(self.section) + self.bucket.to_bytes(_PART, "big")


class Oversized(Stalled):
    """What is known of one key, joined, would be more than a log record or a frame holds. Nothing has changed."""


class Hint(NamedTuple):
    """What this node keeps for `node`, which was not reached."""

    node: NodeId
    partition: int
    name: Name
    state: State


class ObjectStore:
    """See the module. All writes go through the engine; `Stalled` is passed on and nothing is changed."""

    def __init__(self, engine: Engine, partitions: int, keeping: Callable[[Name], Keeping]) -> None:
        self._engine = engine
        self._partitions = partitions
        self._keeping = keeping
        self._trees: dict[Section, Tree] = {}
        self._hints_kept: int | None = None  # None: not counted yet

    @property
    def marked(self) -> bool:
        """Whether this engine is one that `mark` was called for, not an empty one in its place."""
        return self._engine.get(_MARK) is not None

    def mark(self) -> None:
        """Every change in the log is in the rows. Raises Stalled."""
        if not self.marked:
            batch = Batch()
            batch.put(_MARK, b"")
            self._engine.write(batch)

    # --- objects ------------------------------------------------------------------------------------------------------

    def place(self, name: Name) -> Place:
        """Where `name` belongs."""
        return self._place(name, self._keeping(name).n)

    def _place(self, name: Name, n: int) -> Place:
        position = position_of(name.place, name.key)
        return Place(Section(position * self._partitions >> POSITION_BITS, n), bucket_of(position))

    def get(self, name: Name) -> State | None:
        """What this node knows of `name`, None if nothing."""
        keeping = self._keeping(name)
        state = self._get(name, keeping.n)
        for n in keeping.former:
            older = self._get(name, n)
            if older is not None:
                state = joined(state, older, keeping.last_write_wins)
        return state

    def _get(self, name: Name, n: int) -> State | None:
        stored = self._engine.get(_row(self._place(name, n), name))
        return None if stored is None else decode_state(stored)

    def join(self, name: Name, state: State) -> State | None:
        """What this node would know after hearing `state`; None if it knows all that already."""
        known = self.get(name)
        merged = joined(known, state, self._keeping(name).last_write_wins)
        if known is None and isinstance(merged, Versions) and merged.bare:
            return None  # of nothing, nothing is left
        return None if merged == known else merged

    def put(self, name: Name, state: State, most: int | None = None) -> None:
        """Replace what is known of `name` (by `join` of it). Raises Oversized if that is more than `most` bytes."""
        keeping = self._keeping(name)
        self._write(self._place(name, keeping.n), name, _within(most, encode_state(state)))
        for n in keeping.former:
            self._write(self._place(name, n), name, None)

    def reap(self, name: Name) -> None:
        """Forget `name` altogether, unless more than a bare vector is known of it (again)."""
        for place in self._places(name):
            stored = self._engine.get(_row(place, name))
            if stored is not None and is_bare(stored):
                self._write(place, name, None)

    def rows(self, name: Name) -> list[bytes]:
        """The encoded states that stand here under `name`: more than one where the bucket's n has changed."""
        found = (self._engine.get(_row(place, name)) for place in self._places(name))
        return [stored for stored in found if stored is not None]

    def _places(self, name: Name) -> list[Place]:
        keeping = self._keeping(name)
        return [self._place(name, n) for n in (keeping.n, *keeping.former)]

    def _write(self, place: Place, name: Name, after: bytes | None) -> None:
        row = _row(place, name)
        before = self._engine.get(row)
        if before == after:
            return
        key = encode_name(name)
        tree = self.tree(place.section)
        old_hash = 0 if before is None or is_bare(before) else item_hash(key, before)
        new_hash = 0 if after is None or is_bare(after) else item_hash(key, after)
        leaf = tree.buckets.get(place.bucket, 0) ^ old_hash ^ new_hash
        batch = Batch()
        if after is None:
            batch.delete(row)
        else:
            batch.put(row, after)
        _put_leaf(batch, place, leaf)
        self._engine.write(batch)
        tree.change(place.bucket, old_hash, new_hash)  # only now: a stalled engine has changed nothing

    def is_buffered(self, name: Name) -> bool:
        """Whether copies of `name` that nobody waits for need not be written soon."""
        return self._keeping(name).buffered

    def sections(self) -> list[Section]:
        """The sections of which anything is kept, ascending."""
        found: list[Section] = []
        start = _OBJECTS
        while (row := next(iter(self._engine.scan(start, _end(_OBJECTS))), None)) is not None:
            at = len(_OBJECTS)
            section = Section(int.from_bytes(row[0][at : at + _PART], "big"), row[0][at + _PART])
            found.append(section)
            start = _end(_OBJECTS + _section(section))
        return found

    def of_section(self, section: Section, after: bytes = b"") -> Iterator[tuple[bytes, Name, State]]:
        """(cursor, name, state) of each object of a section behind the cursor `after`, in the order of rows."""
        prefix = _OBJECTS + _section(section)
        start = prefix + after + b"\0" if after else prefix
        for row, stored in self._engine.scan(start, _end(prefix)):
            yield row[len(prefix) :], decode_name(row[len(prefix) + _PART :]), decode_state(stored)

    def all_rows(self, after: bytes = b"") -> Iterator[tuple[bytes, Section, Name, bytes]]:
        """(cursor, section, name, encoded state) of everything kept here behind the cursor `after`."""
        start = _OBJECTS + after + b"\0" if after else _OBJECTS
        for row, stored in self._engine.scan(start, _end(_OBJECTS)):
            cursor = row[len(_OBJECTS) :]
            section = Section(int.from_bytes(cursor[:_PART], "big"), cursor[_PART])
            yield cursor, section, decode_name(cursor[2 * _PART + 1 :]), stored

    def of_bucket(self, place: Place) -> Iterator[tuple[Name, bytes]]:
        """(name, encoded state) of each object of one bucket of a section's tree."""
        prefix = _OBJECTS + place.prefix
        for row, stored in self._engine.scan(prefix, _end(prefix)):
            yield decode_name(row[len(prefix) :]), stored

    def drop_section(self, section: Section) -> None:
        """Forget a section that this node no longer keeps, and that others have confirmed to have."""
        batch = Batch()
        for space in (_OBJECTS, _TREES):
            prefix = space + _section(section)
            batch.delete_range(prefix, _end(prefix))
        self._engine.write(batch)
        self._trees.pop(section, None)

    # --- trees --------------------------------------------------------------------------------------------------------

    def tree(self, section: Section) -> Tree:
        """The tree of a section, from its stored leaves."""
        tree = self._trees.get(section)
        if tree is None:
            prefix = _TREES + _section(section)
            leaves = {
                int.from_bytes(row[len(prefix) :], "big"): int.from_bytes(stored, "big")
                for row, stored in self._engine.scan(prefix, _end(prefix))
            }
            tree = self._trees[section] = Tree(leaves)
        return tree

    def check_bucket(self, place: Place) -> bool:
        """Compare a stored leaf with the rows it speaks of; where they disagree, put it right and say False (row A23: a
        damaged tree never hides a difference for ever)."""
        rows = self.of_bucket(place)
        items = [(place.bucket, encode_name(name), stored) for name, stored in rows if not is_bare(stored)]
        true = rebuilt(items).get(place.bucket, 0)
        tree = self.tree(place.section)
        stored_hash = tree.buckets.get(place.bucket, 0)
        if true == stored_hash:
            return True
        batch = Batch()
        _put_leaf(batch, place, true)
        try:
            self._engine.write(batch)
        except Stalled:
            return False  # the next look at it puts it right
        tree.change(place.bucket, stored_hash, true)
        return False

    # --- hints --------------------------------------------------------------------------------------------------------

    def hint(self, node: NodeId, name: Name) -> State | None:
        """What is kept for `node` under `name`."""
        stored = self._engine.get(self._hint_row(node, name))
        return None if stored is None else decode_state(stored)

    def keep_hint(self, node: NodeId, name: Name, state: State, most: int | None = None) -> None:
        """Keep `state` for `node`, joined with what is kept already. Raises Oversized as `put`."""
        kept = self.hint(node, name)
        batch = Batch()
        batch.put(self._hint_row(node, name), _within(most, encode_state(joined(kept, state))))
        self._engine.write(batch)
        if kept is None and self._hints_kept is not None:
            self._hints_kept += 1

    def drop_hint(self, node: NodeId, name: Name, delivered: State) -> bool:
        """`node` has durably confirmed `delivered`. False (and nothing is done) if more was kept since."""
        kept = self.hint(node, name)
        if kept is not None and joined(delivered, kept) != delivered:
            return False
        batch = Batch()
        batch.delete(self._hint_row(node, name))
        self._engine.write(batch)
        if kept is not None and self._hints_kept is not None:
            self._hints_kept -= 1
        return True

    @property
    def hints_kept(self) -> int:
        """How many hints this node keeps, for all nodes together. Counted when it is first asked for."""
        if self._hints_kept is None:
            self._hints_kept = sum(1 for _ in self._engine.scan(_HINTS, _end(_HINTS)))
        return self._hints_kept

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
        partition = self.place(name).section.partition
        return _HINTS + node.to_bytes(_PART, "big") + partition.to_bytes(_PART, "big") + encode_name(name)


def _within(most: int | None, stored: bytes) -> bytes:
    if most is not None and len(stored) > most:
        raise Oversized(f"what is known of a key would have {len(stored)} bytes, the limit is {most}")
    return stored


def _row(place: Place, name: Name) -> bytes:
    return _OBJECTS + place.prefix + encode_name(name)


def _section(section: Section) -> bytes:
    return section.partition.to_bytes(_PART, "big") + section.n.to_bytes(1, "big")


def _put_leaf(batch: Batch, place: Place, leaf: int) -> None:
    row = _TREES + place.prefix
    if leaf:
        batch.put(row, leaf.to_bytes(HASH_BYTES, "big"))
    else:
        batch.delete(row)


def _end(prefix: bytes) -> bytes:
    """The first key behind all that begin with `prefix` (none of ours is all 0xff)."""
    return (int.from_bytes(prefix, "big") + 1).to_bytes(len(prefix), "big")
