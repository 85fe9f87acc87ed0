"""Whom a client asks: the decisions of both clients, without I/O.

Owns the client's copy of the ring, which nodes are silent, and what may be sent again. A request is a generator of
`Ask`s that is sent what became of each; it returns the answer, so the drivers have nothing to decide.

- With a ring, an object's request goes straight to a coordinator: the one that the last read named, if it is a primary,
  else the first primary (rows A16, A18). The lists are computed by the servers' own code.
- Who gives no answer is passed over for `SILENT_S`, and asked last; the next node of the list is asked at once.
- The ring is fetched every `RING_S` from one node after the other, and before the next request once an answer names a
  newer version, or a node is silent. Until there is one, requests go to the node that answered last.
- A node that has not heard of a bucket type has done nothing: another one may have.
- A value may be written twice (at worst a sibling of equal content); an operation on a merge type is sent again only
  where no connection could be opened: no increment counts twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, NamedTuple

import msgspec

from gramme.client.connections import Reply
from gramme.client.errors import Unreachable
from gramme.client.objects.wire import RING_HEADER, error_of
from gramme.kernel.errors import GrammeError, InvalidInput
from gramme.kernel.ids import NodeId
from gramme.placement.ring import Ring, position_of
from gramme.placement.zones import NodePlace

RING_S: Final = 10.0
RING_AGAIN_S: Final = 1.0
"""After a fetch that failed."""

RING_TIMEOUT_S: Final = 1.0
SILENT_S: Final = 5.0
MOST_REFUSALS: Final = 3
"""Answers of 5xx that one request takes before it gives up: other nodes ask the same replicas."""

UNKNOWN_TYPE: Final = b"Unknown bucket type"
MOST_BUCKETS: Final = 10_000
"""Of which the client remembers that their n is not the usual one."""


class Subject(NamedTuple):
    """The object that a request is about. `place`: see `placement.ring.place_of`."""

    place: bytes
    key: bytes


class Request(NamedTuple):
    """What is to be asked. `again`: it may be done twice. `coordinator`: the node that the last read named."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = {}
    again: bool = True
    subject: Subject | None = None
    coordinator: int | None = None


class Ask(NamedTuple):
    """One attempt at one node, which may be silent for `timeout_s`."""

    url: str
    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    timeout_s: float


class Silence(NamedTuple):
    """There was no answer. `sent`: the request may have arrived."""

    error: Exception
    sent: bool


Outcome = Reply | Silence
Steps = Generator[Ask, Outcome, Reply]


class _Node(msgspec.Struct, frozen=True):
    node: NodeId
    host: str
    zone: str
    objects: str = ""


class _Document(msgspec.Struct, frozen=True):
    """The body of `GET /ring`; what later releases add is passed over."""

    version: int
    hash: str
    n_val: int
    owners: tuple[NodeId, ...]
    nodes: tuple[_Node, ...]


_decode: Final = msgspec.json.Decoder(_Document).decode


class RingView:
    """A ring, with where its nodes are."""

    def __init__(self, document: _Document, tag: str) -> None:
        places = tuple(NodePlace(node.node, node.host, node.zone) for node in document.nodes)
        self._ring = Ring(document.version, document.owners, places)
        self.version = document.version
        self.tag = tag
        self.usual_n = document.n_val
        self.urls = {node.node: node.objects.rstrip("/") for node in document.nodes if node.objects}

    def preference(self, subject: Subject, n: int) -> tuple[NodeId, ...]:
        """Who keeps the object, and then who stands in."""
        partition = self._ring.partition_of(position_of(subject.place, subject.key))
        return self._ring.preference_list(partition, n)


class Routing:
    """See the module. `now` is monotonic, in seconds. May be used by several threads: each change is one assignment,
    and a race costs a request too many to a node that is silent, or for the ring."""

    def __init__(self, urls: Sequence[str], partition_aware: bool, timeout_s: float, now: Callable[[], float]) -> None:
        """Raises InvalidInput without a URL."""
        if not urls:
            raise InvalidInput("an object client needs the URL of at least one node")
        self._seeds = [url.rstrip("/") for url in urls]
        self._aware = partition_aware
        self._timeout_s = timeout_s
        self._now = now
        self._last = self._seeds[0]  # answered last
        self._silent: dict[str, float] = {}  # until when they are passed over
        self._n: dict[bytes, int] = {}
        self._due = now()
        self._turn = 0
        self.ring: RingView | None = None

    # --- a request ----------------------------------------------------------------------------------------------------

    def carry_out(self, request: Request) -> Steps:
        """The attempts of a request: an answer below 400, or 404. Raises ServiceError for any other answer, Unreachable
        if no node gave one: then it may have been carried out."""
        if self._aware and self._now() >= self._due:
            yield from self._fetch()
        trouble: GrammeError | None = None
        untold: Reply | None = None
        refusals = 0
        for url in self.order(request):
            outcome = yield self._ask(url, request)
            if isinstance(outcome, Silence):
                self._pass_over(url)
                trouble = Unreachable(f"{request.method} {request.path} at {url}: {outcome.error!r}")
                if outcome.sent and not request.again:
                    raise trouble from outcome.error
                continue
            self._heard(url, request, outcome)
            if outcome.status == 404 and outcome.body.startswith(UNKNOWN_TYPE):
                untold = outcome
                continue
            if outcome.status < 400 or outcome.status == 404:
                self._last = url
                return outcome
            trouble = error_of(outcome)
            refusals += 1
            if outcome.status < 500 or not request.again or refusals == MOST_REFUSALS:
                raise trouble
        if untold is not None:
            return untold
        assert trouble is not None
        raise trouble

    def order(self, request: Request) -> list[str]:
        """The nodes to ask, each once; and the first once more, because a connection that was kept open may have been
        closed meanwhile. Who is silent comes last."""
        ring = self.ring
        known = {self._last: None} | dict.fromkeys(self._seeds)
        if ring is not None:
            known |= dict.fromkeys(ring.urls.values())
            if request.subject is not None:
                known = self._preferred(ring, request, request.subject) | known
        now = self._now()
        urls = sorted(known, key=lambda url: self._silent.get(url, now) > now)
        return [*urls, urls[0]]

    def _preferred(self, ring: RingView, request: Request, subject: Subject) -> dict[str, None]:
        n = self._n.get(subject.place, ring.usual_n)
        nodes = ring.preference(subject, n)
        if request.coordinator in nodes[:n]:
            nodes = (NodeId(request.coordinator), *nodes)
        return dict.fromkeys(ring.urls[node] for node in nodes if node in ring.urls)

    def _ask(self, url: str, request: Request) -> Ask:
        headers = request.headers
        if self.ring is not None:
            headers = {**headers, RING_HEADER: str(self.ring.version)}
        return Ask(url, request.method, request.path, request.body, headers, self._timeout_s)

    def _pass_over(self, url: str) -> None:
        now = self._now()
        self._silent[url] = now + SILENT_S
        self._due = min(self._due, now + RING_AGAIN_S)  # it may have left

    def _heard(self, url: str, request: Request, reply: Reply) -> None:
        """What an answer says about the ring, beside what was asked for."""
        self._silent.pop(url, None)
        if not self._aware:
            return
        version = reply.headers.get("x-gramme-ring", "")
        if self.ring is not None and version.isdigit() and int(version) > self.ring.version:
            self._due = self._now()
        primaries = reply.headers.get("x-gramme-primaries")
        if primaries is not None and request.subject is not None:
            if len(self._n) >= MOST_BUCKETS:
                self._n.clear()
            self._n[request.subject.place] = len(primaries.split(","))

    # --- the ring -----------------------------------------------------------------------------------------------------

    def _fetch(self) -> Generator[Ask, Outcome, None]:
        """Ask one node for the ring, and another one if that is silent. Without an answer the client goes on with what
        it knows."""
        self._due = self._now() + RING_S  # other threads need not ask too
        for _ in range(2):
            url = self._next_to_poll()
            headers = {"If-None-Match": self.ring.tag} if self.ring is not None else {}
            outcome = yield Ask(url, "GET", "/ring", b"", headers, min(RING_TIMEOUT_S, self._timeout_s))
            if isinstance(outcome, Reply):
                self._silent.pop(url, None)
                self._take(outcome)
                return
            self._silent[url] = self._now() + SILENT_S
        self._due = self._now() + RING_AGAIN_S

    def _next_to_poll(self) -> str:
        """One after the other, so that no node's view is believed for long."""
        of_ring = self.ring.urls.values() if self.ring is not None else ()
        known: list[str] = list(dict.fromkeys((*self._seeds, *of_ring)))
        now = self._now()
        up = [url for url in known if self._silent.get(url, now) <= now] or known
        self._turn += 1
        return up[(self._turn - 1) % len(up)]

    def _take(self, reply: Reply) -> None:
        """A newer ring, or one of the same version with other addresses. An endpoint that knows no ring (an older node,
        a load balancer before something else) leaves the client without one."""
        if reply.status != 200:
            return
        try:
            view = RingView(_decode(reply.body), reply.headers.get("etag", ""))
        except msgspec.DecodeError:
            return
        if self.ring is None or view.version >= self.ring.version:
            self.ring = view
            known = dict.fromkeys((*self._seeds, *view.urls.values()))
            self._silent = {url: until for url, until in self._silent.items() if url in known}
