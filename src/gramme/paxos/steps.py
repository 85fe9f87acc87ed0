"""What a replica does with each message of its group's protocol: one function a message, listed in `STEPS`.

A function adds its effects to `out`; what follows for roles and timers it leaves to `GroupReplica`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gramme.kernel.effects import Effects
from gramme.kernel.ids import NO_NODE, NodeId, Slot, ballot_node
from gramme.kernel.time import Instant
from gramme.paxos.configuration import decode_configuration, encode_configuration
from gramme.paxos.messages import (
    Accept,
    Accepted,
    Amnesiac,
    Behind,
    Commit,
    Fetch,
    HandOver,
    Install,
    Learn,
    Nack,
    NewerConfiguration,
    Poll,
    PollAnswer,
    Prepare,
    Promise,
    Rebase,
    Release,
    Suffix,
)

if TYPE_CHECKING:
    from gramme.paxos.replica import GroupReplica


def refuse_older_configuration(replica: GroupReplica, source: NodeId, message: Any, out: Effects) -> bool:
    number = replica.acceptor.number
    if message.configuration >= number or isinstance(message, Amnesiac):
        return False
    if replica.leader is not None and replica.leader.counts(source, message):
        return False
    if not isinstance(message, NewerConfiguration):
        body = encode_configuration(replica.acceptor.configuration)
        out.sends.append((source, NewerConfiguration(replica.group, number, body)))
    return True


def on_prepare(replica: GroupReplica, source: NodeId, message: Prepare, now: Instant, out: Effects) -> None:
    replica.see_round(message.ballot)
    leader = replica.leader
    if leader is not None and message.ballot > leader.ballot and leader.holds_lease(now):
        left_ns = leader.lease_until() - now
        nack = Nack(replica.group, replica.acceptor.number, message.ballot, replica.acceptor.promised, left_ns)
        out.sends.append((source, nack))
        return
    before = replica.acceptor.promised
    if replica.acceptor.on_prepare(source, message, now, out) and replica.acceptor.promised != before:
        replica.promised_at = now
        replica.known_leader = NO_NODE
        replica.timer.again(replica.settings.campaign_timeout_ns, now)


def on_fetch(replica: GroupReplica, source: NodeId, message: Fetch, now: Instant, out: Effects) -> None:
    """The log stands still while the candidate's ballot is the highest promised here."""
    acceptor = replica.acceptor
    if message.ballot != acceptor.promised:
        nack = Nack(replica.group, acceptor.number, message.ballot, acceptor.promised, 0)
        out.sends.append((source, nack))
        return
    entries: tuple[bytes, ...] = ()
    if message.after >= acceptor.log.base.slot:
        entries, _ = acceptor.log.chunk(message.after, acceptor.log.last_slot, replica.settings.chunk_bytes)
    suffix = Suffix(replica.group, acceptor.number, message.ballot, message.after, entries)
    out.sends_durable.append((source, suffix))


def on_accept(replica: GroupReplica, source: NodeId, message: Accept, now: Instant, out: Effects) -> None:
    if replica.acceptor.admit(source, message, out):
        _hear_leader(replica, source, message.chosen, now)
        replica.acceptor.on_accept(source, message, now, out)


def on_commit(replica: GroupReplica, source: NodeId, message: Commit, now: Instant, out: Effects) -> None:
    if replica.acceptor.admit(source, message, out):
        _hear_leader(replica, source, message.chosen.slot, now)
        replica.acceptor.on_commit(source, message, now, out)


def on_install(replica: GroupReplica, source: NodeId, message: Install, now: Instant, out: Effects) -> None:
    if replica.acceptor.admit(source, message, out):
        _hear_leader(replica, source, message.chosen, now)
        replica.acceptor.on_install(source, message, now, out)


def on_learn(replica: GroupReplica, source: NodeId, message: Learn, now: Instant, out: Effects) -> None:
    if replica.acceptor.admit(source, message, out):
        _hear_leader(replica, source, message.previous.slot, now)
        replica.acceptor.on_learn(source, message, now, out)


def _hear_leader(replica: GroupReplica, source: NodeId, chosen: Slot, now: Instant) -> None:
    """A message of the promised ballot's holder came, saying that it has `chosen`. If its Release overtook it, nobody
    leads: whoever waited for that one from now on, as its node is well, would wait for ever."""
    replica.freshness.told(chosen, replica.acceptor.emitted, now)
    if replica.acceptor.released == replica.acceptor.promised:
        return
    replica.known_leader = source
    replica.timer.succeed()


def on_accepted(replica: GroupReplica, source: NodeId, message: Accepted, now: Instant, out: Effects) -> None:
    if replica.leader is not None and message.ballot == replica.leader.ballot:
        replica.leader.on_accepted(source, message, now, out)


def on_behind(replica: GroupReplica, source: NodeId, message: Behind, now: Instant, out: Effects) -> None:
    if replica.leader is None:
        return
    if message.ballot == replica.leader.ballot:
        replica.leader.on_behind(source, message, now, out)
    elif message.ballot > replica.leader.ballot:
        replica.see_round(message.ballot)
        replica.resign(now, out)
    else:
        replica.leader.greet(source, now, out)


def on_nack(replica: GroupReplica, source: NodeId, message: Nack, now: Instant, out: Effects) -> None:
    replica.see_round(message.promised)
    campaign, leader = replica.campaign, replica.leader
    if leader is not None and message.ballot == leader.ballot and message.promised > leader.ballot:
        replica.resign(now, out)
    elif campaign is not None and message.ballot == campaign.ballot:
        hopeless = campaign.on_refusal(source, message.left_ns, now)
        if hopeless or message.promised > campaign.ballot:
            replica.fail_campaign(now)


def on_release(replica: GroupReplica, source: NodeId, message: Release, now: Instant, out: Effects) -> None:
    if ballot_node(message.ballot) != source:
        return
    acceptor = replica.acceptor
    fresh = message.ballot == acceptor.promised and acceptor.released != message.ballot
    acceptor.release(message.ballot)
    if fresh and replica.leader is None:
        replica.known_leader = NO_NODE
        if replica.campaign is None:
            replica.timer.within(replica.settings.rank_delay_ns, now)


def on_hand_over(replica: GroupReplica, source: NodeId, message: HandOver, now: Instant, out: Effects) -> None:
    """The holder wants this replica to lead: campaign at once, without a poll."""
    replica.see_round(message.ballot)
    if (
        ballot_node(message.ballot) != source
        or message.ballot < replica.acceptor.promised
        or replica.leader is not None
    ):
        return
    if not replica.acceptor.eligible:
        return
    replica.acceptor.release(message.ballot)
    if replica.acceptor.bound_ns(replica.me, now) == 0:
        replica.campaign = None
        replica.prepare(message.ballot, now, out)


def on_newer_configuration(
    replica: GroupReplica, source: NodeId, message: NewerConfiguration, now: Instant, out: Effects
) -> None:
    """This replica has missed a change: it acts in the newer configuration from now on, and leads no older one."""
    if message.configuration <= replica.acceptor.number:
        return
    if replica.leader is not None:
        replica.resign(now, out)
    elif replica.campaign is not None:
        replica.fail_campaign(now)
    if message.body:
        replica.acceptor.adopt(decode_configuration(message.body))


def on_amnesiac(replica: GroupReplica, source: NodeId, message: Amnesiac, now: Instant, out: Effects) -> None:
    """Not of an incarnation that was made since: that one knows a newer configuration."""
    if replica.leader is not None:
        replica.leader.on_amnesiac(source, message)


def on_rebase(replica: GroupReplica, source: NodeId, message: Rebase, now: Instant, out: Effects) -> None:
    if replica.acceptor.admit(source, message, out):
        _hear_leader(replica, source, message.base.slot, now)
        replica.acceptor.on_rebase(source, message, now, out)


def on_poll(replica: GroupReplica, source: NodeId, message: Poll, now: Instant, out: Effects) -> None:
    """Answer honestly; and if this replica is the ex-leader that the others are waiting for, free them."""
    left_ns = _hears_leader_ns(replica, source, now)
    answer = PollAnswer(replica.group, replica.acceptor.number, message.attempt, left_ns > 0, left_ns)
    out.sends.append((source, answer))
    promised = replica.acceptor.promised
    if replica.leader is not None:
        replica.leader.greet(source, now, out)
    elif replica.campaign is None and ballot_node(promised) == replica.me:
        out.sends.append((source, Release(replica.group, replica.acceptor.number, promised)))


def _hears_leader_ns(replica: GroupReplica, source: NodeId, now: Instant) -> int:
    """How long `source` should wait before it asks again; 0: no leader is heard here."""
    leader = replica.leader
    if leader is not None:
        if leader.holds_lease(now):
            return leader.lease_until() - now
        patience_ns = leader.since + replica.settings.lease_grant_ns - now
        return max(0, patience_ns)
    bound_ns = replica.acceptor.bound_ns(source, now)
    if bound_ns > 0 or replica.promised_at is None or ballot_node(replica.acceptor.promised) == source:
        return bound_ns
    return max(0, replica.promised_at + replica.settings.campaign_timeout_ns - now)


def on_poll_answer(replica: GroupReplica, source: NodeId, message: PollAnswer, now: Instant, out: Effects) -> None:
    campaign = replica.campaign
    if campaign is not None and campaign.on_poll_answer(source, message, now):
        # Whoever has not heard the former leader's Release hears it from this candidate.
        replica.prepare(replica.acceptor.released, now, out)


def on_promise(replica: GroupReplica, source: NodeId, message: Promise, now: Instant, out: Effects) -> None:
    if replica.campaign is not None:
        replica.campaign.on_promise(source, message, now, out)
        replica.after_campaign_step(now, out)


def on_suffix(replica: GroupReplica, source: NodeId, message: Suffix, now: Instant, out: Effects) -> None:
    if replica.campaign is not None:
        replica.campaign.on_suffix(source, message, now, out)
        replica.after_campaign_step(now, out)


STEPS: Final[dict[type, Any]] = {
    Poll: on_poll,
    PollAnswer: on_poll_answer,
    Prepare: on_prepare,
    Promise: on_promise,
    Nack: on_nack,
    Fetch: on_fetch,
    Suffix: on_suffix,
    Learn: on_learn,
    Install: on_install,
    Accept: on_accept,
    Commit: on_commit,
    Accepted: on_accepted,
    Behind: on_behind,
    Release: on_release,
    HandOver: on_hand_over,
    NewerConfiguration: on_newer_configuration,
    Amnesiac: on_amnesiac,
    Rebase: on_rebase,
}
"""(replica, source, message, now, out) for each type of message."""
