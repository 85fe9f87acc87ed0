"""What a machine asks of the host: work as data, with the order of durability in the type.

A machine's `step(event, now)` does no I/O; it returns `Effects`, and `gramme.node.host` carries them out in
production and in simulation alike. The model is etcd/raft's `Ready`; the rule it serves is REPLICATION.md §1:
promises and accepts are durable before the answer that speaks of them leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gramme.kernel.ids import NodeId
from gramme.kernel.record import Record


@dataclass(slots=True)
class Effects:
    """The outcome of one step, carried out in this order.

    1. `records` are appended to the node's log, in order, as one atomic hand-over to the log's buffer. If they are
       `unhurried`, nobody waits for them: they are written with the next that somebody does wait for, or a while later.
    2. `sends` leave at once: nothing in them speaks of `records`.
    3. When every record of this and all earlier Effects is durable, `sends_durable` leave, and each of
       `durable_events` is stepped into the machine that returned it.
    4. `outputs` are facts for the composing node (a role change, chosen entries to apply, a snapshot wanted);
       they may be acted on at once: a machine puts nothing here that a crash could make untrue.
    """

    records: list[Record]
    sends: list[tuple[NodeId, Any]]
    sends_durable: list[tuple[NodeId, Any]]
    durable_events: list[Any]
    outputs: list[Any]
    unhurried: bool

    def __init__(
        self,
        records: list[Record] | None = None,
        sends: list[tuple[NodeId, Any]] | None = None,
        sends_durable: list[tuple[NodeId, Any]] | None = None,
        durable_events: list[Any] | None = None,
        outputs: list[Any] | None = None,
        unhurried: bool = False,
    ) -> None:
        """Written out, because every step makes one: half the price of a field's default factory."""
        self.records = [] if records is None else records
        self.sends = [] if sends is None else sends
        self.sends_durable = [] if sends_durable is None else sends_durable
        self.durable_events = [] if durable_events is None else durable_events
        self.outputs = [] if outputs is None else outputs
        self.unhurried = unhurried

    def merge(self, other: Effects) -> None:
        """Append `other`'s work behind this one's, keeping each list's order."""
        self.records += other.records
        self.sends += other.sends
        self.sends_durable += other.sends_durable
        self.durable_events += other.durable_events
        self.outputs += other.outputs
        self.unhurried = False

    def __bool__(self) -> bool:
        return bool(self.records or self.sends or self.sends_durable or self.durable_events or self.outputs)
