"""`make bench`: measure, keep what was found in `docs/benchmarks/` and write `docs/benchmarks.md` from it.

Exit code 1 if a floor is missed, 2 if something could not be measured.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench import alone, page
from bench.sections import SECTIONS, SPEED
from gramme.bench import records, wrk
from gramme.kernel.errors import GrammeError

_PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_SUITES: Final = {"all": tuple(SECTIONS), "speed": SPEED}
_NOTHING: Final = "nothing"
_PEERS: Final = "peers"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that every part is measured (5)")
    parser.add_argument(
        "--seconds", type=float, default=8, help="length of one measurement; of elections: virtual minutes (8)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=(*SECTIONS, _NOTHING),
        default=[],
        help=f"these sections, or {_NOTHING}: write the page again; all are {', '.join(SECTIONS)}",
    )
    parser.add_argument("--suite", choices=tuple(_SUITES), default="all", help="which sections, without --only (all)")
    parser.add_argument("--dry", action="store_true", help="show what was found, write nothing")
    parser.add_argument(
        "--items", type=int, default=records.ITEMS, help=f"how far a table grows, to 5,000,000 ({records.ITEMS:,})"
    )
    parser.add_argument("--directory", type=Path, help="where the nodes' data goes while they run (a temporary one)")
    parser.add_argument("--out", type=Path, default=_PAGE, help="the page to write (docs/benchmarks.md)")
    return parser.parse_args()


def main() -> int:
    """Measure and write; see the module."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that what was started is stopped
    names = [name for name in arguments.only or _SUITES[arguments.suite] if name != _NOTHING]
    if names:
        wrk.find()  # before anything is measured, and before there is no network
    if _PEERS in names:
        alone.begin_again()
    missed, failed = [], False
    for name in names:
        section = SECTIONS[name]
        try:
            taken = records.take(
                section, arguments.rounds, arguments.seconds, arguments.directory, _progress, arguments.items
            )
        except (GrammeError, OSError, subprocess.SubprocessError) as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            failed = True
            continue
        missed += section.missed(taken.found)
        if arguments.dry:
            print(records.told(section, taken))
        else:
            records.write(section, taken, arguments.out.with_suffix(""))
            page.write(arguments.out)
    if not arguments.dry:
        page.write(arguments.out)
        print(f"written: {arguments.out}")
    for line in missed:
        print(line, file=sys.stderr)
    return 2 if failed else 1 if missed else 0


def _progress(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
