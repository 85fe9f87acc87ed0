"""Settings of the replication machines. Times in nanoseconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from gramme.kernel.time import MILLISECOND, SECOND


@dataclass(frozen=True, slots=True)
class PaxosSettings:
    """Defaults are those of REPLICATION.md §3: median failover at most 2 s."""

    lease_grant_ns: int = 1_500 * MILLISECOND
    lease_renew_ns: int = 400 * MILLISECOND
    drift_percent: int = 1  # bound on how much two clocks may disagree about a length of time
    unchosen_window_bytes: int = 4 << 20
    in_flight_bytes: int = 4 << 20  # per follower
    chunk_bytes: int = 1 << 20  # of one Accept, Learn or Suffix (a single larger entry still goes)
    retained_bytes: int = 4 << 20  # of entries kept per group for followers that lag, once engine-durable here
    resend_ns: int = 200 * MILLISECOND
    commit_delay_ns: int = 20 * MILLISECOND
    poll_timeout_ns: int = 150 * MILLISECOND
    campaign_timeout_ns: int = 600 * MILLISECOND
    rank_delay_ns: int = 150 * MILLISECOND
    jitter_ns: int = 20 * MILLISECOND
    retry_max_ns: int = 1_600 * MILLISECOND
    hand_over_ns: int = 150 * MILLISECOND
    reconfirm_ns: int = 300 * MILLISECOND  # patience with a leader whose grant was interrupted but is back
    step_down_ns: int = 3 * SECOND  # a leader without its lease for so long gives the group up
