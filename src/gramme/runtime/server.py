"""One node process: the real ports, the node on them, and the endpoints in front of it.

Order at start: the log writer first (it forks off before the loop and before RocksDB), then the engine, then the node
recovers, then peers, then the admin port, and the tables port last, when the node can serve (a port that listens before
it serves is what users of peers complain of). Order at stop: hand leadership over, answer what was asked, close.
Source: DESIGN.md §6, REPLICATION.md §5.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gramme.api.http import HttpRequest, Respond
from gramme.kernel.errors import Corruption, GrammeError, InvalidInput
from gramme.kernel.ids import BootId, ClusterId, Lsn, NodeId
from gramme.kernel.ports import LogDisk
from gramme.kernel.time import MILLISECOND, SECOND
from gramme.node.healing.steps import HealingSettings
from gramme.node.node import Node
from gramme.node.ports import Member, NodeSettings, Ports
from gramme.node.wire import decode_frame, encode_frame
from gramme.runtime import metrics as measured
from gramme.runtime.clock import LoopScheduler, SystemClock
from gramme.runtime.config import parse_address
from gramme.runtime.engine_loss import DAMAGED, ENGINE, EngineLoss
from gramme.runtime.frames import MAX_PAYLOAD_BYTES
from gramme.runtime.http import HttpLimits, HttpServer
from gramme.runtime.logging import configure, event_logger
from gramme.runtime.network import PeerNetwork, show_address
from gramme.runtime.throttles import Throttles
from gramme.storage.engine.contract import Engine

if TYPE_CHECKING:
    from gramme.runtime.config import Settings

_T = TypeVar("_T")
_READY_POLL_S = 0.002
_EXIT_FAILED = 1
_REMOVED = "node {} was removed from the cluster for good"


class PeerTransport:
    """Messages to peers through `PeerNetwork`, which is attached once the node is recovered."""

    def __init__(self, boot: BootId) -> None:
        self._boot = boot
        self.network: PeerNetwork | None = None

    def send(self, node: NodeId, messages: list[Any]) -> None:
        """See `kernel.ports.Transport`."""
        if self.network is None:
            return
        payload = encode_frame(self._boot, messages)
        if len(payload) <= MAX_PAYLOAD_BYTES // 2 or len(messages) == 1:
            self.network.send_bytes(node, payload)
        else:  # several large batches in one turn: a frame has a limit
            middle = len(messages) // 2
            self.send(node, messages[:middle])
            self.send(node, messages[middle:])


class NodeProcess:
    """Everything of one process. `run` returns its exit code."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.logger = configure(settings)
        self.log_event = event_logger(self.logger)
        self.clock = SystemClock()
        self.metrics = measured.Metrics()
        self.throttles = Throttles()
        self.failure: str | None = None
        self._stopping: asyncio.Event | None = None
        self._disk: Any = None
        self._engine: Any = None
        self._engine_loss: EngineLoss | None = None  # where there are others to copy the rows from
        self._servers: list[HttpServer] = []
        self._doors_open = False

    # --- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Start, serve until SIGTERM, SIGINT or a failure, stop."""
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        loop.set_exception_handler(self._on_exception)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        await self.start(loop)
        try:
            await self._serve()
            await self._stopping.wait()
        finally:
            await self.stop()
        if self.failure is not None:
            self.log_event("node failed", {"level": "error", "reason": self.failure})
            return _EXIT_FAILED
        return 0

    def open_disk(self) -> None:
        """The log's files: opened before the loop runs, because the log writer is a process of its own."""
        if not self.settings.in_memory:
            from gramme.runtime.disk.log_writer import LogWriterDisk

            self._disk = LogWriterDisk(self.settings.data_dir, self._fatal, self.settings.segment_bytes)

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the ports and recover the node; it serves nobody yet. `open_disk` comes before."""
        settings = self.settings
        boot = BootId(os.urandom(16))
        self.transport = PeerTransport(boot)
        disk, engine = self._open_storage(loop)
        ports = Ports(
            clock=self.clock,
            scheduler=LoopScheduler(loop, self.clock),
            rng=random.Random(os.urandom(32)),
            transport=self.transport,
            log_disk=disk,
            engine=engine,
            log_event=self.log_event,
            fatal=self._fatal,
        )
        lost = "" if self._engine_loss is None else self._engine_loss.reason
        self.node = Node(replace(node_settings(settings, boot), engine_lost=lost), ports)
        self.node.start()
        recovered = self.node.log.last_lsn
        if lost:
            self._settle_engine_loss(loop, recovered)
        if len(self.settings.initial_catalog) > 1:
            await self._connect(boot)

    def _open_storage(self, loop: asyncio.AbstractEventLoop) -> tuple[LogDisk, Engine]:
        if self.settings.in_memory:
            from gramme.runtime.disk.memory import MemoryLogDisk
            from gramme.storage.engine.memory import MemoryEngine

            self._engine = MemoryEngine(_soon(loop))
            return MemoryLogDisk(loop.call_soon), self._engine
        self._disk.attach(loop)
        if len(self.settings.initial_catalog) > 1:
            self._engine_loss = EngineLoss(Path(self.settings.data_dir))
        self._engine = self._open_engine(loop)
        return self._disk, self._engine

    def _open_engine(self, loop: asyncio.AbstractEventLoop) -> Engine:
        """The engine, or an empty one in the place of one that is damaged. Raises `Corruption` in a cluster of one."""
        from gramme.runtime.rocks import RocksEngine, RocksSettings

        def engine() -> Engine:
            return RocksEngine(
                Path(self.settings.data_dir) / ENGINE, loop.call_soon_threadsafe, lambda e: self._fatal(str(e)),
                RocksSettings(block_cache_bytes=self.settings.engine_cache_bytes), self._engine_damaged,
            )  # fmt: skip

        loss = self._engine_loss
        if loss is None or not loss.reason:
            try:
                return engine()
            except Corruption as error:
                if loss is None:
                    raise
                loss.note(str(error))
        self.log_event("engine replaced", {"level": "error", "reason": loss.reason, "kept": DAMAGED})
        loss.put_aside()
        return engine()

    async def _connect(self, boot: BootId) -> None:
        settings = self.settings
        addresses = {m.node: parse_address(m.peer_address) for m in self.node.members.all}
        network = PeerNetwork(
            self.node.me, self.node.cluster, boot, addresses, self._on_frame,
            on_connect=lambda node, _boot: self.node.on_connect(node), on_disconnect=self.node.on_disconnect,
            log_event=self.log_event, refuses=self._why_refused,
            on_refusal=self._on_refusal,
        )  # fmt: skip
        self.transport.network = network
        self.node.on_members = self._follow_members
        await _bound("peer_port", network.start(settings.listen_host, settings.peer_port))

    def _follow_members(self) -> None:
        """Nodes have joined or left: dial them, or no more."""
        network, members = self.transport.network, self.node.members
        assert network is not None
        for member in members.all:
            network.set_address(member.node, parse_address(member.peer_address))
        for node in members.removed:
            network.remove(node)

    def _why_refused(self, node: NodeId) -> str:
        return _REMOVED.format(node) if node in self.node.members.removed else ""

    def _on_refusal(self, reason: str) -> None:
        """A peer closed the door. Its reason may be a mistake of its operator's, but for this one."""
        if reason == _REMOVED.format(self.node.me):
            self._fatal(reason)

    def _on_frame(self, source: NodeId, payload: bytes) -> None:
        try:
            boot, messages = decode_frame(payload)
        except Corruption as error:
            self.log_event("frame refused", {"level": "warning", "from": source, "reason": str(error)})
            return
        self.node.on_messages(source, boot, messages)

    async def _serve(self) -> None:
        """Listen on the admin port at once, on the tables ports when the node can serve."""
        from gramme.runtime.endpoints import admin_handler, objects_handler, register_metrics, tables_handler

        gc.enable()  # see `cli._serve`
        settings = self.settings
        register_metrics(self)
        admin = self._server(admin_handler(self))
        await _bound("admin_port", admin.listen(settings.listen_host, settings.admin_port))
        assert self._stopping is not None
        while not self.node.objects.ready and not self._stopping.is_set():
            await asyncio.sleep(_READY_POLL_S)
        objects = self._server(objects_handler(self))  # they need nobody's quorum
        objects_port = await _bound("objects_port", objects.listen(settings.listen_host, settings.objects_port))
        self.node.gossip.update(objects_address=show_address((settings.client_host, objects_port)))
        while not self.node.ready and not self._stopping.is_set():
            if self.node.refusal:
                self._fatal(self.node.refusal)
            await asyncio.sleep(_READY_POLL_S)
        if self._stopping.is_set():
            return
        tables = self._server(tables_handler(self))
        port = await _bound("tables_port", tables.listen(settings.listen_host, settings.tables_port))
        if settings.shared_port:
            shared = tables.listen(settings.listen_host, settings.shared_port, reuse_port=True)
            await _bound("shared_port", shared)
        self._doors_open = True
        gc.collect()
        gc.freeze()
        host = settings.client_host
        sys.stderr.write(f"ready tables=http://{host}:{port} objects={objects_port} admin={settings.admin_port}\n")
        sys.stderr.flush()

    def unready(self) -> str:
        """Why others should not rely on this node yet, "" when they may: `Node.unready`, and whether it listens."""
        return self.node.unready() or ("" if self._doors_open else "starting: not all ports are open yet")

    def _server(self, handler: Callable[[HttpRequest, Respond], None]) -> HttpServer:
        limits = HttpLimits(max_connections=self.settings.max_connections, idle_s=self.settings.idle_keep_alive_s)
        server = HttpServer(handler, limits, self._on_handler_error)
        self._servers.append(server)
        return server

    async def stop(self) -> None:
        """Hand leadership over, answer what was asked, close."""
        node = self.node
        if self.failure is None:
            drained = asyncio.Event()
            node.drain(drained.set)
            await drained.wait()
            for server in self._servers:
                await server.drain(self.settings.shutdown_deadline_ms / 1000)
        node.stop()
        if self.transport.network is not None:
            await self.transport.network.close()
        if self._engine is not None:
            self._engine.close()
        if self._disk is not None:
            self._disk.close()

    def _settle_engine_loss(self, loop: asyncio.AbstractEventLoop, recovered: Lsn) -> None:
        """Once the log is durable up to `recovered`, which replicas are to be made anew is not forgotten any more."""
        assert self._engine_loss is not None
        if self.node.log.durable_lsn >= recovered:
            self._engine_loss.settled()
        elif self.failure is None:
            loop.call_later(_READY_POLL_S, self._settle_engine_loss, loop, recovered)

    # --- failures -------------------------------------------------------------------------------------------------

    def _fatal(self, reason: str) -> None:
        """The node must not go on: nothing is answered after this."""
        if self.failure is None:
            self.failure = reason
        if self._stopping is not None:
            self._stopping.set()

    def _engine_damaged(self, damage: str) -> None:
        """Rows are gone. The others have them: the next start begins with none, and gets them from there."""
        if self._engine_loss is not None:
            self._engine_loss.note(damage)
            self._fatal(damage)

    def _on_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception escaped a callback of the node: a broken invariant. Stop rather than guess."""
        error = context.get("exception")
        self.log_event("invariant broken", {"level": "error", "message": context.get("message"), "exc_info": error})
        if hasattr(self, "node"):
            self.node.stop()
        self._fatal(f"{type(error).__name__}: {error}" if error is not None else str(context.get("message")))

    def _on_handler_error(self, error: Exception) -> None:
        self.log_error("a handler failed", error)

    def log_error(self, text: str, error: Exception | None) -> None:
        """One line for an answer of status 500, or for a member that is ignored."""
        if error is None:
            self.log_event("request", {"level": "warning", "what": text})
        else:
            self.log_event("request failed", {"level": "error", "what": text, "exc_info": error})


def _soon(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], None]:
    def call_soon(callback: Callable[[], None]) -> None:
        loop.call_soon(callback)

    return call_soon


async def _bound(setting: str, listening: Awaitable[_T]) -> _T:
    """Wait for a listener. Raises `InvalidInput`, which names the setting, when the port cannot be had."""
    try:
        return await listening
    except OSError as error:
        raise InvalidInput(f"{setting}: {error.strerror or error}") from None


def node_settings(settings: Settings, boot: BootId) -> NodeSettings:
    """The node's part of the settings."""
    known = [
        (m.founder, Member(NodeId(m.node), m.name, m.host, m.zone, m.peer_address()[0], m.address))
        for m in settings.initial_catalog
    ]
    members = tuple(member for founder, member in known if founder) or (
        Member(NodeId(settings.node_id), settings.display_name, settings.host, settings.zone, settings.client_host),
    )
    return NodeSettings(
        me=NodeId(settings.node_id),
        cluster=ClusterId(bytes.fromhex(settings.cluster_id)) if settings.cluster_id else None,
        boot=boot,
        members=members,
        joined=tuple(member for founder, member in known if not founder),
        grant_ns=settings.grant_ms * MILLISECOND,
        renewal_ns=settings.renewal_ms * MILLISECOND,
        expiry_period_ns=settings.expiry_period_ms * MILLISECOND,
        expiry_rows_per_s=settings.expiry_rows_per_s,
        tombstone_age_ns=settings.object_tombstone_age_s * SECOND,
        eventual_read_max_lag_ns=settings.eventual_read_max_lag_ms * MILLISECOND,
        eventual_reads_any=settings.eventual_reads == "any",
        control_plane_delay_ns=settings.control_plane_delay_ms * MILLISECOND,
        segment_bytes=settings.segment_bytes,
        flush_bytes=settings.flush_bytes,
        flush_interval_ns=settings.flush_interval_ms * MILLISECOND,
        free_space_reserve_bytes=settings.free_space_reserve_bytes,
        retain_log_bytes=settings.retain_log_bytes,
        request_limit=settings.max_queued_requests,
        snapshot_bytes_per_s=settings.snapshot_bytes_per_s,
        healing=HealingSettings(
            settings.log_replica_after_ms * MILLISECOND,
            settings.replace_after_ms * MILLISECOND,
            enabled=settings.healing == "on",
        ),
        objects_weight=settings.objects_weight,
        objects_read_p99_ns=settings.objects_read_p99_ms * MILLISECOND,
    )


def run(settings: Settings) -> int:
    """Run one node in this process until it is told to stop; returns the exit code."""
    process = NodeProcess(settings)
    try:
        process.open_disk()
        import uvloop

        return uvloop.run(process.run())
    except GrammeError as error:
        process.log_event("node cannot start", {"level": "error", "reason": str(error)})
        return _EXIT_FAILED
