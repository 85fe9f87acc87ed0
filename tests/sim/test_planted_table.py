"""docs/design/planted.md is true: each fault and each test that it names exists, and no planted fault is missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest
from tests.paxos import mutants
from tests.sim import (
    planted,
    planted_objects,
    planted_ranges,
    planted_transactions,
    test_gray,
    test_leadership,
    test_objects,
)
from tests.specs import models

from gramme.bench import elections

ROOT = Path(__file__).parents[2]
ROWS = [line for line in (ROOT / "docs/design/planted.md").read_text().splitlines() if line.startswith("| `")]
FAULTS = [row.split("|")[1].strip().strip("`") for row in ROWS]
_MODULES: tuple[ModuleType, ...] = (
    mutants, planted, planted_transactions, planted_ranges, planted_objects, test_gray, test_leadership, elections,
)  # fmt: skip
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[(\w+)[^\]`]*\])?`")


def _functions(file: str) -> list[str]:
    return [node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("row", ROWS, ids=FAULTS)
def test_a_row_names_a_fault_and_a_test_that_there_are(row: str) -> None:
    fault = row.split("|")[1].strip().strip("`")
    assert any(callable(getattr(module, fault, None)) for module in _MODULES), f"there is no fault {fault}"
    named = _TEST.findall(row)
    assert named, "no test catches it"
    for file, function, parameter in named:
        assert function in _functions(file), f"{file} has no test {function}"
        assert parameter in ("", fault), f"the row of {fault} names the test of {parameter}"
    for model in re.findall(r"make spec SPEC=(\w+)", row):
        assert model in {each.name for each in models.PLANTED}, f"make spec knows no planted fault {model}"


def test_every_planted_fault_has_a_row() -> None:
    own = [name for name, value in vars(mutants).items() if getattr(value, "__module__", "") == mutants.__name__]
    written = [name for name in own if not name.startswith("_")]
    listed = [*written, *planted.PLANTED, *(plant.__name__ for plant, *_ in test_objects.PLANTED)]
    assert sorted(set(listed) - set(FAULTS)) == []
    assert len(FAULTS) == len(set(FAULTS)), "a fault has two rows"


def test_what_issue_6_asks_for_is_planted() -> None:
    text = (ROOT / "docs/design/planted.md").read_text()
    asked = text.partition("## Asked for by issue 6")[2].partition("\n## ")[0]
    named = [name for line in asked.splitlines() if line.startswith("| ") for name in re.findall(r"`(\w+)`", line)]
    assert len(named) >= 9
    assert [name for name in named if name not in FAULTS] == []
