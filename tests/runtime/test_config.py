"""Settings: precedence, refusal by name, limits, and the way back from node.toml."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gramme.kernel.errors import InvalidInput
from gramme.runtime import config
from gramme.runtime.config import Member, Settings, load, parse_address, to_toml


def test_flags_override_environment_overrides_file_overrides_base(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("tables_port = 1001\nadmin_port = 1002\npeer_port = 1003\n")
    environment = {"GRAMME_ADMIN_PORT": "2002", "GRAMME_PEER_PORT": "2003", "PATH": "/bin"}
    settings = load(
        file, environment, {"peer_port": 3003, "objects_port": None}, base={"tables_port": 1, "objects_port": 4}
    )
    assert (settings.tables_port, settings.admin_port, settings.peer_port) == (1001, 2002, 3003)
    assert settings.objects_port == 4


def test_environment_reaches_every_kind_of_value() -> None:
    settings = load(
        environment={
            "GRAMME_IN_MEMORY": "true",
            "GRAMME_EVENTUAL_READS": "leader",
            "GRAMME_SEEDS": "db1:8300, [::1]:8301",
            "GRAMME_CLUSTER_ID": "0" * 32,
            "GRAMME_INITIAL_CATALOG": '[{"node":0,"name":"a","host":"h","zone":"z","address":"127.0.0.1:1"}]',
        }
    )
    assert settings.in_memory is True
    assert settings.eventual_reads == "leader"
    assert settings.seeds == ("db1:8300", "[::1]:8301")
    assert settings.initial_catalog == (Member(0, "a", "h", "z", "127.0.0.1:1"),)


@pytest.mark.parametrize(
    ("toml", "environment", "flags", "message"),
    [
        ("table_port = 1", {}, {}, "unknown setting table_port; did you mean tables_port"),
        ("", {"GRAMME_GRANT_MSEC": "1"}, {}, "unknown setting GRAMME_GRANT_MSEC; did you mean GRAMME_GRANT_MS"),
        ("", {}, {"xyzzy": 1}, "flag: unknown setting xyzzy"),
        ("[[initial_catalog]]\nnod = 1", {}, {}, "unknown setting nod; did you mean node"),
        ("grant_ms = 'soon'", {}, {}, "grant_ms"),
        ("= 1", {}, {}, "node.toml"),
        ("", {"GRAMME_INITIAL_CATALOG": "{"}, {}, "initial_catalog is not JSON"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    tmp_path: Path, toml: str, environment: dict[str, str], flags: dict[str, object], message: str
) -> None:
    file = tmp_path / "node.toml"
    file.write_text(toml)
    with pytest.raises(InvalidInput, match=message):
        load(file, environment, flags)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("field", sorted(config._BOUNDS))
def test_every_bounded_setting_holds_its_bounds_and_no_more(field: str) -> None:
    low, high = config._BOUNDS[field]
    for value in (low - 1, high + 1):
        with pytest.raises(InvalidInput, match=f"{field} must be between {low} and {high}, not {value}"):
            load(flags={field: value})
    others = {"grant_ms": 60_000} if field == "renewal_ms" else {"renewal_ms": 10}
    for value in (low, high):
        assert getattr(load(flags={**others, field: value}), field) == value


def test_all_integer_settings_are_bounded() -> None:
    integers = [field.name for field in msgspec.structs.fields(Settings) if field.type is int]
    assert sorted(integers) == sorted(config._BOUNDS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"tables_port": 9, "admin_port": 9}, "both 9"),
        ({"grant_ms": 1_000, "renewal_ms": 501}, "at most half"),
        ({"account_id": "12345678901"}, "12 digits"),
        ({"region": "US East"}, "region"),
        ({"cluster_id": "AB"}, "32 lower-case hex digits"),
        ({"seeds": ["nowhere"]}, "seeds: 'nowhere' is not host:port"),
        ({"auth": "sigv4"}, "auth"),
    ],
)
def test_limits_between_settings(flags: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load(flags=flags)


def _member(node: int, address: str | None = None, name: str | None = None) -> dict[str, object]:
    return {
        "node": node, "name": name or f"n{node}", "host": "h", "zone": "z", "address": address or f"h{node}:8300",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([_member(0), _member(0, "other:1", "other")], "names a node twice"),
        ([_member(0), _member(1, "h0:8300")], "names a address twice"),
        ([_member(0), _member(1, name="n0")], "names a name twice"),
        ([_member(65_535)], "between 0 and 65534"),
        ([_member(0, "h0")], "initial_catalog: address: 'h0' is not host:port"),
    ],
)
def test_founding_list_names_each_node_once(members: list[dict[str, object]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load(flags={"initial_catalog": members, "cluster_id": "0" * 32})


def test_only_an_embedded_node_ignores_what_is_unsupported() -> None:
    assert load(flags={"unsupported": "ignore"}).unsupported == "ignore"
    with pytest.raises(InvalidInput, match="for `gramme dev` only"):
        load(flags={"unsupported": "ignore", "initial_catalog": [_member(0)]})


def test_several_founders_need_a_cluster_id() -> None:
    members = [_member(0), _member(1)]
    with pytest.raises(InvalidInput, match="cluster_id is needed"):
        load(flags={"initial_catalog": members})
    assert len(load(flags={"initial_catalog": members, "cluster_id": "f" * 32}).initial_catalog) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_leave(host: str) -> None:
    assert load(flags={"listen_host": host}).listen_host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "db.example.org", ""])
def test_what_others_reach_needs_insecure_bind(host: str) -> None:
    with pytest.raises(InvalidInput, match="insecure_bind"):
        load(flags={"listen_host": host})
    assert load(flags={"listen_host": host, "insecure_bind": True}).listen_host == host


@pytest.mark.parametrize("text", ["h", "h:", ":1", "h:0", "h:65536", "h:x", "h:-1", "h:１"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(InvalidInput, match="host:port"):
        parse_address(text)


def test_good_addresses() -> None:
    assert parse_address("db1:8300") == ("db1", 8300)
    assert parse_address("[::1]:65535") == ("::1", 65_535)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    name=texts,
    zone=texts,
    ports=st.lists(st.integers(1, 65_535), min_size=5, max_size=5, unique=True),
    yes=st.booleans(),
)
def test_toml_comes_back_as_it_went(name: str, zone: str, ports: list[int], yes: bool) -> None:
    import tomllib

    settings = Settings(
        name=name, zone=zone, tables_port=ports[0], shared_port=ports[1], objects_port=ports[2], admin_port=ports[3],
        peer_port=ports[4], in_memory=yes, cluster_id="a" * 32, seeds=("a:1", "b:2"),
        initial_catalog=(Member(0, name, "h", zone, "a:1"), Member(1, name + "'", "h", zone, "a:2")),
    )  # fmt: skip
    assert msgspec.convert(tomllib.loads(to_toml(settings)), Settings) == settings
