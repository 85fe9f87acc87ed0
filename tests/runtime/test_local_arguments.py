"""DynamoDB Local's command line in front of `gramme dev`: every option it documents, and a node started with them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import typer
from tests.environment import without_settings

from gramme.runtime.local_arguments import translate
from gramme.testing.processes import free_port


@pytest.mark.parametrize(
    ("given", "translated"),
    [
        ("-port 9000", "--port 9000"),
        ("-inMemory -sharedDb -disableTelemetry", "--in-memory"),
        ("-dbPath /data -optimizeDbBeforeStartup", "--data /data"),
        ("-cors *", "--set cors_origins=*"),
        ("-cors https://a.example,https://b.example", "--set cors_origins=https://a.example,https://b.example"),
        ("-delayTransientStatuses", "--set control_plane_delay_ms=1000"),
        ("-Djava.library.path=./DynamoDBLocal_lib -Xmx1g -jar DynamoDBLocal.jar -port 1", "--port 1"),
        ("--port 7 --in-memory --test-controls", "--port 7 --in-memory --test-controls"),
        ("-help", "--help"),
        ("-unheardOf", "-unheardOf"),
    ],
)
def test_every_option_has_its_counterpart(given: str, translated: str) -> None:
    assert translate(["dev", *given.split()]) == ["dev", *translated.split()]


@pytest.mark.parametrize("option", ["-port", "-dbPath", "-cors", "-jar"])
def test_an_option_without_its_value_is_refused(option: str) -> None:
    with pytest.raises(typer.BadParameter, match=option):
        translate(["dev", "-inMemory", option])


def test_other_commands_keep_their_arguments() -> None:
    assert translate(["cluster", "up", "-port", "1"]) == ["cluster", "up", "-port", "1"]


def test_a_node_starts_with_a_command_line_of_dynamodb_local(tmp_path: Path) -> None:
    port = free_port((0, 100, 200, 300))
    command = f"dev -Djava.library.path=./lib -jar DynamoDBLocal.jar -inMemory -sharedDb -port {port} -cors http://page"
    with subprocess.Popen(
        [sys.executable, "-m", "gramme.runtime.cli", *command.split()], cwd=tmp_path, env=without_settings(),
        stderr=subprocess.PIPE, text=True,
    ) as node:  # fmt: skip
        try:
            assert node.stderr is not None
            assert f":{port} " in next(line for line in node.stderr if line.startswith("ready"))
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/",
                b"{}",
                {
                    "X-Amz-Target": "DynamoDB_20120810.ListTables",
                    "Content-Type": "application/x-amz-json-1.0",
                    "Origin": "http://page",
                },
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.loads(answer.read()) == {"TableNames": []}
                assert answer.headers["Access-Control-Allow-Origin"] == "http://page"
            assert not list(tmp_path.iterdir())
        finally:
            with contextlib.suppress(ProcessLookupError):
                node.send_signal(signal.SIGTERM)
    assert node.returncode == 0
