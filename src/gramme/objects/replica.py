"""What a node does as a replica: keep and hand out states, for itself or as somebody's stand-in.

Owns the log records of objects. Rules: what changes a row is in the log too, and `Kept(durable)` leaves when the log is
durable; what is kept for another node is a hint and no replica, but a reader who finds nobody better is told of it
(SOSP 2007, §4.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Corruption, Stalled
from gramme.kernel.ids import NO_NODE, Ballot, GroupId, NodeId, Slot
from gramme.kernel.record import Record, RecordKind
from gramme.kernel.time import Timestamp
from gramme.objects.bounds import MAX_STATE_BYTES
from gramme.objects.dots import DotSource
from gramme.objects.expiry import without_expired
from gramme.objects.messages import Fetch, Fetched, HandedOff, HandOff, Keep, Kept, NotKept
from gramme.objects.state import Name, State, decode_state, encode_state, joined, seen
from gramme.objects.store import ObjectStore, Oversized, Section
from gramme.objects.versions import Actor, Versions, truncated


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    pass


class Joined(_Entry, tag="Joined", frozen=True):
    """`state` was joined under `name`, or to what is kept for `stands_for`."""

    name: Name
    state: bytes
    stands_for: NodeId = NO_NODE


class Delivered(_Entry, tag="Delivered", frozen=True):
    """`node` has confirmed `state`: no hint of it is needed any more."""

    node: NodeId
    name: Name
    state: bytes


class Reaped(_Entry, tag="Reaped", frozen=True):
    """Nothing was known of `name` but a bare vector, and now not even that."""

    name: Name


class Left(_Entry, tag="Left", frozen=True):
    """This node no longer keeps this section."""

    section: Section


class Reserved(_Entry, tag="Reserved", frozen=True):
    """Numbers for dots up to `end` may be used, and actors from `trusted_from` on are known whole
    (`gramme.objects.dots`)."""

    end: int
    trusted_from: int


class Configured(_Entry, tag="Configured", frozen=True):
    """The newest configuration that this node has heard of (`gramme.objects.config`)."""

    config: bytes


class Stopped(_Entry, tag="Stopped", frozen=True):
    """The node stops here, and owes nobody anything: the last record of a clean log."""


ObjectEntry = Joined | Delivered | Reaped | Left | Reserved | Configured | Stopped
"""Bodies of OBJECT records. What takes something away is logged like what adds: else a replay would bring it back."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[ObjectEntry]] = msgspec.msgpack.Decoder(ObjectEntry)


def object_record(entry: ObjectEntry) -> Record:
    """The log record of `entry`."""
    return Record(RecordKind.OBJECT, GroupId(0), Slot(0), Ballot(0), 0, 0, _encode(entry))


def decode_entry(body: bytes) -> ObjectEntry:
    """The inverse. Raises Corruption."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Corruption(f"an object's log record does not decode: {error}") from error


MOST_ACTORS: Final = 100_000
"""Of how many hints a node remembers which actor numbers their writes."""


class ObjectReplica:
    """See the module. `full` says that there is no room for more, on the disk or in the log's queue; `over`: values
    that expired before this time have expired by everybody's clock."""

    def __init__(
        self,
        me: NodeId,
        store: ObjectStore,
        dots: DotSource,
        full: Callable[[], bool],
        over: Callable[[], Timestamp],
    ) -> None:
        self._me = me
        self._dots = dots
        self._full = full
        self._over = over
        self._own: dict[tuple[NodeId, Name], Actor] = {}
        self.store = store
        self.kept = 0
        self.refused = 0
        self.read = 0
        self.truncated = 0  # vectors of which something was dropped when another was joined to them
        self.lapsed = 0
        self.oversized = 0

    def known(self, name: Name) -> State | None:
        """What this node can tell a reader: its own copy, and what it keeps for others."""
        self.read += 1
        state = self.store.get(name)
        for node in self.store.hinted_nodes():
            hint = self.store.hint(node, name)
            if hint is not None:
                state = joined(state, hint)
        return state

    def keep(self, name: Name, state: State, stands_for: NodeId, out: Effects) -> None:
        """Join `state` to what is known (or kept for `stands_for`). Raises Stalled, and changes nothing, if there is no
        room, the engine is behind, or too much would be known together (`gramme.objects.bounds`)."""
        if self._full():
            raise Stalled("this node takes no more until space is free")
        if stands_for == self._me:
            stands_for = NO_NODE
        try:
            news = self._join(name, state, stands_for, MAX_STATE_BYTES)
        except Oversized:
            self.oversized += 1
            raise
        if news:
            self.kept += 1
            out.records.append(object_record(Joined(name, encode_state(state), stands_for)))

    def _join(self, name: Name, state: State, stands_for: NodeId, most: int | None = None) -> bool:
        """Whether anything was news. `most`: bytes that may be known of a key; what the log holds was within them."""
        if stands_for != NO_NODE:
            kept = self.store.hint(stands_for, name)
            if joined(kept, state) == kept:
                return False
            self.store.keep_hint(stands_for, name, state, most)
            return True
        merged = self.store.join(name, state)
        if merged is not None:
            self.store.put(name, merged, most)
            self.truncated += isinstance(merged, Versions) and truncated(merged.seen, seen(state))
        return merged is not None

    def own_actor(self, stands_for: NodeId, name: Name) -> Actor | None:
        """The actor that this node has begun since it keeps what it keeps for `stands_for` under `name`."""
        return self._own.get((stands_for, name))

    def began(self, stands_for: NodeId, name: Name, actor: Actor) -> None:
        """This node numbers writes of that hint with `actor` from now on. Of the many that an outage may leave, the
        oldest are forgotten, and so are all at a restart: that costs an entry of a vector, no more."""
        self._own[stands_for, name] = actor
        if len(self._own) > MOST_ACTORS:
            del self._own[next(iter(self._own))]

    def delivered(self, node: NodeId, name: Name, state: State, out: Effects) -> None:
        """`node` has `state` durably: the hint goes, unless more was kept since."""
        if self.store.drop_hint(node, name, state):
            self._own.pop((node, name), None)
            out.records.append(object_record(Delivered(node, name, encode_state(state))))

    def lapse(self, name: Name, state: State, out: Effects) -> None:
        """Of values in `state`, this node's row, whose time is over, keep no more than a deletion."""
        left = without_expired(state, self._over())
        if left is not state:
            try:
                self.keep(name, left, NO_NODE, out)
            except Stalled:
                return  # the next sweep
            self.lapsed += 1

    def reap(self, name: Name, out: Effects) -> None:
        """Nobody knows more of `name` than a bare vector (`gramme.objects.reaping`): forget it."""
        self.store.reap(name)
        out.records.append(object_record(Reaped(name)))

    def leave(self, section: Section, out: Effects) -> None:
        """Whoever keeps `section` now has confirmed all of it: forget it. Should it come back, then in part at first:
        no actor from before goes on there."""
        self.store.drop_section(section)
        self._dots.distrust()
        out.records += [object_record(Left(section)), object_record(Reserved(*self._dots.reservation))]

    def on_keep(self, source: NodeId, message: Keep) -> Effects:
        """A coordinator's, or a peer's that hands off or repairs."""
        out = Effects()
        try:
            self.keep(message.name, decode_state(message.state), message.stands_for, out)
        except Stalled:
            self.refused += 1
            return Effects(sends=[(source, NotKept(message.id))])
        if message.durable:
            out.sends_durable.append((source, Kept(message.id, durable=True)))
        else:
            out.sends.append((source, Kept(message.id, durable=False)))
            out.unhurried = self.store.is_buffered(message.name)
        return out

    def on_hand_off(self, source: NodeId, message: HandOff) -> Effects:
        """What somebody kept for this node."""
        out = Effects()
        try:
            self.keep(message.name, decode_state(message.state), NO_NODE, out)
        except Stalled:
            return Effects(sends=[(source, HandedOff(message.id, refused=True))])
        out.sends_durable.append((source, HandedOff(message.id)))
        return out

    def on_fetch(self, source: NodeId, message: Fetch) -> Effects:
        """A reader's."""
        state = self.known(message.name)
        return Effects(sends=[(source, Fetched(message.id, None if state is None else encode_state(state)))])

    def replay(self, entries: Iterable[ObjectEntry]) -> None:
        """After a restart: what happened to the rows, in the order of the log. What they have already changes
        nothing."""
        for entry in entries:
            match entry:
                case Joined(name, state, stands_for):
                    self._join(name, decode_state(state), stands_for)
                case Delivered(node, name, state):
                    self.store.drop_hint(node, name, decode_state(state))
                case Reaped(name):
                    self.store.reap(name)
                case Left(section):
                    self.store.drop_section(section)
