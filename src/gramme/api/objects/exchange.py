"""One request for an object on its way through the API."""

from __future__ import annotations

from gramme.api.http import HttpRequest, Respond
from gramme.api.objects.parameters import Query
from gramme.kernel.time import Instant
from gramme.objects.state import Name


class Exchange:
    """One request on its way: what it names, how long it may take, and where its answer goes."""

    __slots__ = ("deadline", "name", "query", "request", "respond")

    def __init__(self, request: HttpRequest, respond: Respond, query: Query, name: Name, deadline: Instant) -> None:
        self.request = request
        self.respond = respond
        self.query = query
        self.name = name
        self.deadline = deadline
