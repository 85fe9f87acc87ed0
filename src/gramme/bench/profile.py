"""Where the processor time of a request goes: microseconds by stage, and a flame graph.

Owns the sampler and the map from code to stages. The kernel interrupts the process about every few milliseconds of
*processor* time (ITIMER_PROF), so other programs do not distort the shares; the sample is the Python stack of that
moment, and belongs to the stage of its innermost function that has one. Time inside C (RocksDB, msgspec, httptools)
counts for the Python function that called it. The time of a request is measured apart, without the sampler.
What the numbers leave out: sockets, because the node is in this process (`in_process`).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Final
from xml.sax.saxutils import escape

import msgspec
import uvloop

import gramme
from gramme.bench.in_process import CONNECTIONS, OPERATIONS, Connection, embedded_node

_INTERVAL_S: Final = 0.001
_REQUESTS: Final = 1_000
_HOME: Final = str(Path(gramme.__file__).parent) + "/"

STAGES: Final[dict[str, tuple[str, ...]]] = {
    "HTTP in": ("runtime/http_connection.py", "runtime/http_requests.py", "runtime/http.py", "api/http.py"),
    "HTTP out": ("runtime/http_codec.py",),
    "admit, parse, check": ("api/", "tables/values.py", "tables/numbers.py", "tables/schema.py", "tables/expression/"),
    "measure": ("runtime/endpoints.py", "runtime/metrics.py"),
    "key": ("tables/keys.py", "storage/encoding.py"),
    "route": ("node/router.py", "tables/descriptor.py"),
    "evaluate": (
        "node/partition.py",
        "node/applied_rows.py",
        "node/in_flight.py",
        "node/table_evaluator.py",
        "node/item_pages.py",
        "node/changes/item_changes.py",
        "tables/",
    ),
    "engine": ("runtime/rocks.py", "storage/engine/"),
    "replicate": ("paxos/", "node/"),
    "log": ("storage/log/", "runtime/disk/", "node/host.py"),
    "wire": ("node/wire.py", "node/mutation.py", "paxos/chain.py", "paxos/entry.py"),
}
"""Files and directories under src/gramme of each stage; the longest that fits counts."""

_FUNCTIONS: Final = {
    ("runtime/http_connection.py", "flush"): "write",
    ("runtime/http_connection.py", "_emit"): "HTTP out",
    ("runtime/http_connection.py", "_emit_ready"): "HTTP out",
    ("runtime/http_connection.py", "_emit_bytes"): "HTTP out",
    ("runtime/http_connection.py", "answered"): "HTTP out",
    ("runtime/http_requests.py", "respond"): "HTTP out",
    ("tables/schema.py", "_encoded"): "key",
    ("tables/schema.py", "request_key"): "key",
    ("api/dynamodb/call.py", "answer"): "encode",
    ("api/dynamodb/pages.py", "answer"): "encode",
    ("api/dynamodb/get_item.py", "_answered"): "encode",
    ("api/dynamodb/batch_get_item.py", "_answer"): "encode",
    ("api/dynamodb/writes.py", "_answered"): "encode",
    ("node/partition.py", "_propose"): "replicate",
    ("node/partition.py", "_apply"): "apply",
    ("node/partition.py", "_apply_entries"): "apply",
    ("node/partition.py", "_settle"): "apply",
    ("node/applied_rows.py", "apply"): "apply",
    ("node/in_flight.py", "propose"): "replicate",
    ("node/in_flight.py", "applied"): "apply",
    ("node/in_flight.py", "next_due"): "apply",
}
"""Functions that belong to another stage than their file."""

_OTHER: Final = "loop and measuring"
_ORDER: Final = (
    "HTTP in", "admit, parse, check", "key", "route", "evaluate", "engine", "wire", "replicate", "log", "apply",
    "encode", "measure", "HTTP out", "write", _OTHER,
)  # fmt: skip

Stack = tuple[CodeType, ...]
"""Code of the functions on the stack, outermost first."""


class Profile(msgspec.Struct, frozen=True):
    """One operation: processor time of a request, and its shares by stage and by stack."""

    operation: str
    cpu_us: float
    stages: dict[str, float]
    stacks: dict[Stack, int]


class _Sampler:
    """Collects stacks while it is on. Only in the main thread, where Python runs signal handlers."""

    def __init__(self) -> None:
        self.stacks: Counter[Stack] = Counter()

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self._before)

    def _take(self, _signal: int, frame: FrameType | None) -> None:
        stack: list[CodeType] = []
        while frame is not None:
            stack.append(frame.f_code)
            frame = frame.f_back
        self.stacks[tuple(reversed(stack))] += 1


def measured(seconds: float, progress: Callable[[str], None]) -> list[Profile]:
    """A profile of every operation, each sampled for `seconds`."""
    with (
        tempfile.TemporaryDirectory(prefix="gramme-profile-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_measured(Path(directory) / "node", seconds, progress))


async def _measured(directory: Path, seconds: float, progress: Callable[[str], None]) -> list[Profile]:
    profiles: list[Profile] = []
    async with embedded_node(directory) as node:
        await node.fill()
        connections = [node.connect() for _ in range(CONNECTIONS)]
        for operation, make in OPERATIONS.items():
            progress(operation)
            profiles.append(await _profile(connections, operation, [make(n) for n in range(_REQUESTS)], seconds))
    return profiles


async def _profile(
    connections: Sequence[Connection], operation: str, requests: Sequence[bytes], seconds: float
) -> Profile:
    gc.collect()
    gc.freeze()
    await _run(connections, requests)
    cpu_s = min([await _timed(connections, requests) for _ in range(5)])
    sampler = _Sampler()
    until = time.monotonic() + seconds
    with sampler:
        while time.monotonic() < until:
            await _run(connections, requests)
    samples = max(1, sampler.stacks.total())
    stages: Counter[str] = Counter()
    for stack, count in sampler.stacks.items():
        stages[stage_of(stack)] += count
    shares = {stage: count / samples for stage, count in stages.items()}
    return Profile(operation, cpu_s / len(requests) * 1e6, shares, dict(sampler.stacks))


async def _timed(connections: Sequence[Connection], requests: Sequence[bytes]) -> float:
    began = time.process_time()
    await _run(connections, requests)
    return time.process_time() - began


async def _run(connections: Sequence[Connection], requests: Sequence[bytes]) -> None:
    """All requests, as many at a time as there are connections."""
    for first in range(0, len(requests), len(connections)):
        busy = list(zip(connections, requests[first : first + len(connections)], strict=False))
        for connection, request in busy:
            connection.send(request)
        for connection, _ in busy:
            await connection.answer()


def stage_of(stack: Stack) -> str:
    """The stage of the innermost function that has one."""
    for code in reversed(stack):
        file = code.co_filename.removeprefix(_HOME)
        if file == code.co_filename or file.startswith("bench/"):
            continue
        named = _FUNCTIONS.get((file, code.co_name))
        if named is not None:
            return named
        fits = [(len(path), stage) for stage, paths in STAGES.items() for path in paths if file.startswith(path)]
        if fits:
            return max(fits)[1]
    return _OTHER


# --- what is told


def table(profiles: Sequence[Profile]) -> str:
    """Microseconds of processor time by stage, an operation in each column."""
    lines = [f"{'µs of processor time a request':24s}" + "".join(f"{p.operation:>20s}" for p in profiles)]
    for stage in _ORDER:
        cells = [profile.cpu_us * profile.stages.get(stage, 0.0) for profile in profiles]
        if any(cells):
            lines.append(f"{stage:24s}" + "".join(f"{cell:20.1f}" for cell in cells))
    lines.append(f"{'all':24s}" + "".join(f"{profile.cpu_us:20.1f}" for profile in profiles))
    return "\n".join(lines)


_WIDTH: Final = 1_200
_ROW: Final = 17
_COLOURS: Final = ("#d9822b", "#c9622b", "#e0a04a", "#b8502b", "#e6b566")


def flame(profiles: Sequence[Profile]) -> str:
    """Flame graphs as SVG, upside down, one operation below the other; hover over a box for its time."""
    boxes: list[str] = []
    row = 0
    for profile in profiles:
        _box(boxes, 0, row, _WIDTH, profile.operation, profile.cpu_us)
        stacks = [(tuple(map(_name, _shown(stack))), count) for stack, count in profile.stacks.items()]
        per_sample = profile.cpu_us / max(1, sum(profile.stacks.values()))
        row = _draw(boxes, stacks, 0, row + 1, _WIDTH / profile.cpu_us, per_sample) + 1
    height = row * _ROW
    body = "\n".join(boxes)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' font-family='sans-serif' "
        f"font-size='11'>\n<rect width='100%' height='100%' fill='white'/>\n{body}\n</svg>\n"
    )


def _shown(stack: Stack) -> Stack:
    """Without what only runs the measurement."""
    ours = [at for at, code in enumerate(stack) if code.co_filename.startswith((_HOME + "bench/", "/usr"))]
    return stack[(ours[-1] + 1 if ours else 0) :]


def _name(code: CodeType) -> str:
    return f"{code.co_filename.removeprefix(_HOME).removesuffix('.py')}:{code.co_qualname}"


def _draw(
    boxes: list[str], stacks: Sequence[tuple[tuple[str, ...], int]], left: float, row: int, scale: float, unit: float
) -> int:
    """Boxes of the calls at `row`, and above them what they call; returns the height. `scale`: pixels a µs."""
    by_name: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for names, count in stacks:
        if names:
            by_name.setdefault(names[0], []).append((names[1:], count))
    deepest = row
    for name, inner in sorted(by_name.items()):
        micros = unit * sum(count for _, count in inner)
        if micros * scale >= 0.5:
            _box(boxes, left, row, micros * scale, name, micros)
            deepest = max(deepest, _draw(boxes, inner, left, row + 1, scale, unit))
        left += micros * scale
    return max(deepest, row + 1) if by_name else row


def _box(boxes: list[str], left: float, row: int, width: float, name: str, micros: float) -> None:
    colour = _COLOURS[hash(len(name) + row) % len(_COLOURS)]
    label = escape(name.rpartition(":")[2][: int(width / 6.2)])
    boxes.append(
        f"<g><title>{escape(name)} {micros:.1f} µs</title>"
        f"<rect x='{left:.1f}' y='{row * _ROW}' width='{max(0.3, width - 0.4):.1f}' height='{_ROW - 1}' "
        f"fill='{colour}'/><text x='{left + 2:.1f}' y='{row * _ROW + 12}'>{label}</text></g>"
    )
