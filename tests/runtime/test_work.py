"""How much work a request is, counted and not timed: calls of functions, Python's and C's, from bytes in to bytes out.

Owns the budget of each operation. Time cannot be tested on machines that others use; work can, to the last call. If
this fails, a change has made every such request dearer: look at `make profile`, and at what the change calls on the
way. If the work is wanted, raise the number here in the same commit and say in its message what it buys; if a change
makes it less, lower the number, or the gain will be lost unseen.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop

from gramme.bench.in_process import OPERATIONS, Connection, embedded_node

pytestmark = pytest.mark.plain  # calls between compiled functions are not seen

BUDGET: Final = {
    "GetItem, strong": 142,
    "GetItem, eventual": 134,
    "Query of 10 items": 305,
    "Query, of items read lately": 209,
    "BatchGetItem of 25": 1687,
    "PutItem": 421,
    "UpdateItem": 548,
}
"""Calls a request, at most, with Python 3.11 (later ones make fewer). Those of reads are exact; a write's answer comes
turns of the loop later, and what else happens in these differs by about a dozen calls. Strong reads come first: of rows
that the engine has not kept since they were last read (7 calls each), eventual ones of the same rows again."""

_WARM_UP: Final = 20
_MEASURED: Final = 10


class _Calls:
    """Counts calls of functions in this thread while it is on."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _frame: Any, event: str, _argument: Any) -> None:
        self.count += event in ("call", "c_call")

    async def of(self, connection: Connection, request: bytes) -> int:
        self.count = 0
        sys.setprofile(self)
        try:
            connection.send(request)
            await connection.answer()
        finally:
            sys.setprofile(None)
        return self.count


async def _measure(directory: Path) -> dict[str, int]:
    """The least of `_MEASURED` requests of each operation: timers of the node may fire during some of them."""
    found: dict[str, int] = {}
    async with embedded_node(directory) as node:
        await node.fill()
        connection = node.connect()
        calls = _Calls()
        for operation, make in OPERATIONS.items():
            counts = [await calls.of(connection, make(number)) for number in range(_WARM_UP + _MEASURED)]
            found[operation] = min(counts[_WARM_UP:])
    return found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(tmp_path_factory.mktemp("node")))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_work_of_a_request_stays_within_its_budget(work: dict[str, int], operation: str) -> None:
    assert work[operation] <= BUDGET[operation], f"{operation} makes {work[operation]} calls: see this file's docstring"


def test_budgets_are_tight(work: dict[str, int]) -> None:
    """A budget far above the work would let later work slip in."""
    assert {name: (work[name], budget) for name, budget in BUDGET.items() if work[name] < 0.8 * budget} == {}
