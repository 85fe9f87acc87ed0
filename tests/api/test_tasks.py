"""The trampoline: resumed by its callbacks and nothing else, in order, with errors to their owner."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gramme.api.tasks import Gather, Waiter, run


def _no_error(error: Exception) -> None:
    raise error


def test_values_that_are_there_already_cost_no_suspension() -> None:
    seen: list[int] = []

    async def work() -> None:
        for index in range(10_000):  # deeper than Python's stack: no recursion may be involved
            waiter: Waiter[int] = Waiter()
            waiter(index)
            seen.append(await waiter)

    run(work(), _no_error)
    assert seen == list(range(10_000))


def test_late_values_resume_where_it_waited() -> None:
    waiters: list[Waiter[str]] = [Waiter(), Waiter()]
    seen: list[str] = []

    async def inner(waiter: Waiter[str]) -> str:
        return (await waiter) + "!"

    async def work() -> None:
        for waiter in waiters:
            seen.append(await inner(waiter))

    run(work(), _no_error)
    waiters[1]("b")
    assert seen == []
    waiters[0]("a")
    assert seen == ["a!", "b!"]
    waiters[0]("again")  # a second value is dropped
    assert seen == ["a!", "b!"]


@given(st.permutations(range(6)))
def test_gather_keeps_the_order_of_slots(order: list[int]) -> None:
    results: list[list[int]] = []
    gather: Gather[int] = Gather(6)

    async def work() -> None:
        results.append(await gather)

    run(work(), _no_error)
    for index in order:
        assert results == []
        gather.slot(index)(index * 10)
    assert results == [[0, 10, 20, 30, 40, 50]]


def test_gather_of_nothing_is_there_at_once() -> None:
    done: list[list[int]] = []

    async def work() -> None:
        done.append(await Gather[int](0))

    run(work(), _no_error)
    assert done == [[]]


def test_errors_go_to_the_owner_at_every_step() -> None:
    errors: list[str] = []
    waiter: Waiter[None] = Waiter()

    async def early() -> None:
        raise ValueError("early")

    async def late() -> None:
        await waiter
        raise ValueError("late")

    run(early(), lambda error: errors.append(str(error)))
    run(late(), lambda error: errors.append(str(error)))
    assert errors == ["early"]
    waiter(None)
    assert errors == ["early", "late"]
