"""Every operation and input member of the service is accounted for: in a pinned list, in the docs, and in the code."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import botocore
from tests.api.caller import HASH_TABLE, Caller

from gramme.api.dynamodb.operations import OPERATIONS, STREAM_OPERATIONS, UNSERVED

_PINNED = Path(__file__).with_name("service_members.txt").read_text().split()
_PAGE = Path(__file__).parents[2] / "docs" / "api-coverage.md"


def _rows() -> dict[str, str]:
    """`Operation` or `Operation.Member` → what the page says of it."""
    rows: dict[str, str] = {}
    for line in _PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "Operation":
            name = ".".join(cell for cell in cells[:2] if cell)
            assert name not in rows, f"{name} has two rows"
            rows[name] = cells[2]
    return rows


def test_the_pinned_list_is_the_model_of_the_installed_botocore() -> None:
    names: list[str] = []
    for service in ("dynamodb", "dynamodbstreams"):
        path = Path(botocore.__file__).parent / "data" / service / "2012-08-10" / "service-2.json.gz"
        model = json.loads(gzip.decompress(path.read_bytes()))
        for operation in sorted(model["operations"]):
            members = model["shapes"][model["operations"][operation]["input"]["shape"]]["members"]
            names += [operation, *(f"{operation}.{member}" for member in sorted(members))]
    assert names == _PINNED
    assert len([name for name in names if "." not in name]) == 62 + 4


def test_every_operation_and_member_has_a_row() -> None:
    rows = _rows()
    assert [name for name in _PINNED if not rows.get(name)] == []
    assert [name for name in rows if name not in _PINNED] == []


def test_the_page_says_what_the_code_does() -> None:
    rows = _rows()
    served = {**OPERATIONS, **STREAM_OPERATIONS}
    for name in _PINNED:
        operation, _, member = name.partition(".")
        text = rows[name]
        assert text.startswith("not served") == (operation in UNSERVED), name
        if member and operation in served:
            shape = served[operation].shape
            assert (text == "refused by name") == (member in shape.refused), name
            assert (member in shape.refused) != (member in {known.name for known in shape.members}), name


def test_refused_members_are_refused_by_name() -> None:
    for operation, (shape, _) in OPERATIONS.items():
        for member in shape.refused:
            body = {**HASH_TABLE, member: []}
            caller = Caller()
            assert caller.invalid(operation, body).endswith(f"{member} is not supported yet")
            assert caller.call("ListTables", {}) == {"TableNames": []}
