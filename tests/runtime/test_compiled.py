"""Whether a process runs compiled: a build of exactly these sources by exactly this interpreter, all of it or none.

That a build does what its sources do is for `test_compiled_like_plain` to say.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from enum import EnumType
from pathlib import Path
from types import ModuleType
from typing import Protocol

import msgspec
import pytest

from gramme.kernel.errors import InvalidInput
from gramme.runtime import compiled, compiling, config
from gramme.runtime.compiled import INTERPRETER, Build, Source, refusal_of

LIBRARY = f"build-1/lib{compiling.SUFFIX}"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of three modules, the first of which imports the second."""
    package = tmp_path / "thing"
    package.mkdir()
    for name, text in (("__init__", ""), ("a", "from thing import b\n"), ("b", "B = 1\n"), ("c", "C = 1\n")):
        (package / f"{name}.py").write_text(text)
    return package


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a build of `thing.a` stands."""
    home = tmp_path / "compiled" / "build-1"
    home.mkdir(parents=True)
    for name in ("a", "lib"):
        (home / f"{name}{compiling.SUFFIX}").touch()
    return home.parent


def build_of(package: Path, interpreter: str = INTERPRETER) -> Build:
    sources = compiling.sources_of(["thing.a"], package)
    return Build(interpreter, LIBRARY, {"thing.a": f"build-1/a{compiling.SUFFIX}"}, sources)


def refusal(build: Build, directory: Path, package: Path, loaded: dict[str, ModuleType] | None = None) -> str:
    return refusal_of(build, directory, loaded or {}, package)


def test_a_build_is_of_its_modules_and_of_what_these_import(package: Path) -> None:
    assert [source.path for source in build_of(package).sources] == ["__init__.py", "a.py", "b.py"]


def test_a_build_of_these_sources_is_used(package: Path, directory: Path) -> None:
    assert refusal(build_of(package), directory, package) == ""


@pytest.mark.parametrize("changed", ["a.py", "b.py"])
def test_no_build_is_used_once_a_source_has_changed(package: Path, directory: Path, changed: str) -> None:
    build = build_of(package)
    source = package / changed
    source.write_text(source.read_text().replace("b", "d").replace("1", "2"))  # of the same length
    assert changed in refusal(build, directory, package)


def test_no_build_is_used_without_one_of_its_sources(package: Path, directory: Path) -> None:
    build = build_of(package)
    (package / "b.py").unlink()
    assert "b.py" in refusal(build, directory, package)


def test_a_source_that_was_only_touched_has_not_changed(package: Path, directory: Path) -> None:
    build = build_of(package)
    os.utime(package / "b.py", ns=(1, 1))
    assert refusal(build, directory, package) == ""


def test_sources_that_are_not_imported_may_change(package: Path, directory: Path) -> None:
    build = build_of(package)
    (package / "c.py").write_text("C = 2\n")
    assert refusal(build, directory, package) == ""


def test_no_build_of_another_interpreter_is_used(package: Path, directory: Path) -> None:
    assert "another Python" in refusal(build_of(package, INTERPRETER + "+"), directory, package)


def test_no_build_is_used_after_one_of_its_modules_was_imported(package: Path, directory: Path) -> None:
    assert "thing.a" in refusal(build_of(package), directory, package, {"thing.a": ModuleType("thing.a")})


@pytest.mark.parametrize("missing", ["a", "lib"])
def test_a_build_that_lost_a_file_is_not_used(package: Path, directory: Path, missing: str) -> None:
    build = build_of(package)
    (directory / "build-1" / f"{missing}{compiling.SUFFIX}").unlink()
    assert missing in refusal(build, directory, package)


def in_a_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` without a build of its own choice: `directory` is what it is given."""
    environment = {**os.environ, "PYTHONPATH": str(compiled.PACKAGE.parent), **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


_START = """
import pathlib, sys
from gramme.runtime import compiled
compiled.DIRECTORY = pathlib.Path({directory!r})
compiled.use.__defaults__ = (compiled.DIRECTORY, compiled.MANIFEST)
compiled.{how}()
print(compiled.active())
"""


def started(directory: Path, how: str, wish: str) -> tuple[str, str]:
    """What a process prints that looks for a build in `directory`, and to its stderr, the last line of it."""
    done = in_a_process(_START.format(directory=str(directory), how=how), GRAMME_COMPILED=wish)
    return done.stdout.strip(), "".join(done.stderr.splitlines()[-1:])


def stale(directory: Path) -> Path:
    """A manifest in `directory` of a source that never was."""
    build = Build(INTERPRETER, LIBRARY, {}, [Source("never.py", 1, 1, "")])
    (directory / compiled.MANIFEST).write_bytes(msgspec.json.encode(build))
    return directory


def test_a_server_without_a_build_runs_plain_and_says_nothing(tmp_path: Path) -> None:
    assert started(tmp_path, "use_if_built", "") == ("False", "")


def test_a_server_with_a_stale_build_runs_plain_and_says_so_once(tmp_path: Path) -> None:
    out, line = started(stale(tmp_path), "use_if_built", "")
    assert out == "False"
    assert "never.py is not what the build was made from; `make compile`" in line


def test_a_server_told_to_run_plain_does_not_look(tmp_path: Path) -> None:
    assert started(stale(tmp_path), "use_if_built", "0") == ("False", "")


@pytest.mark.parametrize("how", ["use_if_built", "use_if_demanded"])
@pytest.mark.parametrize("make", [lambda directory: directory, stale])
def test_what_is_demanded_and_not_there_is_an_error(tmp_path: Path, how: str, make: object) -> None:
    assert callable(make)
    out, line = started(make(tmp_path), how, "1")
    assert out == ""
    assert "NotCompiled: GRAMME_COMPILED=1, but " in line


def test_nothing_but_a_server_takes_a_build_unasked(tmp_path: Path) -> None:
    assert started(stale(tmp_path), "use_if_demanded", "") == ("False", "")


def test_a_damaged_manifest_is_no_build(tmp_path: Path) -> None:
    (tmp_path / compiled.MANIFEST).write_bytes(b"{")
    out, line = started(tmp_path, "use_if_built", "")
    assert out == "False"
    assert "cannot be read" in line


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.VARIABLE, "yes")
    with pytest.raises(InvalidInput, match="must be 0"):
        compiled.use_if_built()


def test_the_variable_is_no_setting_of_a_node() -> None:
    assert config.load(None, {compiled.VARIABLE: "0"}) == config.load(None, {})


# --- the rules of `compiling` for what may be compiled


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of a build."""
    for module in compiling.MODULES:
        path = compiled.PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
        yield module, ast.parse(path.read_text())


def test_nothing_compiled_is_a_struct_or_an_abstract_base_class() -> None:
    """Of a class whose metaclass is its own, mypyc forgets the arguments (`frozen`, `array_like`, `tag`, `gc`) and
    compares two of them by identity: compiled, `Mark(1, 2, 3) == Mark(1, 2, 3)` is false. The subclasses of an `ABC`
    share one cache of what `isinstance` said of any of them."""
    for module in compiling.MODULES:
        for name, kind in vars(importlib.import_module(module)).items():
            if isinstance(kind, type) and kind.__module__ == module:
                assert type(kind) in (type, EnumType, type(Protocol)), f"{module}.{name}"


def test_nothing_compiled_keeps_a_property() -> None:
    """Compiled, a `cached_property` is worked out each time."""
    for module, tree in sources():
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert "cached_property" not in names, module


_AT_ONCE = frozenset(("all", "any", "bytes", "deque", "dict", "extend", "frozenset", "join", "list", "max", "min",
                      "next", "set", "sorted", "sum", "tuple", "update"))  # fmt: skip
"""What takes all of a generator before it does anything else, or can have it in one go without anybody's notice."""


def test_no_generator_expression_outlives_its_expression() -> None:
    """Compiled, it is a list, made at once: the same only where whoever takes it takes it all there and then."""
    for module, tree in sources():
        for parent in ast.walk(tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, ast.GeneratorExp) and not isinstance(parent, ast.Starred):
                    assert isinstance(parent, ast.Call), f"{module}:{node.lineno}"
                    name = ast.unparse(parent.func).rpartition(".")[2]
                    assert name in _AT_ONCE, f"{module}:{node.lineno}: {name}"


def test_whoever_inherits_from_a_compiled_class_is_compiled() -> None:
    """Mypyc refuses all others, at the first one that is made."""
    for module in pkgutil.walk_packages([str(compiled.PACKAGE)], "gramme."):
        path = compiled.PACKAGE.parent.joinpath(*module.name.split(".")).with_suffix(".py")
        if module.ispkg or module.name in compiling.MODULES:
            continue
        tree = ast.parse(path.read_text())
        imported = {
            alias.asname or alias.name: f"{node.module}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(tree):
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                home = imported.get(ast.unparse(base), "")
                kind = getattr(importlib.import_module(home), ast.unparse(base)) if home in compiling.MODULES else None
                assert kind is None or getattr(kind, "_is_protocol", False), f"{module.name}: {ast.unparse(base)}"
