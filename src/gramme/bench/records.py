"""A measurement as a section of a page: how it is made, kept (JSON) and told (Markdown and pictures).

Rule: what is told is worked out of what is kept, so a page can be written again at any time, and each section can be
measured anew by itself. A record says what it was measured on and by which command.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from gramme.bench.machine import Machine, describe

Progress = Callable[[str], None]
T = TypeVar("T")

ITEMS: Final = 200_000
"""To which a table grows, unless something else is said."""


class Run(msgspec.Struct, frozen=True):
    """What a measurement is given: how often and how long (seconds) each part of it is measured, where data goes
    while it runs, who is told of each step, and how far a table grows where one does."""

    rounds: int
    seconds: float
    directory: Path
    progress: Progress
    items: int = ITEMS


class Record(msgspec.Struct, Generic[T], frozen=True):
    """What was found, and how. `machine.load` is the one-minute load average before it began."""

    date: str
    command: str
    rounds: int
    seconds: float
    machine: Machine
    found: T


def short(seconds: float) -> float:
    """How long one of many runs takes: half of `seconds`, at least a second."""
    return max(1.0, seconds / 2)


def _nothing(_found: Any) -> dict[str, str]:
    return {}


def _none_missed(_found: Any) -> list[str]:
    return []


@dataclass(frozen=True)
class Section:
    """`name` of its file, what it finds (`type`), how that is measured and told. `pictures` are SVG documents by the
    names of their files; `missed` has a line for each floor that was not reached. `measure` raises
    CannotMeasure where it cannot measure."""

    name: str
    type: type[Any]
    measure: Callable[[Run], Any]
    told: Callable[[Record[Any]], str]
    pictures: Callable[[Any], Mapping[str, str]] = _nothing
    missed: Callable[[Any], list[str]] = _none_missed


def take(
    section: Section, rounds: int, seconds: float, directory: Path | None, progress: Progress, items: int = ITEMS
) -> Record[Any]:
    """Measure. Data goes into a new directory below `directory`, which is removed."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="gramme-bench-") as name:
        machine = describe(Path(name))
        found = section.measure(Run(rounds, seconds, Path(name), progress, items))
    return record(found, rounds, seconds, machine)


def record(found: T, rounds: int, seconds: float, machine: Machine) -> Record[T]:
    """What was found just now, by the command that runs."""
    return Record(datetime.now(UTC).date().isoformat(), _command(), rounds, seconds, machine, found)


def write(section: Section, taken: Record[Any], directory: Path) -> None:
    """Numbers (NAME.json) and pictures (SVG) into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    numbers = msgspec.json.format(msgspec.json.encode(taken), indent=1)
    (directory / f"{section.name}.json").write_bytes(numbers + b"\n")
    for name, document in section.pictures(taken.found).items():
        (directory / name).write_text(document, encoding="utf-8")


def read(section: Section, directory: Path) -> Record[Any] | None:
    """What `write` wrote there last, if it did."""
    file = directory / f"{section.name}.json"
    if not file.exists():
        return None
    return msgspec.json.decode(file.read_bytes(), type=Record[section.type])  # type: ignore[name-defined]


def told(section: Section, taken: Record[Any]) -> str:
    """The section as Markdown, with where its figures come from."""
    machine = taken.machine
    load = "" if machine.load is None else f", load average before {machine.load:g}"
    source = f"Measured on {taken.date} at commit {machine.commit} by `{taken.command}`{load}."
    return f"{section.told(taken).strip()}\n\n{source}\n"


def _command() -> str:
    """The command line that runs, as one would type it."""
    program = Path(sys.argv[0])
    modules = {"__main__.py": f"python -m {program.parent.name}", "cli.py": "gramme"}
    name = modules.get(program.name, program.name)
    return shlex.join([*name.split(), *sys.argv[1:]])
