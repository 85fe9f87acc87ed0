"""When a replica campaigns: its place in the line of successors, and its patience."""

from __future__ import annotations

from gramme.kernel.ids import GroupId, NodeId, ballot_node
from gramme.kernel.ports import Randomness
from gramme.kernel.time import Instant
from gramme.paxos.acceptor import Acceptor
from gramme.paxos.settings import PaxosSettings

_GOLDEN = 0x9E3779B97F4A7C15  # Fibonacci hashing: neighbouring groups go different ways
_MOST_DOUBLINGS = 8


def successors(group: GroupId, members: tuple[NodeId, ...], holder: NodeId) -> list[NodeId]:
    """Who campaigns first, second, … when `holder` is lost: by group, so that a dead node's groups spread evenly."""
    others = [node for node in members if node != holder]
    start = (group * _GOLDEN >> 32) % len(others) if others else 0
    return others[start:] + others[:start]


class CampaignTimer:
    """The one timer of a replica that does not lead. `at` is None while there is nothing to wait for."""

    __slots__ = ("_acceptor", "_failures", "_rng", "_settings", "at")

    def __init__(self, acceptor: Acceptor, settings: PaxosSettings, rng: Randomness) -> None:
        self.at: Instant | None = None
        self._acceptor = acceptor
        self._settings = settings
        self._rng = rng
        self._failures = 0

    def within(self, delay_ns: int, now: Instant) -> None:
        """Fire after `delay_ns` and this replica's turn, or earlier if that is set already."""
        when = Instant(now + delay_ns + self._turn_ns())
        self.at = when if self.at is None else min(self.at, when)

    def again(self, delay_ns: int, now: Instant) -> None:
        """Fire after `delay_ns` and this replica's turn, whatever was set."""
        self.at = None
        self.within(delay_ns, now)

    def stop(self) -> None:
        """There is a leader, or a campaign is under way."""
        self.at = None

    def succeed(self) -> None:
        """There is a leader: the next failure is the first one."""
        self._failures = 0

    def retry(self, wait_ns: int, now: Instant) -> None:
        """Come back when a lease has run out, as refusals said; else back off, more each time, with jitter."""
        doublings = min(self._failures, _MOST_DOUBLINGS)
        backoff_ns = min(self._settings.rank_delay_ns << doublings, self._settings.retry_max_ns)
        self._failures += 1
        if wait_ns > 0:
            self.again(wait_ns, now)
        else:
            self.at = Instant(now + backoff_ns // 2 + self._rng.randrange(backoff_ns))

    def _turn_ns(self) -> int:
        """The first successor comes at once, each further one a little later, all with some jitter against duels."""
        acceptor = self._acceptor
        line = successors(acceptor.group, acceptor.configuration.eligible, ballot_node(acceptor.promised))
        rank = line.index(acceptor.me) if acceptor.me in line else 0
        return rank * self._settings.rank_delay_ns + self._rng.randrange(self._settings.jitter_ns)
