"""The ring of the objects on the admin port: what it is, what a change would move, and the change itself.

Owns paths and documents. `GET /ring` is a document of schema `gramme.ring/1`; `POST /ring/stage` and `/ring/plan` take
`{"join": [nodes], "leave": [nodes]}`, `/ring/unstage` `{}`, `/ring/commit` `{"plan": token}`. A plan is a document of
schema `gramme.ring-plan/1` and names the token by which just this plan is committed. Fields are only ever added within
a schema. Refusals are `{"message": …}`: 400 for what cannot be, 409 for a plan of a ring that is no more, 503 where the
catalog cannot be reached. Rule: nothing but `commit` changes a ring (row A26).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from gramme.api.http import HttpRequest, HttpResponse, Respond, json_response
from gramme.kernel.errors import GrammeError, InvalidInput
from gramme.kernel.ids import NodeId
from gramme.objects.config import DEFAULT_N, ObjectConfig
from gramme.objects.ring_phases import target
from gramme.objects.ring_plan import RingPlan
from gramme.placement.ring import balance

RING_SCHEMA: Final = "gramme.ring/1"
PLAN_SCHEMA: Final = "gramme.ring-plan/1"

_PATHS: Final = ("/ring", "/ring/stage", "/ring/unstage", "/ring/plan", "/ring/commit")
_encode: Final = msgspec.json.Encoder().encode


class RingBackend(Protocol):
    """The ring of a node's objects (`gramme.node.objects.ring`). Callbacks are called once, within some seconds."""

    @property
    def config(self) -> ObjectConfig:
        """The ring, as this node works with it."""

    def view(self) -> dict[str, Any]:
        """How far the change under way is."""

    def stage(
        self, joining: Sequence[NodeId], leaving: Sequence[NodeId], on_done: Callable[[GrammeError | None], None]
    ) -> None:
        """Note who is to join and leave. Raises InvalidInput."""

    def unstage(self, on_done: Callable[[GrammeError | None], None]) -> None:
        """Forget that."""

    def plan(
        self, joining: Sequence[NodeId], leaving: Sequence[NodeId], on_plan: Callable[[RingPlan | GrammeError], None]
    ) -> None:
        """What would move; of neither, what is staged."""

    def commit(self, token: str, on_done: Callable[[GrammeError | None], None]) -> None:
        """Begin what that plan says. Raises InvalidInput for what is no token."""


class _Who(msgspec.Struct, forbid_unknown_fields=True):
    join: tuple[NodeId, ...] = ()
    leave: tuple[NodeId, ...] = ()


class _Which(msgspec.Struct, forbid_unknown_fields=True):
    plan: str


class RingAdmin:
    """Serves `/ring` and what is below it."""

    def __init__(self, ring: RingBackend) -> None:
        self._ring = ring

    def handle(self, request: HttpRequest, respond: Respond) -> None:
        """Serve one request, or say that it is none of these."""
        try:
            match request.method, request.path:
                case "GET" | "HEAD", "/ring":
                    respond(json_response(200, _encode(_shown(self._ring))))
                case "POST", "/ring/plan":
                    who = msgspec.json.decode(request.body or b"{}", type=_Who)
                    self._ring.plan(who.join, who.leave, lambda plan: respond(_planned(plan)))
                case "POST", "/ring/stage":
                    who = msgspec.json.decode(request.body, type=_Who)
                    self._ring.stage(who.join, who.leave, lambda failure: respond(_done(failure)))
                case "POST", "/ring/unstage":
                    self._ring.unstage(lambda failure: respond(_done(failure)))
                case "POST", "/ring/commit":
                    token = msgspec.json.decode(request.body, type=_Which).plan
                    self._ring.commit(token, lambda failure: respond(_done(failure)))
                case _, path:
                    respond(
                        _refused(405 if path in _PATHS else 404, f"There is GET /ring, POST {', '.join(_PATHS[1:])}")
                    )
        except (msgspec.MsgspecError, UnicodeDecodeError, InvalidInput) as error:
            respond(_refused(400, str(error)))


def _refused(status: int, message: str) -> HttpResponse:
    return json_response(status, _encode({"message": message}))


def _done(failure: GrammeError | None) -> HttpResponse:
    if failure is None:
        return json_response(200, b"{}")
    return _refused(409 if isinstance(failure, InvalidInput) else 503, str(failure))


def _planned(plan: RingPlan | GrammeError) -> HttpResponse:
    if not isinstance(plan, RingPlan):
        return _refused(400, str(plan))
    document = {
        "schema": PLAN_SCHEMA,
        "plan": plan.token,
        "ring_version": plan.ring.version,
        "join": plan.joining,
        "leave": plan.leaving,
        "moves": [{"partition": move.partition, "from": move.source, "to": move.target} for move in plan.moves],
        "transfers": [
            {"from": move.source, "to": move.target, "sections": move.sections, "bytes": move.size}
            for move in plan.transfers
        ],
        "bytes": sum(move.size for move in plan.transfers),
        "exact": plan.exact,
        "balance": {str(node): share for node, share in plan.balance.items()},
        "unreachable_partitions": plan.lost,
    }
    return json_response(200, _encode(document))


def _shown(ring: RingBackend) -> dict[str, Any]:
    """`balance`: a node's share against its due by weight, 1.0 when just that. `becoming`: the members' shares once the
    change under way is done. `preference_lists`: by partition, for three replicas, fallbacks behind them."""
    config = ring.config
    now, then = config.ring, target(config)
    have, shares = Counter(now.owners), balance(now)
    return {
        "schema": RING_SCHEMA,
        "version": now.version,
        "partitions": now.partitions,
        "owners": now.owners,
        "members": [
            {
                "node": place.node, "host": place.host, "zone": place.zone, "weight": place.weight,
                "partitions": have[place.node], "balance": shares[place.node],
            }
            for place in now.members
        ],
        "preference_lists": [now.preference_list(partition, DEFAULT_N) for partition in range(now.partitions)],
        "staged": {"join": config.joining, "leave": config.leaving},
        "becoming": None if then is now else {"version": then.version, "members": [p.node for p in then.members]},
        **ring.view(),
    }  # fmt: skip
