"""Looks for a planted fault in simulation: by which seeds, in which order, and what must hold of the one that finds it.

The seeds are those within which the fault must be found; none is left out. The one that found it last is only asked
first, for a simulation costs about half a second. It goes stale when production code changes what a seed does: then
the others are asked, as if there were no such note, and a warning names the seed to note instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from tests.patched import stumbled

from gramme.sim.configs import SimConfig
from gramme.sim.run import simulate

Plant = Callable[[], AbstractContextManager[None]]


def find(plant: Plant, config: SimConfig, seeds: range, first: int) -> None:
    """Fails unless one of `seeds` finds `plant` by a checker, or by an exception that is no slip of the patch itself,
    and finds nothing without it."""
    for seed in (first, *(other for other in seeds if other != first)):
        with plant():
            found = simulate(seed, config).violation
        if found:
            break
    else:
        pytest.fail(f"{_name(plant)} was not found within {len(seeds)} seeds")
    if seed != first:
        warnings.warn(f"{_name(plant)} was found by seed {seed}, not by {first} as noted", stacklevel=2)
    assert seed in seeds
    assert not stumbled(found), found
    sound = simulate(seed, config)
    assert sound.violation == "", sound.replay


def _name(plant: Plant) -> str:
    return getattr(plant, "__name__", repr(plant))
