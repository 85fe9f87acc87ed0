"""What a node process serves on its ports, and what it shows of itself: handlers and metrics around one node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from gramme.api.admin import AdminApi
from gramme.api.backend import Backend
from gramme.api.dynamodb.service import DynamoDbApi
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.http import Handler, HttpRequest, Respond
from gramme.api.members_admin import MembersAdmin
from gramme.api.objects.service import ObjectsApi
from gramme.runtime import compiled
from gramme.runtime.garbage import GarbagePause
from gramme.runtime.metrics import CONTENT_TYPE, measured
from gramme.runtime.object_metrics import ObjectMetrics
from gramme.runtime.test_controls import NodeTestControls
from gramme.runtime.throttles import ThrottledBackend

if TYPE_CHECKING:
    from gramme.node.node import Node
    from gramme.runtime.server import NodeProcess


def tables_handler(process: NodeProcess) -> Handler:
    """The DynamoDB API of the node, measured per operation."""
    settings = process.settings
    api_settings = ApiSettings(
        region=settings.region,
        account_id=settings.account_id,
        cors_origins=tuple(origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()),
        request_deadline_ms=settings.request_deadline_ms,
        control_plane_delay_ms=settings.control_plane_delay_ms,
        unsupported=settings.unsupported,
    )

    ports = process.node.ports
    loop = asyncio.get_running_loop()
    garbage = GarbagePause(loop.call_later, loop.time)

    def between_steps(go_on: Callable[[], None]) -> None:
        garbage.extend()
        ports.scheduler.call_soon(go_on)

    def handler(backend: Backend) -> Handler:
        return DynamoDbApi(backend, process.clock, ports.rng, api_settings, process.log_error, between_steps).handle

    router = process.node.router
    if not settings.test_controls:
        return measured(handler(router), process.metrics)
    single = handler(ThrottledBackend(router, process.throttles, batches=False))
    batches = handler(ThrottledBackend(router, process.throttles, batches=True))

    def serve(request: HttpRequest, respond: Respond) -> None:
        (batches if b".Batch" in request.headers.get(b"x-amz-target", b"") else single)(request, respond)

    return measured(serve, process.metrics)


def objects_handler(process: NodeProcess) -> Handler:
    """Objects in Riak's manner, measured per operation."""
    node = process.node
    observers = ObjectMetrics(process.metrics, node)
    return ObjectsApi(node.objects, process.clock, node.ports.rng, process.log_error, observers).handle


def admin_handler(process: NodeProcess) -> Handler:
    """Health, metrics, cluster view, console, and test controls where they are switched on."""
    node = process.node
    encode = msgspec.json.Encoder().encode
    controls = NodeTestControls(node, process.clock, process.throttles) if process.settings.test_controls else None
    return AdminApi(
        ready=lambda: process.unready() or None,
        metrics=process.metrics.render,
        metrics_type=CONTENT_TYPE.encode(),
        cluster=lambda: encode({**node.status(), "ready": not process.unready(), "compiled": compiled.active()}),
        sections=lambda: encode(node.objects.sections()),
        controls=controls,
        ring=node.objects.ring,
        members=MembersAdmin(node.administration, node.cluster.hex()),
        log=process.log_error,
    ).handle


def _in_health(node: Node, health: str) -> float:
    led = [partition for partition in node.groups.partitions.values() if partition.leading]
    return float(sum(node.healer.health(partition)[0] == health for partition in led))


def register_metrics(process: NodeProcess) -> None:
    """Numbers that the node keeps anyway."""
    metrics, node = process.metrics, process.node

    def groups(pick: Callable[[Any], float]) -> Callable[[], float]:
        return lambda: sum(pick(partition) for partition in node.groups.partitions.values())

    metrics.gauge("gramme_groups", "Replicas that this node hosts", groups(lambda _p: 1))
    metrics.gauge("gramme_groups_led", "Groups that this node leads", groups(lambda p: p.leading))
    for health in ("healing", "degraded"):
        text = f"Groups led by this node that are {health}"
        metrics.gauge(f"gramme_groups_{health}", text, partial(_in_health, node, health))
    metrics.gauge("gramme_requests_waiting", "Requests without an answer yet", lambda: node.router.waiting)
    metrics.gauge("gramme_log_segments", "Segments of the log", lambda: len(node.log.segment_stats()))
    metrics.gauge("gramme_log_unwritten_bytes", "Bytes that wait for the disk", lambda: node.log.unwritten_bytes)
    metrics.gauge("gramme_ready", "Whether others may rely on the node", lambda: float(not process.unready()))
    for name, text, read in (
        ("gramme_log_syncs", "Fsyncs of the log", lambda: node.host.fsyncs),
        ("gramme_log_records", "Records appended to the log", lambda: node.log.last_lsn),
        ("gramme_router_retries", "Attempts beyond the first", lambda: node.router.retries),
        ("gramme_stale_reads", "Eventual reads served by a stale replica", lambda: node.router.stale_reads),
        ("gramme_items_expired", "Items deleted because their time was over", lambda: node.expiry.deleted),
        ("gramme_snapshots_sent", "Snapshots streamed to peers", lambda: node.snapshots_out.sent),
        ("gramme_snapshots_installed", "Snapshots installed here", lambda: node.snapshots_in.installed),
        ("gramme_reconfigurations", "Changes of replicas begun by this node", lambda: node.healer.steps),
        ("gramme_engine_flushes", "Flushes of the engine", lambda: node.flusher.flushes),
    ):
        metrics.readings(name, text, (), _single(read), grows=True)


def _single(read: Callable[[], float]) -> Callable[[], list[tuple[tuple[str, ...], float]]]:
    return lambda: [((), float(read()))]
