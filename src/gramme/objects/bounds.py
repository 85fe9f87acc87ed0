"""How large what is known of one key may become: its siblings, and all of it together.

A log record, a frame between nodes and a row of the engine hold what is known of a key as a whole, since a version
vector speaks of all siblings at once. So it must fit: a record takes 32 MB, a frame 64 MB. Two rules see to that, and
neither drops a value:

- A coordinator refuses a write that would add to more than `MAX_SIBLINGS`, or to more than `MAX_WRITTEN_BYTES`; one
  that leaves less than there was is always taken, so a client that merges what it reads gets out of it.
- What several nodes took apart from each other may be more than that when it is joined. A replica refuses to join what
  would pass `MAX_STATE_BYTES`: both keep what they have, the hint stays, replicas stay different, until a client's
  write has replaced what it read of them. Every state that is sent or logged was a row or a hint, or is what a
  coordinator has written, so none is larger.
"""

from __future__ import annotations

from typing import Final

from gramme.kernel.errors import InvalidInput
from gramme.objects.state import State, encode_state
from gramme.objects.versions import Versions

MAX_SIBLINGS: Final = 1_000
MAX_WRITTEN_BYTES: Final = 16 << 20
MAX_STATE_BYTES: Final = 24 << 20


def check_written(before: State | None, after: State) -> None:
    """Raise InvalidInput if a write that makes `after` of `before` would leave too much, and more than before."""
    if isinstance(after, Versions):
        count = len(after.siblings)
        if count > MAX_SIBLINGS and count > _siblings(before):
            raise InvalidInput(
                f"the key would have {count} siblings, the limit is {MAX_SIBLINGS}: merge them, and write the result "
                "with the context of that read"
            )
    size = _size(after)
    if size > MAX_WRITTEN_BYTES and size > _size(before):
        raise InvalidInput(f"the key would hold {size} bytes with its siblings, the limit is {MAX_WRITTEN_BYTES}")


def _siblings(state: State | None) -> int:
    return len(state.siblings) if isinstance(state, Versions) else 0


def _size(state: State | None) -> int:
    """Of opaque values their own bytes, without what a few hundred bytes a sibling add."""
    if state is None:
        return 0
    if not isinstance(state, Versions):
        return len(encode_state(state))
    return sum(
        len(sibling.value.body) + sum(len(name) + len(value) for name, value in sibling.value.meta)
        for sibling in state.siblings
    )
