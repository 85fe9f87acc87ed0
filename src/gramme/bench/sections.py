"""All measurements that make a section of a page, in the order in which a page has them."""

from __future__ import annotations

from typing import Final

from gramme.bench import (
    elections,
    failover,
    flat,
    fleet,
    growth,
    healing,
    hot,
    idle,
    objects_suite,
    rolling,
    stream_lag,
    throughput,
    transactions,
    ycsb_runs,
    zones,
)
from gramme.bench.records import Section

SECTIONS: Final[dict[str, Section]] = {
    section.name: section
    for section in (
        ycsb_runs.SECTION,
        flat.SECTION,
        fleet.SECTION,
        growth.SECTION,
        hot.SECTION,
        idle.SECTION,
        throughput.SECTION,
        failover.SECTION,
        rolling.SECTION,
        healing.SECTION,
        zones.SECTION,
        elections.SECTION,
        stream_lag.SECTION,
        transactions.SECTION,
        objects_suite.SECTION,
    )
}
