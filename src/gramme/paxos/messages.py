"""Messages of a replication group and of the leases between nodes.

Frozen, tagged, array-like: field order is the wire format, so new fields go at the end with a default. Every message
of a group carries the number of the sender's configuration; a receiver with a newer one refuses with it
(REPLICATION.md §4). Log entries travel as their encoded bytes. `era` in a reply says under which uninterrupted grant
of the replier's node it was written (see `gramme.paxos.lease`): it is what lets a leader count the replier into its
lease.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gramme.kernel.ids import Ballot, BootId, GroupId, Slot
from gramme.kernel.time import Instant
from gramme.paxos.entry import Mark


class _Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


# --- campaign ---------------------------------------------------------------------------------------------------------


class Poll(_Message, tag="Poll", frozen=True):
    """Before a campaign: do you hear the leader? `attempt` tells answers to earlier polls apart."""

    group: GroupId
    configuration: int
    attempt: int


class PollAnswer(_Message, tag="PollAnswer", frozen=True):
    """`hears`: the answerer leads, or is bound to a leader for `left_ns` more. No answer is not a 'no' (row X10)."""

    group: GroupId
    configuration: int
    attempt: int
    hears: bool
    left_ns: int


class Prepare(_Message, tag="Prepare", frozen=True):
    """Phase 1a. `released` is a ballot whose holder has given its lease up to the sender (0: none)."""

    group: GroupId
    configuration: int
    ballot: Ballot
    released: Ballot = Ballot(0)


class Promise(_Message, tag="Promise", frozen=True):
    """Phase 1b: what the promiser holds. `base` is the mark before its first retained entry."""

    group: GroupId
    configuration: int
    ballot: Ballot
    log_ballot: Ballot
    last: Mark
    chosen: Mark
    base: Mark


class Nack(_Message, tag="Nack", frozen=True):
    """`ballot` is refused: `promised` is higher, or its holder's lease binds the refuser for `left_ns` more."""

    group: GroupId
    configuration: int
    ballot: Ballot
    promised: Ballot
    left_ns: int


class Fetch(_Message, tag="Fetch", frozen=True):
    """From a candidate to the promiser of the best log: send me what follows slot `after`."""

    group: GroupId
    configuration: int
    ballot: Ballot
    after: Slot


class Suffix(_Message, tag="Suffix", frozen=True):
    """A chunk of the promiser's log, from slot `after` + 1."""

    group: GroupId
    configuration: int
    ballot: Ballot
    after: Slot
    entries: tuple[bytes, ...]


# --- replication ------------------------------------------------------------------------------------------------------


class Learn(_Message, tag="Learn", frozen=True):
    """Chosen entries for an acceptor that is not in the leader's ballot yet: all of `entries`, and what precedes
    `previous`, is chosen. Without entries: 'if you hold the entry of this mark, all before it is chosen'."""

    group: GroupId
    configuration: int
    ballot: Ballot
    previous: Mark
    entries: tuple[bytes, ...]


class Install(_Message, tag="Install", frozen=True):
    """The leader's log after `previous` (a chosen slot of the receiver), to be adopted as one durable step."""

    group: GroupId
    configuration: int
    ballot: Ballot
    previous: Mark
    entries: tuple[bytes, ...]
    chosen: Slot


class Accept(_Message, tag="Accept", frozen=True):
    """Phase 2a for consecutive slots. `chosen`: the leader's mark; `everywhere`: every member holds it durably."""

    group: GroupId
    configuration: int
    ballot: Ballot
    previous_slot: Slot
    previous_crc: int
    entries: tuple[bytes, ...]
    chosen: Slot
    everywhere: Slot


class Commit(_Message, tag="Commit", frozen=True):
    """The chosen mark alone; also asks 'where are you?'. Always answered with Accepted, Behind or Nack."""

    group: GroupId
    configuration: int
    ballot: Ballot
    chosen: Mark
    everywhere: Slot


class Accepted(_Message, tag="Accepted", frozen=True):
    """Phase 2b: the sender durably holds the leader's log of `ballot` up to `slot`, and knows `chosen` as chosen."""

    group: GroupId
    configuration: int
    ballot: Ballot
    slot: Slot
    chosen: Slot
    era: int


class Behind(_Message, tag="Behind", frozen=True):
    """The sender promised `ballot` but cannot take what was sent: its log is of `log_ballot` and ends at `last`."""

    group: GroupId
    configuration: int
    ballot: Ballot
    log_ballot: Ballot
    last: Mark
    chosen: Slot
    era: int


class Release(_Message, tag="Release", frozen=True):
    """The holder of `ballot` has given up the group's lease: acceptors are no longer bound by it."""

    group: GroupId
    configuration: int
    ballot: Ballot


class HandOver(_Message, tag="HandOver", frozen=True):
    """The holder of `ballot` gives the group to the receiver, which campaigns at once and without a poll."""

    group: GroupId
    configuration: int
    ballot: Ballot


class NewerConfiguration(_Message, tag="NewerConfiguration", frozen=True):
    """The receiver's message was refused: the group has moved on to `configuration`, which is chosen and stands in
    `body` (see `configuration.encode_configuration`)."""

    group: GroupId
    configuration: int
    body: bytes = b""


class Rebase(_Message, tag="Rebase", frozen=True):
    """From the holder of `ballot` to a log replica that lacks entries which are no longer retained: begin after `base`.
    All before it is chosen, and every storage voter that is up has it. `body`: the configuration."""

    group: GroupId
    configuration: int
    ballot: Ballot
    base: Mark
    body: bytes


class Amnesiac(_Message, tag="Amnesiac", frozen=True):
    """The sender's replica may have forgotten what it promised: it takes no part until a newer configuration than
    `configuration`, the last it knew, has it made anew."""

    group: GroupId
    configuration: int


# --- leases between nodes ---------------------------------------------------------------------------------------------


class LeaseRenew(_Message, tag="LeaseRenew", frozen=True):
    """Grant me a lease. `boot` is the sender's process, `previous` its earlier ones (newest last); `sent_at` is of the
    sender's clock and is only echoed."""

    boot: BootId
    previous: tuple[BootId, ...]
    sent_at: Instant


class LeaseGranted(_Message, tag="LeaseGranted", frozen=True):
    """A grant of `grant_ns` from the moment it was written, in `era`; or, with `grant_ns` 0, none before `retry_ns`."""

    boot: BootId
    sent_at: Instant
    era: int
    grant_ns: int
    retry_ns: int = 0


GROUP_MESSAGES: Final = (
    Poll,
    PollAnswer,
    Prepare,
    Promise,
    Nack,
    Fetch,
    Suffix,
    Learn,
    Install,
    Accept,
    Commit,
    Accepted,
    Behind,
    Release,
    HandOver,
    NewerConfiguration,
    Rebase,
    Amnesiac,
)
"""Have a `group`, and go to that group's replica."""

LEASE_MESSAGES: Final = (LeaseRenew, LeaseGranted)
"""Have no group, and go to the node's `LeaseTable`."""

MESSAGES: Final[tuple[type, ...]] = GROUP_MESSAGES + LEASE_MESSAGES
