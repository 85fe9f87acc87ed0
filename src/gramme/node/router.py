"""The router: from a request to the leader of its partition, and back with exactly one answer.

It implements `gramme.api.backend.Backend`. Rules: a leader change is waited out here, up to the request's deadline,
because SDKs give up within 0.2 s; every attempt carries the same command id, so a write that is sent again is applied
once; a request is forwarded at most once per attempt, and only its origin retries. Replicas are authoritative: a stale
map costs a `Misdirected` answer, never a wrong read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from gramme.kernel.ids import CATALOG_GROUP, NO_NODE, CommandId, GroupId, NodeId, Slot
from gramme.kernel.ports import Timer
from gramme.kernel.time import MILLISECOND, Instant
from gramme.node.descriptors import Descriptors
from gramme.node.host import Host
from gramme.node.members import Members
from gramme.node.messages import Forward, Forwarded, Misdirected
from gramme.node.partition import Elsewhere, PartitionReplica
from gramme.node.ports import NodeSettings
from gramme.node.transactions.service import Transactions
from gramme.tables.catalog import CatalogReply, CatalogRequest, DeleteTable, DescribeTable
from gramme.tables.descriptor import Partition, TableDescriptor
from gramme.tables.requests import PARTITION_READS, Failed, FailureKind, ReadRequest, Reply, Request
from gramme.tables.streams import Changes, ReadChanges
from gramme.tables.transactions import ReadOutcome, ReadTransaction, WriteOutcome, WriteTransaction

_ATTEMPT_NS: Final = 700 * MILLISECOND
_RELAY_NS: Final = 500 * MILLISECOND
_BACKOFF_NS: Final = (5 * MILLISECOND, 10 * MILLISECOND, 20 * MILLISECOND, 40 * MILLISECOND)
_SWEEP_NS: Final = 5 * MILLISECOND
_SLOW_SWEEP_NS: Final = 50 * MILLISECOND
_MANY_CALLS: Final = 500
_MOST_MOVED: Final = 10_000
"""Of groups that moved; what moved long before so many others is known from descriptors that are newer."""
_READS: Final = frozenset(PARTITION_READS)
_NO_ANSWER: Final = (FailureKind.UNKNOWN, FailureKind.NO_QUORUM, FailureKind.NO_TABLE)
_NO_SLOT: Final = Slot(0)
_THROTTLED: Final = Failed(FailureKind.THROTTLED, "the router's queue is full")


class _Call:
    """One request until its answer: attempts, timers, and what is known of its outcome."""

    __slots__ = (
        "attempt", "command_id", "counts_from", "deadline", "done", "due", "eventual", "group", "id", "maybe_applied",
        "on_reply", "outstanding", "relayed", "relaying", "repeated", "replicas", "request", "silent", "target",
        "unknown_at",
    )  # fmt: skip

    def __init__(
        self, id_: int, group: GroupId, replicas: Sequence[NodeId], request: Any, command_id: CommandId,
        deadline: Instant, on_reply: Callable[[Any], None], repeated: bool,
    ) -> None:  # fmt: skip
        self.id = id_
        self.repeated = repeated
        self.group = group
        self.replicas = replicas
        self.request = request
        self.command_id = command_id
        self.deadline = deadline
        self.on_reply = on_reply
        self.attempt = 0
        self.counts_from = 0  # answers to attempts before this one are void
        self.target: NodeId = NO_NODE
        self.silent: NodeId = NO_NODE  # who has not answered the attempt before
        self.relaying = False  # this attempt went to a replica that is to ask the leader
        self.relayed = False  # this is what such a replica asks: nobody is to go on from there
        self.outstanding = False
        self.maybe_applied = False
        self.unknown_at: list[NodeId] = []
        self.due: Instant = deadline
        self.done = False
        self.eventual = type(request) in _READS and not request.consistent


class Router:
    """Finds leaders, forwards and retries; `descriptors` is what this node knows of tables."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        members: Members,
        partitions: dict[GroupId, PartitionReplica],
        catalog_members: tuple[NodeId, ...],
        serve_catalog: Callable[[Any, CommandId, Callable[[Any], None], bool], None],
        alive: Callable[[NodeId], bool],
        elsewhere: Callable[[GroupId], NodeId | None],
    ) -> None:
        """`elsewhere` tells of a group that has no rows here whether it is known, and whom to ask."""
        self._host = host
        self._settings = settings
        self._members = members
        self._partitions = partitions
        self._elsewhere = elsewhere
        self._moved: dict[GroupId, tuple[NodeId, ...]] = {CATALOG_GROUP: catalog_members}
        self._serve_catalog = serve_catalog
        self._alive = alive
        self.descriptors = Descriptors(self._describe, host.now, settings.request_limit, self._forget_moves)
        self._tables = self.descriptors.known
        self._hints: dict[GroupId, NodeId] = {}
        self._calls: dict[int, _Call] = {}
        self._next_id = host.ports.rng.randrange(1 << 48)
        self._sweep_timer: Timer | None = None
        self.transactions = Transactions(host, settings, self)
        self.stale_reads = 0
        self.retries = 0

    # --- Backend --------------------------------------------------------------------------------------------------

    def table(self, name: str) -> TableDescriptor | None:
        """See `Backend`."""
        return self._tables.get(name)

    def lookup(self, name: str, deadline: Instant, on_reply: Callable[[TableDescriptor | Failed], None]) -> None:
        """See `Backend`."""
        self.descriptors.lookup(name, deadline, on_reply)

    def _describe(self, name: str, deadline: Instant, on_reply: Callable[[CatalogReply], None]) -> None:
        self.catalog(DescribeTable(name), deadline, on_reply)

    def read_here(self, table: TableDescriptor, key: bytes, request: ReadRequest) -> Reply | None:
        """See `Backend`."""
        reply: Reply | None = self._read_here(table.partition_of(key), request)
        return reply

    def _read_here(self, place: Partition, request: Any) -> Any:
        partition = self._partitions.get(place.group)
        if partition is None:
            return None
        now = self._host.now()
        if partition.serves_reads(now) or (not request.consistent and partition.current(request, now)):
            return partition.read_now(request)
        return None

    def submit(
        self,
        table: TableDescriptor,
        key: bytes,
        request: Request,
        command_id: CommandId | None,
        deadline: Instant,
        on_reply: Callable[[Reply], None],
        repeated: bool = False,
    ) -> None:
        """See `Backend`."""
        place = table.partition_of(key)
        if type(request) in _READS:
            reply = self._read_here(place, request)
            if reply is not None:
                on_reply(reply)
                return
        call = self._new_call(place.group, place.replicas, request, command_id, deadline, on_reply, repeated)
        if call is not None:
            self._attempt(call)

    def read_changes(
        self, place: Partition, request: ReadChanges, deadline: Instant, on_reply: Callable[[Changes | Failed], None]
    ) -> None:
        """See `Backend`."""
        reply = self._read_here(place, request)
        if reply is not None:
            on_reply(reply)
        else:
            self.send(place, request, deadline, on_reply)

    def send(self, place: Partition, request: Any, deadline: Instant, on_reply: Callable[[Any], None]) -> None:
        """Have the leader of `place` serve a command of this node's own machines, with the promises of `submit`."""
        call = self._new_call(place.group, place.replicas, request, None, deadline, on_reply)
        if call is not None:
            self._attempt(call)

    def catalog(self, request: CatalogRequest, deadline: Instant, on_reply: Callable[[CatalogReply], None]) -> None:
        """See `Backend`."""
        if isinstance(request, DeleteTable):
            self.descriptors.dropped(request.name)
        call = self._new_call(CATALOG_GROUP, self._moved[CATALOG_GROUP], request, None, deadline, on_reply)
        if call is not None:
            self._attempt(call)

    def transact_write(
        self, request: WriteTransaction, deadline: Instant, on_reply: Callable[[WriteOutcome], None]
    ) -> None:
        """See `Backend`."""
        self.transactions.write(request, deadline, on_reply)

    def transact_get(
        self, request: ReadTransaction, deadline: Instant, on_reply: Callable[[ReadOutcome], None]
    ) -> None:
        """See `Backend`."""
        self.transactions.read(request, deadline, on_reply)

    def addresses(self, zone: str | None) -> list[str]:
        """See `Backend`."""
        return [m.address for m in self._members.all if (zone is None or m.zone == zone) and self._alive(m.node)]

    # --- calls ----------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Requests without an answer yet."""
        return len(self._calls) + self.descriptors.waiting

    def hint(self, group: GroupId, leader: NodeId) -> None:
        """Somebody credible says who leads `group`."""
        if leader != NO_NODE:
            self._hints[group] = leader

    def moved(self, group: GroupId, replicas: tuple[NodeId, ...]) -> None:
        """The catalog says where `group` is by now; a call may know it by where it was."""
        if group != CATALOG_GROUP:
            self._moved.pop(group, None)
            if len(self._moved) > _MOST_MOVED:
                del self._moved[next(known for known in self._moved if known != CATALOG_GROUP)]
        self._moved[group] = replicas

    def _forget_moves(self, table: TableDescriptor) -> None:
        """The table's new descriptor says as much."""
        for place in table.all_partitions:
            if self._moved.get(place.group) == place.replicas:
                del self._moved[place.group]

    def leader_changed(self, group: GroupId, leader: NodeId) -> None:
        """A local replica learnt who leads `group` (or that nobody does): what waits for somebody else, or for nothing,
        goes there at once instead of at its time."""
        for call in [c for c in self._calls.values() if c.group == group and not c.done]:
            if not call.outstanding:
                self._attempt(call)
            elif leader not in (NO_NODE, call.target):
                self._attempt_failed(call)

    def peer_lost(self, node: NodeId) -> None:
        """The link to `node` broke or its leadership lapsed: what it was asked is asked elsewhere."""
        for call in [c for c in self._calls.values() if c.outstanding and c.target == node]:
            self._attempt_failed(call)

    def _new_call(
        self, group: GroupId, replicas: Sequence[NodeId], request: Any, command_id: CommandId | None,
        deadline: Instant, on_reply: Callable[[Any], None], repeated: bool = False,
    ) -> _Call | None:  # fmt: skip
        if len(self._calls) >= self._settings.request_limit:
            on_reply(_THROTTLED)
            return None
        self._next_id += 1
        drawn = CommandId(self._host.ports.rng.randbytes(16)) if command_id is None else command_id
        call = _Call(self._next_id, group, replicas, request, drawn, deadline, on_reply, repeated)
        self._calls[call.id] = call
        return call

    def _attempt(self, call: _Call) -> None:
        if call.done:
            return
        now = self._host.now()
        if now >= call.deadline:
            self._expire(call)
            return
        if call.attempt:
            self.retries += 1
            if call.maybe_applied and not call.repeated:
                self._void_first_answer(call)
        target = self._choose(call)
        call.repeated = call.repeated or call.attempt > 0
        call.attempt += 1
        call.target = target
        call.outstanding = True
        attempt = call.attempt
        if target == self._settings.me:
            self._serve_local(call, attempt)
            if call.done or not call.outstanding or call.attempt != attempt:
                return
        else:
            believed = self._believed(call, self._partitions.get(call.group))
            call.relaying = not call.relayed and believed not in (NO_NODE, target)
            message = Forward(call.id, call.group, call.command_id, call.request, call.repeated, call.relaying)
            self._host.send(target, message)
        self._arm(call, min(Instant(now + _ATTEMPT_NS), call.deadline))

    def _void_first_answer(self, call: _Call) -> None:
        """A write is sent again, and what is sent again is in the log whatever it is answered. Not so the first copy:
        of an answer to that one which changes nothing (a failed condition) nobody else has heard. Given to the caller
        now, it would be belied by the second copy, wherever that arrives when the condition has come to hold."""
        call.counts_from = call.attempt + 1
        del self._calls[call.id]
        self._next_id += 1
        call.id = self._next_id
        self._calls[call.id] = call

    def _choose(self, call: _Call) -> NodeId:
        """This node if it leads, else the hinted leader, else the replicas in turn; a failed attempt moves on.

        Nothing goes to a node that is not heard: it would serve nobody, and make the outcome of a write unknown. With
        nobody else to ask, this node answers for itself: not the leader, try later."""
        me = self._settings.me
        local = self._partitions.get(call.group)
        if local is not None and (local.leading or (call.eventual and self._answers(local, call))):
            return me
        hint = self._believed(call, local)
        if hint not in (NO_NODE, me, call.silent) and call.attempt % 3 != 2 and self._alive(hint):
            return hint
        others = [node for node in self._places(call, local) if node != me and self._alive(node)]
        others = [node for node in others if node != call.silent] or others
        return others[call.attempt % len(others)] if others else me

    def _believed(self, call: _Call, local: PartitionReplica | None) -> NodeId:
        """The leader of the call's group as far as anybody has told this node; NO_NODE: nobody has."""
        hint = self._hints.get(call.group)
        if hint is None and local is not None:
            hint = local.replica.leader_hint
        return NO_NODE if hint is None else hint

    def _places(self, call: _Call, local: PartitionReplica | None) -> Sequence[NodeId]:
        """Who may lead the group: as a replica here knows, or as the catalog said; else as the caller had it."""
        if local is not None and local.replica.configuration.number:
            return local.replica.configuration.eligible
        return self._moved.get(call.group, call.replicas)

    def _answers(self, local: PartitionReplica, call: _Call) -> bool:
        """Whether this node's follower answers an eventual read. Once somebody who might know better was asked in vain,
        it does as long as it is fresh."""
        now = self._host.now()
        return local.fresh(now) if call.attempt else local.current(call.request, now)

    def _serve_local(self, call: _Call, attempt: int) -> None:
        answer = partial(self._answered, call, attempt)
        if call.group == CATALOG_GROUP:
            self._serve_catalog(call.request, call.command_id, answer, call.repeated)
            return
        partition = self._partitions.get(call.group)
        if partition is None:
            hint = self._elsewhere(call.group)
            self._misdirected(call, call.target, NO_NODE if hint is None else hint, False, unknown_group=hint is None)
        else:
            partition.submit(call.request, call.command_id, answer, call.repeated)

    def _answered(self, call: _Call, attempt: int, reply: Any) -> None:
        if call.done or attempt < call.counts_from:
            return
        if type(reply) is Elsewhere:
            if call.attempt == attempt:
                self._misdirected(call, call.target, reply.hint, reply.maybe_applied)
            else:
                call.maybe_applied = call.maybe_applied or reply.maybe_applied
            return
        self._settle(call, reply)

    def _settle(self, call: _Call, reply: Any) -> None:
        """A definite answer, unless it speaks of this attempt only: 'not applied' says nothing of an earlier one."""
        if call.maybe_applied and type(reply) is Failed and reply.kind is FailureKind.THROTTLED:
            self._misdirected(call, call.target, NO_NODE, True)
        else:
            self._finish(call, reply)

    def _finish(self, call: _Call, reply: Any) -> None:
        call.done = True
        self._calls.pop(call.id, None)
        if call.target not in (NO_NODE, self._settings.me) and not (call.eventual or call.relaying):
            self._hints[call.group] = call.target
        call.on_reply(reply)

    def _misdirected(
        self, call: _Call, source: NodeId, hint: NodeId, maybe_applied: bool, unknown_group: bool = False
    ) -> None:
        call.outstanding = False
        call.maybe_applied = call.maybe_applied or maybe_applied
        if unknown_group and source not in call.unknown_at:
            call.unknown_at.append(source)
        if self._hints.get(call.group) == source and hint != source:
            del self._hints[call.group]
        fresh_hint = hint not in (NO_NODE, source) and self._hints.get(call.group) != hint
        if fresh_hint:
            self._hints[call.group] = hint
        if call.group != CATALOG_GROUP and self._unknown_to_a_majority(call):
            # This incarnation of the table is gone: a table is ACTIVE only once a majority durably hosts each of its
            # groups. One that is still being created is told apart by the caller's lookup at the catalog.
            self._finish(call, Failed(FailureKind.UNKNOWN if call.maybe_applied else FailureKind.NO_TABLE))
        elif fresh_hint and call.attempt <= 2:
            self._attempt(call)
        else:
            backoff = _BACKOFF_NS[min(call.attempt, len(_BACKOFF_NS)) - 1]
            self._arm(call, min(Instant(self._host.now() + backoff), call.deadline))

    def _unknown_to_a_majority(self, call: _Call) -> bool:
        """This node counts too, though it never sends itself a forward; a replica that is down does not matter."""
        me = self._settings.me
        local = self._partitions.get(call.group)
        unknown_here = local is None and self._elsewhere(call.group) is None
        places = self._places(call, local)
        unknown = sum(node in call.unknown_at or (node == me and unknown_here) for node in places)
        return unknown > len(places) // 2

    def _attempt_failed(self, call: _Call) -> None:
        """No answer: a write may have been applied, so only a later answer for the same command id can tell."""
        if call.outstanding and not isinstance(call.request, (*PARTITION_READS, DescribeTable)):
            call.maybe_applied = True
        call.outstanding = False
        call.silent = call.target
        if self._hints.get(call.group) == call.target:
            del self._hints[call.group]
        self._attempt(call)

    def _arm(self, call: _Call, when: Instant) -> None:
        call.due = when
        if self._sweep_timer is None:
            self._arm_sweep(self._host.now())

    def _sweep(self) -> None:
        """Look after calls whose time has come. One timer serves all calls: a timer for each would cost more than the
        rest of the router."""
        self._sweep_timer = None
        if self._host.stopped or not self._calls:
            return
        now = self._host.now()
        for call in [c for c in self._calls.values() if c.due <= now]:
            if call.done:
                continue
            if call.outstanding:
                self._attempt_failed(call)
            else:
                self._attempt(call)
        if self._calls:
            self._arm_sweep(now)

    def _arm_sweep(self, now: Instant) -> None:
        if self._sweep_timer is None:
            period = _SWEEP_NS if len(self._calls) < _MANY_CALLS else _SLOW_SWEEP_NS
            self._sweep_timer = self._host.ports.scheduler.call_at(Instant(now + period), self._sweep)

    def _expire(self, call: _Call) -> None:
        local = self._partitions.get(call.group)
        if call.eventual and local is not None:
            self.stale_reads += 1
            self._finish(call, local.read_now(call.request))
        elif call.maybe_applied:
            self._finish(call, Failed(FailureKind.UNKNOWN, "no leader could tell the outcome by the deadline"))
        else:
            self._finish(call, Failed(FailureKind.NO_QUORUM, "no leader served the request by the deadline"))

    # --- messages -------------------------------------------------------------------------------------------------

    def on_forward(self, source: NodeId, message: Forward) -> None:
        """Serve a request that another node's router sent here. It is not sent on, unless its sender asks for it."""
        partition = self._partitions.get(message.group)
        if message.relay and partition is not None and self._relay(source, message, partition):
            return
        answer = partial(self._answer_forward, source, message.id, partition)
        if message.group == CATALOG_GROUP:
            self._serve_catalog(message.request, message.command_id, answer, message.repeated)
        elif partition is None:
            hint = self._elsewhere(message.group)
            self._host.send(
                source, Misdirected(message.id, NO_NODE if hint is None else hint, False, unknown_group=hint is None)
            )
        else:
            partition.submit(message.request, message.command_id, answer, message.repeated)

    def _relay(self, source: NodeId, message: Forward, partition: PartitionReplica) -> bool:
        """Ask the leader in the name of `source`, which cannot; False if there is none to be asked from here."""
        leader = partition.replica.leader_hint
        if partition.leading or leader in (None, source, self._settings.me) or not self._alive(leader):
            return False
        deadline = Instant(self._host.now() + _RELAY_NS)
        call = self._new_call(
            message.group, partition.replica.members, message.request, message.command_id, deadline,
            partial(self._answer_relayed, source, message.id, partition), True,
        )  # fmt: skip
        if call is not None:
            call.relayed = True
            self._attempt(call)
        return True

    def _answer_relayed(self, source: NodeId, id_: int, partition: PartitionReplica, reply: Any) -> None:
        """What `source` hears of it: an answer, or that there was none yet, when it will try again itself."""
        if type(reply) is Failed and reply.kind in _NO_ANSWER:
            self._host.send(source, Misdirected(id_, NO_NODE, reply.kind is FailureKind.UNKNOWN))
        else:
            self._host.send(source, Forwarded(id_, reply, max(partition.rows.applied.slot, partition.seen)))

    def _answer_forward(self, source: NodeId, id_: int, partition: PartitionReplica | None, reply: Any) -> None:
        if type(reply) is Elsewhere:
            self._host.send(source, Misdirected(id_, reply.hint, reply.maybe_applied))
        else:
            applied = _NO_SLOT if partition is None else partition.rows.applied.slot
            self._host.send(source, Forwarded(id_, reply, applied))

    def on_forwarded(self, message: Forwarded) -> None:
        """The answer to a forward; late ones of finished calls are dropped."""
        call = self._calls.get(message.id)
        if call is not None:
            local = self._partitions.get(call.group)
            if local is not None and message.applied > local.seen:
                local.seen = message.applied
            self._settle(call, message.reply)

    def on_misdirected(self, source: NodeId, message: Misdirected) -> None:
        """The node that was asked does not serve the group."""
        call = self._calls.get(message.id)
        if call is None:
            return
        if call.outstanding and call.target == source:
            self._misdirected(call, source, message.hint, message.maybe_applied, message.unknown_group)
        else:
            call.maybe_applied = call.maybe_applied or message.maybe_applied
