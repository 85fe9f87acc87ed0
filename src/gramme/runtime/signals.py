"""SIGINT and SIGTERM of a program in the foreground that waits for a `threading.Event`.

A handler of Python runs in the main thread, between any two of its instructions: one that set an event while the main
thread stood inside `Event.wait` with the event's lock in its hands would wait for that lock, and so for itself, for
ever. Owns the thread that calls instead. (A node's own loop needs none of this: asyncio does the same with its own fd.)
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def on_stop(stop: Callable[[], None]) -> None:
    """Call `stop`, in a thread of its own, once SIGINT or SIGTERM has come. From the main thread only."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd)  # the interpreter's C handler writes to it, whatever the main thread is at
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)

    def wait() -> None:
        os.read(read_fd, 1)
        stop()

    threading.Thread(target=wait, name="signals", daemon=True).start()
