"""The configuration of a node's objects (ring, settings of buckets): the newest that it has heard of, and the one in
effect; how it is changed.

Rule: it is committed in the catalog by compare and swap, and takes effect here once it is in this node's own log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gramme.kernel.effects import Effects
from gramme.kernel.errors import GrammeError, InvalidInput, Stalled
from gramme.kernel.record import Record
from gramme.kernel.time import Instant
from gramme.node.catalog.commands import ObjectsSet, SetObjects
from gramme.node.host import Host, RecordOwner
from gramme.objects.config import BucketSettings, ObjectConfig, decode_config, encode_config, with_bucket, with_type
from gramme.objects.replica import Configured, object_record
from gramme.objects.state import Name


class ObjectConfiguration(RecordOwner):
    """See the module. `founding` is in effect until another one is; `catalog` asks the catalog; `on_effect` is called
    when one has taken effect."""

    def __init__(
        self,
        host: Host,
        founding: ObjectConfig,
        catalog: Callable[[SetObjects, Instant, Callable[[Any], None]], None],
        on_effect: Callable[[], None],
    ) -> None:
        self.config = self._heard = founding
        self._host = host
        self._catalog = catalog
        self._on_effect = on_effect
        self._settling: list[tuple[int, Callable[[], None]]] = []  # who waits for which version to be in effect

    def recover(self, entry: Configured) -> None:
        """One that this node's log has."""
        config = decode_config(entry.config)
        if config.version >= self.config.version:
            self.config = self._heard = config

    def record(self) -> Record:
        """The newest one, for a new segment of the log."""
        return object_record(Configured(encode_config(self._heard)))

    def set_bucket(
        self, bucket: Name, settings: BucketSettings | None, deadline: Instant, on_done: Callable[[str | None], None]
    ) -> None:
        """See `api.objects.backend.ObjectBackend`."""
        self.change(lambda config: with_bucket(config, bucket, settings), deadline, _as_text(on_done))

    def make_type(
        self, type_: bytes, settings: BucketSettings, deadline: Instant, on_done: Callable[[str | None], None]
    ) -> None:
        """See `api.objects.backend.ObjectBackend`."""
        self.change(lambda config: with_type(config, type_, settings), deadline, _as_text(on_done))

    def change(
        self,
        change: Callable[[ObjectConfig], ObjectConfig],
        deadline: Instant,
        on_done: Callable[[GrammeError | None], None],
    ) -> None:
        """Commit the next configuration in the catalog; begin again with the newest where somebody was faster.
        `on_done` hears None, or Stalled where the catalog takes nothing now, or InvalidInput of a later attempt. Raises
        InvalidInput where the change itself is at fault."""
        encoded = encode_config(change(self._heard))

        def answered(reply: Any) -> None:
            if not isinstance(reply, ObjectsSet):
                on_done(Stalled("the catalog cannot be reached: ring and buckets cannot be changed now"))
                return
            if reply.config:
                self.configure(reply.config)
            if reply.config == encoded:
                self._when_in_effect(lambda: on_done(None))
            elif self._host.now() >= deadline:
                on_done(Stalled("the configuration is being changed by others"))
            else:
                try:
                    self.change(change, deadline, on_done)
                except InvalidInput as error:
                    on_done(error)

        self._catalog(SetObjects(encoded), deadline, answered)

    def configure(self, encoded: bytes) -> None:
        """The catalog, or a peer, has a configuration. An older one than this node's changes nothing.

        It takes effect once it is durable here: what this node has said under new settings, a crash must not let it
        take back (a bucket type that it knew and then calls unknown, two siblings where one value is kept)."""
        config = decode_config(encoded)
        if config.version > self._heard.version:
            self._heard = config
            effects = Effects(records=[object_record(Configured(encoded))], durable_events=[config])
            self._host.execute(effects, self)

    def durable(self, event: ObjectConfig) -> None:
        """A configuration is on the disk: it takes effect."""
        config = self.config = event
        self._on_effect()
        waiting, self._settling = self._settling, []
        for version, done in waiting:
            if version <= config.version:
                done()
            else:
                self._settling.append((version, done))

    def _when_in_effect(self, done: Callable[[], None]) -> None:
        """Call `done` once the newest configuration that this node has heard of is in effect here."""
        if self._heard.version == self.config.version:
            done()
        else:
            self._settling.append((self._heard.version, done))


def _as_text(on_done: Callable[[str | None], None]) -> Callable[[GrammeError | None], None]:
    return lambda failure: on_done(None if failure is None else str(failure))
