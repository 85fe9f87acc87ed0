"""DynamoDB Local's own command line, for `gramme dev`: replacing it in a script or Dockerfile is one line.

Owns the translation of its options, which have one dash and many letters, into ours. Rule: an option is translated,
or has no meaning here and is left out (what it asks for is always so), or is refused by the command line's own parser;
the Java virtual machine's are left out. Source: DynamoDB Local's `-help`.
"""

from __future__ import annotations

from typing import Final

import typer

_FLAGS: Final[dict[str, tuple[str, ...]]] = {
    "-inMemory": ("--in-memory",),
    "-delayTransientStatuses": ("--set", "control_plane_delay_ms=1000"),
    "-sharedDb": (),  # the request's key and region never select data
    "-optimizeDbBeforeStartup": (),
    "-disableTelemetry": (),  # there is none
    "-help": ("--help",),
}
_VALUED: Final = {"-port": "--port", "-dbPath": "--data"}
_JVM: Final = ("-D", "-X", "-ea", "-server")


def translate(arguments: list[str]) -> list[str]:
    """The arguments of `gramme`, those of `dev` in its own words. Raises `typer.BadParameter` for a missing value."""
    if arguments[:1] != ["dev"]:
        return arguments
    translated = ["dev"]
    rest = iter(arguments[1:])
    for argument in rest:
        name, equals, attached = argument.partition("=")
        if argument in _FLAGS:
            translated += _FLAGS[argument]
        elif name in _VALUED:
            translated += [_VALUED[name], attached if equals else _value(name, next(rest, None))]
        elif name == "-cors":
            translated += ["--set", f"cors_origins={attached if equals else _value(name, next(rest, None))}"]
        elif argument == "-jar":
            _value(argument, next(rest, None))
        elif not argument.startswith(_JVM):
            translated.append(argument)
    return translated


def _value(name: str, value: str | None) -> str:
    if value is None:
        raise typer.BadParameter(f"{name} needs a value")
    return value
