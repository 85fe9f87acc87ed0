"""The nodes of the cluster on the admin port: who they are, one more, one less.

Owns paths and documents. `GET /members` is a document of schema `gramme.members/1`; `POST /members/add` takes `{"name",
"host", "zone", "address", "peer_address"}` and answers with the same document and the new `node`; `POST
/members/plan-removal` takes `{"node": n}` and answers `gramme.removal-plan/1`: `moves[]` with `group`, `table` ("" is
the catalog), `to` (null: no node is free now), and `rows` and `bytes` of the items (null: not known; the catalog and
the transactions' ledger are not counted). `/members/remove` and `/members/keep` take `{"node": n}`. Fields are only
ever added within a schema. Refusals are `{"message": …}`: 400 for what cannot be, 503 where the catalog cannot be
reached; a command may be repeated. Rule: nobody but an administrator, here, changes who is in the cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from gramme.api.http import HttpRequest, HttpResponse, Respond, json_response
from gramme.kernel.errors import GrammeError, InvalidInput
from gramme.kernel.ids import NO_NODE, NodeId
from gramme.node.catalog.node_table import AddNode, NodesAre, NodeState, NodeTable, RemovalPlan

MEMBERS_SCHEMA: Final = "gramme.members/1"
REMOVAL_SCHEMA: Final = "gramme.removal-plan/1"

_PATHS: Final = ("/members", "/members/add", "/members/plan-removal", "/members/remove", "/members/keep")
_MAX_TEXT: Final = 255
_encode: Final = msgspec.json.Encoder().encode


class MembersBackend(Protocol):
    """Membership as a node can change it (`gramme.node.administration`). Callbacks are called once, within seconds."""

    @property
    def table(self) -> NodeTable:
        """The nodes as this node knows them."""

    def add(self, request: AddNode, on_done: Callable[[NodesAre | GrammeError], None]) -> None:
        """Give a node its number."""

    def set_state(self, node: NodeId, state: NodeState, on_done: Callable[[NodesAre | GrammeError], None]) -> None:
        """Have a node leave, or stay after all."""

    def plan_removal(self, node: NodeId, on_plan: Callable[[RemovalPlan | GrammeError], None]) -> None:
        """What would move."""


class _New(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    host: str
    zone: str
    address: str
    peer_address: str

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if not 1 <= len(getattr(self, field)) <= _MAX_TEXT:
                raise ValueError(f"{field} has 1 to {_MAX_TEXT} characters")
        host, _, port = self.peer_address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
            raise ValueError("peer_address is host:port with a port between 1 and 65535")


class _Which(msgspec.Struct, forbid_unknown_fields=True):
    node: int


class MembersAdmin:
    """Serves `/members` and what is below it."""

    def __init__(self, members: MembersBackend, cluster: str) -> None:
        """`cluster`: its id, in hexadecimal."""
        self._members = members
        self._cluster = cluster

    def handle(self, request: HttpRequest, respond: Respond) -> None:
        """Serve one request, or say that it is none of these."""
        members = self._members

        def done(answer: NodesAre | GrammeError) -> None:
            respond(self._answer(answer))

        try:
            match request.method, request.path:
                case "GET" | "HEAD", "/members":
                    respond(json_response(200, _encode(self._shown(members.table))))
                case "POST", "/members/add":
                    new = msgspec.json.decode(request.body, type=_New)
                    members.add(AddNode(new.name, new.host, new.zone, new.address, new.peer_address), done)
                case "POST", "/members/plan-removal":
                    members.plan_removal(_node(request), lambda plan: respond(_planned(plan)))
                case "POST", "/members/remove":
                    members.set_state(_node(request), "leaving", done)
                case "POST", "/members/keep":
                    members.set_state(_node(request), "active", done)
                case _, path:
                    there = f"There is GET /members, POST {', '.join(_PATHS[1:])}"
                    respond(_refused(405 if path in _PATHS else 404, there))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            respond(_refused(400, str(error)))

    def _answer(self, answer: NodesAre | GrammeError) -> HttpResponse:
        if isinstance(answer, NodesAre):
            return json_response(200, _encode({**self._shown(answer.table), "node": answer.node}))
        return _failed(answer)

    def _shown(self, table: NodeTable) -> dict[str, Any]:
        nodes = [
            {
                "node": each.node, "name": each.name, "host": each.host, "zone": each.zone, "address": each.address,
                "peer_address": each.peer_address, "state": each.state, "founder": each.founder,
            }
            for each in table.nodes
        ]  # fmt: skip
        return {"schema": MEMBERS_SCHEMA, "cluster": self._cluster, "version": table.version, "nodes": nodes}


def _node(request: HttpRequest) -> NodeId:
    return NodeId(msgspec.json.decode(request.body, type=_Which).node)


def _planned(plan: RemovalPlan | GrammeError) -> HttpResponse:
    if not isinstance(plan, RemovalPlan):
        return _failed(plan)
    moves = [
        {
            "group": move.group, "table": move.table, "to": None if move.to == NO_NODE else move.to,
            "rows": None if move.rows < 0 else move.rows, "bytes": None if move.bytes < 0 else move.bytes,
        }
        for move in plan.moves
    ]  # fmt: skip
    return json_response(
        200, _encode({"schema": REMOVAL_SCHEMA, "node": plan.node, "moves": moves, "refusal": plan.refusal})
    )


def _failed(error: GrammeError) -> HttpResponse:
    return _refused(400 if isinstance(error, InvalidInput) else 503, str(error))


def _refused(status: int, message: str) -> HttpResponse:
    return json_response(status, _encode({"message": message}))
