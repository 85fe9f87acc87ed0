"""One attempt to lead: ask the peers, win phase 1, fetch the best log.

1. *Poll*: a quorum must say that it hears no leader; silence is no consent (rows F5, X10).
2. *Prepare*: promise a higher ballot here, durably, then ask for promises. A quorum of them ends phase 1.
3. *Fetch*: the promise with the highest (log ballot, last slot) has every slot that may have been chosen. Its whole
   suffix is adopted (REPLICATION.md §1), fetched in chunks; chosen entries are learnt on the way, the rest is kept here
   until it can be installed as one step.
4. If what is to be adopted holds a newer configuration, chosen or not, a quorum of that one must have promised as well:
   2 and 3 are repeated with its voters (REPLICATION.md §4). Otherwise what it alone had chosen would be overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from gramme.kernel.effects import Effects
from gramme.kernel.errors import Invariant
from gramme.kernel.ids import NO_NODE, Ballot, NodeId, Slot
from gramme.kernel.time import Instant
from gramme.paxos.acceptor import Acceptor
from gramme.paxos.chain import decode_entry
from gramme.paxos.configuration import Configuration, decode_configuration
from gramme.paxos.entry import CommandKind, Entry
from gramme.paxos.messages import Fetch, Poll, PollAnswer, Prepare, Promise, Suffix
from gramme.paxos.settings import PaxosSettings


class Phase(Enum):
    """Where a campaign stands."""

    POLL = "poll"
    PREPARE = "prepare"
    FETCH = "fetch"
    WON = "won"
    TRAILING = "trailing"  # `best` should lead: it no longer retains what is missing here


@dataclass(frozen=True, slots=True)
class PromiseDurable:
    """Durable event: this node's own promise of `ballot`."""

    ballot: Ballot


class Campaign:
    """See the module. `phase` tells the replica what came of each step."""

    def __init__(self, acceptor: Acceptor, settings: PaxosSettings, attempt: int) -> None:
        self.phase = Phase.POLL
        self.ballot = Ballot(0)
        self.deadline = Instant(0)
        self.promises: dict[NodeId, Promise] = {}
        self.refused_until = Instant(0)  # the earliest time at which a refusal said to ask again
        self.best: NodeId = NO_NODE
        self.suffix: list[Entry] = []
        self._acceptor = acceptor
        self._settings = settings
        self._attempt = attempt
        self._deaf: dict[NodeId, bool] = {acceptor.me: True}
        self._refusals: dict[NodeId, bool] = {}
        self._asked: dict[NodeId, bool] = {acceptor.me: True}
        self._electorates: list[Configuration] = [acceptor.configuration]
        self._fetched = Slot(0)
        self._released = Ballot(0)

    # --- poll ---------------------------------------------------------------------------------------------------------

    def poll(self, now: Instant, out: Effects) -> None:
        """Ask everybody whether they hear the leader."""
        acceptor = self._acceptor
        self.deadline = Instant(now + self._settings.poll_timeout_ns)
        for node in acceptor.configuration.voters:
            if node != acceptor.me:
                out.sends.append((node, Poll(acceptor.group, acceptor.number, self._attempt)))

    def on_poll_answer(self, source: NodeId, message: PollAnswer, now: Instant) -> bool:
        """Count an answer. Returns whether a quorum hears no leader."""
        if self.phase is not Phase.POLL or message.attempt != self._attempt:
            return False
        if message.hears:
            self._note_wait(message.left_ns, now)
            return False
        self._deaf[source] = True
        return self._is_quorum(self._acceptor.configuration, self._deaf)

    @staticmethod
    def _is_quorum(electorate: Configuration, nodes: Iterable[NodeId]) -> bool:
        return sum(1 for node in electorate.voters if node in nodes) >= electorate.quorum

    def _note_wait(self, left_ns: int, now: Instant) -> None:
        until = Instant(now + left_ns)
        self.refused_until = min(self.refused_until, until) if self.refused_until else until

    # --- phase 1 ------------------------------------------------------------------------------------------------------

    def prepare(self, ballot: Ballot, released: Ballot, now: Instant, out: Effects) -> None:
        """Phase 1a. The own promise is durable before anybody hears of the ballot: a ballot is never used twice."""
        acceptor = self._acceptor
        self.phase = Phase.PREPARE
        self.ballot = ballot
        self.deadline = Instant(now + self._settings.campaign_timeout_ns)
        self._released = released
        self._electorates = [acceptor.configuration]
        acceptor.promise(ballot, out)
        self._ask(out)
        out.durable_events.append(PromiseDurable(ballot))

    def _ask(self, out: Effects) -> None:
        """Prepare to every voter that was not asked yet. What is sent waits for the own promise, which the first time
        is not yet durable."""
        acceptor = self._acceptor
        for electorate in self._electorates:
            for node in electorate.voters:
                if node not in self._asked:
                    self._asked[node] = True
                    message = Prepare(acceptor.group, acceptor.number, self.ballot, self._released)
                    out.sends_durable.append((node, message))

    def on_promise(self, source: NodeId, promise: Promise, now: Instant, out: Effects) -> None:
        """Phase 1b arrives. With a quorum, look for the best log. (While that is being fetched, a further promise
        changes nothing; but a configuration in that log may ask for it.)"""
        if self.phase not in (Phase.PREPARE, Phase.FETCH) or promise.ballot != self.ballot:
            return
        self.promises.setdefault(source, promise)
        if self.phase is Phase.PREPARE and all(self._has_promised(electorate) for electorate in self._electorates):
            self._adopt_best(now, out)

    def _has_promised(self, electorate: Configuration) -> bool:
        """Whether a quorum has. What an earlier incarnation of a replica promised, the present one did not."""
        count = 0
        for replica in electorate.replicas:
            promise = self.promises.get(replica.node) if replica.votes else None
            count += promise is not None and promise.configuration >= replica.since
        return count >= electorate.quorum

    def on_refusal(self, source: NodeId, left_ns: int, now: Instant) -> bool:
        """A Nack for this ballot. Returns whether a quorum of promises has become impossible."""
        self._note_wait(left_ns, now)
        self._refusals[source] = True
        return any(
            sum(1 for node in electorate.voters if node not in self._refusals) < electorate.quorum
            for electorate in self._electorates
        )

    def _best_of_all(self) -> NodeId:
        """Whose promise tells of the highest (log ballot, last slot)."""
        me = self._acceptor.me
        return max(
            self.promises, key=lambda node: (self.promises[node].log_ballot, self.promises[node].last.slot, node == me)
        )

    def _adopt_best(self, now: Instant, out: Effects) -> None:
        self.best = self._best_of_all()
        best = self.promises[self.best]
        after = self._common_slot(best)
        if after is not None and after > best.last.slot:
            raise Invariant(
                f"group {self._acceptor.group}: slot {after} is chosen, "
                f"but the best log of a quorum ends at slot {best.last.slot}"
            )
        if after is None:
            self.phase = Phase.TRAILING
            return
        self._fetched = after
        self.suffix = []
        if self.best == self._acceptor.me or after == best.last.slot:
            self._have_best(now, out)
        else:
            self.phase = Phase.FETCH
            self._fetch(now, out)

    def _have_best(self, now: Instant, out: Effects) -> None:
        """The best log of those that had promised is here: it wins, unless it holds a configuration that was not asked,
        or a better one was told of since: that may be the only one with what the newer configuration has chosen."""
        if self._best_of_all() != self.best:
            self._adopt_best(now, out)
            return
        electorates = self._in_force()
        if all(self._has_promised(electorate) for electorate in electorates):
            self.phase = Phase.WON
            return
        self.phase = Phase.PREPARE
        self.deadline = Instant(now + self._settings.campaign_timeout_ns)
        self._electorates = electorates
        self._ask(out)

    def _in_force(self) -> list[Configuration]:
        """Configurations of which a quorum must have promised: the newest known to be chosen, and later ones in the log
        that is to be adopted. (None of the own log that the best one does not have: those were not chosen.)"""
        acceptor = self._acceptor
        kept, suffix = self.adopted()
        later = [configuration for slot, configuration in acceptor.configurations if slot <= kept]
        later += [decode_configuration(entry.body) for entry in suffix if entry.kind == CommandKind.CONFIG]
        number = acceptor.number
        return [acceptor.configuration, *(each for each in later if each.number > number)]

    def _common_slot(self, best: Promise) -> Slot | None:
        """The slot up to which the own log is known to be the best one; None if the rest is not to be had.

        In the same ballot the shorter log is a prefix of the longer one. Otherwise it is what is chosen: as known here,
        or as the best log's marks prove of the own log.
        """
        acceptor = self._acceptor
        if best.log_ballot == acceptor.log_ballot:
            acceptor.note_chosen(Slot(min(best.chosen.slot, acceptor.log.last_slot)))
            after = acceptor.log.last_slot
        else:
            for mark in (best.base, best.chosen):
                if acceptor.log.holds(mark):
                    acceptor.note_chosen(mark.slot)
            after = acceptor.chosen
        return after if best.base.slot <= after else None

    # --- the best log -------------------------------------------------------------------------------------------------

    def _fetch(self, now: Instant, out: Effects) -> None:
        acceptor = self._acceptor
        self.deadline = Instant(now + self._settings.campaign_timeout_ns)
        message = Fetch(acceptor.group, acceptor.number, self.ballot, self._fetched)
        out.sends.append((self.best, message))

    def on_suffix(self, source: NodeId, message: Suffix, now: Instant, out: Effects) -> None:
        """A chunk of the best log."""
        expected = self.phase is Phase.FETCH and message.ballot == self.ballot and source == self.best
        if not expected or message.after != self._fetched:
            return
        if not message.entries:
            self.phase = Phase.TRAILING
            return
        best = self.promises[self.best]
        entries = [decode_entry(encoded) for encoded in message.entries]
        known = max(0, best.chosen.slot - self._fetched)
        self._acceptor.learn(self.ballot, entries[:known], out)
        self.suffix += entries[known:]
        self._fetched = Slot(self._fetched + len(entries))
        if self._fetched > best.last.slot:
            raise Invariant(f"node {source} sent slots past {best.last.slot}, where its promise says its log ends")
        if self._fetched == best.last.slot:
            self._have_best(now, out)
        else:
            self._fetch(now, out)

    def adopted(self) -> tuple[Slot, list[Entry]]:
        """What to install here: the log up to the slot stays, the entries replace whatever follows it. While they were
        fetched a snapshot may have come: what it covers is chosen, and stays."""
        kept = self.promises[self.best].last.slot - len(self.suffix)
        covered = max(0, self._acceptor.chosen - kept)
        if covered > len(self.suffix):
            raise Invariant(
                f"group {self._acceptor.group}: slot {self._acceptor.chosen} is chosen, "
                f"but the best log of a quorum ends at slot {kept + len(self.suffix)}"
            )
        return Slot(kept + covered), self.suffix[covered:]
