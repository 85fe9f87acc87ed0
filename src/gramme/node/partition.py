"""One replica of a partition: a replication group joined to its rows.

The leader evaluates each write against applied rows (`applied_rows`) overlaid with writes in flight (`in_flight`),
proposes the resulting mutation, and answers when it has applied it. Every replica applies chosen entries blindly.
Rules (REPLICATION.md §2): apply before answer; an answer that changes nothing needs the lease; on losing the ballot
what is in flight is dropped, and proposed writes have an unknown outcome until the next leader's log tells, by command
id (`outcomes`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.errors import GrammeError, InvalidInput, Invariant, Stalled
from gramme.kernel.ids import NO_NODE, CommandId, ExtentId, NodeId, Slot
from gramme.kernel.time import Instant
from gramme.node.accepted import AcceptedKeys
from gramme.node.applied_rows import AppliedRows
from gramme.node.catalog.node_table import PlanRemoval
from gramme.node.evaluator import Answer, Change, Context, Evaluator, Read, ReadLately, Scan
from gramme.node.group_owner import GroupOwner
from gramme.node.host import Host
from gramme.node.in_flight import InFlight
from gramme.node.messages import GroupSpec
from gramme.node.mutation import (
    CHANGES_END,
    WITHOUT_OUTCOME,
    WRITES,
    ChangeRecord,
    Mutation,
    change_key,
    decode_mutation,
    encode_mutation,
)
from gramme.node.outcomes import Outcomes
from gramme.node.ports import NodeSettings
from gramme.node.state_rows import SCHEMA_ROW
from gramme.node.wire import decode_reply, encode_reply
from gramme.paxos.entry import Command, CommandKind, Entry, Mark
from gramme.paxos.outputs import BecameLeader, Chosen, LostLeadership
from gramme.paxos.replica import GroupReplica, NotLeader
from gramme.storage.engine.contract import View
from gramme.tables.catalog import DescribeTable, ListTables
from gramme.tables.requests import (
    PARTITION_READS,
    CountRows,
    DeleteItem,
    ExpireItem,
    Failed,
    FailureKind,
    GetItem,
    PutItem,
    ReadVersions,
    ScanRange,
    UpdateItem,
)
from gramme.tables.streams import DescribeStream, ListStreams, ReadChanges
from gramme.tables.transaction_commands import Prepare, WriteAll

_READS: Final = frozenset(
    (
        GetItem,
        ScanRange,
        CountRows,
        ReadChanges,
        ReadVersions,
        DescribeTable,
        ListTables,
        PlanRemoval,
        ListStreams,
        DescribeStream,
    )
)
_ITEM_WRITES: Final = (PutItem, UpdateItem, DeleteItem, Prepare, WriteAll, ExpireItem)
_INDEX_THROTTLED: Final = "IndexWriteKeyRangeThroughputExceeded"
_APPLY_RETRY_NS: Final = 5_000_000


class Elsewhere(NamedTuple):
    """Not served here. `hint`: the leader this replica believes in. `maybe_applied`: proposed, then lost the ballot."""

    hint: NodeId
    maybe_applied: bool = False


class Holding(NamedTuple):
    """To the composing node, at the leader: a transaction is about to hold items here."""


class Recorded(NamedTuple):
    """To the composing node, at the leader: applied just now, and of concern to the partition's feeder."""

    slot: Slot
    changes: list[ChangeRecord]
    configured: bool  # the partition's schema is a new one


OnReply = Callable[[Any], None]
"""Called once with a reply of `gramme.tables` or with `Elsewhere`."""


class PartitionReplica(GroupOwner):
    """See the module. `on_role` is told of every change of leadership, after the overlay is in order."""

    def __init__(
        self,
        spec: GroupSpec,
        replica: GroupReplica,
        evaluator: Evaluator,
        host: Host,
        settings: NodeSettings,
        extent: ExtentId,
        applied: Mark,
        on_role: Callable[[PartitionReplica], None],
        on_output: Callable[[PartitionReplica, Any], None],
    ) -> None:
        super().__init__(spec, replica, host)
        self.leading = False
        self.refusing = False
        self.backlogged = ""  # the global index that cannot keep up: writes of items are refused meanwhile
        self._leads_next = False
        self.outcomes = Outcomes(settings.outcome_window_ns, settings.outcome_limit, host.now())
        self.rows = AppliedRows(host.ports.engine, extent, applied)
        self._in_flight = InFlight(self.rows)
        self._clock = host.ports.clock
        self._settings = settings
        self._on_role = on_role
        self._on_output = on_output
        self._sealing = False  # among the entries that are being applied is a SEAL
        self.evaluator = evaluator.settled(self.rows.get)
        self._unapplied: deque[Entry] = deque()
        self._applying = False
        self.read_applied: Callable[[Any], Any] = partial(self._evaluate_read, self.rows.get, self.rows.scan, self.rows)
        """Answers a read from what is applied here: what `read_now` does, unless it was replaced."""
        self.read_now: Callable[[Any], Any] = self.read_applied
        """Answers a read from what is applied here. The caller has checked `serves_reads` or `current` in this step, or
        reads stale rows as the last resort when nobody else answers an eventual read. A test control replaces it."""
        self.seen = Slot(0)  # the newest state of any replica that this node has had an answer from
        self._accepted_keys = AcceptedKeys()

    # --- the owner of the group's effects -------------------------------------------------------------------------

    def end_turn(self, now: Instant) -> Effects | None:
        """One Accept per peer with all that was proposed in this turn."""
        effects = self.replica.flush(now)
        self._timer.arm()
        return effects

    def output(self, output: Any) -> None:
        """See `host.Owner`."""
        if type(output) is Chosen:
            self._unapplied.extend(output.entries)
            self._apply()
        elif isinstance(output, BecameLeader):
            self._begin_leading()
        elif isinstance(output, LostLeadership):
            self._end_leading()
        else:
            self._on_output(self, output)

    # --- requests -------------------------------------------------------------------------------------------------

    def submit(self, request: Any, command_id: CommandId, on_reply: OnReply, repeated: bool = False) -> None:
        """Serve `request` if this replica may, else answer `Elsewhere`; perhaps before this returns. `repeated`: an
        earlier attempt of the same command may still be on its way to any replica."""
        if type(request) in _READS:
            self._read(request, on_reply, repeated)
        elif not self.leading:
            on_reply(self._elsewhere())
        else:
            self._write(request, command_id, on_reply, repeated)

    def serves_reads(self, now: Instant) -> bool:
        """Whether strong reads may be answered here at `now` (sampled after the request was read)."""
        leader = self.replica.leader
        return (
            self.leading and not self._unapplied and leader is not None and leader.serving and leader.holds_lease(now)
        )

    def fresh(self, now: Instant) -> bool:
        """Whether eventual reads may be answered here: this replica heard its leader lately and has what it said."""
        if self.leading:
            return self.replica.holds_lease(now)
        heard = self.replica.leader_heard_at
        return (
            self._settings.eventual_reads_any
            and heard is not None
            and now - heard <= self._settings.eventual_read_max_lag_ns
        )

    def current(self, request: Any, now: Instant) -> bool:
        """Whether an eventual read is answered here without looking further: this replica is `fresh`, holds all of the
        log that an answer to this node can have come from, and nothing that it holds and has not applied changes what
        is read."""
        if not self.fresh(now):
            return False
        applied = self.rows.applied.slot
        if self.leading or self.replica.last_slot == applied >= self.seen:
            return True
        if type(request) is ReadChanges:  # who reads on behind all records here hears of the next ones by the leader
            behind = self.rows.scan(change_key(request.start.slot, request.start.index), CHANGES_END, False)
            return any(True for _ in behind)
        entries = self.replica.accepted_after(applied)
        return (
            entries is not None
            and self.replica.last_slot >= self.seen
            and not self._accepted_keys.touched(request, entries)
        )

    @property
    def catching_up(self) -> bool:
        """Whether a leader is known that has not been caught up with since this replica started."""
        replica = self.replica
        return not (self.leading or replica.leader_hint is None or replica.leader_heard_at is not None)

    def read_as_of(self, request: Any, view: View) -> Any:
        """Answer a read from an earlier view of the engine; from now where the view is of before a snapshot came."""
        past = self.rows.as_of(view)
        return self.read_applied(request) if past is None else self._evaluate_read(*past, None, request)

    def _evaluate_read(self, get: Read, scan: Scan, lately: ReadLately | None, request: Any) -> Any:
        try:
            return self.evaluator.read(request, get, scan, lately)
        except GrammeError:
            raise  # damage or a broken invariant: the node stops
        except Exception as error:  # noqa: BLE001 - one request's bug must not take the replicas down, one by one
            return self._bug(request, error)

    def _bug(self, request: Any, error: Exception) -> Failed:
        self._host.ports.log_event("evaluation failed", {"request": type(request).__name__, "error": repr(error)})
        return Failed(FailureKind.INTERNAL, repr(error))

    def _read(self, request: Any, on_reply: OnReply, repeated: bool) -> None:
        """A first attempt goes on to the leader where that one may know better; a repeated one takes what is fresh."""
        now = self._host.now()
        eventual = isinstance(request, PARTITION_READS) and not request.consistent
        if self.serves_reads(now) or (eventual and (self.fresh(now) if repeated else self.current(request, now))):
            on_reply(self.read_now(request))
        else:
            on_reply(self._elsewhere())

    def _write(self, request: Any, command_id: CommandId, on_reply: OnReply, repeated: bool) -> None:
        known = self.outcomes.applied(command_id)
        told = self.outcomes.answered(command_id) if known is None else None
        if known is None and not repeated:
            known = told
        if known is not None:
            on_reply(decode_reply(known))
            return
        running = self._in_flight.find(command_id)
        if running is not None:
            if repeated and running.mutation is None:
                on_reply(self._elsewhere())  # it will be told in a moment, and then the log can have it
            else:
                running.waiters.append(on_reply)
            return
        now = self._host.now()
        if self.outcomes.doubted(now):
            on_reply(self._elsewhere())
            return
        if self.refusing or self.outcomes.full or self._host.log.full:
            on_reply(Failed(FailureKind.THROTTLED, "the partition refuses writes until space is free"))
            return
        if self.backlogged and isinstance(request, _ITEM_WRITES):
            on_reply(Failed(FailureKind.THROTTLED, "an index cannot keep up", _INDEX_THROTTLED, self.backlogged))
            return
        wall = self._clock.timestamp()
        try:
            context = Context(wall, self.replica.next_stamp(wall), self._last_slot)
            if told is None:
                plan = self.evaluator.write(request, self._in_flight.get, context)
            else:
                plan = Answer(decode_reply(told), ())
        except GrammeError:
            raise  # as in `_evaluate_read`
        except Exception as error:  # noqa: BLE001 - as in `_evaluate_read`
            on_reply(self._bug(request, error))
            return
        if repeated and type(plan) is Answer:
            # Another attempt may arrive when the condition has come to hold, at a leader that never heard this answer,
            # and be applied after the client was told that it was not. So the log remembers the answer.
            plan = Change([], [], plan.reply)
        if type(plan) is Change:
            self._propose(plan, command_id, wall, now, on_reply)
        else:
            assert isinstance(plan, Answer)
            self._hold_answer(plan, command_id, on_reply)

    def _propose(self, plan: Change, command_id: CommandId, wall: Any, now: Instant, on_reply: OnReply) -> None:
        reply = encode_reply(plan.reply)
        changes = list(plan.changes) if plan.changes else []
        mutation = Mutation(plan.puts, plan.deletes, reply, changes, plan.grown, plan.erased)
        command = Command(plan.kind, command_id, encode_mutation(mutation))
        try:
            at = wall if wall > plan.floor else plan.floor
            slot, effects = self.replica.propose(command, at, now)
        except Stalled as stalled:
            on_reply(Failed(FailureKind.THROTTLED, str(stalled)))
            return
        except NotLeader:
            on_reply(self._elsewhere())
            return
        except InvalidInput as error:
            on_reply(Failed(FailureKind.INTERNAL, str(error)))
            return
        self._in_flight.propose(command_id, slot, mutation, plan.reply, on_reply)
        if plan.kind != CommandKind.MUTATIONS:
            self.evaluator.proposed(plan)
            if plan.kind == CommandKind.PREPARE:
                self._on_output(self, Holding())
        self._host.execute(effects, self)
        self._host.touch(self)

    def _hold_answer(self, plan: Answer, command_id: CommandId, on_reply: OnReply) -> None:
        """A failed condition or a write that changes nothing is a read of what it saw."""
        if not self.replica.holds_lease(self._host.now()):
            on_reply(self._elsewhere())
            return
        slot = self._in_flight.slot_behind(plan.keys)
        if slot > self.rows.applied.slot:
            self._in_flight.hold(command_id, slot, plan.reply, on_reply)
        else:
            self.outcomes.note_answer(command_id, encode_reply(plan.reply))
            on_reply(plan.reply)

    def _last_slot(self) -> Slot:
        return self.replica.last_slot

    def _elsewhere(self, maybe_applied: bool = False) -> Elsewhere:
        hint = self.replica.leader_hint
        return Elsewhere(NO_NODE if hint is None else hint, maybe_applied)

    # --- applying -------------------------------------------------------------------------------------------------

    def _apply(self) -> None:
        """Apply chosen entries in one batch with the applied slot, then answer. A stalled engine is retried."""
        if self._applying:
            return
        self._applying = True
        try:
            while self._unapplied:
                entries, self._unapplied = self._unapplied, deque()
                mutations = self._apply_entries(entries)
                if mutations is None:
                    entries.extend(self._unapplied)
                    self._unapplied = entries
                    self._host.ports.scheduler.call_at(Instant(self._host.now() + _APPLY_RETRY_NS), self._retry_apply)
                    return
                self._settle(entries, mutations)
            if self._leads_next:
                self._begin_leading()
        finally:
            self._applying = False

    def _retry_apply(self) -> None:
        if not self._host.stopped:
            self._apply()

    def _apply_entries(self, entries: deque[Entry]) -> list[Mutation | None] | None:
        """Apply them. Returns their mutations (None: a no-op), or None if the engine is stalled."""
        if entries[0].slot != self.rows.applied.slot + 1:
            raise Invariant(f"group {self.spec.group}: slot {entries[0].slot} follows slot {self.rows.applied.slot}")
        mutations = [self._mutation(entry) for entry in entries]
        try:
            size_bytes = self.rows.apply(entries, mutations)
        except Stalled:
            return None
        self._host.engine_bytes += size_bytes
        if self._sealing:
            self._sealing = False
            self.evaluator = self.evaluator.settled(self.rows.get)
        return mutations

    def _mutation(self, entry: Entry) -> Mutation | None:
        """What `entry` does, None for a no-op. A leader still has it; a follower decodes."""
        kind = entry.kind
        if kind != CommandKind.MUTATIONS:
            if kind == CommandKind.NOOP or kind == CommandKind.CONFIG:
                return None
            if kind == CommandKind.SEAL:
                self._sealing = True
            elif kind not in WRITES:
                raise Invariant(f"group {self.spec.group} slot {entry.slot}: command kind {kind} is of a later release")
        proposed = self._in_flight.mutation(entry.slot)
        return decode_mutation(entry.body) if proposed is None else proposed

    def _settle(self, entries: deque[Entry], mutations: list[Mutation | None]) -> None:
        """Outcomes and answers of entries that are applied now."""
        for entry, mutation in zip(entries, mutations, strict=True):
            if mutation is None:
                continue
            self.outcomes.add(entry.command_id, mutation.reply)
            configured = bool(mutation.puts) and mutation.puts[0][0] == SCHEMA_ROW
            if self.leading and (configured or mutation.changes):
                self._on_output(self, Recorded(entry.slot, mutation.changes, configured))
            proposed = self._in_flight.applied(entry.slot)
            if proposed is not None:
                proposed.answer(proposed.reply)
        applied = self.rows.applied.slot
        self.replica.on_applied(applied)
        while (held := self._in_flight.next_due(applied)) is not None:
            self.outcomes.note_answer(held.command_id, encode_reply(held.reply))
            held.answer(held.reply)

    def rebuild_outcomes(self, entries: list[Entry]) -> None:
        """After a restart: remember the commands that the retained log shows as applied, and those that came with a
        snapshot."""
        self.outcomes.take(self.rows.outcomes(), self._host.now())
        for entry in entries:
            if entry.slot <= self.rows.applied.slot and entry.kind not in WITHOUT_OUTCOME:
                reply = decode_mutation(entry.body).reply
                self.outcomes.add(entry.command_id, reply)

    def tidy_outcomes(self, now: Instant) -> None:
        """Forget outcomes that are out of their window, in memory and in rows."""
        if self.outcomes.rotate(now):
            self.rows.age_outcomes()

    # --- roles ----------------------------------------------------------------------------------------------------

    def _begin_leading(self) -> None:
        # A stalled engine may still owe entries below the barrier: leading starts when they are applied.
        self._leads_next = bool(self._unapplied)
        if self._leads_next:
            return
        self.evaluator.reset(self.rows.scan)
        self.leading = True
        self._on_role(self)

    def _end_leading(self) -> None:
        """Drop what is in flight. Whoever waits asks the next leader, which knows by command id what became of the
        write."""
        self.leading = self._leads_next = False
        proposed, held = self._in_flight.drop()
        maybe, no = self._elsewhere(maybe_applied=True), self._elsewhere()
        for write in proposed:
            write.answer(maybe)
        for answer in held:
            answer.answer(no)
        self._on_role(self)

    def pause_applying(self) -> None:
        """A finished snapshot is being made durable: rows of the old extent must not move any more."""
        self._applying = True

    def resume_applying(self) -> None:
        """Go on after `pause_applying`."""
        self._applying = False
        self._apply()

    def switch_extent(self, extent: ExtentId, applied: Mark, outcomes: list[tuple[CommandId, bytes]]) -> None:
        """A snapshot has become this replica's state; the rows of the old extent are no longer read."""
        self.rows.switch(extent, applied, bool(outcomes))
        self.outcomes.replace(outcomes, self._host.now())
        self.evaluator = self.evaluator.settled(self.rows.get)
        self.evaluator.reset(self.rows.scan)
        self._unapplied = deque(entry for entry in self._unapplied if entry.slot > applied.slot)

    def close(self) -> None:
        """The replica is dropped: it takes no part any more, and everyone who waits is told to look elsewhere."""
        self.replica.amnesiac = True
        self._applying = True
        if self.leading:
            self._end_leading()
