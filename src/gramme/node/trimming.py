"""Log entries in memory that everybody has, let go of a few at a time.

Owns which replicas have more of them than one step frees, and when the next step is. After a flush there may be a
hundred thousand entries, and a nearly busy loop cannot make up for half a second of freeing: a step every 4 ms, and
another one with it for each so many entries in memory, is at least 16,000 entries a second, more than are made, and
never takes longer than some seconds for all of them (decision 0111).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from gramme.kernel.ids import GroupId
from gramme.kernel.time import MILLISECOND
from gramme.node.alarm import Alarm
from gramme.node.host import Host
from gramme.paxos.replica import GroupReplica

_FEW_ENTRIES: Final = 1024
_PAUSE_NS: Final = 4 * MILLISECOND
_ENTRIES_PER_STEP: Final = 1 << 16


class Trimming:
    """See the module. `trim` frees some entries of its replica and says whether there are more."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiting: dict[GroupId, tuple[GroupReplica, Callable[[], bool]]] = {}  # those with many, in turn
        self._at_once = 1
        self._alarm = Alarm(host, self._go_on)

    def pace(self, entries: int) -> None:
        """So many are in memory, of all groups together."""
        self._at_once = 1 + entries // _ENTRIES_PER_STEP

    def trim(self, replica: GroupReplica, trim: Callable[[], bool]) -> None:
        """One step, and others if there is more: in the next turns for the last few entries, with pauses for many."""
        if not trim() or self._host.stopped:
            return
        if len(replica.retained) <= _FEW_ENTRIES:
            self._host.ports.scheduler.call_soon(lambda: self.trim(replica, trim))
        else:
            self._waiting[replica.group] = replica, trim
            self._alarm.arm(_PAUSE_NS)

    def forget(self, group: GroupId) -> None:
        """Its replica is dropped."""
        self._waiting.pop(group, None)

    def _go_on(self) -> None:
        for group in list(islice(self._waiting, self._at_once)):
            self.trim(*self._waiting.pop(group))  # behind the others, if there is more
        if self._waiting:
            self._alarm.arm(_PAUSE_NS)
