"""Errors that cross rooms, split by who is to blame."""

from __future__ import annotations


class GrammeError(Exception):
    """Base of every error that this project raises on purpose."""


class InvalidInput(GrammeError):
    """A caller's input breaks a stated limit or grammar; the text says which. Nothing was changed."""


class Corruption(GrammeError):
    """Stored or received bytes fail their check; the text names file and offset, or the sender. Never served."""


class Incompatible(GrammeError):
    """A directory, frame or peer is of another cluster, or of a format this release does not read."""


class Invariant(GrammeError):
    """A fact that the protocol guarantees does not hold: the replica stops rather than guess."""


class Stalled(GrammeError):
    """The engine or a queue is full; nothing was written. Retry later."""
