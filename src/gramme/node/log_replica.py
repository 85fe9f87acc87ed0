"""A log replica in its node: it holds the recent log and votes, and that is all.

It has no rows, no extent and no evaluator; what is chosen is noted and left alone. Its log is all there is of it, so
the node's log keeps an entry until the group has trimmed it (every voter has it: `GroupReplica.trim`), and each new
segment begins with the entries that are not chosen yet, beside the checkpoint: whatever segments are left, the log of
the replica begins at the mark of a checkpoint. Source: REPLICATION.md §4; Elhemali et al., ATC 2022, §3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gramme.kernel.ids import Slot
from gramme.kernel.record import Record
from gramme.node.group_owner import GroupOwner
from gramme.node.host import Host
from gramme.node.messages import GroupSpec
from gramme.paxos.outputs import Chosen
from gramme.paxos.replica import GroupReplica
from gramme.paxos.state import install_record


class LogReplica(GroupOwner):
    """See the module. `on_output` hears everything but what is chosen."""

    def __init__(
        self, spec: GroupSpec, replica: GroupReplica, host: Host, on_output: Callable[[LogReplica, Any], None]
    ) -> None:
        super().__init__(spec, replica, host)
        self._on_output = on_output

    def output(self, output: Any) -> None:
        """See `host.Owner`."""
        if type(output) is Chosen:
            self.replica.on_applied(output.entries[-1].slot)
        else:
            self._on_output(self, output)

    @property
    def kept_after(self) -> Slot:
        """The node's log must keep the entries after this slot."""
        return self.replica.acceptor.log.base.slot

    def trim(self) -> bool:
        """Let go of some of what every voter has; returns whether there is more."""
        return self.replica.trim(self.replica.chosen_slot)

    def checkpoint(self) -> list[Record]:
        """The replica's state for a new segment. Its unchosen entries are repeated: the mark before them is the only
        one that a checkpoint has, and entries after a mark that nobody knows would be worth nothing."""
        replica = self.replica
        records = [replica.checkpoint()]
        entries = replica.accepted_after(replica.chosen_slot)
        if entries:
            acceptor = replica.acceptor
            number = replica.configuration.number
            records.append(install_record(replica.group, acceptor.log_ballot, number, replica.chosen_slot, entries))
        return records

    def close(self) -> None:
        """The replica is dropped: it takes no part any more."""
        self.replica.amnesiac = True
