"""The profile's map from code to stages names code that exists, and its picture holds together."""

from __future__ import annotations

import ast
from pathlib import Path
from types import CodeType
from xml.etree import ElementTree

import gramme
from gramme.bench import profile
from gramme.bench.profile import Profile

HOME = Path(gramme.__file__).parent


def test_every_file_and_function_of_a_stage_exists() -> None:
    assert [path for paths in profile.STAGES.values() for path in paths if not (HOME / path).exists()] == []
    for file, function in profile._FUNCTIONS:
        tree = ast.parse((HOME / file).read_text(encoding="utf-8"))
        assert any(isinstance(node, ast.FunctionDef) and node.name == function for node in ast.walk(tree)), function


def test_a_sample_belongs_to_its_innermost_function_that_has_a_stage() -> None:
    def code(file: str, name: str) -> CodeType:
        return test_every_file_and_function_of_a_stage_exists.__code__.replace(
            co_filename=str(HOME / file), co_name=name, co_qualname=name
        )

    data, submit = code("runtime/http_connection.py", "data_received"), code("node/router.py", "submit")
    outside = test_every_file_and_function_of_a_stage_exists.__code__
    assert profile.stage_of((data, submit, outside)) == "route"
    assert profile.stage_of((data, code("runtime/http_connection.py", "flush"))) == "write"
    assert profile.stage_of((outside,)) == profile._OTHER


def test_table_and_picture() -> None:
    stack = (profile.measured.__code__, test_table_and_picture.__code__)
    made = Profile("GetItem", 20.0, {"route": 0.25, "encode": 0.75}, {stack: 4})
    told = profile.table([made])
    assert "route" in told
    assert "5.0" in told
    assert ElementTree.fromstring(profile.flame([made])).tag.endswith("svg")
