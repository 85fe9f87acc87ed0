"""What an administrator asks of the cluster's membership: the nodes, one more, one less. Each is a command of the
catalog; this node only hands it on, and takes the answer's table at once.

Nodes never add or remove themselves: only what is asked here does (decision 0095).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.errors import GrammeError, InvalidInput, Stalled
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.node.catalog_nodes import founders
from gramme.node.host import Host
from gramme.node.members import Members
from gramme.node.node_table import AddNode, NodesAre, NodeState, NodeTable, PlanRemoval, RemovalPlan, SetNodeState
from gramme.node.ports import NodeSettings

_PATIENCE_NS: Final = 5 * SECOND

OnNodes = Callable[[NodesAre | GrammeError], None]
"""Hears the table, or InvalidInput (it cannot be), or Stalled (the catalog cannot be reached)."""

OnPlan = Callable[[RemovalPlan | GrammeError], None]
"""Hears what would move, or the same errors."""


class Administration:
    """See the module. `ask_catalog` sends a command to the catalog's leader, `learned` takes a table."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        members: Members,
        ask_catalog: Callable[[Any, Instant, Callable[[Any], None]], None],
        learned: Callable[[NodeTable], None],
    ) -> None:
        self._host = host
        self._settings = settings
        self._members = members
        self._ask_catalog = ask_catalog
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
        """What would move if it left. Changes nothing."""

        def answered(reply: Any) -> None:
            on_plan(reply if isinstance(reply, RemovalPlan) else _unreachable())

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


def _unreachable() -> GrammeError:
    return Stalled("the catalog did not answer; ask again")
