"""The examples do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gramme.testing import cluster

pytestmark = pytest.mark.seconds(10)

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


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


def test_the_program_in_the_readme_does_what_it_says() -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (program,) = (text for text in programs if "gramme.client.objects" in text)
    with cluster(3) as nodes:
        for node in (0, 1):
            program = program.replace(f"http://127.0.0.1:810{node}", nodes.objects_url(node))
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (run.stderr, run.stdout) == ("", 'b\'["book","pen"]\'\n')
