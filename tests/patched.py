"""Replaces an attribute for the length of a block: how tests plant faults in production code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def patched(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """`owner.name`, an attribute of its own (of a class or module), is `replacement` meanwhile."""
    original = vars(owner)[name]
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


def stumbled(violation: str) -> bool:
    """Whether a planted fault was found only because the patch does not fit what it replaces any more."""
    return any(error in violation for error in ("TypeError: ", "AttributeError: ", "NameError: "))
