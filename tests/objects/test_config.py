"""Settings of buckets and bucket types: what a change keeps in mind, and what cannot be changed."""

from __future__ import annotations

import pytest

from gramme.kernel.errors import InvalidInput
from gramme.kernel.ids import NodeId
from gramme.objects.config import DEFAULT_N, BucketSettings, ObjectConfig, with_bucket, with_type
from gramme.objects.state import Name
from gramme.placement.ring import founded
from gramme.placement.zones import NodePlace

FOUNDED = ObjectConfig(1, founded([NodePlace(NodeId(n), f"host{n}", f"zone{n}") for n in range(1, 4)]))
NAME = Name(b"t", b"b", b"k")


def test_a_type_decides_for_its_buckets_and_no_other() -> None:
    made = with_type(FOUNDED, b"t", BucketSettings(w="all", datatype="set"))
    assert made.version == 2
    assert (made.knows(b"t"), made.knows(b"default"), made.knows(b"u")) == (True, True, False)
    assert (made.settings(NAME).w, made.settings(NAME).datatype) == ("all", "set")
    assert made.settings(NAME._replace(type=b"default")) == BucketSettings()


def test_a_type_finds_what_was_kept_before_a_replica_heard_of_it() -> None:
    made = with_type(FOUNDED, b"t", BucketSettings(n=5))
    assert (made.keeping(NAME).n, made.keeping(NAME).former) == (5, (DEFAULT_N,))
    assert with_type(FOUNDED, b"t", BucketSettings()).keeping(NAME).former == ()


def test_a_bucket_remembers_every_n_that_it_had() -> None:
    config = with_type(FOUNDED, b"t", BucketSettings(n=5))
    for n in (2, 4, 2):
        config = with_bucket(config, NAME, BucketSettings(n=n))
    assert (config.keeping(NAME).n, sorted(config.keeping(NAME).former)) == (2, [3, 4, 5])
    assert config.replica_counts() == (2, 3, 4, 5)
    again = with_bucket(config, NAME, None)
    assert (again.keeping(NAME).n, sorted(again.keeping(NAME).former)) == (5, [2, 3, 4])


@pytest.mark.parametrize("type_", [b"default", b"t"])
def test_a_type_is_made_once(type_: bytes) -> None:
    made = with_type(FOUNDED, b"t", BucketSettings())
    with pytest.raises(InvalidInput, match="exists already"):
        with_type(made, type_, BucketSettings(n=5))


def test_the_datatype_of_a_bucket_stays() -> None:
    made = with_type(FOUNDED, b"t", BucketSettings(datatype="set"))
    for datatype in (None, "map"):
        with pytest.raises(InvalidInput, match="cannot be changed"):
            with_bucket(made, NAME, BucketSettings(datatype=datatype))
