"""The sections of `docs/benchmarks.md`: those of the package, and those that compare with other products."""

from __future__ import annotations

from typing import Final

from bench import etcd, peer_runs
from gramme.bench import sections
from gramme.bench.records import Section

SPEED: Final = ("peers", "etcd", "ycsb", "flat", "fleet", "growth", "hot", "idle")
"""Issue 7: `--suite speed`."""

SECTIONS: Final[dict[str, Section]] = {
    peer_runs.SECTION.name: peer_runs.SECTION,
    etcd.SECTION.name: etcd.SECTION,
    **sections.SECTIONS,
}
