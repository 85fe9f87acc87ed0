"""The host: the one executor of effects, in production and in simulation.

It owns the shared log's pipeline, the outbox, and the order between them: what a machine puts in `sends_durable` or
`durable_events` waits until every record appended so far is durable. Work is gathered during a turn of the event loop,
and where a log job could begin in the next one too, which does not wait; then it is flushed: one frame per peer and one
fsync serve all of it (group commit, decision 0103).
Records that nobody waits for (`Effects.unhurried`) are held until somebody waits for others, and no longer than
`HOLD_NS`: they stand in the log in their place, so whatever is told to be durable later includes them.
Source: DESIGN.md §3 "One executor", REPLICATION.md §1 and §5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Lsn, NodeId
from gramme.kernel.ports import Timer
from gramme.kernel.time import Instant
from gramme.node.ports import Ports
from gramme.storage.log.shared import LogJob, SharedLog


class Owner(Protocol):
    """A machine's place in the node: where its durable events and outputs go back to."""

    def durable(self, event: Any) -> None:
        """`event` of an earlier Effects: all its records are durable now."""

    def output(self, output: Any) -> None:
        """A fact for the composing node."""

    def end_turn(self, now: Instant) -> Effects | None:
        """What was held back to be batched in this turn; called once for an owner that was `touch`ed."""


class RecordOwner:
    """An `Owner` that only waits for its records: it has no outputs, and holds nothing back in a turn."""

    def output(self, output: Any) -> None:
        """There are none."""

    def end_turn(self, now: Instant) -> Effects | None:
        """There is nothing."""
        return None


class Host:
    """Carries effects out. Not re-entrant by construction: ports never call back from inside a call."""

    def __init__(self, ports: Ports, log: SharedLog, me: NodeId, deliver: Callable[[Any], None]) -> None:
        self.ports = ports
        self.log = log
        self.me = me
        self._deliver = deliver
        self._loopback: deque[Any] = deque()
        self.stopped = False
        self.fsyncs = 0
        self.engine_bytes = 0
        self._outbox: dict[NodeId, list[Any]] = {}
        self._touched: dict[int, Owner] = {}
        self._waiting: deque[tuple[Lsn, Effects, Owner]] = deque()
        self._in_flight: LogJob | None = None
        self._armed = False
        self._looked = False  # this flush was put off
        self._company = False  # the last flush sent frames
        self._stepping = False  # a step is being carried out, or what is durable is being let go
        self._log_due = False  # there are records that should not wait
        self._held = 0
        self._hold_timer: Timer | None = None
        self._mark_timer: Timer | None = None
        self.now: Callable[[], Instant] = ports.clock.instant
        """The node's monotonic time."""

    @property
    def log_job(self) -> object:
        """What the log disk is at, None if it is idle: the same object for as long as it does not answer."""
        return self._in_flight

    def execute(self, effects: Effects, owner: Owner) -> None:
        """Carry out `effects` in the order that `Effects` states."""
        if effects.records:
            self.log.append(effects.records)
            if effects.unhurried:
                self._hold(len(effects.records))
            else:
                self._log_due = True
                self._arm()
        for node, message in effects.sends:
            self.send(node, message)
        if effects.sends_durable or effects.durable_events:
            self._waiting.append((self.log.last_lsn, effects, owner))
            if self._held and self.log.last_lsn > self.log.durable_lsn:
                self._log_due = True
                self._arm()
        outermost, self._stepping = not self._stepping, True
        for output in effects.outputs:
            owner.output(output)
        if outermost:
            self._release_durable()

    def send(self, node: NodeId, message: Any) -> None:
        """Queue `message` for the frame that leaves at the end of this turn."""
        if node == self.me:
            self._loopback.append(message)
        elif (queue := self._outbox.get(node)) is not None:
            queue.append(message)
        else:
            self._outbox[node] = [message]
        self._arm()

    def touch(self, owner: Owner) -> None:
        """Have `owner.end_turn` called once at the end of this turn."""
        self._touched[id(owner)] = owner
        self._arm()

    def _arm(self) -> None:
        if not self._armed and not self.stopped:
            self._armed = True
            self.ports.scheduler.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Flush; but where that would begin a log job, and there are others to send frames to, the next turn, which
        does not wait for input, may bring more for both. A node alone had rather work on while its disk does."""
        if not self._looked and self._company and self._log_due and self._in_flight is None:
            self._looked = True
            self.ports.scheduler.call_soon(self._end_turn)
            return
        self._armed = self._looked = False
        self._flush()

    def _flush(self) -> None:
        if self.stopped:
            return
        while self._loopback:
            self._deliver(self._loopback.popleft())
        while self._touched:
            touched, self._touched = self._touched, {}
            now = self.now()
            for owner in touched.values():
                effects = owner.end_turn(now)
                if effects is not None:
                    self.execute(effects, owner)
        if self._loopback:
            self._arm()
        self._company = bool(self._outbox)
        if self._outbox:
            outbox, self._outbox = self._outbox, {}
            for node, messages in outbox.items():
                self.ports.transport.send(node, messages)
        self._write_log()

    def _hold(self, records: int) -> None:
        """Let what was just appended wait for company, unless enough of it has gathered."""
        self._held += records
        if self._held >= HELD_RECORDS or self.log.unwritten_bytes >= HELD_BYTES:
            self._log_due = True
            self._arm()
        elif self._hold_timer is None:
            self._hold_timer = self.ports.scheduler.call_at(Instant(self.now() + HOLD_NS), self._end_hold)

    def _end_hold(self) -> None:
        self._hold_timer = None
        if self._held:
            self._log_due = True
            self._arm()

    def _write_log(self) -> None:
        if self._in_flight is None and self._log_due:
            self._log_due = False
            self._held = 0
            job = self.log.take()
            if job is not None:
                self._in_flight = job
                self.ports.log_disk.submit(job.writes, self._job_durable)

    def _job_durable(self) -> None:
        job = self._in_flight
        if self.stopped or job is None:
            return
        self._in_flight = None
        self.fsyncs += 1
        self.log.on_durable(job)
        # The next job starts before this one's answers are worked out: the disk is the scarcer thing.
        self._write_log()
        self._release_durable()
        if not self._waiting and self.log_job is None:
            self._arm_mark()

    def _release_durable(self) -> None:
        """Let go what waited for records that are durable, in the order in which it was asked for. What is asked for
        meanwhile is put behind it, and no step is begun inside another: a step that a durable event begins may put out
        what follows the outputs of the step that asked for the event, or of the event before."""
        self._stepping = True
        waiting, log = self._waiting, self.log
        while waiting and waiting[0][0] <= log.durable_lsn:
            _, effects, owner = waiting.popleft()
            for node, message in effects.sends_durable:
                self.send(node, message)
            for event in effects.durable_events:
                owner.durable(event)
        self._stepping = False

    def _arm_mark(self) -> None:
        """Once the log is idle, note on disk what is durable, so that recovery can tell a torn tail from a cut one."""
        if self._mark_timer is None:
            when = Instant(self.now() + _MARK_DELAY_NS)
            self._mark_timer = self.ports.scheduler.call_at(when, self._write_mark)

    def _write_mark(self) -> None:
        self._mark_timer = None
        if self.stopped or self._in_flight is not None:
            return
        mark = self.log.take_mark()
        if mark is not None:
            self.ports.log_disk.submit([mark], _nothing)


HOLD_NS = 1_000_000_000
HELD_RECORDS = 1_000
HELD_BYTES = 4 << 20
"""Held records are written after so long, or as soon as there are so many or so much of them: what a crash of this node
can take with it (Dynamo's buffer had a thousand objects, SOSP 2007, §6.1)."""

_MARK_DELAY_NS = 20_000_000


def _nothing() -> None:
    """A durable mark is advice to recovery: nobody waits for it."""
