"""A program in the foreground stops on SIGTERM and SIGINT wherever its main thread is when the signal comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_WAITS = """
import signal, threading
from gramme.runtime.signals import on_stop

stop = threading.Event()
on_stop(stop.set)
print("ready", flush=True)
while not stop.wait(0):  # nearly all its time is spent with the event's lock in its hands
    pass
print("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_midst_of_a_wait_stops_it(number: signal.Signals) -> None:
    for _ in range(5):
        program = subprocess.Popen([sys.executable, "-c", _WAITS], stdout=subprocess.PIPE, text=True)
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            program.send_signal(number)
            assert program.communicate(timeout=20)[0] == "stopped\n"
        finally:
            program.kill()
            program.wait()
