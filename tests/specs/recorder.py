"""What the production replicas of a group did, as events for `specs/Trace.tla`.

Nothing in the replicas is hooked: the recorder looks at a replica after each of its steps, at the effects that the step
returned, and at what a crash left of the disk. An event stands where its step was taken; if what the step wrote is lost
in a crash, the event is taken back, for a record that is lost is a step not taken (decision 0092).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, NodeId, Slot, ballot_node
from gramme.kernel.record import Record, RecordKind
from gramme.paxos.campaign import Campaign
from gramme.paxos.chain import decode_entry
from gramme.paxos.configuration import Configuration, decode_configuration
from gramme.paxos.entry import ORIGIN, CommandKind, Entry, Mark
from gramme.paxos.outputs import Chosen
from gramme.paxos.replica import GroupReplica
from gramme.paxos.state import unpack_base, unpack_install

_NONE = Ballot(0)


class _Found(NamedTuple):
    """Promise, ballot of the log, its end, and whether it has no entry but is all in the rows."""

    promised: Ballot
    log_ballot: Ballot
    last: Mark
    empty: bool


@dataclass(slots=True)
class Event:
    """One event, as `specs/Trace.tla` has it: `more` is a value of TLA+. `record`: what it wrote; `found`: what a new
    process found on its disk; `behind`: the end of the log that is reported."""

    kind: str
    node: int
    ballot: Ballot = _NONE
    slot: int = 0
    more: str = "0"
    record: Record | None = None
    found: _Found | None = None
    behind: Mark = ORIGIN
    taken_back: bool = False


@dataclass(slots=True)
class _Watched:
    """A node as it was after its last step. `pending`: events whose records a crash may still take, by LSN. `made`: the
    LSN with which the replica was made, if this process made it."""

    replica: GroupReplica | None = None
    leads: Ballot = _NONE
    campaign: Campaign | None = None
    chosen: int = 0
    number: int = 0
    made: int = 0
    pending: list[tuple[int, Event]] = field(default_factory=list)


class Recorder:
    """See the module. The owner of a world calls `stepped` before it carries effects out, `crashed` afterwards.

    Nodes are numbered as they come, beginning with `nodes`: so the traces of different groups have the same founders.
    """

    def __init__(self, nodes: Iterable[NodeId]) -> None:
        self.numbers: dict[NodeId, int] = {node: number for number, node in enumerate(nodes)}
        self.events: list[Event] = []
        self.proposed_in: dict[Mark, Ballot] = {}  # the ballot whose leader made the entry
        self.before: dict[Mark, Mark] = {}  # what it made it behind
        self._nodes: defaultdict[NodeId, _Watched] = defaultdict(_Watched)

    # --- what happens -------------------------------------------------------------------------------------------------

    def stepped(self, replica: GroupReplica, message: Any, effects: Effects, lsn: int) -> None:
        """`replica` has taken a step, of which `effects` are to be carried out; the last record before it is `lsn`.
        `message`: what made it, if a message did."""
        watched = self._nodes[replica.me]
        if replica is not watched.replica:
            watched = self._begun(watched, replica, any(record.kind is RecordKind.CREATE for record in effects.records))
        wins = replica.leader is not None and replica.leader.ballot != watched.leads
        carried = getattr(message, "configuration", 0)
        for record in effects.records:
            lsn += 1
            if wins and record.kind is RecordKind.INSTALL:
                self._numbered(watched, replica)  # what it learnt with the best log is known when it wins
                self._won(watched, replica, effects.records)
            if replica.leader is not None and record.kind is RecordKind.ACCEPT:
                self._proposed(replica, decode_entry(record.body), wins)
            self._written(watched, replica, record, lsn, carried)
        self._counted(watched, replica)
        self._numbered(watched, replica)
        self._reported(replica, effects)
        watched.campaign = replica.campaign
        watched.leads = _NONE if replica.leader is None else replica.leader.ballot
        watched.chosen = replica.acceptor.chosen

    def dropped(self, node: NodeId, record: Record, lsn: int) -> None:
        """`node` drops its replica with `record`, a DROP."""
        watched = self._nodes[node]
        watched.pending.append((lsn, self._note("drop", node, more=str(record.configuration))))

    def crashed(self, node: NodeId, kept: int) -> None:
        """A process has stopped; of its log, records up to the LSN `kept` are left."""
        watched = self._nodes[node]
        for lsn, event in watched.pending:
            event.taken_back = lsn > kept
        self._nodes[node] = _Watched(watched.replica)
        self._note("crash", node)

    # --- events -------------------------------------------------------------------------------------------------------

    def _note(self, kind: str, node: NodeId, ballot: Ballot = _NONE, slot: int = 0, more: str = "0") -> Event:
        event = Event(kind, self._named(node), ballot, slot, more)
        self.events.append(event)
        return event

    def _named(self, node: NodeId) -> int:
        return self.numbers.setdefault(node, len(self.numbers))

    def _set(self, nodes: Iterable[NodeId]) -> str:
        return "{" + ", ".join(str(number) for number in sorted(map(self._named, nodes))) + "}"

    def _shape(self, configuration: Configuration) -> str:
        """A configuration as `Reconfigure` takes it."""
        renewed = [replica.node for replica in configuration.replicas if replica.since == configuration.number]
        learners = [replica.node for replica in configuration.replicas if not replica.votes]
        sets = zip("vlxr", (configuration.voters, configuration.logs, learners, renewed), strict=True)
        return "[" + ", ".join(f"{name} |-> {self._set(nodes)}" for name, nodes in sets) + "]"

    def _begun(self, watched: _Watched, replica: GroupReplica, made: bool) -> _Watched:
        """The first step of a replica, which was just `made`, or starts from what was left."""
        acceptor = replica.acceptor
        if replica.amnesiac:
            self._note("damage", replica.me)
        elif watched.replica is not None and not made:
            event = self._note("restart", replica.me)
            log = acceptor.log
            event.found = _Found(acceptor.promised, acceptor.log_ballot, log.last, not log.entries)
        begun = self._nodes[replica.me] = _Watched(replica, chosen=acceptor.chosen, pending=watched.pending)
        return begun

    def _won(self, watched: _Watched, replica: GroupReplica, records: list[Record]) -> None:
        assert replica.leader is not None
        assert watched.campaign is not None
        promisers = self._set(watched.campaign.promises)
        barrier = next(record.slot for record in records if record.kind is RecordKind.ACCEPT)
        self._note("win", replica.me, replica.leader.ballot, barrier, promisers)

    def _proposed(self, replica: GroupReplica, entry: Entry, barrier: bool) -> None:
        assert replica.leader is not None
        ballot, behind = replica.leader.ballot, replica.acceptor.log.mark_at(Slot(entry.slot - 1))
        assert behind is not None
        self.proposed_in.setdefault(entry.mark, ballot)
        self.before.setdefault(entry.mark, behind)
        if entry.kind is CommandKind.CONFIG:
            shape = self._shape(decode_configuration(entry.body))
            self._note("configure", replica.me, ballot, entry.slot, shape)
        elif not barrier:
            self._note("propose", replica.me, ballot, entry.slot)

    def _written(self, watched: _Watched, replica: GroupReplica, record: Record, lsn: int, carried: int) -> None:
        kind, slot, more = _KINDS.get(record.kind, ""), int(record.slot), "0"
        if record.kind is RecordKind.CREATE and record.configuration:
            kind, more = "create", str(record.configuration)
            watched.made, watched.number = lsn, record.configuration
        elif record.kind is RecordKind.PROMISE:
            kind, more = ("campaign", "0") if ballot_node(record.ballot) == replica.me else ("promise", str(carried))
        elif record.kind is RecordKind.INSTALL:
            slot += sum(1 for _ in unpack_install(record.body))
        elif record.kind is RecordKind.BASE:
            more = "TRUE" if replica.acceptor.is_log else "FALSE"
        if not kind:
            return
        event = self._note(kind, replica.me, record.ballot, slot, more)
        event.record = record
        if more == "FALSE":  # the rows of a snapshot are durable already, what it binds to is not
            event = self._note("bind", replica.me, record.ballot)
            event.record = record
        watched.pending.append((lsn, event))

    def _counted(self, watched: _Watched, replica: GroupReplica) -> None:
        """The chosen mark of a leader that still has its ballot, or that lost its vote by what it counted."""
        acceptor = replica.acceptor
        ballot = watched.leads if replica.leader is None else replica.leader.ballot
        if not ballot or acceptor.promised != ballot:
            return
        first = watched.chosen + 1 if ballot == watched.leads else acceptor.chosen
        for slot in range(first, acceptor.chosen + 1):
            self._note("count", replica.me, ballot, slot)

    def _numbered(self, watched: _Watched, replica: GroupReplica) -> None:
        """The replica acts in another configuration, unless it is amnesiac. If that does not name it, it is dropped at
        once."""
        acceptor = replica.acceptor
        if replica.amnesiac or replica.me not in acceptor.configuration.nodes:
            return
        if acceptor.number != watched.number:
            watched.number = acceptor.number
            watched.pending.append((watched.made, self._note("number", replica.me, more=str(watched.number))))

    def _reported(self, replica: GroupReplica, effects: Effects) -> None:
        for output in effects.outputs:
            if isinstance(output, Chosen):
                last = output.entries[-1]
                self._note("report", replica.me, slot=last.slot).behind = last.mark


_KINDS = {
    RecordKind.INSTALL: "install",
    RecordKind.ACCEPT: "accept",
    RecordKind.LEARN: "learn",
    RecordKind.BASE: "base",
}


# --- as a module ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Stored:
    """What a node's records say it has."""

    promised: Ballot
    log_ballot: Ballot
    last: Mark = ORIGIN


def _nothing() -> _Stored:
    return _Stored(_NONE, _NONE)


class Trace:
    """The events of a recorder that were not taken back, with what each node had after them.

    Ballots become 1, 2, ... in their order; an entry is known by its mark and shown as the ballot that proposed it.
    """

    def __init__(self, recorder: Recorder, founded: Configuration, first: Ballot) -> None:
        self._recorder = recorder
        self.founded = founded
        self.events = [event for event in recorder.events if not event.taken_back]
        ballots = {first: True} | {event.ballot: True for event in self.events if event.ballot}
        self.ranks = {ballot: rank for rank, ballot in enumerate(sorted(ballots), 1)}
        self._first = first
        self._stored: defaultdict[int, _Stored] = defaultdict(_nothing)

    def sequence(self) -> str:
        """The events as a sequence of TLA+."""
        first = self._first
        self._stored.clear()
        self._stored.update((self._recorder.numbers[node], _Stored(first, first)) for node in self.founded.nodes)
        return "<<\n" + ",\n".join(line for event in self.events for line in self._lines(event)) + "\n>>"

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._recorder.numbers)

    def numbers(self, nodes: Iterable[NodeId]) -> list[int]:
        """These nodes as the events have them."""
        return [self._recorder.numbers[node] for node in nodes]

    def _lines(self, event: Event) -> Iterator[str]:
        stored = self._stored[event.node]
        more = event.more
        if event.record is not None:
            self._store(stored, event.kind, event.record)
        elif event.found is not None:
            found = event.found
            if found.empty and self._behind(stored.last, found.last.slot) != found.last:
                # The rows of a snapshot were switched in, and the crash came before the replica was told of it.
                stored.last = found.last
                yield self._line(Event("base", event.node, slot=found.last.slot), "FALSE", stored)
            stored = _Stored(found.promised, found.log_ballot, found.last)
        elif event.kind == "report":
            more = str(self._rank_of(event.behind))
        elif event.kind == "drop":
            self._stored[event.node] = _nothing()
        yield self._line(event, more, stored)

    def _line(self, event: Event, more: str, stored: _Stored) -> str:
        rank = self.ranks.get(event.ballot, 0)
        seen = (
            self.ranks.get(stored.promised, 0), self.ranks.get(stored.log_ballot, 0), stored.last.slot,
            self._rank_of(stored.last),
        )  # fmt: skip
        values = ", ".join(str(int(value)) for value in seen)
        return f'<<"{event.kind}", {event.node}, {rank}, {event.slot}, {more}, <<{values}>>>>'

    def _rank_of(self, mark: Mark) -> int:
        return self.ranks.get(self._recorder.proposed_in.get(mark, _NONE), 0)

    def _store(self, stored: _Stored, kind: str, record: Record) -> None:
        """As `paxos.recovery` folds it."""
        if kind != "base":
            stored.promised = max(stored.promised, record.ballot)
        if record.kind is RecordKind.INSTALL:
            stored.log_ballot = record.ballot
            entries = list(unpack_install(record.body))
            stored.last = decode_entry(entries[-1]).mark if entries else self._behind(stored.last, record.slot)
        elif record.kind in (RecordKind.ACCEPT, RecordKind.LEARN):
            stored.last = decode_entry(record.body).mark
        elif record.kind is RecordKind.CREATE:
            stored.log_ballot, stored.last = _NONE, ORIGIN
        elif record.kind is RecordKind.BASE:
            base, _ = unpack_base(record)
            if self._behind(stored.last, base.slot) != base:
                stored.last = base

    def _behind(self, last: Mark, slot: int) -> Mark:
        while last.slot > slot:
            last = self._recorder.before.get(last, ORIGIN)
        return last
