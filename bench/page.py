"""`docs/benchmarks.md`, put together from the files of `docs/benchmarks/`.

Rule: the page is generated and nothing is lost by that. Each section is one file: what was measured is `NAME.json`
(`gramme.bench.records`), what somebody wrote is `NAME.md` and is copied as it is. `ORDER` says where a section stands;
a file that it does not name comes behind the others, so a new one needs no change here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.sections import SECTIONS
from gramme.bench import records
from gramme.bench.errors import CannotMeasure
from gramme.bench.machine import Machine

_HEAD: Final = """\
# Benchmarks

Written by `python -m bench`; do not edit. Every section is made from its file in [benchmarks/](benchmarks): `NAME.json`
holds every round's numbers, `NAME.md` is text and is edited there. `python -m bench --only NAME` measures a section
anew, `python -m bench --only nothing` writes this page again.
"""

ORDER: Final = (
    "peers",
    "etcd",
    "ycsb",
    "flat",
    "fleet",
    "growth",
    "hot",
    "idle",
    "throughput",
    "failover",
    "rolling",
    "healing",
    "zones",
    "elections",
    "streams",
    "transactions",
    "objects",
    "ring",
    "objects-transfer",
    "anti-entropy",
)
_BUSY_LOAD: Final = 0.5


def write(page: Path) -> None:
    """Put the page together from the directory of the same name beside it, in which it refers to pictures."""
    parts, machines = [_HEAD], list[Machine]()
    for name in _names(page.with_suffix("")):
        text, machine = _section(page.with_suffix(""), name)
        parts.append(text)
        if machine is not None:
            machines.append(machine)
    page.write_text("\n".join([*parts, _measured_on(machines)]), encoding="utf-8")


def _names(directory: Path) -> list[str]:
    there = {file.stem for file in directory.iterdir() if file.suffix in (".json", ".md")}
    return [*(name for name in ORDER if name in there), *sorted(there.difference(ORDER))]


def _section(directory: Path, name: str) -> tuple[str, Machine | None]:
    section = SECTIONS.get(name)
    taken = records.read(section, directory) if section is not None else None
    written = directory / f"{name}.md"
    texts = []
    if section is not None and taken is not None:
        texts.append(records.told(section, taken))
    if written.exists():
        texts.append(written.read_text(encoding="utf-8").strip() + "\n")
    if not texts:
        raise CannotMeasure(f"{directory / name}.json: no section has that name")
    return "\n".join(texts), None if taken is None else taken.machine


def _measured_on(machines: list[Machine]) -> str:
    """Each machine once, and the versions that it had; commit and load stand with each section."""
    lines = dict.fromkeys(
        f"- {machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB of memory, {machine.kernel}; "
        f"Python {machine.python}, {', '.join(f'{name} {version}' for name, version in machine.packages.items())}"
        for machine in machines
    )
    syncs = sorted(machine.syncs_per_s for machine in machines)
    if syncs:
        lines[f"- disk: {syncs[0]:,} to {syncs[-1]:,} sequential writes of 1 KiB with fdatasync in a second"] = None
    busy = any((machine.load or 0.0) > _BUSY_LOAD for machine in machines)
    warning = (
        "\nWhere the load average before was not near nought, other programs competed for the cores and the disk: read "
        "those figures as lower bounds.\n"
    )
    return "\n".join(["## Measured on", "", *lines, warning if busy else ""])
