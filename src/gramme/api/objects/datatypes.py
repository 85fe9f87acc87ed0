"""Merge types over HTTP: operations and values in Riak's JSON.

Owns the mapping between JSON and `merge_types`: `{"increment": 1}`, `{"add_all": ["a"], "remove": "b"}`, and for maps
`{"update": {"name_register": "x", "tags_set": {…}}, "remove": ["up_flag"]}`, where the suffix names a field's kind.
Rule: the bucket's type says what its values are, before anything is written.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from gramme.api.http import HttpResponse
from gramme.api.objects import answers
from gramme.api.objects.backend import ObjectBackend
from gramme.api.objects.exchange import Exchange
from gramme.api.objects.parameters import expires_in, location, read_quorum, write_quorum
from gramme.kernel.errors import InvalidInput
from gramme.kernel.ports import Clock
from gramme.objects.context import NO_CONTEXT, Context, seal, unseal
from gramme.objects.merge_types import (
    MAX_COUNT,
    Assign,
    ChangeMap,
    ChangeSet,
    Field,
    Increment,
    Kind,
    Operation,
    Raise,
    Typed,
    needs_context,
    value_of,
)
from gramme.objects.messages import Get, Got, Outcome, Put, Stored
from gramme.objects.state import decode_state

_SUFFIXES: Final[dict[str, Kind]] = {
    "counter": "counter", "set": "set", "register": "register", "flag": "flag", "map": "map"
}  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


# --- operations


def parse_operation(kind: Kind, given: Any) -> Operation:
    """What a client's JSON asks of a value of `kind`. Raises InvalidInput."""
    match kind:
        case "counter":
            return Increment(_increment(given))
        case "set":
            return _set_change(given)
        case "register":
            return Assign(_text("a register's value", _assigned(given)))
        case "flag":
            if given not in ("enable", "disable", True, False):
                raise InvalidInput("a flag is changed by enable or disable")
            return Raise(given in ("enable", True))
        case "map":
            return _map_change(given)


def _increment(given: Any) -> int:
    if type(given) is dict:
        known = [name for name in given if name in ("increment", "decrement")]
        if len(known) != 1 or len(given) != 1:
            raise InvalidInput('a counter is changed by {"increment": n} or {"decrement": n}')
        amount = given[known[0]]
        sign = 1 if known[0] == "increment" else -1
    else:
        amount, sign = given, 1
    if type(amount) is not int or abs(amount) > MAX_COUNT:
        raise InvalidInput("a counter is changed by an integer of 64 bits")
    return sign * amount


def _number(body: bytes) -> int:
    """What is to be added to a counter on its own."""
    if not body.removeprefix(b"-").isdigit() or len(body) > 20:
        raise InvalidInput("a counter is changed by an integer")
    return _increment(int(body))


def _assigned(given: Any) -> Any:
    """A register is changed by its new value, or by `{"assign": value}`, as some clients send it."""
    return given["assign"] if type(given) is dict and given.keys() == {"assign"} else given


def _set_change(given: Any) -> ChangeSet:
    if type(given) is not dict:
        raise InvalidInput('a set is changed by {"add": x}, {"add_all": […]}, {"remove": x} or {"remove_all": […]}')
    elements: dict[str, list[bytes]] = {"add": [], "remove": []}
    for name, value in given.items():
        verb, _, many = name.partition("_")
        if verb not in elements or many not in ("", "all") or (many and type(value) is not list):
            raise InvalidInput(f"a set cannot {name[:40]} this")
        elements[verb] += [_text("an element of a set", each) for each in (value if many else [value])]
    return ChangeSet(tuple(elements["add"]), tuple(elements["remove"]))


def _map_change(given: Any) -> ChangeMap:
    if type(given) is not dict or any(name not in ("update", "remove") for name in given):
        raise InvalidInput('a map is changed by {"update": {…}, "remove": […]}')
    update, remove = given.get("update", {}), given.get("remove", [])
    if type(update) is not dict or type(remove) not in (list, str):
        raise InvalidInput('a map is changed by {"update": {…}, "remove": […]}')
    fields = {_field(name): value for name, value in update.items()}
    removed = [remove] if type(remove) is str else remove
    return ChangeMap(
        {field: parse_operation(field.kind, value) for field, value in fields.items()},
        tuple(_field(name) for name in removed),
    )


def _field(name: Any) -> Field:
    stem, _, suffix = name.rpartition("_") if type(name) is str else ("", "", "")
    if not stem or suffix not in _SUFFIXES:
        raise InvalidInput("a field's name ends with _counter, _set, _register, _flag or _map")
    return Field(stem, _SUFFIXES[suffix])


def _text(what: str, value: Any) -> bytes:
    if type(value) is not str:
        raise InvalidInput(f"{what} must be a string")
    return value.encode("utf-8", "surrogatepass")


# --- values


def shown(value: Any) -> Any:
    """A value of `merge_types.value_of` as JSON."""
    match value:
        case bytes():
            return value.decode("utf-8", "replace")
        case list():
            return [shown(each) for each in value]
        case dict():
            return {f"{field.name}_{field.kind}": shown(inner) for field, inner in value.items()}
    return value


class Datatypes:
    """Serves `…/datatypes/K` and `…/counters/K`."""

    def __init__(self, backend: ObjectBackend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock

    def handle(self, exchange: Exchange) -> None:
        """GET shows a value, POST or PUT changes it."""
        match exchange.request.method:
            case "GET" | "HEAD":
                self._read(exchange, self._show)
            case "PUT" | "POST":
                self.update(exchange)
            case _:
                exchange.respond(answers.text(405, "method not allowed", [(b"Allow", b"GET, HEAD, PUT, POST")]))

    def counter(self, exchange: Exchange) -> None:
        """A counter on its own: GET gives the number as text, POST a number to add."""
        match exchange.request.method:
            case "GET" | "HEAD":
                self._read(exchange, self._show_number)
            case "PUT" | "POST":
                settings = self._backend.config.settings(exchange.name)
                if settings.datatype not in (None, "counter"):
                    raise InvalidInput("the bucket's type is another than counter")
                if not settings.allow_mult or settings.last_write_wins:
                    exchange.respond(answers.text(409, "Counters require bucket property 'allow_mult=true'"))
                    return
                amount = _number(exchange.request.body.strip())
                self._change(exchange, "counter", Increment(amount), self._counted)
            case _:
                exchange.respond(answers.text(405, "method not allowed", [(b"Allow", b"GET, HEAD, PUT, POST")]))

    def update(self, exchange: Exchange, made: bool = False) -> None:
        """Apply an operation."""
        kind = self._kind(exchange)
        try:
            given = _decode(exchange.request.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidInput("the body must be an operation in JSON") from None
        context = given.pop("context", None) if type(given) is dict else None
        operation = parse_operation(kind, given)
        self._change(exchange, kind, operation, partial(self._updated, made=made), context)

    def _kind(self, exchange: Exchange) -> Kind:
        kind = self._backend.config.settings(exchange.name).datatype
        if kind is None:
            raise InvalidInput("the bucket's type has no datatype")
        return kind

    def _read(self, exchange: Exchange, then: Any) -> None:
        settings = self._backend.config.settings(exchange.name)
        members = len(self._backend.config.ring.members)
        request = Get(exchange.name, read_quorum(exchange.query, settings, members))
        self._backend.submit(request, exchange.deadline, lambda outcome: then(exchange, outcome))

    def _change(self, exchange: Exchange, kind: Kind, operation: Operation, then: Any, context: Any = None) -> None:
        name = exchange.name
        seen = NO_CONTEXT
        if expires_in(exchange.request.headers, 0):
            raise InvalidInput("values of a datatype do not expire")
        if context is not None:
            if type(context) is not str:
                raise InvalidInput("the context must be a string")
            seen = unseal(context, self._backend.cluster_key, name.place, name.key)
        elif needs_context(operation):
            raise InvalidInput("what removes something needs the context of what its client has read")
        config = self._backend.config
        quorum = write_quorum(exchange.query, config.settings(name), len(config.ring.members))
        put = Put(name, quorum, kind=kind, operation=operation, context=seen.seen, prefer=seen.fastest)
        self._backend.submit(put, exchange.deadline, lambda outcome: then(exchange, outcome))

    # --- answers ------------------------------------------------------------------------------------------------------

    def _show(self, exchange: Exchange, outcome: Outcome) -> None:
        if not isinstance(outcome, Got):
            exchange.respond(answers.failed(outcome))
            return
        typed = _typed(outcome.state)
        if typed is None:
            exchange.respond(
                answers.json(404, b'{"type":"notfound"}' if outcome.state is None else b'{"type":"object"}')
            )
        else:
            exchange.respond(answers.json(200, self._document(exchange, typed)))

    def _document(self, exchange: Exchange, typed: Typed) -> bytes:
        name = exchange.name
        document: dict[str, Any] = {"type": type(typed.store).__name__.lower(), "value": shown(value_of(typed.store))}
        if document["type"] != "counter" and exchange.query.flag("include_context", True):
            document["context"] = seal(Context(typed.seen), self._backend.cluster_key, name.place, name.key)
        return _encode(document)

    def _show_number(self, exchange: Exchange, outcome: Outcome) -> None:
        typed = _typed(outcome.state) if isinstance(outcome, Got) else None
        if not isinstance(outcome, Got):
            exchange.respond(answers.failed(outcome))
        elif typed is None:
            exchange.respond(answers.text(404, "not found"))
        else:
            exchange.respond(HttpResponse(200, [answers.TEXT], str(value_of(typed.store)).encode()))

    def _updated(self, exchange: Exchange, outcome: Outcome, made: bool) -> None:
        typed = _typed(outcome.state) if isinstance(outcome, Stored) else None
        if typed is None:
            exchange.respond(answers.failed(outcome))
            return
        headers = [(b"Location", location(exchange.name, "datatypes"))] if made else []
        if exchange.query.flag("returnbody", False):
            exchange.respond(answers.json(201 if made else 200, self._document(exchange, typed), headers))
        else:
            exchange.respond(HttpResponse(201 if made else 204, headers))

    def _counted(self, exchange: Exchange, outcome: Outcome) -> None:
        typed = _typed(outcome.state) if isinstance(outcome, Stored) else None
        if typed is None:
            exchange.respond(answers.failed(outcome))
        elif exchange.query.flag("returnvalue", False):
            exchange.respond(HttpResponse(200, [answers.TEXT], str(value_of(typed.store)).encode()))
        else:
            exchange.respond(HttpResponse(204, []))


def _typed(state: bytes | None) -> Typed | None:
    decoded = None if state is None else decode_state(state)
    return decoded if isinstance(decoded, Typed) else None
