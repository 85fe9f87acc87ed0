"""What an administrator asks of the cluster's membership: the nodes, one more, one less. Each is a command of the
catalog; this node only hands it on, and takes the answer's table at once.

Nodes never add or remove themselves: only what is asked here does (decision 0095).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from gramme.kernel.errors import GrammeError, InvalidInput, Stalled
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.node.catalog.node_table import (
    AddNode,
    NodesAre,
    NodeState,
    NodeTable,
    PlanRemoval,
    RemovalPlan,
    SetNodeState,
)
from gramme.node.catalog.nodes import founders
from gramme.node.host import Host
from gramme.node.members import Members
from gramme.node.ports import NodeSettings
from gramme.node.totals import rows_and_bytes
from gramme.tables.descriptor import Partition
from gramme.tables.requests import Counted, CountRows

_PATIENCE_NS: Final = 5 * SECOND
_SIZES_PATIENCE_NS: Final = 3 * SECOND
_ASKED_AT_ONCE: Final = 32

OnNodes = Callable[[NodesAre | GrammeError], None]
"""Hears the table, or InvalidInput (it cannot be), or Stalled (the catalog cannot be reached)."""

OnPlan = Callable[[RemovalPlan | GrammeError], None]
"""Hears what would move, or the same errors."""

Send = Callable[[Partition, Any, Instant, Callable[[Any], None]], None]


class Administration:
    """See the module. `ask_catalog` sends a command to the catalog's leader, `send` one to a partition, `learned` takes
    a table."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        members: Members,
        ask_catalog: Callable[[Any, Instant, Callable[[Any], None]], None],
        send: Send,
        learned: Callable[[NodeTable], None],
    ) -> None:
        self._host = host
        self._settings = settings
        self._members = members
        self._ask_catalog = ask_catalog
        self._send = send
        self._learned = learned

    @property
    def table(self) -> NodeTable:
        """The nodes as this node knows them."""
        return self._members.table or founders(self._settings.members)

    def add(self, request: AddNode, on_done: OnNodes) -> None:
        """Give a node its number. Asked again, it is the same."""
        self._ask(request, on_done)

    def set_state(self, node: NodeId, state: NodeState, on_done: OnNodes) -> None:
        """Have a node leave, or stay after all."""
        self._ask(SetNodeState(node, state), on_done)

    def plan_removal(self, node: NodeId, on_plan: OnPlan) -> None:
        """What would move if it left, and how large that is, as far as the groups answer. Changes nothing."""

        def answered(reply: Any) -> None:
            if isinstance(reply, RemovalPlan):
                _Sizes(self._send, reply, Instant(self._host.now() + _SIZES_PATIENCE_NS), on_plan).ask()
            else:
                on_plan(_unreachable())

        self._ask_catalog(PlanRemoval(node), self._deadline(), answered)

    def _ask(self, request: AddNode | SetNodeState, on_done: OnNodes) -> None:
        def answered(reply: Any) -> None:
            if not isinstance(reply, NodesAre):
                on_done(_unreachable())
                return
            if reply.table.version:
                self._learned(reply.table)
            on_done(InvalidInput(reply.refusal) if reply.refusal else reply)

        self._ask_catalog(request, self._deadline(), answered)

    def _deadline(self) -> Instant:
        return Instant(self._host.now() + _PATIENCE_NS)


class _Sizes:
    """Asks the groups of a plan how large they are, some at a time: a node may have thousands of replicas."""

    def __init__(self, send: Send, plan: RemovalPlan, deadline: Instant, on_plan: OnPlan) -> None:
        self._send = send
        self._plan = plan
        self._deadline = deadline
        self._on_plan = on_plan
        self._left = deque(n for n, move in enumerate(plan.moves) if move.replicas)
        self._found = list(plan.moves)
        self._under_way = 0
        self._asking = False

    def ask(self) -> None:
        """Ask those that are left, as many as may be, and tell of all when the last has answered."""
        if self._asking:
            return  # a group that is led here answered at once
        self._asking = True
        while self._left and self._under_way < _ASKED_AT_ONCE:
            number = self._left.popleft()
            move = self._found[number]
            self._under_way += 1
            place = Partition(move.group, b"", b"", move.replicas)
            self._send(place, CountRows(), self._deadline, partial(self._answered, number))
        self._asking = False
        if not self._under_way:
            self._on_plan(replace(self._plan, moves=tuple(self._found)))

    def _answered(self, number: int, reply: Any) -> None:
        self._under_way -= 1
        if isinstance(reply, Counted):
            rows, size = rows_and_bytes(reply.totals)
            self._found[number] = replace(self._found[number], rows=rows, bytes=size)
        self.ask()


def _unreachable() -> GrammeError:
    return Stalled("the catalog did not answer; ask again")
