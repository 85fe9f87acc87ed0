"""Programs written for DynamoDB, and Riak's own client, unmodified, each in its own process against a real server.

Each program creates its table, works with it, checks what it reads and prints `ok`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gramme.testing import Server

_HERE = Path(__file__).parent
_CLIENTS = Path(os.environ["FOREIGN_CLIENTS"])
_BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


def _run(gramme: Server, command: list[str], **variables: str) -> None:
    environment = {
        "PATH": f"{_CLIENTS / 'bin'}:{os.environ['PATH']}",
        "HOME": str(_CLIENTS),  # nobody's credentials or settings
        "NODE_PATH": str(_CLIENTS / "node_modules"),
        "DYNAMODB_ENDPOINT": gramme.endpoint_url,
        "AWS_ENDPOINT_URL_DYNAMODB": gramme.endpoint_url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_PAGER": "",
        **variables,
    }
    done = subprocess.run(command, env=environment, cwd=_CLIENTS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ok\n"), done.stdout + done.stderr


@pytest.mark.parametrize("program", ["with_aiobotocore.py", "with_pynamodb.py"])
def test_python(gramme: Server, program: str) -> None:
    _run(gramme, [str(_CLIENTS / "bin" / "python"), str(_HERE / program)])


@pytest.mark.skipif(not list(_CLIENTS.glob("lib/python*/site-packages/riak")), reason="it needs Python 3.11")
def test_riak(gramme: Server) -> None:
    program = str(_HERE / "with_riak_client.py")
    _run(gramme, [str(_CLIENTS / "bin" / "python"), program], OBJECTS_ENDPOINT=gramme.objects_url)


@pytest.mark.parametrize("program", ["with_sdk_v3.cjs", "with_toolbox.cjs", "with_electrodb.cjs"])
def test_javascript(gramme: Server, program: str) -> None:
    _run(gramme, ["node", str(_HERE / program)])


@pytest.mark.skipif(not (_CLIENTS / "kcl").exists(), reason="there was no Maven")
def test_kinesis_client_library(gramme: Server) -> None:
    built = _CLIENTS / "kcl"
    path = f"{built / 'classes'}:{(built / 'classpath').read_text()}"
    _run(gramme, ["java", "-Xmx300m", "-cp", path, "WithKinesisClientLibrary"])


@pytest.mark.skipif(_BROWSER is None, reason="there is no Chromium")
def test_admin_in_a_browser(gramme: Server) -> None:
    _run(gramme, ["node", str(_HERE / "with_admin_in_browser.cjs")], CHROMIUM=str(_BROWSER))


def test_command_line(gramme: Server) -> None:
    _run(gramme, ["bash", str(_HERE / "with_aws_cli.sh")])
