"""A fixed set of seeds over every configuration, and each seed that once found a fault, by name."""

from __future__ import annotations

import pytest

from gramme.sim.configs import CONFIGS, config_of
from gramme.sim.run import simulate

FIXED = [(config, seed) for config in CONFIGS for seed in (1, 2)]

REGRESSIONS: list[tuple[str, int, str]] = []
"""(configuration, seed, what it found)."""


@pytest.mark.parametrize(("config", "seed"), FIXED)
def test_finds_nothing(config: str, seed: int) -> None:
    result = simulate(seed, config_of(config, seed))
    assert result.violation == "", result.replay
    assert result.stats["operations"] > 50


@pytest.mark.parametrize(("config", "seed", "story"), REGRESSIONS)
def test_what_was_found_once_stays_fixed(config: str, seed: int, story: str) -> None:
    result = simulate(seed, config_of(config, seed))
    assert result.violation == "", f"{result.replay} found again: {story}"
