"""`gramme objects …`: objects on the command line (`gramme.client.objects`).

A client: it talks HTTP to any node, and needs none on this machine. Standard output carries what was asked for and
nothing else. Exit codes as of all commands; a key that is not there is 1.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gramme.runtime.cli_shared import fail

if TYPE_CHECKING:
    from gramme.client.objects import Bucket, Found, ObjectClient

app = typer.Typer(help="Read and write objects; bucket types and properties.", no_args_is_help=True)
type_app = typer.Typer(help="Bucket types.", no_args_is_help=True)
app.add_typer(type_app, name="type")

BucketName = Annotated[str, typer.Argument(metavar="BUCKET")]
Key = Annotated[str, typer.Argument(metavar="KEY")]
Type = Annotated[str, typer.Option("--type", metavar="T", help="Bucket type.")]
Urls = Annotated[
    list[str] | None,
    typer.Option("--endpoint", metavar="URL", help="Objects port of a node; repeat it for others to fall back on."),
]
Assignments = Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]…", help="Riak's names; values in JSON.")]

_DEFAULT_ENDPOINT = "http://127.0.0.1:8100"
_encode = msgspec.json.Encoder().encode


@app.command()
def get(
    bucket: BucketName,
    key: Key,
    type_: Type = "default",
    r: Annotated[str, typer.Option(help="Replicas that answer: a number, one, quorum, all.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="All values, with type, metadata and context.")] = False,
    endpoint: Urls = None,
) -> None:
    """Write a key's value to standard output; siblings as a table."""
    found = _bucket(endpoint, bucket, type_).get(key, r=r)
    if as_json:
        print(_encode(_document(found)).decode())
    elif len(found.values) > 1:
        _print_siblings(found)
    elif found.values:
        sys.stdout.buffer.write(found.values[0].body)
    if not found.values:
        fail("not found")


@app.command()
def put(
    bucket: BucketName,
    key: Key,
    value: Annotated[str | None, typer.Argument(help="Standard input, if it is not given.")] = None,
    type_: Type = "default",
    content_type: Annotated[str, typer.Option(metavar="MIME")] = "text/plain",
    context: Annotated[str, typer.Option(help="Of a read (get --json): replace what that has seen.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Read first, and replace whatever is there.")] = False,
    w: Annotated[str, typer.Option(help="Replicas that have it: a number, one, quorum, all.")] = "default",
    endpoint: Urls = None,
) -> None:
    """Write a value. Without --context and --replace it stands beside what is there, as a sibling."""
    from gramme.client.objects import Value

    if context and replace:
        raise typer.BadParameter("--context and --replace exclude each other")
    target = _bucket(endpoint, bucket, type_)
    body = sys.stdin.buffer.read() if value is None else value.encode("utf-8", "surrogateescape")
    seen = target.get(key).context if replace else context
    target.put(key, Value(body, content_type), seen, w=w)


@app.command("del")
def delete(
    bucket: BucketName,
    key: Key,
    type_: Type = "default",
    context: Annotated[str, typer.Option(help="Of a read: delete only what that has seen.")] = "",
    endpoint: Urls = None,
) -> None:
    """Delete a key's values, those there are now or those a context has seen."""
    if not _bucket(endpoint, bucket, type_).delete(key, context):
        fail("not found")


@app.command("list")
def list_(
    bucket: Annotated[str | None, typer.Argument(metavar="[BUCKET]", help="Without one, buckets are listed.")] = None,
    type_: Type = "default",
    endpoint: Urls = None,
) -> None:
    """Keys of a bucket, or buckets. Walks through everything that is stored: for maintenance."""
    client = _client(endpoint)
    for name in client.buckets(type_) if bucket is None else client.bucket(bucket, type_=type_).keys():
        print(name)


@app.command()
def props(bucket: BucketName, assignments: Assignments = None, type_: Type = "default", endpoint: Urls = None) -> None:
    """Show a bucket's properties, or change some: `n_val=5 w=all allow_mult=false`."""
    target = _bucket(endpoint, bucket, type_)
    if assignments:
        target.set_props(_assigned(assignments))
        return
    for name, value in target.props().items():
        print(f"{name}={value if isinstance(value, str) else _encode(value).decode()}")


@type_app.command()
def create(
    type_: Annotated[str, typer.Argument(metavar="T")],
    assignments: Assignments = None,
    datatype: Annotated[str | None, typer.Option(help="Merge type of all values: counter, set, map, …")] = None,
    endpoint: Urls = None,
) -> None:
    """Make a bucket type. It cannot be changed, nor made twice."""
    given = _assigned(assignments or [])
    _client(endpoint).make_type(type_, given if datatype is None else {**given, "datatype": datatype})


def _client(urls: list[str] | None) -> ObjectClient:
    from gramme.client.objects import ObjectClient

    return ObjectClient(*(urls or [_DEFAULT_ENDPOINT]), partition_aware=False)  # one request is not worth a ring


def _bucket(urls: list[str] | None, bucket: str, type_: str) -> Bucket:
    return _client(urls).bucket(bucket, type_=type_)


def _assigned(assignments: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"{assignment}: NAME=VALUE is expected")
        try:
            given[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            given[name] = text
    return given


def _document(found: Found) -> dict[str, Any]:
    """`body` as text where it is UTF-8, else `body_base64`."""
    values = []
    for value in found.values:
        try:
            body: dict[str, Any] = {"body": value.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": value.body}
        values.append({**body, "content_type": value.content_type, "meta": dict(value.meta)})
    return {"values": values, "context": found.context}


def _print_siblings(found: Found) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("content type", "metadata", "value", title=f"{len(found.values)} siblings")
    for value in found.values:
        meta = " ".join(f"{name}={text}" for name, text in value.meta.items())
        table.add_row(Text(value.content_type), Text(meta), Text(value.body.decode("utf-8", "backslashreplace")))
    Console().print(table)
