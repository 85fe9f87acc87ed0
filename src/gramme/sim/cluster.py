"""Simulated computers with production nodes on them.

A `Machine` is what outlives its processes: disks and a clock. `SimCluster` starts, crashes, pauses and cuts them, and
is the endpoint that clients talk to. What runs on a machine is the production code from the API down; only the ports
differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gramme.api.dynamodb.service import DynamoDbApi
from gramme.api.dynamodb.settings import ApiSettings
from gramme.api.http import Handler, HttpRequest, HttpResponse
from gramme.api.objects.service import ObjectsApi
from gramme.kernel.errors import Corruption, Incompatible
from gramme.kernel.ids import BootId, ClusterId, GroupId, NodeId, ballot_node
from gramme.kernel.time import MICROSECOND, MILLISECOND, SECOND
from gramme.node.healing.steps import HealingSettings
from gramme.node.node import Node
from gramme.node.ports import Member, NodeSettings, Ports
from gramme.node.wire import decode_frame, encode_frame
from gramme.paxos.acceptor import Acceptor
from gramme.paxos.configuration import Configuration
from gramme.sim.configs import SimConfig
from gramme.sim.coverage import Coverage
from gramme.sim.damage import rot
from gramme.sim.disk import SimLogDisk
from gramme.sim.engine import SimEngine
from gramme.sim.loop import ANSWER
from gramme.sim.machine_keeper import ZONES, MachineKeeper, zone_name
from gramme.sim.network import Network, SimTransport
from gramme.sim.tripwires import Tripwires
from gramme.sim.world import TURN_NS, MachineClock, Process, World

_RESERVE_BYTES: Final = 1 << 20
_FREE_BYTES: Final = 1 << 40
_KEPT_ROWS: Final = 40  # so few that what reads keep (`storage.engine.kept`) goes for want of room, too
_ROW_BYTES: Final = 300


class NodeFailed(AssertionError):
    """A simulated node stopped itself although its disks were sound."""


@dataclass(slots=True)
class Machine:
    """One computer. `process`, `node` and `api` are those of the incarnation that runs, None between two. `members` and
    `joined` are what its node.toml says: the founders, and who had joined when it was written."""

    id: NodeId
    members: tuple[Member, ...]
    joined: tuple[Member, ...]
    clock: MachineClock
    log_disk: SimLogDisk
    new_engine: Callable[[], SimEngine]
    engine: SimEngine = field(init=False)
    process: Process | None = None
    node: Node | None = None
    api: DynamoDbApi | None = None
    objects_api: ObjectsApi | None = None
    incarnations: int = 0
    slow: bool = False
    damaged: bool = False
    beyond_repair: bool = False
    removed: bool = False
    short_of_room: bool = False
    short_at_ns: int = -1 << 62
    engine_lost: str = ""  # as its process would be told by what it finds on its disk
    open_requests: dict[int, Callable[[HttpResponse | None], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = self.new_engine()

    @property
    def burnt(self) -> bool:
        """Gone for good, and still one of the cluster's: an administrator should remove it."""
        return self.beyond_repair and not self.removed


class SimCluster:
    """All machines of one run."""

    def __init__(
        self,
        world: World,
        config: SimConfig,
        new_process: Callable[[World, NodeId, int, MachineClock], Process] = Process,
    ) -> None:
        self.world = world
        self.config = config
        self._new_process = new_process
        self.nodes: tuple[NodeId, ...] = tuple(NodeId(n) for n in range(config.nodes))
        self.network = Network(world, config.network, self._deliver)
        self._rng = world.randomness("cluster")
        self._cluster_id = ClusterId(world.randomness("cluster-id").randbytes(16))
        self._members = tuple(Member(n, f"node{n}", f"host{n}", zone_name(n)) for n in self.nodes)
        self._requests = 0
        self._healed = False
        self._tripwires = Tripwires(world)
        self.coverage = Coverage()
        self.machines = [self._build(node, ()) for node in self.nodes]
        self.keeper = MachineKeeper(world, self)

    def _build(self, node: NodeId, joined: tuple[Member, ...]) -> Machine:
        config, rng = self.config, self.world.randomness("machine", node)
        rate_ppm = rng.randrange(-5_000, 5_001) if config.skew else 0
        wall_offset_ns = rng.randrange(-2 * SECOND, 2 * SECOND) if config.skew else 0
        clock = MachineClock(self.world, rate_ppm, rng.randrange(1000 * SECOND), wall_offset_ns)
        disk_rng = self.world.randomness("disk", node)
        machine: Machine

        def later(delay_ns: int, callback: Callable[[], None]) -> None:
            stalled = disk_rng.random() < config.disk_stall or machine.slow
            factor = 1 + disk_rng.randrange(100) if stalled else 1
            self.world.after(delay_ns * factor, callback, machine.process)

        def engine_later(callback: Callable[[], None]) -> None:
            longest_ns = config.engine_flush_ns or 20 * config.disk_delay_ns
            self.world.after(disk_rng.randrange(longest_ns), callback, machine.process)

        swift = self.world.randomness("swift disk", node).random() < config.swift_disks
        log_disk = SimLogDisk(
            disk_rng, later, partial(self._disk_failed, node), free=_FREE_BYTES, least_ns=config.disk_delay_ns,
            times_ns=config.log_job_ns, swift_ns=TURN_NS if swift else 0,
        )  # fmt: skip
        kept_bytes = _KEPT_ROWS * (_ROW_BYTES + config.padding_bytes)
        machine = Machine(
            node,
            self._members,
            joined,
            clock,
            log_disk,
            lambda: SimEngine(engine_later, kept_bytes, self.coverage.note),
        )
        return machine

    # --- faults.Cluster -------------------------------------------------------------------------------------------

    def start(self, node: NodeId) -> None:
        """Start a process on the machine's disks; nothing if one runs, if a damaged disk has refused before, or if the
        cluster has removed the node."""
        machine = self.machines[node]
        if machine.process is not None or machine.beyond_repair or machine.removed:
            return
        try:
            self._start(machine)
        except (Corruption, Incompatible) as error:
            self._fatal(node, str(error))

    def _start(self, machine: Machine) -> None:
        node = machine.id
        machine.incarnations += 1
        process = machine.process = self._new_process(self.world, node, machine.incarnations, machine.clock)
        rng = self.world.randomness("node", node, machine.incarnations)
        boot = BootId(rng.randbytes(16))
        machine.log_disk.reopen()
        ports = Ports(
            clock=machine.clock,
            scheduler=process,
            rng=rng,
            transport=SimTransport(
                self.network, process, lambda messages: encode_frame(boot, messages), partial(self._sends, machine)
            ),
            log_disk=process.disk(machine.log_disk),
            engine=machine.engine,
            log_event=partial(self._log_event, node),
            fatal=partial(self._fatal, node),
        )
        machine.node = Node(self._settings(machine, boot), ports)
        machine.node.start()
        api_settings = ApiSettings(request_deadline_ms=self.config.request_deadline_ns // MILLISECOND)
        machine.api = DynamoDbApi(machine.node.router, machine.clock, rng, api_settings, defer=process.call_soon)
        if self.config.objects:
            machine.objects_api = ObjectsApi(machine.node.objects, machine.clock, rng, _broken)

    def _sends(self, machine: Machine, node: NodeId, messages: list[Any]) -> bool:
        """`machine` sends these; False if a tripwire loses them."""
        assert machine.node is not None
        self.coverage.sent(machine.node, messages)
        return self._tripwires.lets_go(node, messages)

    def _settings(self, machine: Machine, boot: BootId) -> NodeSettings:
        config = self.config
        return NodeSettings(
            me=machine.id,
            cluster=self._cluster_id,
            boot=boot,
            members=machine.members,
            joined=machine.joined,
            engine_lost=machine.engine_lost,
            grant_ns=config.grant_ns,
            renewal_ns=config.renewal_ns,
            segment_bytes=config.segment_bytes,
            flush_bytes=config.flush_bytes,
            flush_interval_ns=config.flush_interval_ns,
            snapshot_bytes_per_s=config.snapshot_bytes_per_s,
            outcome_window_ns=config.outcome_window_ns,
            retain_log_bytes=config.retain_log_bytes,
            stream_retention_ns=config.stream_retention_ns,
            free_space_reserve_bytes=_RESERVE_BYTES,
            objects=config.objects or config.administered,
            balance_ns=config.balance_ns,
            tombstone_age_ns=config.tombstone_age_ns,
            healing=HealingSettings(config.log_replica_after_ns, config.replace_after_ns, config.healing),
        )

    def join(self, node: NodeId, joined: tuple[Member, ...]) -> None:
        """A new machine, of the next number, starts with the settings that the cluster gave it (`runtime.joining`)."""
        assert node == len(self.machines), "numbers are given in order"
        self.machines.append(self._build(node, joined))
        self.nodes = (*self.nodes, node)
        self.start(node)

    def add_node(self) -> None:
        """Have the administrator add a machine."""
        self.keeper.add()

    def remove_node(self, node: NodeId) -> None:
        """Have the administrator remove a node, dead or alive."""
        self.keeper.remove(node)

    def crash(self, node: NodeId, power: bool) -> None:
        """Kill the process, or cut the machine's power.

        Of a killed process, the log writer finishes what it was given; without power, unfinished writes are torn. The
        engine falls back to a prefix of its batches either way: what it kept in memory is gone.
        """
        machine = self.machines[node]
        if machine.process is None:
            return
        if machine.node is not None:
            self.coverage.falls(machine.node, power)
        machine.process.kill()
        machine.process = machine.node = machine.api = machine.objects_api = None
        if power:
            machine.log_disk.crash()
            machine.clock.reboot(self._rng.randrange(1000 * SECOND))
        else:
            machine.log_disk.kill()
        machine.engine.crash(self._rng)
        open_requests, machine.open_requests = machine.open_requests, {}
        for on_response in open_requests.values():
            self._respond_later(on_response, None)
        for peer in self.machines:
            self._tell_disconnected(peer, node)

    def _tell_disconnected(self, peer: Machine, node: NodeId) -> None:
        """The kernel of a crashed process resets its connections; a cut link hides that, and may hide it one day."""
        process, production = peer.process, peer.node
        if process is None or production is None or self.network.is_cut(node, peer.id) or self._rng.random() < 0.2:
            return
        self.world.after(self._hop_ns(), lambda: production.on_disconnect(node), process)

    def drain(self, node: NodeId) -> None:
        """Ask the node to hand over and stop; a process that is asleep cannot."""
        machine = self.machines[node]
        process = machine.process
        if process is not None and machine.node is not None:
            production = machine.node
            process.post(lambda: production.drain(lambda: self._drained(machine, process)))

    def _drained(self, machine: Machine, process: Process) -> None:
        if machine.process is process:
            self._stopped(machine)

    def _stopped(self, machine: Machine) -> None:
        """A process has ended by itself; once all faults have healed somebody starts it again."""
        self.crash(machine.id, power=False)
        if self._healed:
            self.start(machine.id)

    def pause(self, node: NodeId) -> None:
        """SIGSTOP."""
        process = self.machines[node].process
        if process is not None:
            process.pause()

    def resume(self, node: NodeId) -> None:
        """SIGCONT."""
        process = self.machines[node].process
        if process is not None and process.paused:
            process.resume()

    def cut(self, source: NodeId, target: NodeId) -> None:
        """Lose what goes from `source` to `target`."""
        self.network.cut(source, target)

    def heal(self, source: NodeId, target: NodeId) -> None:
        """Undo one `cut`."""
        self.network.heal(source, target)

    def slow_link(self, source: NodeId, target: NodeId, extra_ns: int) -> None:
        """Frames from `source` to `target` take so much longer."""
        self.network.slow(source, target, extra_ns)

    def lose(self, source: NodeId, target: NodeId, share: float) -> None:
        """Lose such a share of the frames from `source` to `target`."""
        self.network.lose(source, target, share)

    def hold(self, source: NodeId, target: NodeId) -> None:
        """Keep back what goes from `source` to `target`."""
        self.network.hold(source, target)

    def release(self, source: NodeId, target: NodeId) -> None:
        """Deliver what was kept back."""
        self.network.release(source, target)

    def in_phase_one(self, node: NodeId) -> NodeId | None:
        """Whom `node` has promised its newest group, while its log is still of an earlier ballot."""
        production = self.machines[node].node
        if production is None or not production.groups.partitions:
            return None
        acceptor = max(production.groups.partitions.items())[1].replica.acceptor
        candidate = ballot_node(acceptor.promised)
        return candidate if acceptor.promised > acceptor.log_ballot and candidate != node else None

    def log_holder(self, node: NodeId) -> NodeId | None:
        """Whose log `node` has adopted for its newest group, if it is not its own."""
        production = self.machines[node].node
        if production is None or not production.groups.partitions:
            return None
        holder = ballot_node(max(production.groups.partitions.items())[1].replica.acceptor.log_ballot)
        return holder if holder != node else None

    def leader(self) -> NodeId | None:
        """The node that leads the newest group in the highest ballot, if any does."""
        leading = [
            (group, partition.replica.ballot, machine.id)
            for machine in self.machines
            if machine.node is not None
            for group, partition in machine.node.groups.partitions.items()
            if partition.leading
        ]
        return max(leading)[2] if leading else None

    def slow_disk(self, node: NodeId, slow: bool) -> None:
        """Every log job takes up to a hundred times as long, or not any more."""
        self.machines[node].slow = slow

    def hang_disk(self, node: NodeId, hangs: bool) -> None:
        """No fsync of the log comes back, or they do again."""
        self.machines[node].log_disk.hang(hangs)

    def fill_disk(self, node: NodeId, full: bool) -> None:
        """Free space falls below the reserve, or recovers."""
        self.machines[node].log_disk.free = _RESERVE_BYTES // 2 if full else _FREE_BYTES
        self._look_for_room(self.machines[node])

    def fail_disk(self, node: NodeId) -> None:
        """The next fsync of the log fails."""
        self.machines[node].log_disk.fail_next()

    def _disk_failed(self, node: NodeId, reason: str) -> None:
        """A failed fsync is fatal to the node and is never retried; the process exits."""
        self._log_event(node, "log disk failed", {"reason": reason})
        self._stopped(self.machines[node])

    def rot(self, node: NodeId, tail: bool) -> None:
        """Damage records on the machine's log disk; see `sim.damage`."""
        machine = self.machines[node]
        machine.damaged |= rot(machine.log_disk, machine.engine, self._rng, tail)

    def lose_rows(self, node: NodeId) -> None:
        """The engine's files are gone; the process that had them open is too."""
        machine = self.machines[node]
        assert machine.process is None, "the node falls first"
        machine.engine = machine.new_engine()
        machine.damaged = True

    def bears_the_loss_of(self, node: NodeId) -> bool:
        """Whether every group keeps a majority of voters whose machines are there, one of which may lead: in the newest
        configuration that anybody has, and in what is to follow it."""
        gone = {node, *(machine.id for machine in self.machines if machine.beyond_repair)}
        known: dict[GroupId, dict[int, Configuration]] = {}
        chosen: dict[GroupId, int] = {}
        for group, acceptor in self._acceptors():
            numbers = known.setdefault(group, {})
            for configuration in (acceptor.configuration, *(held for _, held in acceptor.configurations)):
                numbers[configuration.number] = configuration
            chosen[group] = max(chosen.get(group, 0), acceptor.configuration.number)
        return all(
            2 * len(gone.intersection(held.voters)) < len(held.voters) and not gone.issuperset(held.eligible)
            for group, numbers in known.items()
            for number, held in numbers.items()
            if number >= chosen[group]
        )

    def _acceptors(self) -> Iterator[tuple[GroupId, Acceptor]]:
        for machine in self.machines:
            if machine.node is not None:
                groups = machine.node.groups
                for group, hosted in (*groups.partitions.items(), *groups.logs.items()):
                    yield group, hosted.replica.acceptor

    def lose_machine(self, node: NodeId) -> None:
        """It burns down: no process will ever run on it again, and nobody asks anything of it."""
        self.machines[node].beyond_repair = True
        self.crash(node, power=True)

    def zone_of(self, node: NodeId) -> tuple[NodeId, ...]:
        """The nodes that fail together with `node`."""
        return tuple(other for other in self.nodes if other % ZONES == node % ZONES)

    def trip(self, node: NodeId, stage: int, count: int, lose: bool, action: Callable[[], None]) -> None:
        """See `Tripwires.lay`."""
        self._tripwires.lay(node, stage, count, lose, action)

    def stall_engine(self, node: NodeId, stalled: bool) -> None:
        """The engine asks for back-pressure, or not any more."""
        self.machines[node].engine.stalled = stalled
        self._look_for_room(self.machines[node])

    def _look_for_room(self, machine: Machine) -> None:
        short = machine.engine.stalled or machine.log_disk.free < _RESERVE_BYTES
        if short or machine.short_of_room:
            machine.short_at_ns = self.world.now_ns
        machine.short_of_room = short

    def lacked_room(self, node: NodeId, since_ns: int) -> bool:
        """Whether a process on the machine may have refused what is new at any time since then; the free space is
        looked at once a second."""
        machine = self.machines[node]
        return machine.short_of_room or machine.short_at_ns >= since_ns - 2 * SECOND

    def step_wall(self, node: NodeId, by_ns: int) -> None:
        """Move the wall clock."""
        self.machines[node].clock.wall_offset_ns += by_ns

    def heal_all(self) -> None:
        """End every fault: links, disks, sleepers; start what is down."""
        self._healed = True
        self._tripwires.clear()
        self.network.heal_all()
        for node in self.nodes:
            self.slow_disk(node, False)
            self.hang_disk(node, False)
            self.fill_disk(node, False)
            self.stall_engine(node, False)
            self.resume(node)
            self.start(node)

    @property
    def sound_machines(self) -> list[Machine]:
        """The machines that are there: progress is demanded of those whose disks have lost nothing, and of the others
        too where groups heal themselves."""
        healing = self.config.healing
        there = [m for m in self.machines if not m.beyond_repair and not m.removed]
        return [m for m in there if healing or not m.damaged]

    def awaits_the_dead(self) -> bool:
        """Whether a founder that has hosted nothing yet may not begin before one that burnt down is sent away, which
        takes an administrator (decision 0001): groups that need it stand still until then."""
        burnt = any(machine.burnt for machine in self.machines)
        return burnt and any(m.node is not None and m.node.may_be_emptied() for m in self.sound_machines)

    def awaits_the_unborn(self) -> bool:
        """Whether a group stands still because too few of its voters are sound and one was never made: its node was
        down when the table was made, and the group's configuration has changed since, so that only a leader would
        invite it (docs/design/reconfiguration.md, limits)."""
        newest: dict[GroupId, Configuration] = {}
        for group, acceptor in self._acceptors():
            held = newest.setdefault(group, acceptor.configuration)
            newest[group] = max(held, acceptor.configuration, key=lambda configuration: configuration.number)
        return any(self._lacks_the_unborn(group, held) for group, held in newest.items() if held.number)

    def _lacks_the_unborn(self, group: GroupId, held: Configuration) -> bool:
        nodes = [machine.node for machine in self.sound_machines if machine.id in held.voters]
        running = [node for node in nodes if node is not None]
        unborn = sum(not node.groups.has_hosted(group) for node in running)
        sound = sum(node.groups.hosted_as(group) is not None and group not in node.groups.amnesiac for node in running)
        return sound < held.quorum <= sound + unborn

    def all_ready(self) -> bool:
        """Whether every node runs and says that it is ready."""
        return all(machine.node is not None and not reason for machine, reason in self._reasons())

    def readiness(self) -> str:
        """Who is not ready, and why."""
        return "; ".join(f"node {machine.id}: {reason}" for machine, reason in self._reasons() if reason)

    def _reasons(self) -> Iterator[tuple[Machine, str]]:
        for machine in self.sound_machines:
            node = machine.node
            if node is None:
                yield machine, "down"
            else:
                yield machine, node.refusal or ("" if node.ready else "not ready")

    # --- network and clients --------------------------------------------------------------------------------------

    def _deliver(self, source: NodeId, target: NodeId, frame: bytes) -> None:
        if target >= len(self.machines):
            return  # a node that only a catalog knows of
        machine = self.machines[target]
        process, node = machine.process, machine.node
        if process is not None and node is not None:
            process.post(lambda: self._receive(machine, process, node, source, frame))

    def _receive(self, machine: Machine, process: Process, node: Node, source: NodeId, frame: bytes) -> None:
        if source in node.members.removed:
            self._refuse(machine.id, source)
        else:
            boot, messages = decode_frame(frame)
            process.hear(messages, lambda part: node.on_messages(source, boot, part))

    def _refuse(self, node: NodeId, source: NodeId) -> None:
        """A removed node calls: it hears so in the greeting, and its process ends (`runtime.server`)."""
        process = self.machines[source].process

        def refused() -> None:
            if not self.keeper.wants_away(source):
                raise NodeFailed(f"node {node} believes that node {source} was removed, which nobody has asked for")
            if self.machines[source].process is process:
                self._leave(self.machines[source])

        if process is not None and not self.network.is_cut(node, source):
            self.world.after(self._hop_ns(), refused, process)

    def request(self, node: NodeId, request: HttpRequest, on_response: Callable[[HttpResponse | None], None]) -> None:
        """See `client.Endpoint`."""
        machine = self.machines[node]

        def arrive() -> None:
            self._arrive(machine, None if machine.api is None else machine.api.handle, request, on_response)

        self.world.after(self._hop_ns(), arrive)

    def request_object(
        self, node: NodeId, request: HttpRequest, on_response: Callable[[HttpResponse | None], None]
    ) -> None:
        """The same for the port of objects, which is open as long as the node's objects are ready."""
        machine = self.machines[node]

        def handler() -> Handler | None:
            production, api = machine.node, machine.objects_api
            return api.handle if production is not None and api is not None and production.objects.ready else None

        self.world.after(self._hop_ns(), lambda: self._arrive(machine, handler(), request, on_response))

    def _arrive(
        self,
        machine: Machine,
        handle: Handler | None,
        request: HttpRequest,
        on_response: Callable[[HttpResponse | None], None],
    ) -> None:
        process = machine.process
        if process is None or handle is None:
            self._respond_later(on_response, None)
            return
        self._requests += 1
        number = self._requests
        machine.open_requests[number] = on_response

        def respond(response: HttpResponse) -> None:
            assert machine.open_requests.pop(number, None) is on_response, "a request was answered twice"
            process.emit(lambda: self._respond_later(on_response, response), ANSWER)

        if request.headers.get(b"x-amz-target", b"").endswith(b".Query"):
            handle = partial(self._watch_query, machine.engine, handle)
        process.serve(request, lambda: handle(request, respond))

    def _watch_query(
        self, engine: SimEngine, handle: Handler, request: HttpRequest, respond: Callable[[HttpResponse], None]
    ) -> None:
        walks = engine.walks
        answered: list[int] = []

        def note(response: HttpResponse) -> None:
            answered.append(response.status)
            respond(response)

        handle(request, note)
        if answered == [200] and engine.walks == walks:
            self.coverage.note("a page is cut out of what was read lately")

    def _respond_later(self, on_response: Callable[[HttpResponse | None], None], response: HttpResponse | None) -> None:
        self.world.after(self._hop_ns(), lambda: on_response(response))

    def _hop_ns(self) -> int:
        return 50 * MICROSECOND + self._rng.randrange(200 * MICROSECOND)

    def _log_event(self, node: NodeId, name: str, fields: Mapping[str, Any]) -> None:
        self.coverage.logged(name, fields)
        self.world.log.append((self.world.now_ns, node, name, fields))

    def _fatal(self, node: NodeId, reason: str) -> None:
        """A node stops itself. It has a right to when its disk is damaged or it was removed, and then it never comes
        back."""
        machine = self.machines[node]
        if machine.process is None:
            return  # it has said so before, of the same frame
        members = getattr(machine.node, "members", None)  # none if it did not even get to know them
        if members is not None and node in members.removed and self.keeper.wants_away(node):
            self._leave(machine)
            return
        if not machine.damaged:
            raise NodeFailed(f"node {node} stopped: {reason}")
        self._log_event(node, "stopped for good", {"reason": reason})
        machine.beyond_repair = True
        self.crash(node, power=False)

    def _leave(self, machine: Machine) -> None:
        """The process of a node that was removed ends; nobody starts it again."""
        self._log_event(machine.id, "removed for good", {})
        machine.removed = True
        self.nodes = tuple(node for node in self.nodes if node != machine.id)
        self.crash(machine.id, power=False)


def _broken(what: str, error: Exception | None) -> None:
    """A handler has met what it does not expect: a finding."""
    raise NodeFailed(what) from error
