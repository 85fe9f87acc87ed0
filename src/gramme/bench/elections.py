"""`gramme bench elections`: how often leaders change while links and disks fail in part, with the poll and without it.

Production nodes in virtual time (`gramme.sim`), three of them, one table of four partitions; node 0 leads some groups
and follows in others, so each fault meets both. Every node is asked to write every key again and again. "Without" is a
planted fault: candidates ask nobody before they promise themselves a higher ballot, which is Paxos without the poll of
DynamoDB (ATC 2022, §6.2; row F5). The same seed gives the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import msgspec

from gramme.api.http import HttpRequest, HttpResponse
from gramme.bench import markdown
from gramme.bench.errors import CannotMeasure
from gramme.bench.records import Record, Run, Section
from gramme.kernel.effects import Effects
from gramme.kernel.ids import Ballot, GroupId, NodeId, ballot_round
from gramme.kernel.time import MILLISECOND, SECOND, Instant
from gramme.paxos.messages import Poll
from gramme.paxos.replica import GroupReplica
from gramme.sim.client import Client
from gramme.sim.cluster import SimCluster
from gramme.sim.configs import CONFIGS
from gramme.sim.guard import forbid_ambient
from gramme.sim.network import NORMAL
from gramme.sim.tables import Administrator
from gramme.sim.workload import Recorder
from gramme.sim.world import World

_TABLE: Final = "written"
_KEYS: Final = tuple(f"k{number}" for number in range(6))
_PAUSE_NS: Final = 500 * MILLISECOND
_LOOK_NS: Final = 10 * MILLISECOND
_WARM_UP_NS: Final = 20 * SECOND
_FOUNDING_NS: Final = 20 * SECOND
_HOUR_NS: Final = 3_600 * SECOND
_SEEDS: Final = 2

Way = tuple[int, int]
_LINK: Final[tuple[Way, ...]] = ((0, 1), (1, 0))


class Scenario(msgspec.Struct, frozen=True):
    """A fault of the `ways` (source, target), on for `on_ns` and off for `off_ns` in turn (0: never off).

    `share` of the frames is lost, the others come `late_ns` later. `disk`: instead, the log disk of node 0 hangs.
    """

    name: str
    ways: tuple[Way, ...] = ()
    share: float = 1.0
    late_ns: int = 0
    on_ns: int = SECOND
    off_ns: int = 0
    disk: bool = False


SCENARIOS: Final = (
    Scenario("no fault"),
    Scenario("link 0-1 cut for good", _LINK),
    Scenario("1 does not hear 0, for good", ((0, 1),)),
    Scenario("link 0-1 flaps: 2 s down, 2 s up", _LINK, on_ns=2 * SECOND, off_ns=2 * SECOND),
    Scenario("1 does not hear 0, for 2 s of 4", ((0, 1),), on_ns=2 * SECOND, off_ns=2 * SECOND),
    Scenario("link 0-1 loses 60 % of the frames", _LINK, share=0.6),
    Scenario("link 0-1 loses 90 % of the frames", _LINK, share=0.9),
    Scenario("link 0-1 takes 1 s each way", _LINK, share=0.0, late_ns=SECOND),
    Scenario("nobody hears 0, for 10 s of 60", ((0, 1), (0, 2)), on_ns=10 * SECOND, off_ns=50 * SECOND),
    Scenario("0 hears nobody, for 10 s of 60", ((1, 0), (2, 0)), on_ns=10 * SECOND, off_ns=50 * SECOND),
    Scenario("log disk of 0 hangs, for 10 s of 60", on_ns=10 * SECOND, off_ns=50 * SECOND, disk=True),
)


class Measured(msgspec.Struct, frozen=True):
    """What came of one scenario. `changes` of leader, of which `handed` were hand-overs begun by nodes themselves, and
    `ballots` promised, all groups together, per hour. `pause_ms`: the longest time in which no write of some key
    succeeded by way of any node. `refused`: the share of all requests that were answered with an error, in percent."""

    changes: float
    handed: float
    ballots: float
    pause_ms: float
    refused: float


class Row(msgspec.Struct, frozen=True):
    """One scenario with the poll and without it."""

    name: str
    polled: Measured
    unpolled: Measured


@contextmanager
def without_poll() -> Iterator[None]:
    """Planted: a candidate does not ask whether others hear the leader; nor does it wait for their answers."""
    original = GroupReplica._consider_campaign

    def hasty(self: GroupReplica, now: Instant, out: Effects) -> None:
        original(self, now, out)
        if self.campaign is not None:
            out.sends = [(node, message) for node, message in out.sends if not isinstance(message, Poll)]
            self.prepare(Ballot(0), now, out)

    GroupReplica._consider_campaign = hasty  # type: ignore[method-assign]
    try:
        yield
    finally:
        GroupReplica._consider_campaign = original  # type: ignore[method-assign]


def rows(minutes: float, seeds: int, first_seed: int = 1, scenarios: Iterable[Scenario] = SCENARIOS) -> Iterator[Row]:
    """Every scenario under `seeds` seeds, each for so many virtual minutes."""
    for scenario in scenarios:
        numbers = range(first_seed, first_seed + seeds)
        polled = mean([measure(scenario, minutes, seed) for seed in numbers])
        with without_poll():
            unpolled = mean([measure(scenario, minutes, seed) for seed in numbers])
        yield Row(scenario.name, polled, unpolled)


def measure(scenario: Scenario, minutes: float, seed: int) -> Measured:
    """One run: found, calm down, then `scenario` for so many virtual minutes."""
    with forbid_ambient():
        return _Run(scenario, seed).carry_out(int(minutes * 60 * SECOND))


def mean(found: list[Measured]) -> Measured:
    """Means of what is counted, the longest of the pauses."""
    count = len(found)
    return Measured(
        sum(one.changes for one in found) / count,
        sum(one.handed for one in found) / count,
        sum(one.ballots for one in found) / count,
        max(one.pause_ms for one in found),
        sum(one.refused for one in found) / count,
    )


class _Run:
    """One cluster, the fault, the writers, and whoever looks on."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._config = replace(CONFIGS["quiet"], network=NORMAL, write_units=0, read_units=0)
        self._world = World(seed)
        self._cluster = SimCluster(self._world, self._config)
        self._leaders: dict[GroupId, NodeId] = {}
        self._changes = 0
        self._asked = self._refused = 0
        self._longest_ns = 0
        self._written_ns: dict[str, int] = {}
        self._counting = False

    def carry_out(self, length_ns: int) -> Measured:
        """See `measure`."""
        self._found()
        for node in self._cluster.nodes:
            for key in _KEYS:
                self._write(node, key)
        self._look_on(_WARM_UP_NS)
        ballots, handed, changes = self._ballots(), self._handed(), self._changes
        self._counting = True
        self._written_ns = dict.fromkeys(_KEYS, self._world.now_ns)
        if self._scenario.ways or self._scenario.disk:
            self._begin()
        self._look_on(length_ns)
        per_hour = _HOUR_NS / length_ns
        return Measured(
            (self._changes - changes) * per_hour,
            (self._handed() - handed) * per_hour,
            (self._ballots() - ballots) * per_hour,
            self._pause_ns() / MILLISECOND,
            100 * self._refused / max(1, self._asked),
        )

    def _found(self) -> None:
        world, cluster = self._world, self._cluster
        for node in cluster.nodes:
            cluster.start(node)
        created: list[bool] = []
        administrator = Administrator(world, Client(world, cluster, 0), self._config, Recorder(world))
        administrator.create(_TABLE, lambda: created.append(True))
        if not world.run(world.now_ns + _FOUNDING_NS, lambda: bool(created)):
            raise CannotMeasure("the table was not created")

    # --- the fault ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._afflict(True)
        if self._scenario.off_ns:
            self._world.after(self._scenario.on_ns, self._end)

    def _end(self) -> None:
        self._afflict(False)
        self._world.after(self._scenario.off_ns, self._begin)

    def _afflict(self, on: bool) -> None:
        scenario, cluster = self._scenario, self._cluster
        if scenario.disk:
            cluster.hang_disk(NodeId(0), on)
        for source, target in scenario.ways:
            cluster.lose(NodeId(source), NodeId(target), scenario.share if on else 0.0)
            cluster.slow_link(NodeId(source), NodeId(target), scenario.late_ns if on else 0)

    # --- writers --------------------------------------------------------------------------------------------------

    def _write(self, node: NodeId, key: str) -> None:
        body = msgspec.json.encode({"TableName": _TABLE, "Item": {"pk": {"S": key}}})
        headers = {
            b"host": b"localhost:8000",
            b"content-type": b"application/x-amz-json-1.0",
            b"x-amz-target": b"DynamoDB_20120810.PutItem",
            b"authorization": b"AWS4-HMAC-SHA256 Credential=sim/20261120/us-east-1/dynamodb/aws4_request",
        }
        request = HttpRequest("POST", "/", "", headers, body)
        self._cluster.request(node, request, lambda response: self._answered(node, key, response))

    def _answered(self, node: NodeId, key: str, response: HttpResponse | None) -> None:
        done = response is not None and response.status == 200
        if self._counting:
            self._asked += 1
            self._refused += not done
            if done:
                now_ns = self._world.now_ns
                self._longest_ns = max(self._longest_ns, now_ns - self._written_ns[key])
                self._written_ns[key] = now_ns
        self._world.after(_PAUSE_NS, lambda: self._write(node, key))

    def _pause_ns(self) -> int:
        """Time since the last write of some key counts too."""
        return max(self._longest_ns, self._world.now_ns - min(self._written_ns.values()))

    # --- looking on -----------------------------------------------------------------------------------------------

    def _look_on(self, length_ns: int) -> None:
        end_ns = self._world.now_ns + length_ns
        while self._world.now_ns < end_ns:
            self._world.run(self._world.now_ns + _LOOK_NS)
            for machine in self._cluster.machines:
                assert machine.node is not None
                for group, partition in machine.node.leadership.led.items():
                    if self._newest(group) == partition.replica.ballot and self._leaders.get(group) != machine.id:
                        self._changes += group in self._leaders
                        self._leaders[group] = machine.id

    def _newest(self, group: GroupId) -> Ballot:
        """The highest ballot in which somebody leads `group`."""
        nodes = [machine.node for machine in self._cluster.machines if machine.node is not None]
        return max(node.leadership.led[group].replica.ballot for node in nodes if group in node.leadership.led)

    def _handed(self) -> int:
        return sum(machine.node.leadership.given for machine in self._cluster.machines if machine.node is not None)

    def _ballots(self) -> int:
        """Rounds of ballots that anybody has promised, added up over the groups."""
        rounds: dict[GroupId, int] = {}
        for machine in self._cluster.machines:
            assert machine.node is not None
            for group, partition in machine.node.groups.partitions.items():
                rounds[group] = max(rounds.get(group, 0), ballot_round(partition.replica.ballot))
        return sum(rounds.values())


def table(found: Iterable[Row]) -> str:
    """The rows as Markdown."""
    head = ["fault"]
    for what in ("leaders change", "ballots", "longest pause ms", "refused"):
        head += [f"{what}: with poll", "without"]
    rows = [(row.name, *(told(one) for told in _CELLS for one in (row.polled, row.unpolled))) for row in found]
    return markdown.table(head, rows)


def _changes(one: Measured) -> str:
    return f"{one.changes:,.0f}" + (f" ({one.handed:,.0f} handed over)" if one.handed else "")


_CELLS: Final[tuple[Callable[[Any], str], ...]] = (
    _changes,
    lambda one: f"{one.ballots:,.0f}",
    lambda one: f"{one.pause_ms:,.0f}",
    lambda one: f"{one.refused:.1f} %",
)


class Elections(msgspec.Struct, frozen=True):
    """What was found in so many virtual minutes with each of `seeds` seeds."""

    minutes: float
    seeds: int
    rows: list[Row]


def _measure(run: Run) -> Elections:
    """A virtual minute for each second."""
    return Elections(run.seconds, _SEEDS, list(rows(run.seconds, _SEEDS)))


def _told(taken: Record[Elections]) -> str:
    found = taken.found
    return "\n\n".join(
        (
            "## Elections",
            "`gramme bench elections`: three production nodes in virtual time, five groups, node 0 at one end of every "
            "fault; changes of leader and ballots per hour, all groups together, with the poll of peers before a "
            "campaign and without it; the longest time in which no write of some key succeeded by way of any node "
            "(writes are half a second apart at each node); requests that were refused. "
            f"{found.minutes:.0f} virtual minutes with each of {found.seeds} seeds; the same seeds give the same "
            "figures.",
            table(found.rows),
        )
    )


SECTION: Final = Section("elections", Elections, _measure, _told)
