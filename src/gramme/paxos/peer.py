"""What a leader knows of one follower, and what it sends it next.

The modes are etcd's progress tracker (probe, replicate, snapshot) with one more for a follower whose log is of another
ballot: it is brought up with chosen entries first (`Learn`), and then gets the rest as one `Install`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, NodeId, Slot
from gramme.kernel.time import Instant
from gramme.paxos.acceptor import Acceptor
from gramme.paxos.configuration import encode_configuration
from gramme.paxos.entry import Mark
from gramme.paxos.messages import Accept, Commit, Install, Learn, Rebase
from gramme.paxos.outputs import NeedSnapshot
from gramme.paxos.settings import PaxosSettings

_SMALL_SHIFT = 4


class Mode(Enum):
    """How a follower is being served."""

    PROBE = "probe"  # asked where it is; nothing more goes out until it answers
    JOIN = "join"  # its log is of another ballot: one Learn or Install is under way
    STREAM = "stream"  # in our ballot: Accepts are pipelined
    SNAPSHOT = "snapshot"  # lacks entries that are no longer retained


class Peer:
    """One follower under one ballot. `match`: it durably holds the log of this ballot up to there."""

    __slots__ = (
        "_acceptor",
        "_ballot",
        "_base",
        "_last_rewind",
        "_settings",
        "_tried_mark",
        "_unacked",
        "amnesiac",
        "chosen",
        "era",
        "in_flight_bytes",
        "joined",
        "match",
        "mode",
        "next",
        "node",
        "resend_at",
        "resumes_after",
        "since",
        "snapshotting",
        "told_chosen",
    )

    def __init__(
        self,
        node: NodeId,
        ballot: Ballot,
        acceptor: Acceptor,
        settings: PaxosSettings,
        since: int = 0,
        base: Callable[[], Mark | None] | None = None,
    ) -> None:
        """`since` tells incarnations of the replica apart. `base` makes it a log replica: it says where that one may
        begin when what it lacks is no longer retained."""
        self.node = node
        self.since = since
        self.amnesiac = False  # it said so: it takes no part until it is made anew
        self.mode = Mode.PROBE
        self.match = Slot(0)
        self.next = Slot(0)  # first slot not sent; meaningful in STREAM
        self.chosen = Slot(0)  # what it said it knows as chosen
        self.told_chosen = Slot(0)
        self.joined = False  # has answered in our ballot
        self.era = 0
        self.in_flight_bytes = 0
        self.resend_at: Instant | None = None
        self.snapshotting = False  # NeedSnapshot is out and its end was not reported yet
        self.resumes_after: Slot | None = None  # a snapshot of this slot or a later one is coming: it needs the rest
        self._base = base
        self._ballot = ballot
        self._acceptor = acceptor
        self._settings = settings
        self._unacked: deque[tuple[Slot, int]] = deque()
        self._last_rewind = Slot(-1)
        self._tried_mark = Slot(-1)

    @property
    def is_log(self) -> bool:
        """Whether it is a log replica."""
        return self._base is not None

    # --- sending ------------------------------------------------------------------------------------------------------

    def stream_from(self, slot: Slot) -> None:
        """Serve by Accepts, starting with `slot`."""
        self.mode = Mode.STREAM
        self.next = slot
        self.in_flight_bytes = 0
        self._unacked.clear()

    def pump(self, now: Instant, everywhere: Slot, out: Effects) -> None:
        """Send what the follower lacks, as far as the window of bytes in flight allows."""
        log = self._acceptor.log
        while self.mode is Mode.STREAM and self.next <= log.last_slot:
            if self.in_flight_bytes >= self._settings.in_flight_bytes:
                return
            if self.next <= log.base.slot:
                self._need_snapshot(now, out)
                return
            self._send_accept(now, everywhere, out)

    def _send_accept(self, now: Instant, everywhere: Slot, out: Effects) -> None:
        acceptor = self._acceptor
        previous_slot = Slot(self.next - 1)
        entries, size = acceptor.log.chunk(previous_slot, acceptor.log.last_slot, self._settings.chunk_bytes)
        previous = acceptor.log.mark_at(previous_slot)
        assert previous is not None
        accept = Accept(
            acceptor.group,
            acceptor.number,
            self._ballot,
            previous_slot,
            previous.crc,
            entries,
            acceptor.chosen,
            everywhere,
        )
        out.sends.append((self.node, accept))
        self.next = Slot(self.next + len(entries))
        self.told_chosen = acceptor.chosen
        self.in_flight_bytes += size
        self._unacked.append((Slot(self.next - 1), size))
        if self.resend_at is None:
            self.resend_at = Instant(now + self._settings.resend_ns)

    def send_commit(self, now: Instant, everywhere: Slot, out: Effects) -> None:
        """Tell the chosen mark; the answer tells where the follower is."""
        acceptor = self._acceptor
        chosen = acceptor.log.mark_at(acceptor.chosen)
        assert chosen is not None
        out.sends.append((self.node, Commit(acceptor.group, acceptor.number, self._ballot, chosen, everywhere)))
        self.told_chosen = chosen.slot
        if self.resend_at is None:  # never put off: marks that keep flowing must not hide Accepts that were lost
            self.resend_at = Instant(now + self._settings.resend_ns)

    def probe(self, now: Instant, everywhere: Slot, out: Effects) -> None:
        """Nothing was heard in time: ask where the follower is."""
        if self.mode is not Mode.SNAPSHOT:
            self.mode = Mode.PROBE
        self._last_rewind = self._tried_mark = Slot(-1)
        self.resend_at = None
        self.send_commit(now, everywhere, out)

    def _need_snapshot(self, now: Instant, out: Effects) -> None:
        if self._base is not None:
            self._rebase(now, out)
            return
        self.mode = Mode.SNAPSHOT
        self.resend_at = None
        if not self.snapshotting:
            self.snapshotting = True
            self.resumes_after = self._acceptor.log.base.slot
            out.outputs.append(NeedSnapshot(self._acceptor.group, self.node, self.chosen))

    def _rebase(self, now: Instant, out: Effects) -> None:
        """A log replica needs no rows: it begins again at a mark."""
        assert self._base is not None
        acceptor, mark = self._acceptor, self._base()
        self.mode = Mode.PROBE
        self.resend_at = Instant(now + self._settings.resend_ns)
        if mark is not None:
            body = encode_configuration(acceptor.configuration)
            out.sends.append((self.node, Rebase(acceptor.group, acceptor.number, self._ballot, mark, body)))

    # --- hearing ------------------------------------------------------------------------------------------------------

    def on_accepted(self, slot: Slot, chosen: Slot, now: Instant) -> bool:
        """The follower is in our ballot up to `slot`. Returns whether `match` grew."""
        self._heard_after_snapshot()
        grew = slot > self.match
        self.match = max(self.match, slot)
        self.chosen = max(self.chosen, chosen)
        self.joined = True
        if self.mode is not Mode.STREAM:
            self.stream_from(Slot(self.match + 1))
        elif self.next <= self.match:
            self.next = Slot(self.match + 1)
        unacked = self._unacked
        while unacked and unacked[0][0] <= slot:
            self.in_flight_bytes -= unacked.popleft()[1]
        if grew or not unacked:
            self.resend_at = Instant(now + self._settings.resend_ns) if unacked else None
        return grew

    def on_gap(self, slot: Slot, now: Instant) -> None:
        """It is in our ballot, but an Accept before the one it answered was lost: go on behind `slot`. Each of the
        Accepts in flight makes it say so; only the first time counts, then the timer."""
        self._heard_after_snapshot()
        self.joined = True
        self.match = max(self.match, slot)
        if self.mode is Mode.STREAM and (slot < self.match or slot == self._last_rewind):
            return
        self._last_rewind = slot
        self.stream_from(Slot(self.match + 1))
        self.resend_at = Instant(now + self._settings.resend_ns)

    def _heard_after_snapshot(self) -> None:
        if not self.snapshotting:
            self.resumes_after = None

    def join(self, last: Mark, chosen: Slot, now: Instant, out: Effects) -> None:
        """The follower's log is of another ballot, ends at `last`, and it knows `chosen` as chosen.

        Cheapest first: if the rest is small or follows its chosen slot, install; if a mark may prove that what it holds
        is chosen, tell the mark; else send chosen entries; if those are no longer retained, a snapshot.
        """
        acceptor, log = self._acceptor, self._acceptor.log
        self.chosen = max(self.chosen, chosen)
        self.mode = Mode.JOIN
        known = log.mark_at(chosen)
        small = self._settings.chunk_bytes >> _SMALL_SHIFT
        if known is not None and (chosen >= acceptor.chosen or log.bytes_after(chosen) <= small):
            self._send_install(known, out)
        elif chosen < last.slot <= acceptor.chosen and log.holds(last):
            self._send_learn(last, out)
        elif last.slot > acceptor.chosen and self._tried_mark != acceptor.chosen:
            self._tried_mark = acceptor.chosen
            self._send_mark(out)
        elif known is not None:
            self._send_learn(known, out)
        else:
            self._need_snapshot(now, out)
            return
        self.resend_at = Instant(now + self._settings.resend_ns)

    def _send_install(self, previous: Mark, out: Effects) -> None:
        acceptor = self._acceptor
        entries = self.install_suffix(previous.slot)
        install = Install(acceptor.group, acceptor.number, self._ballot, previous, entries, acceptor.chosen)
        out.sends.append((self.node, install))
        self.told_chosen = acceptor.chosen

    def install_suffix(self, after: Slot) -> tuple[bytes, ...]:
        """All of the log after `after`: an Install is never less than what earlier ballots may have chosen."""
        log = self._acceptor.log
        return tuple(entry.encoded for entry in log.between(after, log.last_slot))

    def _send_learn(self, previous: Mark, out: Effects) -> None:
        acceptor = self._acceptor
        entries, _ = acceptor.log.chunk(previous.slot, acceptor.chosen, self._settings.chunk_bytes)
        learn = Learn(acceptor.group, acceptor.number, self._ballot, previous, entries)
        out.sends.append((self.node, learn))

    def _send_mark(self, out: Effects) -> None:
        acceptor = self._acceptor
        mark = acceptor.log.mark_at(acceptor.chosen)
        assert mark is not None
        out.sends.append((self.node, Learn(acceptor.group, acceptor.number, self._ballot, mark, ())))
