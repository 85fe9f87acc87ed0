"""The command line: what is refused and how, and the ports that follow from one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.environment import without_settings

from gramme.runtime import cli
from gramme.runtime.cli_show import try_me


def gramme(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gramme.runtime.cli", *arguments],
        cwd=cwd, env={**without_settings(), **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def without_settings_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ.keys() - without_settings().keys():
        monkeypatch.delenv(variable)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["dev", "--port", "70000"], 1, "tables_port must be between 0 and 65535, not 70000"),
        (["dev", "--port", "65500"], 1, "--port must be at most 65235"),
        (["dev", "--host", "0.0.0.0"], 1, "insecure_bind (--insecure-bind)"),
        (["dev", "--set", "grant_msec=1"], 1, "unknown setting grant_msec; did you mean grant_ms"),
        (["dev", "--set", "grant_ms"], 2, "KEY=VALUE is expected"),
        (["dev", "--in-memory", "--data", "x"], 2, "exclude each other"),
        (["node", "--config", "none.toml"], 1, "none.toml: there is no such file"),
        (["node"], 2, "--config"),
        (["data", "check", "nowhere"], 1, "nowhere is not the data directory of a node"),
        (["cluster", "kill", "x"], 2, "integer"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_refusals_are_short_name_the_reason_and_change_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    """In this process, for a start of Python costs half a second; one in its own is below."""
    without_settings_here(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gramme", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert message in re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_environment_is_refused_by_name_too(tmp_path: Path) -> None:
    run = gramme("dev", cwd=tmp_path, GRAMME_TABLE_PORT="1")
    assert run.returncode == 1
    assert "unknown setting GRAMME_TABLE_PORT; did you mean GRAMME_TABLES_PORT" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "environment", "ports"),
    [
        ({}, {}, (8_000, 8_100, 8_200)),
        ({"tables_port": 9_000}, {"GRAMME_TABLES_PORT": "7000"}, (9_000, 9_100, 9_200)),
        ({}, {"GRAMME_TABLES_PORT": "7000", "GRAMME_ADMIN_PORT": "1"}, (7_000, 7_100, 1)),
        ({"tables_port": 0}, {}, (0, 0, 0)),
    ],
)
def test_ports_of_dev_follow_its_first(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, object], environment: dict[str, str], ports: tuple[int, int, int]
) -> None:
    without_settings_here(monkeypatch)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings = cli._dev_settings(flags)
    assert (settings.tables_port, settings.objects_port, settings.admin_port) == ports


def test_the_command_is_installed_and_lists_what_it_does() -> None:
    run = subprocess.run(
        [str(Path(sys.executable).with_name("gramme")), "--help"], capture_output=True, text=True, check=True
    )
    for command in ("dev", "node", "cluster", "sim", "data"):
        assert re.search(rf"^\W*{command}\b", run.stdout, re.MULTILINE)


def test_the_readme_shows_the_program_that_make_up_prints() -> None:
    _, _, program = try_me("http://127.0.0.1:8000", "us-east-1").partition("\n")
    assert program in (Path(__file__).parents[2] / "README.md").read_text()
