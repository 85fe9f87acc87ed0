"""Entries: encoding, chain, stamps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.errors import Corruption, Invariant
from gramme.kernel.ids import Ballot, CommandId, Slot
from gramme.kernel.time import Stamp
from gramme.paxos.chain import barrier, check_chain, decode_entry, make_entry
from gramme.paxos.entry import HEADER_BYTES, ORIGIN, Command, CommandKind

_commands = st.builds(
    Command,
    st.sampled_from(list(CommandKind)),
    st.binary(min_size=16, max_size=16).map(CommandId),
    st.binary(max_size=200),
    st.integers(0, 2**32 - 1),
)


@given(_commands, st.integers(0, 2**32 - 1), st.integers(1, 2**63), st.integers(1, 2**63), st.integers(0, 2**32 - 1))
def test_an_entry_is_its_bytes(command: Command, crc: int, slot: int, stamp: int, configuration: int) -> None:
    entry = make_entry(crc, Slot(slot), Stamp(stamp), configuration, command)
    assert decode_entry(entry.encoded) == entry
    assert len(entry.encoded) == HEADER_BYTES + len(command.body)


@given(_commands, st.data())
def test_a_changed_bit_breaks_the_chain(command: Command, data: st.DataObject) -> None:
    entry = make_entry(0, Slot(1), Stamp(5), 0, command)
    check_chain(ORIGIN, entry)
    bit = data.draw(st.integers(0, 8 * len(entry.encoded) - 1))
    damaged = bytearray(entry.encoded)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Invariant):
        check_chain(ORIGIN, decode_entry(bytes(damaged)))


def test_the_chain_covers_everything_before() -> None:
    """The same command behind another predecessor has another checksum."""
    noop = barrier(Ballot(1))
    one = make_entry(0, Slot(1), Stamp(1), 0, noop)
    other = make_entry(0, Slot(1), Stamp(2), 0, noop)
    after_one = make_entry(one.crc, Slot(2), Stamp(3), 0, noop)
    check_chain(one.mark, after_one)
    with pytest.raises(Invariant, match="slot 2"):
        check_chain(other.mark, after_one)


def test_slots_and_stamps_grow() -> None:
    first = make_entry(0, Slot(1), Stamp(10), 0, barrier(Ballot(1)))
    for slot, stamp in ((3, 11), (1, 11), (2, 10), (2, 9)):
        with pytest.raises(Invariant, match="cannot follow"):
            check_chain(first.mark, make_entry(first.crc, Slot(slot), Stamp(stamp), 0, barrier(Ballot(1))))


def test_a_stump_is_corruption() -> None:
    with pytest.raises(Corruption, match="shorter than its header"):
        decode_entry(bytes(HEADER_BYTES - 1))


def test_a_kind_of_a_later_release_survives_decoding() -> None:
    """The applier refuses it by name; here it must not be lost."""
    entry = make_entry(0, Slot(1), Stamp(1), 0, Command(200, CommandId(bytes(16)), b"?"))
    assert decode_entry(entry.encoded).kind == 200
