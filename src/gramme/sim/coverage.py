"""Coverage marks: names of what happened in a run, so that ten thousand runs can say what they have seen.

A mark is noted from what the simulator sees anyway: messages that are sent, log lines, faults, and what a node looks
like whenever it renews its leases and at the moment it falls. Rule: looking changes nothing, so a run is the same with
and without; and no production code knows of it. Marks are no proof of anything: a mark that no run reaches is a hole in
the configurations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from gramme.kernel.ids import NO_NODE, GroupId, NodeId
from gramme.node import messages as node_messages
from gramme.node.node import Node
from gramme.objects import messages as object_messages
from gramme.objects import transfer_messages
from gramme.objects.ring_phases import step_of
from gramme.paxos import messages as paxos
from gramme.tables import transaction_commands as transactions

Marker = str | Callable[[Node, Any], str]
"""A mark, or what tells it from the sender and its message ("": none)."""


class Coverage:
    """The marks of one run. `marks` keeps the order in which they were first seen."""

    def __init__(self) -> None:
        self.marks: dict[str, None] = {}
        self._known: dict[tuple[NodeId, GroupId], tuple[bool, int, int]] = {}

    def note(self, mark: str) -> None:
        """It happened."""
        self.marks[mark] = None

    def sent(self, node: Node, messages: list[Any]) -> None:
        """`node` sends these."""
        for message in messages:
            marker = _MESSAGES.get(type(message))
            if marker is None:
                if type(message) is paxos.LeaseRenew:
                    self._look(node)
                continue
            mark = marker if isinstance(marker, str) else marker(node, message)
            if mark:
                self.marks[mark] = None

    def logged(self, name: str, fields: Mapping[str, Any]) -> None:
        """A node wrote this log line. Reasons count with their numbers left out."""
        if name == "replicas change":
            self.marks["replicas change: " + re.sub(r"\d+", "#", fields["reason"])] = None
        elif name == "replica made":
            self.marks["log replica made" if fields["log"] else "storage replica made"] = None
        else:
            self.marks[name] = None

    def falls(self, node: Node, power: bool) -> None:
        """The process of `node` is about to be killed."""
        if not hasattr(node, "log"):
            return  # it refused its disk, and never ran
        how = "power lost" if power else "killed"
        for mark in _state_of(node):
            self.marks[f"{how}: {mark}"] = None

    def _look(self, node: Node) -> None:
        now = node.host.now()
        for group, partition in node.groups.partitions.items():
            replica = partition.replica
            after = (partition.leading, replica.ballot, replica.configuration.number)
            before = self._known.get((node.me, group))
            if after != before:
                self._known[node.me, group] = after
                if before is not None:
                    self._changed(before, after)
            if replica.pending is not None:
                self.marks["a configuration waits to be chosen"] = None
            if partition.leading:
                held = sum(n == node.me or node.leases.held_until(n) > now for n in replica.members)
                if held < replica.configuration.quorum:
                    self.marks["a leader's lease has run out before it stepped down"] = None
        if node.settings.objects:
            step = step_of(node.objects.config)
            if step.other:
                self.marks["a ring is being filled" if step.filling else "a ring is switched"] = None

    def _changed(self, before: tuple[bool, int, int], after: tuple[bool, int, int]) -> None:
        led, ballot, number = before
        leads, promised, newer = after
        if leads and promised != ballot:
            self.marks["an election is won"] = None
        if led and not leads:
            self.marks["a leader steps down"] = None
        if newer > number:
            self.marks["a newer configuration is acted in"] = None


def _state_of(node: Node) -> list[str]:
    """What a node that falls was about."""
    marks = []
    for partition in node.groups.partitions.values():
        replica = partition.replica
        marks += ["a leader"] * partition.leading
        marks += ["a leader before its barrier"] * (replica.leader is not None and not replica.leader.serving)
        marks += ["a candidate"] * (replica.campaign is not None)
        marks += ["with a configuration that is not chosen"] * (replica.pending is not None)
        marks += ["a learner"] * (node.me not in replica.configuration.voters)
        marks += ["with a promise above its log"] * (replica.ballot > replica.acceptor.log_ballot)
    if node.groups.logs:
        marks.append("with a log replica")
    if node.groups.amnesiac:
        marks.append("with an amnesiac replica")
    if node.log.durable_lsn < node.log.last_lsn:
        marks.append("with records that are not durable")
    if node.draining:
        marks.append("while it stops")
    if node.me in node.members.leaving:
        marks.append("while it leaves the cluster")
    if node.settings.objects and step_of(node.objects.config).other:
        marks.append("during a change of the ring")
    return marks


# --- messages ---------------------------------------------------------------------------------------------------------


def _poll_answer(_node: Node, message: paxos.PollAnswer) -> str:
    return "a healthy leader answers for itself in a poll" if message.hears else ""


def _prepare(_node: Node, message: paxos.Prepare) -> str:
    return "a campaign on a released lease" if message.released else "a campaign"


def _promise(node: Node, message: paxos.Promise) -> str:
    return "a log replica votes" if message.group in node.groups.logs else ""


def _accepted(node: Node, message: paxos.Accepted) -> str:
    return "a log replica acknowledges" if message.group in node.groups.logs else ""


def _nack(_node: Node, message: paxos.Nack) -> str:
    return "a ballot is refused for a lease" if message.left_ns else "a ballot is refused for a higher promise"


def _install(_node: Node, message: paxos.Install) -> str:
    return "a suffix is installed" if message.entries else "an empty suffix is installed"


def _granted(_node: Node, message: paxos.LeaseGranted) -> str:
    return "" if message.grant_ns else "a grant is withheld"


def _snapshot(_node: Node, message: node_messages.SnapshotChunk) -> str:
    return "a snapshot is sent whole" if message.done else "a snapshot has chunks"


def _hello_ack(_node: Node, message: node_messages.HelloAck) -> str:
    return "a peer is refused" if message.refusal else ""


def _offer(_node: Node, message: node_messages.LeadershipOffer) -> str:
    return "leadership is offered urgently" if message.urgent else "leadership is offered for balance"


def _misdirected(_node: Node, message: node_messages.Misdirected) -> str:
    return "a write is lost sight of at a leader that fell" if message.maybe_applied else ""


def _forward(node: Node, message: node_messages.Forward) -> str:
    step = _TRANSACTIONS.get(type(message.request))
    if step is not None:
        return step if isinstance(step, str) else step(node, message.request)
    return "a relay is asked for" if message.relay else "a write is sent again" if message.repeated else ""


def _forwarded(_node: Node, message: node_messages.Forwarded) -> str:
    return _ANSWERS.get(type(message.reply), "")


def _inquire(_node: Node, message: transactions.Inquire) -> str:
    return "a one-phase transaction is fenced off" if message.fence else "a one-phase transaction is inquired of"


def _keep(_node: Node, message: object_messages.Keep) -> str:
    return "a hint is kept" if message.stands_for != NO_NODE else ""


_TRANSACTIONS: Final[dict[type, Marker]] = {
    transactions.Prepare: "a transaction prepares elsewhere",
    transactions.Finish: "a transaction is finished elsewhere",
    transactions.WriteAll: "a one-phase transaction elsewhere",
    transactions.Begin: "a transaction begins in the ledger",
    transactions.Decide: "a transaction is decided",
    transactions.Recover: "a transaction is recovered",
    transactions.Inquire: _inquire,
    transactions.DropMarkers: "the floor of one-phase transactions moves",
    transactions.Close: "a transaction's token is closed",
}

_ANSWERS: Final[dict[type, str]] = {
    transactions.NotPrepared: "a transaction is not prepared",
    transactions.Running: "a token's transaction runs already",
    transactions.Replay: "a token's transaction was committed before",
    transactions.Verdict: "a recoverer hears what became of a transaction",
}

_MESSAGES: Final[dict[type, Marker]] = {
    paxos.Poll: "a poll",
    paxos.PollAnswer: _poll_answer,
    paxos.Prepare: _prepare,
    paxos.Promise: _promise,
    paxos.Accepted: _accepted,
    paxos.Nack: _nack,
    paxos.Suffix: "a candidate adopts another's suffix",
    paxos.Learn: "what is chosen is learnt below the leader's ballot",
    paxos.Install: _install,
    paxos.Behind: "a follower says that it lacks something",
    paxos.Release: "a lease is released",
    paxos.HandOver: "leadership is handed over",
    paxos.NewerConfiguration: "a message of an older configuration is refused",
    paxos.Rebase: "a log replica begins again",
    paxos.Amnesiac: "an amnesiac replica takes no part",
    paxos.LeaseGranted: _granted,
    node_messages.HostReplica: "a node is invited to host a replica",
    node_messages.MakeAnew: "a node asks for its replica to be made anew",
    node_messages.SnapshotChunk: _snapshot,
    node_messages.HelloAck: _hello_ack,
    node_messages.LeadershipOffer: _offer,
    node_messages.Misdirected: _misdirected,
    node_messages.Forward: _forward,
    node_messages.Forwarded: _forwarded,
    node_messages.GroupsDropped: "the groups of a table are dropped",
    object_messages.Keep: _keep,
    object_messages.HandOff: "a hint is delivered",
    object_messages.NotKept: "a replica of an object is refused for want of room",
    object_messages.Coordinate: "an object's request is sent on to a primary",
    object_messages.CompareBucket: "replicas of objects are found to differ",
    object_messages.AskHeld: "a deletion is about to be forgotten",
    transfer_messages.Deliver: "objects move for a change of the ring",
    transfer_messages.ConfigurationIs: "a configuration of the ring is passed on by a peer",
}
