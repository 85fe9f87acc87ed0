"""Random attribute values and items, in normal form."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from gramme.tables.numbers import normalise

NAMES = ["a", "b", "c", "d"]
"""Names of attributes and members: few, so that paths meet."""


def _encoded(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode()


texts = st.sampled_from(["", "a", "ab", "abc", "b", "ö", "😀"])
number_texts = st.sampled_from(["0", "1", "-1", "2", "2.5", "10", "1e20"]).map(normalise)
binaries = st.sampled_from([b"", b"a", b"ab", b"\xff"]).map(_encoded)

scalars = st.one_of(
    texts.map(lambda text: {"S": text}),
    number_texts.map(lambda text: {"N": text}),
    binaries.map(lambda text: {"B": text}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"NULL": True}),
)
sets = st.one_of(
    st.lists(texts, min_size=1, max_size=3, unique=True).map(lambda members: {"SS": members}),
    st.lists(number_texts, min_size=1, max_size=3, unique=True).map(lambda members: {"NS": members}),
    st.lists(binaries, min_size=1, max_size=3, unique=True).map(lambda members: {"BS": members}),
)


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(children, max_size=3).map(lambda elements: {"L": elements}),
        st.dictionaries(st.sampled_from(NAMES), children, max_size=3).map(lambda members: {"M": members}),
    )


values: st.SearchStrategy[dict[str, Any]] = st.recursive(scalars | sets, _containers, max_leaves=6)


def items() -> st.SearchStrategy[dict[str, dict[str, Any]]]:
    """Items without key attributes."""
    return st.dictionaries(st.sampled_from(NAMES), values, max_size=4)


@st.composite
def paths(draw: st.DrawFn) -> tuple[str | int, ...]:
    """Document paths of one to three steps."""
    first = draw(st.sampled_from(NAMES))
    rest = draw(st.lists(st.sampled_from(NAMES) | st.integers(0, 3), max_size=2))
    return (first, *rest)


def path_text(steps: tuple[str | int, ...]) -> str:
    """A path as it is written in an expression."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)[1:]


def value_at(item: dict[str, Any], steps: Iterable[str | int]) -> Any:
    """The value at a path of `item`, None if there is none."""
    value: Any = {"M": item}
    for step in steps:
        try:
            value = value["L" if isinstance(step, int) else "M"][step]
        except (KeyError, IndexError):
            return None
    return value
