# ruff: noqa: E501
"""From a valid request to a strange one: changes to its structure, then to its bytes.

Everything follows from the random generator given, so that a seed replays.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any, Final

_ODD: Final[list[Any]] = [
    None, True, False, 0, -1, 1.5, 1 << 40, 10**30, 1e308, "", "a", "#a", ":a", "\u00e9\u0000", "\ud800", [], {}, [[]],
    [None], {"S": "a"}, {"N": "x"}, {"N": "1e200"}, {"N": "9" * 400}, {"N": "-0.0e-0"}, {"N": "1e" + "9" * 50}, {"S": 1},
    {"S": None}, {"SS": []}, {"SS": ["a", "a"]}, {"NS": ["1", "1.0"]}, {"B": "!"}, {"B": "AA=="}, {"": {}}, {"BS": [1]},
    {"S": "a", "N": "1"}, {"M": {"a": {"L": [None]}}}, {"M": {"": {"S": ""}}}, {"NULL": False}, {"BOOL": "true"}, "x" * 3000,
]  # fmt: skip
_NAMES: Final = (
    "S", "N", "M", "Extra", "#x", ":x", "Limit", "Expected", "IndexName", "Keys", "Key", "Item", "TableName",
    "AttributeUpdates", "ScanFilter", "KeyConditions", "ConditionExpression", "ExpressionAttributeValues", "Select",
)  # fmt: skip
_TEXTS: Final = (
    "", "(", ")", ",", " ", " AND ", " OR NOT ", ":", "#", "[", "]", "[0]", "!", ".", "=", "<>", "99999999999", "\u0000",
    "\ud83d", "x" * 5000, "(" * 60, "size(", "SET ", "REMOVE ", "a" * 70_000, "-", "+",
)  # fmt: skip
_BYTES: Final = (
    b"", b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\\u0000", b"\\ud800",
    b"1e999", b"-", b"null", b"NaN", b"0" * 400, b"9" * 5000, b"\x00", b"\xef\xbb\xbf", b"tru", b"/**/",
)  # fmt: skip
_DEPTHS: Final = (10, 31, 33, 100, 1000, 20_000)
_LARGE: Final = 200_000  # bytes: past what is decoded in one step


def mutated(body: dict[str, Any], rng: random.Random) -> bytes:
    """A strange relative of `body`."""
    value = copy.deepcopy(body)
    for _ in range(rng.randrange(0, 4)):
        value = _mutate(value, rng)
    raw = json.dumps(value).encode()
    chance = rng.random()
    if chance < 0.25:
        raw = _mutate_bytes(raw, rng)
    elif chance < 0.29:
        raw = _nest(raw, rng)
    elif chance < 0.33:
        raw = _repeat_member(raw, rng)
    elif chance < 0.332:
        raw = raw.replace(b'"a"', b'"' + b"a" * _LARGE + b'"', 1) + b" " * rng.choice((0, _LARGE))
    return raw


def _mutate(value: Any, rng: random.Random) -> Any:
    """`value` with one place changed: replaced, dropped, doubled, renamed, or given a strange neighbour."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        action = rng.random()
        if action < 0.08:
            del value[name]
        elif action < 0.16:
            value[rng.choice(_NAMES)] = copy.deepcopy(rng.choice(_ODD))
        elif action < 0.22:
            value[rng.choice(_NAMES)] = value.pop(name)
        else:
            value[name] = _mutate(value[name], rng)
        return value
    if isinstance(value, list) and value and rng.random() < 0.85:
        index = rng.randrange(len(value))
        action = rng.random()
        if action < 0.2:
            value.extend(copy.deepcopy(value[index]) for _ in range(rng.choice((1, 1, 30, 120))))
        else:
            value[index] = _mutate(value[index], rng)
        return value
    if isinstance(value, str) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice(_TEXTS) + value[at + rng.randrange(2) :]
    return copy.deepcopy(rng.choice(_ODD))


def _mutate_bytes(raw: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, inserted, cut or repeated."""
    data = bytearray(raw)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        action = rng.random()
        if action < 0.7:
            data[at : at + rng.randrange(3)] = rng.choice(_BYTES)
        elif action < 0.8:
            data[at:] = b""
        elif action < 0.9 and data:
            data[at % len(data)] = rng.randrange(256)
        else:
            data[at:at] = data[at : at + rng.randrange(50)]
    return bytes(data)


def _nest(raw: bytes, rng: random.Random) -> bytes:
    """One string replaced by deep lists, maps, or attribute values."""
    opening, closing = rng.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b'{"L":[', b"]}"), (b'{"M":{"a":', b"}}"), (b'{"Key":', b"}"))
    )
    depth = rng.choice(_DEPTHS)
    start = raw.find(b'"', rng.randrange(len(raw)))
    end = raw.find(b'"', start + 1)
    if start < 0 or end < 0:
        start, end = 0, len(raw) - 1
    left_open = b"" if rng.random() < 0.1 else closing * depth
    return raw[:start] + opening * depth + b'{"S":"x"}' + left_open + raw[end + 1 :]


def _repeat_member(raw: bytes, rng: random.Random) -> bytes:
    """One member of an object twice, the second time perhaps with another value."""
    start = raw.find(b'"', rng.randrange(len(raw)))
    end = raw.find(b",", start)
    if start < 0 or end < 0:
        return b'{"TableName":"users",' + raw[1:]
    again = raw[start:end] if rng.random() < 0.5 else raw[start : raw.find(b":", start) + 1] + b"null"
    return raw[: end + 1] + again + b"," + raw[end + 1 :]
