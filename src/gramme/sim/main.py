"""`gramme sim`: runs seeds, one or many, over processes; prints a line for each and how to repeat a failure, and after
several what they have seen."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from gramme.sim.configs import CONFIGS, config_of
from gramme.sim.result import Result
from gramme.sim.run import simulate


def run(
    seed: int,
    config: str | None = None,
    runs: int = 1,
    jobs: int = 1,
    verbose: bool = False,
    write: Callable[[str], object] = sys.stdout.write,
) -> int:
    """Run seeds `seed` … `seed + runs - 1` of the named configuration, or of the default mix, which picks by seed.

    Writes `seed N ok, trace hash <16 hex>` for each, in order; a violation is followed by one line that replays it.
    After more than one, a summary follows: see `Summary`.
    Returns the exit code: 0, 1 after a violation, 2 for an unknown configuration.
    """
    if config is not None and config not in CONFIGS:
        write(f"no simulation configuration {config!r}; there are {', '.join(CONFIGS)}\n")
        return 2
    summary = Summary()
    with _progress(runs) as advance:
        for result in _results(range(seed, seed + runs), config, jobs):
            advance()
            summary.add(result)
            for line in describe(result, verbose):
                write(line + "\n")
    if runs > 1:
        for line in summary.lines():
            write(line + "\n")
    return 1 if summary.failures else 0


class Summary:
    """What many runs came to: runs, virtual hours, configurations, and in how many runs each coverage mark was reached.
    A function of the results, so it is the same for the same seeds."""

    def __init__(self) -> None:
        self.failures = 0
        self._virtual_ms = 0
        self._configs: Counter[str] = Counter()
        self._marks: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        """One more."""
        self.failures += bool(result.violation)
        self._virtual_ms += result.stats.get("virtual_ms", 0)
        self._configs[result.config] += 1
        self._marks.update(result.marks)

    def lines(self) -> Iterator[str]:
        """Totals, then a line for each configuration and each mark with its number of runs, the most frequent first."""
        runs = sum(self._configs.values())
        hours = self._virtual_ms / 3_600_000
        yield (
            f"{runs} runs of {len(self._configs)} configurations, {hours:.2f} simulated hours, "
            f"{len(self._marks)} distinct coverage marks, {self.failures} failed"
        )
        for title, counter in (("configuration", self._configs), ("mark", self._marks)):
            for name, count in sorted(counter.items(), key=lambda each: (-each[1], each[0])):
                yield f"{title} {count:>6} {name}"


def describe(result: Result, verbose: bool = False) -> Iterator[str]:
    """The lines that tell a result."""
    if verbose:
        yield from (str(fault) for fault in result.plan)
        yield from result.log
        yield ", ".join(f"{name} {value}" for name, value in result.stats.items())
    if not result.violation:
        yield f"seed {result.seed} ok, trace hash {result.trace_hash}"
        return
    yield f"seed {result.seed} FAILED ({result.config}), trace hash {result.trace_hash}"
    yield result.violation
    yield result.replay


def run_seed(config: str | None, seed: int) -> Result:
    """One run; a function of a module, so that it can be sent to another process."""
    return simulate(seed, config_of(config, seed))


def _results(seeds: Iterable[int], config: str | None, jobs: int) -> Iterator[Result]:
    one = partial(run_seed, config)
    if jobs <= 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(one, seeds)


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal's stderr when there is more than one run."""
    console = Console(stderr=True)
    if runs == 1 or not console.is_terminal:
        yield lambda: None
        return
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("simulating", total=runs)
        yield lambda: progress.advance(task)
