"""What is told of healing and of lost zones is worked out of what is kept."""

from __future__ import annotations

from typing import Any

import msgspec

from gramme.bench import healing, records, zones
from gramme.bench.healing import Healed, Sizes
from gramme.bench.machine import Machine
from gramme.bench.zones import ZoneLoss


def kept(section: records.Section, found: Any) -> str:
    """The section's text, of a record that was written and read again."""
    machine = Machine("cpu", 2, 23.5, "6.1", "3.11", {}, "abc", 5_000, 0.4)
    encoded = msgspec.json.encode(records.Record("2026-11-21", "bench", 3, 8.0, machine, found))
    return section.told(msgspec.json.decode(encoded, type=records.Record[section.type]))  # type: ignore[name-defined]


def test_healing_has_a_row_for_each_amount_of_data() -> None:
    small = Healed(10, [4.0, 4.4, 4.1], [5.0, 5.2, 6.0], [200.0, 210.0, 190.0], [150.0] * 3, [200.0] * 3, [30.0] * 3)
    large = Healed(1_000, [4.3], [37.0], [213.0], [162.0], [232.0], [168.0])
    text = kept(healing.SECTION, Sizes([small, large]))
    assert "| 10 MB | 3 | 4.1 (4.0 to 4.4) | 5.2 (5.0 to 6.0) | 200 (190 to 210) |" in text
    assert "| 1,000 MB | 1 | 4.3 | 37.0 | 213 | 162 | 232 | 168 |" in text


def test_a_lost_zone_has_a_row_for_each_kind_of_pause_that_was_seen() -> None:
    text = kept(zones.SECTION, ZoneLoss(2, [1_400.0, 1_500.0, 1_700.0], [1_400.0], [80.0], [], [5.0, 6.0], 9_000, 0))
    assert "| writes, leader in the zone | 3 | 1,500 (1,400 to 1,700) |" in text
    assert "eventual reads of" not in text
    assert "9,000 requests, 0 errors" in text
