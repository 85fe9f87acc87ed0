"""The settings of a node that joins, made of what the cluster answered to `POST /members/add`.

They name every founder, also those that have been removed since (what was founded, the place of the catalog and the
first ring of the objects, follows from that list), and whoever has joined and not left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gramme.kernel.errors import InvalidInput
from gramme.runtime import config
from gramme.runtime.config import Member, Settings


def settings_of(document: Mapping[str, Any], values: Mapping[str, Any]) -> Settings:
    """`document` is of schema gramme.members/1, with the new `node`; `values` are settings of that node alone."""
    new = document["node"]
    known = [each for each in document["nodes"] if each["founder"] or each["state"] != "removed"]
    mine = next((each for each in known if each["node"] == new), None)
    if mine is None:
        raise InvalidInput(f"the cluster does not say where node {new} is")
    members = tuple(
        Member(each["node"], each["name"], each["host"], each["zone"], each["peer_address"], each["founder"])
        for each in known
    )
    own = {"node_id": new, "name": mine["name"], "host": mine["host"], "zone": mine["zone"]}
    base = {**own, "cluster_id": document["cluster"], "initial_catalog": members}
    return config.load(None, None, dict(values), base=base)
