"""`gramme bench …`: measurements that need nothing but this command."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Measure.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """A group, however few commands it has."""


@app.command()
def ring(
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the curves there, as SVG.")] = None,
    rings: Annotated[int, typer.Option(min=8, help="Rings drawn where they are smallest; fewer where larger.")] = 400,
    seed: Annotated[int, typer.Option(help="Of the tokens.")] = 1,
) -> None:
    """Dynamo's Figure 8: load balance of the three strategies; exit 1 if a point is off by more than 0.03."""
    from gramme.bench import ring as bench

    curves = {strategy: bench.measured(strategy, rings, seed) for strategy in bench.PAPER}
    here = bench.founded_here()
    print(bench.table(curves, here))
    worst = bench.farthest(curves)
    for strategy, (difference, metadata) in worst.items():
        print(f"\nstrategy {strategy}: at most {difference:.3f} from the paper's curve (at {metadata:,})", end="")
    print("\n\n" + bench.told(bench.changes(seed)))
    if plot is not None:
        plot.write_text(bench.picture(curves, here), encoding="utf-8")
    if any(difference > bench.TOLERANCE for difference, _ in worst.values()):
        raise typer.Exit(1)


@app.command()
def profile(
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each operation is sampled.")] = 4.0,
    flame: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw a flame graph there, as SVG.")] = None,
) -> None:
    """Where the time of a request goes: microseconds of processor time by stage, for each operation."""
    from gramme.bench import profile as bench

    profiles = bench.measured(seconds, lambda line: print(line, file=sys.stderr, flush=True))
    print(bench.table(profiles))
    if flame is not None:
        flame.write_text(bench.flame(profiles), encoding="utf-8")


@app.command()
def objects(
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A scenario; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Pairs of what is compared.")] = 5,
    seconds: Annotated[float, typer.Option(min=3, help="Length of one measurement.")] = 10,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Numbers and pictures go there.")] = None,
) -> None:
    """Objects under an open loop: five real processes, one killed; what coordination and buffering cost."""
    from gramme.bench import objects_suite

    unknown = [name for name in only or () if name not in objects_suite.SCENARIOS]
    if unknown:
        raise typer.BadParameter(f"--only {unknown[0]}: one of {', '.join(objects_suite.SCENARIOS)}")
    _measure(objects_suite.only(only or objects_suite.SCENARIOS), rounds, seconds, out)


@app.command()
def ycsb(
    endpoint: Annotated[str, typer.Option(metavar="URL", help="Any that speaks DynamoDB, or Gramme's objects.")],
    workload: Annotated[str, typer.Option(metavar="NAME", help="a to f, get, put, update, half, query.")],
    records: Annotated[int, typer.Option(min=100, help="Items of 900 bytes that are loaded first.")] = 10_000,
    fields: Annotated[int, typer.Option(min=1, max=40, help="Of an item.")] = 9,
    distribution: Annotated[
        str | None, typer.Option(metavar="NAME", help="uniform, zipfian or latest; else what the workload says.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of a round.")] = 10,
    rounds: Annotated[int, typer.Option(min=1)] = 1,
    rate: Annotated[float, typer.Option(min=0, help="Operations that arrive in a second; 0: a closed loop.")] = 0,
    arrivals: Annotated[str, typer.Option(metavar="HOW", help="even or poisson.")] = "even",
    connections: Annotated[int, typer.Option(min=1, max=1_000)] = 16,
    sdk: Annotated[bool, typer.Option("--sdk", help="What boto3 sees: four threads, closed loop.")] = False,
    objects: Annotated[bool, typer.Option("--objects", help="The endpoint is one of Gramme's objects.")] = False,
    seed: Annotated[int, typer.Option(help="The same one draws the same requests.")] = 1,
    name: Annotated[str, typer.Option(help="Of the table or bucket; a table of that name is replaced.")] = "ycsb",
    load: Annotated[bool, typer.Option(help="Make the table and load it first.")] = True,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="All numbers go there.")] = None,
) -> None:
    """The YCSB workloads, closed or open loop, against any DynamoDB endpoint."""
    import msgspec

    from gramme.bench import endpoint_load
    from gramme.bench.ycsb import WORKLOADS

    if workload not in WORKLOADS:
        raise typer.BadParameter(f"--workload {workload}: one of {', '.join(WORKLOADS)}")
    given = {
        "endpoint": endpoint, "workload": workload, "records": records, "fields": fields, "distribution": distribution,
        "seconds": seconds, "rounds": rounds, "rate": rate, "arrivals": arrivals, "connections": connections,
        "sdk": sdk, "objects": objects, "seed": seed, "name": name, "load": load,
    }  # fmt: skip
    try:
        options = msgspec.convert(given, endpoint_load.Options)
        result = endpoint_load.measured(options, _progress)
    except (msgspec.ValidationError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    print(endpoint_load.text(result))


@app.command()
def run(
    section: Annotated[str, typer.Argument(metavar="NAME", help="What: see docs/benchmarks.md.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often every part is measured.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Length of one measurement.")] = 4,
    items: Annotated[int, typer.Option(min=10_000, help="How far a table grows (growth).")] = 200_000,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Numbers and pictures go there.")] = None,
) -> None:
    """One section of docs/benchmarks.md against processes that are started for it."""
    # By name: `runtime` and `sim` stand side by side, and neither may depend on the other.
    sections = import_module("gramme.bench.sections").SECTIONS
    if section not in sections:
        raise typer.BadParameter(f"{section}: one of {', '.join(sections)}")
    _measure(sections[section], rounds, seconds, out, items)


def _measure(section: Any, rounds: int, seconds: float, out: Path | None, items: int = 0) -> None:
    from gramme.bench import records

    taken = records.take(section, rounds, seconds, None, _progress, items)
    if out is not None:
        records.write(section, taken, out)
    print(records.told(section, taken))


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@app.command()
def elections(
    minutes: Annotated[float, typer.Option(min=0.5, help="Virtual minutes of each run.")] = 10.0,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each kind.")] = 3,
    seed: Annotated[int, typer.Option(help="The first one.")] = 1,
) -> None:
    """How often leaders change while links and disks fail in part, with and without asking peers before an election."""
    # By name: `runtime` and `sim` stand side by side, and neither may depend on the other.
    bench = import_module("gramme.bench.elections")
    print(bench.table(bench.rows(minutes, seeds, seed)))


@app.command()
def healing(
    megabytes: Annotated[int, typer.Option(help="Of the one partition that loses a replica.")] = 1_000,
    kills: Annotated[int, typer.Option(min=1, help="How often a node is lost.")] = 1,
) -> None:
    """How long until a log replica votes, and until there are three copies again, when a node of five is lost."""
    from gramme.bench import healing as measurement

    print(measurement.table([measurement.healed(megabytes, kills, None, _progress)]))
