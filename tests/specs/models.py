"""The models that `make spec` checks: the protocol with small bounds, and the protocol with each planted fault.

A planted fault is found where the invariant named here breaks. Bounds are as small as show it, so that a breadth-first
search gets there in seconds; what each fault is stands in `specs/README.md`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.specs.tlc import Model

_FOUR: Final = "reconfiguration.cfg"


def _core(fault: str, violates: str, ballots: int, slots: int, **others: str) -> Model:
    constants = {"Planted": f'= {{"{fault}"}}', "MaxBallot": f"= {ballots}", "MaxSlot": f"= {slots}"}
    return Model(fault, "MCReplication", "core.cfg", constants | others, violates)


def _configured(fault: str, violates: str, **others: str) -> Model:
    return Model(fault, "MCReplication", _FOUR, {"Planted": f'= {{"{fault}"}}'} | others, violates)


def _leased(fault: str, **others: str) -> Model:
    constants = {"Planted": f'= {{"{fault}"}}'} | others
    return Model(fault, "MCLeases", "leases.cfg", constants, "OneReader ReadsSeeWhatWasAcknowledged")


SMALLEST: Final = Model("smallest", "MCReplication", "core.cfg", {"MaxBallot": "= 2", "MaxSlot": "= 1"})
"""For the test suite: seconds."""

HOLDS: Final = (
    SMALLEST,
    Model("core-3-ballots", "MCReplication", "core.cfg", {"MaxSlot": "= 1"}),
    Model("core-3-slots", "MCReplication", "core.cfg", {"MaxBallot": "= 2", "MaxSlot": "= 3"}),
    Model("snapshots", "MCReplication", "core.cfg", {"MaxBallot": "= 2", "MaxSlot": "= 2", "Snapshots": "= TRUE"}),
    Model("damage", "MCReplication", "core.cfg", {"MaxBallot": "= 2", "MaxSlot": "= 1", "MaxDamage": "= 1"}),
    Model("core", "MCReplication", "core.cfg", seconds=7200),
    Model("reconfiguration", "MCReplication", _FOUR, {"Forgetting": "= FALSE"}, seconds=7200),
    Model("made-anew", "MCReplication", "renewal.cfg", seconds=7200),
    Model(
        "snapshots-of-logs", "MCReplication", _FOUR, {"MaxSlot": "= 1", "Snapshots": "= TRUE", "Forgetting": "= FALSE"}
    ),
    Model("forgetting", "MCReplication", _FOUR, {"MaxSlot": "= 1"}),
    Model("leases", "MCLeases", "leases.cfg", {"MaxEra": "= 1"}),
    Model("leases-restart", "MCLeases", "leases.cfg", {"MaxEra": "= 1", "MaxRestarts": "= 1"}, seconds=7200),
)
"""Nothing may be found."""

PLANTED: Final = (
    _core("forget_promise", "Completeness", 2, 1),
    _core("acknowledge_early", "Durable Completeness", 2, 1),
    _core("snapshot_drops_promise", "Completeness", 2, 2, Snapshots="= TRUE"),
    _core("vote_after_amnesia", "Durable", 2, 1, MaxDamage="= 1"),
    _core("heal_in_place", "Durable", 2, 1, MaxDamage="= 1"),
    _configured("log_replica_leads", "OnlyStorageVotersLead"),
    _configured("choose_by_old_only", "Durable"),
    _configured("choose_by_new_only", "Completeness Durable"),
    _configured("removed_acknowledges", "Durable"),
    replace(
        _configured("two_reconfigurations", "Completeness Durable Agreement", MaxConfig="= 2", Forgetting="= FALSE"),
        seconds=3600,
    ),
    _leased("skip_the_lease", MaxEra="= 1"),
    _leased("lease_across_pause", MaxEra="= 1"),
    _leased("release_and_read", MaxEra="= 1"),
    _leased("forget_grants", MaxEra="= 1", MaxRestarts="= 1"),
    _leased("serve_before_barrier", Barrier="= FALSE"),
    _leased("any_era"),
    replace(_core("adopt_per_slot", "PrimaryOrder", 3, 2), walk=11),
    replace(_core("install_half", "Completeness Agreement Durable", 3, 2), walk=7),
    replace(_configured("elect_by_known_only", "Completeness Agreement Durable", Shapes="<- SwapN3"), walk=12),
)
"""Each must be found."""

BY_HAND: Final = (
    Model("forgetting-2-slots", "MCReplication", _FOUR, seconds=7200),
    Model("leases-2-eras", "MCLeases", "leases.cfg", seconds=7200),
)
"""Checked only when they are named: their state spaces, or the depth of their violations, take more than minutes."""
