"""Where dots come from: numbers that a node never gives twice, and the epochs in which it may count on.

Owns the rule of REPLICATION.md §9. A dot that is used twice swallows a write silently, and so does one that claims to
have seen what its node has lost (Riak's issue kv679): a version vector says "all of this actor's dots up to here", so a
node may add to an actor only while it knows everything that the actor has written to that key. Hence:

- Numbers come from one counter of the node, reserved in blocks that are durable before their first number is used; a
  node that starts goes on behind the last block reserved, whatever of it was used; and where the log is damaged behind
  it, by a leap that blocks which may be lost there do not reach.
- An actor is (node, epoch), the epoch a number from the same counter. A primary's write goes on with the node's newest
  actor in the key's vector if there is one and it is *trusted*; else it begins a new actor.
- A stand-in's actors are its own kind, and each belongs to one hint for as long as that is kept: what it has handed
  off, or keeps for another primary, it may hear again in part, and going on with an actor of then it would claim the
  rest. So a hint's first number begins a new actor, and no row ever goes on with one of a stand-in (decision 0074).
- After a stop that was not clean, or where the log is damaged or the rows are gone, what this node wrote last may be
  missing here and be known elsewhere: actors from before are no longer trusted. Nor are they once rows were given away
  (`distrust`), which may come back in part.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.ids import NodeId
from gramme.objects.versions import STAND_IN, Actor, Dot, Vector, actor_epoch, actor_node, make_actor, stands_in

BLOCK: Final = 100_000
_AHEAD: Final = BLOCK // 2
LEAP: Final = 1 << 42
"""Below this a number is drawn that is passed over where blocks reserved last may be lost (see
`gramme.node.objects.node_objects`): that those and the next blocks overlap has a chance of a millionth or less while
they hold some million numbers, and an actor has room for sixty such losses of one node."""


class DotSource:
    """See the module. `reserved`: the end of the last block that the log shows (0: none). `clean`: the node's last stop
    left nothing undone that it had said or sent."""

    def __init__(self, me: NodeId, reserved: int, clean: bool, trusted_from: int = 0) -> None:
        self._me = me
        self._next = reserved + 1
        self._usable = reserved  # numbers up to here stand in a durable block
        self._asked = reserved
        self.closed = False
        self.trusted_from = trusted_from if clean else reserved + 1

    def wanted(self) -> int | None:
        """The end of the block that should be made durable now, None if enough is. Asked for once."""
        if self._asked - self._next >= _AHEAD:
            return None
        self._asked += BLOCK
        return self._asked

    def reserved(self, end: int) -> None:
        """The block that ends with `end` is durable."""
        self._usable = max(self._usable, end)

    def close(self) -> None:
        """No write is given a dot any more: the node stops, and is about to say that it owes nobody anything."""
        self.closed = True

    @property
    def ready(self) -> bool:
        """Whether a write can be given a dot: two numbers are left."""
        return not self.closed and self._next + 1 <= self._usable

    def distrust(self) -> None:
        """This node gives away rows that it had: of what its actors wrote there it may hear a part again. Make
        `reservation` durable with that."""
        self.trusted_from = self._next

    @property
    def reservation(self) -> tuple[int, int]:
        """What the log must say: the end of the last block asked for, and the epoch from which actors are trusted."""
        return self._asked, self.trusted_from

    def dot(self, seen: Vector) -> Dot:
        """The dot of a write to a key of which this node, a primary, knows `seen`. Call it only while `ready`."""
        mine = [e.actor for e in seen if self._is_trusted(e.actor) and not stands_in(e.actor)]
        actor = max(mine, default=None)
        return Dot(make_actor(self._me, self._draw()) if actor is None else actor, self._draw())

    def stand_in_dot(self, seen: Vector, own: Actor | None) -> Dot:
        """The dot of a write that this node keeps for another: `seen` is what the hint knows already, `own` the actor
        that this node has begun since it keeps the hint. Call it only while `ready`."""
        if own is not None and self._is_trusted(own) and any(entry.actor == own for entry in seen):
            return Dot(own, self._draw())
        return Dot(make_actor(self._me, self._draw() | STAND_IN), self._draw())

    def _is_trusted(self, actor: Actor) -> bool:
        """An epoch above all numbers drawn is of a life whose reservation was lost: it had leapt further."""
        return actor_node(actor) == self._me and self.trusted_from <= actor_epoch(actor) < self._next

    def _draw(self) -> int:
        assert self._next <= self._usable, "a number of a block that is not durable yet"
        self._next += 1
        return self._next - 1
