"""`gramme streams …`: the command line of the stream consumers (`gramme.client.streams`).

They are clients: they talk HTTP to any DynamoDB endpoint, and need no node on this machine. Standard output carries
records and nothing else; everything else goes to standard error.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gramme.runtime.signals import on_stop

if TYPE_CHECKING:
    from gramme.client.endpoint import Endpoint

app = typer.Typer(help="Follow a table's stream, or work through it.", no_args_is_help=True)

Table = Annotated[str, typer.Argument(metavar="TABLE", help="Its stream must be on.")]
EndpointUrl = Annotated[str, typer.Option("--endpoint", metavar="URL", help="Of the tables.")]
StreamsUrl = Annotated[
    str | None, typer.Option("--streams-endpoint", metavar="URL", help="Where streams have an endpoint of their own.")
]
Region = Annotated[
    str | None, typer.Option(help="For signing.", show_default="AWS_REGION, AWS_DEFAULT_REGION or us-east-1")
]

_DEFAULT_ENDPOINT = "http://127.0.0.1:8000"
_encode = msgspec.json.Encoder().encode


class From(StrEnum):
    """Where reading begins."""

    latest = "latest"
    horizon = "horizon"


_STARTS = {From.latest: "LATEST", From.horizon: "TRIM_HORIZON"}


@app.command()
def tail(
    table: Table,
    endpoint: EndpointUrl = _DEFAULT_ENDPOINT,
    start: Annotated[From, typer.Option("--from", help="Only what comes, or all that is kept too.")] = From.latest,
    as_json: Annotated[bool, typer.Option("--json", help="One record of the service's shape per line.")] = False,
    poll_ms: Annotated[int, typer.Option(min=1, help="Pause after a round without records.")] = 100,
    region: Region = None,
    streams_endpoint: StreamsUrl = None,
) -> None:
    """Print the changes of a table as they come, from all shards, until Ctrl-C. Ready when it says `following …`."""
    from gramme.client.streams.tail import Tail

    stop = _stop_on_signals()
    target = _endpoint(endpoint, streams_endpoint, region)
    follower = Tail(target, table, _STARTS[start], poll_s=poll_ms / 1_000, stop=stop, warn=_warn)
    follower.open()
    print(f"following {table}", file=sys.stderr, flush=True)
    show = _json_line if as_json else _text_line
    try:
        for record in follower.records():
            print(show(record), flush=True)
    except BrokenPipeError:  # the reader of our output has enough; nothing may be flushed to it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command()
def subscribe(
    table: Table,
    call: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Called with each batch, a list of records; shards side by side."),
    ] = None,
    post: Annotated[str | None, typer.Option(metavar="URL", help='Gets each batch as {"Records": […]}.')] = None,
    endpoint: EndpointUrl = _DEFAULT_ENDPOINT,
    name: Annotated[str, typer.Option(help="Of the subscription; processes with the same one share the shards.")] = (
        "default"
    ),
    start: Annotated[From, typer.Option("--from", help="Counts when the subscription begins.")] = From.latest,
    batch: Annotated[int, typer.Option(min=1, max=1_000, help="Records at most, of one shard.")] = 100,
    attempts: Annotated[int, typer.Option(min=1, help="Until a batch is cut in halves, a record given up.")] = 5,
    poll_ms: Annotated[int, typer.Option(min=1, help="Pause of a shard without records.")] = 200,
    lease_s: Annotated[float, typer.Option(min=0.5, help="A dead process's shards move after this time.")] = 10.0,
    lease_table: Annotated[
        str | None, typer.Option(help="Created on demand.", show_default="TABLE.NAME.leases")
    ] = None,
    dead_letter_table: Annotated[
        str | None, typer.Option(help="Created on demand.", show_default="TABLE.NAME.dead")
    ] = None,
    region: Region = None,
    streams_endpoint: StreamsUrl = None,
) -> None:
    """Hand every change of a table to a function or URL, at least once and in order per item, until Ctrl-C."""
    from gramme.client.streams import handlers
    from gramme.client.streams.subscriber import Options, Subscriber

    if (call is None) == (post is None):
        raise typer.BadParameter("one of --call and --post is needed, and only one")
    handler = handlers.function(call) if call is not None else handlers.post(str(post))
    options = Options(
        name=name, start=_STARTS[start], batch=batch, attempts=attempts, poll_s=poll_ms / 1_000, lease_s=lease_s,
        lease_table=lease_table, dead_letter_table=dead_letter_table,
    )  # fmt: skip
    subscriber = Subscriber(_endpoint(endpoint, streams_endpoint, region), table, handler, options, _warn)
    on_stop(subscriber.stop)
    subscriber.run(ready=lambda: print(f"subscribed to {table} as {subscriber.id}", file=sys.stderr, flush=True))


def _endpoint(url: str, streams_url: str | None, region: str | None) -> Endpoint:
    from gramme.client.endpoint import Endpoint

    named = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return Endpoint(url, streams_url=streams_url, region=named)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    on_stop(stop.set)
    return stop


def _json_line(record: dict[str, Any]) -> str:
    return _encode(record).decode()


def _text_line(record: dict[str, Any]) -> str:
    change = record["dynamodb"]
    at = datetime.fromtimestamp(change["ApproximateCreationDateTime"], UTC)
    shown = {name: change[name] for name in ("Keys", "OldImage", "NewImage") if name in change}
    by = " by the service" if "userIdentity" in record else ""
    return f"{at:%Y-%m-%dT%H:%M:%SZ} {record['eventName']:6}{by} {_encode(shown).decode()}"


def _warn(text: str) -> None:
    print(f"gramme: {text}", file=sys.stderr, flush=True)
