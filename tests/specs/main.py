"""Check the specification: `make spec`, or `python -m tests.specs.main [NAME ...]`."""

from __future__ import annotations

import argparse
import sys

from tests.specs import tlc
from tests.specs.models import BY_HAND, HOLDS, PLANTED

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
    wrong = []
    print(_LINE.format("model", "found", "depth", "generated", "distinct", "seconds"))
    models: tuple[tlc.Model, ...] = (*HOLDS, *PLANTED)
    if arguments.names:
        models = tuple(model for model in (*models, *BY_HAND) if model.name in arguments.names)
    for model in models:
        outcome = tlc.check(model, arguments.workers)
        said = outcome.violated or ("nothing" if outcome.finished else "no end in time")
        counts = (outcome.depth, outcome.generated, outcome.distinct, f"{outcome.seconds:.0f}")
        print(_LINE.format(model.name, said, *counts), flush=True)
        if not outcome.meets(model):
            wrong.append(model.name)
            print(outcome.output[-4000:], file=sys.stderr)
    if wrong:
        print("not as it must be: " + ", ".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
