"""The one settings type of a node, and where its values come from.

Owns names, defaults, limits and precedence: command-line flags over `GRAMME_*` environment over `node.toml` over the
defaults. Rule: a key that nobody knows is refused by name, wherever it stands, because a misspelt setting that is
silently ignored is found out in production. Units are the last part of a name. Source: DESIGN.md §6, issue 2.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from gramme.kernel.errors import InvalidInput
from gramme.runtime import compiled

ENVIRONMENT_PREFIX: Final = "GRAMME_"
MAX_NODES: Final = 65_535

_BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "node_id": (0, MAX_NODES - 1),
    "tables_port": (0, 65_535),
    "shared_port": (0, 65_535),
    "objects_port": (0, 65_535),
    "admin_port": (0, 65_535),
    "peer_port": (0, 65_535),
    "grant_ms": (50, 60_000),
    "renewal_ms": (10, 30_000),
    "request_deadline_ms": (1, 60_000),
    "shutdown_deadline_ms": (0, 600_000),
    "eventual_read_max_lag_ms": (0, 3_600_000),
    "expiry_period_ms": (100, 3_600_000),
    "expiry_rows_per_s": (100, 1_000_000),
    "log_replica_after_ms": (500, 3_600_000),
    "replace_after_ms": (1_000, 30 * 86_400_000),
    "snapshot_bytes_per_s": (1 << 16, 1 << 40),
    "objects_weight": (1, 1_000),
    "objects_read_p99_ms": (0, 60_000),
    "object_tombstone_age_s": (900, 366 * 86_400),
    "control_plane_delay_ms": (0, 600_000),
    "gossip_interval_ms": (10, 60_000),
    "ping_timeout_ms": (10, 60_000),
    "suspicion_ms": (10, 600_000),
    "free_space_reserve_bytes": (0, 1 << 50),
    "segment_bytes": (1 << 20, 1 << 30),
    "retain_log_bytes": (0, 1 << 40),
    "flush_bytes": (1 << 20, 1 << 34),
    "flush_interval_ms": (100, 3_600_000),
    "engine_cache_bytes": (0, 1 << 40),
    "max_connections": (1, 100_000),
    "idle_keep_alive_s": (1, 86_400),
    "max_queued_requests": (1, 10_000_000),
}
_PORTS: Final = ("tables_port", "shared_port", "objects_port", "admin_port", "peer_port")


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node: its id, what fails together with it, and `address`, the "host:port" for peers. `founder` is false for
    one that joined a cluster which others had founded."""

    node: int
    name: str
    host: str
    zone: str
    address: str
    founder: bool = True

    def peer_address(self) -> tuple[str, int]:
        """`address` taken apart. Raises `InvalidInput` when it is not "host:port"."""
        return parse_address(self.address)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set on a node. Raises `ValueError` (in `msgspec.convert`: `ValidationError`) at a limit.

    `cluster_id` is 32 hex digits, the same on every node of a founding list; empty only for a cluster of one, which
    draws its own. `advertise_host` is what peers and clients are told; empty means `listen_host`. A port of 0 means
    "not served" for `shared_port` and "any free port" for the others.
    """

    node_id: int = 0
    name: str = ""
    host: str = ""
    zone: str = "us-east-1a"
    region: str = "us-east-1"
    account_id: str = "123456789012"
    cluster_id: str = ""

    listen_host: str = "127.0.0.1"
    advertise_host: str = ""
    tables_port: int = 8000
    shared_port: int = 0
    objects_port: int = 8100
    admin_port: int = 8200
    peer_port: int = 8300

    data_dir: str = "gramme-data"
    in_memory: bool = False
    initial_catalog: tuple[Member, ...] = ()
    seeds: tuple[str, ...] = ()

    auth: Literal["none"] = "none"
    insecure_bind: bool = False
    test_controls: bool = False
    cors_origins: str = "*"
    unsupported: Literal["refuse", "ignore"] = "refuse"

    grant_ms: int = 1_500
    renewal_ms: int = 400
    request_deadline_ms: int = 5_000
    shutdown_deadline_ms: int = 10_000
    eventual_reads: Literal["any", "leader"] = "any"
    eventual_read_max_lag_ms: int = 1_000
    expiry_period_ms: int = 60_000
    expiry_rows_per_s: int = 5_000
    healing: Literal["on", "off"] = "on"
    log_replica_after_ms: int = 3_000
    replace_after_ms: int = 600_000
    snapshot_bytes_per_s: int = 64 << 20
    objects_weight: int = 1
    objects_read_p99_ms: int = 50
    object_tombstone_age_s: int = 3_600
    control_plane_delay_ms: int = 0
    gossip_interval_ms: int = 1_000
    ping_timeout_ms: int = 500
    suspicion_ms: int = 3_000

    free_space_reserve_bytes: int = 256 << 20
    segment_bytes: int = 16 << 20
    retain_log_bytes: int = 8 << 20
    flush_bytes: int = 64 << 20
    flush_interval_ms: int = 30_000
    engine_cache_bytes: int = 128 << 20
    max_connections: int = 2_000
    idle_keep_alive_s: int = 600
    max_queued_requests: int = 20_000

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"

    def __post_init__(self) -> None:
        for field, (low, high) in _BOUNDS.items():
            value = getattr(self, field)
            if not low <= value <= high:
                raise ValueError(f"{field} must be between {low} and {high}, not {value}")
        self._check_ports()
        if self.renewal_ms * 2 > self.grant_ms:
            raise ValueError(
                f"renewal_ms ({self.renewal_ms}) must be at most half of grant_ms ({self.grant_ms}): "
                "a lease has to survive one lost renewal"
            )
        if not re.fullmatch(r"[0-9]{12}", self.account_id):
            raise ValueError(f"account_id must be 12 digits, not {self.account_id!r}")
        if not re.fullmatch(r"[a-z0-9-]{1,64}", self.region):
            raise ValueError(f"region must be 1 to 64 of a-z, 0-9 and '-', not {self.region!r}")
        self._check_listen_host()
        self._check_catalog()

    def _check_ports(self) -> None:
        used: dict[int, str] = {}
        for field in _PORTS:
            port = getattr(self, field)
            if port and port in used:
                raise ValueError(f"{field} and {used[port]} are both {port}")
            used[port] = field

    def _check_listen_host(self) -> None:
        if self.insecure_bind or is_loopback(self.listen_host):
            return
        raise ValueError(
            f"listen_host {self.listen_host!r} is not a loopback address and auth is 'none', so that anybody who can "
            "reach it could read and write everything; set insecure_bind (--insecure-bind) if the network is trusted"
        )

    def _check_catalog(self) -> None:
        for seed in self.seeds:
            _check_address("seeds", seed)
        if self.cluster_id and not re.fullmatch(r"[0-9a-f]{32}", self.cluster_id):
            raise ValueError(f"cluster_id must be 32 lower-case hex digits, not {self.cluster_id!r}")
        if not self.initial_catalog:
            return
        if self.unsupported == "ignore":
            raise ValueError("unsupported = 'ignore' is for `gramme dev` only: a cluster refuses what it does not do")
        ids = [member.node for member in self.initial_catalog]
        for member in self.initial_catalog:
            if not 0 <= member.node < MAX_NODES:
                raise ValueError(f"initial_catalog: node must be between 0 and {MAX_NODES - 1}, not {member.node}")
            _check_address("initial_catalog: address", member.address)
        for field in ("node", "name", "address"):
            values = [getattr(member, field) for member in self.initial_catalog]
            if len(set(values)) != len(values):
                raise ValueError(f"initial_catalog names a {field} twice")
        if not any(member.founder for member in self.initial_catalog):
            raise ValueError("initial_catalog names no founder")
        if len(ids) > 1 and not self.cluster_id:
            raise ValueError(
                "initial_catalog names several nodes, so cluster_id is needed: "
                "32 random hex digits, the same on each of them"
            )

    @property
    def display_name(self) -> str:
        """`name`, or one made from the node id."""
        return self.name or f"node-{self.node_id}"

    @property
    def client_host(self) -> str:
        """The host name or address that peers and clients are told."""
        return self.advertise_host or self.listen_host


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings from `file` (TOML), overridden by `environment`, overridden by `flags` (None: flag not given).

    `base` replaces defaults: a command's own values, beneath all three. Raises `InvalidInput`, which names the source
    and the key; nothing is read but the arguments.
    """
    values: dict[str, Any] = dict(base or {})
    if file is not None:
        values.update(_from_file(file))
    values.update(_from_environment(environment or {}))
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    _refuse_unknown(given, "flag", str)
    values.update(given)
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"settings: {error}") from None


def to_toml(settings: Settings) -> str:
    """`settings` as a `node.toml` that `load` reads back to an equal value; defaults are left out."""
    lines: list[str] = []
    for field in msgspec.structs.fields(Settings):
        value = getattr(settings, field.name)
        if field.name != "initial_catalog" and value != field.default:
            lines.append(f"{field.name} = {_toml(value)}")
    for member in settings.initial_catalog:
        lines += ["", "[[initial_catalog]]"]
        lines += [
            f"{key} = {_toml(value)}"
            for key, value in msgspec.structs.asdict(member).items()
            if key != "founder" or not value
        ]
    return "\n".join(lines) + "\n"


def parse_address(text: str) -> tuple[str, int]:
    """("host", port) of "host:port"; an IPv6 address stands in brackets. Raises `InvalidInput`."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise InvalidInput(f"{text!r} is not host:port with a port between 1 and 65535")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine. A name other than localhost is not trusted to be."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(field: str, text: str) -> None:
    try:
        parse_address(text)
    except InvalidInput as error:
        raise ValueError(f"{field}: {error}") from None


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(element) for element in value) + "]"
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _from_file(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{file}: {error}") from None
    _refuse_unknown(values, str(file), str)
    for member in values.get("initial_catalog", ()):
        if isinstance(member, dict):
            _refuse_unknown(member, f"{file}: initial_catalog", str, Member.__struct_fields__)
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable in sorted(environment):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable != compiled.VARIABLE:  # which no node can be set to
            key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            _refuse_unknown([key], "environment", _variable)
            values.update(parse_text("environment", key, environment[variable]))
    return values


def parse_text(source: str, key: str, text: str) -> dict[str, Any]:
    """{key: value} of a setting that is given as text, in the environment or a flag.

    Lists are written as JSON (or, for `seeds`, separated by commas). Raises `InvalidInput` for an unknown key.
    """
    _refuse_unknown([key], source, str)
    if key == "seeds" and not text.lstrip().startswith("["):
        return {key: [part.strip() for part in text.split(",") if part.strip()]}
    if key in ("seeds", "initial_catalog"):
        try:
            return {key: json.loads(text)}
        except json.JSONDecodeError as error:
            raise InvalidInput(f"{source}: {key} is not JSON: {error}") from None
    return {key: text}


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.upper()


def _refuse_unknown(keys: Iterable[str], source: str, show: Any, known: tuple[str, ...] | None = None) -> None:
    fields = known or Settings.__struct_fields__
    for key in keys:
        if key not in fields:
            nearest = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {show(nearest[0])}?" if nearest else ""
            raise InvalidInput(f"{source}: unknown setting {show(key)}{hint}")
