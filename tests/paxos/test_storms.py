"""Groups under loss, cuts, pauses, crashes, slow disks and skewed clocks, then peace (rows C3 to C8, C12)."""

from __future__ import annotations

import pytest
from tests.paxos.mutants import MUTANTS
from tests.paxos.world import Violation, hunt, storm


@pytest.mark.parametrize("seed", range(12))
def test_three_replicas_survive_a_storm(seed: int) -> None:
    """Nothing acknowledged is lost, no strong read is stale, and after the storm everybody agrees."""
    world = storm(seed)
    assert world.acknowledged


@pytest.mark.parametrize("seed", range(4))
def test_five_replicas_survive_a_storm(seed: int) -> None:
    """The same with two failures to spare."""
    assert storm(seed, 5).acknowledged


@pytest.mark.parametrize("seed", range(3))
def test_a_group_of_one_survives_its_crashes(seed: int) -> None:
    """No lease, no peers: only the order of durability."""
    world = storm(seed, 1)
    assert len(world.acknowledged) > 100


@pytest.mark.parametrize("seed", range(12))
def test_votes_given_to_a_log_replica_and_back_survive_a_storm(seed: int) -> None:
    """Three storage replicas and a log replica that takes the vote of one of them, of another, …"""
    assert storm(seed, 3, logs=1).acknowledged


def test_configurations_do_change_in_storms() -> None:
    """What those storms are for does occur in them."""
    worlds = [storm(seed, 3, logs=1) for seed in range(40, 44)]
    assert sum(max(world.configurations) for world in worlds) > 20
    assert any(world.acknowledged for world in worlds)


@pytest.mark.parametrize("seed", range(6))
def test_default_settings_survive_ordinary_trouble(seed: int) -> None:
    """The times of production, with drifting clocks."""
    assert hunt(seed).acknowledged


def test_snapshots_and_elections_happen_in_storms() -> None:
    """What the storms are for does occur in them."""
    worlds = [storm(seed) for seed in range(20, 30)]
    assert sum(world.elections for world in worlds) > 40
    assert sum(world.snapshots for world in worlds) > 0


@pytest.mark.plain
@pytest.mark.parametrize("name", ["acknowledge_before_durable", "count_own_before_durable", "serve_before_the_barrier"])
def test_storms_find_the_planted_fault(name: str) -> None:
    """A check that cannot fail is no check."""
    with MUTANTS[name](), pytest.raises(Violation):
        _many_storms()


def _many_storms() -> None:
    for seed in range(60):
        storm(seed)
