"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_no_addition_to_the_cart_is_lost_and_only_the_union_brings_a_removed_item_back() -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "cart.py")], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "all nodes: by union (1 version): book, pen",
        "all nodes: add-wins set: book, pen",
        "node 0 alone, adds lamp: by union (1 version): book, lamp, pen",
        "node 0 alone, adds lamp: add-wins set: book, lamp, pen",
        "nodes 1 and 2, add chair and remove pen: by union (1 version): book, chair",
        "nodes 1 and 2, add chair and remove pen: add-wins set: book, chair",
        "all nodes again: by union (2 versions): book, chair, lamp, pen",
        "all nodes again: add-wins set: book, chair, lamp",
    ]
    assert run.returncode == 0
