"""`gramme bench ring`: the paper's Figure 8, and the other claims of its section 6.2."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from gramme.bench import ring
from gramme.runtime.cli import app

pytestmark = pytest.mark.seconds(9)


def test_all_three_strategies_agree_with_the_figure(tmp_path: Path) -> None:
    file = tmp_path / "ring.svg"
    result = CliRunner().invoke(app, ["bench", "ring", "--rings", "200", "--plot", str(file)])
    assert result.exit_code == 0, result.output
    assert result.output.count("from the paper's curve") == 3
    drawn = ElementTree.parse(file).getroot()
    labels = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert sum(label is not None and label.startswith("strategy") for label in labels) == 7


def test_a_curve_that_is_off_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**ring.PAPER, 2: tuple(efficiency + 0.1 for efficiency in ring.PAPER[2])}
    monkeypatch.setattr(ring, "PAPER", wrong)
    monkeypatch.setattr(ring, "METADATA", ring.METADATA[:3])
    monkeypatch.setattr(ring, "PAPER", {strategy: points[:3] for strategy, points in wrong.items()})
    assert CliRunner().invoke(app, ["bench", "ring", "--rings", "50"]).exit_code == 1


def test_a_join_moves_few_keys_and_costs_trees_under_strategy_1_alone() -> None:
    """Rows A5, A6, A24; trees are built with the replicas' own code."""
    found = ring.changes(seed=1, keys=4_000)
    assert found.moved_by_modulo > 0.9
    assert found.moved_by_tokens < 2 * found.fair
    assert found.moved_by_partitions < 1.5 * found.fair
    assert found.heirs_by_tokens == ring.NODES - 1
    assert found.rehashed_by_partitions == 0
    assert found.rehashed_by_tokens > found.keys * ring.N // 100
