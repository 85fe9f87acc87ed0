"""Agreement in every small world, and the planted faults that the search must find (rows C3, C8, C12)."""

from __future__ import annotations

import random

import pytest
from tests.paxos.explore import Budget, Violation, explore, founded, walk
from tests.paxos.mutants import LOG_MUTANTS

pytestmark = [pytest.mark.seconds(16), pytest.mark.plain]

_LIMIT = 100_000


@pytest.mark.parametrize(
    ("budget", "in_flight", "states"),
    [
        (Budget(campaigns=1, proposals=0, crashes=1, lags=0), 1, 10_221),
        (Budget(campaigns=1, proposals=0, crashes=1, lags=1), 0, 3_979),
        (Budget(campaigns=1, proposals=1, crashes=0, lags=0), 0, 2_356),
        (Budget(campaigns=0, proposals=1, crashes=1, lags=1), 0, 169),
    ],
)
def test_every_world_of_three_replicas_agrees(budget: Budget, in_flight: int, states: int) -> None:
    """The number of worlds is pinned: a change of the protocol that makes the search visit fewer must be noticed."""
    search = explore(founded(3, budget, in_flight), _LIMIT)
    assert search.states == states
    assert len(search.leaders) > budget.campaigns, "no candidate ever won: the search looked at nothing"


@pytest.mark.parametrize("members", [3, 5])
def test_long_random_paths_agree(members: int) -> None:
    """More of everything than can be searched exhaustively."""
    start = founded(members, Budget(campaigns=5, proposals=5, crashes=4, lags=6), 1)
    furthest = max(len(walk(start, random.Random(seed), 80).chosen) for seed in range(300))
    assert furthest >= 8


_ELSEWHERE = ("vote_after_amnesia", "forget_a_promise")  # test_scenarios.py, and below
_WALKED = [name for name in LOG_MUTANTS if name not in _ELSEWHERE]


@pytest.mark.parametrize("name", _WALKED)
def test_random_paths_find_the_planted_fault(name: str) -> None:
    """A check that cannot fail is no check."""
    with LOG_MUTANTS[name](), pytest.raises(Violation):
        _walk_all()


def _walk_all() -> None:
    start = founded(3, Budget(campaigns=4, proposals=3, crashes=3, lags=4), 1)
    for seed in range(500):
        walk(start, random.Random(seed), 60)


def test_the_exhaustive_search_finds_a_forgotten_promise() -> None:
    """One campaign and one crash suffice for a promise that was not written to hurt."""
    with LOG_MUTANTS["forget_a_promise"](), pytest.raises(Violation, match="chosen"):
        explore(founded(3, Budget(campaigns=1, proposals=0, crashes=1, lags=0), 1), _LIMIT)
