"""Requests for objects on one node: who coordinates them, whom they ask, when they answer.

A machine around the pure cores (`reading`, `writing`). A read is coordinated wherever it arrives. A write is
coordinated by one of the object's primaries, which know what it replaces: preferably by the one that answered the
client's last read fastest (row A16); another node sends it on, to one after the other, and coordinates it itself, as
somebody's stand-in, when no primary can be reached. So a write with w=1 is refused only where nobody is left to take it
(row A21). Source: SOSP 2007, §4.5, §4.6 and §5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.errors import InvalidInput, Stalled
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.kernel.ports import Randomness
from gramme.kernel.time import MILLISECOND, SECOND, Instant, Timestamp
from gramme.objects.bounds import check_written
from gramme.objects.dots import DotSource
from gramme.objects.merge_types import Typed, apply, check, counts, needs_context, nothing
from gramme.objects.messages import (
    Busy,
    Coordinate,
    Coordinated,
    Fetch,
    Fetched,
    Get,
    Got,
    Invalid,
    Keep,
    Kept,
    Listed,
    NotKept,
    Outcome,
    Put,
    Request,
    Stored,
    Unmet,
)
from gramme.objects.quorums import ReadQuorum
from gramme.objects.reading import ReadCore
from gramme.objects.replica import ObjectReplica
from gramme.objects.state import Name, State, decode_state, encode_state, joined, seen
from gramme.objects.versions import NOTHING, Dot, descends, truncated, without_context, write
from gramme.objects.writing import Target, Unsatisfied, WriteCore
from gramme.placement.ring import Ring

SLOW_NS: Final = 300 * MILLISECOND
"""A replica that has not answered for so long is given up for this request: the next node is asked as well."""

LINGER_NS: Final = SECOND
"""How long a request that is answered waits for its stragglers."""

MOST_CALLS: Final = 10_000
_BUSY: Final = Busy("too many requests are waiting")


def _alone() -> Ring | None:
    """No ring beside."""
    return None


class Answered(NamedTuple):
    """Output: the request that `submit` gave the number `id` has this outcome."""

    id: int
    outcome: Outcome | Listed


class _OwnCopy(NamedTuple):
    """Durable event: this node's own copy of a write is on the disk."""

    id: int


class _Call:
    """One request: at first here, and until its stragglers are heard."""

    __slots__ = (
        "answered", "asked", "core", "deadline", "id", "name", "origin", "origin_id", "preference", "request", "slow",
        "state", "tried",
    )  # fmt: skip

    def __init__(
        self, id_: int, request: Request, deadline: Instant, preference: tuple[NodeId, ...], origin: NodeId,
        origin_id: int,
    ) -> None:  # fmt: skip
        self.id = id_
        self.request = request
        self.name = request.name
        self.deadline = deadline
        self.preference = preference  # primaries, then fallbacks
        self.origin = origin
        self.origin_id = origin_id
        self.core: ReadCore | WriteCore | None = None  # None: sent on
        self.answered = False
        self.slow = deadline
        self.asked: dict[NodeId, None] = {}  # has not answered
        self.tried: dict[NodeId, None] = {}  # coordinators that a write was sent on to
        self.state: State | None = None  # of a write: what its replicas are to keep

    @property
    def primaries(self) -> tuple[NodeId, ...]:
        return self.preference[: self.request.quorum.n]


class Coordinators:
    """See the module. `reachable` is this node's own guess of who would answer (row A28)."""

    def __init__(
        self,
        me: NodeId,
        replica: ObjectReplica,
        dots: DotSource,
        ring: Callable[[], Ring],
        reachable: Callable[[NodeId], bool],
        wall: Callable[[], Timestamp],
        rng: Randomness,
        beside: Callable[[], Ring | None] = _alone,
    ) -> None:
        """`ring` is read and written; while it changes, the one `beside` it is written too."""
        self._me = me
        self._replica = replica
        self._dots = dots
        self._ring = ring
        self._ring_beside = beside
        self._guess = reachable
        self._wall = wall
        self._calls: dict[int, _Call] = {}
        self._counted: dict[tuple[NodeId, int], None] = {}  # requests of others that must not be done twice
        self._next_id = rng.randrange(1 << 48)
        self.forwarded = 0
        self.repaired = 0
        self.hinted = 0
        self.truncated = 0  # vectors of which a write has dropped something

    # --- requests -----------------------------------------------------------------------------------------------------

    def submit(self, request: Request, deadline: Instant, now: Instant) -> tuple[int, Effects]:
        """A client's request: its number, and what to do at first. `Answered` comes once, not long after `deadline`."""
        out = Effects()
        return self._begin(request, deadline, now, self._me, 0, out), out

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """A message of another node, or of this one to itself."""
        match message:
            case Fetch():
                return self._replica.on_fetch(source, message)
            case Keep():
                return self._replica.on_keep(source, message)
        out = Effects()
        match message:
            case Fetched(id_, state):
                self._on_fetched(id_, source, None if state is None else decode_state(state), now, out)
            case Kept(id_, durable):
                self._on_kept(id_, source, durable, now, out)
            case NotKept(id_):
                self._on_failure(id_, source, now, out)
            case Coordinate(id_, request, left):
                if not self._is_done(source, id_, request):
                    self._begin(request, Instant(now + left), now, source, id_, out)
            case Coordinated(id_, outcome):
                self._on_coordinated(id_, source, outcome, now, out)
        return out

    def lost(self, node: NodeId, now: Instant) -> Effects:
        """The link to `node` is gone, or nothing is heard of it: what it was asked is asked elsewhere."""
        out = Effects()
        for call in [call for call in self._calls.values() if node in call.asked]:
            self._on_failure(call.id, node, now, out)
        return out

    def on_durable(self, event: _OwnCopy, now: Instant) -> Effects:
        """This node's own copy of a write is durable."""
        out = Effects()
        self._on_kept(event.id, self._me, True, now, out)
        return out

    def next_deadline(self) -> Instant | None:
        """When `tick` has something to do."""
        return min((min(call.slow, call.deadline) for call in self._calls.values()), default=None)

    def tick(self, now: Instant) -> Effects:
        """Give up on slow replicas, answer what is out of time, let go of what has lingered long enough."""
        out = Effects()
        for call in list(self._calls.values()):
            if now >= call.deadline:
                self._expire(call, now, out)
            elif now >= call.slow:
                call.slow = Instant(now + SLOW_NS)
                if isinstance(call.core, WriteCore) or not call.answered:
                    for node in list(call.asked):
                        self._fail_over(call, node, now, out)
        return out

    def names(self) -> dict[Name, None]:
        """What is being read or written here: states of these may be on their way, and in no row yet."""
        return {call.name: None for call in self._calls.values()}

    def _begin(
        self, request: Request, deadline: Instant, now: Instant, origin: NodeId, origin_id: int, out: Effects
    ) -> int:
        self._next_id += 1
        ring = self._ring()
        place = self._replica.store.place(request.name)
        preference = ring.preference_list(place.section.partition, request.quorum.n)
        call = _Call(self._next_id, request, deadline, preference, origin, origin_id)
        if len(self._calls) >= MOST_CALLS:
            self._answer(call, _BUSY, out)
            return call.id
        self._calls[call.id] = call
        call.slow = Instant(now + SLOW_NS)
        if isinstance(request, Get):
            self._read(call, request.quorum, now, out)
        elif self._me in call.primaries or origin != self._me:
            self._coordinate(call, now, out)
        else:
            self._send_on(call, now, out)
        return call.id

    def _is_done(self, source: NodeId, id_: int, request: Request) -> bool:
        """Whether this is a second copy of a request to count something."""
        if not _is_once_only(request):
            return False
        if (source, id_) in self._counted:
            return True
        self._counted[source, id_] = None
        if len(self._counted) > MOST_CALLS:
            del self._counted[next(iter(self._counted))]
        return False

    def _reachable(self, node: NodeId) -> bool:
        return node == self._me or self._guess(node)

    # --- writes -------------------------------------------------------------------------------------------------------

    def _send_on(self, call: _Call, now: Instant, out: Effects) -> None:
        """To a primary that was not tried yet; without one, this node stands in."""
        likely = self._untried(call, call.primaries)
        if not likely and self._me in call.tried:
            likely = self._untried(call, call.preference)  # a fallback may have the room that this node lacks
        if not likely and self._me in call.tried:
            self._answer(call, Busy("no node that could be asked has room for it"), out)
            return
        if not likely:
            self._coordinate(call, now, out)
            return
        prefer = call.request.prefer if isinstance(call.request, Put) else NO_NODE
        node = prefer if prefer in likely else likely[0]
        call.tried[node] = call.asked[node] = None
        self.forwarded += 1
        message = Coordinate(call.id, call.request, max(0, call.deadline - now - SLOW_NS // 2))
        out.sends.append((node, message))

    def _untried(self, call: _Call, nodes: tuple[NodeId, ...]) -> list[NodeId]:
        return [node for node in nodes if node not in call.tried and self._reachable(node)]

    def _coordinate(self, call: _Call, now: Instant, out: Effects) -> None:
        request = call.request
        assert isinstance(request, Put)
        if request.operation is not None and needs_context(request.operation):
            # What is removed must be known here (`merge_types.apply`).
            self._read(call, ReadQuorum(request.quorum.n, request.quorum.n // 2 + 1), now, out)
        else:
            self._write(call, now, out)

    def _write(self, call: _Call, now: Instant, out: Effects, heard: State | None = None) -> None:
        """`heard`: what others know, which an operation must not pass by."""
        request = call.request
        assert isinstance(request, Put)
        if not self._dots.ready:
            self._answer(call, Busy("this node cannot number writes yet"), out)
            return
        preference, beside = self._me_first(call), self._beside(call)
        # Who was sent the request does not send it on (row A13): where two nodes know different rings, each would take
        # the other for a primary. It stands in for the first, unless it has a copy of its own in the ring beside.
        sent = call.origin != self._me and self._me not in (*call.primaries, *beside)
        passed_over = call.primaries[0] if sent else NO_NODE
        if beside:
            # Be it this node: whoever sent it the request may be a step behind or ahead, and it has a copy of its own.
            preference = tuple(node for node in preference if node in call.primaries or node not in beside)
        core = WriteCore(
            request.quorum, preference,
            lambda node: node not in call.tried and node != passed_over and self._reachable(node), beside,
        )  # fmt: skip
        targets = core.begin()
        mine = next((target for target in targets if target.node == self._me), None)
        if mine is None:  # a stand-in that has read first, and meanwhile all primaries can be reached again
            call.core = None
            self._send_on(call, now, out)
            return
        try:
            known = self._known(call.name, mine)
            dot = self._dot(call.name, known, mine)
            call.state = self._changed(request, known, heard, dot)
            self._replica.keep(call.name, call.state, mine.stands_for, out)
        except InvalidInput as error:
            self._answer(call, Invalid(str(error)), out)
            return
        except Stalled as error:
            self._give_away(call, str(error), now, out)
            return
        call.core = core
        core.add_result(self._me, durable=False)
        out.durable_events.append(_OwnCopy(call.id))
        self._ask_to_keep(call, [target for target in targets if target.node != self._me], out)
        self._settle_write(call, core, now, out)

    def _give_away(self, call: _Call, reason: str, now: Instant, out: Effects) -> None:
        """This node has no room: another primary may have (row A21). Who was sent the request says no, and is not asked
        again."""
        call.core = None
        if call.origin == self._me and self._me not in call.tried:
            call.tried[self._me] = None
            self._send_on(call, now, out)
        else:
            self._answer(call, Busy(reason), out)

    def _me_first(self, call: _Call) -> tuple[NodeId, ...]:
        """The preference list, this node the first of the fallbacks if it is one."""
        if self._me in call.primaries:
            return call.preference
        n = call.request.quorum.n
        others = tuple(node for node in call.preference[n:] if node != self._me)
        return (*call.preference[:n], self._me, *others)

    def _beside(self, call: _Call) -> tuple[NodeId, ...]:
        """Who has to have a write besides: the primaries of the ring to be, or of the one that was."""
        ring = self._ring_beside()
        if ring is None:
            return ()
        return ring.primaries(self._replica.store.place(call.name).section.partition, call.request.quorum.n)

    def _known(self, name: Name, mine: Target) -> State | None:
        store = self._replica.store
        return store.get(name) if mine.stands_for == NO_NODE else store.hint(mine.stands_for, name)

    def _dot(self, name: Name, known: State | None, mine: Target) -> Dot:
        """By what is known *here*: of what others tell this node may have had more, and would claim it all."""
        if mine.stands_for == NO_NODE:
            return self._dots.dot(seen(known))
        own = self._replica.own_actor(mine.stands_for, name)
        dot = self._dots.stand_in_dot(seen(known), own)
        if dot.actor != own:
            self._replica.began(mine.stands_for, name, dot.actor)
        return dot

    def _changed(self, request: Put, known: State | None, heard: State | None, dot: Dot) -> State:
        """What the write makes of what is known. Raises InvalidInput, and Stalled for a removal of what is not known
        here, nor at those who were asked: it would do nothing."""
        now = self._wall()
        if request.operation is not None and request.kind is not None:
            check(request.operation, request.kind)
            before = known if heard is None else joined(known, heard)
            before = nothing(request.kind) if before is None else before
            if not isinstance(before, Typed):
                raise InvalidInput(f"the key holds an object, not a {request.kind}")
            if needs_context(request.operation) and not descends(before.seen, request.context):
                raise Stalled("what the client has seen cannot be reached now, and is not removed")
            applied = apply(before, request.operation, request.context, dot, now)
            check_written(before, applied)
            return applied
        if isinstance(known, Typed):
            raise InvalidInput("the key holds a value of a merge type, which operations change")
        assert request.value is not None
        versions = NOTHING if known is None else known
        if request.blind:
            after = without_context(versions, dot, request.value, now)
        else:
            after = write(versions, request.context, dot, request.value, now)
        check_written(known, after)
        self.truncated += truncated(after.seen, versions.seen, request.context)
        return after

    def _ask_to_keep(self, call: _Call, targets: list[Target], out: Effects) -> None:
        request = call.request
        assert isinstance(request, Put)
        assert call.state is not None
        state = encode_state(call.state)
        for node, stands_for in targets:
            call.asked[node] = None
            self.hinted += stands_for != NO_NODE
            # One durable copy may be enough (row A42), and then it is the coordinator's own.
            keep = Keep(call.id, call.name, state, stands_for, durable=request.quorum.dw > 1)
            out.sends.append((node, keep))

    def _on_kept(self, id_: int, source: NodeId, durable: bool, now: Instant, out: Effects) -> None:
        call = self._calls.get(id_)
        if call is not None and isinstance(call.core, WriteCore):
            call.asked.pop(source, None)
            call.core.add_result(source, durable)
            self._settle_write(call, call.core, now, out)

    def _settle_write(self, call: _Call, core: WriteCore, now: Instant, out: Effects) -> None:
        if not call.answered and core.enough():
            self._answer(call, _written(call, core), out)
            call.deadline = Instant(now + LINGER_NS)
        if call.answered and not call.asked:
            self._finish_write(call, core, out)

    def _finish_write(self, call: _Call, core: WriteCore, out: Effects) -> None:
        """N copies are to come about in the end: keep a hint for each primary that has none, and nobody else has."""
        self._calls.pop(call.id, None)
        assert call.state is not None
        for node in core.final_action():
            if node != self._me:
                self.hinted += 1
                try:
                    self._replica.keep(call.name, call.state, node, out)
                except Stalled:
                    return  # anti-entropy will find it

    def _on_coordinated(self, id_: int, source: NodeId, outcome: Outcome, now: Instant, out: Effects) -> None:
        call = self._calls.get(id_)
        if call is None or call.core is not None or call.answered:
            return
        awaited = source in call.asked
        call.asked.pop(source, None)
        if not isinstance(outcome, Busy):
            self._answer(call, outcome, out)
        elif awaited:  # heard twice, a refusal would send the request to two nodes, and an increment would count twice
            self._send_on(call, now, out)

    # --- reads --------------------------------------------------------------------------------------------------------

    def _read(self, call: _Call, quorum: ReadQuorum, now: Instant, out: Effects) -> None:
        core = ReadCore(quorum, call.preference, self._reachable)
        call.core = core
        for node in core.begin():
            self._ask(call, node, out)
        self._settle_read(call, core, now, out)

    def _ask(self, call: _Call, node: NodeId, out: Effects) -> None:
        if node == self._me:
            assert isinstance(call.core, ReadCore)
            call.core.add_result(node, self._replica.known(call.name))
        else:
            call.asked[node] = None
            out.sends.append((node, Fetch(call.id, call.name)))

    def _on_fetched(self, id_: int, source: NodeId, state: State | None, now: Instant, out: Effects) -> None:
        call = self._calls.get(id_)
        if call is not None and isinstance(call.core, ReadCore):
            call.asked.pop(source, None)
            call.core.add_result(source, state)
            self._settle_read(call, call.core, now, out)

    def _settle_read(self, call: _Call, core: ReadCore, now: Instant, out: Effects) -> None:
        if isinstance(call.request, Put):
            if core.enough() and (core.settled() or descends(seen(core.final_action()[0]), call.request.context)):
                self._read_before_write(call, core, now, out)
            return
        if not call.answered and core.enough():
            self._answer(call, _got(core), out)
            call.deadline = Instant(now + LINGER_NS)
        if call.answered and core.settled():
            self._repair(call, core, out)

    def _read_before_write(self, call: _Call, core: ReadCore, now: Instant, out: Effects) -> None:
        """Go on with what the others know, as much as has come."""
        newest, _ = core.final_action()
        call.asked.clear()
        self._write(call, now, out, newest)

    def _repair(self, call: _Call, core: ReadCore, out: Effects) -> None:
        """Read repair: who knows less is told (row A20). Nobody waits for it."""
        self._calls.pop(call.id, None)
        newest, behind = core.final_action()
        for node in behind:
            assert newest is not None
            self.repaired += 1
            if node != self._me:
                out.sends.append((node, Keep(0, call.name, encode_state(newest), durable=False)))
                continue
            try:
                self._replica.keep(call.name, newest, NO_NODE, out)
            except Stalled:
                continue  # the next read, or anti-entropy

    # --- both ---------------------------------------------------------------------------------------------------------

    def _on_failure(self, id_: int, node: NodeId, now: Instant, out: Effects) -> None:
        call = self._calls.get(id_)
        if call is None or node not in call.asked:
            return
        del call.asked[node]
        if call.core is None and _is_once_only(call.request):
            self._answer(call, _late(call, None), out)
            return
        self._fail_over(call, node, now, out)
        if isinstance(call.core, WriteCore):
            call.core.gone(node)
            self._settle_write(call, call.core, now, out)
        elif isinstance(call.core, ReadCore):
            call.core.gone(node)
            self._settle_read(call, call.core, now, out)

    def _fail_over(self, call: _Call, node: NodeId, now: Instant, out: Effects) -> None:
        """`node` is lost or slow: ask the next one too. A late answer of it still counts."""
        core = call.core
        if core is None and _is_once_only(call.request):
            return  # it may have been done there: an answer may still come, or nobody can know
        if core is None:
            call.asked.pop(node, None)
            self._send_on(call, now, out)
        elif isinstance(core, WriteCore):
            self._ask_to_keep(call, core.add_failure(node), out)
        else:
            for spare in core.add_failure(node):
                self._ask(call, spare, out)

    def _expire(self, call: _Call, now: Instant, out: Effects) -> None:
        """Out of time: answer with what there is, then do what is left without waiting."""
        core = call.core
        if not call.answered:
            self._answer(call, _late(call, core), out)
        if isinstance(core, WriteCore):
            self._finish_write(call, core, out)
        elif isinstance(core, ReadCore) and isinstance(call.request, Get):
            self._repair(call, core, out)
        self._calls.pop(call.id, None)

    def _answer(self, call: _Call, outcome: Outcome, out: Effects) -> None:
        call.answered = True
        if call.core is None or isinstance(outcome, Busy | Invalid):
            self._calls.pop(call.id, None)
        if call.origin == self._me:
            out.outputs.append(Answered(call.id, outcome))
        else:
            out.sends.append((call.origin, Coordinated(call.origin_id, outcome)))


def _is_once_only(request: Request) -> bool:
    return isinstance(request, Put) and request.operation is not None and counts(request.operation)


def _got(core: ReadCore) -> Outcome:
    answer = core.response()
    if isinstance(answer, Unsatisfied):
        return _unmet(answer)
    return Got(None if answer.state is None else encode_state(answer.state), answer.fastest)


def _written(call: _Call, core: WriteCore) -> Outcome:
    assert call.state is not None
    missing = core.response()
    return Stored(encode_state(call.state)) if missing is None else _unmet(missing)


def _late(call: _Call, core: ReadCore | WriteCore | None) -> Outcome:
    if isinstance(core, WriteCore):
        return _written(call, core)
    if isinstance(core, ReadCore) and isinstance(call.request, Get):
        return _got(core)
    assert isinstance(call.request, Put)
    return Unmet("W", 0, call.request.quorum.w)


def _unmet(missing: Unsatisfied) -> Unmet:
    return Unmet(missing.kind, missing.have, missing.needed)
