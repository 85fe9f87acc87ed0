"""The acceptor of one replica, and what it learns: promises, the log, and which of its slots are chosen.

Rules (REPLICATION.md §1): it accepts (ballot b, slot n) only if the log's ballot is b and n follows the last slot; a
log of another ballot is replaced as a whole suffix, in one durable step (`install`); every answer leaves only when all
that it speaks of is durable. Source: Lamport, "Paxos Made Simple" (2001), with Zab's primary order (Junqueira, DSN
2011) as the reason for whole suffixes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Invariant
from gramme.kernel.ids import Ballot, NodeId, Slot, ballot_node
from gramme.kernel.time import Instant
from gramme.paxos.chain import decode_entry
from gramme.paxos.configuration import Configuration, decode_configuration
from gramme.paxos.entry import CommandKind, Entry, Mark
from gramme.paxos.lease import LeaseView
from gramme.paxos.log import ReplicaLog
from gramme.paxos.messages import Accept, Accepted, Behind, Commit, Install, Learn, Nack, Prepare, Promise, Rebase
from gramme.paxos.outputs import Chosen
from gramme.paxos.state import (
    GroupState,
    accept_record,
    base_record,
    install_record,
    learn_record,
    promise_record,
)


class LogDurable(NamedTuple):
    """Durable event: the log is durable up to `slot` in `ballot`, unless it was cut since (`incarnation`)."""

    incarnation: int
    ballot: Ballot
    slot: Slot


class Acceptor:
    """See the module. Methods that take `out` add their effects to it."""

    def __init__(self, state: GroupState, me: NodeId, leases: LeaseView) -> None:
        assert state.base is not None, "attach_engine comes first"
        self.group: Final = state.group
        self.me: Final = me
        self.configuration = state.configuration  # the newest that is known to be chosen: what this replica acts in
        self.configurations: list[tuple[Slot, Configuration]] = []  # those in the log that are not, oldest first
        self.promised = state.promised
        self.log_ballot = state.log_ballot
        self.log = ReplicaLog(state.base)
        for entry in state.entries:
            self._append(entry)
        self.chosen = Slot(0)
        self.note_chosen(max(state.chosen, state.applied))
        if self.chosen > self.log.last_slot:
            raise Invariant(
                f"group {state.group}: slot {self.chosen} is chosen but the log ends at {self.log.last_slot}"
            )
        self.emitted = state.applied
        self.everywhere = Slot(0)
        self.durable_slot = self.log.last_slot
        self.durable_ballot = Ballot(0) if state.founding else state.log_ballot
        self.incarnation = 0
        self.released = Ballot(0)
        self.stamped_era = 0
        self._leases = leases
        self._reported = LogDurable(0, self.log_ballot, self.durable_slot)

    @property
    def alone(self) -> bool:
        """A group with one voter needs no lease: nobody else can lead."""
        return len(self.configuration.voters) == 1

    @property
    def number(self) -> int:
        """Of the configuration that this replica acts in: every message carries it."""
        return self.configuration.number

    @property
    def is_log(self) -> bool:
        """Whether this is a log replica."""
        mine = self.configuration.replica(self.me)
        return mine is not None and mine.log

    @property
    def eligible(self) -> bool:
        """Whether this replica may lead."""
        return self.me in self.configuration.eligible

    # --- phase 1 ------------------------------------------------------------------------------------------------------

    def bound_ns(self, candidate: NodeId, now: Instant) -> int:
        """How long this acceptor must refuse `candidate`'s higher ballots; 0: it need not.

        It is bound to the holder of the ballot it promised while its node's grant lasts, but only in the era that it
        wrote to the holder: no other era lets the holder count it (`paxos.lease`). The holder itself is never refused:
        whoever campaigns anew holds nothing any more. A node that restarted does not know what it wrote, so it is bound
        to everybody else until `quiet_until`.
        """
        holder = ballot_node(self.promised)
        if self.alone or candidate == holder or self.released == self.promised:
            return 0
        quiet_ns = self._leases.quiet_until - now
        if quiet_ns > 0:
            return quiet_ns
        if not self.stamped_era or self.stamped_era != self._leases.grant_era(holder, now):
            return 0
        return self._leases.grant_left(holder, now)

    def release(self, ballot: Ballot) -> None:
        """The holder of `ballot` has given its lease of this group up."""
        if ballot == self.promised:
            self.released = ballot

    def on_prepare(self, source: NodeId, message: Prepare, now: Instant, out: Effects) -> bool:
        """Phase 1b. Returns whether the ballot is promised."""
        ballot = message.ballot
        if message.released:
            self.release(message.released)
        if ballot < self.promised or ballot_node(ballot) != source:
            self._nack(source, ballot, 0, out)
            return False
        if ballot > self.promised:
            left_ns = self.bound_ns(source, now)
            if left_ns > 0:
                self._nack(source, ballot, left_ns, out)
                return False
            self.promise(ballot, out)
        out.sends_durable.append((source, self.make_promise(ballot)))
        return True

    def promise(self, ballot: Ballot, out: Effects) -> None:
        """Never again take part in a ballot below `ballot`."""
        self._raise_promise(ballot)
        out.records.append(promise_record(self.group, ballot, self.number))

    def make_promise(self, ballot: Ballot) -> Promise:
        """What this acceptor holds, for a candidate. True once everything appended so far is durable."""
        chosen = self.log.mark_at(self.chosen)
        assert chosen is not None, "chosen slots are trimmed only up to the base"
        return Promise(self.group, self.number, ballot, self.log_ballot, self.log.last, chosen, self.log.base)

    def _raise_promise(self, ballot: Ballot) -> None:
        if ballot > self.promised:
            self.promised = ballot
            self.stamped_era = 0

    def _nack(self, source: NodeId, ballot: Ballot, left_ns: int, out: Effects) -> None:
        out.sends.append((source, Nack(self.group, self.number, ballot, self.promised, left_ns)))

    # --- phase 2 ------------------------------------------------------------------------------------------------------

    def admit(self, source: NodeId, message: Any, out: Effects) -> bool:
        """Whether a leader's message may be taken at all. A ballot above the promise is promised on the way: it has
        passed phase 1, and with it the lease check, at a quorum."""
        ballot = message.ballot
        if ballot < self.promised or ballot_node(ballot) != source:
            self._nack(source, ballot, 0, out)
            return False
        if ballot > self.promised:
            self.promise(ballot, out)
        return True

    def on_accept(self, source: NodeId, message: Accept, now: Instant, out: Effects) -> None:
        """Phase 2b. Entries that are held already are passed over; a gap or another ballot is told to the leader."""
        if message.ballot != self.log_ballot or message.previous_slot > self.log.last_slot:
            self.answer_behind(source, now, out)
            return
        self.everywhere = max(self.everywhere, message.everywhere)
        self._extend(message.previous_slot, message.entries, out)
        self.note_chosen(min(message.chosen, self.log.last_slot))
        self.answer_accepted(source, now, out)

    def on_commit(self, source: NodeId, message: Commit, now: Instant, out: Effects) -> None:
        """The leader's chosen mark. With a log of another ballot, holding the marked entry proves the prefix."""
        self.everywhere = max(self.everywhere, message.everywhere)
        if message.ballot == self.log_ballot:
            self.note_chosen(min(message.chosen.slot, self.log.last_slot))
            self.answer_accepted(source, now, out)
            return
        if self.log.holds(message.chosen):
            self.note_chosen(message.chosen.slot)
        self.answer_behind(source, now, out)

    def on_install(self, source: NodeId, message: Install, now: Instant, out: Effects) -> None:
        """Adopt the leader's log after a slot that is chosen here. Sent twice, it only extends."""
        if message.ballot == self.log_ballot:
            if message.previous.slot > self.log.last_slot:
                self.answer_behind(source, now, out)
                return
            self._extend(message.previous.slot, message.entries, out)
        else:
            if message.previous.slot > self.chosen:
                if not self.log.holds(message.previous):
                    self.answer_behind(source, now, out)
                    return
                self.note_chosen(message.previous.slot)
            known = self.chosen - message.previous.slot
            self._check_same(self.chosen, message.entries[known - 1 : known] if known else ())
            suffix = [decode_entry(encoded) for encoded in message.entries[known:]]
            self.install(message.ballot, self.chosen, suffix, out)
        self.note_chosen(min(message.chosen, self.log.last_slot))
        self.answer_accepted(source, now, out)

    def install(self, ballot: Ballot, after: Slot, suffix: Sequence[Entry], out: Effects) -> None:
        """Make the log `log[..after] + suffix` of `ballot`, as one record. Half of it would be fatal: with the new
        ballot but without a slot that the old ballot had chosen, this log would win the next phase 1."""
        self._cut_after(after)
        for entry in suffix:
            self._append(entry)
        self.log_ballot = ballot
        self._raise_promise(ballot)
        out.records.append(install_record(self.group, ballot, self.number, after, suffix))

    def _check_same(self, slot: Slot, sent: Sequence[bytes]) -> None:
        """What a leader sends for a slot that is chosen here must be what is chosen here."""
        held = self.log.entry(slot)
        if held is not None and sent and held.encoded != sent[0]:
            raise Invariant(f"group {self.group}: a leader's log differs in slot {slot}, which is chosen")

    def append_own(self, entry: Entry, out: Effects) -> None:
        """The leader's own phase 2b: its log takes the entry before anybody else's."""
        self.log.append_own(entry)
        self._note_configuration(entry)
        out.records.append(accept_record(self.group, self.log_ballot, entry))

    def _extend(self, previous_slot: Slot, encoded_entries: Sequence[bytes], out: Effects) -> None:
        """Append what is new; the chain proves that it continues this log, or the replica stops."""
        for encoded in encoded_entries[self.log.last_slot - previous_slot :]:
            entry = decode_entry(encoded)
            self._append(entry)
            out.records.append(accept_record(self.group, self.log_ballot, entry))

    def _append(self, entry: Entry) -> None:
        self.log.append(entry)
        self._note_configuration(entry)

    def _note_configuration(self, entry: Entry) -> None:
        if entry.kind == CommandKind.CONFIG:
            self.configurations.append((entry.slot, decode_configuration(entry.body)))

    def _cut_after(self, slot: Slot) -> None:
        if slot < self.emitted or slot < self.chosen:
            raise Invariant(f"group {self.group}: slot {slot + 1} is chosen (up to {self.chosen}) and may not be cut")
        if slot < self.log.last_slot:
            self.log.truncate_after(slot)
            self.configurations = [held for held in self.configurations if held[0] <= slot]
            self.incarnation += 1
            self.durable_slot = min(self.durable_slot, slot)

    def on_rebase(self, source: NodeId, message: Rebase, now: Instant, out: Effects) -> None:
        """A log replica begins again at a mark, as if a snapshot of no rows had come."""
        if self.is_log:
            self.install_base(message.base, decode_configuration(message.body), out, message.ballot)
        self.answer_behind(source, now, out)

    # --- answers to the leader ----------------------------------------------------------------------------------------

    def _stamp(self, now: Instant) -> int:
        """The era for a reply to the holder of the promised ballot. From here on this acceptor is bound in that era."""
        self.stamped_era = self._leases.grant_era(ballot_node(self.promised), now) if not self.alone else 0
        return self.stamped_era

    def answer_accepted(self, source: NodeId, now: Instant, out: Effects) -> None:
        """Tell the leader how far this log of its ballot goes, once that is durable."""
        answer = Accepted(self.group, self.number, self.log_ballot, self.log.last_slot, self.chosen, self._stamp(now))
        out.sends_durable.append((source, answer))

    def answer_behind(self, source: NodeId, now: Instant, out: Effects) -> None:
        """Tell the leader where this log is, so that it sends what is missing."""
        answer = Behind(
            self.group,
            self.number,
            self.promised,
            self.log_ballot,
            self.log.last,
            self.chosen,
            self._stamp(now),
        )
        out.sends_durable.append((source, answer))

    # --- learning -----------------------------------------------------------------------------------------------------

    def on_learn(self, source: NodeId, message: Learn, now: Instant, out: Effects) -> None:
        """Chosen entries for a log of another ballot. See docs/decisions/0003-learn-records.md for why it is safe."""
        previous = message.previous
        if message.ballot == self.log_ballot and previous.slot <= self.log.last_slot:
            self._extend(previous.slot, message.entries, out)
            self.note_chosen(Slot(previous.slot + len(message.entries)))
            self.answer_accepted(source, now, out)
            return
        if previous.slot <= self.chosen or self.log.holds(previous):
            self.note_chosen(previous.slot)
            self.learn(message.ballot, [decode_entry(encoded) for encoded in message.entries], out)
        self.answer_behind(source, now, out)

    def learn(self, ballot: Ballot, entries: Iterable[Entry], out: Effects) -> None:
        """Take chosen entries that start no later than `chosen + 1`: an equal one stays, a different one and all
        behind it were never chosen and go."""
        for entry in entries:
            if entry.slot <= self.chosen:
                continue
            held = self.log.entry(entry.slot)
            if held is None or held.encoded != entry.encoded:
                self._cut_after(Slot(entry.slot - 1))
                self._append(entry)
                out.records.append(learn_record(self.group, ballot, entry))
            self.note_chosen(entry.slot)

    def note_chosen(self, slot: Slot) -> None:
        """Slots up to `slot` of this log are chosen, and the configurations in them."""
        self.chosen = max(self.chosen, slot)
        while self.configurations and self.configurations[0][0] <= self.chosen:
            self.adopt(self.configurations.pop(0)[1])

    def adopt(self, configuration: Configuration) -> None:
        """A configuration is known to be chosen."""
        if configuration.number > self.configuration.number:
            self.configuration = configuration

    def install_base(self, base: Mark, configuration: Configuration, out: Effects, ballot: Ballot) -> bool:
        """A snapshot of the state up to `base`, from the leader of `ballot`, is engine-durable here. Returns False if
        this replica is further."""
        if base.slot <= self.emitted:
            return False
        if not self.log.holds(base):
            self.log.reset(base)
            self.configurations = []
            self.incarnation += 1
            self.durable_slot = base.slot
        self.durable_slot = max(self.durable_slot, base.slot)
        self.emitted = base.slot
        self._raise_promise(ballot)
        self.note_chosen(base.slot)
        self.adopt(configuration)
        out.records.append(base_record(self.group, self.promised, self.configuration, base))
        return True

    # --- durability ---------------------------------------------------------------------------------------------------

    def mark_durable_after(self, out: Effects) -> None:
        """Ask to be told when what was appended to the log so far is durable."""
        event = (self.incarnation, self.log_ballot, self.log.last_slot)
        if event != self._reported:
            self._reported = LogDurable(*event)
            out.durable_events.append(self._reported)

    def on_durable(self, event: LogDurable) -> None:
        """See `LogDurable`. An event from before a cut says nothing of what replaced it."""
        if event.incarnation == self.incarnation:
            self.durable_slot = max(self.durable_slot, event.slot)
            self.durable_ballot = max(self.durable_ballot, event.ballot)

    def emit(self, out: Effects) -> None:
        """Report what is chosen and durable here, so that the engine is never ahead of this node's log."""
        through = min(self.chosen, self.durable_slot)
        if through > self.emitted:
            out.outputs.append(Chosen(self.group, self.log.between(self.emitted, Slot(through))))
            self.emitted = Slot(through)
