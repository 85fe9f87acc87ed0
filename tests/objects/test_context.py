"""The context comes back as it was given, to the object it was given for, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.kernel.time import Timestamp
from gramme.objects.context import MAX_CONTEXT_CHARS, Context, seal, unseal
from gramme.objects.versions import Actor, Seen

_KEY = b"cluster key"
_CONTEXT = Context((Seen(Actor(1 << 32 | 1), 7, Timestamp(5)), Seen(Actor(9 << 32 | 2), 1, Timestamp(6))), NodeId(3))


def test_it_comes_back_as_it_was_given() -> None:
    assert unseal(seal(_CONTEXT, _KEY, b"b", b"k"), _KEY, b"b", b"k") == _CONTEXT


@pytest.mark.parametrize(
    ("cluster", "bucket", "key"),
    [(b"other", b"b", b"k"), (_KEY, b"c", b"k"), (_KEY, b"b", b"l"), (_KEY, b"bk", b"")],
)
def test_that_of_another_object_or_cluster_is_refused(cluster: bytes, bucket: bytes, key: bytes) -> None:
    with pytest.raises(InvalidInput, match="another object or another cluster"):
        unseal(seal(_CONTEXT, _KEY, b"b", b"k"), cluster, bucket, key)


@given(st.integers(0, 1 << 16), st.integers(1, 255))
def test_every_damaged_byte_is_noticed(at: int, flip: int) -> None:
    text = bytearray(seal(_CONTEXT, _KEY, b"b", b"k").encode())
    text[at % len(text)] ^= flip
    damaged = text.decode("latin-1")
    try:
        context = unseal(damaged, _KEY, b"b", b"k")
    except InvalidInput:
        return
    assert context == _CONTEXT  # only the unused bits of the last character may differ


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        unseal(text, _KEY, b"b", b"k")


def test_a_long_one_is_refused_by_its_length() -> None:
    with pytest.raises(InvalidInput, match=f"limit is {MAX_CONTEXT_CHARS}"):
        unseal("A" * (MAX_CONTEXT_CHARS + 1), _KEY, b"b", b"k")
