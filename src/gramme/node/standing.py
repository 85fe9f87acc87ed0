"""Whether this node is the one that the cluster knows: not removed from it, and with the disk that it had.

A founder is known by the boots that the others remember of it (`gramme.node.introductions`), one that has joined since
by its birth: drawn when its directory was empty, and kept by the catalog as it was first heard (decision 0095). Rule: a
birth is said only once it is durable. Source: REPLICATION.md §8 "Identity".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.node.catalog.node_table import NodeBorn, NodesAre, NodeTable
from gramme.node.host import Host
from gramme.node.introductions import Introductions
from gramme.node.members import Members
from gramme.node.memory import NodeMemory
from gramme.node.ports import NodeSettings

_PATIENCE_NS: Final = 2 * SECOND


class Standing:
    """See the module. `ask_catalog` sends a command to the catalog's leader, `learned` takes a table."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        memory: NodeMemory,
        members: Members,
        introductions: Introductions,
        ask_catalog: Callable[[Any, Instant, Callable[[Any], None]], None],
        learned: Callable[[NodeTable], None],
    ) -> None:
        self._host = host
        self._settings = settings
        self._memory = memory
        self._members = members
        self._introductions = introductions
        self._ask_catalog = ask_catalog
        self._learned = learned
        self._saying_birth = False

    def has_its_disk(self) -> bool:
        """Whether this node cannot be one that has lost its disk. A founder is heard by every other founder, who would
        refuse it; one that has joined since has the birth that the catalog heard first."""
        me = self._settings.me
        if self._settings.is_founder:
            heard = (*self._introductions.known_to, me)
            return all(
                founder.node in heard or founder.node in self._members.removed for founder in self._settings.members
            )
        mine = self._members.entry(me)
        return mine is not None and bool(mine.birth) and mine.birth == self._memory.birth

    def refusal(self) -> str:
        """Why this node is none of the cluster's, or is not the one that joined; "" if it is."""
        mine = self._members.entry(self._settings.me)
        if mine is not None and mine.state == "removed":
            return removed_for_good(mine.node)
        if mine is not None and mine.birth and mine.birth != self._memory.birth:
            return (
                f"the data directory of node {mine.node} is not the one that it joined with. Remove the node with "
                f"`gramme cluster remove {mine.node}` and add another with `gramme cluster add`"
            )
        return ""

    def say_birth(self) -> None:
        """A node that has joined tells the catalog of which directory it is, as soon as that is durable."""
        mine = self._members.entry(self._settings.me)
        if mine is None or mine.birth or self._settings.is_founder or self._saying_birth:
            return
        if self._introductions.started:
            self._saying_birth = True
            deadline = Instant(self._host.now() + _PATIENCE_NS)
            self._ask_catalog(NodeBorn(mine.node, self._memory.birth), deadline, self._birth_said)

    def _birth_said(self, reply: Any) -> None:
        self._saying_birth = False
        if isinstance(reply, NodesAre):
            self._learned(reply.table)


def removed_for_good(node: NodeId) -> str:
    """What a node that was removed is told."""
    return f"node {node} was removed from the cluster for good; a new node is added by `gramme cluster add`"
