"""Who knows of which step of a change of the ring, who has filled what, and when the next step is due.

Every node tells all others, once a second while anything moves, which configuration it has on its disk and how far it
is. Rules: a report leaves only when the configuration that it speaks of is durable, so a node that restarts is where it
said; who hears from a node with an older configuration sends it the newer one, so that a change goes on where the
catalog cannot be reached by all; the lowest node that sees all that must know at the same step proposes the next one,
and the catalog takes it if it is still the next (decision 0071). A node that is silent holds a change up unless it
leaves the ring by it, or the cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

from gramme.kernel.effects import Effects
from gramme.kernel.ids import NodeId
from gramme.kernel.time import SECOND, Instant
from gramme.objects.config import ObjectConfig, encode_config
from gramme.objects.ring_phases import Step, must_know, step_of
from gramme.objects.transfer import Transfers
from gramme.objects.transfer_messages import ConfigurationIs, Progress, RingReport

BUSY_NS: Final = SECOND
QUIET_NS: Final = 10 * SECOND


class Advance(NamedTuple):
    """Output: everything that `step` of the ring needed is done; commit the next one."""

    step: Step


class Newer(NamedTuple):
    """Output: a peer has this configuration, which the catalog has committed."""

    config: bytes


class AllKnow(NamedTuple):
    """Output: all nodes that must know of the present step do; walks that begin from now on count."""


class RingChange:
    """See the module. `transfers` is bound after construction: each of the two needs the other."""

    def __init__(
        self,
        me: NodeId,
        peers: Callable[[], Sequence[NodeId]],
        config: Callable[[], ObjectConfig],
        reachable: Callable[[NodeId], bool],
        given_up: Callable[[], Collection[NodeId]] = tuple,
    ) -> None:
        """`given_up`: the nodes that an administrator removes from the cluster, so that nobody waits for dead ones."""
        self._me = me
        self._peers = peers
        self._config = config
        self._reachable = reachable
        self._given_up = given_up
        self._reports: dict[NodeId, RingReport] = {}
        self._report_at = Instant(0)
        self._all_knew: Step | None = None  # the last step of which all knew
        self.transfers: Transfers

    def known(self) -> bool:
        """Whether every node that has to has the present step on its disk."""
        step = step_of(self._config())
        return all(node == self._me or self._step_of(node) == step for node in self._needed())

    def missing(self) -> list[NodeId]:
        """The nodes that hold the present step up, as far as this node has heard: those that do not know of it, or,
        when all do, those that have not filled all that they have to."""
        step = step_of(self._config())
        needed = self._needed()
        ignorant = [node for node in needed if node != self._me and self._step_of(node) != step]
        if ignorant or not step.filling:
            return ignorant
        filled = {node: report.filled for node, report in self._reports.items()} | {self._me: self.transfers.filled}
        return [node for node in needed if not filled[node]]

    def progress(self) -> dict[NodeId, Progress]:
        """How far each node is, by what it said last."""
        reports = {**self._reports, self._me: self._report()}
        return {node: reports[node].progress for node in sorted(reports)}

    def wake(self) -> None:
        """The configuration has changed: tell the others at once."""
        self._report_at = Instant(0)

    def next_deadline(self) -> Instant:
        """When to tell the others again."""
        return self._report_at

    def tick(self, now: Instant) -> Effects:
        """Tell all others; propose the next step if this node is the one to do so."""
        report = self._report()
        step = Step(report.ring, report.other)
        self._report_at = Instant(now + (BUSY_NS if step.other or report.progress.tasks else QUIET_NS))
        out = Effects(sends_durable=[(node, report) for node in self._peers()])
        self._conclude(step, out)
        return out

    def _conclude(self, step: Step, out: Effects) -> None:
        """What follows from all that was heard."""
        if self._all_knew != step and self.known():
            self._all_knew = step
            out.outputs.append(AllKnow())
        if not step.other or self.missing():
            return
        # Nobody, where this node is not one that has to know and hears none of those: they see to it themselves.
        proposer = next((node for node in self._needed() if node == self._me or self._reachable(node)), None)
        if proposer == self._me:
            out.outputs.append(Advance(step))

    def step(self, source: NodeId, message: Any, now: Instant) -> Effects:
        """A peer says how far it is, or hands on what it knows."""
        out = Effects()
        if isinstance(message, ConfigurationIs):
            out.outputs.append(Newer(message.config))
        elif isinstance(message, RingReport):
            self._reports[source] = message
            config = self._config()
            if message.config < config.version:
                out.sends.append((source, ConfigurationIs(encode_config(config))))
            self._conclude(step_of(config), out)
        return out

    def _needed(self) -> tuple[NodeId, ...]:
        up = tuple(node for node in (self._me, *self._peers()) if node == self._me or self._reachable(node))
        return must_know(self._config(), up, self._given_up())

    def _step_of(self, node: NodeId) -> Step | None:
        report = self._reports.get(node)
        return None if report is None else Step(report.ring, report.other)

    def _report(self) -> RingReport:
        config = self._config()
        step = step_of(config)
        return RingReport(config.version, step.ring, step.other, self.transfers.filled, self.transfers.progress())
