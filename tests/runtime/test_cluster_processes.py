"""Processes by name: a recycled pid is never signalled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gramme.runtime.processes import ProcessName, name_of, port_is_free, send_signal, state_of, wait_gone


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def named(process: subprocess.Popen[bytes]) -> ProcessName:
    name = name_of(process.pid)
    assert name is not None
    return name


def wait_state(name: ProcessName, state: str) -> None:
    while state_of(name) != state:
        pass


def test_states_follow_the_signals(child: subprocess.Popen[bytes]) -> None:
    name = named(child)
    assert state_of(name) == "running"
    assert send_signal(name, signal.SIGSTOP)
    wait_state(name, "paused")
    assert send_signal(name, signal.SIGCONT)
    wait_state(name, "running")
    assert not wait_gone(name, 0.05)
    assert send_signal(name, signal.SIGKILL)
    assert wait_gone(name, 10)
    # Not reaped yet: for us it is gone all the same.
    assert name_of(child.pid) is None
    assert not send_signal(name, signal.SIGKILL)
    child.wait()
    assert state_of(name) == "stopped"


def test_another_process_with_the_same_pid_is_not_signalled(child: subprocess.Popen[bytes]) -> None:
    earlier = ProcessName(child.pid, named(child).started + "0")
    assert state_of(earlier) == "stopped"
    assert not send_signal(earlier, signal.SIGKILL)
    assert child.poll() is None


def test_no_process_no_name() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert name_of(process.pid) is None
    assert name_of(os.getpid()) is not None


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.listen()
        assert not port_is_free("127.0.0.1", port)
    assert port_is_free("127.0.0.1", port)
