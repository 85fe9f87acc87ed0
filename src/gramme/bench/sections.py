"""All measurements that make a section of a page, in the order in which a page has them."""

from __future__ import annotations

from typing import Final

from gramme.bench import (
    elections,
    failover,
    healing,
    objects_suite,
    rolling,
    stream_lag,
    throughput,
    transactions,
    zones,
)
from gramme.bench.records import Section

SECTIONS: Final[dict[str, Section]] = {
    section.name: section
    for section in (
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
