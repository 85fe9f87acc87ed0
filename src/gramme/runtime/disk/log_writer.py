"""The log's disk as a node sees it: jobs go to the log-writer process, answers come back on the loop.

The rule (REPLICATION.md §5): no Python thread on a latency path, and the loop never waits for the disk or for the
writer. What the socket does not take at once waits here and follows when it can.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from gramme.kernel.errors import Invariant
from gramme.kernel.ports import SegmentWrite
from gramme.runtime.disk import writer
from gramme.runtime.disk.directory import DataDirectory, sync_directory

_MAX_JOBS: Final = 1024
_SOCKET_BYTES: Final = 4 << 20
_MAX_IOV: Final = 64
_MAX_ANSWERS: Final = 256


class LogWriterDisk:
    """`LogDisk` over the files of `directory`/log, through a helper process that is started at once.

    Make it before the loop runs and before RocksDB opens; `attach` it to the loop before the first answer is wanted.
    `on_failure(reason)` is called once, on the loop, when a write or fsync failed or the writer died: the node must
    exit without another answer. Raises `DirectoryInUse`, `Incompatible`.
    """

    def __init__(
        self, directory: str | os.PathLike[str], on_failure: Callable[[str], None], segment_bytes: int = 64 << 20
    ) -> None:
        self.directory = DataDirectory(Path(directory))
        self._on_failure = on_failure
        self._waiting: deque[Callable[[], None]] = deque()
        self._durable_jobs = 0
        self._out: deque[memoryview] = deque()
        self._loop: Any = None  # uvloop's returns None where asyncio's says bool, which compiled code would refuse
        self._writing = False
        self._submitted = False
        self._stopped = False
        self._files = os.open(self.directory.log, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._jobs, theirs = socket.socketpair()
        # Answers have a pipe of their own: on the socket, each answer that the node reads would wake the writer, which
        # waits there for its next job, to tell it of room that it never lacked.
        self._answers, told = os.pipe()
        try:
            with theirs:
                self._jobs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
                inherited = (theirs.fileno(), told, self._files, self.directory.log_lock)
                self._process = _start(inherited, segment_bytes)
        finally:
            os.close(told)
        self._jobs.setblocking(False)
        os.set_blocking(self._answers, False)

    @property
    def writer_pid(self) -> int:
        """Process id of the log writer."""
        return self._process.pid

    @property
    def queued_bytes(self) -> int:
        """Bytes that the writer's socket has not taken yet."""
        return sum(map(len, self._out))

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have `loop` deliver answers, and take what was submitted before."""
        self._loop = loop
        loop.add_reader(self._answers, self._readable)
        if self._out and not self._writing:
            self._writing = True
            loop.add_writer(self._jobs.fileno(), self._writable)

    def segments(self) -> list[int]:
        """Numbers of the segments that exist, ascending. Only before the first `submit`."""
        assert not self._submitted, "segments are read before the log is written"
        return sorted(int(file.stem) for file in self.directory.log.glob("*.seg") if file.stem.isdigit())

    def read(self, segment: int) -> bytes:
        """The whole segment, as the disk holds it. Only before the first `submit`. Raises OSError.

        Recovery builds on what it reads, and a process that died may have left bytes that were never durable: so they
        are made durable first. Then the cached pages are dropped and read back, for after a failed fsync the cache
        shows bytes that the disk does not have.
        """
        assert not self._submitted, "segments are read before the log is written"
        fd = os.open(writer.segment_name(segment), os.O_RDWR | os.O_CLOEXEC, dir_fd=self._files)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            with open(fd, "rb", buffering=0, closefd=False) as file:
                data = file.readall()
        finally:
            os.close(fd)
        sync_directory(self.directory.log)
        return data

    def submit(self, writes: Iterable[SegmentWrite], on_durable: Callable[[], None]) -> None:
        """Have `writes` carried out in order and made durable together with other waiting jobs, then call
        `on_durable` on the loop. Jobs complete in order. Raises `Invariant` past 1,024 jobs in flight: the host keeps
        one or two."""
        if len(self._waiting) >= _MAX_JOBS:
            raise Invariant(f"{len(self._waiting)} log jobs are in flight, the limit is {_MAX_JOBS}")
        self._submitted = True
        jobs = list(writes)
        size = sum(len(write.data) for write in jobs) + len(jobs) * writer.WRITE.size
        head = [writer.FRAME.pack(writer.JOB, len(jobs), size)]
        head += [writer.WRITE.pack(write.segment, write.offset, len(write.data)) for write in jobs]
        self._waiting.append(on_durable)
        self._send([b"".join(head), *(write.data for write in jobs)])

    def delete(self, segment: int) -> None:
        """Remove a segment, some time after all that was submitted before; it may reappear if a crash follows."""
        self._send([writer.FRAME.pack(writer.DELETE, 1, writer.NUMBER.size), writer.NUMBER.pack(segment)])

    def free_bytes(self) -> int:
        """Free space, in bytes, of the file system that holds the log."""
        space = os.fstatvfs(self._files)
        return space.f_bavail * space.f_frsize

    def close(self) -> None:
        """Let the writer finish all that was submitted and wait for its end. Pending `on_durable`s are not called."""
        if not self._stopped:
            self._detach()
            try:
                self._jobs.setblocking(True)
                while self._out:
                    self._jobs.sendall(self._out.popleft())
                self._jobs.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the writer is gone, and with it what nobody was told is durable
        else:
            self._jobs.close()
        self._process.wait()
        self._jobs.close()
        os.close(self._answers)
        os.close(self._files)
        self.directory.close()

    def _send(self, parts: list[bytes]) -> None:
        if self._stopped:
            return
        if self._out:
            self._out.extend(map(memoryview, parts))
            return
        try:
            sent = self._jobs.sendmsg(parts[:_MAX_IOV])
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail_later(f"the log writer is gone: {error}")
            return
        for part in parts:
            if sent < len(part):
                self._out.append(memoryview(part)[sent:])
            sent = max(0, sent - len(part))
        if self._out and self._loop is not None and not self._writing:
            self._writing = True
            self._loop.add_writer(self._jobs.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            while self._out:
                part = self._out[0]
                sent = self._jobs.send(part)
                if sent < len(part):
                    self._out[0] = part[sent:]
                    return
                self._out.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(f"the log writer is gone: {error}")
            return
        self._stop_writing()

    def _readable(self) -> None:
        try:
            answers = os.read(self._answers, _MAX_ANSWERS * writer.ANSWER.size)  # whole ones: a pipe takes one whole
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(f"the log writer is gone: {error}")
            return
        if not answers:
            self._fail("the log writer ended by itself")
            return
        for error_number, _, durable in writer.ANSWER.iter_unpack(answers):
            if error_number:
                self._fail(f"writing the log failed: {os.strerror(error_number)}")
                return
            while self._durable_jobs < durable and not self._stopped:
                self._durable_jobs += 1
                self._waiting.popleft()()

    def _fail(self, reason: str) -> None:
        """Not one more job counts as durable, and nothing is tried again."""
        if not self._stopped:
            self._detach()
            self._on_failure(reason)

    def _fail_later(self, reason: str) -> None:
        """From inside a call: the callback comes from the loop."""
        if self._loop is not None:
            self._loop.call_soon(self._fail, reason)

    def _detach(self) -> None:
        self._stopped = True
        if self._loop is not None:
            self._stop_writing()
            self._loop.remove_reader(self._answers)

    def _stop_writing(self) -> None:
        if self._writing and self._loop is not None:
            self._writing = False
            self._loop.remove_writer(self._jobs.fileno())


def _start(inherited: tuple[int, int, int, int], segment_bytes: int) -> subprocess.Popen[bytes]:
    """Start the writer without site packages. It inherits its ends of the socket and the pipe, the log's directory,
    and the directory's lock."""
    jobs, told, files, _ = inherited
    command = [sys.executable, "-I", "-S", writer.__file__, *map(str, (jobs, told, files, segment_bytes))]
    return subprocess.Popen(command, pass_fds=inherited, stdin=subprocess.DEVNULL)
