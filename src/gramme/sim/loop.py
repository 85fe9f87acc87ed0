"""An event loop that takes time: a `Process` that serves one callback after the other, each as long as it costs.

Owns a node's queue. Without it, a simulated node does in no time whatever it is asked, and no load is too much for it.
Here what is ready waits in its order; a callback holds the loop for its cost, and what it sends, answers or writes
leaves at the end of that. What is asked for by `call_soon` stands behind what was ready then. The cost is the sum of
the parts that the callback consists of (`Meter`), of which each has a kind: a request, a message, a frame, a job of the
log, a timer. Off by default: `SimCluster` is given `BusyProcess` instead of `Process` by whoever wants it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from gramme.api.http import HttpRequest
from gramme.kernel.ids import NodeId
from gramme.kernel.ports import LogDisk, SegmentWrite
from gramme.node.messages import Forward, Forwarded
from gramme.sim.world import Event, MachineClock, Process, World

REQUEST: Final = "request"
ANSWER: Final = "answer"
FRAME_IN: Final = "frame in"
FRAME_OUT: Final = "frame out"
LOG_JOB: Final = "log job"
"""What also happens outside the simulated code: sockets, HTTP, the log writer, the engine."""

_OWN: Final = ("SimLogDisk.", "MemoryEngine.")
"""Callbacks that are the simulator's own work: they cost nothing, but for what they call."""

_NAMES: Final = {"SimCluster._deliver": FRAME_IN}


class Meter:
    """What the parts of callbacks cost, in ns: either what `clock` says that this one took here and now, or a price for
    each kind. To both, `extra` adds for what the simulator does not do. Counts what it has charged for."""

    def __init__(
        self, clock: Callable[[], int], extra: Mapping[str, int], prices: Mapping[str, int] | None = None
    ) -> None:
        """`prices` of None: what was measured counts. Of a kind without a price too."""
        self.clock = clock
        self.extra = extra
        self.prices = prices
        self.counts: dict[str, int] = {}
        self.took_ns: dict[str, int] = {}

    def charge(self, kind: str, took_ns: int) -> int:
        """The cost of one more of this kind, which took so long here."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.took_ns[kind] = self.took_ns.get(kind, 0) + took_ns
        price_ns = took_ns if self.prices is None else self.prices.get(kind, took_ns)
        return price_ns + self.extra.get(kind, 0)

    def forget(self) -> None:
        """Count from nought again."""
        self.counts.clear()
        self.took_ns.clear()


class BusyProcess(Process):
    """One incarnation of a node whose loop can be busy. `busy_ns` is for how long it was."""

    def __init__(self, meter: Meter, world: World, node: NodeId, incarnation: int, clock: MachineClock) -> None:
        super().__init__(world, node, incarnation, clock)
        self.busy_ns = 0
        self._meter = meter
        self._ready: deque[Event] = deque()
        self._serving = self._running = False
        self._leaving: list[Callable[[], None]] = []
        self._answered = False
        self._cost_ns = self._parts_ns = 0

    # --- the queue ------------------------------------------------------------------------------------------------

    def admits(self, event: Event) -> bool:
        """Never: an event that may run waits for its turn, which may be now."""
        if super().admits(event):
            self._ready.append(event)
            if not self._serving:
                self._serve()
        return False

    def kill(self) -> None:
        """See `Process.kill`: what was being served leaves nothing."""
        super().kill()
        self._ready.clear()

    def _serve(self) -> None:
        while self._ready:
            callback = self._ready.popleft().callback
            if callback is not None:
                cost_ns = self._cost(callback)
                self.busy_ns += cost_ns
                self._serving = True
                self._world.after(cost_ns, self._served)
                return

    def _served(self) -> None:
        self._serving = False
        leaving, self._leaving = self._leaving, []
        if self.alive:
            for action in leaving:
                action()
        if self.alive and not self.paused:
            self._serve()

    def resume(self) -> None:
        """See `Process.resume`: what was ready before is still first."""
        super().resume()
        if not self._serving:
            self._serve()

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run `callback` behind what is ready now."""
        self._world.after(0, callback, self)

    # --- what a callback costs ------------------------------------------------------------------------------------

    def _cost(self, callback: Callable[[], None]) -> int:
        """Run `callback`; returns what it and its parts cost."""
        clock = self._meter.clock
        self._cost_ns = self._parts_ns = 0
        self._answered, self._running = False, True
        began_ns = clock()
        callback()
        self._running = False
        own_ns = clock() - began_ns - self._parts_ns
        kind = _kind(callback)
        if isinstance(callback, _Served):
            self._cost_ns += self._meter.charge(REQUEST, 0)
            kind = f"{callback.operation}, {'answered' if self._answered else 'passed on'}"
        if not kind.startswith(_OWN):
            self._cost_ns += self._meter.charge(kind, own_ns)
        return self._cost_ns

    def work(self, kind: str, callback: Callable[[], Any]) -> Any:
        """See `Process.work`."""
        clock = self._meter.clock
        outer_ns, self._parts_ns = self._parts_ns, 0
        began_ns = clock()
        result = callback()
        took_ns = clock() - began_ns
        if kind:
            self._cost_ns += self._meter.charge(kind, took_ns - self._parts_ns)
        self._parts_ns = outer_ns + took_ns
        return result

    def emit(self, action: Callable[[], None], kind: str = "") -> None:
        """See `Process.emit`: once what is being served has been; at once while the process is being started."""
        if not self._running:
            action()
            return
        if kind:
            self._answered = True
            self._cost_ns += self._meter.charge(kind, 0)
        self._leaving.append(action)

    def serve(self, request: HttpRequest, callback: Callable[[], None]) -> None:
        """See `Process.serve`."""
        target = request.headers.get(b"x-amz-target", request.method.encode())
        self.post(_Served(target.rpartition(b".")[2].decode(), callback))

    def hear(self, messages: list[Any], on_messages: Callable[[list[Any]], None]) -> None:
        """See `Process.hear`: each message is a part of its own."""
        for message in messages:
            self.work(_message_kind(message), partial(on_messages, [message]))

    def disk(self, disk: LogDisk) -> LogDisk:
        """See `Process.disk`."""
        return _Disk(self, disk)


class _Served:
    """A client's request and what answers it."""

    __slots__ = ("_callback", "operation")

    def __init__(self, operation: str, callback: Callable[[], None]) -> None:
        self.operation = operation
        self._callback = callback

    def __call__(self) -> None:
        self._callback()


class _Disk:
    """`LogDisk`: a job is handed over when the callback that submits it has been served, and what its end costs is a
    part of its own."""

    def __init__(self, process: BusyProcess, disk: LogDisk) -> None:
        self._process = process
        self._disk = disk
        self.segments = disk.segments
        self.read = disk.read
        self.delete = disk.delete
        self.free_bytes = disk.free_bytes

    def submit(self, writes: Iterable[SegmentWrite], on_durable: Callable[[], None]) -> None:
        process, jobs = self._process, list(writes)
        process.emit(lambda: self._disk.submit(jobs, lambda: process.work(LOG_JOB, on_durable)))


def _kind(callback: Callable[[], None]) -> str:
    function = callback.func if isinstance(callback, partial) else callback
    name: str = getattr(function, "__qualname__", type(function).__name__).partition(".<locals>")[0]
    return _NAMES.get(name, name)


def _message_kind(message: Any) -> str:
    name = type(message).__name__
    if type(message) is Forward:
        return f"{name} of {type(message.request).__name__}"
    if type(message) is Forwarded:
        return f"{name} of {type(message.reply).__name__}"
    return name
