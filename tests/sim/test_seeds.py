"""A fixed set of seeds over every configuration, and each seed that once found a fault, by name."""

from __future__ import annotations

import pytest

from gramme.sim.configs import CONFIGS, config_of
from gramme.sim.run import simulate

pytestmark = pytest.mark.seconds(40)

FIXED = [(config, seed) for config in CONFIGS for seed in (1, 2)]

REGRESSIONS: list[tuple[str, int, str]] = [
    ("tables", 700518, "a batch whose table was dropped half-way was taken for one of which nothing was applied"),
    ("handover", 118, "a write that had failed its condition was judged again when its second copy arrived"),
    ("five", 531, "an overtaken Hello made a peer refuse a sound node"),
    ("laggards", 4, "a snapshot that came twice switched the extent back under the map of the engine"),
    ("disks", 31, "a boot was announced before it was durable, to a peer that asked"),
    ("blackouts", 7, "a follower that joined while the mark moved never learnt the last chosen slot"),
    ("storm", 20013, "a snapshot arrived at a replica that had just won a campaign"),
    ("lags", 15, "a snapshot that a stalled engine had kept waiting took its replica back behind what it had applied"),
    ("rot", 6, "a lost INSTALL counted as harmless, and two barriers were chosen for one slot"),
    ("rot", 37, "nodes that refused each other never heard of it, and one with a cut log went on"),
    ("rot", 60, "a replica whose log was cut below its chosen mark stopped its node"),
    ("rot", 64, "a write was applied again where damage had hidden that it was applied"),
    ("rot", 72, "a replica that did not know all outcomes passed that on with a snapshot"),
    ("rot", 178, "a node that had lost its replica of the catalog founded it again"),
    ("rot-five", 20, "a group of which only a snapshot's mark was left in the log stopped its node"),
    ("rot-five", 30, "the first word of a replica that was made anew was lost, and nobody spoke to it again"),
    ("rot", 224, "a replica that was to be made anew was dropped for good where its first configuration was 1"),
    ("rot-five", 222, "a node whose new replica was lost to damage, between its drop and its creation, said nothing"),
    ("losses", 8, "a node without replicas hosted none as long as a lost one did not listen to it"),
    ("four", 9, "a group of two voters, both up, counted as whole"),
    ("four", 28, "a dead voter held back the mark at which a log replica could have begun"),
    ("index-crashes", 5000576, "a replica made by the catalog was replaced by the empty one of an invitation"),
    ("cuts", 5006015, "a second copy was answered from what only that leader remembered, and a third one took effect"),
    ("removals", 5003586, "a vote was given up for room, though a copy was under way, and then another was lost"),
    ("removals", 5004964, "a damaged voter waited for a log replica on a node that was leaving"),
    ("removals", 6003166, "a node outside the ring that heard none of its members stumbled over who is to propose"),
    ("joins", 6009101, "a node that was removed stopped twice in one frame"),
    ("joins", 6008306, "a machine burnt down that a group with two voters could not do without"),
    ("joins", 1, "a node that heard of its own removal stumbled over its own gossip"),
    ("joins", 37, "a machine that burnt down while the rings were switched held up every change of the ring for ever"),
    ("stale", 1000318, "a late answer that changed nothing was believed although the write had been sent again"),
    ("range-losses", 1049, "two leaders that might not judge writes for ten seconds handed their group to each other"),
]
"""(configuration, seed, what it found)."""


@pytest.mark.parametrize(("config", "seed"), FIXED)
def test_finds_nothing(config: str, seed: int) -> None:
    result = simulate(seed, config_of(config, seed))
    assert result.violation == "", result.replay
    assert result.stats["operations"] + result.stats["transactions"] > 50


@pytest.mark.parametrize(("config", "seed", "story"), REGRESSIONS)
def test_what_was_found_once_stays_fixed(config: str, seed: int, story: str) -> None:
    result = simulate(seed, config_of(config, seed))
    assert result.violation == "", f"{result.replay} found again: {story}"
