"""What names there are: a walk through everything that is stored, for those who maintain a cluster.

One primary of each section is asked for the names in it, page by page; together they cover the ring. Whoever passes
the names on as they come asks for one page after the other itself (`page`), and need not keep them. What was written
a moment ago may be missing, as in any read of one replica. Rule: bounded pages, and no answer at all where a part of
the ring cannot be reached: half a list looks like a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.ids import NodeId
from gramme.kernel.ports import Randomness
from gramme.kernel.time import Instant, Timestamp
from gramme.objects.coordinator import Answered
from gramme.objects.expiry import shown
from gramme.objects.messages import Listed, ListNames, NamesListed
from gramme.objects.store import ObjectStore, Section
from gramme.objects.versions import Versions

PAGE_NAMES: Final = 1_000
PAGE_ROWS: Final = 5_000
MOST_NAMES: Final = 1_000_000


class NamesAt(NamedTuple):
    """How far a list has come: the section whose names come next, and the cursor in it."""

    section: Section = Section(0, 0)
    after: bytes = b""


Page = tuple[list[bytes], NamesAt | None]
"""Some of the names, in no order, and where to go on (None: that was all). May be empty."""


class _Walk:
    __slots__ = ("bucket", "deadline", "names", "paged", "type", "waiting")

    def __init__(self, type_: bytes, bucket: bytes | None, deadline: Instant, paged: bool = False) -> None:
        self.paged = paged  # one page is all that is wanted
        self.type = type_
        self.bucket = bucket
        self.deadline = deadline
        self.names: dict[bytes, None] = {}
        self.waiting: dict[Section, NodeId] = {}


class Listing:
    """See the module. `plan` gives for each section who is to be asked, None if one has nobody left."""

    def __init__(
        self,
        store: ObjectStore,
        plan: Callable[[], Sequence[tuple[Section, NodeId]] | None],
        rng: Randomness,
        wall: Callable[[], Timestamp],
    ) -> None:
        self._store = store
        self._wall = wall
        self._plan = plan
        self._walks: dict[int, _Walk] = {}
        self._next_id = rng.randrange(1 << 48)

    def submit(self, type_: bytes, bucket: bytes | None, deadline: Instant) -> tuple[int, Effects]:
        """Begin a walk: its number, and what to do at first. `Answered` comes once, with a `Listed`."""
        self._next_id += 1
        out = Effects()
        plan = self._plan()
        if plan is None:
            out.outputs.append(Answered(self._next_id, Listed(None)))
            return self._next_id, out
        walk = self._walks[self._next_id] = _Walk(type_, bucket, deadline)
        for section, node in plan:
            walk.waiting[section] = node
            out.sends.append((node, ListNames(self._next_id, section, type_, bucket)))
        return self._next_id, out

    def page(
        self, place: tuple[Section, NodeId], type_: bytes, bucket: bytes | None, after: bytes, deadline: Instant
    ) -> tuple[int, Effects]:
        """Begin to fetch one page of one section, behind the cursor `after`, from one node; otherwise as `submit`."""
        section, node = place
        self._next_id += 1
        walk = self._walks[self._next_id] = _Walk(type_, bucket, deadline, paged=True)
        walk.waiting[section] = node
        return self._next_id, Effects(sends=[(node, ListNames(self._next_id, section, type_, bucket, after))])

    def next_deadline(self) -> Instant | None:
        """When the first walk is out of time."""
        return min((walk.deadline for walk in self._walks.values()), default=None)

    def tick(self, now: Instant) -> Effects:
        """Give up on what is out of time."""
        out = Effects()
        for id_, walk in list(self._walks.items()):
            if now >= walk.deadline:
                self._end(id_, None, out)
        return out

    def lost(self, node: NodeId) -> Effects:
        """Nothing more will come from `node`."""
        out = Effects()
        for id_, walk in list(self._walks.items()):
            if node in walk.waiting.values():
                self._end(id_, None, out)
        return out

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """A walk of another node, or a page for one of this node's."""
        if isinstance(message, ListNames):
            return Effects(sends=[(source, self._page(message))])
        out = Effects()
        walk = self._walks.get(message.id) if isinstance(message, NamesListed) else None
        if walk is None or walk.waiting.get(message.section) != source:
            return out
        if walk.paged:
            self._end(message.id, message.names, out, message.after)
            return out
        walk.names.update(dict.fromkeys(message.names))
        if len(walk.names) > MOST_NAMES:
            self._end(message.id, None, out)
        elif message.after:
            request = ListNames(message.id, message.section, walk.type, walk.bucket, message.after)
            out.sends.append((source, request))
        else:
            del walk.waiting[message.section]
            if not walk.waiting:
                self._end(message.id, sorted(walk.names), out)
        return out

    def _end(self, id_: int, names: list[bytes] | None, out: Effects, after: bytes = b"") -> None:
        del self._walks[id_]
        out.outputs.append(Answered(id_, Listed(names, after)))

    def _page(self, message: ListNames) -> NamesListed:
        """Names of one section behind a cursor: of objects that exist, or of buckets that hold any."""
        found: dict[bytes, None] = {}
        for rows, (cursor, name, state) in enumerate(self._store.of_section(message.section, message.after), 1):
            gone = isinstance(state, Versions) and shown(state, self._wall()).deleted
            if name.type == message.bucket_type and not gone and message.bucket in (None, name.bucket):
                found[name.bucket if message.bucket is None else name.key] = None
            if len(found) == PAGE_NAMES or rows == PAGE_ROWS:
                return NamesListed(message.id, message.section, list(found), cursor)
        return NamesListed(message.id, message.section, list(found))
