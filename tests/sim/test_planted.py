"""Every planted fault is found within its seeds, and the seed that finds it passes without the fault."""

from __future__ import annotations

import pytest
from tests.sim.hunting import find
from tests.sim.planted import PLANTED

from gramme.sim.configs import CONFIGS

pytestmark = pytest.mark.seconds(70)


@pytest.mark.parametrize("name", PLANTED)
def test_is_found_and_nothing_without_it(name: str) -> None:
    planted = PLANTED[name]
    find(planted.plant, CONFIGS[planted.config], planted.seeds, planted.first)


def test_the_list_holds_what_the_rules_of_the_durable_path_ask_for() -> None:
    """REPLICATION.md §1, §2, §3, §5 and §6 and issue 2 name these."""
    asked = (
        "adopt_per_slot",
        "install_half_a_suffix",
        "acknowledge_before_durable",
        "acknowledge_before_fsync",
        "forget_a_promise",
        "forget_promises_at_restart",
        "accept_below_the_promise",
        "answer_from_an_unchosen_write",
        "read_between_chosen_and_applied",
        "skip_the_old_lease",
        "read_after_the_lease",
        "cut_a_synced_tail",
        "vote_after_amnesia",
        "delete_an_idle_groups_promise",
        "apply_twice_after_a_crash",
        "lose_an_engine_flush",
        "apply_a_resent_write_twice",
    )
    assert [name for name in asked if name not in PLANTED] == []
