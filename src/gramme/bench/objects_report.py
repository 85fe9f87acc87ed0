"""What `gramme bench objects` found, as Markdown and pictures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import msgspec

from gramme.bench import markdown
from gramme.bench.gossip import Cost
from gramme.bench.latency import Latency
from gramme.bench.lines import Axis, Line, chart, ticks
from gramme.bench.objects import NODES, SLA_MS, Buffered, Capacity, Driven, Failover, Session, Sla
from gramme.bench.svg import COLOURS


class Objects(msgspec.Struct, frozen=True):
    """All of it; what was not measured is empty."""

    sla: Sla | None = None
    capacity: Capacity | None = None
    driven: list[Driven] = []
    sessions: list[Session] = []
    buffered: list[Buffered] = []
    failover: Failover | None = None
    gossip: list[Cost] = []


def section(found: Objects) -> str:
    """What a page says of it, below its heading."""
    parts = [
        "Real processes on loopback, all on one machine together with the generator: ratios count, milliseconds do "
        "not travel. Values of 1 KiB, 10,000 keys, n = 3, r = w = dw = quorum unless said otherwise; latency counts "
        "from when a request was due.",
        *_sla(found),
        *_driven(found.driven),
        *_sessions(found.sessions),
        *_buffered(found.buffered),
        *_failover(found.failover),
        *_gossip(found.gossip),
    ]
    return "\n\n".join(parts) + "\n"


def pictures(found: Objects) -> dict[str, str]:
    """By the names of their files."""
    drawn = {}
    if found.buffered:
        drawn["objects-buffered.svg"] = _buffered_picture(found.buffered)
    if found.failover is not None:
        drawn["objects-failover.svg"] = _failover_picture(found.failover)
    return drawn


def _latencies(what: str, latency: Latency) -> tuple[object, ...]:
    figures = (latency.mean, latency.p50, latency.p99, latency.p999, latency.longest)
    return (what, f"{latency.count:,}", latency.failed, *map(markdown.ms, figures))


def _sla(found: Objects) -> list[str]:
    sla, capacity = found.sla, found.capacity
    if sla is None or capacity is None:
        return []
    failed = sla.reads.failed + sla.writes.failed
    met = "met" if max(sla.reads.p999, sla.writes.p999) < SLA_MS and not failed else "missed"
    return [
        f"**99.9 % within {SLA_MS} ms with a node down** (row A40): {met}. {sla.per_s:.0f} requests/s for "
        f"{sla.seconds:.0f} s, Poisson arrivals, half of them writes, any of {NODES} nodes asked; one is killed after "
        "a third and stays away. A request whose connection breaks is sent to another node and goes on counting.",
        markdown.table(
            ("", "requests", "failed", "mean ms", "p50", "p99", "p99.9", "longest"),
            [
                _latencies("reads", sla.reads),
                _latencies("writes", sla.writes),
                _latencies("both, after the kill", sla.after_kill),
            ],
        ),
        f"The generator (99.9 % sent within {markdown.ms(sla.late_ms)} ms of when they were due) can do twice the "
        f"rate: of {capacity.offered_per_s:,.0f}/s offered to `GET /ping` {capacity.answered_per_s:,.0f}/s were "
        f"answered, 99.9 % sent within {markdown.ms(capacity.late_ms)} ms.",
    ]


def _driven(rounds: Sequence[Driven]) -> list[str]:
    if not rounds:
        return []
    rows = []
    for kind, what, paper in (
        (0, "reads", ("3.9 → 1.55", "68.9 → 30.4")),
        (1, "writes", ("4.02 → 1.9", "68.5 → 30.4")),
    ):
        picks: tuple[tuple[str, Callable[[Latency], float], str], ...] = (
            ("mean", lambda latency: latency.mean, paper[0]),
            ("p99.9", lambda latency: latency.p999, paper[1]),
        )
        for name, pick, quoted in picks:
            server = [pick(one.server[kind]) for one in rounds]
            client = [pick(one.client[kind]) for one in rounds]
            before, after = (float(part) for part in quoted.split(" → "))
            rows.append(
                (
                    f"{what}, {name}", markdown.ms(statistics.median(server)), markdown.ms(statistics.median(client)),
                    _ratios(server, client), f"{quoted} ({before / after:.1f})",
                )
            )  # fmt: skip
    return [
        f"**Client-driven against server-driven** (row A18; the paper's Table 2), {len(rounds)} pairs of runs at the "
        "same time, 125 requests/s each: any node, which sends a write on to a coordinator, and the first primary of "
        "the object's preference list, as a client finds it by `GET /ring`. There is no load balancer and no network "
        "between the nodes here, which is what the paper's clients were spared; what is left of the gain is the "
        "processor's time for one hop.",
        markdown.table(("", "any node, ms", "coordinator, ms", "ratio (lowest to highest)", "paper, ms"), rows),
    ]


def _ratios(above: Sequence[float], below: Sequence[float]) -> str:
    ratios = sorted(one / other for one, other in zip(above, below, strict=True) if other)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if ratios else ""


def _sessions(rounds: Sequence[Session]) -> list[str]:
    if not rounds:
        return []
    rows = []
    for preferred, what in ((True, "yes"), (False, "no")):
        chosen = [one for one in rounds if one.preferred == preferred]
        shares = sorted(one.seen for one in chosen)
        rows.append(
            (
                what, sum(one.writes.count for one in chosen),
                f"{statistics.median(shares):.2%} ({shares[0]:.2%} to {shares[-1]:.2%})",
                markdown.ms(statistics.median(one.writes.mean for one in chosen)),
                markdown.ms(statistics.median(one.writes.p999 for one in chosen)),
            )
        )  # fmt: skip
    return [
        "**The replica that read fastest coordinates** (row A16): clients read (r=1), write (w=1) and read again, each "
        "time at any node; the context of the first read names the fastest replica, or does not.",
        markdown.table(("named", "writes", "saw their own write", "write mean ms", "write p99.9 ms"), rows),
    ]


def _buffered(buckets: Sequence[Buffered]) -> list[str]:
    if not buckets:
        return []
    plain = buckets[0]
    rows = []
    for bucket in buckets:
        mean, p999 = [one.mean for one in bucket.writes], [one.p999 for one in bucket.writes]
        rows.append(
            (
                bucket.bucket, markdown.ms(statistics.median(mean)), _ratios([one.mean for one in plain.writes], mean),
                markdown.ms(statistics.median(p999)), _ratios([one.p999 for one in plain.writes], p999),
                f"{statistics.median(bucket.saturated_per_s):,.0f}",
                f"{statistics.median(bucket.fsyncs_per_write):.2f}",
            )
        )  # fmt: skip
    head = ("bucket", "mean ms", "times shorter", "p99.9 ms", "times shorter", "writes/s at most", "fsyncs a write")
    return [
        "**Buffered writes** (row A42; the paper's Figure 5: 99.9th percentile 5 times shorter at peak), three buckets "
        f"written to at the same time, 167 writes/s each, {len(plain.writes)} rounds; throughput and fsyncs (of all "
        "nodes together) of each bucket alone. What the other copies cost is their fsync; what buffering gives up is "
        "in [decision 0081](decisions/0081-buffered-writes-wait-in-the-log.md).",
        markdown.table(head, rows),
        "The picture has the 99.9th percentile of each second, which of so few writes is the longest.",
        "![99.9th percentile of writes](benchmarks/objects-buffered.svg)",
    ]


def _buffered_picture(buckets: Sequence[Buffered]) -> str:
    lines = [
        Line(bucket.bucket, list(enumerate(bucket.windows)), COLOURS[at]) for at, bucket in enumerate(buckets)
    ]  # fmt: skip
    highest = ticks(max(value for bucket in buckets for value in bucket.windows))
    x = Axis("seconds, three buckets at the same time", 0, len(buckets[0].windows) - 1, ())
    y = Axis("99.9th percentile of a second's writes, ms", 0, highest[-1], highest)
    return chart("Buffered and direct writes", x, y, lines)


def _failover(found: Failover | None) -> list[str]:
    if found is None:
        return []
    return [
        f"**Writes while a leader is gone** (row A39): {found.per_s:.0f} writes/s to objects with w=1 and to a table "
        f"of one partition; after {found.killed_at_s:.0f} s its leader is killed. Without an acknowledgement within "
        f"{found.patience_s:.0f} s, tries at other nodes included: {sum(found.objects)} writes of objects, "
        f"{sum(found.table)} of the table, whose other two replicas wait for the leader's lease to end.",
        "![Refused writes](benchmarks/objects-failover.svg)",
    ]


def _failover_picture(found: Failover) -> str:
    highest = ticks(max(1, *found.objects, *found.table))
    x = Axis(
        f"second in which the write was due (leader killed at {found.killed_at_s:.0f})", 0, len(found.table) - 1, ()
    )
    y = Axis("writes not acknowledged in time", 0, highest[-1], highest)
    lines = [
        Line("table, at its leader", list(enumerate(found.table)), COLOURS[4]),
        Line("objects, w=1", list(enumerate(found.objects)), COLOURS[0]),
    ]
    return chart("A node is killed", x, y, lines)


def _gossip(costs: Sequence[Cost]) -> list[str]:
    if not costs:
        return []
    rows = [
        (cost.nodes, f"{cost.sent_per_s:,.0f}", f"{cost.frames_per_s:.1f}", cost.partitions, f"{cost.ring_bytes:,}")
        for cost in costs
    ]
    return [
        "**What it costs that every node knows everything** (row A46): real gossip machines in virtual time, nothing "
        "changing. The ring is not gossiped: a node fetches it when it changes.",
        markdown.table(
            ("nodes", "gossip sent, bytes/s per node", "frames/s", "ring's partitions", "ring, bytes (once a change)"),
            rows,
        ),
    ]
