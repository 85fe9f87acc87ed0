"""Where dots come from: numbers that a node never gives twice, and the epochs in which it may count on.

Owns the rule of REPLICATION.md §9. A dot that is used twice swallows a write silently, and so does one that claims to
have seen what its node has lost (Riak's issue kv679): a version vector says "all of this actor's dots up to here", so a
node may add to an actor only while it knows everything that the actor has written to that key. Hence:

- Numbers come from one counter of the node, reserved in blocks that are durable before their first number is used; a
  node that starts goes on behind the last block reserved, whatever of it was used.
- An actor is (node, epoch), the epoch a number from the same counter. A write goes on with the node's newest actor in
  the key's vector if there is one and it is *trusted*; else it begins a new actor. So a node that coordinates for a key
  whose copy it has handed off, or lost, begins anew.
- After a stop that was not clean, or where the log is damaged, what this node wrote last may be missing here and be
  known elsewhere: actors from before are no longer trusted.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.ids import NodeId
from gramme.objects.versions import Actor, Dot, Vector, actor_epoch, actor_node, make_actor

BLOCK: Final = 100_000
_AHEAD: Final = BLOCK // 2


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

    def dot(self, seen: Vector) -> Dot:
        """The dot of a write to a key of which this node knows `seen`. Call it only while `ready`."""
        mine = [e.actor for e in seen if actor_node(e.actor) == self._me and actor_epoch(e.actor) >= self.trusted_from]
        actor = max(mine, default=None)
        return Dot(Actor(make_actor(self._me, self._draw())) if actor is None else actor, self._draw())

    def _draw(self) -> int:
        assert self._next <= self._usable, "a number of a block that is not durable yet"
        self._next += 1
        return self._next - 1
