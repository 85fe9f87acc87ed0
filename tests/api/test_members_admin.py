"""Membership on the admin port: documents, and refusals of what nobody should be asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gramme.api.http import HttpRequest, HttpResponse
from gramme.api.members_admin import MembersAdmin
from gramme.kernel.errors import GrammeError, InvalidInput, Stalled
from gramme.kernel.ids import NO_NODE, GroupId, NodeId
from gramme.node.catalog.node_table import AddNode, Move, NodeEntry, NodesAre, NodeState, NodeTable, RemovalPlan

ENTRY = NodeEntry(NodeId(0), "a", "h", "z", "127.0.0.1", "127.0.0.1:1", founder=True)
TABLE = NodeTable(4, 9, (ENTRY,))
NEW = {"name": "b", "host": "h", "zone": "z", "address": "127.0.0.1", "peer_address": "127.0.0.1:2"}


class _Members:
    """Records what it is asked, and answers as it is told to."""

    def __init__(self, answer: NodesAre | GrammeError = NodesAre(TABLE, "", 0)) -> None:  # noqa: B008 - frozen
        self.answer = answer
        self.asked: list[Any] = []
        self.table = TABLE

    def add(self, request: AddNode, on_done: Callable[[NodesAre | GrammeError], None]) -> None:
        self.asked.append(request)
        on_done(self.answer)

    def set_state(self, node: NodeId, state: NodeState, on_done: Callable[[NodesAre | GrammeError], None]) -> None:
        self.asked.append((node, state))
        on_done(self.answer)

    def plan_removal(self, node: NodeId, on_plan: Callable[[RemovalPlan | GrammeError], None]) -> None:
        self.asked.append(node)
        counted = Move(GroupId(16), "Music", NodeId(3), (NodeId(0), node), rows=2, bytes=90)
        on_plan(RemovalPlan(node, (Move(GroupId(1), "", NO_NODE), counted)))


def ask(members: _Members, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    answers: list[HttpResponse] = []
    request = HttpRequest(method, path, "", {}, b"" if body is None else json.dumps(body).encode())
    MembersAdmin(members, "c0").handle(request, answers.append)
    (answer,) = answers
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body)


def test_the_document() -> None:
    status, document = ask(_Members(), "GET", "/members")
    assert status == 200
    assert document == {
        "schema": "gramme.members/1", "cluster": "c0", "version": 4,
        "nodes": [
            {
                "node": 0, "name": "a", "host": "h", "zone": "z", "address": "127.0.0.1",
                "peer_address": "127.0.0.1:1", "state": "active", "founder": True,
            }
        ],
    }  # fmt: skip


def test_commands_reach_the_node() -> None:
    members = _Members()
    assert ask(members, "POST", "/members/add", NEW)[1]["node"] == 0
    ask(members, "POST", "/members/remove", {"node": 2})
    ask(members, "POST", "/members/keep", {"node": 2})
    plan = ask(members, "POST", "/members/plan-removal", {"node": 2})[1]
    assert plan["moves"] == [
        {"group": 1, "table": "", "to": None, "rows": None, "bytes": None},
        {"group": 16, "table": "Music", "to": 3, "rows": 2, "bytes": 90},
    ]
    assert members.asked == [AddNode("b", "h", "z", "127.0.0.1", "127.0.0.1:2"), (2, "leaving"), (2, "active"), 2]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/members/add", {**NEW, "peer_address": "nowhere"}),
        ("/members/add", {**NEW, "peer_address": "a:70000"}),
        ("/members/add", {**NEW, "name": ""}),
        ("/members/add", {**NEW, "zone": "z" * 256}),
        ("/members/add", {**NEW, "state": "active"}),
        ("/members/add", {}),
        ("/members/remove", {}),
        ("/members/remove", {"node": "2"}),
        ("/members/keep", []),
    ],
)
def test_bad_input_reaches_nobody(path: str, body: Any) -> None:
    members = _Members()
    status, document = ask(members, "POST", path, body)
    assert status == 400
    assert document["message"]
    assert not members.asked


def test_refusals_and_paths() -> None:
    assert ask(_Members(InvalidInput("no")), "POST", "/members/add", NEW) == (400, {"message": "no"})
    assert ask(_Members(Stalled("later")), "POST", "/members/remove", {"node": 1}) == (503, {"message": "later"})
    assert ask(_Members(), "GET", "/members/remove")[0] == 405
    assert ask(_Members(), "POST", "/members/nothing")[0] == 404
