"""Two endpoints under the same load in turn: what is compared never stands alone.

Rule: machines are noisy, so a run of ours stands beside each run of theirs, and what counts is the ratio of such
neighbours, its median and its spread over the rounds.
"""

from __future__ import annotations

import statistics

import msgspec

from gramme.bench.endpoint_load import Outcome


class Pair(msgspec.Struct, frozen=True):
    """Two runs, one after the other (or the other way round)."""

    ours: Outcome
    theirs: Outcome

    @property
    def ratio(self) -> float:
        """How many times as many requests a second are ours."""
        return self.ours.per_s / max(1e-9, self.theirs.per_s)


class Contest(msgspec.Struct, frozen=True):
    """One peer under one workload, a pair for each round. `says`: what it does with a write before it answers."""

    peer: str
    version: str
    says: str
    workload: str
    pairs: list[Pair]

    @property
    def ratio(self) -> float:
        """Median of the pairs."""
        return statistics.median(pair.ratio for pair in self.pairs)

    @property
    def per_s(self) -> float:
        """Theirs, median."""
        return statistics.median(pair.theirs.per_s for pair in self.pairs)

    @property
    def p99_ms(self) -> float:
        """Theirs, median."""
        return statistics.median(pair.theirs.latency.p99 for pair in self.pairs)


def described(per_s: float, p99_ms: float) -> str:
    """Requests/s and, in brackets, p99 in milliseconds."""
    return f"{per_s:,.0f} ({p99_ms:,.2g})" if p99_ms < 100 else f"{per_s:,.0f} ({p99_ms:,.0f})"
