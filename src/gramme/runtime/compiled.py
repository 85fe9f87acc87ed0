"""Compiled modules in place of their sources, where `make compile` has made them from exactly these sources.

Owns the decision whether this process runs compiled, and the finder that makes it so. Rule: all modules of a build or
none, and only a build by this very interpreter from the very sources that are beside it; anything else runs the
sources, which mean the same, and says so once. It is decided before the first of them is imported, by whoever starts
the process: a server takes a build that is there; everything else (simulator, tests, tools) only if `GRAMME_COMPILED=1`
demands it. `GRAMME_COMPILED=0` forbids it. What is compiled and how: `compiling`; why these modules:
docs/decisions/0104-compiled-modules.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

import gramme
from gramme.kernel.errors import GrammeError, InvalidInput

VARIABLE: Final = "GRAMME_COMPILED"
PACKAGE: Final = Path(gramme.__file__).parent
DIRECTORY: Final = PACKAGE.parents[1] / "build" / "compiled"
"""Outside the package, so that nothing that only looks at sources ever finds a build."""

MANIFEST: Final = "manifest.json"
INTERPRETER: Final = f"{sys.version} {EXTENSION_SUFFIXES[0]}"
"""What a build must have been made by: compiled code knows the layout of this interpreter's objects."""


class NotCompiled(GrammeError):
    """`GRAMME_COMPILED=1` demands a build, and there is none that may be used."""


class Source(msgspec.Struct, frozen=True, array_like=True):
    """A source as it was when the build was made. One that only got another time is judged by its digest."""

    path: str  # below the package
    size: int
    mtime_ns: int
    digest: str


class Build(msgspec.Struct, frozen=True):
    """A finished build. `files` has the extension of each module, `library` what they share, below the manifest's
    directory; `sources` are those of the modules and of all that these import, whose types and constants are in the
    compiled code too."""

    interpreter: str
    library: str
    files: dict[str, str]
    sources: list[Source]


_active = False


def active() -> bool:
    """Whether this process runs compiled modules."""
    return _active


def use_if_built() -> None:
    """For servers: run compiled if there is a build for these sources and this interpreter.

    Raises NotCompiled if it is demanded and cannot be, InvalidInput for an unknown word in `GRAMME_COMPILED`.
    """
    wish = os.environ.get(VARIABLE, "")
    if wish == "":
        refusal = use()
        if refusal:
            sys.stderr.write(f"gramme: running uncompiled: {refusal}; `make compile` makes the build anew\n")
    elif wish == "1":
        _demand()
    elif wish != "0":
        raise InvalidInput(f"{VARIABLE} must be 0 (never compiled) or 1 (only compiled), not {wish!r}")


def use_if_demanded() -> None:
    """For everything else: run compiled only if `GRAMME_COMPILED=1`. Raises NotCompiled if that cannot be."""
    if os.environ.get(VARIABLE) == "1":
        _demand()


def _demand() -> None:
    refusal = use()
    if refusal is None:
        refusal = f"there is no build in {DIRECTORY}"
    if refusal:
        raise NotCompiled(f"{VARIABLE}=1, but {refusal}; `make compile` makes a build")


def use(directory: Path = DIRECTORY, manifest: str = MANIFEST) -> str | None:
    """Run the build that `manifest` in `directory` describes, whatever the environment says; "" if this process does so
    now, None if there is no build, else why it is not used."""
    global _active
    if _active:
        return ""
    try:
        build = msgspec.json.decode((directory / manifest).read_bytes(), type=Build)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        return f"{directory / manifest} cannot be read: {error}"
    refusal = refusal_of(build, directory, sys.modules)
    if refusal:
        return refusal
    finder = _Finder(build, directory)
    sys.meta_path.insert(0, finder)
    try:
        __import__(finder.library)  # all compiled code; the extensions of the modules are only doors to it
    except ImportError as error:
        sys.meta_path.remove(finder)
        return f"the build cannot be loaded: {error}"
    _active = True
    return ""


def refusal_of(
    build: Build,
    directory: Path,
    loaded: Mapping[str, ModuleType],
    package: Path = PACKAGE,
    interpreter: str = INTERPRETER,
) -> str:
    """Why `build` must not be used by a process of `interpreter` that has `loaded` these modules; "" if it may."""
    if build.interpreter != interpreter:
        return "the build is of another Python"
    for changed in _changed(build.sources, package):
        return f"{changed} is not what the build was made from"
    for name in build.files:
        if name in loaded:
            return f"{name} has been imported from its source already"
    for file in (build.library, *build.files.values()):
        if not (directory / file).exists():
            return f"the build lacks {file}"
    return ""


def _changed(sources: Sequence[Source], package: Path) -> Iterator[Path]:
    for source in sources:
        path = package / source.path
        try:
            found = path.stat()
            same = found.st_size == source.size and (
                found.st_mtime_ns == source.mtime_ns or digest_of(path.read_bytes()) == source.digest
            )
        except OSError:
            same = False
        if not same:
            yield path


def digest_of(content: bytes) -> str:
    """The digest of a source in a manifest."""
    from hashlib import blake2b  # dear to import, and hardly ever asked for at a start

    return blake2b(content, digest_size=16).hexdigest()


class _Finder(MetaPathFinder):
    """Finds the modules of a build, and the library that their extensions ask for."""

    def __init__(self, build: Build, directory: Path) -> None:
        self.library = build.library.rpartition("/")[2].partition(".")[0]
        files = {**build.files, self.library: build.library}
        self._paths = {name: str(directory / file) for name, file in files.items()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder`."""
        file = self._paths.get(fullname)
        return None if file is None else spec_from_file_location(fullname, loader=ExtensionFileLoader(fullname, file))
