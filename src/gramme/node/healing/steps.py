"""What a group's leader does about replicas that are silent, damaged or in the way: one step at a time, as a function.

Rules (REPLICATION.md §4, docs/design/reconfiguration.md "Healing"): voters stay as many as they were; a voter gives its
vote up only to another that has the log, or because it may have forgotten what it said; learners count for nothing, so
they come and go. Each step is one configuration; the next is decided when it is chosen. Nothing here remembers
anything: a new leader goes on from the configuration it finds. Source: Elhemali et al., ATC 2022, §3 (log replicas).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND
from gramme.paxos.configuration import Configuration, Replica
from gramme.placement.zones import NodePlace, choose_addition

Health = Literal["healthy", "healing", "degraded"]


@dataclass(frozen=True, slots=True)
class HealingSettings:
    """Times in nanoseconds. A voter that was not heard for `log_replica_after_ns` gives its vote to a log replica, and
    gets it back when it has been heard for as long: a node that comes and goes does not change the group each time. One
    that was not heard for `replace_after_ns` is rebuilt elsewhere."""

    log_replica_after_ns: int = 3 * SECOND
    replace_after_ns: int = 600 * SECOND
    enabled: bool = True
    """False: an administrator has a reason to leave groups as they are (long maintenance of many nodes, say)."""


class Seen(NamedTuple):
    """A replica as the leader sees it. `silent_ns`: how long its node was not heard, 0 while it is up; `steady_ns`: for
    how long it is up without a break. `has_log`: it holds the log as far as a voter should; a storage replica has the
    rows behind it too. `damaged`: it said that it may have forgotten what it said before."""

    silent_ns: int
    steady_ns: int
    has_log: bool
    damaged: bool = False


class Situation(NamedTuple):
    """What a decision is made of. `places` are the nodes that may take a replica now: up, not leaving, without one.
    `held` says where the nodes of the configuration stand. `load` is as `placement.zones.count_load` gives it, `turn`
    tells which of equal nodes comes first. `may_copy`: this leader's node may begin another copy of a group's rows."""

    me: NodeId
    configuration: Configuration
    seen: Mapping[NodeId, Seen]
    places: Sequence[NodePlace]
    held: Sequence[NodePlace]
    load: Mapping[NodeId, int]
    leaving: frozenset[NodeId] = frozenset()
    awaited: bool = False  # a node without a replica is away, and not for so long that it is given up
    may_copy: bool = True
    turn: int = 0


class Step(NamedTuple):
    """The next configuration, and why."""

    configuration: Configuration
    reason: str


def decide(situation: Situation, settings: HealingSettings) -> Step | None:
    """The next step of a group whose leader serves and has no configuration under way; None: there is nothing to do, or
    nothing that can be done yet."""
    view = _View(situation, settings)
    for rule in _RULES:
        step = rule(view)
        if step is not None:
            return step
    return None


def health(situation: Situation, settings: HealingSettings) -> tuple[Health, str]:
    """How the group is, for operators, and why it is not healthy ("" if it is)."""
    view = _View(situation, settings)
    configuration = situation.configuration
    reasons = [view.complaint(node) for node in configuration.voters if view.is_bad(node)]
    if view.short:
        reasons.append(f"{len(configuration.voters)} voters instead of {view.wanted}")
    coming = [node for node in configuration.nodes if node not in configuration.voters and not view.is_bad(node)]
    if reasons and not coming and not situation.places:
        return "degraded", "; ".join([*reasons, "no node is free for another replica"])
    log_voters = [node for node in configuration.voters if view.replica(node).log]
    if log_voters:
        reasons.append(f"a log replica votes on {_names(log_voters)}")
    reasons += [view.absence(node) for node in view.muted(log=False) if view.is_bad(node)]
    if coming:
        reasons.append(f"a replica catches up on {_names(coming)}")
    if any(node in situation.leaving for node in configuration.nodes):
        reasons.append("a node with a replica is to be removed")
    return ("healing", "; ".join(reasons)) if reasons else ("healthy", "")


class _View:
    """A situation, in the words of the rules."""

    def __init__(self, situation: Situation, settings: HealingSettings) -> None:
        self.now = situation
        self.settings = settings
        self.configuration = situation.configuration
        self.wanted = len(situation.configuration.voters) | 1  # an even number has lost one to damage
        self.short = len(situation.configuration.voters) < self.wanted

    def replica(self, node: NodeId) -> Replica:
        replica = self.configuration.replica(node)
        assert replica is not None
        return replica

    def seen(self, node: NodeId) -> Seen:
        return _MYSELF if node == self.now.me else self.now.seen.get(node, _UNSEEN)

    def is_bad(self, node: NodeId) -> bool:
        """Whether a replica should not be relied on."""
        seen = self.seen(node)
        return seen.damaged or seen.silent_ns >= self.settings.log_replica_after_ns

    def is_gone(self, node: NodeId) -> bool:
        """Whether a replica is to be rebuilt elsewhere."""
        return self.seen(node).silent_ns >= self.settings.replace_after_ns or node in self.now.leaving

    def is_ready(self, node: NodeId) -> bool:
        """Whether a replica without a vote may get one."""
        seen = self.seen(node)
        steady = seen.steady_ns >= self.settings.log_replica_after_ns
        return seen.has_log and steady and not seen.damaged and node not in self.now.leaving

    def complaint(self, node: NodeId) -> str:
        seen = self.seen(node)
        if seen.damaged:
            return f"the replica on node {node} is damaged"
        return f"node {node} was not heard for {seen.silent_ns // SECOND} s"

    def absence(self, node: NodeId) -> str:
        """As `complaint`, and what will come of it."""
        if self.seen(node).damaged or self.is_gone(node):
            return self.complaint(node)
        return f"{self.complaint(node)} (after {self.settings.replace_after_ns // SECOND} s it is rebuilt elsewhere)"

    def muted(self, *, log: bool) -> list[NodeId]:
        """The replicas of a kind that do not vote."""
        return [replica.node for replica in self.configuration.replicas if not replica.votes and replica.log == log]

    @property
    def log_on_the_way(self) -> bool:
        """Whether a log replica may yet get a vote. One whose node leaves never does."""
        return any(not self.is_bad(node) and node not in self.now.leaving for node in self.muted(log=True))

    @property
    def bad_voter(self) -> NodeId | None:
        """The voter whose vote should go elsewhere first."""
        return next((node for node in self.configuration.voters if node != self.now.me and self.is_bad(node)), None)

    @property
    def missing_storage(self) -> bool:
        """Whether fewer nodes than there should be have, or will have, the rows. A learner that is silent is awaited
        where it has given its vote up; where all storage replicas vote it was yet to become one: another will do."""
        configuration = self.configuration
        coming = not self.short and configuration.eligible == configuration.voters
        lost = [node for node in configuration.learners if coming and self.is_bad(node)]
        return sum(not self.is_gone(node) and node not in lost for node in configuration.storage) < self.wanted

    def best_place(self, without: NodeId | None) -> NodeId | None:
        """The node for one more replica, when the one on `without` does not count any more."""
        counted = {node for node in self.configuration.nodes if node != without and not self.is_gone(node)}
        held = [place for place in self.now.held if place.node in counted]
        return choose_addition(self.now.places, held, self.now.load, self.now.turn)


_MYSELF: Final = Seen(0, 0, has_log=True)
_UNSEEN: Final = Seen(0, 0, has_log=False)


# --- the rules, the first that applies comes first ------------------------------------------------------------------


def _mute_damaged(view: _View) -> Step | None:
    """A replica that may have forgotten what it said is made anew: under a configuration that was proposed after it
    said so, and in which it does not vote. Its vote goes to one that has the log, if one can have it within seconds."""
    configuration = view.configuration
    for node in configuration.nodes:
        if node == view.now.me or not view.seen(node).damaged:
            continue
        replica = view.replica(node)
        heir = next((n for n in configuration.nodes if not view.replica(n).votes and view.is_ready(n)), None)
        if replica.votes and heir is None and (view.now.places or view.log_on_the_way):
            continue
        promote = heir if replica.votes else None
        if replica.log:
            return Step(view.configuration.next(promote=promote, remove=node), view.complaint(node))
        return Step(view.configuration.next(promote=promote, renew=node), view.complaint(node))
    return None


def _return_vote(view: _View) -> Step | None:
    """A storage replica that has caught up votes: in the place that a damaged one has left empty, or instead of a log
    replica, of a voter that is silent, of one that leaves."""
    learner = next((node for node in view.muted(log=False) if view.is_ready(node)), None)
    if learner is None:
        return None
    reason = f"node {learner} has caught up"
    if view.short:
        return Step(view.configuration.next(promote=learner), reason)
    out = _least_useful(view)
    if out is None:
        return None
    if view.replica(out).log or view.is_gone(out):
        return Step(view.configuration.next(promote=learner, remove=out), reason)
    return Step(view.configuration.next(promote=learner, mute=out), reason)


def _least_useful(view: _View) -> NodeId | None:
    """The voter whose place a storage replica should take."""
    voters = [node for node in view.configuration.voters if node != view.now.me]
    logs = [node for node in voters if view.replica(node).log]
    silent = [node for node in voters if view.is_bad(node)]
    leaving = [node for node in voters if node in view.now.leaving]
    return next(iter([*(node for node in logs if node in silent), *silent, *logs, *leaving]), None)


def _let_log_vote(view: _View) -> Step | None:
    """A log replica that has the log votes for a voter that is silent."""
    log = next((node for node in view.muted(log=True) if view.is_ready(node)), None)
    if log is None:
        return None
    out = view.bad_voter
    if out is not None:
        if view.replica(out).log:
            return Step(view.configuration.next(promote=log, remove=out), view.complaint(out))
        return Step(view.configuration.next(promote=log, mute=out), view.complaint(out))
    if view.short:
        return Step(view.configuration.next(promote=log), f"the log replica on node {log} has the log")
    return None


def _add_log(view: _View) -> Step | None:
    """A voter is silent, or missing with nobody there to become one: have a log replica ready for its place."""
    out = view.bad_voter
    missing = view.short and not view.missing_storage and all(view.is_bad(node) for node in view.muted(log=False))
    if (out is None and not missing) or view.log_on_the_way:
        return None
    node = view.best_place(out)
    if node is None:
        return None
    return Step(
        view.configuration.next(join=Replica(node, log=True)),
        "a voter is missing" if out is None else view.complaint(out),
    )


def _add_storage(view: _View) -> Step | None:
    """A storage replica is gone for good, or has to go: rebuild it elsewhere."""
    if not view.missing_storage or not view.now.may_copy:
        return None
    lost = next((node for node in view.configuration.storage if view.is_gone(node)), None)
    why = "a storage replica is missing" if lost is None else f"the replica on node {lost} is rebuilt elsewhere"
    node = view.best_place(lost)
    if node is not None:
        return Step(view.configuration.next(join=Replica(node)), why)
    return _make_room(view, why)


def _make_room(view: _View, why: str) -> Step | None:
    """Only the node of a log replica is left to take the rows, and a replica does not change its kind: it goes, and the
    node is free for the next step. Two vote for as long as the copy takes, and both are needed: with the log replica
    one of three could fail. But without this the group would stay without a third copy of its rows. Never while a node
    that could take the rows is merely away, nor while another copy is under way: that one gets the log's vote."""
    log = next((node for node in view.configuration.logs if not view.is_bad(node)), None)
    under_way = any(not view.is_bad(node) and not view.is_gone(node) for node in view.muted(log=False))
    if view.now.awaited or under_way:
        return None
    voters = [node for node in view.configuration.voters if node != log]
    if log is None or len(voters) < 2 or any(view.is_bad(node) for node in voters):
        return None
    return Step(view.configuration.next(remove=log), why)


def _tidy(view: _View) -> Step | None:
    """Replicas without a vote that nobody waits for go."""
    reason = "is not needed any more"
    settled = not view.short and _least_useful(view) is None
    for node in view.configuration.nodes:
        if node == view.now.me or view.replica(node).votes:
            continue
        replaced = not view.replica(node).log and view.is_gone(node) and not view.missing_storage
        lost_log = view.replica(node).log and (view.is_bad(node) or node in view.now.leaving)
        if settled or replaced or lost_log:
            return Step(view.configuration.next(remove=node), f"the replica on node {node} {reason}")
    return None


def _names(nodes: Sequence[NodeId]) -> str:
    return ", ".join(f"node {node}" for node in nodes)


_RULES: Final[tuple[Callable[[_View], Step | None], ...]] = (
    _mute_damaged, _return_vote, _let_log_vote, _add_log, _add_storage, _tidy,
)  # fmt: skip
