"""Check the specification: `make spec`, or `python -m tests.specs.main [NAME ...]`."""

from __future__ import annotations

import argparse
import sys

from tests.specs import tlc
from tests.specs.judging import Recorded, run
from tests.specs.models import BY_HAND, HOLDS, PLANTED
from tests.specs.sims import MUTANT_SIMS, SIMS
from tests.specs.storms import MUTANT_STORMS, STORMS

_LINE = "{:<30} {:<30} {:>6} {:>11} {:>11} {:>8}"


def main() -> int:
    """Run the models that are named, or those of `make spec`; 1 if one of them is not as it must be."""
    parser = argparse.ArgumentParser(prog="make spec", description=__doc__)
    parser.add_argument("names", nargs="*", help="models to run (all but those of BY_HAND)")
    parser.add_argument("--workers", type=int, default=2, help="threads of TLC")
    arguments = parser.parse_args()
    if tlc.java() is None:
        print("make spec needs Java 11 or newer", file=sys.stderr)
        return 1
    print(_LINE.format("model", "found", "depth", "generated", "distinct", "seconds"))
    models: tuple[tlc.Model | Recorded, ...] = (
        *HOLDS, *PLANTED, *STORMS, *SIMS, *MUTANT_STORMS, *MUTANT_SIMS,
    )  # fmt: skip
    if arguments.names:
        models = tuple(model for model in (*models, *BY_HAND) if model.name in arguments.names)
    wrong = [model.name for model in models if not _is_right(model, arguments.workers)]
    if wrong:
        print("not as it must be: " + ", ".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


def _is_right(model: tlc.Model | Recorded, workers: int) -> bool:
    """Check one and print a line; whether it is as it must be. (Of what was recorded each event is a state.)"""
    outcome = tlc.check(model, workers) if isinstance(model, tlc.Model) else run(model)
    said = outcome.violated or ("nothing" if outcome.finished else "no end in time")
    counts = (outcome.depth, outcome.generated, outcome.distinct, f"{outcome.seconds:.0f}")
    print(_LINE.format(model.name, said, *counts), flush=True)
    right = outcome.meets(model) if isinstance(model, tlc.Model) else model.is_judged_well(outcome)
    if not right:
        print(outcome.output[-4000:], file=sys.stderr)
    return right


if __name__ == "__main__":
    sys.exit(main())
