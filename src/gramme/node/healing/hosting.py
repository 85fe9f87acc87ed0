"""Replicas that a group's leader invites this node to have.

The invitation is the group's own log speaking through its leader: a chosen configuration that names this node (decision
0097). A replica is made so that nothing of an earlier one is left to be believed:

1. the DROP of the earlier one is durable: from here on a restart finds no replica;
2. its rows are deleted, whichever extent they are in, and the group is mapped to a fresh extent, and that is flushed:
   a mark of what had been applied once would make the new log seem to begin there;
3. CREATE is appended, and the replica starts.

A crash in between leaves a node that hosts nothing and is invited again. What must not happen is that a replica is made
anew under a configuration under which an earlier one has already spoken: whatever that promised would be forgotten. So
the invitation's configuration must be newer than the last one that the earlier replica knew; and where damage has taken
away how much it knew, newer than the moment at which this very process told the leader so (`MakeAnew`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Stalled
from gramme.kernel.ids import BootId, GroupId, NodeId
from gramme.kernel.time import MILLISECOND, Instant
from gramme.node.extents import forget_group, map_extent
from gramme.node.groups import Groups
from gramme.node.host import Host, RecordOwner
from gramme.node.messages import HostReplica, MakeAnew
from gramme.paxos.configuration import Configuration, Replica, decode_configuration
from gramme.storage.engine.contract import Batch

_STALL_RETRY_NS: Final = 10 * MILLISECOND


class _Making:
    """A replica on its way to being hosted."""

    __slots__ = ("configuration", "message", "mine")

    def __init__(self, message: HostReplica, configuration: Configuration, mine: Replica) -> None:
        self.message = message
        self.configuration = configuration
        self.mine = mine


class Hosting(RecordOwner):
    """See the module. Works on `groups`, which has the replicas."""

    def __init__(
        self, host: Host, me: NodeId, boot: BootId, groups: Groups, may_be_emptied: Callable[[], bool]
    ) -> None:
        """`may_be_emptied`: the node cannot prove that it has not lost its disk, and all memory of replicas with it."""
        self._may_be_emptied = may_be_emptied
        self._host = host
        self._me = me
        self._boot = boot
        self._groups = groups
        self._making: dict[GroupId, _Making] = {}

    def on_invitation(self, source: NodeId, message: HostReplica) -> None:
        """Host a replica, or say that only a newer configuration could make this node do so. Idempotent. To a node that
        has said so the answer may be that the group does without it: then what is left of the damaged replica goes."""
        group = message.spec.group
        configuration = decode_configuration(message.configuration)
        mine = configuration.replica(self._me)
        groups = self._groups
        if group in self._making or groups.is_gone(group):
            return
        if mine is None:
            if message.boot == self._boot and groups.may_have_forgotten(group):
                groups.removed(group, configuration.number, configuration)
            return
        hosted = groups.hosted_as(group)
        present = None if hosted is None else hosted.replica
        if hosted is not None and not hosted.replica.amnesiac and mine.since <= hosted.replica.configuration.number:
            return
        forgetful = groups.may_have_forgotten(group) or (present is None and self._may_be_emptied())
        if mine.since <= groups.last_known(group) or (forgetful and message.boot != self._boot):
            self._host.send(source, MakeAnew(group, self._boot, groups.last_known(group)))
            return
        self._making[group] = making = _Making(message, configuration, mine)
        if groups.has_hosted(group):
            record = groups.retire(group, mine.since - 1, configuration)
            self._host.execute(Effects(records=[record], durable_events=[making]), self)
        else:
            self._clear(making)

    def is_making(self, group: GroupId) -> bool:
        """Whether a replica of `group` is under way here. Nobody else may make one meanwhile: it would vote, and then
        be replaced by one that knows nothing of it."""
        return group in self._making

    def durable(self, event: _Making) -> None:
        """The DROP of an earlier replica is durable."""
        self._clear(event)

    def _clear(self, making: _Making) -> None:
        if making.mine.log:
            self._make(making)
            return
        group = making.message.spec.group
        batch = Batch()
        forget_group(batch, group)
        map_extent(batch, group, self._groups.fresh_extents.take(self._host.ports.engine, group))
        self._write(batch, making)

    def _write(self, batch: Batch, making: _Making) -> None:
        """Behind what the group's drop still has to delete: that must not come later and delete this."""
        if self._host.stopped:
            return
        try:
            if self._groups.untidy:
                raise Stalled("rows of dropped groups are still to be deleted")
            self._host.ports.engine.write(batch)
        except Stalled:
            retry = Instant(self._host.now() + _STALL_RETRY_NS)
            self._host.ports.scheduler.call_at(retry, lambda: self._write(batch, making))
            return
        self._host.ports.engine.flush(lambda: self._make(making))

    def _make(self, making: _Making) -> None:
        """Nothing of an earlier replica is left."""
        message = making.message
        if self._host.stopped:
            return
        del self._making[message.spec.group]
        if not self._groups.is_gone(message.spec.group):
            self._groups.join(message.spec, making.configuration, message.ballot)
