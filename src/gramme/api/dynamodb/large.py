"""Large requests in small steps: reading and checking a body of megabytes without holding the event loop.

Owns the cutting of work. Rule: a body over `LARGE_BYTES` is split into raw parts and decoded part by part, then checked
element by element, and between steps of a few milliseconds the loop serves others; what comes out, and which error, is
the same as in one go. One attribute of an item is never split. Source: DESIGN.md §10 (no step longer than about 15 ms).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gramme.api.dynamodb.shapes import AttributeMapShape, InputShape, ListShape, MapShape, Shape, StructureShape
from gramme.kernel.errors import InvalidInput
from gramme.tables.values import NormalisedItem, normalise_item

if TYPE_CHECKING:
    from gramme.api.dynamodb.call import Environment

LARGE_BYTES: Final = 128 << 10
STEP_BYTES: Final = 128 << 10  # of JSON, decoded in one step: 3 ms where it is all small values
_SPLIT_COST: Final = 16  # splitting a body into raw parts is so many times cheaper than decoding it
_MAX_SPLITS: Final = 8  # the body, RequestItems, a table's list, a request, Item, an attribute, its map, an entry
PARSING_COST: Final = 48  # of one character of an expression, in bytes of JSON decoded
_SMALL_BYTES: Final = 4 << 10
_SMALL_COST: Final = 32  # of one part more, in bytes of JSON decoded
_SLICE: Final = 1000  # attributes checked in one step
_COST_OF_ATTRIBUTE: Final = 100  # in bytes of JSON

_decode: Final = msgspec.json.Decoder().decode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Budget:
    """What one request may still do before others have their turn."""

    __slots__ = ("_env", "_left")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._left = STEP_BYTES

    async def spend(self, cost: int) -> None:
        """Account for work done, counted in bytes of JSON decoded; lets others run when the step was long enough."""
        if self.spent(cost):
            await self._env.breathe()

    def spent(self, cost: int) -> bool:
        """As `spend`, but it is the caller that lets others run if this says so."""
        self._left -= cost
        if self._left > 0:
            return False
        self._left = STEP_BYTES
        return True


async def free(elements: list[Any], budget: Budget) -> None:
    """Drop the elements of a large request one at a time: to free megabytes of small values takes time, too."""
    while elements:
        elements.pop()
        await budget.spend(STEP_BYTES // 2)


async def decode(raw: bytes | msgspec.Raw, budget: Budget, splits: int = 0) -> Any:
    """The JSON value of `raw`. Raises msgspec.DecodeError or UnicodeDecodeError."""
    view = memoryview(raw)
    size = len(view)
    first = bytes(view[:64]).lstrip()[:1]
    if size <= STEP_BYTES or splits == _MAX_SPLITS or first not in (b"{", b"["):
        value = _decode(raw)
        await budget.spend(size)
        return value
    if first == b"{":
        members = _members(raw)
        await budget.spend(size // _SPLIT_COST)
        return dict(zip(members, await _decode_parts(members.values(), budget, splits), strict=True))
    elements = _elements(raw)
    await budget.spend(size // _SPLIT_COST)
    return await _decode_parts(elements, budget, splits)


async def _decode_parts(parts: Iterable[msgspec.Raw], budget: Budget, splits: int) -> list[Any]:
    values: list[Any] = []
    done = 0
    for part in parts:
        size = len(memoryview(part))
        if size > _SMALL_BYTES:
            values.append(await decode(part, budget, splits + 1))
            continue
        values.append(_decode(part))
        done += size + _SMALL_COST
        if done > _SMALL_BYTES:
            await budget.spend(done)
            done = 0
    return values


async def check_types(shape: InputShape, body: dict[str, Any], budget: Budget) -> None:
    """`InputShape.check_types` in steps; maps of attribute values come out normalised where they are valid.

    Raises ApiError.
    """
    for name, value in list(body.items()):
        member = shape.shapes.get(name)
        if value is not None and member is not None:
            body[name] = await _check(member, value, budget)
    for name in shape.attribute_maps:
        if name in ("Item", "Key") and body.get(name) is not None:  # the others are judged with what they belong to
            body[name] = await _check(_ATTRIBUTES, body[name], budget)


async def _check(shape: Shape, value: Any, budget: Budget) -> Any:
    if type(shape) is MapShape and type(value) is dict:
        return {
            name: await _check(shape.element, content, budget) for name, content in value.items() if content is not None
        }
    if isinstance(shape, ListShape) and type(value) is list:
        return [None if element is None else await _check(shape.element, element, budget) for element in value]
    if isinstance(shape, StructureShape) and type(value) is dict:
        return {
            member.name: await _check(member.shape, value[member.name], budget)
            for member in shape.members
            if value.get(member.name) is not None
        }
    if isinstance(shape, AttributeMapShape) and type(value) is dict:
        return await _check_attributes(shape, value, budget)
    await budget.spend(_COST_OF_ATTRIBUTE)
    return shape.check(value)


async def _check_attributes(shape: AttributeMapShape, attributes: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Types first, since a wrong one anywhere is graver than any bad value; then normalise."""
    slices = list(_slices(attributes))
    for part in slices:
        shape.check(part)
        await budget.spend(_COST_OF_ATTRIBUTE * len(part))
    size = 0
    try:
        for part in slices:
            size += normalise_item(part)[1]
            await budget.spend(_COST_OF_ATTRIBUTE * len(part))
    except InvalidInput:
        return attributes  # the operation finds the fault again, when its turn among the other faults comes
    normal = NormalisedItem(size)
    for part in slices:
        normal.update(part)
    return normal


def _slices(attributes: dict[str, Any]) -> Any:
    members = iter(attributes.items())
    while part := dict(islice(members, _SLICE)):
        yield part


_ATTRIBUTES: Final = AttributeMapShape()
