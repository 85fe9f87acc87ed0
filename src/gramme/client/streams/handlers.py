"""What a subscription does with its batches: call a Python function, or post to a URL.

A handler takes a list of records, in order, and returns when they are done; whatever it raises means that they are not.
It is called again with the same records after a failure, and may see some of them again after a crash: at least once.
Shards are worked through side by side, so a handler is called by several threads at the same time.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gramme.client.streams.reader import Record
from gramme.kernel.errors import GrammeError, InvalidInput

Handler = Callable[[list[Record]], object]
_TIMEOUT_S: Final = 60.0

_encode: Final = msgspec.json.Encoder().encode


class Rejected(GrammeError):
    """The URL did not take the batch."""


def function(name: str) -> Handler:
    """The function `module:function`; the current directory is searched first. Raises InvalidInput."""
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise InvalidInput(f"not module:function: {name}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"cannot load {name}: {error}") from error
    if not callable(found):
        raise InvalidInput(f"{name} cannot be called")
    handler: Handler = found
    return handler


def post(url: str) -> Handler:
    """Posts `{"Records": […]}` to `url`; an answer of status 2xx means done. Raises InvalidInput."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"not a URL: {url}")
    host, port = parts.hostname, parts.port
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    def handle(records: list[Record]) -> None:
        connection = kind(host, port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", target, _encode({"Records": records}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise Rejected(f"{url} answered with status {response.status}")

    return handle
