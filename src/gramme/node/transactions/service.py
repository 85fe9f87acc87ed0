"""Transactions of one node: its coordinators, how many there may be, and its part in recovery.

Any node coordinates any transaction (row B11): what must survive it stands in the ledger and in the partitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.time import Instant
from gramme.node.host import Host
from gramme.node.partition import PartitionReplica
from gramme.node.ports import NodeSettings
from gramme.node.transactions.desk import Desk, Sender
from gramme.node.transactions.reads import ReadCoordinator
from gramme.node.transactions.recovery import Recovery
from gramme.node.transactions.writes import WriteCoordinator
from gramme.tables.requests import Failed, FailureKind
from gramme.tables.transactions import ReadOutcome, ReadTransaction, WriteOutcome, WriteTransaction

_THROTTLED: Final = Failed(FailureKind.THROTTLED, "this node coordinates as many transactions as it may")


class Transactions:
    """See the module."""

    def __init__(self, host: Host, settings: NodeSettings, router: Sender) -> None:
        self._limit = settings.transaction_limit
        self._desk = Desk(host, router)
        self.recovery = Recovery(self._desk)
        self.coordinating = 0

    def write(self, request: WriteTransaction, deadline: Instant, on_reply: Callable[[WriteOutcome], None]) -> None:
        """See `gramme.api.backend.Backend.transact_write`."""
        if self._admit(on_reply):
            WriteCoordinator(self._desk, self.recovery, request, deadline, self._leave(on_reply)).start()

    def read(self, request: ReadTransaction, deadline: Instant, on_reply: Callable[[ReadOutcome], None]) -> None:
        """See `gramme.api.backend.Backend.transact_get`."""
        if self._admit(on_reply):
            ReadCoordinator(self._desk, request, deadline, self._leave(on_reply)).start()

    def _admit(self, on_reply: Callable[[Failed], None]) -> bool:
        if self.coordinating >= self._limit:
            on_reply(_THROTTLED)
            return False
        self.coordinating += 1
        return True

    def _leave(self, on_reply: Callable[[Any], None]) -> Callable[[Any], None]:
        def left(outcome: Any) -> None:
            self.coordinating -= 1
            on_reply(outcome)

        return left

    def role_changed(self, partition: PartitionReplica) -> None:
        """A partition's leadership came or went."""
        self.recovery.role_changed(partition)
