"""The lease decision: whatever workers and leases there are, it ends with every lease owned and shares even."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gramme.client.streams.balance import Watch, moves
from gramme.client.streams.leases import Lease

NAMES = ["a", "b", "c", "d"]


def lease(number: int, owner: str | None, wanted: str | None = None) -> Lease:
    return Lease(f"shard-{number:03d}", "TRIM_HORIZON", 0, owner, wanted)


def _cycle(worker: str, leases: dict[str, Lease], stalled: set[str]) -> bool:
    """One worker's cycle, its own hand-overs included; True if anything moved."""
    moved = False
    for held in list(leases.values()):
        if held.owner == worker and held.wanted is not None:
            leases[held.name] = replace(held, owner=held.wanted, wanted=None)
            moved = True
    wanted = moves(worker, list(leases.values()), stalled)
    for free in wanted.take:
        assert free.owner is None or free.name in stalled
        leases[free.name] = replace(free, owner=worker, wanted=None)
        stalled.discard(free.name)
        moved = True
    if wanted.ask is not None:
        assert wanted.ask.owner not in (None, worker)
        leases[wanted.ask.name] = replace(wanted.ask, wanted=worker)
        moved = True
    return moved


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([*NAMES, "dead", None]), max_size=30),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_it_settles_evenly(owners: list[str | None], count: int, rng: random.Random) -> None:
    workers = NAMES[:count]
    leases = {}
    stalled = set()
    for number, owner in enumerate(owners):
        made = lease(number, owner)
        leases[made.name] = made
        if owner is not None and owner not in workers:
            stalled.add(made.name)
    for _ in range(200):
        order = list(workers)
        rng.shuffle(order)
        moved = [_cycle(worker, leases, stalled) for worker in order]
        if not any(moved):
            break
    else:
        raise AssertionError(f"leases keep moving: {leases}")
    load = Counter(dict.fromkeys(workers, 0))
    load.update(str(held.owner) for held in leases.values())
    assert set(load) == set(workers)
    assert max(load.values()) - min(load.values()) <= 1


def test_a_lease_has_run_out_when_its_counter_stood_still_for_the_lookers_own_time() -> None:
    watch = Watch(lease_s=10.0)
    held, free = lease(1, "a"), lease(2, None)
    assert watch.stalled([held, free], now=100.0) == set()
    assert watch.stalled([held, free], now=109.9) == set()
    assert watch.stalled([held, free], now=110.0) == {held.name}
    renewed = replace(held, counter=1)
    assert watch.stalled([renewed, free], now=111.0) == set()
    assert watch.stalled([renewed, free], now=120.9) == set()
    assert watch.stalled([renewed, free], now=121.0) == {held.name}


def test_nobody_asks_twice_or_for_what_others_asked_for() -> None:
    assert moves("b", [lease(n, "a") for n in range(4)], set()).ask == lease(3, "a")
    assert moves("b", [*(lease(n, "a") for n in range(3)), lease(3, "a", "b")], set()).ask is None
    assert moves("b", [*(lease(n, "a") for n in range(3)), lease(3, "a", "c")], set()).ask == lease(2, "a")
    assert moves("b", [lease(0, "a"), lease(1, "b")], set()) == ([], None)
