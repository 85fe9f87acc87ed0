"""Leases between nodes: validity, eras, quiet after a restart (rows C5, C7; REPLICATION.md §3)."""

from __future__ import annotations

import random
from typing import Any

from gramme.kernel.ids import BootId, NodeId
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.paxos.lease import LeaseTable
from gramme.paxos.messages import LeaseGranted, LeaseRenew
from gramme.paxos.outputs import LeaseLapsed, LeaseRegained, PeerBack, PeerLost
from gramme.paxos.settings import PaxosSettings

SETTINGS = PaxosSettings()
L, F = NodeId(0), NodeId(1)
BOOT_1, BOOT_2, BOOT_3 = (BootId(bytes([number]) * 16) for number in (1, 2, 3))


def table(me: NodeId, boot: BootId = BOOT_1, previous: tuple[BootId, ...] = (), started: int = 0) -> LeaseTable:
    return LeaseTable(me, boot, previous, SETTINGS, Instant(started), random.Random(me))


def renew(granter: LeaseTable, at: int, boot: BootId = BOOT_1, previous: tuple[BootId, ...] = ()) -> Any:
    """Effects of a renewal of node L that arrives at F."""
    return granter.step(L, LeaseRenew(boot, previous, Instant(at)), Instant(at))


def granted(effects: Any) -> LeaseGranted:
    return next(message for _, message in effects.sends if isinstance(message, LeaseGranted))


def test_a_grant_counts_from_sending_at_the_holder_and_from_writing_at_the_granter() -> None:
    holder, granter = table(L), table(F)
    (_, request), *_ = holder.set_peers([L, F], Instant(100)).sends
    answer = granted(granter.step(L, request, Instant(7_000)))
    holder.step(F, answer, Instant(900))
    assert holder.held_until(F) == 100 + SETTINGS.lease_grant_ns * 99 // 100
    assert granter.grant_left(L, Instant(7_000)) == SETTINGS.lease_grant_ns
    assert holder.held_era(F) == granter.grant_era(L, Instant(7_000)) != 0


def test_the_era_stays_while_the_grant_is_renewed_in_time_and_changes_after_it_ran_out() -> None:
    granter = table(F)
    first = granted(renew(granter, 0)).era
    assert granted(renew(granter, 1_400 * MILLISECOND)).era == first
    assert granter.grant_era(L, Instant(2_900 * MILLISECOND - 1)) == first
    assert granter.grant_era(L, Instant(2_900 * MILLISECOND)) == 0
    assert granted(renew(granter, 2_900 * MILLISECOND)).era not in (0, first)


def test_loss_and_return_are_reported_once() -> None:
    granter = table(F)
    assert renew(granter, 0).outputs == [PeerBack(L, BOOT_1, restarted=False)]
    assert renew(granter, 10).outputs == []
    end = granter.next_deadline()
    assert end == 10 + SETTINGS.lease_grant_ns
    assert granter.tick(Instant(end)).outputs == [PeerLost(L)]
    assert granter.tick(Instant(end + 1)).outputs == []
    assert renew(granter, end + 2).outputs == [PeerBack(L, BOOT_1, restarted=False)]


def test_a_holder_learns_that_its_grant_lapsed_and_began_anew() -> None:
    holder = table(L)
    holder.set_peers([F], Instant(0))
    assert holder.step(F, LeaseGranted(BOOT_1, Instant(0), 11, SECOND), Instant(5)).outputs == [LeaseRegained(F)]
    assert holder.tick(Instant(SECOND)).outputs == [LeaseLapsed(F)]
    later = Instant(2 * SECOND)
    assert holder.step(F, LeaseGranted(BOOT_1, later, 12, SECOND), later).outputs == [LeaseRegained(F)]
    assert holder.held_era(F) == 12


def test_a_late_grant_of_an_old_era_is_not_taken() -> None:
    holder = table(L)
    holder.step(F, LeaseGranted(BOOT_1, Instant(2 * SECOND), 12, SECOND), Instant(2 * SECOND))
    holder.step(F, LeaseGranted(BOOT_1, Instant(0), 11, SECOND), Instant(2 * SECOND))
    assert holder.held_era(F) == 12


def test_a_grant_to_an_earlier_process_is_not_taken() -> None:
    holder = table(L, BOOT_2, (BOOT_1,))
    holder.step(F, LeaseGranted(BOOT_1, Instant(0), 11, SECOND), Instant(1))
    assert holder.held_era(F) == 0


def test_a_restarted_node_grants_nothing_for_one_grant_period_and_says_when_to_ask() -> None:
    granter = table(F, BOOT_2, (BOOT_1,), started=1_000)
    refusal = granted(renew(granter, 2_000))
    assert refusal.grant_ns == 0
    assert refusal.retry_ns == SETTINGS.lease_grant_ns - 1_000
    holder = table(L)
    holder.set_peers([F], Instant(0))
    holder.step(F, LeaseGranted(BOOT_1, Instant(0), 0, 0, 5 * MILLISECOND), Instant(MILLISECOND))
    assert holder.next_deadline() == 6 * MILLISECOND
    assert granted(renew(granter, granter.quiet_until)).grant_ns == SETTINGS.lease_grant_ns


def test_a_node_that_never_ran_before_grants_at_once() -> None:
    assert granted(renew(table(F), 0)).grant_ns == SETTINGS.lease_grant_ns


def test_a_new_process_of_the_holder_ends_the_old_grant() -> None:
    granter = table(F)
    era = granted(renew(granter, 0, BOOT_1)).era
    effects = renew(granter, 10, BOOT_3, (BOOT_1, BOOT_2))
    assert effects.outputs == [PeerBack(L, BOOT_3, restarted=True)]
    assert granted(effects).era != era
    assert granter.grant_boot(L) == BOOT_3


def test_a_message_of_a_process_that_has_been_succeeded_is_ignored() -> None:
    """Believed, it would pass the live process off as dead, and its lease with it."""
    granter = table(F)
    renew(granter, 0, BOOT_2, (BOOT_1,))
    effects = renew(granter, 10, BOOT_1)
    assert not effects.sends
    assert not effects.outputs
    assert granter.grant_boot(L) == BOOT_2


def test_renewals_go_to_every_peer_in_time() -> None:
    holder = table(L)
    effects = holder.set_peers([NodeId(2), F, L], Instant(0))
    assert [node for node, _ in effects.sends] == [F, 2]
    assert holder.next_deadline() == SETTINGS.lease_renew_ns
    assert len(holder.tick(Instant(SETTINGS.lease_renew_ns)).sends) == 2
    holder.set_peers([], Instant(0))
    assert holder.next_deadline() is None
