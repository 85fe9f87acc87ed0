"""A desk whose partitions and ledger answer as a test has written down, for the machines that speak through one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gramme.kernel.ids import GroupId
from gramme.kernel.time import Instant
from gramme.node.transactions.desk import Desk
from gramme.tables.descriptor import Partition


class ScriptedDesk(Desk):
    """`answer(group, request)` gives a partition's reply; group 0 is the ledger. Nothing takes time but `later`."""

    def __init__(self, answer: Callable[[GroupId, Any], Any]) -> None:
        self._answer = answer
        self._time = Instant(0)
        self.asked: list[tuple[GroupId, Any]] = []
        self.closed: list[tuple[bytes, bytes]] = []

    def now(self) -> Instant:
        return self._time

    def later(self, delay_ns: int, action: Callable[[], None]) -> None:
        self._time = Instant(self._time + delay_ns)
        action()

    def send(self, place: Partition, request: Any, deadline: Instant, on_reply: Callable[[Any], None]) -> None:
        self.asked.append((place.group, request))
        on_reply(self._answer(place.group, request))

    def to_ledger(
        self, id_: bytes, request: Any, deadline: Instant, on_reply: Callable[[Any], None], create: bool = True
    ) -> None:
        self.asked.append((GroupId(0), request))
        on_reply(self._answer(GroupId(0), request))

    def close(self, id_: bytes, tx: bytes) -> None:
        self.closed.append((id_, tx))
