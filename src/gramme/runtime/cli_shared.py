"""What commands share: which cluster they are about, how its nodes are asked, and how a refusal ends a command.

What is heavy is imported when it is needed, as in `cli.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

if TYPE_CHECKING:
    from gramme.runtime.cluster import LocalCluster

Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Directory of the cluster.")]
Admin = Annotated[str | None, typer.Option("--admin", metavar="URL", help="Admin port of a node, instead of --data.")]

_TIMEOUT_S = 10.0


def local_cluster(data: Path | None) -> LocalCluster:
    """The local cluster of `--data`."""
    from gramme.runtime.cluster import DEFAULT_DIRECTORY, LocalCluster

    return LocalCluster(data or DEFAULT_DIRECTORY)


def ask(data: Path | None, admin: str | None, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What a node's admin port answers, that of any node of the local cluster unless `admin` names one; a refusal ends
    the command."""
    answer = try_to_ask(data, admin, method, path, body)
    return fail(answer) if isinstance(answer, str) else answer


def try_to_ask(data: Path | None, admin: str | None, method: str, path: str, body: Any = None) -> dict[str, Any] | str:
    """As `ask`, but a refusal is returned, as its message: for who asks again."""
    from gramme.runtime.cluster import http_ask

    content = None if body is None else msgspec.json.encode(body)
    for host, port in admin_addresses(data, admin):
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, answer = http_ask(host, port, method, path, content, _TIMEOUT_S)
            document: dict[str, Any] = msgspec.json.decode(answer)
            return document if status == 200 else str(document["message"])
    return "no node answers"


def size_text(count: int) -> str:
    """Bytes for people."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def print_json(document: Any) -> None:
    """For programs, and for people who look."""
    print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def fail(message: str) -> NoReturn:
    """End the command: one line, exit code 1."""
    print(f"gramme: {message}", file=sys.stderr)
    sys.exit(1)


def admin_addresses(data: Path | None, admin: str | None) -> list[tuple[str, int]]:
    """Where to ask: the node that `--admin` names, or every node of the local cluster."""
    from gramme.runtime.config import parse_address

    if admin is not None:
        return [parse_address(admin.removeprefix("http://").rstrip("/"))]
    cluster = local_cluster(data)
    settings = [cluster.settings(node) for node in cluster.members]
    return [(each.listen_host, each.admin_port) for each in settings]
