"""How much a node keeps of a section, for those who plan to move it.

Rule: at most a few rows of a section are read. Rows stand in the order of their Merkle bucket, a piece of an MD5, so
the first rows are a fair sample: if they reach bucket b of 4,096, the whole has 4,096 / (b + 1) times as much. With
fewer rows than the sample the figure is exact; else its error is some 10 % for objects of like size (1 / sqrt(128)).
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from gramme.objects.merkle import BUCKETS, bucket_of
from gramme.objects.state import encode_name, encode_state
from gramme.objects.store import ObjectStore, Section
from gramme.objects.transfer_messages import SectionSize
from gramme.placement.ring import position_of

SAMPLE: Final = 128


def size_of(store: ObjectStore, section: Section) -> SectionSize:
    """See the module: names and states, without what the engine adds or saves."""
    rows = list(islice(store.of_section(section), SAMPLE))
    size = sum(len(encode_name(name)) + len(encode_state(state)) for _, name, state in rows)
    if len(rows) < SAMPLE:
        return SectionSize(section, len(rows), size, exact=True)
    _, last, _ = rows[-1]
    reached = bucket_of(position_of(last.place, last.key)) + 1
    return SectionSize(section, len(rows) * BUCKETS // reached, size * BUCKETS // reached, exact=False)
