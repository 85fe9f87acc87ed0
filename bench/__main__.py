"""`make bench`: measure throughput, latency, failover, stream lag and transactions, and write `docs/benchmarks.md`.

Exit code 1 if a floor of issue 2 is missed, 2 if something could not be measured.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace

from bench import failover, machine, report, rolling, stream_lag, throughput, transactions, wrk
from gramme.bench import elections, suite
from gramme.bench import report as objects_report
from gramme.kernel.errors import GrammeError

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"

_ADDED = ("rolling", "elections")
_ELECTION_SEEDS = 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="times that every scenario is measured (5)")
    parser.add_argument(
        "--seconds", type=float, default=8, help="length of one measurement; of elections: virtual minutes (8)"
    )
    parser.add_argument("--kills", type=int, default=20, help="leaders killed, 0 for none (20)")
    parser.add_argument("--stops", type=int, default=10, help="leaders told to stop, 0 for none (10)")
    parser.add_argument(
        "--only",
        choices=("throughput", "failover", "streams", "transactions", "objects", *_ADDED),
        help="measure one, write nothing",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="with --only, but for throughput and failover: put it into the page that is there",
    )
    parser.add_argument("--directory", type=Path, help="where the nodes' data goes while they run (a temporary one)")
    parser.add_argument("--out", type=Path, default=_PAGE, help="the page to write (docs/benchmarks.md)")
    return parser.parse_args()


def main() -> int:
    """Measure and write; see the module."""
    arguments = _arguments()
    if arguments.only == "objects":
        return _objects(arguments)
    if arguments.only in (None, "throughput"):
        wrk.find()  # before anything is measured
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="gramme-bench-") as name:
        results = _measure(arguments, Path(name))
    if arguments.add and arguments.only == "streams":
        results = replace(report.read(arguments.out), stream_lag=results.stream_lag)
    elif arguments.add and arguments.only == "transactions":
        results = replace(report.read(arguments.out), transactions=results.transactions)
    elif arguments.add and arguments.only in _ADDED:
        results = replace(report.read(arguments.out), **{arguments.only: getattr(results, arguments.only)})
    if arguments.only is None or arguments.add:
        report.write(results, arguments.out)
        print(f"written: {arguments.out}")
    else:
        print(report.page(results, "benchmarks"))
    missed = report.floors_missed(results)
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed else 0


def _measure(arguments: argparse.Namespace, directory: Path) -> report.Results:
    found, gaps, lag, transacted, pauses, elected = [], None, None, None, None, None
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    on = machine.describe(directory)
    if arguments.only in (None, "throughput"):
        found = throughput.measure(arguments.rounds, arguments.seconds, directory, _progress)
    if arguments.only in (None, "failover") and (arguments.kills or arguments.stops):
        gaps = failover.measure(arguments.kills, arguments.stops, directory, _progress)
    if arguments.only in (None, "streams"):
        lag = stream_lag.measure(20 * arguments.seconds / 8, directory, date, on.commit, _progress)
    if arguments.only in (None, "transactions"):
        costs, contention = transactions.measure(arguments.rounds, arguments.seconds, directory, _progress)
        transacted = transactions.Transactions(date, on.commit, on.load, costs, contention)
    if arguments.only in (None, "rolling"):
        pauses = rolling.measure(arguments.rounds, directory, date, on.commit, _progress)
    if arguments.only in (None, "elections"):
        rows = list(elections.rows(arguments.seconds, _ELECTION_SEEDS))
        elected = report.Elections(date, on.commit, arguments.seconds, _ELECTION_SEEDS, rows)
    return report.Results(
        date=date,
        command=" ".join(["python -m bench", *sys.argv[1:]]),
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        machine=on,
        throughput=found,
        failover=gaps,
        stream_lag=lag,
        transactions=transacted,
        rolling=pauses,
        elections=elected,
    )


def _objects(arguments: argparse.Namespace) -> int:
    """They have numbers of their own, beside those of the page."""
    command = " ".join(["python -m bench", *sys.argv[1:]])
    found = suite.measured(suite.SCENARIOS, arguments.rounds, arguments.seconds, command, _progress)
    if arguments.add:
        objects_report.write(found, arguments.out.parent)
        report.write(report.read(arguments.out), arguments.out)
    else:
        print(objects_report.section(found))
    return 0


def _progress(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (GrammeError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
