"""What the API of objects asks of the node beneath it.

Owns the protocol only; `gramme.node.objects.node_objects` implements it. Rule: every callback is called exactly once,
on the event loop, and no later than shortly after the deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gramme.kernel.ids import NodeId
from gramme.kernel.time import Instant
from gramme.objects.config import BucketSettings, ObjectConfig
from gramme.objects.listing import NamesAt, Page
from gramme.objects.messages import Outcome, Request
from gramme.objects.state import Name


class NamesBackend(Protocol):
    """Walks through everything that is stored: for maintenance, not for applications."""

    def every(
        self, type_: bytes, bucket: bytes | None, deadline: Instant, on_names: Callable[[list[bytes] | None], None]
    ) -> None:
        """The keys of a bucket, or the buckets of a type (`bucket` None), in order, each once; None if a part of the
        ring cannot be reached."""

    def page(
        self,
        type_: bytes,
        bucket: bytes | None,
        at: NamesAt,
        deadline: Instant,
        on_page: Callable[[Page | None], None],
    ) -> None:
        """The page at `at`; None as there. Many pages are empty. A name may come twice, if a bucket's n has changed, or
        buckets are listed."""


class ConfigurationBackend(Protocol):
    """Changes of what all nodes agree on: this needs the catalog, where reading and writing objects does not."""

    def set_bucket(
        self, bucket: Name, settings: BucketSettings | None, deadline: Instant, on_done: Callable[[str | None], None]
    ) -> None:
        """Give a bucket (`key` of its name is not looked at) settings of its own, or its type's again; `on_done` hears
        None, or why not. Raises InvalidInput where the settings themselves are at fault."""

    def make_type(
        self, type_: bytes, settings: BucketSettings, deadline: Instant, on_done: Callable[[str | None], None]
    ) -> None:
        """Make a bucket type; otherwise as `set_bucket`."""


class ObjectBackend(Protocol):
    """The objects of a node."""

    @property
    def me(self) -> NodeId:
        """This node."""

    @property
    def config(self) -> ObjectConfig:
        """The ring and the buckets' settings, as this node knows them."""

    @property
    def cluster_key(self) -> bytes:
        """What contexts are sealed with; the same at every node."""

    def addresses(self) -> Mapping[NodeId, str]:
        """Where clients reach the objects of each node, "host:port", as this node has heard; "" where it has not."""

    def status(self) -> Mapping[str, Any]:
        """What the node counts of its objects, as `/cluster` shows it."""

    def submit(self, request: Request, deadline: Instant, on_outcome: Callable[[Outcome], None]) -> None:
        """Serve a read or a write of one object."""

    @property
    def names(self) -> NamesBackend:
        """Which names there are."""

    @property
    def configuration(self) -> ConfigurationBackend:
        """How the settings of buckets are changed."""
