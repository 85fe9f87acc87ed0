"""The catalog's memory of which tables changed: it never leaves one out without saying so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.node.catalog import changes as catalog_changes
from gramme.node.catalog.changes import changed_since, noted

_NAMES = ("a", "b", "c", "d", "e")


class _Rows(dict[bytes, bytes]):
    """A catalog of nothing but this row."""

    def note(self, version: int, *names: str) -> None:
        key, value = noted(self.get, version, list(names))
        self[key] = value


@given(st.lists(st.lists(st.sampled_from(_NAMES), max_size=3), min_size=1, max_size=25))
def test_what_changed_since_any_version_is_told_exactly_or_not_at_all(changes: list[list[str]]) -> None:
    rows = _Rows()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog_changes, "MOST_NAMES", 3)
        for version, names in enumerate(changes, 1):
            rows.note(version, *names)
        for since in range(len(changes) + 1):
            told = changed_since(rows.get, len(changes), since)
            newer = {name for names in changes[since:] for name in names}
            assert told is None if len(newer) > 3 else told is not None
            assert told is None or (set(told) == newer and len(told) == len(newer))


def test_of_an_old_catalog_nothing_is_known_before_the_first_change() -> None:
    rows = _Rows()
    assert changed_since(rows.get, 40, 39) is None
    rows.note(41, "a")
    assert changed_since(rows.get, 41, 40) == ("a",)
    assert changed_since(rows.get, 41, 39) is None
    assert changed_since(rows.get, 41, -1) is None


def test_a_release_that_kept_no_row_makes_all_before_it_unknown() -> None:
    """An older release led from version 2 to 5: it changed nobody knows which tables."""
    rows = _Rows()
    rows.note(1, "a")
    rows.note(2, "b")
    assert changed_since(rows.get, 5, 2) is None
    rows.note(6, "c")
    assert changed_since(rows.get, 6, 4) is None
    assert changed_since(rows.get, 6, 5) == ("c",)


def test_a_change_of_no_table_is_told_as_such() -> None:
    rows = _Rows()
    rows.note(1, "a")
    rows.note(2)
    assert changed_since(rows.get, 2, 1) == ()
