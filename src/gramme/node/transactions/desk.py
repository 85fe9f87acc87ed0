"""What every coordinator and recoverer of a node shares: sending, timestamps, randomness, and where the ledger is.

Rule: the timestamps that a node gives to transactions strictly grow, and are above every one it was told is too old, so
that a node whose clock is slow is refused once and not for ever. The ledger is a system table, created by whoever needs
it first; only the test control that drops everything drops it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from gramme.kernel.errors import Invariant
from gramme.kernel.ids import GroupId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.node.alarm import Alarm
from gramme.node.host import Host
from gramme.tables.catalog import CatalogReply, CatalogRequest, CreateTable
from gramme.tables.descriptor import KeySchema, Partition, TableDescriptor
from gramme.tables.requests import Failed, FailureKind
from gramme.tables.transaction_commands import LEDGER, Close, Finish, Participant, Settled

_RETRY_NS: Final = 20 * MILLISECOND
_CLOSE_NS: Final = 100 * MILLISECOND
_CLOSE_ROWS: Final = 200
_CLOSE_PATIENCE_NS: Final = 2 * SECOND

OnReply = Callable[[Any], None]


class Sender(Protocol):
    """What the desk needs of the router (`gramme.node.router`)."""

    def send(self, place: Partition, request: Any, deadline: Instant, on_reply: OnReply) -> None: ...

    def table(self, name: str) -> TableDescriptor | None: ...

    def lookup(self, name: str, deadline: Instant, on_reply: Callable[[TableDescriptor | Failed], None]) -> None: ...

    def catalog(self, request: CatalogRequest, deadline: Instant, on_reply: Callable[[CatalogReply], None]) -> None: ...


class Desk:
    """See the module."""

    def __init__(self, host: Host, router: Sender) -> None:
        self._host = host
        self._router = router
        self._last_stamp = 0
        self._ledger: TableDescriptor | None = None
        self._closing: dict[GroupId, list[tuple[bytes, bytes]]] = {}
        self._close_soon = Alarm(host, self._close_due)

    # --- time and chance ----------------------------------------------------------------------------------------------

    def now(self) -> Instant:
        """Monotonic time."""
        return self._host.now()

    def wall(self) -> int:
        """Wall time in nanoseconds."""
        return self._host.ports.clock.timestamp()

    def next_stamp(self) -> int:
        """A transaction's timestamp: wall nanoseconds, above all that this node gave or was told of."""
        self._last_stamp = max(self._host.ports.clock.timestamp(), self._last_stamp + 1)
        return self._last_stamp

    def saw_stamp(self, stamp: int) -> None:
        """`stamp` is in use somewhere."""
        self._last_stamp = max(self._last_stamp, stamp)

    def draw(self) -> bytes:
        """16 random bytes."""
        return self._host.ports.rng.randbytes(16)

    def later(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Run `action` in a while, unless the node has stopped."""
        when = Instant(self._host.now() + delay_ns)
        self._host.ports.scheduler.call_at(when, lambda: None if self._host.stopped else action())

    def soon(self, action: Callable[[], None]) -> None:
        """Run `action` in the loop's next turn."""
        self._host.ports.scheduler.call_soon(lambda: None if self._host.stopped else action())

    # --- partitions ---------------------------------------------------------------------------------------------------

    def send(self, place: Partition, request: Any, deadline: Instant, on_reply: OnReply) -> None:
        """Have the leader of a partition serve `request`; see `Router.send`."""
        self._router.send(place, request, deadline, on_reply)

    def insist(self, place: Partition, request: Any, deadline: Instant, on_reply: OnReply) -> None:
        """As `send`, and again while the partition is merely too busy."""

        def answered(reply: Any) -> None:
            busy = isinstance(reply, Failed) and reply.kind is FailureKind.THROTTLED
            if busy and self.now() + _RETRY_NS < deadline:
                self.later(_RETRY_NS, lambda: self.send(place, request, deadline, answered))
            else:
                on_reply(reply)

        self.send(place, request, deadline, answered)

    def finish(self, place: Partition, tx: bytes, commit: bool, deadline: Instant, on_reply: OnReply) -> None:
        """Finish at a partition, step by step where much is held there."""

        def answered(reply: Any) -> None:
            if isinstance(reply, Settled) and not reply.whole:
                self.finish(place, tx, commit, deadline, on_reply)
            else:
                on_reply(reply)

        self.insist(place, Finish(tx, commit), deadline, answered)

    # --- the ledger ---------------------------------------------------------------------------------------------------

    def to_ledger(self, id_: bytes, request: Any, deadline: Instant, on_reply: OnReply, create: bool = True) -> None:
        """Have the ledger's partition of `id_` serve `request`; if need be and `create`, the ledger is created first.
        Without one, and without `create`: Failed(NO_TABLE)."""

        def answered(reply: Any) -> None:
            if not (isinstance(reply, Failed) and reply.kind in (FailureKind.NO_TABLE, FailureKind.THROTTLED)):
                on_reply(reply)
                return
            if reply.kind is FailureKind.NO_TABLE:
                self._ledger = None  # dropped, or so new that its replicas are still being made
            if self.now() + _RETRY_NS < deadline:
                self.later(_RETRY_NS, lambda: self.to_ledger(id_, request, deadline, on_reply, create))
            else:
                on_reply(Failed(FailureKind.NO_QUORUM, "the ledger of transactions does not answer"))

        def found(ledger: TableDescriptor | Failed) -> None:
            if isinstance(ledger, Failed):
                on_reply(ledger)
            else:
                self.send(ledger.partition_of(id_), request, deadline, answered)

        if self._ledger is not None:
            found(self._ledger)
        else:
            self._find_ledger(deadline, found, create)

    def _find_ledger(
        self, deadline: Instant, on_reply: Callable[[TableDescriptor | Failed], None], create: bool
    ) -> None:
        def looked_up(found: TableDescriptor | Failed) -> None:
            if isinstance(found, TableDescriptor):
                self._ledger = found
                on_reply(found)
            elif found.kind is FailureKind.NO_TABLE and create:
                self._router.catalog(_CREATE_LEDGER, deadline, created)
            else:
                on_reply(found)

        def created(reply: CatalogReply) -> None:
            if isinstance(reply, Failed):
                on_reply(reply)
            else:  # created now, or by somebody else meanwhile
                self._find_ledger(deadline, on_reply, create=False)

        self._router.lookup(LEDGER, deadline, looked_up)

    def close(self, id_: bytes, tx: bytes) -> None:
        """All participants of a committed transaction have finished: tell the ledger soon, with others. If that is
        lost, the ledger's sweep finds out."""
        if self._ledger is None:
            return
        place = self._ledger.partition_of(id_)
        rows = self._closing.setdefault(place.group, [])
        rows.append((id_, tx))
        if len(rows) >= _CLOSE_ROWS:
            self._send_close(place.group)
        else:
            self._close_soon.arm(_CLOSE_NS)

    def _close_due(self) -> None:
        for group in list(self._closing):
            self._send_close(group)

    def _send_close(self, group: GroupId) -> None:
        rows = self._closing.pop(group, [])
        if rows and self._ledger is not None:
            deadline = Instant(self.now() + _CLOSE_PATIENCE_NS)
            self.send(self._ledger.partition_of(rows[0][0]), Close(tuple(rows)), deadline, _ignore)


def place_of(participant: Participant) -> Partition:
    """Where to send what concerns a participant."""
    return Partition(participant.group, b"", b"", participant.replicas)


def participant_of(place: Partition) -> Participant:
    """The inverse, as the ledger keeps it."""
    return Participant(place.group, place.replicas)


def unserved(reply: Any) -> Failed:
    """A reply that can only be a failure."""
    if isinstance(reply, Failed):
        return reply
    raise Invariant(f"unexpected answer to a transaction's command: {type(reply).__name__}")


def _ignore(_reply: Any) -> None:
    """Nobody waits for it."""


_CREATE_LEDGER: Final = CreateTable(LEDGER, KeySchema("id", "B"), (("id", "B"),), "PAY_PER_REQUEST")
