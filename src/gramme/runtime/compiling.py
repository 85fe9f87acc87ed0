"""`make compile`: makes the build of compiled modules that `compiled` looks for, with mypyc.

Owns which modules are compiled, and how. Rule for the first: what is on the way of a request, the machines of the
protocol too, for the simulator runs the same build and must leave the same traces as the sources do (decision 0105).
None of them may have what means something else when it is compiled: a msgspec Struct (its unions are other types), a
`cached_property` (worked out each time), a generator expression that outlives its expression (a list, made at once), a
subclass outside the build (refused). Rule for the second: a build is made and tried beside the one before it and named
by the manifest in one step, so that there never is half of one; the one before stays for processes that are just
starting.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

import msgspec

from gramme.kernel.errors import GrammeError
from gramme.runtime import compiled
from gramme.runtime.compiled import DIRECTORY, INTERPRETER, MANIFEST, PACKAGE, Build, Source

_ROOMS: Final = {
    "kernel": ("effects",),
    "storage": ("encoding",),
    "storage.engine": ("contract", "kept", "rows"),
    "storage.log": ("layout", "recovery", "retention", "scan", "shared"),
    "paxos": (
        "acceptor", "campaign", "chain", "freshness", "leader", "lease", "log", "outputs", "peer", "recovery",
        "replica", "settings", "state", "status", "steps", "succession", "view",
    ),
    "tables": (
        "compare", "evaluate", "expiry", "index_changes", "item", "keys", "numbers", "rows", "schema", "stretch",
        "values",
    ),
    "tables.expression": (
        "condition", "condition_parser", "errors", "grammar", "key_condition", "lexer", "nodes", "projection",
        "request", "reserved", "update", "update_parser",
    ),
    "node": (
        "accepted", "alarm", "applied_rows", "deadline", "driver", "evaluator", "extents", "flushing", "group_owner",
        "groups", "host", "in_flight", "introductions", "item_pages", "leadership", "log_replica", "members", "node",
        "outcomes", "partition", "ports", "reconciliation", "router", "standing", "state_rows", "table_evaluator",
        "totals", "trimming", "wire",
    ),
    "node.changes": ("item_changes", "retention"),
    "node.healing": ("hosting",),
    "node.objects": ("configuration",),
    "api": ("http",),
    "api.dynamodb": (
        "batch_get_item", "batch_write_item", "call", "capacity", "delete_item", "dispatch", "errors", "expressions",
        "get_item", "indexes", "item_keys", "legacy", "legacy_shapes", "pages", "put_item", "query", "scan",
        "selection", "settings", "shapes", "table_lookup", "update_item", "writes",
    ),
    "runtime": ("clock", "http_codec", "http_connection", "http_requests", "metrics"),
    "runtime.disk": ("log_writer",),
}  # fmt: skip
MODULES: Final = tuple(f"gramme.{room}.{name}" for room, names in _ROOMS.items() for name in names)
"""What is compiled, all of it or nothing."""

_LIBRARY: Final = "gramme_compiled"
_LINUX_COMPILING: Final = ["-fno-semantic-interposition", "-fno-plt"]
_LINUX_LINKING: Final = ["-Wl,-Bsymbolic", "-Wl,-z,now"]
"""Nobody replaces a function of the library, so its modules call each other without asking the linker's table: 1 to 4 %
of the processor time of a request (medians of runs in turn)."""

SUFFIX: Final = EXTENSION_SUFFIXES[0]
_TRIAL: Final = """
import importlib, pathlib, sys
from gramme.runtime import compiled
directory, manifest, *modules = sys.argv[1:]
refusal = compiled.use(pathlib.Path(directory), manifest)
sys.exit(refusal or [name for name in modules if importlib.import_module(name).__file__.endswith(".py")] or 0)
"""


class CannotCompile(GrammeError):
    """There is no new build; the text says why, or the compiler has."""


def build(package: Path = PACKAGE, directory: Path = DIRECTORY) -> Build:
    """Make a build of the sources in `package` and let `directory` name it. Changes the working directory.

    Raises CannotCompile; the build before is then still the one that is named.
    """
    directory.mkdir(parents=True, exist_ok=True)
    sources = sources_of(MODULES, package)
    home = Path(tempfile.mkdtemp(prefix="build-", dir=directory))
    home.chmod(0o755)  # for nodes of other users
    try:
        with tempfile.TemporaryDirectory(prefix="work-", dir=directory) as work:
            _compile(package, Path(work), home)
        if sources_of(MODULES, package) != sources:
            raise CannotCompile("the sources have changed meanwhile")
        made = _described(home, sources)
        _try(made, home)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    earlier = _name(home)
    for old in directory.glob("build-*"):
        if old.name not in (home.name, earlier):
            shutil.rmtree(old, ignore_errors=True)
    return made


def _compile(package: Path, work: Path, home: Path) -> None:
    """The extensions of all modules, into `home`."""
    try:
        from mypyc.build import mypycify
        from setuptools import Distribution
        from setuptools.command.build_ext import build_ext
    except ImportError as error:
        raise CannotCompile(f"{error}: `make setup` installs what it takes") from None
    os.chdir(package.parent)  # mypy names a module by its path from here
    extensions = mypycify(
        [
            "--strict",
            "--ignore-missing-imports",
            "--explicit-package-bases",
            "--config-file=",
            f"--cache-dir={os.devnull}",
            *(str(_path_of(module, package, package.parent)) for module in MODULES),
        ],
        opt_level="2",
        debug_level="0",
        multi_file=True,  # all in one unit would take the compiler more memory than small machines have
        target_dir=str(work / "c"),
        group_name=_LIBRARY,
    )
    if sys.platform == "linux":
        for extension in extensions:
            extension.extra_compile_args += _LINUX_COMPILING
            extension.extra_link_args += _LINUX_LINKING
    command = build_ext(Distribution({"ext_modules": extensions}))
    command.build_lib, command.build_temp = str(home), str(work / "objects")
    command.ensure_finalized()
    command.run()


def _described(home: Path, sources: list[Source]) -> Build:
    files: dict[str, str] = {}
    for path in sorted(home.rglob(f"*{SUFFIX}")):
        inner = path.relative_to(home)
        files[".".join(inner.parts).removesuffix(SUFFIX)] = str(home.name / inner)
    library = files.pop(f"{_LIBRARY}__mypyc", "")
    if not library or set(files) != set(MODULES):
        raise CannotCompile(f"the compiler has made {', '.join(files) or 'nothing'}")
    return Build(INTERPRETER, library, files, sources)


def _try(made: Build, home: Path) -> None:
    """Load everything in a process of its own."""
    (home / MANIFEST).write_bytes(msgspec.json.encode(made))
    command = [sys.executable, "-c", _TRIAL, str(home.parent), f"{home.name}/{MANIFEST}", *made.files]
    if subprocess.run(command, cwd=PACKAGE.parent, check=False).returncode:
        raise CannotCompile("what was compiled does not load")


def _name(home: Path) -> str:
    """Let the manifest name `home`; returns the name of the build before, which processes may be loading just now."""
    manifest = home.parent / MANIFEST
    try:
        before = msgspec.json.decode(manifest.read_bytes(), type=Build).library.partition("/")[0]
    except (OSError, msgspec.MsgspecError):
        before = ""
    os.replace(home / MANIFEST, manifest)
    return before


def sources_of(modules: Iterable[str], package: Path) -> list[Source]:
    """The sources of `modules` and of all that they import of the package, directly or not."""
    waiting = list(modules)
    found: dict[str, Source] = {}
    while waiting:
        path = _path_of(waiting.pop(), package, package)
        if path is None or str(path) in found:
            continue
        file = package / path
        content, state = file.read_bytes(), file.stat()
        found[str(path)] = Source(str(path), state.st_size, state.st_mtime_ns, compiled.digest_of(content))
        waiting += _imports(ast.parse(content))
    return [found[path] for path in sorted(found)]


def _imports(tree: ast.Module) -> Iterator[str]:
    """Every name that may be a module: what is imported from a package may be one itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _path_of(module: str, package: Path, base: Path) -> Path | None:
    """The source of `module`, from `base`; None if it is no module of the package."""
    first, *rest = module.split(".")
    if first != package.name:
        return None
    for path in (package.joinpath(*rest, "__init__.py"), package.joinpath(*rest).with_suffix(".py")):
        if path.is_file():
            return path.relative_to(base)
    return None


def main() -> None:
    """`make compile`."""
    try:
        made = build()
    except GrammeError as error:
        sys.exit(f"gramme: {error}")
    sys.stdout.write(f"{len(made.files)} modules compiled into {DIRECTORY}; nodes that start from now on run them\n")


if __name__ == "__main__":
    main()
