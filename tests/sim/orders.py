"""Every order in which things may have happened: what checkers are compared with, on histories that are small."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import TypeVar

T = TypeVar("T")


def some_order(known: list[T], unknown: list[T], fits: Callable[[tuple[T, ...]], bool]) -> bool:
    """Whether some order fits of all that is `known` to have happened and any of what is not."""
    for chosen in range(1 << len(unknown)):
        subset = known + [each for i, each in enumerate(unknown) if chosen >> i & 1]
        if any(fits(order) for order in permutations(subset)):
            return True
    return False
