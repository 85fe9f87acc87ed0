"""The ring of a node's objects: how it changes, what moves for it, and what an administrator asks about it.

Owns the composition of the machines (`objects.transfer`, `objects.ring_change`) on the host, and the administrator's
requests: show, stage, plan, commit. Rules: only `commit` changes a ring, and commits exactly the plan that it names
(`objects.ring_plan`); an outage alone never does (row A26). Weights and sizes are asked of the nodes themselves when a
plan is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from gramme.kernel.effects import Effects
from gramme.kernel.errors import GrammeError, InvalidInput
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.node.driver import Driver
from gramme.node.host import Host
from gramme.node.members import Members
from gramme.node.ports import NodeSettings
from gramme.objects.config import ObjectConfig
from gramme.objects.pace import Pace
from gramme.objects.ring_change import Advance, AllKnow, Newer, RingChange
from gramme.objects.ring_phases import advanced, staged, step_of, target, with_change
from gramme.objects.ring_plan import RingPlan, make_plan, of_token
from gramme.objects.sizes import size_of
from gramme.objects.transfer import Rested, Transfers
from gramme.objects.transfer_messages import TRANSFER_MESSAGES, ConfigurationIs, RingReport, SizesAre, SizesAsked
from gramme.placement.zones import NodePlace

if TYPE_CHECKING:
    from gramme.node.objects.node_objects import Objects

_SIZES_NS: Final = SECOND
_COMMIT_NS: Final = 5 * SECOND

OnPlan = Callable[[RingPlan | GrammeError], None]
"""Hears a plan, or InvalidInput: what was asked for cannot be."""

OnDone = Callable[[GrammeError | None], None]
"""Hears None, or InvalidInput (the ring is not what it was), or Stalled (the catalog cannot be reached)."""


class _Asking:
    """Sizes that are being asked for."""

    def __init__(self, waiting: Sequence[NodeId], on_sizes: Callable[[dict[NodeId, SizesAre]], None]) -> None:
        self.waiting = dict.fromkeys(waiting)
        self.answers: dict[NodeId, SizesAre] = {}
        self.on_sizes = on_sizes


class ObjectRing:
    """See the module."""

    def __init__(
        self,
        host: Host,
        settings: NodeSettings,
        members: Members,
        objects: Objects,
        reachable: Callable[[NodeId], bool],
    ) -> None:
        self._host = host
        self._settings = settings
        self._members = members
        self._objects = objects
        self._reachable = reachable
        self._advancing = False
        self._asking: dict[int, _Asking] = {}
        self._next_id = host.ports.rng.randrange(1 << 48)
        self.pace = Pace(settings.objects_read_p99_ns)
        self.change = RingChange(
            settings.me, lambda: members.peers, lambda: self.config, reachable, lambda: members.going
        )
        self.transfers = Transfers(
            settings.me, objects.replica, lambda: self.config, self.change.known, reachable, self.pace, host.ports.rng
        )
        self.change.transfers = self.transfers
        self._moving = Driver(host, self.transfers, self._output)
        self._changing = Driver(host, self.change, self._output)

    @property
    def config(self) -> ObjectConfig:
        """The ring, as this node works with it."""
        return self._objects.config

    def start(self) -> None:
        """This boot is durable: peers may hear of this node."""
        self._changing.start()
        self._moving.start()

    def handlers(self) -> dict[type, Callable[[NodeId, Any], None]]:
        """Who takes which message."""
        return {
            **dict.fromkeys(TRANSFER_MESSAGES, self._moving.step),
            RingReport: self._changing.step,
            ConfigurationIs: self._changing.step,
            SizesAsked: self._on_sizes_asked,
            SizesAre: self._on_sizes,
        }

    def configured(self) -> None:
        """The configuration has changed, and is in the log's queue."""
        self.transfers.wake()
        self.change.wake()
        self._changing.carry_out(Effects())
        self._moving.carry_out(Effects())

    def _output(self, output: Any) -> None:
        if isinstance(output, Newer):
            self._objects.configure(output.config)
        elif isinstance(output, Rested):
            self.change.wake()
            self._changing.carry_out(Effects())
        elif isinstance(output, AllKnow):
            self.transfers.wake()
            self._moving.carry_out(Effects())
        elif isinstance(output, Advance) and not self._advancing:
            self._advancing = True
            try:
                self._change(lambda config: advanced(config, output.step), self._advanced)
            except InvalidInput as error:  # a newer configuration is here, and about to be in effect
                self._advanced(error)

    def _advanced(self, _failure: GrammeError | None) -> None:
        """Done, or somebody else did it, or the catalog cannot be reached: then the next report tries again."""
        self._advancing = False

    def _change(self, change: Callable[[ObjectConfig], ObjectConfig], on_done: OnDone) -> None:
        deadline = Instant(self._host.now() + _COMMIT_NS)
        self._objects.configuration.change(change, deadline, on_done)

    # --- what an administrator asks -----------------------------------------------------------------------------------

    def stage(self, joining: Sequence[NodeId], leaving: Sequence[NodeId], on_done: OnDone) -> None:
        """Note who is to join and leave, beside what is staged; a node named here is staged for nothing else. Raises
        InvalidInput for a node for which that cannot be planned."""
        members = {place.node: None for place in target(self.config).members}
        cluster = {member.node: None for member in self._members.all}
        for node in (*joining, *leaving):
            if node not in cluster and node not in members:
                raise InvalidInput(f"node {node} is not in the cluster")
        for node in joining:
            if node in members:
                raise InvalidInput(f"node {node} is in the ring already")
        for node in leaving:
            if node not in members:
                raise InvalidInput(f"node {node} is not in the ring")

        def with_staged(config: ObjectConfig) -> ObjectConfig:
            named = (*joining, *leaving)
            joins = (*(node for node in config.joining if node not in named), *joining)
            leaves = (*(node for node in config.leaving if node not in named), *leaving)
            return staged(config, tuple(dict.fromkeys(joins)), tuple(dict.fromkeys(leaves)))

        self._change(with_staged, on_done)

    def unstage(self, on_done: OnDone) -> None:
        """Forget what is staged."""
        self._change(lambda config: staged(config, (), ()), on_done)

    def plan(self, joining: Sequence[NodeId], leaving: Sequence[NodeId], on_plan: OnPlan) -> None:
        """What would move if these joined and left (none of both: what is staged). Changes nothing."""
        if not joining and not leaving:
            joining, leaving = self.config.joining, self.config.leaving
        self._ask_sizes(lambda answers: on_plan(self._planned(joining, leaving, answers)))

    def commit(self, token: str, on_done: OnDone) -> None:
        """Do what the plan of that name says. Raises InvalidInput for what is no name of a plan."""
        joining, leaving = of_token(token)

        def commit(answers: dict[NodeId, SizesAre]) -> None:
            plan = self._planned(joining, leaving, answers)
            if not isinstance(plan, RingPlan):
                on_done(plan)
                return
            if plan.token != token:
                on_done(InvalidInput("the ring, or a node's weight, is not what it was when that was planned"))
                return
            try:
                self._change(lambda config: with_change(config, plan.ring), on_done)
            except InvalidInput as error:
                on_done(error)

        self._ask_sizes(commit)

    def _planned(
        self, joining: Sequence[NodeId], leaving: Sequence[NodeId], answers: dict[NodeId, SizesAre]
    ) -> RingPlan | GrammeError:
        weights = {place.node: place.weight for place in target(self.config).members}
        weights |= {node: answer.weight for node, answer in answers.items()}
        places = {m.node: NodePlace(m.node, m.host, m.zone, weights.get(m.node, 1)) for m in self._members.all}
        sizes = {node: {size.section: size for size in answer.sizes} for node, answer in answers.items()}
        try:
            return make_plan(self.config, places, joining, leaving, sizes)
        except InvalidInput as error:
            return error

    def view(self) -> dict[str, Any]:
        """What `GET /ring` of the admin port shows of the change under way; the rest follows from `config`."""
        progress = self.change.progress()
        return {
            "step": self._step_name(),
            "waiting_for": self.change.missing() if step_of(self.config).other else [],
            "transfers": [
                {
                    "node": node, "done": p.done, "tasks": p.tasks, "bytes_moved": p.bytes_moved,
                    "bytes_left": p.bytes_left, "rate": p.rate, "spare_sections": p.spare,
                }
                for node, p in progress.items()
            ],
        }  # fmt: skip

    def _step_name(self) -> str:
        step = step_of(self.config)
        return "filling" if step.filling else "switched" if step.switched else "settled"

    # --- sizes --------------------------------------------------------------------------------------------------------

    def _ask_sizes(self, on_sizes: Callable[[dict[NodeId, SizesAre]], None]) -> None:
        """`on_sizes` hears what came within a second, of this node and of those that are not known to be down."""
        self._next_id += 1
        id_ = self._next_id
        up = [self._settings.me, *(node for node in self._members.peers if self._reachable(node))]
        self._asking[id_] = _Asking(up, on_sizes)
        for node in up:
            self._host.send(node, SizesAsked(id_))
        when = Instant(self._host.now() + _SIZES_NS)
        self._host.ports.scheduler.call_at(when, lambda: self._answer(id_))

    def _on_sizes_asked(self, source: NodeId, message: SizesAsked) -> None:
        store = self._objects.store
        sizes = [size_of(store, section) for section in store.sections()]
        self._host.send(source, SizesAre(message.id, self._settings.objects_weight, sizes))

    def _on_sizes(self, source: NodeId, message: SizesAre) -> None:
        asking = self._asking.get(message.id)
        if asking is not None and source in asking.waiting:
            del asking.waiting[source]
            asking.answers[source] = message
            if not asking.waiting:
                self._answer(message.id)

    def _answer(self, id_: int) -> None:
        asking = self._asking.pop(id_, None)
        if asking is not None and not self._host.stopped:
            asking.on_sizes(asking.answers)
