"""Actions that wait for a node to send its n-th message of transactions: how a coordinator falls at each of its steps.

Messages of transactions are the commands that coordinators and recoverers forward to leaders, and the answers to them;
what a node does by itself, being the leader, is no message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gramme.kernel.ids import NodeId
from gramme.node.messages import Forward, Forwarded
from gramme.sim.world import World
from gramme.tables.transaction_commands import (
    Begin,
    Begun,
    Decide,
    Decided,
    Finish,
    NotPrepared,
    Prepare,
    Prepared,
    Recover,
    Settled,
    Verdict,
    WriteAll,
)
from gramme.tables.transactions import TransactionDone

STAGES: Final[tuple[tuple[type, ...], ...]] = (
    (Begin, Begun),
    (Prepare, Prepared, NotPrepared),
    (Decide, Decided),
    (Finish, Settled),
    (WriteAll, TransactionDone),
    (Recover, Verdict),
)
"""What a coordinator or a recoverer asks of leaders, and what these answer, step by step."""


class _Wire(NamedTuple):
    stage: tuple[type, ...]
    left: int
    lose: bool
    action: Callable[[], None]


class Tripwires:
    """At most one for each node."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wires: dict[NodeId, _Wire] = {}

    def lay(self, node: NodeId, stage: int, count: int, lose: bool, action: Callable[[], None]) -> None:
        """Do `action` as soon as `node` has sent `count` messages of a stage of transactions; with `lose`, what it
        sends together with the last of them is lost."""
        self._wires[node] = _Wire(STAGES[stage], count, lose, action)

    def clear(self) -> None:
        """Wait for nothing any more."""
        self._wires.clear()

    def lets_go(self, node: NodeId, messages: list[Any]) -> bool:
        """`node` sends these; False if they are lost."""
        wire = self._wires.get(node)
        if wire is None:
            return True
        left = wire.left - sum(_is_of(wire.stage, message) for message in messages)
        if left > 0:
            self._wires[node] = wire._replace(left=left)
            return True
        del self._wires[node]
        self._world.after(0, wire.action)
        return not wire.lose


def _is_of(stage: tuple[type, ...], message: Any) -> bool:
    if isinstance(message, Forward):
        return isinstance(message.request, stage)
    return isinstance(message, Forwarded) and isinstance(message.reply, stage)
